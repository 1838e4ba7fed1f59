"""SIGINT, SIGTERM and SIGHUP on their way from metricgate to the commands that run, in whatever threads those run.

Only the main thread may handle signals, and a handler is of the whole process; so there is one, and every command listens.
"""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NamedTuple

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Received(NamedTuple):
    """A signal that metricgate got; ``nth`` counts them."""

    nth: int
    number: signal.Signals


_depth = 0
_before: dict[signal.Signals, Any] = {}
_received: list[Received] = []
_listeners: list[queue.SimpleQueue[Any]] = []


@contextmanager
def passed_on() -> Iterator[None]:
    """Pass signals on to all commands that run meanwhile, whatever thread they run in.

    To be entered in the main thread, around whatever starts commands in others; elsewhere it does nothing, and may be entered
    again inside. After a signal no command starts any more until the outermost has been left. While no command runs,
    a signal does what it would do anyway: SIGINT raises KeyboardInterrupt, SIGTERM ends metricgate.
    """
    global _depth  # noqa: PLW0603 - handlers are of the whole process, and only the main thread comes here
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _depth += 1
    if _depth == 1:
        for number in PASSED_ON:
            if signal.getsignal(number) is not signal.SIG_IGN:  # under nohup, a hang-up is to be ignored
                _before[number] = signal.signal(number, _handle)
    try:
        yield
    finally:
        _depth -= 1
        if _depth == 0:
            for number, handler in _before.items():
                signal.signal(number, handler)
            _before.clear()
            _received.clear()


@contextmanager
def into(events: queue.SimpleQueue[Any]) -> Iterator[None]:
    """Put what is received into a queue as ``Received``, also what was received before in the same ``passed_on``."""
    with passed_on():
        _listeners.append(events)
        for received in tuple(_received):
            events.put(received)  # perhaps for the second time: they are numbered
        try:
            yield
        finally:
            _listeners.remove(events)


def first() -> signal.Signals | None:
    """What metricgate was asked to end with, if it was."""
    return _received[0].number if _received else None


def _handle(number: int, frame: FrameType | None) -> None:
    received = Received(len(_received) + 1, signal.Signals(number))
    _received.append(received)
    listeners = tuple(_listeners)
    for listener in listeners:
        listener.put(received)
    if not listeners:
        handler = _before.get(received.number, signal.SIG_DFL)
        if callable(handler):
            handler(number, frame)
        else:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

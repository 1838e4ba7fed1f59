"""SIGINT, SIGTERM and SIGHUP on their way from metricgate to the commands that run, in whatever threads those run.

A handler is of the whole process; so there is one, and every command listens.
"""

from __future__ import annotations

import os
import queue
import signal
import socket
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
_passed = 0  # how many signals reached a command
_known = 0  # how many of those the main thread need not care for any more


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
    try:
        if _depth > 1:
            yield
        else:
            with _heard():
                yield
    finally:
        _depth -= 1
        if _depth == 0:
            _received.clear()


@contextmanager
def _heard() -> Iterator[None]:
    """Have signals passed on by a thread of its own.

    Handlers written in Python wait until the main thread does something, and while that waits for a lock, it may not for hours:
    the kernel may have given the signal to another thread, or just before the wait began. The file descriptor is written to
    at once (https://docs.python.org/3/library/signal.html#signal.set_wakeup_fd).
    """
    global _passed, _known  # noqa: PLW0603 - the thread that writes the first is not there yet
    _passed = _known = 0
    end, wakeup = socket.socketpair()
    with end, wakeup:
        wakeup.setblocking(False)
        listening = threading.Thread(target=_listen, args=(end,), name="signals", daemon=True)
        listening.start()
        descriptor = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
        handlers = {number: signal.getsignal(number) for number in PASSED_ON}
        # Under nohup, a hang-up is to be ignored.
        _before.update({number: handler for number, handler in handlers.items() if handler is not signal.SIG_IGN})
        try:
            for number in _before:
                signal.signal(number, _handle)
            yield
        finally:
            for number, handler in _before.items():
                signal.signal(number, handler)
            _before.clear()
            signal.set_wakeup_fd(descriptor)
            wakeup.shutdown(socket.SHUT_WR)
            listening.join()


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


def _listen(end: socket.socket) -> None:
    global _passed  # noqa: PLW0603 - only this thread writes it
    while numbers := end.recv(64):
        for number in numbers:
            if number not in _before:
                continue  # somebody else's handler
            received = Received(len(_received) + 1, signal.Signals(number))
            _received.append(received)
            listeners = tuple(_listeners)
            _passed += bool(listeners)
            for listener in listeners:
                listener.put(received)


def _handle(number: int, frame: FrameType | None) -> None:
    """What the main thread does once it can: nothing where commands got the signal, or will."""
    global _known  # noqa: PLW0603 - only the main thread writes it
    if _listeners or _known < _passed:
        _known = max(_known + 1, _passed)
        return
    handler = _before.get(signal.Signals(number), signal.SIG_DFL)
    if callable(handler):
        handler(number, frame)
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

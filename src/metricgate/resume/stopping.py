"""What SIGTERM means to a training: save what there is, and go.

Schedulers and CI send it some seconds before they kill. The second one ends the process as if nobody had listened.
"""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType
from typing import NoReturn

PREEMPTED = 128 + signal.SIGTERM
"""The exit code of a training that saved and stopped because it was asked to: 143, as a shell reports SIGTERM."""


class _Listener:
    def __init__(self) -> None:
        self.requested = False
        self.listening = False
        self.before: signal.Handlers | int | object = signal.SIG_DFL

    def listen(self) -> None:
        if self.listening or threading.current_thread() is not threading.main_thread():
            return  # only the main thread may handle signals
        before = signal.getsignal(signal.SIGTERM)
        if before is signal.SIG_IGN:
            return  # whoever started this wants it to be ignored
        self.before = before
        signal.signal(signal.SIGTERM, self._heard)
        self.listening = True

    def leave(self) -> None:
        if self.listening and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, self.before)  # type: ignore[arg-type]  # what getsignal returned
            self.listening = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self.requested = True
        self.leave()


_listener = _Listener()


def stop_requested() -> bool:
    """Whether SIGTERM came. The first call begins to listen, so ask in every step.

    Example:
        >>> stop_requested()
        False
    """
    if not _listener.requested:
        _listener.listen()
    return _listener.requested


@contextlib.contextmanager
def listening() -> Iterator[None]:
    """Listen for SIGTERM while the block runs, and leave it to whoever had it before afterwards."""
    was = _listener.listening
    _listener.listen()
    try:
        yield
    finally:
        if not was:
            _listener.leave()


def stop() -> NoReturn:
    """End the process with the code that tells metricgate that it was asked to stop and can go on later.

    Raises:
        SystemExit: Always, with code 143.
    """
    raise SystemExit(PREEMPTED)

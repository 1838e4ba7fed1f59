"""While commands run, metricgate inherits the processes whose parents died, instead of the machine's first process.

Linux calls this a child subreaper (prctl(2), ``PR_SET_CHILD_SUBREAPER``). A daemon that a command left behind is then found by
its parent, and metricgate has to collect it when it has ended. Elsewhere nothing of this happens.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from metricgate.train import process_group

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37  # linux/prctl.h

# Of the whole process, as the setting is: commands may run in several threads.
_lock = threading.Lock()
_running = 0
_was_on = False
_awaited: set[int] = set()
_starting = threading.Lock()  # what has started and is not awaited yet would be taken for an orphan
_older: frozenset[tuple[int, int]] = frozenset()  # children from before, by number and start


@contextmanager
def of_orphans() -> Iterator[None]:
    """Inherit orphans while a command runs."""
    global _running, _was_on, _older  # noqa: PLW0603 - see above
    with _lock:
        _running += 1
        if _running == 1:
            here = os.getpid()
            _older = frozenset((one.pid, one.started) for one in process_group.processes().values() if one.parent == here)
            _was_on = _is_on()
            _switch(on=True)
    try:
        yield
    finally:
        collect()
        with _lock:
            _running -= 1
            if _running == 0:
                _switch(on=_was_on)


def is_sure(child: process_group.Process) -> bool:
    """Whether a child without any sign of its origin can only be an orphan of one command.

    No other command runs, and the child was not there before it: the clock of the process table, which has ticks of 10 ms,
    could not tell that.
    """
    return _running == 1 and (child.pid, child.started) not in _older


def start(begin: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    """Start a process that whoever starts it waits for, and says so to ``forget`` afterwards."""
    with _starting:
        process = begin()
        _awaited.add(process.pid)
    return process


def forget(process: subprocess.Popen[bytes]) -> None:
    """Nobody waits for a process any more."""
    _awaited.discard(process.pid)


def collect() -> None:
    """Take the inherited dead out of the process table.

    A ``waitpid`` for any child would take the status of children whom others wait for. Those whom metricgate started are in its
    own session, or awaited, or were there before.
    """
    if not _running:
        return
    here, session = os.getpid(), os.getsid(0)
    with _starting:
        for one in process_group.processes().values():
            if one.parent != here or one.state != "Z" or one.session == session:
                continue
            if one.pid not in _awaited and (one.pid, one.started) not in _older:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(one.pid, os.WNOHANG)


def _is_on() -> bool:
    import ctypes

    answer = ctypes.c_int(0)
    return _prctl(_GET_CHILD_SUBREAPER, ctypes.addressof(answer)) == 0 and bool(answer.value)


def _switch(*, on: bool) -> None:
    _prctl(_SET_CHILD_SUBREAPER, int(on))


def _prctl(option: int, argument: int) -> int:
    if sys.platform != "linux":
        return -1
    import ctypes

    try:
        call = ctypes.CDLL(None).prctl
    except (OSError, AttributeError):
        return -1
    call.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    result: int = call(option, argument, 0, 0, 0)
    return result

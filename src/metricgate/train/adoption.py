"""While commands run, metricgate inherits the processes whose parents died, instead of the machine's first process.

Linux calls this a child subreaper (prctl(2), ``PR_SET_CHILD_SUBREAPER``). A daemon that a command left behind is then found by
its parent, and metricgate has to collect it when it has ended. Elsewhere nothing of this happens.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from metricgate.train import process_group

_SET_CHILD_SUBREAPER, _GET_CHILD_SUBREAPER = 36, 37  # linux/prctl.h

# Of the whole process, as the setting is: commands may run in several threads.
_lock = threading.Lock()
_running = 0
_was_on = False
_awaited: set[int] = set()


@contextmanager
def of_orphans() -> Iterator[None]:
    """Inherit orphans while a command runs."""
    global _running, _was_on  # noqa: PLW0603 - see above
    with _lock:
        _running += 1
        if _running == 1:
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


def is_sure() -> bool:
    """Whether an orphan without any sign of its origin can only be of one command: no other runs."""
    return _running == 1


@contextmanager
def awaited(pid: int) -> Iterator[None]:
    """Leave a process to whoever started it and waits for it."""
    _awaited.add(pid)
    try:
        yield
    finally:
        _awaited.discard(pid)


def collect() -> None:
    """Take the inherited dead out of the process table.

    A ``waitpid`` for any child would take the status of children whom others wait for. Those whom metricgate started are in its
    own session, or awaited.
    """
    if not _running:
        return
    here, session = os.getpid(), os.getsid(0)
    for one in process_group.processes().values():
        if one.parent == here and one.state == "Z" and one.session != session and one.pid not in _awaited:
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

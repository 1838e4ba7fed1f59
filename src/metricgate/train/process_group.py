"""A command and everything that it started, as one group of processes."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

_POLL_S = 0.02
_KILL_S = 5.0
_PROC = Path("/proc")


def send(group: int, number: int) -> bool:
    """Send a signal to a group; whether there was one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end(group: int, *, told: bool, grace_s: float) -> None:
    """End what a command left running: it would hold the GPU, or write into the next run's model.

    Args:
        group: The group, whose leader has ended.
        told: Whether the group was asked to end before; a second SIGTERM would cut short what it still saves.
        grace_s: Seconds from now until SIGKILL.
    """
    if not told:
        send(group, signal.SIGTERM)
    if not _is_gone(group, within_s=grace_s):
        send(group, signal.SIGKILL)
        # What waits for a dead network disk can't even be killed; then there is nothing more to wait for.
        _is_gone(group, within_s=_KILL_S)


def _is_gone(group: int, *, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while _is_alive(group):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_S)
    return True


def _is_alive(group: int) -> bool:
    if not send(group, 0):
        return False
    if not _PROC.is_dir():
        return True
    # In a container whose first process collects no orphans, the dead stay in their group for ever.
    return any(_state(process, group) not in ("", "Z", "X") for process in _PROC.iterdir() if process.name.isdigit())


def _state(process: Path, group: int) -> str:
    """The state letter of a process of the group; empty for any other process."""
    try:
        # "pid (name) state parent group …", where the name may hold anything.
        fields = (process / "stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return fields[0] if len(fields) > 2 and fields[2] == str(group) else ""

"""The processes of a training on a node. It goes where the worker goes: Python 3.8, nothing else."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
KILL_S, POLL_S = 5.0, 0.05


def guard(group: int, grace_s: float) -> int:
    """A process that ends the training should this one be killed; it goes when it is written to."""
    read_end, write_end = os.pipe()
    if os.fork():
        os.close(read_end)
        return write_end
    os.setsid()
    for number in (*PASSED_ON, signal.SIGCONT):
        signal.signal(number, signal.SIG_IGN)
    os.close(write_end)
    if not os.read(read_end, 1):
        end(group, told=False, grace_s=grace_s)
    os._exit(0)


def send(group: int, number: int) -> bool:
    """Send a signal to a group; whether there was one."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def end(group: int, *, told: bool, grace_s: float) -> None:
    """End what the training left running: SIGTERM unless it was told, and SIGKILL after the grace period."""
    for number, within_s in ((0 if told else signal.SIGTERM, grace_s), (signal.SIGKILL, KILL_S)):
        deadline = time.monotonic() + within_s
        send(group, number)
        while _is_alive(group):
            if time.monotonic() > deadline:
                break
            time.sleep(POLL_S)
            with contextlib.suppress(ChildProcessError):  # in a container this is the process that collects orphans
                os.waitpid(-1, os.WNOHANG)
        else:
            return


def _is_alive(group: int) -> bool:
    if not send(group, 0):
        return False
    # Where nobody collects orphans, the dead stay in their group for ever.
    processes = [process for process in Path("/proc").iterdir() if process.name.isdigit()] if Path("/proc").is_dir() else []
    return not processes or any(_is_member(process, group) for process in processes)


def _is_member(process: Path, group: int) -> bool:
    try:
        # As proc(5) says: pid, name in parentheses, state, parent, group.
        fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return False
    return len(fields) > 2 and fields[2] == str(group) and fields[0] not in ("Z", "X")

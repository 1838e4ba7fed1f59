"""A command and everything that it started: its process group, and whoever left that.

``setsid``, a double fork or ``nohup`` take a process out of the group of its command; it goes on to hold the GPU. What
belongs to a command is found by four signs: its session, a variable in the environment that children inherit, its parents,
and having been seen as one of the command before. They need ``/proc``; elsewhere only the group counts.

This file imports nothing but the standard library, because the guard (see ``guard``) runs it as a program of its own when
metricgate was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

MARKER = "METRICGATE_COMMAND_ID"

_PROC = Path("/proc")
_FIRST_POLL_S, _LAST_POLL_S = 0.01, 0.2
_KILL_S = 5.0
_DEAD = frozenset("ZX")
_GUARD_LOG_BYTES = 1_000_000


class Process(NamedTuple):
    """A line of the system's process table; ``started`` is in clock ticks since boot."""

    pid: int
    parent: int
    group: int
    session: int
    state: str
    started: int

    @property
    def is_alive(self) -> bool:
        """Whether it still runs: the dead stay in the table until their parent asks for them."""
        return self.state not in _DEAD


@dataclass
class Tree:
    """The processes of one command.

    Attributes:
        leader: The process that metricgate started, leader of its group and session; 0 where it is not known.
        id: What ``METRICGATE_COMMAND_ID`` of its processes holds, between slashes where a command runs commands.
        since: When the leader started; nobody who is older belongs to it.
        adopts: Says whether a process without any sign, whose parent died and which metricgate inherited, is this one's.
        told: Who was asked to end, and whether it takes care of the processes that it started.
    """

    leader: int
    id: str
    since: int = 0
    adopts: Callable[[Process], bool] = lambda _: False
    told: dict[int, bool] = field(default_factory=dict)
    _known: dict[int, int] = field(default_factory=dict)

    def alive(self) -> tuple[Process, ...]:
        """Those that still run, and remembers them: by the next time their parents may be gone."""
        table = processes()
        found = {pid for pid, process in table.items() if self._shows(process)}
        children: dict[int, list[int]] = {}
        for process in table.values():
            children.setdefault(process.parent, []).append(process.pid)
        waiting = list(found)
        while waiting:
            new = [child for child in children.get(waiting.pop(), ()) if child not in found]
            found.update(new)
            waiting.extend(new)
        found.discard(os.getpid())
        members = tuple(table[pid] for pid in sorted(found) if table[pid].is_alive)
        self._known = {process.pid: process.started for process in members}
        return members

    def _shows(self, process: Process) -> bool:
        if process.started < self.since or process.pid == os.getpid():
            return False
        if self.leader and self.leader in (process.pid, process.group, process.session):
            return True
        if self._known.get(process.pid) == process.started:
            return True
        marker = _marker(process.pid)
        if self.id in marker.split("/"):
            return True
        is_inherited = process.parent == os.getpid() and process.session != os.getsid(0)
        return is_inherited and marker == os.environ.get(MARKER, "") and self.adopts(process)


def processes() -> dict[int, Process]:
    """The process table by number; empty where there is no ``/proc``."""
    try:
        numbers = [int(name) for name in os.listdir(_PROC) if name.isdigit()]  # noqa: PTH208 - a hundred times a command
    except OSError:
        return {}
    found = (process(number) for number in numbers)
    return {one.pid: one for one in found if one is not None}


def process(pid: int) -> Process | None:
    """One process; None where it is gone."""
    try:
        # "pid (name) state parent group session …", where the name may hold anything; the start is field 22.
        fields = (_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()
        parent, group, session = (int(number) for number in fields[1:4])
        return Process(pid, parent, group, session, fields[0].decode(), int(fields[19]))
    except (OSError, ValueError, IndexError):
        return None


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    try:
        lines = (_PROC / str(pid) / "status").read_bytes().splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(b"SigCgt:")]
    return any(mask >> (number - 1) & 1 for mask in masks)


def send(group: int, number: int) -> bool:
    """Send a signal to a group; whether there was one."""
    if group <= 1:
        return False
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def ask(tree: Tree, number: int) -> None:
    """Ask a command to end, each of its processes once.

    Who handles SIGTERM wants to save, and gets it whatever the signal is, since a KeyboardInterrupt that nobody expects ends a
    Python program without. The processes that such a one started are its own affair: a data worker that goes first would make
    it fail half way through its save. All others get the signal.
    """
    members = tree.alive()
    if not members and not tree.told:  # there is no /proc, and no more to know than the group
        send(tree.leader, number)
        tree.told[tree.leader] = True
    for one in _undisturbed(members, tree.told):
        saves = catches(one.pid, signal.SIGTERM)
        _kill(one.pid, signal.SIGTERM if saves else number)
        tree.told[one.pid] = saves


def insist(tree: Tree, *, first: int) -> None:
    """Send SIGTERM after another signal, which had no effect so far, but not to those whom it would disturb.

    A process that catches the first signal is busy with what it does on that, and SIGTERM would end it half way through a save.
    """
    for one in tree.alive():
        if tree.told.get(one.pid) is False and not catches(one.pid, first):
            _kill(one.pid, signal.SIGTERM)


def _undisturbed(members: Iterable[Process], told: Mapping[int, bool]) -> Iterator[Process]:
    """Those to be told, parents first. ``told`` is asked for each after it was told."""
    children: dict[int, list[Process]] = {}
    pids = {one.pid for one in members}
    for one in members:
        children.setdefault(one.parent if one.parent in pids else 0, []).append(one)
    waiting = list(children.get(0, ()))
    while waiting:
        one = waiting.pop(0)
        if one.pid not in told:
            yield one
        if not told.get(one.pid):
            waiting.extend(children.get(one.pid, ()))


def end(tree: Tree, *, grace_s: float, wait: Callable[[float], None] = time.sleep) -> None:
    """End what a command left running: it would hold the GPU, or write into the next run's model.

    Args:
        tree: The command, whose leader has ended.
        grace_s: Seconds from now until SIGKILL.
        wait: Waits for some seconds.
    """
    deadline = time.monotonic() + grace_s
    pause = _FIRST_POLL_S
    while _is_there(tree):
        left = deadline - time.monotonic()
        if left <= 0:
            kill(tree, wait=wait)
            return
        ask(tree, signal.SIGTERM)  # also those whose parent took care of them, and is gone
        wait(min(pause, left))
        pause = min(_LAST_POLL_S, pause * 1.5)


def kill(tree: Tree, *, wait: Callable[[float], None] = time.sleep) -> None:
    """SIGKILL to all of a command, until nobody is left: they may be starting others meanwhile."""
    deadline = time.monotonic() + _KILL_S
    # What waits for a dead network disk can't even be killed; then there is nothing more to wait for.
    while time.monotonic() < deadline:
        send(tree.leader, signal.SIGKILL)
        for one in tree.alive():
            _kill(one.pid, signal.SIGKILL)
        if not _is_there(tree):
            return
        wait(_FIRST_POLL_S)


def _is_there(tree: Tree) -> bool:
    # In a container whose first process collects no orphans, the dead stay in their group for ever: the table knows better.
    return bool(tree.alive()) if _PROC.is_dir() else send(tree.leader, 0)


def _kill(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _marker(pid: int) -> str:
    prefix = f"{MARKER}=".encode()
    try:
        variables = (_PROC / str(pid) / "environ").read_bytes().split(b"\0")
    except OSError:
        return ""  # somebody else's, or gone
    return next((one[len(prefix) :].decode(errors="replace") for one in variables if one.startswith(prefix)), "")


def _drain(output: int, log: Path) -> None:
    """Take what the command writes, so that its last words find a reader and it can go on saving."""
    with contextlib.suppress(OSError):
        room = _GUARD_LOG_BYTES
        while data := os.read(output, 1 << 16):
            with log.open("ab") as file:
                file.write(data[:room])
            room = max(0, room - len(data))


def main(arguments: Iterable[str]) -> None:
    """The guard's work when metricgate is gone: ``ID LEADER TOLD GRACE OUTPUT LOG``."""
    id_, leader, told, grace_s, output, log = arguments
    os.set_blocking(int(output), False)
    tree = Tree(leader=int(leader), id=id_)
    if told == "told":
        tree.told = dict.fromkeys((one.pid for one in tree.alive()), True) or {tree.leader: True}

    def wait(seconds: float) -> None:
        _drain(int(output), Path(log))
        time.sleep(seconds)

    end(tree, grace_s=float(grace_s), wait=wait)
    _drain(int(output), Path(log))


if __name__ == "__main__":
    main(sys.argv[1:])

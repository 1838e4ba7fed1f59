"""How often the kernel has killed a process for want of memory: here, in the control group, and on the machine.

A SIGKILL looks the same whoever sends it. The kernel counts its own (cgroups(7), Documentation/admin-guide/cgroup-v2.rst):
``oom_kill`` in ``memory.events`` of version 2, in ``memory.oom_control`` of version 1, and in ``/proc/vmstat`` for all of the
machine.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_OOM_KILL = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
_UNLIMITED = 1 << 60  # version 1 says "no limit" as a number a little below 2^63


@dataclass(frozen=True)
class Kills:
    """How often the kernel has killed; 0 where it doesn't say.

    Attributes:
        group: In the control group of this process, those below it included.
        machine: On the machine.
    """

    group: int = 0
    machine: int = 0

    def since(self, earlier: Kills) -> Kills:
        """How much more often than before."""
        return Kills(max(0, self.group - earlier.group), max(0, self.machine - earlier.machine))


@dataclass(frozen=True)
class Counters:
    """Where the kernel counts.

    Attributes:
        group: ``memory.events`` or ``memory.oom_control`` of the control group; None without one.
        machine: ``/proc/vmstat``.
    """

    group: Path | None
    machine: Path

    @classmethod
    def of_this_process(cls, proc: Path = _PROC) -> Counters:
        """Find them; in a container, too, where the paths of the outside do not hold."""
        return cls(group=_group_file(proc), machine=proc / "vmstat")

    def read(self) -> Kills:
        """What they say now."""
        return Kills(group=_count(self.group) if self.group else 0, machine=_count(self.machine))

    @property
    def limit_bytes(self) -> int | None:
        """What the control group may use; None where it is not limited."""
        for name in ("memory.max", "memory.limit_in_bytes"):
            if self.group is not None and (text := _text(self.group.with_name(name)).strip()).isdigit():
                return int(text) if int(text) < _UNLIMITED else None
        return None


def _group_file(proc: Path) -> Path | None:
    groups = [line.split(":", 2) for line in _text(proc / "self" / "cgroup").splitlines() if line.count(":") >= 2]
    for line in _text(proc / "self" / "mountinfo").splitlines():
        # "36 35 98:0 root mount options … - type source options", and blanks in paths are \040.
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split(" ")
        if (
            len(fields) < 5
            or kind[0] not in ("cgroup", "cgroup2")
            or (kind[0] == "cgroup" and "memory" not in kind[-1].split(","))
        ):
            continue
        name = "memory.events" if kind[0] == "cgroup2" else "memory.oom_control"
        for _, controllers, path in groups:
            if (controllers == "") == (kind[0] == "cgroup2") and (controllers == "" or "memory" in controllers.split(",")):
                root, mount = fields[3].rstrip("/"), Path(fields[4].replace("\\040", " "))
                inside = path.removeprefix(root) if path == root or path.startswith(f"{root}/") else ""
                file = mount / inside.strip("/") / name
                if file.is_file():
                    return file
    return None


def _count(file: Path) -> int:
    match = _OOM_KILL.search(_text(file))
    return int(match[1]) if match else 0


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""

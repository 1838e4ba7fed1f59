"""Where the kernel counts the processes that it killed: both versions of control groups, inside and outside of containers."""

from __future__ import annotations

from pathlib import Path

import pytest

from metricgate.train.host_memory import Counters, Kills


def proc(folder: Path, *, cgroup: str, mounts: str) -> Path:
    (folder / "proc" / "self").mkdir(parents=True)
    (folder / "proc" / "self" / "cgroup").write_text(cgroup)
    (folder / "proc" / "self" / "mountinfo").write_text(mounts)
    (folder / "proc" / "vmstat").write_text("nr_free_pages 12\noom_kill 7\ndrop_pagecache 0\n")
    return folder / "proc"


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


EVENTS = "low 0\nhigh 0\nmax 31\noom 4\noom_kill 3\noom_group_kill 0\n"
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n"
BOTH = """\
24 1 0:22 / /sys rw shared:2 - sysfs sysfs rw
33 31 0:30 /docker/c0ffee {root}/cpu,memory ro master:11 - cgroup cgroup rw,cpu,memory
41 31 0:38 / {root}/unified rw - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("cgroup", "mounts", "where", "files"),
    [
        (
            "0::/system.slice/runner.service\n",
            "30 24 0:26 / {root}/a\\040b rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n",
            "a b/system.slice/runner.service",
            {"memory__events": EVENTS, "memory__max": "8000000000\n"},
        ),
        (
            "0::/\n",
            "30 24 0:26 / {root}/here rw - cgroup2 cgroup rw\n",
            "here",
            {"memory__events": EVENTS, "memory__max": "8000000000"},
        ),
        (
            "9:name=systemd:/\n4:cpu,memory:/docker/c0ffee\n0::/\n",
            BOTH,
            "cpu,memory",
            {"memory__oom_control": CONTROL, "memory__limit_in_bytes": "8000000000\n"},
        ),
    ],
    ids=["version 2", "version 2 in a container", "version 1 in a container, beside an empty version 2"],
)
def test_is_found(cgroup: str, mounts: str, where: str, files: dict[str, str], tmp_path: Path) -> None:
    group(tmp_path / "cgroups" / where, **files)
    (tmp_path / "cgroups" / "unified").mkdir(exist_ok=True)
    counters = Counters.of_this_process(proc(tmp_path, cgroup=cgroup, mounts=mounts.format(root=tmp_path / "cgroups")))
    assert counters.read() == Kills(group=3, machine=7)
    assert counters.limit_bytes == 8_000_000_000


@pytest.mark.parametrize("limit", ["max", "9223372036854771712", ""])
def test_no_limit_is_none(limit: str, tmp_path: Path) -> None:
    group(tmp_path / "group", memory__events=EVENTS, memory__max=limit)
    assert Counters(tmp_path / "group" / "memory.events", tmp_path / "none").limit_bytes is None


@pytest.mark.parametrize("text", ["", "0::\n", "garbage\n:::\n"])
def test_a_machine_that_says_nothing_counts_nothing(text: str, tmp_path: Path) -> None:
    found = Counters.of_this_process(proc(tmp_path, cgroup=text, mounts=text))
    assert found.group is None
    assert found.limit_bytes is None
    assert Counters.of_this_process(tmp_path / "nowhere").read() == Kills()


def test_only_what_came_since_counts() -> None:
    assert Kills(group=3, machine=9).since(Kills(group=3, machine=7)) == Kills(machine=2)
    assert Kills().since(Kills(group=3)) == Kills()  # another group, whose count began anew

"""Settings for all tests, and which of them this machine can run."""

from __future__ import annotations

import gc
import importlib.util
import itertools
import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import settings

# No deadlines: a busy machine is no bug. In CI the examples are always the same ones, so that a red build is about the change.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# A shell lets what it starts in the background ignore Ctrl-C, which many a test sends.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

gc.disable()  # until all modules are there: they stay, and would be looked at again and again

_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


def _programs(*names: str) -> Callable[[], bool]:
    return lambda: all(shutil.which(name, path=_PATH) for name in names)


def _engine() -> bool:
    return bool(os.environ.get("DOCKER_HOST")) or (os.geteuid() == 0 and _programs("dockerd", "debootstrap")())


# What a test needs beside the locked packages: whether it is here, and what gives it.
_NEEDS: Mapping[str, tuple[Callable[[], bool], str]] = {
    "engine": (_engine, "Debian's docker.io and debootstrap, as root, or DOCKER_HOST"),
    "registry": (_programs("docker-registry"), "Debian's docker-registry"),
    "slurm": (
        lambda: os.geteuid() == 0 and _programs("slurmctld", "slurmd", "munged")(),
        "Debian's slurm-wlm and munge, as root",
    ),
    "postgres": (lambda: any(Path("/usr/lib/postgresql").glob("*/bin/initdb")), "Debian's postgresql"),
    "nvml": (_programs("cc"), "a C compiler, Debian's gcc and libc6-dev"),
    "torch": (lambda: importlib.util.find_spec("torch") is not None, "requirements/torch.txt"),
}
_LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and say so, what this machine can't run; the project's own CI runs everything."""
    items[:] = _shares(items, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    if os.environ.get("METRICGATE_ALL_TESTS"):
        return
    lacking = [mark for mark, (is_here, _) in _NEEDS.items() if not is_here()]
    left = [item for item in items if any(item.get_closest_marker(mark) for mark in lacking)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
        config.stash[_LEFT_OUT] = {mark: sum(item.get_closest_marker(mark) is not None for item in left) for mark in lacking}


def _shares(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """The order in which each worker's share, as pytest-xdist cuts them, begins with what takes long and ends with unit tests.

    What is left at the end is small then, and no worker waits for another. A module stays together, as it may have a server.
    Half of the unit tests come between: what takes long often waits, and they never do.
    """
    modules = [list(found) for _, found in itertools.groupby(items, key=lambda item: item.path)]
    long = [module for module in modules if not module[0].nodeid.startswith("tests/unit/")]
    long.sort(key=lambda module: not any(item.get_closest_marker("slow") for item in module))
    long.sort(key=lambda module: not module[0].nodeid.startswith("tests/workflows/"))
    units = (item for module in modules if module[0].nodeid.startswith("tests/unit/") for item in module)
    order: list[pytest.Item] = []
    for worker in range(workers):
        mine = long[worker::workers]
        size = (len(items) - len(order)) // (workers - worker)
        room = max(0, size - sum(map(len, mine)))
        between = room // 2 // max(1, len(mine))
        for module in mine:
            order += [*module, *itertools.islice(units, between)]
        order += itertools.islice(units, room - between * len(mine))
    return [*order, *units]


def pytest_collection_finish() -> None:
    """All modules are there by now: the garbage collector need not look at them, and begins."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """At the end it does: what is never collected is reported as a leak by some."""
    gc.unfreeze()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    for mark, count in config.stash.get(_LEFT_OUT, {}).items():
        terminalreporter.write_line(f"{count} tests were left out: they need {_NEEDS[mark][1]}")

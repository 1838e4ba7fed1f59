"""Settings for all tests, and which of them this machine can run."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import settings

# No deadlines: a busy machine is no bug. In CI the examples are always the same ones, so that a red build is about the change.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "here")

# What a test needs beside Python, and the programs that give it.
_NEEDS = {"engine": ("dockerd", "debootstrap"), "registry": ("docker-registry",)}
_LEFT_OUT = pytest.StashKey[dict[str, int]]()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out, and say so, what a machine without Docker can't run; the project's own CI runs everything."""
    if os.environ.get("METRICGATE_ALL_TESTS"):
        return
    path = f"{os.environ.get('PATH', '')}{os.pathsep}/usr/sbin{os.pathsep}/sbin"
    lacking = {mark for mark, programs in _NEEDS.items() if not all(shutil.which(program, path=path) for program in programs)}
    if os.environ.get("DOCKER_HOST"):
        lacking.discard("engine")
    elif os.geteuid() != 0:
        lacking.add("engine")
    left = [item for item in items if any(item.get_closest_marker(mark) for mark in lacking)]
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item not in left]
        config.stash[_LEFT_OUT] = {mark: sum(item.get_closest_marker(mark) is not None for item in left) for mark in lacking}


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say what was left out."""
    for mark, count in config.stash.get(_LEFT_OUT, {}).items():
        needs = " and ".join(_NEEDS[mark])
        terminalreporter.write_line(f"{count} tests were left out: they need {needs} (Debian's packages), or DOCKER_HOST")

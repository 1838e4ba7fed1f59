"""What all workers of a test run share: a folder, and what the first one that needs it puts there."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def of_the_run(factory: pytest.TempPathFactory) -> Path:
    """The folder of this run of pytest, whichever worker asks."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], None]) -> Path:
    """A folder that is made by the first who asks, while the others wait; to be copied, not to be changed.

    Args:
        factory: Pytest's.
        name: The folder's.
        make: Fills an empty folder, which gets its name only when it is complete.
    """
    shared = of_the_run(factory)
    folder, part = shared / name, shared / f"{name}.part"
    with (shared / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            shutil.rmtree(part, ignore_errors=True)  # of one who failed
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder

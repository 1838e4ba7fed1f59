"""The checkout that runs are made in: which commit it is, and where its runs go."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from metricgate import run

RUNS = Path(".metricgate") / "runs"


@dataclass(frozen=True)
class State:
    """What is checked out.

    Attributes:
        commit: The commit; None where there is no repository, or tracked files differ from every commit.
        label: Names the folder of its runs: ``a1b2c3d``, ``a1b2c3d-changed``, or ``local`` without a repository.
    """

    commit: str | None
    label: str


def look(root: Path) -> State:
    """Ask git for the commit of ``root`` and whether tracked files were changed since."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not commit:
        return State(None, "local")
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        # A run of changed files belongs to no commit, and must not replace that of the commit it started from.
        return State(None, f"{commit[:7]}-changed")
    return State(commit, commit[:7])


def runs_folder(root: Path, state: State) -> Path:
    """``.metricgate/runs/<label>``, kept out of the repository by a .gitignore of its own."""
    ignore = root / RUNS.parts[0] / ".gitignore"
    if not ignore.exists():
        run.write_text(ignore, "*\n")
    return root / RUNS / state.label


def now() -> datetime:
    """The time, in UTC."""
    return datetime.now(timezone.utc)


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments
            # In a container the checkout often belongs to somebody else, which git would refuse.
            ["git", "-C", str(root), "-c", "safe.directory=*", *arguments],  # noqa: S607 - git from the PATH
            capture_output=True,
            text=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

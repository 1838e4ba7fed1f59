"""The checkout that runs are made in: which commit it is, and where its runs go."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from metricgate import run

RUNS = Path(".metricgate") / "runs"
STATE_VARIABLE = "METRICGATE_STATE_DIR"


@dataclass(frozen=True)
class State:
    """What is checked out.

    Attributes:
        commit: The commit; None where there is no repository, or tracked files differ from every commit.
        label: Names the folder of its runs: ``a1b2c3d``, ``a1b2c3d-changed``, or ``local`` without a repository.
        content: The same for the same tracked files: the commit, and the digest of what was changed since; None without a
            repository.
    """

    commit: str | None
    label: str
    content: str | None = None


def look(root: Path) -> State:
    """Ask git for the commit of ``root`` and whether tracked files were changed since."""
    commit = _git(root, "rev-parse", "--verify", "HEAD")
    if not commit:
        return State(None, "local")
    if _git(root, "status", "--porcelain", "--untracked-files=no"):
        # A run of changed files belongs to no commit, and must not replace that of the commit it started from.
        changes = hashlib.sha256((_git(root, "diff", "--binary", "HEAD") or "").encode(errors="surrogateescape")).hexdigest()
        return State(None, f"{commit[:7]}-changed", f"{commit}+{changes}")
    return State(commit, commit[:7], commit)


def runs_folder(root: Path, state: State) -> Path:
    """``.metricgate/runs/<label>``, kept out of the repository by a .gitignore of its own."""
    return _hidden(root) / RUNS.name / state.label


def kept_folder(root: Path, environ: Mapping[str, str]) -> Path:
    """Where this machine keeps what outlives a job: unfinished trainings, data sets.

    ``METRICGATE_STATE_DIR``; else beside the tool cache of a runner, which a self-hosted one keeps; else ``.metricgate`` in the
    repository.
    """
    if named := environ.get(STATE_VARIABLE):
        return Path(named).absolute()
    if tools := environ.get("RUNNER_TOOL_CACHE"):
        return Path(tools).absolute() / "metricgate-state"
    return _hidden(root)


def _hidden(root: Path) -> Path:
    ignore = root / RUNS.parts[0] / ".gitignore"
    if not ignore.exists():
        run.write_text(ignore, "*\n")
    return ignore.parent


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
            errors="surrogateescape",
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()

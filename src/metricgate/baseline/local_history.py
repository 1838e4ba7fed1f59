"""The history of a local clone, for finding a baseline on a laptop."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path, PurePosixPath

from metricgate.baseline.nearest import Commit
from metricgate.errors import UsageError

DEFAULT_BRANCHES = ("main", "master")


def commit(root: Path, name: str) -> str:
    """The full hash of a commit.

    Args:
        root: A git work tree.
        name: What a person calls it: ``HEAD``, ``main``, ``a1b2c3d``.

    Raises:
        UsageError: There is no such commit.
    """
    found = _git(root, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}")
    if not found:
        raise UsageError(
            f"there is no commit {name!r}",
            where=str(root),
            expected="a commit, branch or tag of this repository",
            fix="git fetch",
        )
    return found


def tags(root: Path, name: str) -> tuple[str, ...]:
    """The tags of a commit.

    Raises:
        UsageError: There is no such commit.
    """
    return tuple(_git(root, "tag", "--points-at", commit(root, name)).splitlines())


def branch(root: Path, name: str | None) -> tuple[str, str]:
    """A branch as the clone knows it from its origin, else its own: its name, and its newest commit.

    Args:
        root: A git work tree.
        name: Which; by default that which the origin says is its default, else main or master.

    Raises:
        UsageError: There is no such branch here.
    """
    default = _git(root, "symbolic-ref", "--quiet", "--short", "refs/remotes/origin/HEAD").removeprefix("origin/")
    names = [name] if name else [default, *DEFAULT_BRANCHES] if default else [*DEFAULT_BRANCHES]
    for candidate in names:
        for ref in (f"refs/remotes/origin/{candidate}", f"refs/heads/{candidate}"):
            if found := _git(root, "rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}"):
                return candidate, found
    raise UsageError(
        f"there is no branch {' or '.join(names)} here",
        where=str(root),
        expected="the branch whose policy counts",
        fix="git fetch origin; or name it: --default-branch BRANCH, or `publish: {branch: BRANCH}` in metricgate.yaml",
    )


def read(root: Path, name: str, path: PurePosixPath) -> str | None:
    """A file's text at a commit; None where it has no such file, or an empty one. The path is relative to ``root``."""
    return _git(root, "cat-file", "blob", f"{commit(root, name)}:./{path}") or None


def merge_base(root: Path, one: str, other: str) -> str:
    """The last commit that two have in common.

    Raises:
        UsageError: One is not there, or they have none in common.
    """
    found = _git(root, "merge-base", commit(root, one), commit(root, other))
    if not found:
        raise UsageError(
            f"{one} and {other} have no commit in common here",
            where=str(root),
            expected="a clone that reaches back to where they parted",
            fix="git fetch --unshallow",
        )
    return found


def before(root: Path, name: str) -> Iterator[Commit]:
    """A commit and its ancestors, children before parents.

    Raises:
        UsageError: There is no such commit.
    """
    for line in _git(root, "log", "--topo-order", "--format=%H%x09%P%x09%cI", commit(root, name)).splitlines():
        own, parents, time = line.split("\t")
        yield Commit(own, tuple(parents.split()), datetime.fromisoformat(time.replace("Z", "+00:00")))


def _git(root: Path, *arguments: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603 - no shell; commits come as full hashes, names behind --end-of-options
            ["git", "-C", str(root), "-c", "safe.directory=*", "-c", "log.showSignature=false", *arguments],  # noqa: S607
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
    except OSError:
        raise UsageError("there is no git", expected="git, which knows the history", fix="install git") from None
    return done.stdout.strip() if done.returncode == 0 else ""

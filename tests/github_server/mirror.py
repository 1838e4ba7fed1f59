"""A local git repository's commits, put into the server's: for tests in which both have to know the same history."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.github_server.objects import EMPTY_TREE, Entry, Person
from tests.github_server.repository import Repository


def mirror(repository: Repository, root: Path, *, branch: str = "main") -> None:
    """Put every commit of a work tree into a repository, with its own SHA, and let the branch point where it does there."""
    for sha in _git(root, "rev-list", "--all", "HEAD", "--topo-order", "--reverse").decode().split():
        if sha in repository.objects.commits:
            continue
        header, _, message = _git(root, "cat-file", "commit", sha).decode().partition("\n\n")
        lines = [line.partition(" ")[::2] for line in header.splitlines()]
        entries: dict[str, Entry | None] = {}
        for line in _git(root, "ls-tree", "-r", "-z", sha).decode().split("\0")[:-1]:
            about, _, path = line.partition("\t")
            mode, _, blob = about.split()
            entries[path] = Entry(mode, repository.objects.add_blob(_git(root, "cat-file", "blob", blob)))
        made = repository.objects.add_commit(
            repository.objects.write(EMPTY_TREE, entries),
            [value for key, value in lines if key == "parent"],
            message,
            author=_person(dict(lines)["author"]),
            committer=_person(dict(lines)["committer"]),
        )
        assert made == sha
    repository.branch(branch, _git(root, "rev-parse", branch).decode().strip())


def _person(text: str) -> Person:
    name, _, rest = text.partition(" <")
    email, _, when = rest.partition("> ")
    seconds, offset = when.split()
    zone = timezone(timedelta(hours=int(offset[:3]), minutes=int(offset[0] + offset[3:])))
    return Person(name, email, datetime.fromtimestamp(int(seconds), tz=zone))


def _git(root: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", "-C", str(root), *arguments], check=True, capture_output=True).stdout

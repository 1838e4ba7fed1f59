"""The history of a repository of the server: commits, branches and tags, as a test makes and reads them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Protocol

from tests.github_server.objects import EMPTY_TREE, FILE, Entry, Objects, Person
from tests.github_server.records import Account

if TYPE_CHECKING:
    from tests.github_server.repository import Repository


class World(Protocol):
    """What a repository needs of everything around it."""

    @property
    def url(self) -> str: ...
    @property
    def lock(self) -> threading.RLock: ...
    def account(self, login: str, *, type: str = ...) -> Account: ...  # noqa: A002 - GitHub's word
    def repository(self, full_name: str, *, private: bool = ..., fork_of: str = ...) -> Repository: ...
    def existing(self, full_name: str) -> Repository | None: ...
    def next_id(self) -> int: ...
    def tick(self) -> datetime: ...


@dataclass(eq=False, kw_only=True)
class Branches:
    """Objects and what points at them."""

    world: World
    objects: Objects = field(default_factory=Objects)
    refs: dict[str, str] = field(default_factory=dict)

    def commit(
        self,
        *,
        parents: Sequence[str] = (),
        message: str = "",
        when: datetime | None = None,
        files: Mapping[str, bytes | str | None] | None = None,
        author: str = "alice",
    ) -> str:
        """Make a commit, on no branch yet.

        Args:
            parents: The commits before it.
            message: Its message; by default one that nothing else has.
            when: By default a second after whatever happened last.
            files: What it changes in its first parent's files; None takes a file away.
            author: Who wrote it.
        """
        with self.world.lock:
            person = Person(author, f"{author}@example.com", when or self.world.tick())
            base = self.objects.commits[parents[0]].tree if parents else EMPTY_TREE
            entries: dict[str, Entry | None] = {}
            for path, content in (files or {}).items():
                raw = content.encode() if isinstance(content, str) else content
                entries[path] = None if raw is None else Entry(FILE, self.objects.add_blob(raw))
            tree = self.objects.write(base, entries)
            text = message or f"Change {self.world.next_id()}"
            return self.objects.add_commit(tree, parents, text, author=person, committer=person)

    def commits(self, count: int, *, parent: str = "", apart: timedelta = timedelta(hours=1)) -> list[str]:
        """A line of commits, the oldest first."""
        start = self.objects.commits[parent].committer.when if parent else datetime(2025, 1, 1, tzinfo=timezone.utc)
        made: list[str] = []
        for number in range(count):
            before = [made[-1]] if made else [parent] if parent else []
            made.append(self.commit(parents=before, when=start + (number + 1) * apart))
        return made

    def branch(self, name: str, sha: str) -> None:
        """Let a branch point at a commit, wherever it pointed before."""
        with self.world.lock:
            if sha not in self.objects.commits:
                raise KeyError(sha)
            self.refs[f"refs/heads/{name}"] = sha

    def tag(self, name: str, sha: str) -> None:
        """Let a tag point at a commit."""
        with self.world.lock:
            self.refs[f"refs/tags/{name}"] = sha

    def head(self, branch: str) -> str | None:
        """Where a branch points; None if there is none."""
        with self.world.lock:
            return self.refs.get(f"refs/heads/{branch}")

    def files(self, branch: str) -> dict[str, bytes]:
        """Every file of a branch as it is now; empty if there is no such branch."""
        with self.world.lock:
            sha = self.refs.get(f"refs/heads/{branch}")
            if sha is None:
                return {}
            return {path: self.objects.blobs[blob] for path, blob in self.objects.files(self.objects.commits[sha].tree).items()}

    def log(self, branch: str) -> list[str]:
        """The messages of a branch, the newest first."""
        with self.world.lock:
            return [commit.message for commit in self.objects.history(self.refs[f"refs/heads/{branch}"])]

    def resolve(self, name: str) -> str | None:
        """The commit that a branch, a tag, a full ref or a SHA (or the beginning of one) means."""
        with self.world.lock:
            for ref in (name, f"refs/{name}", f"refs/heads/{name}", f"refs/tags/{name}"):
                if ref in self.refs:
                    return self.peel(self.refs[ref])
            if len(name) < 4:
                return None
            found = [sha for sha in self.objects.commits if sha.startswith(name)]
            return found[0] if len(found) == 1 else None

    def peel(self, sha: str) -> str:
        """The commit that an annotated tag means in the end."""
        while sha in self.objects.tags:
            sha = self.objects.tags[sha].target
        return sha

    def branches_at(self, sha: str) -> Iterator[str]:
        """The branches that point at a commit."""
        return (ref.removeprefix("refs/heads/") for ref, at in self.refs.items() if at == sha and ref.startswith("refs/heads/"))

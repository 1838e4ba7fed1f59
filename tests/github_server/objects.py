"""Git's objects, with the SHAs that git gives them, and what follows from the graph of commits."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone

EMPTY_TREE = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
FILE, EXECUTABLE, LINK, FOLDER, SUBMODULE = "100644", "100755", "120000", "040000", "160000"
KINDS = {FILE: "blob", EXECUTABLE: "blob", LINK: "blob", FOLDER: "tree", SUBMODULE: "commit"}


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote a commit, and when."""

    name: str
    email: str
    when: datetime

    def line(self) -> str:
        """As git writes it into a commit."""
        offset = self.when.strftime("%z") or "+0000"
        return f"{self.name} <{self.email}> {int(self.when.timestamp())} {offset}"


@dataclass(frozen=True, slots=True)
class Commit:
    """A commit."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: Person
    committer: Person
    message: str


@dataclass(frozen=True, slots=True)
class Tag:
    """An annotated tag."""

    sha: str
    name: str
    target: str
    kind: str
    tagger: Person
    message: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What a tree holds under a name."""

    mode: str
    sha: str

    @property
    def kind(self) -> str:
        """One of blob, tree, commit."""
        return KINDS[self.mode]


@dataclass(frozen=True)
class Objects:
    """The objects of a repository and of its forks, which share them as they do at GitHub."""

    blobs: dict[str, bytes] = field(default_factory=dict)
    trees: dict[str, dict[str, Entry]] = field(default_factory=lambda: {EMPTY_TREE: {}})
    commits: dict[str, Commit] = field(default_factory=dict)
    tags: dict[str, Tag] = field(default_factory=dict)

    def add_blob(self, content: bytes) -> str:
        """Keep a file's content and return its SHA."""
        sha = _sha("blob", content)
        self.blobs[sha] = content
        return sha

    def add_tree(self, entries: Mapping[str, Entry]) -> str:
        """Keep one folder and return its SHA."""
        # Git sorts folders as if their names ended in a slash.
        ordered = dict(sorted(entries.items(), key=lambda item: f"{item[0]}/" if item[1].mode == FOLDER else item[0]))
        body = b"".join(f"{e.mode.lstrip('0')} {name}\0".encode() + bytes.fromhex(e.sha) for name, e in ordered.items())
        sha = _sha("tree", body)
        self.trees[sha] = ordered
        return sha

    def add_commit(self, tree: str, parents: Sequence[str], message: str, *, author: Person, committer: Person) -> str:
        """Keep a commit and return its SHA."""
        lines = [f"tree {tree}", *(f"parent {parent}" for parent in parents)]
        lines += [f"author {author.line()}", f"committer {committer.line()}", "", message]
        sha = _sha("commit", "\n".join(lines).encode())
        self.commits[sha] = Commit(sha, tree, tuple(parents), author, committer, message)
        return sha

    def add_tag(self, name: str, target: str, kind: str, *, tagger: Person, message: str) -> str:
        """Keep an annotated tag and return its SHA."""
        lines = [f"object {target}", f"type {kind}", f"tag {name}", f"tagger {tagger.line()}", "", message]
        sha = _sha("tag", "\n".join(lines).encode())
        self.tags[sha] = Tag(sha, name, target, kind, tagger, message)
        return sha

    def kind(self, sha: str) -> str | None:
        """One of blob, tree, commit, tag; None if there is no such object."""
        kept: dict[str, Mapping[str, object]] = {
            "commit": self.commits,
            "tree": self.trees,
            "blob": self.blobs,
            "tag": self.tags,
        }
        return next((kind for kind, objects in kept.items() if sha in objects), None)

    def write(self, base: str, changes: Mapping[str, Entry | None]) -> str:
        """A tree with paths added, replaced or (None) taken away; folders that become empty vanish.

        Args:
            base: The tree to start from.
            changes: What is to stand at which path.

        Raises:
            KeyError: A path that is to be taken away is not there.
        """
        here: dict[str, Entry] = dict(self.trees[base])
        below: dict[str, dict[str, Entry | None]] = {}
        for path, entry in changes.items():
            name, _, rest = path.partition("/")
            if rest:
                below.setdefault(name, {})[rest] = entry
            elif entry is None:
                del here[name]
            else:
                here[name] = entry
        for name, inner in below.items():
            present = here.get(name)
            if present is None and any(entry is None for entry in inner.values()):
                raise KeyError(name)
            sha = self.write(present.sha if present and present.mode == FOLDER else EMPTY_TREE, inner)
            if self.trees[sha]:
                here[name] = Entry(FOLDER, sha)
            else:
                here.pop(name, None)
        return self.add_tree(here)

    def walk(self, tree: str, prefix: str = "") -> Iterator[tuple[str, Entry]]:
        """Everything below a tree, folders too, parents before their children."""
        for name, entry in self.trees[tree].items():
            yield prefix + name, entry
            if entry.mode == FOLDER:
                yield from self.walk(entry.sha, f"{prefix}{name}/")

    def files(self, tree: str) -> dict[str, str]:
        """The path of every file below a tree and the SHA of its content."""
        return {path: entry.sha for path, entry in self.walk(tree) if entry.mode != FOLDER}

    def find(self, tree: str, path: str) -> Entry | None:
        """What stands at a path below a tree."""
        entry = Entry(FOLDER, tree)
        for name in filter(None, path.split("/")):
            inner = self.trees.get(entry.sha, {}).get(name) if entry.mode == FOLDER else None
            if inner is None:
                return None
            entry = inner
        return entry

    def history(self, *starts: str) -> Iterator[Commit]:
        """A commit and all before it, as `git log` lists them: the newest first, none before its children's turn."""
        reachable = self.ancestors(*starts)
        waiting = dict.fromkeys(reachable, 0)
        for sha in reachable:
            for parent in self.commits[sha].parents:
                waiting[parent] += 1
        ready = [self._turn(sha) for sha in dict.fromkeys(starts) if not waiting[sha]]
        heapq.heapify(ready)
        while ready:
            commit = self.commits[heapq.heappop(ready)[-1]]
            yield commit
            for parent in commit.parents:
                waiting[parent] -= 1
                if not waiting[parent]:
                    heapq.heappush(ready, self._turn(parent))

    def ancestors(self, *starts: str) -> set[str]:
        """The commits themselves and all before them."""
        found: set[str] = set()
        pending = list(starts)
        while pending:
            sha = pending.pop()
            if sha not in found:
                found.add(sha)
                pending.extend(self.commits[sha].parents)
        return found

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor; None where there is none."""
        common = self.ancestors(one) & self.ancestors(other)
        inner = {parent for sha in common for parent in self.commits[sha].parents}
        best = common - inner
        return min(best, key=self._turn) if best else None

    def _turn(self, sha: str) -> tuple[float, str]:
        return (-self.commits[sha].committer.when.timestamp(), sha)


def _sha(kind: str, body: bytes) -> str:
    return hashlib.sha1(f"{kind} {len(body)}\0".encode() + body, usedforsecurity=False).hexdigest()


def moment(text: str) -> datetime:
    """A time as GitHub writes it."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def stamp(when: datetime) -> str:
    """A time as GitHub writes it: in UTC, to the second."""
    return when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")

"""Files on a branch of their own, without history of the code, written through the git data API.

No clone and no checkout is touched. A branch moves only forward, from the commit that was read to one whose parent it is: of
two writers one is refused, and begins again with what the other wrote.
"""

from __future__ import annotations

import base64
import hashlib
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from github.GitBlob import GitBlob
from github.GitCommit import GitCommit
from github.GithubObject import NotSet
from github.GitRef import GitRef
from github.GitTree import GitTree
from github.InputGitTreeElement import InputGitTreeElement
from github.Repository import Repository as Handle

from metricgate.baseline.files import Edit
from metricgate.errors import StageError
from metricgate.github.api import Repository
from metricgate.github.failures import RejectedError, UnansweredError

README = "README.md"

_ABOUT = b"""\
# Recorded runs

metricgate keeps the runs of the main branch here, to compare pull requests with: metrics and the score of every test example,
by model and commit. Nothing here is part of the code. Old runs go by themselves: `baseline: {keep: 100}` in metricgate.yaml
says how many commits stay.
"""
# GitHub reads blobs of up to 100 MB, and takes them in a request of JSON, a third larger, which it refuses far below that.
_LARGEST = 25_000_000
# Text goes along with the tree and costs no request of its own. A request with some megabytes of it is refused now and then.
_INLINE = 500_000
# Seconds. The span to wait in doubles with each attempt: nobody knows how many others are waiting.
_FIRST_PAUSE = 0.5
_LONGEST_PAUSE = 15.0
# Nor does a job wait an hour for GitHub's limit to be lifted.
_LONGEST_WAIT = 120.0
_PLAIN_FILE = "100644"
_READ = "contents: read"
_WRITE = "contents: write"

# PyGithub takes the redirection of a write to a renamed repository for success. A ValueError counts as an answer cut off.
_NOT_DONE = "it was not done"

Made = TypeVar("Made", GitBlob, GitTree, GitCommit)


@dataclass(frozen=True)
class _State:
    """The branch as it was listed: where it pointed (None: there is no branch), and the blob of every path."""

    ref: GitRef | None
    commit: str | None
    blobs: Mapping[str, str]


class BranchFiles:
    """A branch as a place for files.

    Args:
        repository: Whose branch it is; writing needs ``contents: write``.
        branch: Its name. It is made with the first change.
        attempts: How often a change is tried at most, each time after others were faster.
        refusals: How often GitHub may refuse a change though the branch has not moved, before that counts as its last word.
        sleep: Waits, for a random time, so that writers who met do not meet again.
        chance: A random number from 0 to 1.
    """

    largest = _LARGEST

    def __init__(
        self,
        repository: Repository,
        branch: str = "metricgate",
        *,
        attempts: int = 100,
        refusals: int = 5,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._repository = repository
        self._branch = branch
        self._attempts = attempts
        self._refusals = refusals
        self._sleep = sleep
        self._chance = chance
        self._state: _State | None = None
        self._uploaded: set[str] = set()

    def __repr__(self) -> str:
        return f"BranchFiles({self._repository.full_name}, {self._branch!r})"

    def paths(self) -> Mapping[str, str]:
        """Every path that is on the branch now, with its blob."""
        self._state = self._look()
        return _shown(self._state)

    def listed(self) -> Mapping[str, str]:
        """What the last listing saw; a new one where there was none or we changed the branch since."""
        return self.paths() if self._state is None else _shown(self._state)

    def read(self, path: str) -> bytes:
        """A file as the last listing saw it, even if it was changed since.

        Raises:
            KeyError: It was not there.
        """
        blob = self.listed()[path]

        def fetch(handle: Handle) -> bytes:
            content = base64.b64decode(handle.get_git_blob(blob).content)
            if _blob(content) != blob:
                message = "the content is not that of the blob"  # a ValueError counts as an answer that was cut off
                raise ValueError(message)
            return content

        return self._repository.ask(fetch, doing=f"read {path} on the branch {self._branch}", needs=_READ)

    def holds(self, path: str, content: bytes) -> bool:
        """Whether the last listing saw this very content at the path. No request."""
        return self.listed().get(path) == _blob(content)

    def change(self, edit: Edit, *, message: str) -> bool:
        """Write and delete files in one commit.

        Raises:
            StageError: GitHub does not answer, refuses, or others are always faster.
            RefusedError: The token may not write.
        """
        unanswered = False  # the branch may have moved all the same
        troubles: Counter[str | None] = Counter()
        for attempt in range(self._attempts):
            state = self._state = self._look()
            wanted = {
                path: content
                for path, content in edit(_shown(state)).items()
                if (path in state.blobs if content is None else state.blobs.get(path) != _blob(content))
            }
            if not wanted:
                return unanswered
            moving = False
            try:
                commit = self._commit(state, wanted, message)
                moving = True
                self._move(state, commit, doing=f"{message[:1].lower()}{message[1:]}")
            except (RejectedError, UnansweredError) as error:
                unanswered |= moving and isinstance(error, UnansweredError)
                if isinstance(error, UnansweredError) and error.status is None:
                    self._follow()
                # Refused though the branch is where it was: either a listing came late, or no rule of the repository lets us.
                troubles[state.commit] += 1
                if troubles[state.commit] > self._refusals or (error.wait or 0.0) > _LONGEST_WAIT:
                    raise
                self._sleep(max(error.wait or 0.0, _longest_pause(attempt) * self._chance()))
            else:
                self._state = None
                return True
        raise StageError(
            f"{self._attempts} times somebody else changed the branch {self._branch} first",
            where=self._repository.full_name,
            fix="run the job again when fewer run at the same time",
        )

    def _follow(self) -> None:
        """Use the present name of a repository that was renamed."""
        api, known = self._repository.api, self._repository.full_name

        def name(handle: Handle) -> str:
            handle.id  # noqa: B018 - makes the lazy object ask; until then it only says what it was told
            return handle.full_name

        present = api.repository(known).ask(name, doing="look for the repository", needs="metadata: read")
        if present != known:
            self._repository = api.repository(present)

    def _look(self) -> _State:
        name = f"refs/heads/{self._branch}"

        def find(handle: Handle) -> tuple[GitRef, str] | None:
            # Not the branch by its name: to a token that may not see the repository that would be missing too.
            refs = handle.get_git_matching_refs(f"heads/{self._branch}")
            return next(((ref, ref.object.sha) for ref in refs if ref.ref == name), None)

        found = self._repository.ask(find, doing=f"look for the branch {self._branch}", needs=_READ)
        if found is None:
            return _State(None, None, {})
        ref, commit = found
        return _State(ref, commit, self._list(commit))

    def _list(self, tree: str, *, under: str = "") -> dict[str, str]:
        """The blobs of a tree, or of a commit's."""
        items, whole = self._tree(tree, recursive=True)
        if not whole:  # more than GitHub lists at once: folder by folder then
            items, whole = self._tree(tree, recursive=False)
            if not whole:
                raise StageError(
                    f"the folder {under or '/'} of the branch {self._branch} has more files than GitHub lists",
                    where=self._repository.full_name,
                    fix="give the store another branch in metricgate.yaml:\nbaseline: {branch: metricgate-2}",
                )
        found = {f"{under}{path}": sha for path, kind, sha in items if kind == "blob"}
        # Of a renamed repository PyGithub follows the redirection and loses what stands behind the question mark, so that only
        # the first level comes back. Git keeps no empty folders: one with nothing under it was not listed.
        listed = {path.rpartition("/")[0] for path, _, _ in items}
        for path, kind, sha in items:
            if kind == "tree" and path not in listed:
                found |= self._list(sha, under=f"{under}{path}/")
        return found

    def _tree(self, tree: str, *, recursive: bool) -> tuple[list[tuple[str, str, str]], bool]:
        def get(handle: Handle) -> tuple[list[tuple[str, str, str]], bool]:
            listed = handle.get_git_tree(tree, recursive=recursive)
            return [(item.path, item.type, item.sha) for item in listed.tree], not listed.truncated

        return self._repository.ask(get, doing=f"list the branch {self._branch}", needs=_READ)

    def _commit(self, state: _State, wanted: Mapping[str, bytes | None], message: str) -> str:
        """Make the commit that changes a state; nothing points to it yet."""
        elements, room = [], _INLINE
        for path, content in {**wanted, **({README: _ABOUT} if state.commit is None else {})}.items():
            text = _text(content, room)
            room -= len(content or b"") if text is not None else 0
            elements.append(self._element(path, content, text))
        at = state.commit

        def make(handle: Handle) -> str:
            parents = [] if at is None else [handle.get_git_commit(at)]
            tree = handle.create_git_tree(elements, parents[0].tree if parents else NotSet)
            return _done(handle.create_git_commit(message, _done(tree), parents)).sha

        return self._repository.tell(make, doing=f"write a commit for the branch {self._branch}", needs=_WRITE)

    def _element(self, path: str, content: bytes | None, text: str | None) -> InputGitTreeElement:
        if text is not None:
            return InputGitTreeElement(path, _PLAIN_FILE, "blob", content=text)
        blob = None if content is None else self._upload(path, content)  # None deletes the file
        return InputGitTreeElement(path, _PLAIN_FILE, "blob", sha=blob)

    def _upload(self, path: str, content: bytes) -> str:
        blob = _blob(content)
        if blob not in self._uploaded:  # by an attempt before this one
            encoded = base64.b64encode(content).decode()
            try:
                # A blob is named by its content: the same one twice is one.
                self._repository.ask(
                    lambda handle: _done(handle.create_git_blob(encoded, "base64")), doing=f"write {path}", needs=_WRITE
                )
            except RejectedError as error:
                raise StageError(
                    error.found,
                    where=self._repository.full_name,
                    expected=f"a file that GitHub takes; this one has {len(content):,} bytes",
                    fix="keep score tables elsewhere; the branch then has their digests:\nbaseline: {scores: s3://bucket/path}",
                ) from error
            self._uploaded.add(blob)
        return blob

    def _move(self, state: _State, commit: str, *, doing: str) -> None:
        def move(handle: Handle) -> None:
            if state.ref is None:
                ref = handle.create_git_ref(f"refs/heads/{self._branch}", commit)
            else:
                ref = state.ref
                ref.edit(commit, force=False)
            if ref.object.sha != commit:
                raise ValueError(_NOT_DONE)

        self._repository.tell(move, doing=f"{doing} on the branch {self._branch}", needs=_WRITE)


def _done(made: Made) -> Made:
    if not made.sha:
        raise ValueError(_NOT_DONE)
    return made


def _shown(state: _State) -> Mapping[str, str]:
    return {path: blob for path, blob in state.blobs.items() if path != README}


def _blob(content: bytes) -> str:
    """The name that git gives to a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def _text(content: bytes | None, room: int) -> str | None:
    """The content as a text that goes along with the tree; None where it is none, or too long."""
    if content is None or len(content) > room or b"\0" in content:
        return None
    try:
        return content.decode()
    except UnicodeDecodeError:
        return None


def _longest_pause(attempt: int) -> float:
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * (1 << min(attempt, 10)))

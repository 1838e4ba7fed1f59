"""Where a change left the main branch, and what came before, asked of GitHub instead of a clone."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from datetime import datetime, timezone

from github.Commit import Commit as Listed

from metricgate.baseline import nearest
from metricgate.baseline.nearest import Commit
from metricgate.errors import StageError
from metricgate.github.api import Repository
from metricgate.github.failures import MissingError

_READ = "contents: read"
_PAGE = 100
# Pull requests that are looked at before everything counts as needed: each costs a request.
MOST_PULLS = 200
# Commits that are listed in the hope that another change began at one of them.
_MOST_LISTED = 1000
_LONG_AGO = datetime.min.replace(tzinfo=timezone.utc)


def merge_base(repository: Repository, base: str, head: str) -> str:
    """The last commit that two lines of history have in common, also where one is a fork's.

    Args:
        repository: The one that a change goes into.
        base: A commit of it.
        head: The change's own commit.

    Raises:
        MissingError: They have none in common, or GitHub does not know one of them.
        GitHubError: GitHub does not answer.
    """
    return base if base == head else _parting(repository, base, head).id


def before(repository: Repository, commit: str) -> Iterator[Commit]:
    """A commit and its ancestors as ``git log`` lists them, asked for a hundred at a time and no further than they are read.

    Raises:
        GitHubError: GitHub does not know the commit, or does not answer.
        StageError: It answers something else.
    """
    pages = repository.handle.get_commits(sha=commit)
    number = 0
    while True:
        listed = repository.ask(
            lambda _, page=number: [_commit(item) for item in pages.get_page(page)],  # type: ignore[misc]  # binds the number
            doing=f"list the commits before {commit[:12]}",
            needs=_READ,
        )
        if number == 0 and (not listed or listed[0].id != commit):
            # PyGithub follows the redirection of a renamed repository and loses the question, so this answers another one.
            raise StageError(
                f"GitHub did not list the commits before {commit[:12]}, but others",
                where=repository.full_name,
                expected="the repository by its present name",
                fix="run the job again; if the repository was renamed, by its new name",
            )
        yield from listed
        if len(listed) < _PAGE:
            return
        number += 1


def needed(repository: Repository, recorded: Collection[str], *, max_commits: int) -> frozenset[str]:
    """The recorded commits that a tag points to or that an open pull request is compared with.

    Args:
        repository: The repository.
        recorded: The recorded commits.
        max_commits: How far back a baseline may lie.

    Returns:
        Those; with more open pull requests than can be asked about, every recorded commit.
    """
    tags = repository.ask(lambda handle: {tag.commit.sha for tag in handle.get_tags()}, doing="list the tags", needs=_READ)
    pulls = repository.ask(
        lambda handle: {(pull.base.sha, pull.head.sha) for pull in handle.get_pulls(state="open")},
        doing="list the open pull requests",
        needs="pull-requests: read",
    )
    if len(pulls) > MOST_PULLS:
        return frozenset(recorded)
    partings = set()
    for base, head in sorted(pulls):
        with contextlib.suppress(MissingError):  # without a common commit there is no baseline that could be needed
            partings.add(_parting(repository, base, head))
    listings: list[_Listing] = []
    found = set(tags)
    # The newest first: what it lists will have most of the others.
    for parting in sorted(partings, key=lambda commit: (commit.time or _LONG_AGO, commit.id), reverse=True):
        history = next((rest for listing in listings if (rest := listing.since(parting)) is not None), None)
        if history is None:
            listings.append(_Listing(before(repository, parting.id)))
            history = iter(listings[-1])
        if baseline := nearest.nearest(history, recorded, max_commits=max_commits):
            found.add(baseline.commit)
    return frozenset(recorded) & found


class _Listing:
    """A history that is read several times, and asked for once."""

    def __init__(self, source: Iterator[Commit]) -> None:
        self._source = source
        self._read: list[Commit] = []
        self._positions: dict[str, int] = {}

    def __iter__(self) -> Iterator[Commit]:
        return self._from(0)

    def since(self, commit: Commit) -> Iterator[Commit] | None:
        """The history of a commit, with others between that are not of it; None if it does not come soon.

        What GitHub lists comes by time, and an ancestor never stands before its descendant.
        """
        if commit.id not in self._positions:
            for passed in self._from(len(self._read)):
                gone_by = passed.time is None or commit.time is None or passed.time < commit.time
                if passed.id == commit.id or gone_by or len(self._read) >= _MOST_LISTED:
                    break
        position = self._positions.get(commit.id)
        return None if position is None else self._from(position)

    def _from(self, position: int) -> Iterator[Commit]:
        while True:
            if position == len(self._read):
                commit = next(self._source, None)
                if commit is None:
                    return
                self._positions[commit.id] = position
                self._read.append(commit)
            yield self._read[position]
            position += 1


def _parting(repository: Repository, base: str, head: str) -> Commit:
    # One commit a page: what the change did is not asked for.
    return repository.ask(
        lambda handle: _commit(handle.compare(base, head, comparison_commits_per_page=1).merge_base_commit),
        doing=f"find where {head[:12]} left {base[:12]}",
        needs=_READ,
    )


def _commit(item: Listed) -> Commit:
    # GitHub's description lets a commit have no committer; PyGithub's types do not.
    time: datetime | None = getattr(item.commit.committer, "date", None)
    return Commit(item.sha, tuple(parent.sha for parent in item.parents), time)

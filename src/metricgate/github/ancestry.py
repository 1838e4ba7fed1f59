"""Where a change left the main branch, and what came before, asked of GitHub instead of a clone."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator
from datetime import datetime

from github.Commit import Commit as Listed

from metricgate.baseline import nearest
from metricgate.baseline.nearest import Commit
from metricgate.errors import StageError
from metricgate.github.api import Repository
from metricgate.github.failures import MissingError

_READ = "contents: read"
_PAGE = 100
# Pull requests that are looked at before everything counts as needed: each costs two requests.
MOST_PULLS = 200


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
    if base == head:
        return base
    # One commit a page: what the change did is not asked for.
    return repository.ask(
        lambda handle: handle.compare(base, head, comparison_commits_per_page=1).merge_base_commit.sha,
        doing=f"find where {head[:12]} left {base[:12]}",
        needs=_READ,
    )


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
            lambda _, page=number: [  # type: ignore[misc]  # the default binds the number
                Commit(item.sha, tuple(parent.sha for parent in item.parents), _time(item)) for item in pages.get_page(page)
            ],
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
    bases = set()
    for base, head in sorted(pulls):
        with contextlib.suppress(MissingError):  # without a common commit there is no baseline that could be needed
            bases.add(merge_base(repository, base, head))
    found = [nearest.nearest(before(repository, base), recorded, max_commits=max_commits) for base in sorted(bases)]
    return frozenset(recorded) & (tags | {each.commit for each in found if each is not None})


def _time(commit: Listed) -> datetime | None:
    # GitHub's description lets a commit have no committer; PyGithub's types do not.
    return getattr(commit.commit.committer, "date", None)

"""The GitHub release of a tag: found or made, and the part of its text that is ours kept up to date.

A release belongs to people: its title, its flags, whether it is a draft and all text around ours stay as they are. So any
number of runs can do this for one tag, one after another or at the same time.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

from metricgate.errors import StageError
from metricgate.github.failures import MissingError, RejectedError, UnansweredError
from metricgate.release import notes
from metricgate.report import plain

if TYPE_CHECKING:
    from github.GitRelease import GitRelease
    from github.Repository import Repository as Handle

    from metricgate.github.api import Repository

READS = "contents: read"
WRITES = "contents: write"

WRITTEN = 3
"""How often a text is written because it is changed all the time."""

_MOST_LISTED = 1000


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What a release is to say.

    Attributes:
        tag: Its tag.
        commit: What the tag has to point to.
        title: Its title, if it has to be made.
        model: Whose part of the text it is; a tag may release several models.
        notes: That part, as Markdown.
        prerelease: Whether it is not final, if it has to be made.
        latest: Whether it is the newest of the final ones, if it has to be made.
    """

    tag: str
    commit: str
    title: str
    model: str
    notes: str
    prerelease: bool = False
    latest: bool = False


@dataclass(frozen=True, kw_only=True)
class Released:
    """What has become of it.

    Attributes:
        url: The release's address.
        draft: Whether people have not published it yet.
        changed: Whether anything was written.
    """

    url: str
    draft: bool = False
    changed: bool = True


@dataclass(frozen=True, kw_only=True)
class _Kept:
    id: int
    url: str
    body: str
    draft: bool


def publish(repository: Repository, wanted: Wanted) -> Released:
    """Make the release of a tag, or bring our part of its text up to date.

    Args:
        repository: Where the tag is.
        wanted: What it is to say.

    Raises:
        StageError: The tag is gone, or points to another commit than the one that was released.
        GitHubError: GitHub does not let it be written, and why.

    References:
        https://docs.github.com/rest/releases/releases
    """
    _check_tag(repository, wanted)
    tries = repository.api.tries()
    written, refused = 0, False
    while True:
        kept = _find(repository, wanted)
        text = notes.merged(kept.body if kept else "", wanted.notes, model=wanted.model)
        if kept is not None and (text == kept.body or written == WRITTEN):
            return Released(url=kept.url, draft=kept.draft, changed=written > 0)
        try:
            if kept is None:
                return _create(repository, wanted, text)
            _edit(repository, kept, text, tag=wanted.tag)
            written += 1  # and look: another run may have read the text before and written it after
        except UnansweredError as error:  # nobody knows whether it is done: look
            tries.again(error)
        except RejectedError:
            if kept is not None or refused:
                raise
            refused = True  # another run may have been faster: of one tag there is one release


def _check_tag(repository: Repository, wanted: Wanted) -> None:
    """A release of a tag that is not there would make it, wherever the default branch is now."""

    def target(handle: Handle) -> str:
        found = handle.get_git_ref(f"tags/{wanted.tag}").object
        while found.type == "tag":  # annotated
            found = handle.get_git_tag(found.sha).object
        return found.sha

    shown = plain.text(wanted.tag)
    fix = "release a new tag: one that was pulled once has to stay what it was"
    try:
        commit = repository.ask(target, doing=f"read the tag {shown}", needs=READS)
    except MissingError:
        raise StageError(f"the tag {shown} is gone, so there is nothing to write a release of", fix=fix) from None
    if commit != wanted.commit:
        raise StageError(
            f"the tag {shown} points to {commit[:7]} now", expected=f"{wanted.commit[:7]}, which was released", fix=fix
        )


def _find(repository: Repository, wanted: Wanted) -> _Kept | None:
    """The published release of the tag; otherwise its draft, ours before the newest of others; None without either."""

    def read(release: GitRelease) -> _Kept:
        return _Kept(id=release.id, url=release.html_url, body=release.body or "", draft=release.draft)

    doing = f"read the release of {plain.text(wanted.tag)}"
    try:
        return repository.ask(lambda handle: read(handle.get_release(wanted.tag)), doing=doing, needs=READS)
    except MissingError:
        pass

    def drafts(handle: Handle) -> list[_Kept]:
        listed = itertools.islice(handle.get_releases(), _MOST_LISTED)
        return [read(release) for release in listed if release.draft and release.tag_name == wanted.tag]

    found = repository.ask(drafts, doing="list the releases", needs=READS)
    return next((kept for kept in found if notes.part_of(kept.body, model=wanted.model) is not None), next(iter(found), None))


def _create(repository: Repository, wanted: Wanted, text: str) -> Released:
    def create(handle: Handle) -> Released:
        made = handle.create_git_release(
            wanted.tag,
            wanted.title,
            text,
            prerelease=wanted.prerelease,
            target_commitish=wanted.commit,
            make_latest="true" if wanted.latest and not wanted.prerelease else "false",
        )
        if made.tag_name != wanted.tag:  # PyGithub takes the redirection from a renamed repository for success
            message = "it was not done"
            raise ValueError(message)
        return Released(url=made.html_url)

    return repository.tell(create, doing=f"make a release of {plain.text(wanted.tag)}", needs=WRITES)


def _edit(repository: Repository, kept: _Kept, text: str, *, tag: str) -> None:
    def edit(handle: Handle) -> None:
        # PyGithub's own method writes title and flags again, which somebody may be changing.
        address = f"{handle.url}/releases/{kept.id}"
        _, answer = handle.requester.requestJsonAndCheck("PATCH", address, input={"body": text})
        if not answer or answer.get("id") != kept.id:
            message = "it was not done"
            raise ValueError(message)

    repository.tell(edit, doing=f"update the release of {plain.text(tag)}", needs=WRITES)

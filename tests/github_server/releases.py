"""Releases: published ones, one a tag, and drafts, of which a tag may have any number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.github_server import permissions, work_shapes
from tests.github_server.calls import Answer, Call, Refused, invalid, missing
from tests.github_server.records import Release

BODY_LIMIT = 125_000


def list_all(call: Call) -> Answer:
    """All releases, the newest first; drafts only for those who may write one."""
    found = [kept for kept in reversed(call.repo.all_releases.values()) if not kept.draft or _may_write(call)]
    return call.page(found, lambda kept: work_shapes.release(call.repo, kept))


def get(call: Call) -> Answer:
    """One release by its number."""
    return Answer(body=work_shapes.release(call.repo, _release(call)))


def get_by_tag(call: Call) -> Answer:
    """The published release of a tag: drafts have no tag yet, whatever they say."""
    found = call.repo.release_of(call.path["tag"])
    if found is None:
        raise missing()
    return Answer(body=work_shapes.release(call.repo, found))


def get_latest(call: Call) -> Answer:
    """The release that is called the latest."""
    found = call.repo.latest_release
    if found is None:
        raise missing()
    return Answer(body=work_shapes.release(call.repo, found))


def create(call: Call) -> Answer:
    """A new release; published, it makes its tag where there is none."""
    repo, body = call.repo, call.body
    _check(call, body, but=0)
    made = Release(
        id=call.world.next_id(),
        tag=body["tag_name"],
        target=body.get("target_commitish", repo.default_branch),
        name=body.get("name"),
        body=body.get("body"),
        draft=body.get("draft", False),
        prerelease=body.get("prerelease", False),
        author=call.token.account,
        created=call.world.tick(),
    )
    _settle(call, made, latest=body.get("make_latest", "true"))
    repo.all_releases[made.id] = made
    shape = work_shapes.release(repo, made)
    return Answer(status=201, body=shape, headers={"Location": shape["url"]})


def update(call: Call) -> Answer:
    """Change a release, or publish a draft."""
    kept, body = _release(call), call.body
    _check(call, {"tag_name": kept.tag, "draft": kept.draft, **body}, but=kept.id)
    was_draft = kept.draft
    for key, name in _FIELDS.items():
        setattr(kept, name, body.get(key, getattr(kept, name)))
    kept.updated = call.world.tick()
    _settle(call, kept, latest=body.get("make_latest", "true" if was_draft else ""))
    return Answer(body=work_shapes.release(call.repo, kept))


_FIELDS = {
    "tag_name": "tag",
    "target_commitish": "target",
    "name": "name",
    "body": "body",
    "draft": "draft",
    "prerelease": "prerelease",
}


def _check(call: Call, body: Mapping[str, Any], *, but: int) -> None:
    if len(body.get("body") or "") > BODY_LIMIT:
        message = f"body is too long (maximum is {BODY_LIMIT} characters)"
        raise invalid("Release", "body", code="custom", message=message)
    other = call.repo.release_of(body["tag_name"])
    if other is not None and other.id != but and not body.get("draft", False):
        raise invalid("Release", "tag_name", code="already_exists")
    if (body.get("draft", False) or body.get("prerelease", False)) and body.get("make_latest") == "true":
        raise invalid("Release", "make_latest", code="custom", message="Drafts and prereleases cannot be set as latest.")


def _settle(call: Call, kept: Release, *, latest: str) -> None:
    if kept.draft:
        return
    repo = call.repo
    if f"refs/tags/{kept.tag}" not in repo.refs:
        commit = repo.resolve(kept.target)
        if commit is None:
            raise invalid("Release", "target_commitish")
        repo.tag(kept.tag, commit)
    kept.published = kept.published or call.world.tick()
    if latest == "true" and not kept.prerelease:
        repo.latest = kept.id


def _may_write(call: Call) -> bool:
    try:
        permissions.check("repos/create-release", call.token, call.repo)
    except Refused:
        return False
    return True


def _release(call: Call) -> Release:
    kept = call.repo.all_releases.get(int(call.path["release_id"]))
    if kept is None or (kept.draft and not _may_write(call)):
        raise missing()
    return kept

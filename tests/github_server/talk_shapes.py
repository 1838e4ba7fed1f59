"""Pull requests and what is said and done there, as GitHub's JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.github_server import code_shapes, shapes
from tests.github_server.objects import stamp
from tests.github_server.records import Account, Comment, Event, Label, Pull

if TYPE_CHECKING:
    from tests.github_server.repository import Repository

_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")


def comment(repo: Repository, kept: Comment) -> shapes.Json:
    """A comment of an issue or pull request."""
    root, url = repo.world.url, f"{shapes.api(repo)}/issues/comments/{kept.id}"
    return {
        "url": url,
        "html_url": f"{shapes.html(repo)}/pull/{kept.number}#issuecomment-{kept.id}",
        "issue_url": f"{shapes.api(repo)}/issues/{kept.number}",
        "id": kept.id,
        "node_id": shapes.node("IssueComment", kept.id),
        "user": shapes.account(root, kept.author),
        "created_at": stamp(kept.created),
        "updated_at": stamp(kept.updated),
        "body": kept.body,
        "author_association": association(repo, kept.author),
        "reactions": {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(_REACTIONS, 0)},
        "performed_via_github_app": shapes.app(root) if kept.by_app else None,
    }


def association(repo: Repository, who: Account) -> str:
    """What an account is to a repository."""
    if who.login == repo.owner.login:
        return "OWNER"
    return "COLLABORATOR" if who.login in repo.roles else "NONE"


def label(repo: Repository, kept: Label) -> shapes.Json:
    """A label."""
    return {
        "id": kept.id,
        "node_id": shapes.node("Label", kept.id),
        "url": f"{shapes.api(repo)}/labels/{kept.name}",
        "name": kept.name,
        "description": "",
        "color": kept.color,
        "default": False,
    }


def event(repo: Repository, kept: Event) -> shapes.Json:
    """Something that happened to a pull request."""
    root = repo.world.url
    made: shapes.Json = {
        "id": kept.id,
        "node_id": shapes.node("Event", kept.id),
        "url": f"{shapes.api(repo)}/issues/events/{kept.id}",
        "actor": shapes.account(root, kept.actor),
        "event": kept.kind,
        "commit_id": kept.commit or None,
        "commit_url": f"{shapes.api(repo)}/commits/{kept.commit}" if kept.commit else None,
        "created_at": stamp(kept.when),
        "performed_via_github_app": shapes.app(root) if kept.by_app else None,
    }
    if kept.label:
        made["label"] = {"name": kept.label, "color": repo.labels[kept.label.lower()].color}
    if kept.kind == "locked":
        made["lock_reason"] = None
    return made


def pull_simple(repo: Repository, kept: Pull) -> shapes.Json:
    """A pull request as GitHub lists it."""
    root, url, page = repo.world.url, f"{shapes.api(repo)}/pulls/{kept.number}", f"{shapes.html(repo)}/pull/{kept.number}"
    issue = f"{shapes.api(repo)}/issues/{kept.number}"
    links = {
        "self": url,
        "html": page,
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{shapes.api(repo)}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{shapes.api(repo)}/statuses/{kept.head}",
    }
    return {
        "url": url,
        "id": kept.id,
        "node_id": shapes.node("PullRequest", kept.id),
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        **{f"{name}_url": target for name, target in links.items() if name not in ("self", "html")},
        "number": kept.number,
        "state": kept.state,
        "locked": kept.locked,
        "title": kept.title,
        "user": shapes.account(root, kept.author),
        "body": kept.body,
        "created_at": stamp(kept.created),
        "updated_at": stamp(kept.updated),
        "closed_at": stamp(kept.closed) if kept.closed else None,
        "merged_at": stamp(kept.merged) if kept.merged else None,
        "merge_commit_sha": kept.merge,
        "assignee": None,
        "assignees": [],
        "requested_reviewers": [],
        "requested_teams": [],
        "labels": labels(repo, kept),
        "milestone": None,
        "draft": kept.draft,
        "head": _side(repo, kept.head_repository, kept.head_ref, kept.head),
        "base": _side(repo, repo.full_name, kept.base_ref, kept.base),
        "_links": {name: {"href": target} for name, target in links.items()},
        "author_association": association(repo, kept.author),
        "auto_merge": None,
        "active_lock_reason": None,
    }


def pull(repo: Repository, kept: Pull) -> shapes.Json:
    """A pull request as it shows itself."""
    objects = repo.objects
    new = objects.ancestors(kept.head) - objects.ancestors(kept.base)
    merged_by = shapes.account(repo.world.url, kept.author) if kept.merged else None
    return {
        **pull_simple(repo, kept),
        "merged": kept.merged is not None,
        "mergeable": None if kept.merged else True,
        "rebaseable": None if kept.merged else True,
        "mergeable_state": "unknown" if kept.merged else "clean",
        "merged_by": merged_by,
        "comments": len(repo.comments_of(kept.number)),
        "review_comments": 0,
        "maintainer_can_modify": kept.head_repository != repo.full_name,
        "commits": len(new),
        "additions": 0,
        "deletions": 0,
        "changed_files": len(code_shapes.differences(repo, objects.merge_base(kept.base, kept.head), kept.head)),
    }


def pull_minimal(repo: Repository, kept: Pull) -> shapes.Json:
    """A pull request as a workflow run mentions it."""

    def side(name: str, ref: str, sha: str) -> shapes.Json:
        where = repo.world.existing(name)
        about = {"id": where.id, "url": shapes.api(where), "name": where.name} if where else None
        return {"ref": ref, "sha": sha, "repo": about}

    return {
        "url": f"{shapes.api(repo)}/pulls/{kept.number}",
        "id": kept.id,
        "number": kept.number,
        "head": side(kept.head_repository, kept.head_ref, kept.head),
        "base": side(repo.full_name, kept.base_ref, kept.base),
    }


def labels(repo: Repository, kept: Pull) -> list[shapes.Json]:
    """The labels of a pull request."""
    return [label(repo, repo.labels[name.lower()]) for name in kept.labels]


def issue(repo: Repository, kept: Pull) -> shapes.Json:
    """A pull request as an issue, which it is too."""
    url, page, pulls = (
        f"{shapes.api(repo)}/issues/{kept.number}",
        f"{shapes.html(repo)}/pull/{kept.number}",
        f"{shapes.api(repo)}/pulls/{kept.number}",
    )
    merged = stamp(kept.merged) if kept.merged else None
    return {
        "url": url,
        "repository_url": shapes.api(repo),
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "timeline_url": f"{url}/timeline",
        "html_url": page,
        "id": kept.id,
        "node_id": shapes.node("PullRequest", kept.id),
        "number": kept.number,
        "title": kept.title,
        "user": shapes.account(repo.world.url, kept.author),
        "labels": labels(repo, kept),
        "state": kept.state,
        "state_reason": None,
        "locked": kept.locked,
        "active_lock_reason": None,
        "assignee": None,
        "assignees": [],
        "milestone": None,
        "comments": len(repo.comments_of(kept.number)),
        "created_at": stamp(kept.created),
        "updated_at": stamp(kept.updated),
        "closed_at": stamp(kept.closed) if kept.closed else None,
        "closed_by": None,
        "author_association": association(repo, kept.author),
        "body": kept.body,
        "draft": kept.draft,
        "performed_via_github_app": None,
        "reactions": {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(_REACTIONS, 0)},
        "pull_request": {
            "url": pulls,
            "html_url": page,
            "diff_url": f"{page}.diff",
            "patch_url": f"{page}.patch",
            "merged_at": merged,
        },
    }


def _side(repo: Repository, name: str, ref: str, sha: str) -> shapes.Json:
    source = repo.world.existing(name)
    owner = repo.world.account(name.partition("/")[0])
    return {
        "label": f"{owner.login}:{ref}",
        "ref": ref,
        "sha": sha,
        "user": shapes.account(repo.world.url, owner),
        "repo": shapes.repository(source) if source else None,
    }

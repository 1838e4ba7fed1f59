"""The server's memory as GitHub's JSON: every answer whole, with all that GitHub's schemas require."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from tests.github_server.objects import Commit, Objects, Person, Tag, stamp
from tests.github_server.records import Account, Artifact, CheckRun, Comment, Event, Label, Pull, Status, WorkflowRun

if TYPE_CHECKING:
    from tests.github_server.repository import Repository

Json = dict[str, Any]

_PARTS = """archive_url:{archive_format}{/ref} assignees_url:assignees{/user} blobs_url:git/blobs{/sha}
branches_url:branches{/branch} collaborators_url:collaborators{/collaborator} comments_url:comments{/number}
commits_url:commits{/sha} compare_url:compare/{base}...{head} contents_url:contents/{+path} contributors_url:contributors
deployments_url:deployments downloads_url:downloads events_url:events forks_url:forks git_commits_url:git/commits{/sha}
git_refs_url:git/refs{/sha} git_tags_url:git/tags{/sha} hooks_url:hooks issue_comment_url:issues/comments{/number}
issue_events_url:issues/events{/number} issues_url:issues{/number} keys_url:keys{/key_id} labels_url:labels{/name}
languages_url:languages merges_url:merges milestones_url:milestones{/number}
notifications_url:notifications{?since,all,participating} pulls_url:pulls{/number} releases_url:releases{/id}
stargazers_url:stargazers statuses_url:statuses/{sha} subscribers_url:subscribers subscription_url:subscription
tags_url:tags teams_url:teams trees_url:git/trees{/sha}"""
_REACTIONS = ("+1", "-1", "laugh", "hooray", "confused", "heart", "rocket", "eyes")
_UNSIGNED = {"verified": False, "reason": "unsigned", "signature": None, "payload": None, "verified_at": None}


def node(kind: str, key: object) -> str:
    """An id of GitHub's GraphQL side."""
    return base64.b64encode(f"{kind}:{key}".encode()).decode()


def web(root: str) -> str:
    """Where people look, given the root of the API."""
    return root.removesuffix("/api/v3")


def account(root: str, who: Account) -> Json:
    """A simple user."""
    url = f"{root}/users/{who.login.replace('[', '%5B').replace(']', '%5D')}"
    return {
        "login": who.login,
        "id": who.id,
        "node_id": node(who.type, who.id),
        "avatar_url": f"{web(root)}/avatars/u/{who.id}?v=4",
        "gravatar_id": "",
        "url": url,
        "html_url": f"{web(root)}/{who.login.removesuffix('[bot]')}",
        "followers_url": f"{url}/followers",
        "following_url": f"{url}/following{{/other_user}}",
        "gists_url": f"{url}/gists{{/gist_id}}",
        "starred_url": f"{url}/starred{{/owner}}{{/repo}}",
        "subscriptions_url": f"{url}/subscriptions",
        "organizations_url": f"{url}/orgs",
        "repos_url": f"{url}/repos",
        "events_url": f"{url}/events{{/privacy}}",
        "received_events_url": f"{url}/received_events",
        "type": who.type,
        "user_view_type": "public",
        "site_admin": False,
    }


def profile(root: str, who: Account) -> Json:
    """A public user."""
    nothing = dict.fromkeys(("name", "company", "location", "email", "hireable", "bio", "twitter_username"))
    counts = dict.fromkeys(("public_repos", "public_gists", "followers", "following"), 0)
    times = {"created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z"}
    return {**account(root, who), **nothing, "blog": "", **counts, **times}


def app(root: str) -> Json:
    """The app that a workflow's token belongs to."""
    return {
        "id": 15368,
        "slug": "github-actions",
        "node_id": node("App", 15368),
        "owner": account(root, Account("github", 9919, "Organization")),
        "name": "GitHub Actions",
        "description": "Automate your workflow from idea to production",
        "external_url": "https://help.github.com/en/actions",
        "html_url": f"{web(root)}/apps/github-actions",
        "created_at": "2018-07-30T09:30:17Z",
        "updated_at": "2019-12-10T19:04:12Z",
        "permissions": {"checks": "write", "contents": "write", "issues": "write", "metadata": "read"},
        "events": [],
    }


def minimal_repository(repo: Repository) -> Json:
    """A repository where it is mentioned in passing."""
    root, url = repo.world.url, api(repo)
    parts = dict(part.split(":", 1) for part in _PARTS.split())
    return {
        "id": repo.id,
        "node_id": node("Repository", repo.id),
        "name": repo.name,
        "full_name": repo.full_name,
        "private": repo.private,
        "owner": account(root, repo.owner),
        "html_url": html(repo),
        "description": None,
        "fork": bool(repo.fork_of),
        "url": url,
        **{key: f"{url}/{rest}" for key, rest in parts.items()},
    }


def repository(repo: Repository) -> Json:
    """A repository as a pull request shows it."""
    page, created = html(repo), stamp(repo.created)
    counts = (
        "forks",
        "forks_count",
        "open_issues",
        "open_issues_count",
        "size",
        "stargazers_count",
        "watchers",
        "watchers_count",
    )
    has = {"issues": True, "projects": True, "downloads": True, "wiki": True, "pages": False, "discussions": False}
    return {
        **minimal_repository(repo),
        "git_url": f"git:{page.partition(':')[2]}.git",
        "ssh_url": f"git@localhost:{repo.full_name}.git",
        "clone_url": f"{page}.git",
        "svn_url": page,
        "mirror_url": None,
        "homepage": None,
        "language": None,
        "license": None,
        "archived": False,
        "disabled": False,
        "allow_forking": True,
        "is_template": False,
        "web_commit_signoff_required": False,
        "topics": [],
        "visibility": "private" if repo.private else "public",
        "default_branch": repo.default_branch,
        **{f"has_{what}": whether for what, whether in has.items()},
        **dict.fromkeys(counts, 0),
        **dict.fromkeys(("created_at", "updated_at", "pushed_at"), created),
    }


def full_repository(repo: Repository, *, role: str) -> Json:
    """A repository as it shows itself."""
    order = ("none", "read", "triage", "write", "maintain", "admin")
    names = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}
    may = {name: order.index(role) >= order.index(least) for name, least in names.items()}
    made = {**repository(repo), "permissions": may, "network_count": 0, "subscribers_count": 0, "temp_clone_token": None}
    if repo.fork_of:
        parent = repository(repo.world.repository(repo.fork_of))
        made |= {"parent": parent, "source": parent}
    return made


def api(repo: Repository) -> str:
    """The repository's place in the API."""
    return f"{repo.world.url}/repos/{repo.full_name}"


def html(repo: Repository) -> str:
    """The repository's page."""
    return f"{web(repo.world.url)}/{repo.full_name}"


def ref(repo: Repository, name: str) -> Json:
    """A git reference."""
    sha = repo.refs[name]
    kind = repo.objects.kind(sha)
    target = {"sha": sha, "type": kind, "url": f"{api(repo)}/git/{kind}s/{sha}"}
    return {"ref": name, "node_id": node("Ref", name), "url": f"{api(repo)}/git/{name}", "object": target}


def person(who: Person) -> Json:
    """Who wrote a commit."""
    return {"name": who.name, "email": who.email, "date": stamp(who.when)}


def git_commit(repo: Repository, made: Commit) -> Json:
    """A commit as git sees it."""
    return {
        "sha": made.sha,
        "node_id": node("Commit", made.sha),
        "url": f"{api(repo)}/git/commits/{made.sha}",
        "html_url": f"{html(repo)}/commit/{made.sha}",
        "author": person(made.author),
        "committer": person(made.committer),
        "tree": {"sha": made.tree, "url": f"{api(repo)}/git/trees/{made.tree}"},
        "message": made.message,
        "parents": [
            {"sha": p, "url": f"{api(repo)}/git/commits/{p}", "html_url": f"{html(repo)}/commit/{p}"} for p in made.parents
        ],
        "verification": _UNSIGNED,
    }


def git_tag(repo: Repository, made: Tag) -> Json:
    """An annotated tag."""
    return {
        "sha": made.sha,
        "node_id": node("Tag", made.sha),
        "url": f"{api(repo)}/git/tags/{made.sha}",
        "tag": made.name,
        "message": made.message,
        "tagger": person(made.tagger),
        "object": {"sha": made.target, "type": made.kind, "url": f"{api(repo)}/git/{made.kind}s/{made.target}"},
        "verification": _UNSIGNED,
    }


def git_tree(repo: Repository, sha: str, *, recursive: bool, limit: int) -> Json:
    """A folder, or everything below it, as far as GitHub's limit goes."""
    objects = repo.objects
    found = objects.walk(sha) if recursive else iter(objects.trees[sha].items())
    entries = []
    for path, entry in found:
        item: Json = {"path": path, "mode": entry.mode, "type": entry.kind, "sha": entry.sha}
        if entry.kind != "commit":
            item["url"] = f"{api(repo)}/git/{entry.kind}s/{entry.sha}"
        if entry.kind == "blob":
            item["size"] = len(objects.blobs[entry.sha])
        entries.append(item)
    url = f"{api(repo)}/git/trees/{sha}"
    return {"sha": sha, "url": url, "tree": entries[:limit], "truncated": len(entries) > limit}


def blob(repo: Repository, sha: str) -> Json:
    """A file's content."""
    content = repo.objects.blobs[sha]
    text = base64.encodebytes(content).decode()
    url = f"{api(repo)}/git/blobs/{sha}"
    return {"sha": sha, "node_id": node("Blob", sha), "size": len(content), "url": url, "content": text, "encoding": "base64"}


def content(repo: Repository, path: str, sha: str, *, at: str, limit: int = 1_000_000) -> Json:
    """A file by its path. Above a limit its content is missing, as at GitHub."""
    raw = repo.objects.blobs[sha]
    url, page, git = f"{api(repo)}/contents/{path}?ref={at}", f"{html(repo)}/blob/{at}/{path}", f"{api(repo)}/git/blobs/{sha}"
    small = len(raw) <= limit
    return {
        "type": "file",
        "encoding": "base64" if small else "none",
        "size": len(raw),
        "name": path.rpartition("/")[2],
        "path": path,
        "content": base64.encodebytes(raw).decode() if small else "",
        "sha": sha,
        "url": url,
        "git_url": git,
        "html_url": page,
        "download_url": f"{html(repo)}/raw/{at}/{path}",
        "_links": {"git": git, "self": url, "html": page},
    }


def commit(repo: Repository, made: Commit) -> Json:
    """A commit as GitHub lists it."""
    url = f"{api(repo)}/commits/{made.sha}"
    return {
        "sha": made.sha,
        "node_id": node("Commit", made.sha),
        "commit": {
            "author": person(made.author),
            "committer": person(made.committer),
            "message": made.message,
            "tree": {"sha": made.tree, "url": f"{api(repo)}/git/trees/{made.tree}"},
            "url": f"{api(repo)}/git/commits/{made.sha}",
            "comment_count": 0,
            "verification": _UNSIGNED,
        },
        "url": url,
        "html_url": f"{html(repo)}/commit/{made.sha}",
        "comments_url": f"{url}/comments",
        "author": account(repo.world.url, repo.world.account(made.author.name)),
        "committer": account(repo.world.url, repo.world.account(made.committer.name)),
        "parents": [
            {"sha": p, "url": f"{api(repo)}/commits/{p}", "html_url": f"{html(repo)}/commit/{p}"} for p in made.parents
        ],
    }


def differences(repo: Repository, before: str | None, after: str) -> list[Json]:
    """The files that differ between two commits (None: nothing yet); lines are not counted."""
    objects: Objects = repo.objects
    old = objects.files(objects.commits[before].tree) if before else {}
    new = objects.files(objects.commits[after].tree)
    found = []
    for path in sorted(old.keys() | new.keys()):
        if old.get(path) == new.get(path):
            continue
        status = "added" if path not in old else "removed" if path not in new else "modified"
        found.append(
            {
                "sha": new.get(path) or old[path],
                "filename": path,
                "status": status,
                **dict.fromkeys(("additions", "deletions", "changes"), 0),
                "blob_url": f"{html(repo)}/blob/{after}/{path}",
                "raw_url": f"{html(repo)}/raw/{after}/{path}",
                "contents_url": f"{api(repo)}/contents/{path}?ref={after}",
            }
        )
    return found


def comparison(repo: Repository, base: str, head: str, shared: str, commits: Iterable[Commit], *, files: bool) -> Json:
    """How two commits relate; ``commits`` is the page that was asked for."""
    objects = repo.objects
    ahead, behind = objects.ancestors(head) - objects.ancestors(base), objects.ancestors(base) - objects.ancestors(head)
    status = "diverged" if ahead and behind else "ahead" if ahead else "behind" if behind else "identical"
    page = f"{html(repo)}/compare/{base}...{head}"
    made = {
        "url": f"{api(repo)}/compare/{base}...{head}",
        "html_url": page,
        "permalink_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        "base_commit": commit(repo, objects.commits[base]),
        "merge_base_commit": commit(repo, objects.commits[shared]),
        "status": status,
        "ahead_by": len(ahead),
        "behind_by": len(behind),
        "total_commits": len(ahead),
        "commits": [commit(repo, one) for one in commits],
    }
    return {**made, "files": differences(repo, shared, head)[:300]} if files else made


def comment(repo: Repository, kept: Comment) -> Json:
    """A comment of an issue or pull request."""
    root, url = repo.world.url, f"{api(repo)}/issues/comments/{kept.id}"
    return {
        "url": url,
        "html_url": f"{html(repo)}/pull/{kept.number}#issuecomment-{kept.id}",
        "issue_url": f"{api(repo)}/issues/{kept.number}",
        "id": kept.id,
        "node_id": node("IssueComment", kept.id),
        "user": account(root, kept.author),
        "created_at": stamp(kept.created),
        "updated_at": stamp(kept.updated),
        "body": kept.body,
        "author_association": association(repo, kept.author),
        "reactions": {"url": f"{url}/reactions", "total_count": 0, **dict.fromkeys(_REACTIONS, 0)},
        "performed_via_github_app": app(root) if kept.by_app else None,
    }


def association(repo: Repository, who: Account) -> str:
    """What an account is to a repository."""
    if who.login == repo.owner.login:
        return "OWNER"
    return "COLLABORATOR" if who.login in repo.roles else "NONE"


def label(repo: Repository, kept: Label) -> Json:
    """A label."""
    return {
        "id": kept.id,
        "node_id": node("Label", kept.id),
        "url": f"{api(repo)}/labels/{kept.name}",
        "name": kept.name,
        "description": "",
        "color": kept.color,
        "default": False,
    }


def event(repo: Repository, kept: Event) -> Json:
    """Something that happened to a pull request."""
    root = repo.world.url
    made: Json = {
        "id": kept.id,
        "node_id": node("Event", kept.id),
        "url": f"{api(repo)}/issues/events/{kept.id}",
        "actor": account(root, kept.actor),
        "event": kept.kind,
        "commit_id": kept.commit or None,
        "commit_url": f"{api(repo)}/commits/{kept.commit}" if kept.commit else None,
        "created_at": stamp(kept.when),
        "performed_via_github_app": app(root) if kept.by_app else None,
    }
    if kept.label:
        made["label"] = {"name": kept.label, "color": repo.labels[kept.label.lower()].color}
    if kept.kind == "locked":
        made["lock_reason"] = None
    return made


def pull_simple(repo: Repository, kept: Pull) -> Json:
    """A pull request as GitHub lists it."""
    root, url, page = repo.world.url, f"{api(repo)}/pulls/{kept.number}", f"{html(repo)}/pull/{kept.number}"
    issue = f"{api(repo)}/issues/{kept.number}"
    links = {
        "self": url,
        "html": page,
        "issue": issue,
        "comments": f"{issue}/comments",
        "review_comments": f"{url}/comments",
        "review_comment": f"{api(repo)}/pulls/comments{{/number}}",
        "commits": f"{url}/commits",
        "statuses": f"{api(repo)}/statuses/{kept.head}",
    }
    source = repo.world.repository(kept.head_repository)
    return {
        "url": url,
        "id": kept.id,
        "node_id": node("PullRequest", kept.id),
        "html_url": page,
        "diff_url": f"{page}.diff",
        "patch_url": f"{page}.patch",
        **{f"{name}_url": target for name, target in links.items() if name not in ("self", "html")},
        "number": kept.number,
        "state": kept.state,
        "locked": kept.locked,
        "title": kept.title,
        "user": account(root, kept.author),
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
        "head": _side(source, kept.head_ref, kept.head),
        "base": _side(repo, kept.base_ref, kept.base),
        "_links": {name: {"href": target} for name, target in links.items()},
        "author_association": association(repo, kept.author),
        "auto_merge": None,
        "active_lock_reason": None,
    }


def pull(repo: Repository, kept: Pull) -> Json:
    """A pull request as it shows itself."""
    objects = repo.objects
    new = objects.ancestors(kept.head) - objects.ancestors(kept.base)
    merged_by = account(repo.world.url, kept.author) if kept.merged else None
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
        "changed_files": len(differences(repo, objects.merge_base(kept.base, kept.head), kept.head)),
    }


def pull_minimal(repo: Repository, kept: Pull) -> Json:
    """A pull request as a workflow run mentions it."""
    source = repo.world.repository(kept.head_repository)
    sides = {
        side: {"ref": name, "sha": sha, "repo": {"id": where.id, "url": api(where), "name": where.name}}
        for side, where, name, sha in (
            ("head", source, kept.head_ref, kept.head),
            ("base", repo, kept.base_ref, kept.base),
        )
    }
    return {"url": f"{api(repo)}/pulls/{kept.number}", "id": kept.id, "number": kept.number, **sides}


def labels(repo: Repository, kept: Pull) -> list[Json]:
    """The labels of a pull request."""
    return [label(repo, repo.labels[name.lower()]) for name in kept.labels]


def issue(repo: Repository, kept: Pull) -> Json:
    """A pull request as an issue, which it is too."""
    url, page, pulls = (
        f"{api(repo)}/issues/{kept.number}",
        f"{html(repo)}/pull/{kept.number}",
        f"{api(repo)}/pulls/{kept.number}",
    )
    merged = stamp(kept.merged) if kept.merged else None
    return {
        "url": url,
        "repository_url": api(repo),
        "labels_url": f"{url}/labels{{/name}}",
        "comments_url": f"{url}/comments",
        "events_url": f"{url}/events",
        "timeline_url": f"{url}/timeline",
        "html_url": page,
        "id": kept.id,
        "node_id": node("PullRequest", kept.id),
        "number": kept.number,
        "title": kept.title,
        "user": account(repo.world.url, kept.author),
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


def _side(repo: Repository, name: str, sha: str) -> Json:
    owner = repo.owner
    return {
        "label": f"{owner.login}:{name}",
        "ref": name,
        "sha": sha,
        "user": account(repo.world.url, owner),
        "repo": repository(repo),
    }


def check_run(repo: Repository, kept: CheckRun) -> Json:
    """A check run."""
    url, given = f"{api(repo)}/check-runs/{kept.id}", kept.given
    output = given.get("output") or {}
    page = f"{html(repo)}/runs/{kept.id}"
    return {
        "id": kept.id,
        "name": given["name"],
        "node_id": node("CheckRun", kept.id),
        "head_sha": given["head_sha"],
        "external_id": given.get("external_id", ""),
        "url": url,
        "html_url": page,
        "details_url": given.get("details_url") or page,
        "status": given["status"],
        "conclusion": given.get("conclusion"),
        "started_at": given.get("started_at") or stamp(kept.started),
        "completed_at": given.get("completed_at") or (stamp(kept.completed) if kept.completed else None),
        "output": {
            **{key: output.get(key) for key in ("title", "summary", "text")},
            "annotations_count": len(kept.annotations),
            "annotations_url": f"{url}/annotations",
        },
        "check_suite": {"id": int(hashlib.sha256(given["head_sha"].encode()).hexdigest()[:8], 16)},
        "app": app(repo.world.url),
        "pull_requests": [pull_minimal(repo, one) for one in repo.pulls.values() if one.head == given["head_sha"]],
    }


def annotation(repo: Repository, kept: CheckRun, given: Json) -> Json:
    """An annotation of a check run."""
    optional = dict.fromkeys(("start_column", "end_column", "title", "raw_details"))
    return {**optional, **given, "blob_href": f"{html(repo)}/blob/{kept.given['head_sha']}/{given['path']}"}


def status(repo: Repository, kept: Status) -> Json:
    """A commit status."""
    return {**simple_status(repo, kept), "creator": account(repo.world.url, kept.creator)}


def simple_status(repo: Repository, kept: Status) -> Json:
    """A commit status as the combined status lists it."""
    return {
        "url": f"{api(repo)}/statuses/{kept.sha}",
        "avatar_url": f"{web(repo.world.url)}/avatars/u/{kept.creator.id}?v=4",
        "id": kept.id,
        "node_id": node("Status", kept.id),
        "state": kept.state,
        "description": kept.description,
        "target_url": kept.target_url,
        "context": kept.context,
        "created_at": stamp(kept.when),
        "updated_at": stamp(kept.when),
    }


def workflow_run(repo: Repository, run: WorkflowRun) -> Json:
    """A run of a workflow. Pull requests from forks are not listed, as at GitHub."""
    root, url, source = repo.world.url, f"{api(repo)}/actions/runs/{run.id}", repo.world.repository(run.head_repository)
    head, suite = repo.objects.commits[run.head], run.id + 1_000_000
    mine = [p for p in repo.pulls.values() if p.head == run.head and p.head_repository == repo.full_name == run.head_repository]
    workflow = int(hashlib.sha256(run.path.encode()).hexdigest()[:6], 16)
    parts = ("jobs", "logs", "artifacts", "cancel", "rerun")
    who = {"name": head.author.name, "email": head.author.email}
    return {
        "id": run.id,
        "name": run.name,
        "node_id": node("WorkflowRun", run.id),
        "check_suite_id": suite,
        "check_suite_node_id": node("CheckSuite", suite),
        "head_branch": run.head_branch,
        "head_sha": run.head,
        "path": run.path,
        "display_title": run.name,
        "run_number": run.number,
        "event": run.event,
        "status": run.status,
        "conclusion": run.conclusion,
        "workflow_id": workflow,
        "url": url,
        "html_url": f"{html(repo)}/actions/runs/{run.id}",
        "pull_requests": [pull_minimal(repo, pull) for pull in mine],
        **dict.fromkeys(("created_at", "updated_at", "run_started_at"), stamp(run.created)),
        **dict.fromkeys(("actor", "triggering_actor"), account(root, run.actor)),
        "run_attempt": run.attempt,
        "referenced_workflows": [],
        **{f"{part}_url": f"{url}/{part}" for part in parts},
        "check_suite_url": f"{api(repo)}/check-suites/{suite}",
        "previous_attempt_url": None,
        "workflow_url": f"{api(repo)}/actions/workflows/{workflow}",
        "head_commit": {
            "id": head.sha,
            "tree_id": head.tree,
            "message": head.message,
            "timestamp": stamp(head.committer.when),
            "author": who,
            "committer": who,
        },
        "repository": minimal_repository(repo),
        "head_repository": minimal_repository(source),
    }


def artifact(repo: Repository, kept: Artifact) -> Json:
    """An artifact."""
    url, run = f"{api(repo)}/actions/artifacts/{kept.id}", repo.runs[kept.run]
    return {
        "id": kept.id,
        "node_id": node("Artifact", kept.id),
        "name": kept.name,
        "size_in_bytes": len(kept.content),
        "url": url,
        "archive_download_url": f"{url}/zip",
        "expired": kept.expired,
        "digest": f"sha256:{hashlib.sha256(kept.content).hexdigest()}",
        "created_at": stamp(kept.created),
        "updated_at": stamp(kept.created),
        "expires_at": stamp(kept.created + timedelta(days=90)),
        "workflow_run": {
            "id": run.id,
            "repository_id": repo.id,
            "head_repository_id": repo.world.repository(run.head_repository).id,
            "head_branch": run.head_branch,
            "head_sha": run.head,
        },
    }

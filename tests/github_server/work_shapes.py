"""Check runs, statuses, workflow runs, artifacts and releases, as GitHub's JSON."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from typing import TYPE_CHECKING

from tests.github_server import shapes, talk_shapes
from tests.github_server.objects import stamp
from tests.github_server.records import Artifact, CheckRun, Release, Status, WorkflowRun

if TYPE_CHECKING:
    from tests.github_server.repository import Repository


def check_run(repo: Repository, kept: CheckRun) -> shapes.Json:
    """A check run."""
    url, given = f"{shapes.api(repo)}/check-runs/{kept.id}", kept.given
    output = given.get("output") or {}
    page = f"{shapes.html(repo)}/runs/{kept.id}"
    return {
        "id": kept.id,
        "name": given["name"],
        "node_id": shapes.node("CheckRun", kept.id),
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
        "app": shapes.app(repo.world.url),
        "pull_requests": [talk_shapes.pull_minimal(repo, one) for one in repo.pulls.values() if one.head == given["head_sha"]],
    }


def annotation(repo: Repository, kept: CheckRun, given: shapes.Json) -> shapes.Json:
    """An annotation of a check run."""
    optional = dict.fromkeys(("start_column", "end_column", "title", "raw_details"))
    return {**optional, **given, "blob_href": f"{shapes.html(repo)}/blob/{kept.given['head_sha']}/{given['path']}"}


def status(repo: Repository, kept: Status) -> shapes.Json:
    """A commit status."""
    return {**simple_status(repo, kept), "creator": shapes.account(repo.world.url, kept.creator)}


def simple_status(repo: Repository, kept: Status) -> shapes.Json:
    """A commit status as the combined status lists it."""
    return {
        "url": f"{shapes.api(repo)}/statuses/{kept.sha}",
        "avatar_url": f"{shapes.web(repo.world.url)}/avatars/u/{kept.creator.id}?v=4",
        "id": kept.id,
        "node_id": shapes.node("Status", kept.id),
        "state": kept.state,
        "description": kept.description,
        "target_url": kept.target_url,
        "context": kept.context,
        "created_at": stamp(kept.when),
        "updated_at": stamp(kept.when),
    }


def workflow_run(repo: Repository, run: WorkflowRun) -> shapes.Json:
    """A run of a workflow. Pull requests from forks are not listed, as at GitHub."""
    root, url, source = repo.world.url, f"{shapes.api(repo)}/actions/runs/{run.id}", repo.world.existing(run.head_repository)
    head, suite = repo.objects.commits[run.head], run.id + 1_000_000
    mine = [p for p in repo.pulls.values() if p.head == run.head and p.head_repository == repo.full_name == run.head_repository]
    workflow = int(hashlib.sha256(run.path.encode()).hexdigest()[:6], 16)
    parts = ("jobs", "logs", "artifacts", "cancel", "rerun")
    who = {"name": head.author.name, "email": head.author.email}
    return {
        "id": run.id,
        "name": run.name,
        "node_id": shapes.node("WorkflowRun", run.id),
        "check_suite_id": suite,
        "check_suite_node_id": shapes.node("CheckSuite", suite),
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
        "html_url": f"{shapes.html(repo)}/actions/runs/{run.id}",
        "pull_requests": [talk_shapes.pull_minimal(repo, pull) for pull in mine],
        **dict.fromkeys(("created_at", "updated_at", "run_started_at"), stamp(run.created)),
        **dict.fromkeys(("actor", "triggering_actor"), shapes.account(root, run.actor)),
        "run_attempt": run.attempt,
        "referenced_workflows": [],
        **{f"{part}_url": f"{url}/{part}" for part in parts},
        "check_suite_url": f"{shapes.api(repo)}/check-suites/{suite}",
        "previous_attempt_url": None,
        "workflow_url": f"{shapes.api(repo)}/actions/workflows/{workflow}",
        "head_commit": {
            "id": head.sha,
            "tree_id": head.tree,
            "message": head.message,
            "timestamp": stamp(head.committer.when),
            "author": who,
            "committer": who,
        },
        "repository": shapes.minimal_repository(repo),
        "head_repository": shapes.minimal_repository(source) if source else None,
    }


def artifact(repo: Repository, kept: Artifact) -> shapes.Json:
    """An artifact."""
    url, run = f"{shapes.api(repo)}/actions/artifacts/{kept.id}", repo.runs[kept.run]
    source = repo.world.existing(run.head_repository)
    return {
        "id": kept.id,
        "node_id": shapes.node("Artifact", kept.id),
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
            **({"head_repository_id": source.id} if source else {}),
            "head_branch": run.head_branch,
            "head_sha": run.head,
        },
    }


def release(repo: Repository, kept: Release) -> shapes.Json:
    """A release."""
    url, page = f"{shapes.api(repo)}/releases/{kept.id}", f"{shapes.html(repo)}/releases"
    archives = {
        f"{kind}_url": None if kept.draft else f"{shapes.api(repo)}/{kind}/{kept.tag}" for kind in ("tarball", "zipball")
    }
    return {
        "id": kept.id,
        "node_id": shapes.node("Release", kept.id),
        "url": url,
        "html_url": f"{page}/tag/{f'untagged-{kept.id:x}' if kept.draft else kept.tag}",
        "assets_url": f"{url}/assets",
        "upload_url": f"{url}/assets{{?name,label}}",
        **archives,
        "tag_name": kept.tag,
        "target_commitish": kept.target,
        "name": kept.name,
        "body": kept.body,
        "draft": kept.draft,
        "prerelease": kept.prerelease,
        "immutable": False,
        "created_at": stamp(kept.created),
        "updated_at": stamp(kept.updated or kept.created),
        "published_at": stamp(kept.published) if kept.published else None,
        "author": shapes.account(repo.world.url, kept.author),
        "assets": [],
    }

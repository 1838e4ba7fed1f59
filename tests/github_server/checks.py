"""Check runs and commit statuses."""

from __future__ import annotations

from tests.github_server import shapes, work_shapes
from tests.github_server.calls import Answer, Call, Refused, invalid, missing
from tests.github_server.history import commit_of
from tests.github_server.records import CheckRun, Status

_STATUSES = 1000


def create(call: Call) -> Answer:
    """A new check run."""
    repo, body = call.repo, dict(call.body)
    if repo.objects.kind(body["head_sha"]) != "commit":
        raise Refused(422, f"No commit found for SHA: {body['head_sha']}")
    body.setdefault("status", "completed" if "conclusion" in body else "queued")
    made = CheckRun(call.world.next_id(), body, call.world.tick())
    _take(call, made)
    repo.checks[made.id] = made
    shape = work_shapes.check_run(repo, made)
    return Answer(status=201, body=shape, headers={"Location": shape["url"]})


def update(call: Call) -> Answer:
    """More about a check run; annotations are added to those that it has."""
    kept = _check(call)
    body = dict(call.body)
    if "conclusion" in body:
        body["status"] = "completed"
    output = {**kept.given.get("output", {}), **body.get("output", {})}
    kept.given.update(body)
    if output:
        kept.given["output"] = output
    _take(call, kept)
    return Answer(body=work_shapes.check_run(call.repo, kept))


def _take(call: Call, kept: CheckRun) -> None:
    if kept.given["status"] == "completed":
        if not kept.given.get("conclusion"):
            raise invalid("CheckRun", "conclusion", code="missing_field")
        kept.completed = kept.completed or call.world.tick()
    kept.annotations += kept.given.get("output", {}).pop("annotations", [])


def get(call: Call) -> Answer:
    """One check run."""
    return Answer(body=work_shapes.check_run(call.repo, _check(call)))


def list_annotations(call: Call) -> Answer:
    """The annotations of a check run."""
    kept = _check(call)
    return call.page(kept.annotations, lambda given: work_shapes.annotation(call.repo, kept, given))


def list_for_ref(call: Call) -> Answer:
    """The check runs of a commit, the newest first; only the newest of each name unless asked otherwise."""
    repo, query = call.repo, call.query
    sha = commit_of(call, call.path["ref"])
    found = [kept for kept in reversed(repo.checks.values()) if kept.given["head_sha"] == sha]
    if "check_name" in query:
        found = [kept for kept in found if kept.given["name"] == query["check_name"]]
    if "status" in query:
        found = [kept for kept in found if kept.given["status"] == query["status"]]
    if query.get("filter", "latest") == "latest":
        newest: dict[str, CheckRun] = {}
        for kept in found:
            newest.setdefault(kept.given["name"], kept)
        found = list(newest.values())
    return call.page(found, lambda kept: work_shapes.check_run(repo, kept), under="check_runs")


def create_status(call: Call) -> Answer:
    """A new commit status; the newest of a context is the one that counts."""
    repo, sha, body = call.repo, call.path["sha"], call.body
    if sha not in repo.objects.commits:
        raise Refused(422, f"No commit found for SHA: {sha}")
    context = body.get("context", "default")
    if len(body.get("description") or "") > 140:
        message = "description is too long (maximum is 140 characters)"
        raise invalid("Status", "description", code="custom", message=message)
    if sum(kept.sha == sha and kept.context == context for kept in repo.all_statuses) >= _STATUSES:
        message = "This SHA and context has reached the maximum number of statuses."
        raise invalid("Status", "context", code="custom", message=message)
    made = Status(
        call.world.next_id(),
        sha,
        body["state"],
        context,
        body.get("description"),
        body.get("target_url"),
        call.token.account,
        call.world.tick(),
    )
    repo.all_statuses.append(made)
    return Answer(status=201, body=work_shapes.status(repo, made), headers={"Location": f"{shapes.api(repo)}/statuses/{sha}"})


def list_statuses(call: Call) -> Answer:
    """The statuses of a commit, the newest first."""
    repo = call.repo
    sha = commit_of(call, call.path["ref"])
    found = [kept for kept in reversed(repo.all_statuses) if kept.sha == sha]
    return call.page(found, lambda kept: work_shapes.status(repo, kept))


def combined_status(call: Call) -> Answer:
    """What the statuses of a commit amount to: the newest of each context."""
    repo = call.repo
    sha = commit_of(call, call.path["ref"])
    newest: dict[str, Status] = {}
    for kept in reversed(repo.all_statuses):
        if kept.sha == sha:
            newest.setdefault(kept.context, kept)
    states = {kept.state for kept in newest.values()}
    state = "failure" if states & {"failure", "error"} else "success" if states == {"success"} else "pending"
    chosen, headers = call.slice(list(newest.values()))
    body = {
        "state": state,
        "statuses": [work_shapes.simple_status(repo, kept) for kept in chosen],
        "sha": sha,
        "total_count": len(newest),
        "repository": shapes.minimal_repository(repo),
        "commit_url": f"{shapes.api(repo)}/commits/{sha}",
        "url": f"{shapes.api(repo)}/commits/{sha}/status",
    }
    return Answer(body=body, headers=headers)


def _check(call: Call) -> CheckRun:
    kept = call.repo.checks.get(int(call.path["check_run_id"]))
    if kept is None:
        raise missing()
    return kept

"""Workflow runs and their artifacts."""

from __future__ import annotations

from tests.github_server import work_shapes
from tests.github_server.calls import Answer, Call, Refused, missing
from tests.github_server.records import Artifact, WorkflowRun


def list_runs(call: Call) -> Answer:
    """The runs of all workflows, the newest first."""
    repo, query = call.repo, call.query
    found = list(reversed(repo.runs.values()))
    if "head_sha" in query:
        found = [run for run in found if run.head == query["head_sha"]]
    if "event" in query:
        found = [run for run in found if run.event == query["event"]]
    if "branch" in query:
        found = [run for run in found if run.head_branch == query["branch"]]
    if "actor" in query:
        found = [run for run in found if run.actor.login == query["actor"]]
    if "status" in query:
        found = [run for run in found if query["status"] in (run.status, run.conclusion)]
    return call.page(found, lambda run: work_shapes.workflow_run(repo, run), under="workflow_runs")


def get_run(call: Call) -> Answer:
    """One run."""
    return Answer(body=work_shapes.workflow_run(call.repo, _run(call)))


def list_artifacts(call: Call) -> Answer:
    """The artifacts of a run."""
    run = _run(call)
    found = [kept for kept in call.repo.artifacts.values() if kept.run == run.id]
    if "name" in call.query:
        found = [kept for kept in found if kept.name == call.query["name"]]
    if call.query.get("direction", "desc") == "desc":
        found.reverse()
    return call.page(found, lambda kept: work_shapes.artifact(call.repo, kept), under="artifacts")


def get_artifact(call: Call) -> Answer:
    """One artifact."""
    return Answer(body=work_shapes.artifact(call.repo, _artifact(call)))


def download_artifact(call: Call) -> Answer:
    """Where an artifact lies: at a storage that must not see the token."""
    kept = _artifact(call)
    if call.path["archive_format"] != "zip":
        raise missing()
    if kept.expired:
        raise Refused(410, "Artifact has expired")
    return Answer(status=302, headers={"Location": call.server.stored(kept)})


def _run(call: Call) -> WorkflowRun:
    run = call.repo.runs.get(int(call.path["run_id"]))
    if run is None:
        raise missing()
    return run


def _artifact(call: Call) -> Artifact:
    kept = call.repo.artifacts.get(int(call.path["artifact_id"]))
    if kept is None:
        raise missing()
    return kept

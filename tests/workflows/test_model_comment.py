"""A pull request from a fork: an unprivileged run uploads, then `uses: …/model-comment.yml@v1` judges and comments."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metricgate import __version__, init
from metricgate.github import reference

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Repository

pytestmark = pytest.mark.slow

NUMBER = 7
STRANGER = "stranger/model"
WORKFLOW = (
    init.workflow()
    + """\
      fork-runs-on: '["ubuntu-latest"]'
"""
)
COMMENT = f"""\
name: model-comment
on: {{workflow_run: {{workflows: [model], types: [completed]}}}}
permissions: {{}}
jobs:
  comment:
    uses: {reference.SLUG}/.github/workflows/model-comment.yml@v{__version__}
    permissions: {{actions: read, contents: read, pull-requests: write, checks: write, statuses: write}}
"""
READ_ONLY = {"contents": "read", "pull_requests": "read", "actions": "read"}


@pytest.fixture
def scratch(repository: Callable[[str], Repository]) -> Repository:
    made = repository(WORKFLOW)
    made.commit("Comment on pull requests from forks", {".github/workflows/model-comment.yml": COMMENT})
    return made


def zipped(folder: Path) -> bytes:
    """A folder as GitHub keeps an artifact."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(file, file.relative_to(folder).as_posix())
    return content.getvalue()


def test_a_forks_regression_is_commented_by_the_second_workflow(act: Act, scratch: Repository) -> None:
    scratch.change("faster", scratch.replace("train.py", "weight = 1.0", "weight = 1.1"))
    head = scratch.git("rev-parse", "faster")
    first = act.run(scratch, "pull_request", scratch.pull_request("faster", fork=True), permissions=READ_ONLY)
    assert first.jobs["train"] == "success"
    assert first.jobs["judge"] == "failure"
    assert scratch.remote.comments(NUMBER) == [], "a fork's token can only read"

    artifacts = {path.name: zipped(path) for path in first.artifacts.iterdir() if path.is_dir()}
    run = scratch.remote.workflow_run(head_sha=head, head_repository=STRANGER, event="pull_request", artifacts=artifacts)
    scratch.git("checkout", "--quiet", "main")
    event = {
        "action": "completed",
        "repository": {"full_name": "acme/model"},
        "workflow_run": {
            "id": run,
            "event": "pull_request",
            "head_sha": head,
            "head_repository": {"full_name": STRANGER},
            "actor": {"login": "stranger"},
            "pull_requests": [],
        },
    }
    second = act.run(scratch, "workflow_run", event)
    assert second.jobs == {"comment": "success"}
    (comment,) = scratch.remote.comments(NUMBER)
    assert "❌ tiny: accuracy fell" in comment["body"]
    assert "which its author controls" in comment["body"]
    assert comment["user"]["login"] == "github-actions[bot]"

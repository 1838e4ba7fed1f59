"""From what happened on GitHub to what there is to do."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.errors import UsageError
from metricgate.github import event
from metricgate.github.event import Work

BASE, HEAD = "a" * 40, "b" * 40


def pull_request(**head: Any) -> dict[str, Any]:
    here = {"full_name": "acme/model"}
    return {
        "action": "synchronize",
        "pull_request": {
            "number": 7,
            "base": {"sha": BASE, "ref": "main", "repo": here},
            "head": {"sha": HEAD, "repo": here, **head},
        },
    }


def workflow_run(repository: str = "stranger/model", **run: Any) -> dict[str, Any]:
    return {
        "action": "completed",
        "repository": {"full_name": "acme/model"},
        "workflow_run": {
            "id": 11,
            "event": "pull_request",
            "head_sha": HEAD,
            "head_repository": {"full_name": repository},
            "pull_requests": [{"number": 666}],
            **run,
        },
    }


@pytest.mark.parametrize("action", ["opened", "synchronize", "reopened", "ready_for_review"])
def test_a_pull_request_is_compared_with_the_commit_it_goes_into(action: str) -> None:
    work = event.work("pull_request", {**pull_request(), "action": action})
    assert work == Work(
        kind="compare", base=BASE, head=HEAD, number=7, action=action, branch="main", head_repository="acme/model"
    )


def test_a_label_that_was_put_on_is_told() -> None:
    work = event.work("pull_request", {**pull_request(), "action": "labeled", "label": {"name": "accept-regression"}})
    assert (work.kind, work.action, work.label) == ("compare", "labeled", "accept-regression")


def test_a_draft_is_compared_too() -> None:
    payload = pull_request()
    payload["pull_request"]["draft"] = True
    work = event.work("pull_request", payload)
    assert (work.kind, work.draft) == ("compare", True)


def test_a_closed_pull_request_leaves_nothing_to_do() -> None:
    work = event.work("pull_request", {**pull_request(), "action": "closed"})
    assert (work.kind, work.why) == ("nothing", "the pull request is closed")


@pytest.mark.parametrize("repository", [{"full_name": "stranger/model"}, None])
def test_a_pull_request_of_another_or_a_deleted_repository_is_a_fork(repository: object) -> None:
    assert event.work("pull_request", pull_request(repo=repository)).fork


def test_a_merge_group_is_compared_with_its_base() -> None:
    payload = {"merge_group": {"base_sha": BASE, "head_sha": HEAD, "base_ref": "refs/heads/main"}}
    assert event.work("merge_group", payload) == Work(kind="compare", base=BASE, head=HEAD, branch="main")


def test_a_merge_group_tells_which_pull_request_it_adds() -> None:
    group = {"base_sha": BASE, "head_sha": HEAD, "head_ref": f"refs/heads/gh-readonly-queue/release/1.x/pr-7-{BASE}"}
    assert event.work("merge_group", {"merge_group": group}).number == 7
    assert event.work("merge_group", {"merge_group": {**group, "head_ref": "refs/heads/pr-7-abc"}}).number is None


def test_a_merge_group_that_is_gone_leaves_nothing_to_do() -> None:
    assert event.work("merge_group", {"action": "destroyed", "merge_group": {}}).kind == "nothing"


@pytest.mark.parametrize("name", ["push", "workflow_dispatch", "schedule", ""])
def test_what_has_no_base_is_recorded(name: str) -> None:
    assert event.work(name, {"ref": "refs/heads/main"}) == Work(kind="record", branch="main")
    assert event.work(name, {}) == Work(kind="record")


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("push", {"ref": "refs/tags/v1.2.0", "after": HEAD}),
        ("release", {"action": "published", "release": {"tag_name": "v1.2.0"}}),
    ],
)
def test_a_tag_is_a_release(name: str, payload: dict[str, Any]) -> None:
    assert event.work(name, payload) == Work(kind="release", tag="v1.2.0")


@pytest.mark.parametrize(
    ("name", "payload"),
    [
        ("push", {"ref": "refs/heads/old", "deleted": True}),
        ("push", {"ref": "refs/heads/old", "after": "0" * 40}),
        ("release", {"action": "deleted", "release": {"tag_name": "v1"}}),
    ],
)
def test_what_was_deleted_leaves_nothing_to_do(name: str, payload: dict[str, Any]) -> None:
    assert event.work(name, payload).kind == "nothing"


def test_the_run_of_a_fork_is_posted_for_its_commit_and_repository_alone() -> None:
    # GitHub leaves `pull_requests` empty for forks, and a number found elsewhere would be the fork's own word.
    work = event.work("workflow_run", workflow_run())
    assert work == Work(kind="post", head=HEAD, fork=True, run_id=11, head_repository="stranger/model")
    assert not event.work("workflow_run", workflow_run("acme/model")).fork


@pytest.mark.parametrize("run", [{"event": "push"}, {"event": "pull_request_target"}, {"event": None}])
def test_only_runs_of_pull_requests_are_posted(run: dict[str, Any]) -> None:
    assert event.work("workflow_run", workflow_run(**run)).kind == "nothing"


def test_a_run_that_has_not_ended_is_not_posted() -> None:
    assert event.work("workflow_run", {**workflow_run(), "action": "requested"}).kind == "nothing"


def test_pull_request_target_is_refused_with_the_reason_and_the_right_event() -> None:
    with pytest.raises(UsageError, match="stranger's code") as caught:
        event.work("pull_request_target", pull_request())
    assert "pull_request:" in caught.value.fix


@pytest.mark.parametrize("name", ["issue_comment", "deployment", "pull_request_review"])
def test_other_events_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        event.work(name, {})


@given(
    st.sampled_from(["pull_request", "merge_group", "workflow_run"]),
    st.recursive(st.none() | st.text() | st.integers(), st.lists, max_leaves=4),
)
def test_a_payload_that_is_not_githubs_is_an_error_that_names_the_place(name: str, value: object) -> None:
    with pytest.raises(UsageError, match="no commit at"):
        event.work(name, {name: value})


@pytest.mark.parametrize("commit", ["--upload-pack=touch x", "main", "", "A" * 40, "a" * 39, f"{BASE}\n"])
def test_only_a_whole_commit_is_given_to_git(commit: str) -> None:
    with pytest.raises(UsageError, match=r"no commit at pull_request\.head\.sha"):
        event.work("pull_request", pull_request(sha=commit))


def test_the_payload_is_read_from_its_file(tmp_path: Path) -> None:
    file = tmp_path / "event.json"
    file.write_text('{"merge_group": {}}')
    assert event.read(file) == {"merge_group": {}}
    assert event.read(None) == {}
    file.write_text("{")
    with pytest.raises(UsageError, match=r"event\.json"):
        event.read(file)

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
        "pull_request": {"number": 7, "base": {"sha": BASE, "repo": here}, "head": {"sha": HEAD, "repo": here, **head}},
    }


def test_a_pull_request_is_compared_with_the_commit_it_goes_into() -> None:
    assert event.work("pull_request", pull_request()) == Work(kind="compare", base=BASE, head=HEAD, number=7)


@pytest.mark.parametrize("repository", [{"full_name": "stranger/model"}, None])
def test_a_pull_request_of_another_or_a_deleted_repository_is_a_fork(repository: object) -> None:
    assert event.work("pull_request", pull_request(repo=repository)).fork


def test_a_merge_group_is_compared_with_its_base() -> None:
    payload = {"merge_group": {"base_sha": BASE, "head_sha": HEAD}}
    assert event.work("merge_group", payload) == Work(kind="compare", base=BASE, head=HEAD)


@pytest.mark.parametrize("name", ["push", "workflow_dispatch", "schedule", ""])
def test_what_has_no_base_is_recorded(name: str) -> None:
    assert event.work(name, {}) == Work(kind="record")


def test_pull_request_target_is_refused_with_the_reason_and_the_right_event() -> None:
    with pytest.raises(UsageError, match="stranger's code") as caught:
        event.work("pull_request_target", pull_request())
    assert "pull_request:" in caught.value.fix


@pytest.mark.parametrize("name", ["release", "issue_comment", "workflow_run"])
def test_other_events_are_refused_by_name(name: str) -> None:
    with pytest.raises(UsageError, match=name):
        event.work(name, {})


@given(
    st.sampled_from(["pull_request", "merge_group"]),
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

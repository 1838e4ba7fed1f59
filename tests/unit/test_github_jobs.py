"""A training that did not happen never counts as a pass."""

from __future__ import annotations

import itertools

import pytest

from metricgate.errors import ExitCode, StageError
from metricgate.github import jobs
from metricgate.github.event import Work

CHANGE = Work(kind="compare", base="a" * 40, head="b" * 40)
RESULTS = ("success", "failure", "cancelled", "skipped", "")


@pytest.mark.parametrize(("train", "baseline"), list(itertools.product(RESULTS, RESULTS)))
def test_a_change_is_judged_only_if_everything_succeeded(train: str, baseline: str) -> None:
    needs = {"train": train, "baseline": baseline}
    if (train, baseline) == ("success", "success"):
        jobs.require(needs, CHANGE)
        return
    with pytest.raises(StageError) as caught:
        jobs.require(needs, CHANGE)
    assert caught.value.exit_code is ExitCode.STAGE_FAILED


def test_only_a_baseline_that_nothing_is_compared_with_may_be_skipped() -> None:
    jobs.require({"train": "success", "baseline": "skipped"}, Work(kind="record"))
    for needs in ({"train": "skipped", "baseline": "success"}, {"train": "success", "baseline": "failure"}):
        with pytest.raises(StageError):
            jobs.require(needs, Work(kind="record"))


def test_a_fork_is_told_why_nothing_ran() -> None:
    fork = Work(kind="compare", base="a" * 40, head="b" * 40, fork=True)
    with pytest.raises(StageError) as caught:
        jobs.require({"train": "skipped", "baseline": "skipped"}, fork)
    assert "`train` was skipped" in caught.value.found
    assert "push it to a branch of this repository" in caught.value.fix


def test_a_baseline_that_was_found_need_not_be_made() -> None:
    jobs.require({"find": "success", "train": "success", "baseline": "skipped"}, CHANGE)


@pytest.mark.parametrize("find", ["failure", "cancelled", "skipped"])
def test_a_baseline_that_could_not_be_looked_for_is_no_pass(find: str) -> None:
    with pytest.raises(StageError, match="`find`"):
        jobs.require({"find": find, "train": "success", "baseline": "skipped"}, CHANGE)


def test_nothing_is_looked_for_where_there_is_nothing_to_compare() -> None:
    jobs.require({"find": "skipped", "train": "success", "baseline": "skipped"}, Work(kind="record"))


def test_where_one_job_trains_all_seeds_nothing_is_planned_or_merged() -> None:
    alone = {"find": "success", "plan": "skipped", "train": "success", "merge": "skipped", "baseline": "skipped"}
    jobs.require(alone, CHANGE)
    jobs.require({**alone, "plan": "success", "merge": "success"}, CHANGE)


@pytest.mark.parametrize(
    ("plan", "merge"),
    [(plan, merge) for plan, merge in itertools.product(RESULTS, RESULTS) if plan != merge or plan == "failure"],
)
def test_a_plan_whose_runs_were_not_merged_is_no_pass(plan: str, merge: str) -> None:
    with pytest.raises(StageError):
        jobs.require({"find": "success", "plan": plan, "train": "success", "merge": merge, "baseline": "success"}, CHANGE)


def test_what_a_job_said_about_itself_is_told() -> None:
    needs = {"train": "failure", "merge": "failure"}
    with pytest.raises(StageError) as caught:
        jobs.require(needs, CHANGE, problems={"merge": "seed 2 is missing", "find": "something else"})
    assert caught.value.found == (
        "there is nothing to judge: the job `train` failed; the job `merge` failed: seed 2 is missing"
    )

"""Whether a verdict is still one: everything that may have changed since is found and named, and nothing else."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from metricgate.release import staleness
from metricgate.release.staleness import Baseline, Now
from metricgate.report.document import Report

POLICY, OTHER_POLICY, TESTS, OTHER_TESTS, MODEL, OTHER_MODEL = (f"sha256:{digit * 64}" for digit in "123456")
HEAD, OLD, OLDER = "a" * 40, "b" * 40, "c" * 40

REPORT: dict[str, Any] = {
    "verdict": "pass",
    "exit_code": 0,
    "candidate": {"commit": HEAD, "runs": 1},
    "baseline": {"commit": OLD, "runs": 1, "models": {0: MODEL}},
    "policy": POLICY,
    "test_set": TESTS,
}
FRESH = Now(branch="main", policy=POLICY, test_set=TESTS, baseline=Baseline(commit=OLD, models={0: MODEL}))


def report(**changed: Any) -> Report:
    return Report.model_validate({**REPORT, **changed})


def now(**changed: Any) -> Now:
    return Now(**{"branch": "main", "policy": POLICY, "test_set": TESTS, "baseline": FRESH.baseline, **changed})


def test_where_nothing_changed_a_verdict_is_fresh() -> None:
    assert staleness.of(report(), FRESH) == ()


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"policy": OTHER_POLICY}, "the policy of main has changed"),
        ({"policy": None}, "main has no policy that can be read"),
        ({"test_set": OTHER_TESTS}, f"from {TESTS} to {OTHER_TESTS}"),
        ({"baseline": None}, f"the baseline {OLD[:12]} is not recorded any more"),
        ({"baseline": Baseline(commit=OLDER)}, f"against {OLD[:12]}, and would be made against {OLDER[:12]} now"),
        ({"baseline": Baseline(commit=OLD, models={0: OTHER_MODEL})}, "was recorded again, with other models"),
        ({"baseline": Baseline(commit=OLD, models={0: MODEL, 1: MODEL})}, "was recorded again, with other models"),
    ],
)
def test_each_change_since_is_named(changed: dict[str, Any], told: str) -> None:
    (found,) = staleness.of(report(), now(**changed))
    assert told in found


@pytest.mark.parametrize(
    ("missing", "told"),
    [("policy", "does not say by which policy"), ("test_set", "from no fingerprint"), ("baseline", "no recorded")],
)
def test_what_a_report_does_not_say_counts_as_changed(missing: str, told: str) -> None:
    (found,) = staleness.of(report(**{missing: {} if missing == "baseline" else None}), FRESH)
    assert told in found


def test_the_first_commit_of_all_needs_no_baseline() -> None:
    assert staleness.of(report(baseline={}), now(baseline=None)) == ()
    # On a laptop it is compared with itself.
    assert staleness.of(report(baseline={"commit": HEAD, "runs": 1}), now(baseline=None)) == ()


def test_a_baseline_that_was_evaluated_in_another_way_may_have_been_done_without() -> None:
    other = Baseline(commit=OLD, models={0: MODEL}, comparable=False)
    assert staleness.of(report(baseline={}), now(baseline=other)) == ()
    # Where it was used, its models having been evaluated anew, it has to be the same still.
    assert staleness.of(report(), now(baseline=other)) == ()
    assert staleness.of(report(), now(baseline=Baseline(commit=OLDER, comparable=False)))


def test_a_comparison_with_itself_is_none_with_its_baseline() -> None:
    assert staleness.of(report(baseline={"commit": HEAD, "runs": 1}), FRESH)


def test_where_nothing_tells_the_test_set_of_the_branch_it_has_not_changed() -> None:
    assert staleness.of(report(), now(test_set=None)) == ()


DIGESTS = st.sampled_from([POLICY, OTHER_POLICY, None])
BASELINES = st.none() | st.builds(Baseline, commit=st.sampled_from([OLD, OLDER]), models=st.sampled_from([{0: MODEL}, {}]))


@given(policy=DIGESTS, test_set=DIGESTS, baseline=BASELINES)
def test_changes_are_told_one_by_one_whatever_else_changed(
    policy: str | None, test_set: str | None, baseline: Baseline | None
) -> None:
    alone = [
        staleness.of(report(), now(policy=policy)),
        staleness.of(report(), now(test_set=test_set)),
        staleness.of(report(), now(baseline=baseline)),
    ]
    together = staleness.of(report(), now(policy=policy, test_set=test_set, baseline=baseline))
    assert together == tuple(each for found in alone for each in found)

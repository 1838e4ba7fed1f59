"""How often a test set was asked, and what a spent budget makes of a verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.comparison import Comparison
from metricgate.config import Config, Outcome
from metricgate.errors import ExitCode
from metricgate.gate import reuse
from metricgate.gate.reuse import Reuse
from metricgate.gate.verdict import Verdict
from metricgate.run import Fingerprints, Metric, Run, RunRecord

ONE, OTHER = (f"sha256:{digit * 64}" for digit in "12")
PASSED = Verdict(verdict="pass", exit_code=ExitCode.PASSED, reasons=(), rules=())
FAILED = Verdict(verdict="fail", exit_code=ExitCode.REGRESSION, reasons=("worse",), rules=())
UNSURE = Verdict(verdict="inconclusive", exit_code=ExitCode.PASSED, reasons=("not shown",), rules=())
LOST = Verdict(verdict="not_comparable", exit_code=ExitCode.NOT_COMPARABLE, reasons=("no metric",), rules=())


def config(**settings: object) -> Config:
    return Config.model_validate({"metrics": {"accuracy": {"direction": "higher"}}, "gate": {"reuse": settings}})


def run(test_set: str | None) -> Run:
    record = RunRecord(fingerprints=Fingerprints(test_set=test_set))
    return Run(where=Path("x"), metrics={"accuracy": Metric(0.9)}, record=record)


def comparison(candidate: str | None, baseline: str | None, **settings: object) -> Comparison:
    return Comparison([run(candidate)], [run(baseline)], config=config(**settings))


def place(count: int, budget: int | None = 100, *, on_exhausted: Outcome = "fail") -> Reuse:
    return Reuse(test_set=ONE, count=count, budget=budget, on_exhausted=on_exhausted)


class TestABudget:
    @pytest.mark.parametrize("verdict", [PASSED, FAILED, UNSURE, LOST])
    @pytest.mark.parametrize("count", [1, 89])
    def test_while_there_is_enough_left_nothing_happens(self, verdict: Verdict, count: int) -> None:
        assert reuse.applied(verdict, place(count)) == verdict

    @pytest.mark.parametrize("count", [90, 100])
    def test_when_little_is_left_the_report_warns(self, count: int) -> None:
        found = reuse.applied(PASSED, place(count))
        assert (found.verdict, found.exit_code) == ("pass", 0)
        assert found.warnings == (
            f"This is verdict {count} of 100 on this test set: have new examples ready before the last one.",
        )

    @pytest.mark.parametrize("verdict", [PASSED, UNSURE])
    def test_when_it_is_spent_nothing_passes_any_more(self, verdict: Verdict) -> None:
        found = reuse.applied(verdict, place(101))
        assert (found.verdict, found.exit_code) == ("inconclusive", ExitCode.INCONCLUSIVE)
        assert "verdict 101 on a test set whose budget is 100" in found.reasons[0]
        assert found.reasons[1:] == verdict.reasons

    @pytest.mark.parametrize("verdict", [FAILED, LOST])
    def test_what_blocks_anyway_keeps_its_reason_and_its_code(self, verdict: Verdict) -> None:
        found = reuse.applied(verdict, place(101))
        assert (found.verdict, found.exit_code) == (verdict.verdict, verdict.exit_code)
        assert found.reasons[0] == verdict.reasons[0]
        assert len(found.reasons) == 2

    def test_a_policy_may_only_warn_or_only_count(self) -> None:
        warned = reuse.applied(PASSED, place(101, on_exhausted="warn"))
        assert (warned.verdict, warned.exit_code, len(warned.warnings)) == ("pass", 0, 1)
        assert reuse.applied(PASSED, place(101, on_exhausted="pass")) == PASSED

    @given(count=st.integers(1, 10**6), budget=st.none() | st.integers(1, 10**6))
    def test_a_verdict_beyond_the_budget_never_has_exit_code_0(self, count: int, budget: int | None) -> None:
        found = reuse.applied(PASSED, place(count, budget))
        assert (found.exit_code == ExitCode.PASSED) == (budget is None or count <= budget)

    def test_it_can_be_computed_from_the_examples(self) -> None:
        settings = config(tolerance=0.02, adaptivity="full").gate.reuse
        found = reuse.of(settings, test_set=ONE, before=36, examples=100_000)
        assert (found.count, found.budget, found.adaptivity) == (37, 22, "full")
        assert found.spent
        for_nobody = config(tolerance=0.02, adaptivity="none").gate.reuse
        assert reuse.of(for_nobody, test_set=ONE, before=36, examples=100_000).budget == 4_851_651

    def test_a_test_set_too_small_for_the_tolerance_gives_no_verdict_at_all(self) -> None:
        settings = config(tolerance=0.01).gate.reuse
        assert reuse.of(settings, test_set=ONE, before=0, examples=1000).spent


class TestWhichTestSet:
    def test_the_baseline_s_word_counts_before_the_candidate_s(self) -> None:
        assert reuse.test_set(comparison(OTHER, ONE)) == ONE
        assert reuse.test_set(comparison(OTHER, None)) == OTHER

    @pytest.mark.parametrize("claimed", [None, "", "sha256:1", "sha256:../" + "1" * 61, "md5:" + "1" * 64])
    def test_what_is_no_fingerprint_names_none(self, claimed: str | None) -> None:
        assert reuse.test_set(comparison(claimed, claimed)) is None

    def test_runs_of_two_test_sets_name_none(self) -> None:
        both = Comparison([run(ONE), run(OTHER)], [], config=config())
        assert reuse.test_set(both) is None


class TestCounting:
    def test_this_verdict_comes_after_those_that_were_counted(self) -> None:
        found, warnings = reuse.found(comparison(ONE, ONE), {ONE: 36, OTHER: 5})
        assert found is not None
        assert (found.test_set, found.count, found.budget) == (ONE, 37, None)
        assert warnings == ()

    def test_the_first_one_is_the_first(self) -> None:
        found, _ = reuse.found(comparison(ONE, ONE), {})
        assert found is not None
        assert found.count == 1

    def test_without_a_ledger_only_a_budget_is_missed(self) -> None:
        found, warnings = reuse.found(comparison(ONE, ONE), None)
        assert (found, warnings) == (replace(place(1, None), count=None), ())
        _, warnings = reuse.found(comparison(ONE, ONE, budget=3), None)
        assert warnings == ("How many verdicts this test set has given is not known: the ledger was not read.",)
        _, warnings = reuse.found(comparison(None, None, budget=3), {ONE: 1})
        assert warnings == ("How many verdicts this test set has given is not known: the runs name no test set.",)

    def test_what_nobody_counted_is_not_called_spent(self) -> None:
        assert reuse.applied(PASSED, replace(place(1, 1), count=None)) == PASSED


def test_a_budget_and_a_tolerance_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="one of them"):
        config(budget=3, tolerance=0.1)

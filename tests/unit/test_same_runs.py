"""A change that is not trained again is compared with itself: the difference is 0, and nobody takes that for a measurement."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from metricgate import config_file, history
from metricgate.comparison import Comparison
from metricgate.gate import judge
from metricgate.gate.verdict import Verdict
from metricgate.report import building, summary
from metricgate.run import Fingerprints, Metric, ReusedFrom, Run, RunRecord
from metricgate.score_table import ScoreTable

N = 300
MAIN, HEAD = "a" * 40, "b" * 40
POLICY = """
metrics:
  accuracy: {direction: higher}
  size: {direction: lower}
  f1: {direction: higher, aggregate: f1, label: y, prediction: p}
slices: [half]
gate:
  rules:
    - {metric: accuracy, max_regression: 0}
    - {metric: accuracy, max_regression: 10%}
    - {metric: accuracy, slices: [half], max_regression: 0}
    - {metric: size, max_regression: 0}
    - {metric: f1, max_regression: 0}
    - {metric: accuracy, min: 0.5}
"""
CONFIG = config_file.loads(POLICY)
SAME = Fingerprints(training="sha256:t", evaluation="sha256:e", test_set="sha256:s", reference_columns=("half",))

Make = Callable[..., Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A run whose scores depend on the commit that was trained and on the seed."""

    def run(commit: str, seed: int, *, of: str = "", prints: Fingerprints = SAME, changed: int = 0, model: str = "") -> Run:
        place = tmp_path / f"{commit}-{of}-{changed}" / f"seed-{seed}"
        place.mkdir(parents=True)
        random = np.random.default_rng([seed, *(of or commit).encode()])
        right = (random.random(N) < 0.9).astype(int)
        right[:changed] = 1 - right[:changed]
        rows = "".join(f"{i},{i % 2},{score},{i % 3 == 0:d},{score:d}\n" for i, score in enumerate(right))
        (place / "scores.csv").write_text(f"example_id,half,accuracy,y,p\n{rows}")
        record = RunRecord(
            commit=commit,
            seed=seed,
            fingerprints=prints,
            reused_from=ReusedFrom(commit=of) if of else None,
            model_digest=model or f"sha256:{of or commit}-{seed}",
        )
        table = ScoreTable.open(place / "scores.csv", id="example_id")
        return Run(place, {"size": Metric(value=12.0 + seed)}, table, record)

    return run


def judged(candidate: Sequence[Run], baseline: Sequence[Run], *, earlier: Sequence[Run] = ()) -> tuple[Comparison, Verdict]:
    comparison = Comparison(candidate, baseline, history=earlier, config=CONFIG)
    return comparison, judge.judge(comparison)


class TestTheSameRuns:
    @pytest.mark.parametrize("seeds", [[0], [0, 1, 2]], ids=["one seed", "three seeds"])
    def test_differ_by_exactly_nothing_and_pass(self, seeds: list[int], make: Make) -> None:
        comparison, verdict = judged([make(HEAD, s, of=MAIN) for s in seeds], [make(MAIN, s) for s in seeds])
        assert (verdict.verdict, verdict.exit_code) == ("pass", 0)
        compared = [rule for rule in verdict.rules if rule.kind != "min"]
        assert {rule.difference for rule in compared} == {0.0}
        assert {rule.method for rule in compared} == {"no test, the same runs on both sides"}
        assert {rule.interval for rule in compared} == {None}, "an interval of no width would look like certainty"
        report = building.build(comparison, verdict)
        assert "both sides are the same runs, since nothing that training depends on changed" in summary.lead(report)

    def test_are_compared_with_themselves_and_not_with_others_of_the_same_training(self, make: Make) -> None:
        earlier = [make("c" * 40, seed) for seed in (5, 6)]
        comparison, verdict = judged([make(HEAD, 0, of=MAIN)], [make(MAIN, 0), make(MAIN, 1)], earlier=earlier)
        assert [run.record.seed for run in comparison.baseline.runs] == [0]
        assert {rule.difference for rule in verdict.rules if rule.kind != "min"} == {0.0}

    def test_may_both_be_those_of_a_third_commit(self, make: Make) -> None:
        comparison, _ = judged([make(HEAD, 0, of=MAIN)], [make("d" * 40, 0, of=MAIN)])
        assert comparison.same_runs

    def test_without_scores_have_the_same_values_and_pass(self, tmp_path: Path) -> None:
        config = config_file.loads("metrics: {accuracy: {direction: higher}}")
        prints = Fingerprints(training="sha256:t")
        sides = [
            [
                Run(
                    where=tmp_path / commit / f"seed-{seed}",
                    metrics={"accuracy": Metric(0.9 + seed / 100, n=100)},
                    record=RunRecord(
                        commit=commit, seed=seed, fingerprints=prints, model_digest=f"sha256:{seed}", reused_from=of
                    ),
                )
                for seed in (0, 1)
            ]
            for commit, of in ((HEAD, ReusedFrom(commit=MAIN)), (MAIN, None))
        ]
        (rule,) = judge.judge(Comparison(*sides, config=config)).rules
        assert (rule.difference, rule.outcome) == (0.0, "pass")

    def test_are_not_an_improvement(self, make: Make) -> None:
        policy = config_file.loads(
            "metrics: {accuracy: {direction: higher}}\ngate: {rules: [{metric: accuracy, min_improvement: 0.01}]}\n"
        )
        comparison = Comparison([make(HEAD, 0, of=MAIN)], [make(MAIN, 0)], config=policy)
        verdict = judge.judge(comparison)
        assert verdict.exit_code == 1
        lead = summary.lead(building.build(comparison, verdict))
        assert lead.startswith("Required is more than 1 point, and both sides are the same runs")

    def test_are_one_measurement_of_the_training_noise(self, make: Make) -> None:
        seeds = range(3)
        _, shared = judged([make(HEAD, s, of=MAIN) for s in seeds], [make(MAIN, s) for s in seeds])
        alone = Comparison([make("e" * 40, s, of=MAIN) for s in seeds], [], config=CONFIG)
        bounds = [next(rule for rule in rules if rule.kind == "min") for rules in (shared.rules, judge.judge(alone).rules)]
        assert bounds[0].interval == bounds[1].interval


class TestOtherRuns:
    """Whose a run is, it says itself: that is never taken on trust."""

    @pytest.mark.parametrize(
        "other",
        [
            {"changed": 1},
            {"model": "sha256:another"},
            {"prints": SAME.model_copy(update={"training": "sha256:another"})},
            {"prints": SAME.model_copy(update={"training": None})},
        ],
        ids=["one score differs", "another model", "another training", "no fingerprint"],
    )
    def test_are_compared_as_any(self, other: dict[str, object], make: Make) -> None:
        comparison, verdict = judged([make(HEAD, 0, of=MAIN, **other)], [make(MAIN, 0)])
        assert not comparison.same_runs
        assert verdict.rules[0].method.startswith("Tango score test")

    def test_beside_shared_ones_are_compared_as_any(self, make: Make) -> None:
        comparison, _ = judged([make(HEAD, 0, of=MAIN), make(HEAD, 1)], [make(MAIN, 0)])
        assert not comparison.same_runs
        assert len(comparison.candidate.runs) == 2

    def test_of_a_seed_that_the_baseline_has_not(self, make: Make) -> None:
        comparison, _ = judged([make(HEAD, 3, of=MAIN)], [make(MAIN, 0)])
        assert not comparison.same_runs


class TestRecordedCopies:
    def test_of_one_training_count_once(self, make: Make) -> None:
        trained, copy, other = make(MAIN, 0), make("c" * 40, 0, of=MAIN), make("d" * 40, 0)
        assert history.without([copy, trained, other], []) == [trained, other]

    def test_count_as_the_run_that_is_judged(self, make: Make) -> None:
        assert history.without([make(MAIN, 0), make("c" * 40, 0, of=MAIN)], [make(HEAD, 0, of=MAIN)]) == []

    def test_that_were_evaluated_as_the_change_is_are_the_ones_that_count(self, make: Make) -> None:
        now = SAME.model_copy(update={"evaluation": "sha256:now"})
        old, again = make(MAIN, 0), make("c" * 40, 0, of=MAIN, prints=now)
        assert history.without([old, again], [make(HEAD, 1, prints=now)]) == [again]

"""The policy: what each rule says about the evidence, and what all of them say together."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metricgate.comparison import Comparison
from metricgate.config import Config, Kind, Outcome
from metricgate.config_fields import Limit
from metricgate.errors import ExitCode
from metricgate.evidence import Evidence
from metricgate.examples import Examples
from metricgate.gate import estimates, judge, verdict
from metricgate.gate.verdict import RuleOutcome, RuleResult, Verdict
from metricgate.run import Metric, Run
from metricgate.score_table import ScoreTable
from metricgate.stats import means
from metricgate.stats.inference import Student
from metricgate.stats.means import Value
from metricgate.stats.scatter import Pair, Scores
from metricgate.training_noise import NoiseSources

OUTCOMES: tuple[RuleOutcome, ...] = get_args(RuleOutcome)
POLICIES: tuple[Outcome, ...] = get_args(Outcome)


def config(
    *rules: Mapping[str, Any], direction: str = "higher", aggregate: str = "mean", cluster: str | None = None, **gate: Any
) -> Config:
    return Config.model_validate(
        {
            "metrics": {"accuracy": {"direction": direction, "aggregate": aggregate}},
            "scores": {"cluster": cluster},
            "gate": {"rules": tuple({"metric": "accuracy", **rule} for rule in rules), **gate},
        }
    )


def values(*runs: float, stderr: float | None = None, n: int | None = None) -> list[Run]:
    return [Run(where=Path(f"run-{k}"), metrics={"accuracy": Metric(value, stderr, n)}) for k, value in enumerate(runs)]


def judged(
    candidate: Sequence[Run], baseline: Sequence[Run], *rules: Mapping[str, Any], direction: str = "higher", **gate: Any
) -> Verdict:
    return judge.judge(Comparison(candidate, baseline, config=config(*rules, direction=direction, **gate)))


def outcomes(found: Verdict) -> list[RuleOutcome]:
    return [rule.outcome for rule in found.rules]


class Folder:
    """Writes runs with scores."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0

    def run(self, accuracy: Sequence[float] | np.ndarray[Any, Any], **columns: Sequence[object]) -> Run:
        self.written += 1
        file = self.path / f"run-{self.written}" / "scores.csv"
        file.parent.mkdir()
        rows = zip(range(len(accuracy)), accuracy, *columns.values(), strict=True)
        lines = [",".join(["example_id", "accuracy", *columns]), *(",".join(str(v) for v in row) for row in rows)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Run(where=file.parent, metrics={}, scores=ScoreTable.open(file, id="example_id"))


def paired(metric: str, candidate: Scores, baseline: Scores, *, noise: NoiseSources) -> Evidence:
    return Evidence(
        metric=metric,
        slice=None,
        candidate=Examples.of(candidate),
        baseline=Examples.of(baseline),
        pair=lambda: Pair.of(candidate, baseline),
        noise=noise,
    )


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class TestMaxRegression:
    # Single values are compared exactly, so that these are about the limit and nothing else.
    @pytest.mark.parametrize(
        ("direction", "limit", "baseline", "candidate", "outcome"),
        [
            ("higher", 0.01, 0.94, 0.93, "pass"),
            ("higher", 0.01, 0.94, 0.929, "fail"),
            ("higher", 0.01, 0.94, 0.99, "pass"),
            ("higher", 0, 0.94, 0.94, "pass"),
            ("higher", 0, 0.94, 0.9399, "fail"),
            ("lower", 0.01, 0.93, 0.94, "pass"),
            ("lower", 0.01, 0.93, 0.941, "fail"),
            ("lower", 0.01, 0.93, 0.1, "pass"),
            ("higher", "10%", 1.0, 0.9, "pass"),
            ("higher", "10%", 1.0, 0.899, "fail"),
            ("lower", "10%", 1_234_570, 1_358_027, "pass"),
            ("lower", "10%", 1_234_570, 1_358_028, "fail"),
            ("lower", "0%", 1_234_570, 1_234_570, "pass"),
            # 10% of a negative metric (a log-likelihood) is an amount too.
            ("higher", "10%", -10.0, -11.0, "pass"),
            ("higher", "10%", -10.0, -11.1, "fail"),
            ("lower", "10%", -10.0, -9.0, "pass"),
            ("lower", "10%", -10.0, -8.9, "fail"),
            ("lower", "10%", 1e-14, 5e-14, "fail"),
            ("lower", "10%", 1e300, 1.2e300, "fail"),
        ],
    )
    def test_the_limit_itself_is_allowed(
        self, direction: str, limit: object, baseline: float, candidate: float, outcome: RuleOutcome
    ) -> None:
        found = judged(values(candidate), values(baseline), {"max_regression": limit}, direction=direction)
        assert outcomes(found) == [outcome]
        assert found.exit_code == (ExitCode.REGRESSION if outcome == "fail" else ExitCode.PASSED)

    def test_a_tenth_of_nothing_is_nothing_that_can_be_compared(self) -> None:
        (rule,) = judged(values(0.5), values(0.0), {"max_regression": "10%"}).rules
        assert rule.outcome == "not_comparable"
        assert "the baseline is 0" in rule.reason

    def test_with_a_standard_error_the_evidence_decides(self) -> None:
        limit = {"max_regression": 0.01}
        baseline = values(0.94, stderr=0.002, n=10_000)
        for candidate, outcome in ((0.94, "pass"), (0.932, "inconclusive"), (0.928, "inconclusive"), (0.92, "fail")):
            (rule,) = judged(values(candidate, stderr=0.002, n=10_000), baseline, limit).rules
            assert rule.outcome == outcome, candidate

    def test_the_p_values_are_those_of_welch(self) -> None:
        (rule,) = judged(
            values(0.93, stderr=0.003, n=1000), values(0.94, stderr=0.003, n=1000), {"max_regression": 0.002}
        ).rules
        t = (-0.01 + 0.002) / (0.003 * 2**0.5)
        assert rule.p_value == pytest.approx(stats.t.cdf(t, 1998))
        assert rule.p_pass == pytest.approx(stats.t.sf(t, 1998))
        assert rule.interval is not None
        assert rule.interval.level == pytest.approx(0.95)
        assert rule.interval.low == pytest.approx(-0.01 - stats.t.ppf(0.975, 1998) * 0.003 * 2**0.5)

    def test_a_limit_of_zero_can_hardly_pass_and_the_reader_is_told_what_would(self, folder: Folder) -> None:
        # 6 of 400 got better, 8 got worse.
        candidate, baseline = [1] * 386 + [1] * 6 + [0] * 8, [1] * 386 + [0] * 6 + [1] * 8
        sides = [folder.run(candidate)], [folder.run(baseline)]
        found = judged(*sides, {"max_regression": 0})
        (rule,) = found.rules
        assert rule.outcome == "inconclusive"
        assert any("`max_regression: 0` can fail or be inconclusive" in warning for warning in found.warnings)
        smallest = rule.smallest_limit
        assert smallest is not None
        assert outcomes(judged(*sides, {"max_regression": smallest * 1.001})) == ["pass"]
        assert outcomes(judged(*sides, {"max_regression": smallest * 0.999})) == ["inconclusive"]


class TestMinImprovement:
    @pytest.mark.parametrize(
        ("direction", "limit", "baseline", "candidate", "outcome"),
        [
            ("higher", 0.01, 0.93, 0.94, "pass"),
            ("higher", 0.01, 0.93, 0.939, "fail"),
            ("lower", 0.01, 0.94, 0.93, "pass"),
            ("lower", 0.01, 0.94, 0.931, "fail"),
            ("higher", "10%", 1.0, 1.1, "pass"),
            ("higher", "10%", 1.0, 1.09, "fail"),
            ("lower", "10%", 1.0, 0.9, "pass"),
            ("lower", "10%", 1.0, 0.91, "fail"),
            ("higher", "10%", -10.0, -9.0, "pass"),
            ("higher", "10%", -10.0, -9.1, "fail"),
        ],
    )
    def test_it_has_to_be_reached(
        self, direction: str, limit: object, baseline: float, candidate: float, outcome: RuleOutcome
    ) -> None:
        found = judged(values(candidate), values(baseline), {"min_improvement": limit}, direction=direction)
        assert outcomes(found) == [outcome]

    def test_it_has_to_be_shown(self) -> None:
        baseline = values(0.90, stderr=0.002, n=10_000)
        for candidate, outcome in ((0.93, "pass"), (0.911, "inconclusive"), (0.90, "fail")):
            assert outcomes(judged(values(candidate, stderr=0.002, n=10_000), baseline, {"min_improvement": 0.01})) == [outcome]


class TestBounds:
    @pytest.mark.parametrize(
        ("bound", "candidate", "outcome"),
        [
            ({"min": 0.9}, 0.9, "pass"),
            ({"min": 0.9}, 0.8999, "fail"),
            ({"max": 0.9}, 0.9, "pass"),
            ({"max": 0.9}, 0.9001, "fail"),
            ({"max": 0}, 0.0, "pass"),
            ({"min": -1.5}, -1.5, "pass"),
            ({"max": 10_000_000_000}, 10_000_000_001, "fail"),
        ],
    )
    def test_of_a_single_value_are_exact(self, bound: Mapping[str, float], candidate: float, outcome: RuleOutcome) -> None:
        assert outcomes(judged(values(candidate), values(0.5), bound)) == [outcome]

    def test_need_no_baseline(self) -> None:
        found = judged(values(0.95), [], {"min": 0.9}, {"max_regression": 0.01})
        assert outcomes(found) == ["pass", "not_comparable"]
        assert found.rules[1].missing_baseline

    def test_are_judged_by_the_candidate_s_examples(self, folder: Folder) -> None:
        right = [1] * 930 + [0] * 70
        for bound, outcome in (({"min": 0.9}, "pass"), ({"min": 0.93}, "inconclusive"), ({"min": 0.96}, "fail")):
            (rule,) = judged([folder.run(right)], [], bound).rules
            assert rule.outcome == outcome
            assert rule.n == 1000
            assert rule.method == "exact binomial test (0/1 scores, one run)"

    @pytest.mark.parametrize(
        ("bound", "right", "outcome"),
        [({"min": 0}, 0, "pass"), ({"min": 1}, 100, "pass"), ({"min": 1}, 99, "fail"), ({"max": 0}, 1, "fail")],
    )
    def test_at_the_ends_of_the_scale(
        self, folder: Folder, bound: Mapping[str, float], right: int, outcome: RuleOutcome
    ) -> None:
        assert outcomes(judged([folder.run([1] * right + [0] * (100 - right))], [], bound)) == [outcome]

    def test_are_not_corrected_for_other_rules(self) -> None:
        candidate = values(0.9, stderr=0.01, n=1000)
        found = judged(candidate, candidate, {"min": 0.917}, *[{"max_regression": 0.01}] * 20)
        assert outcomes(found)[0] == "fail"
        assert found.rules[0].p_adjusted == found.rules[0].p_value

    def test_a_metric_that_is_not_there_fulfils_none(self) -> None:
        other = [Run(where=Path("run"), metrics={"f1": Metric(0.9)})]
        found = judged(other, values(0.9), {"min": 0.1})
        assert outcomes(found) == ["not_comparable"]
        assert found.exit_code == ExitCode.NOT_COMPARABLE


class TestSeveralRules:
    def test_fails_are_corrected_for_all_rules_that_compare(self) -> None:
        # p = 0.02 alone; with three rules that compare Holm makes it 0.06.
        candidate, baseline = values(0.9, stderr=0.003, n=10**6), values(0.9, stderr=0.004, n=10**6)
        limit = 0.005 * stats.norm.ppf(0.98)
        worse = values(0.9 - limit, stderr=0.003, n=10**6)
        assert outcomes(judged(worse, baseline, {"max_regression": 0})) == ["fail"]
        three = judged(worse, baseline, {"max_regression": 0}, {"max_regression": 0.05}, {"max_regression": 0.05})
        assert outcomes(three) == ["inconclusive", "pass", "pass"]
        assert three.rules[0].p_adjusted == pytest.approx(0.06, rel=0.01)
        assert outcomes(judged(candidate, baseline, {"max_regression": 0.05})) == ["pass"]

    def test_exact_comparisons_and_bounds_are_no_part_of_that(self) -> None:
        limit = 0.005 * stats.norm.ppf(0.98)
        worse, baseline = values(0.9 - limit, stderr=0.003, n=10**6), values(0.9, stderr=0.004, n=10**6)
        assert outcomes(judged(worse, baseline, {"max_regression": 0}, *[{"min": 0.1}] * 9))[0] == "fail"

    def test_passes_are_not_corrected(self) -> None:
        limit = 0.005 * stats.norm.ppf(0.96)
        candidate, baseline = values(0.9, stderr=0.003, n=10**6), values(0.9, stderr=0.004, n=10**6)
        assert outcomes(judged(candidate, baseline, *[{"max_regression": limit}] * 9)) == ["pass"] * 9


class TestSlices:
    def sides(self, folder: Folder, sizes: Mapping[str, int], *, worse: str = "", seed: int = 0) -> tuple[list[Run], list[Run]]:
        rng = np.random.default_rng(seed)
        labels = [name for name, size in sizes.items() for _ in range(size)]
        before = rng.random(len(labels)) < 0.95
        after = np.where([name == worse for name in labels], before & (rng.random(len(labels)) < 0.5), before)
        return [folder.run(after.astype(int), label=labels)], [folder.run(before.astype(int), label=labels)]

    def test_the_one_that_got_worse_is_found(self, folder: Folder) -> None:
        sides = self.sides(folder, {"a": 400, "b": 400, "c": 400}, worse="b")
        found = judged(*sides, {"slices": ("label",), "max_regression": 0.03})
        assert {rule.slice: rule.outcome for rule in found.rules} == {"label=a": "pass", "label=b": "fail", "label=c": "pass"}
        assert found.exit_code == ExitCode.REGRESSION
        assert "label=b" in found.reasons[0]

    def test_small_ones_are_listed_and_not_tested(self, folder: Folder) -> None:
        sides = self.sides(folder, {"a": 400, "b": 49, "c": 50}, worse="b")
        found = judged(*sides, {"slices": ("label",), "max_regression": 0.03, "min_n": 50})
        assert [rule.slice for rule in found.rules] == ["label=a", "label=c"]
        assert [(one.slice, one.n, one.min_n) for one in found.untested] == [("label=b", 49, 50)]

    def test_a_rule_that_tests_no_slice_does_not_pass(self, folder: Folder) -> None:
        sides = self.sides(folder, {"a": 20, "b": 30}, worse="b")
        found = judged(*sides, {"slices": ("label",), "max_regression": 0.03}, on_inconclusive="fail")
        assert outcomes(found) == ["inconclusive"]
        assert "nothing was tested" in found.reasons[0]
        assert found.exit_code == ExitCode.INCONCLUSIVE
        assert len(found.untested) == 2

    def test_bounds_hold_in_slices_too_with_or_without_baseline(self, folder: Folder) -> None:
        sides = self.sides(folder, {"a": 400, "b": 400, "c": 20}, worse="b")
        for baseline in (sides[1], []):
            found = judged(sides[0], baseline, {"slices": ("label",), "min": 0.8})
            assert {rule.slice: rule.outcome for rule in found.rules} == {"label=a": "pass", "label=b": "fail"}
            assert [one.slice for one in found.untested] == ["label=c"]

    def test_a_missing_slice_column_is_not_comparable(self, folder: Folder) -> None:
        found = judged([folder.run([1, 0] * 50)], [folder.run([0, 1] * 50)], {"slices": ("label",), "max_regression": 0.03})
        assert outcomes(found) == ["not_comparable"]
        assert "has no column `label`" in found.rules[0].reason

    def test_what_must_not_flip_is_protected_in_all_slices(self, folder: Folder) -> None:
        labels, critical = ["a", "b"] * 10, [True, False] * 10
        before, after = folder.run([1] * 20, label=labels, critical=critical), [1] * 20
        after[2] = 0
        (rule,) = judged(
            [folder.run(after, label=labels, critical=critical)], [before], {"slices": ("label",), "must_not_flip": "critical"}
        ).rules
        assert rule.outcome == "fail"
        assert rule.n == 10


class TestFlips:
    def flips(self, folder: Folder, after: Sequence[int], critical: Sequence[object]) -> RuleResult:
        before = folder.run([1, 1, 1, 1, 0], critical=critical)
        (rule,) = judged([folder.run(after, critical=critical)], [before], {"must_not_flip": "critical"}).rules
        return rule

    def test_one_is_enough_to_fail(self, folder: Folder) -> None:
        rule = self.flips(folder, [1, 0, 1, 1, 0], [True, True, False, False, True])
        assert (rule.outcome, rule.n) == ("fail", 3)
        assert "1 of 3 examples with `critical` turned from right to wrong" in rule.reason

    def test_others_may_turn(self, folder: Folder) -> None:
        assert self.flips(folder, [1, 1, 0, 0, 1], [1, 1, 0, 0, 1]).outcome == "pass"

    def test_protecting_nothing_is_not_a_pass(self, folder: Folder) -> None:
        rule = self.flips(folder, [1, 1, 1, 1, 1], [0] * 5)
        assert rule.outcome == "not_comparable"
        assert "nothing is protected" in rule.reason

    def test_without_scores_nothing_can_be_known(self) -> None:
        assert outcomes(judged(values(0.9), values(0.9), {"must_not_flip": "critical"})) == ["not_comparable"]


class TestDegenerate:
    """Never a traceback, and never a pass that nobody has shown."""

    @pytest.mark.parametrize(
        ("candidate", "baseline"),
        [
            ([0.5] * 100, [0.5] * 100),
            ([0.4] * 100, [0.5] * 100),
            ([0.7], [0.7]),
            ([0], [1]),
            ([1, 0], [1, 0]),
            ([1] * 20, [1] * 20),
            ([0] * 20, [0] * 20),
            (np.linspace(0, 1, 100) - 0.1, np.linspace(0, 1, 100)),
            (np.linspace(0, 1, 100) * 1e300, np.linspace(1, 0, 100) * 1e300),
            (np.linspace(0, 1, 100) * 1.7e308, np.linspace(1, 0, 100) * 1.7e308),
            (np.linspace(0, 1, 100) * 1e-300, np.linspace(1, 0, 100) * 1e-300),
        ],
        ids=[
            "all equal", "all equal, lower", "one example", "one example, lost", "two examples", "all right", "all wrong",
            "constant shift", "huge", "largest", "tiny",
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("limit", [0, 0.001, "1%"])
    def test_scores_without_evidence(self, folder: Folder, candidate: Any, baseline: Any, limit: object) -> None:
        found = judged([folder.run(candidate)], [folder.run(baseline)], {"max_regression": limit}, on_inconclusive="fail")
        assert outcomes(found)[0] in {"inconclusive", "not_comparable"}
        assert found.exit_code in {ExitCode.INCONCLUSIVE, ExitCode.NOT_COMPARABLE}
        assert found.reasons

    def test_one_cluster(self, folder: Folder) -> None:
        rng = np.random.default_rng(2)
        sides = [[folder.run(rng.random(50), passage=["p"] * 50)] for _ in range(2)]
        policy = config({"max_regression": 0.1}, cluster="passage")
        (rule,) = judge.judge(Comparison(*sides, config=policy)).rules
        assert rule.outcome == "inconclusive"
        assert "all examples are in one cluster" in rule.reason

    def test_a_standard_error_of_zero_proves_nothing(self) -> None:
        sides = values(0.94, stderr=0.0, n=100), values(0.94, stderr=0.0, n=100)
        assert outcomes(judged(*sides, {"max_regression": 0.01})) == ["inconclusive"]

    def test_a_percentile_of_few_examples(self, folder: Folder) -> None:
        rng = np.random.default_rng(3)
        sides = [[folder.run(rng.gamma(2, size=99))] for _ in range(2)]
        policy = config({"max_regression": "10%"}, direction="lower", aggregate="p95")
        (rule,) = judge.judge(Comparison(*sides, config=policy)).rules
        assert rule.outcome == "inconclusive"
        assert "beyond the quantile" in rule.reason


class TestPercentiles:
    def test_p95_of_each_side_is_compared(self, folder: Folder) -> None:
        rng = np.random.default_rng(4)
        baseline = rng.gamma(4, size=2000)
        candidate = baseline + rng.normal(0, 0.05, size=2000)
        policy = config({"max_regression": "10%"}, {"max": 9}, direction="lower", aggregate="p95")
        found = judge.judge(Comparison([folder.run(candidate)], [folder.run(baseline)], config=policy))
        assert outcomes(found) == ["pass", "pass"]
        relative = found.rules[0]
        assert relative.baseline == pytest.approx(np.quantile(baseline, 0.95))
        assert relative.candidate == pytest.approx(np.quantile(candidate, 0.95))
        assert "of the linearised p95" in relative.method

    def test_a_slower_one_fails(self, folder: Folder) -> None:
        rng = np.random.default_rng(5)
        baseline = rng.gamma(4, size=2000)
        policy = config({"max_regression": "10%"}, direction="lower", aggregate="p95")
        slower = folder.run(1.3 * baseline + rng.normal(0, 0.05, size=2000))
        assert outcomes(judge.judge(Comparison([slower], [folder.run(baseline)], config=policy))) == ["fail"]


class TestTrainingNoise:
    def evidence(self, *, runs: tuple[int, int] = (1, 1), noise: NoiseSources | None = None) -> Evidence:
        rng = np.random.default_rng(6)
        candidate, baseline = (rng.random((k, 40)) for k in runs)
        return paired("accuracy", candidate, baseline, noise=noise or NoiseSources())

    def noise(self, sources: NoiseSources, *, runs: tuple[int, int] = (1, 1)) -> str:
        found = estimates.measure(self.evidence(runs=runs, noise=sources), aggregate="mean").noise
        return "" if found is None else found.source

    def test_seeds_here_and_recorded_commits_are_pooled(self) -> None:
        rng = np.random.default_rng(7)
        history = tuple(Examples.of(rng.random((3, 40))) for _ in range(4))
        assert self.noise(NoiseSources(history=history), runs=(3, 2)) == "of 5 runs and 4 recorded commits"
        assert self.noise(NoiseSources(history=history)) == "of 4 recorded commits"
        assert self.noise(NoiseSources(), runs=(3, 2)) == "of 5 runs"

    def test_single_runs_of_successive_commits_are_next(self) -> None:
        rng = np.random.default_rng(8)
        singles = tuple(Examples.of(rng.random((1, 40))) for _ in range(6))
        assert self.noise(NoiseSources(history=singles, given=0.1)) == "of 6 successive single runs"

    def test_the_configuration_is_last(self) -> None:
        assert self.noise(NoiseSources(given=0.1)) == "given in the configuration"
        assert self.noise(NoiseSources(given=0.1, sliced=True)) == "given in the configuration for all examples"
        assert self.noise(NoiseSources()) == ""

    def test_runs_that_are_all_alike_dilute_nothing(self) -> None:
        rng = np.random.default_rng(13)
        history = tuple(Examples.of(rng.random((3, 40))) for _ in range(2))
        alike = NoiseSources(history=history, own_values=((0.5, 0.5, 0.5), (0.1, 0.1)))
        assert self.noise(alike) == "of 2 recorded commits"
        assert self.noise(NoiseSources(own_values=((0.5, 0.5, 0.5),))) == ""

    def test_gross_differences_are_told_and_never_make_a_verdict_surer(self) -> None:
        rng = np.random.default_rng(9)
        loud = tuple(Examples.of(5 * rng.random((4, 1)) + rng.random((4, 40))) for _ in range(3))
        measured = estimates.measure(self.evidence(runs=(4, 4), noise=NoiseSources(history=loud)), aggregate="mean")
        assert measured.noise is not None
        assert measured.noise.source == "of 8 runs"
        assert "the recorded commits are left out" in measured.warning

    def test_history_without_such_a_percentile_is_no_reason_not_to_judge(self) -> None:
        rng = np.random.default_rng(10)
        tied = np.ones((3, 600))
        candidate, baseline = rng.random((1, 600)), rng.random((1, 600))
        evidence = paired("latency", candidate, baseline, noise=NoiseSources(history=(Examples.of(tied),)))
        assert estimates.measure(evidence, aggregate="p95").noise is None

    def test_rows_of_unknown_order_are_never_averaged_example_by_example(self) -> None:
        # Three runs that shuffle their rows differ from three runs in order, where it comes to what one knows about them.
        rng = np.random.default_rng(11)
        hardness = rng.normal(size=200)
        candidate, baseline = (
            np.array([rng.permutation(hardness + 0.1 * rng.normal(size=200)) for _ in range(3)]) for _ in range(2)
        )
        shuffled = [Examples.of(side, ordered=False) for side in (candidate, baseline)]
        evidence = Evidence(metric="loss", slice=None, candidate=shuffled[0], baseline=shuffled[1])
        measured = estimates.measure(evidence, aggregate="mean")
        result = measured.difference()
        assert isinstance(measured.candidate, Value)
        assert isinstance(result, Student)
        assert result.stderr >= 0.9 * (2 * hardness.var() / 200) ** 0.5
        trusted = means.unpaired_difference(candidate, baseline)
        assert isinstance(trusted, Student)
        assert trusted.stderr < 0.7 * result.stderr


def rule_result(outcome: RuleOutcome, *, missing: bool = False, reason: str = "") -> RuleResult:
    return RuleResult(
        rule=0,
        metric="accuracy",
        slice=None,
        kind="max_regression",
        limit=Limit(0.01),
        direction="higher",
        outcome=outcome,
        reason=reason or f"{outcome}{' for want of a baseline' if missing else ''}",
        missing_baseline=missing,
    )


def conclude(*rules: RuleResult, **gate: Outcome) -> Verdict:
    return verdict.conclude(rules, config=config({"max_regression": 0.01}, **gate))


class TestVerdict:
    @pytest.mark.parametrize(
        ("outcome", "option", "code"),
        [
            ("inconclusive", "on_inconclusive", ExitCode.INCONCLUSIVE),
            ("not_comparable", "on_not_comparable", ExitCode.NOT_COMPARABLE),
        ],
    )
    @pytest.mark.parametrize("policy", POLICIES)
    def test_the_policy_decides_what_is_not_known(
        self, outcome: RuleOutcome, option: str, code: ExitCode, policy: Outcome
    ) -> None:
        found = conclude(rule_result("pass"), rule_result(outcome), **{option: policy})
        assert found.exit_code == (code if policy == "fail" else ExitCode.PASSED)
        assert found.verdict == ("pass" if policy == "pass" else outcome)
        assert found.reasons == (outcome,)

    @pytest.mark.parametrize("policy", POLICIES)
    def test_a_missing_baseline_has_a_policy_of_its_own(self, policy: Outcome) -> None:
        others: Outcome = "fail" if policy != "fail" else "pass"
        found = conclude(rule_result("not_comparable", missing=True), on_missing_baseline=policy, on_not_comparable=others)
        assert found.exit_code == (ExitCode.NOT_COMPARABLE if policy == "fail" else ExitCode.PASSED)
        assert found.verdict == ("pass" if policy == "pass" else "not_comparable")

    def test_by_default_only_what_vanished_or_got_worse_blocks(self) -> None:
        assert conclude(rule_result("inconclusive")).exit_code == ExitCode.PASSED
        assert conclude(rule_result("not_comparable", missing=True)).exit_code == ExitCode.PASSED
        assert conclude(rule_result("not_comparable")).exit_code == ExitCode.NOT_COMPARABLE
        assert conclude(rule_result("fail")).exit_code == ExitCode.REGRESSION
        assert conclude(rule_result("pass")).exit_code == ExitCode.PASSED

    @pytest.mark.parametrize("policy", POLICIES)
    def test_no_policy_lets_a_regression_through(self, policy: Outcome) -> None:
        found = conclude(
            rule_result("not_comparable"),
            rule_result("inconclusive"),
            rule_result("fail"),
            on_inconclusive=policy,
            on_not_comparable=policy,
            on_missing_baseline=policy,
        )
        assert (found.verdict, found.exit_code) == ("fail", ExitCode.REGRESSION)
        assert found.reasons[0] == "fail"

    def test_what_cannot_be_compared_is_worse_than_what_cannot_be_told(self) -> None:
        found = conclude(rule_result("inconclusive"), rule_result("not_comparable"), on_inconclusive="fail")
        assert (found.verdict, found.exit_code) == ("not_comparable", ExitCode.NOT_COMPARABLE)

    def test_what_the_policy_makes_fail_comes_before_what_it_only_warns_about(self) -> None:
        found = conclude(
            rule_result("not_comparable"), rule_result("inconclusive"), on_inconclusive="fail", on_not_comparable="warn"
        )
        assert (found.verdict, found.exit_code) == ("inconclusive", ExitCode.INCONCLUSIVE)
        assert found.reasons == ("inconclusive", "not_comparable")

    @given(st.lists(st.sampled_from(OUTCOMES), max_size=8), *[st.sampled_from(POLICIES)] * 2)
    def test_the_exit_code_is_that_of_the_worst(
        self, found: list[RuleOutcome], on_inconclusive: Outcome, on_not_comparable: Outcome
    ) -> None:
        concluded = conclude(
            *(rule_result(outcome) for outcome in found),
            on_inconclusive=on_inconclusive,
            on_not_comparable=on_not_comparable,
        )
        if "fail" in found:
            expected = ExitCode.REGRESSION
        elif "not_comparable" in found and on_not_comparable == "fail":
            expected = ExitCode.NOT_COMPARABLE
        elif "inconclusive" in found and on_inconclusive == "fail":
            expected = ExitCode.INCONCLUSIVE
        else:
            expected = ExitCode.PASSED
        assert concluded.exit_code == expected
        assert (concluded.verdict == "pass") <= (concluded.exit_code == ExitCode.PASSED)

    def test_each_reason_is_given_once(self) -> None:
        assert conclude(*[rule_result("fail", reason="it fell")] * 3).reasons == ("it fell",)


@pytest.mark.parametrize("kind", get_args(Kind))
@pytest.mark.parametrize("seed", range(4))
def test_every_rule_says_why(kind: Kind, seed: int, folder: Folder) -> None:
    rng = np.random.default_rng(seed)
    limit: object = "critical" if kind == "must_not_flip" else 0.3
    candidate, baseline = (folder.run(rng.integers(0, 2, size=60), critical=[1] * 60) for _ in range(2))
    (rule,) = judged([candidate], [baseline], {kind: limit}).rules
    assert rule.reason.startswith("accuracy")


class TestWhatWouldSettleIt:
    def test_where_training_noise_dominates_seeds_are_asked_for_and_examples_are_not(self, folder: Folder) -> None:
        rng = np.random.default_rng(2)
        level = rng.normal(0, 1, 2000)

        def runs(*means: float) -> list[Run]:
            return [folder.run(level + mean + rng.normal(0, 0.01, 2000)) for mean in means]

        found = judged(runs(0.47, 0.49, 0.51), runs(0.49, 0.51, 0.53), {"max_regression": 0.05})
        (rule,) = found.rules
        assert rule.outcome == "inconclusive"
        assert rule.settlement is not None
        assert rule.settlement.examples_suffice is False
        assert rule.settlement.seeds is not None
        assert rule.settlement.seeds > 3
        assert f"{rule.settlement.seeds} seeds a side would settle it; more examples never would" in rule.reason

    def test_where_the_test_set_is_small_examples_are_asked_for_and_seeds_are_not(self, folder: Folder) -> None:
        rng = np.random.default_rng(2)
        change = rng.normal(-0.02, 0.3, 100)
        level = rng.normal(0, 1, 100)

        def runs(by: float) -> list[Run]:
            return [folder.run(level + by * change + rng.normal(0, 0.01, 100)) for _ in range(3)]

        found = judged(runs(1.0), runs(0.0), {"max_regression": 0.05})
        (rule,) = found.rules
        assert rule.outcome == "inconclusive"
        assert rule.settlement is not None
        assert rule.settlement.more_examples is not None
        assert rule.settlement.seeds_suffice is False
        assert "more seeds never would, since the test set alone is too small" in rule.reason

    def test_where_no_result_could_show_it_that_is_said(self, folder: Folder) -> None:
        found = judged([folder.run([0.5, 0.7, 0.3, 0.9])], [folder.run([0.55, 0.71, 0.32, 0.96])], {"max_regression": 0.1})
        (rule,) = found.rules
        assert rule.settlement is None
        assert rule.reason.endswith("no result on 4 examples could")

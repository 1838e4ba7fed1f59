"""Inputs that prove nothing: each has the outcome that docs/verdict.md names, never a traceback and never a silent pass."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from metricgate import cli
from metricgate.comparison import Comparison
from metricgate.config import Config
from metricgate.errors import ExitCode
from metricgate.gate.judge import judge
from metricgate.report import building, document
from metricgate.run import Metric, Run
from metricgate.score_table import ScoreTable

Columns = Mapping[str, Sequence[object]]

CODES = {
    "pass": ExitCode.PASSED,
    "fail": ExitCode.REGRESSION,
    "inconclusive": ExitCode.INCONCLUSIVE,
    "not_comparable": ExitCode.NOT_COMPARABLE,
}


def write(file: Path, columns: Columns) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    rows = [",".join(columns), *(",".join(str(value) for value in row) for row in zip(*columns.values(), strict=True))]
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return file


def table(accuracy: Sequence[object], **columns: Sequence[object]) -> dict[str, Sequence[object]]:
    return {"example_id": [f"e{i}" for i in range(len(accuracy))], "accuracy": accuracy, **columns}


class Folder:
    """Two sides as files, and what `metricgate compare` says about them where the policy blocks whatever is not shown."""

    def __init__(self, path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.path, self.capsys = path, capsys

    def compare(
        self,
        candidate: Columns | Sequence[Columns],
        baseline: Columns | Sequence[Columns],
        *rules: Mapping[str, object],
        metric: Mapping[str, object] | None = None,
        **config: object,
    ) -> tuple[int, dict[str, Any], str]:
        """The exit code, the report (empty where there is none), and standard error."""
        for side, tables in (("candidate", candidate), ("baseline", baseline)):
            for seed, columns in enumerate([tables] if isinstance(tables, Mapping) else tables):
                write(self.path / side / f"seed-{seed}" / "scores.csv", columns)
        policy = {
            "metrics": {"accuracy": {"direction": "higher", **(metric or {})}},
            "gate": {
                "on_inconclusive": "fail",
                "on_missing_baseline": "fail",
                "rules": [{"metric": "accuracy", **rule} for rule in rules],
            },
            **config,
        }
        (self.path / "metricgate.yaml").write_text(json.dumps(policy), encoding="utf-8")
        report = self.path / "report.json"
        sides = [str(self.path / side) for side in ("baseline", "candidate")]
        code = cli.main(["compare", *sides, "--config", str(self.path / "metricgate.yaml"), "--json", str(report)])
        found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else {}
        return code, found, self.capsys.readouterr().err


@pytest.fixture
def folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, capsys)


MIXED = [1, 0, 1, 1] * 50
SPREAD = [0.1, 0.7, 0.4, 0.9, 0.2] * 40
RAMP = [i / 100 for i in range(100)]


def lowered(scores: Sequence[float], by: float) -> list[float]:
    return [score - by for score in scores]


def scaled(scores: Sequence[float], by: float) -> list[float]:
    return [score * by for score in scores]


class TestOutcomes:
    """Rows of the table, each judged with a limit of 0.01 unless another is given."""

    @pytest.mark.parametrize(
        ("candidate", "baseline", "limit", "outcome", "because"),
        [
            pytest.param(lowered(RAMP, 0.1), RAMP, 0.01, "inconclusive", "exactly the same amount", id="same change"),
            pytest.param([0.5] * 100, [0.5] * 100, 0.01, "inconclusive", "one score on each side", id="one score everywhere"),
            pytest.param([0.4] * 100, [0.5] * 100, 0.01, "inconclusive", "one score on each side", id="one score each"),
            pytest.param([1] * 20, [1] * 20, 0.01, "inconclusive", "", id="all right, few examples"),
            pytest.param([1] * 2000, [1] * 2000, 0.01, "pass", "", id="all right, many examples"),
            pytest.param([1] * 2000, [1] * 2000, 0, "inconclusive", "", id="all right, nothing allowed"),
            pytest.param([1] * 2000, [1] * 2000, "1%", "inconclusive", "an absolute limit could be", id="all right, relative"),
            pytest.param([0] * 200, [0] * 200, 0.001, "inconclusive", "", id="all wrong"),
            pytest.param([0] * 200, [0] * 200, "1%", "not_comparable", "the baseline is 0", id="relative to zero"),
            pytest.param([0] * 200, [1] * 200, 0.01, "fail", "", id="everything lost, 0/1"),
            pytest.param(MIXED, MIXED, 0, "inconclusive", "", id="identical, 0/1"),
            pytest.param(SPREAD, SPREAD, 0, "pass", "", id="identical, numeric"),
            pytest.param([1], [1], 0.01, "inconclusive", "there is 1 example", id="one example, 0/1"),
            pytest.param([0.7], [0.7], 0.01, "inconclusive", "there is 1 example", id="one example"),
            pytest.param([0.2], [0.7], 0.01, "inconclusive", "there is 1 example", id="one example, lower"),
            pytest.param(scaled(RAMP, 1e300), scaled(RAMP[::-1], 1e300), 0.01, "inconclusive", "too large", id="huge"),
            pytest.param(scaled(RAMP, 1.7e308), scaled(RAMP[::-1], 1.7e308), 0.01, "inconclusive", "too large", id="largest"),
            pytest.param(scaled(RAMP, 1e-300), scaled(RAMP[::-1], 1e-300), 0, "inconclusive", "", id="tiny"),
            pytest.param([*RAMP[1:], 1e300], RAMP, 0.01, "inconclusive", "too large", id="one huge score"),
            pytest.param([*RAMP[1:], -1e300], RAMP, 0.01, "inconclusive", "too large", id="one hugely negative score"),
            pytest.param([*RAMP[1:], 1e-300], RAMP, 0.5, "pass", "", id="one tiny score is a score"),
        ],
    )
    def test_of_scores(
        self, folder: Folder, *, candidate: list[float], baseline: list[float], limit: object, outcome: str, because: str
    ) -> None:
        code, report, _ = folder.compare(table(candidate), table(baseline), {"max_regression": limit})
        (rule,) = report["rules"]
        assert rule["outcome"] == outcome
        assert because in rule["reason"]
        assert code == CODES[outcome]

    def test_of_one_example_are_never_enough_however_many_runs(self, folder: Folder) -> None:
        code, report, _ = folder.compare([table([0.0]), table([-1.0])], [table([0.0]), table([-1.0])], {"max_regression": 0})
        assert report["rules"][0]["outcome"] == "inconclusive"
        assert code == ExitCode.INCONCLUSIVE

    def test_of_runs_that_differ_by_chance_alone_have_a_plan_to_settle_them(self, folder: Folder) -> None:
        # Coins: all that the runs differ by is the residual, and with more runs nothing would be left of the variance.
        coins = (np.random.default_rng(3).random((6, 100)) < 0.5).astype(int)
        ours, theirs = ([table(run) for run in coins[at]] for at in (slice(3), slice(3, 6)))
        code, report, _ = folder.compare(ours, theirs, {"max_regression": 0.1})
        assert report["rules"][0]["outcome"] == "inconclusive"
        assert code == ExitCode.INCONCLUSIVE

    def test_copies_of_a_run_make_no_evidence(self, folder: Folder) -> None:
        rng = np.random.default_rng(1)
        before, after = rng.random((2, 200)).round(3).tolist()
        _, once, _ = folder.compare(table(after), table(before), {"max_regression": 0.01})
        _, often, _ = folder.compare([table(after)] * 5, [table(before)] * 5, {"max_regression": 0.01})
        assert often["rules"][0]["interval"] == once["rules"][0]["interval"]
        assert any("hold 1 different result" in warning for warning in often["warnings"])

    @pytest.mark.parametrize(("clusters", "because"), [(["p"] * 100, "all examples are in one cluster")])
    def test_of_one_cluster(self, folder: Folder, clusters: list[str], because: str) -> None:
        sides = table(lowered(RAMP[::-1], 0.5), c=clusters), table(RAMP, c=clusters)
        code, report, _ = folder.compare(*sides, {"max_regression": 0.01}, scores={"cluster": "c"})
        assert report["rules"][0]["outcome"] == "inconclusive"
        assert because in report["rules"][0]["reason"]
        assert code == ExitCode.INCONCLUSIVE

    def test_of_a_quantile_with_too_few_examples_beyond_it(self, folder: Folder) -> None:
        metric = {"direction": "lower", "aggregate": "p95"}
        code, report, _ = folder.compare(table(RAMP), table(RAMP[::-1]), {"max_regression": "10%"}, metric=metric)
        assert "beyond the quantile" in report["rules"][0]["reason"]
        assert code == ExitCode.INCONCLUSIVE

    def test_of_slices_that_are_all_too_small(self, folder: Folder) -> None:
        labels = ["a", "b"] * 50
        rule = {"max_regression": 0.5, "slices": ["label"], "min_n": 60}
        code, report, _ = folder.compare(table([0] * 100, label=labels), table([1] * 100, label=labels), rule)
        assert "nothing was tested" in report["rules"][0]["reason"]
        assert [one["n"] for one in report["untested_slices"]] == [50, 50]
        assert code == ExitCode.INCONCLUSIVE


class TestTwoSidesThatDoNotFit:
    """Nothing is compared: not the examples that happen to be in both, not the slices that are left."""

    BETTER, WORSE = [1] * 100, [0] * 100

    def outcome(self, folder: Folder, candidate: Columns, baseline: Columns, **rule: object) -> str:
        code, report, _ = folder.compare(candidate, baseline, {"max_regression": 0.5, **rule})
        outcomes = {one["outcome"] for one in report["rules"]}
        assert code == ExitCode.NOT_COMPARABLE
        assert "not_comparable" in outcomes
        return " ".join(one["reason"] for one in report["rules"])

    def test_no_example_in_common(self, folder: Folder) -> None:
        other = table(self.BETTER, example_id=[f"x{i}" for i in range(100)])
        assert "the test set changed: 100 ids are missing and 100 are new" in self.outcome(folder, other, table(self.BETTER))

    def test_some_examples_in_common(self, folder: Folder) -> None:
        shifted = table(self.BETTER, example_id=[f"e{i + 10}" for i in range(100)])
        assert "10 ids are missing and 10 are new" in self.outcome(folder, shifted, table(self.BETTER))

    def test_examples_that_were_left_out(self, folder: Folder) -> None:
        fewer = table(self.BETTER[:90])
        assert "10 ids are missing and 0 are new" in self.outcome(folder, fewer, table(self.BETTER))

    def test_another_label(self, folder: Folder) -> None:
        labels, changed = ["a", "b"] * 50, ["a", "b"] * 49 + ["a", "a"]
        sides = table(self.BETTER, label=changed), table(self.BETTER, label=labels)
        assert "`label` differs for 1 example" in self.outcome(folder, *sides, slices=["label"])

    def test_a_metric_that_vanished(self, folder: Folder) -> None:
        without: Columns = {"example_id": [f"e{i}" for i in range(100)], "loss": self.BETTER}
        assert "the candidate does not have the metric `accuracy`" in self.outcome(folder, without, table(self.BETTER))

    def test_a_slice_column_that_vanished(self, folder: Folder) -> None:
        sides = table(self.BETTER), table(self.BETTER, label=["a", "b"] * 50)
        assert "candidate has no column `label`" in self.outcome(folder, *sides, slices=["label"])

    def test_ids_on_one_side_only_pair_nothing_and_the_report_says_so(self, folder: Folder) -> None:
        nameless = {"accuracy": SPREAD}
        _, report, _ = folder.compare(table(SPREAD), nameless, {"max_regression": 0.5})
        assert "not paired: the score table of the baseline has no id column" in report["rules"][0]["method"]


class TestFiles:
    """What is no table of scores stops with exit code 2, and says where."""

    @pytest.mark.parametrize(
        ("broken", "because"),
        [
            pytest.param({3: "nan"}, "nan in a score column", id="NaN"),
            pytest.param({3: "inf"}, "inf in a score column", id="infinite"),
            pytest.param({3: "-inf"}, "-inf in a score column", id="infinitely negative"),
            pytest.param({3: "1e999"}, "in a score column", id="beyond all numbers"),
            pytest.param({3: ""}, "no value in a score column", id="missing"),
            pytest.param({3: "right"}, "'right' in a score column", id="text"),
        ],
    )
    def test_a_score_that_is_none(self, folder: Folder, broken: Mapping[int, str], because: str) -> None:
        scores = [broken.get(i, "1") for i in range(50)]
        code, report, said = folder.compare(table(scores), table([1] * 50), {"max_regression": 0.01})
        assert (code, report) == (ExitCode.USAGE, {})
        assert because in said
        assert "scores.csv:5, row 4, column 'accuracy'" in said
        assert "Traceback" not in said

    @pytest.mark.parametrize(
        ("columns", "because"),
        [
            pytest.param({"example_id": ["a", "b", "a"], "accuracy": [1, 0, 1]}, "the id 'a' appears again", id="twice"),
            pytest.param({"example_id": ["a", "", "c"], "accuracy": [1, 0, 1]}, "the example has no id", id="no id"),
            pytest.param({"example_id": [], "accuracy": []}, "the table has no rows", id="no rows"),
        ],
    )
    def test_a_table_that_is_none(self, folder: Folder, columns: Columns, because: str) -> None:
        code, report, said = folder.compare(columns, table([1, 0, 1]), {"max_regression": 0.01})
        assert (code, report) == (ExitCode.USAGE, {})
        assert because in said


class TestLabelsAndPredictions:
    """Metrics that one class, one value or no weight leaves without a meaning."""

    LABELS = [0, 1] * 50

    def outcome(
        self,
        folder: Folder,
        aggregate: str,
        *sides: Sequence[object],
        label: Sequence[object] = LABELS,
    ) -> str:
        ids = [f"e{i}" for i in range(len(label))]
        ours, theirs = ({"example_id": ids, "label": label, "prediction": side} for side in sides)
        code, report, _ = folder.compare(ours, theirs, {"max_regression": 0.01}, metric={"aggregate": aggregate})
        (rule,) = report["rules"]
        assert code == CODES[rule["outcome"]]
        return f"{rule['outcome']}: {rule['reason']}"

    @pytest.mark.parametrize("aggregate", ["roc_auc", "average_precision", "f1", "recall", "r2"])
    def test_a_constant_label(self, folder: Folder, aggregate: str) -> None:
        ours = [i % 2 for i in range(100)] if aggregate in {"f1", "recall"} else RAMP
        said = self.outcome(folder, aggregate, ours, ours[::-1], label=[0] * 100)
        assert said.startswith("inconclusive: ")

    @pytest.mark.parametrize("aggregate", ["roc_auc", "average_precision", "matthews_corrcoef"])
    def test_a_constant_prediction_on_both_sides_is_not_shown_to_be_as_good(self, folder: Folder, aggregate: str) -> None:
        constant = [0] * 100 if aggregate == "matthews_corrcoef" else [0.5] * 100
        other = [1] * 100 if aggregate == "matthews_corrcoef" else [0.25] * 100
        assert not self.outcome(folder, aggregate, constant, other).startswith("fail")

    def test_a_constant_prediction_of_the_candidate_alone_is_a_loss(self, folder: Folder) -> None:
        good = [label + RAMP[i] / 2 for i, label in enumerate(self.LABELS)]
        assert not self.outcome(folder, "roc_auc", [0.5] * 100, good).startswith("pass")

    @pytest.mark.parametrize(("weights", "because"), [([0] * 100, "nothing but 0"), ([1] * 99 + [-1], "-1 in row 100")])
    def test_weights_that_weigh_nothing(self, folder: Folder, weights: list[int], because: str) -> None:
        ids = [f"e{i}" for i in range(100)]
        side: Columns = {"example_id": ids, "label": self.LABELS, "prediction": self.LABELS, "w": weights}
        metric = {"aggregate": "f1", "weight": "w"}
        code, report, said = folder.compare(side, side, {"max_regression": 0.01}, metric=metric)
        assert (code, report) == (ExitCode.USAGE, {})
        assert because in said

    def test_a_class_that_weighs_too_little_to_compute_with(self, folder: Folder) -> None:
        ids, labels, weights = [f"e{i}" for i in range(100)], [*self.LABELS[:-2], 2, 2], [1e300, *[0.5] * 97, 1e-300, 1e-300]
        side: Columns = {"example_id": ids, "label": labels, "prediction": [i % 3 for i in range(100)], "w": weights}
        metric = {"aggregate": "recall_macro", "weight": "w"}
        code, report, _ = folder.compare(side, {**side, "prediction": [0] * 100}, {"max": 1.0}, metric=metric)
        assert report["rules"][0]["outcome"] == "inconclusive"
        assert code == ExitCode.INCONCLUSIVE

    def test_few_examples_that_few_decide(self, folder: Folder) -> None:
        labels, ours, theirs = [0, 0, 1], [0, 1, 1], [0, 0, 1]
        assert not self.outcome(folder, "f1_weighted", ours, theirs, label=labels).startswith("pass")


class TestValues:
    """Metrics without scores."""

    @pytest.mark.parametrize(
        ("candidate", "baseline", "limit", "outcome"),
        [
            pytest.param((0.0, None), (0.0, None), "10%", "not_comparable", id="relative to zero"),
            pytest.param((0.9, 0.0), (0.9, 0.0), 0.01, "inconclusive", id="a standard error of zero"),
            pytest.param((0.5, 0.0), (0.9, 0.0), 0.01, "inconclusive", id="a standard error of zero, lower"),
            pytest.param((0.9, 1e-300), (0.9, 1e-300), 0.01, "inconclusive", id="a standard error too small to be one"),
            pytest.param((0.9, 1e300), (0.9, 1e300), 0.01, "inconclusive", id="a standard error too large to compute with"),
            pytest.param((1e300, 0.01), (-1e300, 0.01), 0.01, "pass", id="huge, and far apart"),
            pytest.param((-1e308, None), (1e308, None), 0.01, "inconclusive", id="farther apart than any number"),
        ],
    )
    def test_with_and_without_standard_error(
        self, candidate: tuple[float, float | None], baseline: tuple[float, float | None], limit: object, outcome: str
    ) -> None:
        ours, theirs = ([Run(Path("run"), {"accuracy": Metric(value, stderr, 100)})] for value, stderr in (candidate, baseline))
        found = judged(ours, theirs, {"max_regression": limit})
        assert [rule.outcome for rule in found.rules] == [outcome]


def judged(candidate: Sequence[Run], baseline: Sequence[Run], *rules: Mapping[str, object], **config: Any) -> Any:
    policy = {
        "metrics": {"accuracy": {"direction": "higher"}},
        "gate": {"on_inconclusive": "fail", "rules": tuple({"metric": "accuracy", **rule} for rule in rules)},
        **config,
    }
    return judge(Comparison(candidate, baseline, config=Config.model_validate(policy)))


EXTREME = [0.0, 1.0, -1.0, 0.5, 1 + 2**-52, 1e8, 1e16, 1e154, -1e154, 1e300, -1e300, 1.7e308, -1.7e308, 1e-154, 1e-300, 5e-324]
ANY = st.sampled_from(EXTREME) | st.floats(allow_nan=False, allow_infinity=False) | st.floats(-1, 1)
LIMITS = st.sampled_from([0, 0.01, 0.5, 1e300, "1%", "100%"])


@st.composite
def two_sides(draw: st.DrawFn) -> tuple[list[list[float]], list[list[float]]]:
    """Up to three runs a side, of extreme scores, that often agree in most examples."""
    n = draw(st.integers(1, 40))
    scores = st.lists(ANY, min_size=n, max_size=n) | st.lists(st.sampled_from([0.0, 1.0]), min_size=n, max_size=n)
    base = draw(scores)
    alike = st.just(base) | st.tuples(st.integers(0, n - 1), ANY).map(lambda at: [*base[: at[0]], at[1], *base[at[0] + 1 :]])
    sides = [draw(st.lists(scores | alike, min_size=1, max_size=3)) for _ in range(2)]
    return sides[0], sides[1]


class TestAnything:
    """Whatever the numbers are: a verdict or a clear error, and no side of the limit is mistaken for the other."""

    @settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        sides=two_sides(),
        limit=LIMITS,
        kind=st.sampled_from(["max_regression", "min_improvement"]),
        direction=st.sampled_from(["higher", "lower"]),
        clustered=st.booleans(),
        noise=st.sampled_from([None, 1e-300, 0.01, 1e300]),
    )
    @example(sides=([[0.0]], [[0.0]]), limit=0, kind="max_regression", direction="higher", clustered=True, noise=None)
    def test_the_limit_is_never_mistaken(
        self,
        *,
        sides: tuple[list[list[float]], list[list[float]]],
        limit: float | str,
        kind: str,
        direction: str,
        clustered: bool,
        noise: float | None,
        tmp_path: Path,
    ) -> None:
        candidate, baseline = sides
        comparison = Comparison(
            *(self.runs(tmp_path / name, side) for name, side in (("candidate", candidate), ("baseline", baseline))),
            config=Config.model_validate(
                {
                    "metrics": {"accuracy": {"direction": direction}},
                    "scores": {"cluster": "c" if clustered else None},
                    "noise": {} if noise is None else {"accuracy": noise},
                    "gate": {"on_inconclusive": "fail", "rules": ({"metric": "accuracy", kind: limit},)},
                }
            ),
        )
        found = judge(comparison)
        (rule,) = found.rules
        assert rule.reason or rule.outcome == "pass"
        assert found.exit_code == CODES[rule.outcome]
        document.to_json(building.build(comparison, found))  # holds finite numbers only, or it is refused
        change = exact_mean(candidate) - exact_mean(baseline)
        gain = change if direction == "higher" else -change
        allowed = Fraction(rule.limit.value) * (abs(exact_mean(baseline)) if rule.limit.relative else 1)
        excess = gain + allowed if kind == "max_regression" else gain - allowed
        rounding = max(abs(Fraction(x)) for x in [rule.limit.value, *itertools.chain(*candidate, *baseline)]) / 10**12
        if excess < -rounding:
            assert rule.outcome != "pass"
        if excess > rounding:
            assert rule.outcome != "fail"
        if min(len(candidate[0]), len(baseline[0])) < 2:
            assert rule.outcome in {"inconclusive", "not_comparable"}

    def runs(self, folder: Path, scores: Sequence[Sequence[float]]) -> list[Run]:
        found = []
        for seed, accuracy in enumerate(scores):
            columns = table([repr(x) for x in accuracy], c=[i % 3 for i in range(len(accuracy))])
            file = write(folder / f"seed-{seed}" / "scores.csv", columns)
            found.append(Run(file.parent, {}, ScoreTable.open(file, id="example_id")))
        return found


def exact_mean(runs: Sequence[Sequence[float]]) -> Fraction:
    """The mean over runs and examples; a run that is a copy of another counts once, as it does for the gate."""
    distinct = list(dict.fromkeys(tuple(run) for run in runs))
    return sum((Fraction(x) for run in distinct for x in run), Fraction()) / sum(len(run) for run in distinct)

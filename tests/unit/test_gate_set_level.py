"""Metrics of labels and predictions, from score tables to outcomes."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from metricgate.comparison import Comparison
from metricgate.config import Config
from metricgate.errors import ConfigError, InputError
from metricgate.gate import judge
from metricgate.gate.verdict import RuleResult
from metricgate.run import Metric, Run
from metricgate.score_table import ScoreTable
from metricgate.stats import labelled, set_metrics

Array = NDArray[np.float64]

N = 900


class Folder:
    """Writes runs with labels and predictions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.written = 0

    def run(self, columns: Mapping[str, Any], *, ids: bool = True) -> Run:
        self.written += 1
        file = self.path / f"run-{self.written}" / "scores.csv"
        file.parent.mkdir()
        names = [*(["example_id"] if ids else []), *columns]
        n = len(next(iter(columns.values())))
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(names)
            writer.writerows(zip(*([range(n)] if ids else []), *columns.values(), strict=True))
        return Run(where=file.parent, metrics={}, scores=ScoreTable.open(file, id="example_id", require_id=False))


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    return Folder(tmp_path)


class Model:
    """Trainings of one model: each ranks the examples a little differently."""

    def __init__(self, seed: int = 1, *, n: int = N, positive: float = 0.4) -> None:
        self.rng = np.random.default_rng(seed)
        self.label = (self.rng.random(n) < positive).astype(int)
        self.shared = 1.2 * self.label + self.rng.standard_normal(n)

    def predictions(self, *, noise: float = 0.3) -> dict[str, Any]:
        score = self.shared + noise * self.rng.standard_normal(len(self.label))
        return {"label": self.label, "score": score.round(4), "prediction": (score > 0.6).astype(int)}


def config(*rules: Mapping[str, Any], cluster: str | None = None, noise: float | None = None, **metric: Any) -> Config:
    return Config.model_validate(
        {
            "metrics": {"quality": {"direction": "higher", **metric}},
            "scores": {"cluster": cluster},
            "noise": {} if noise is None else {"quality": noise},
            "gate": {"rules": tuple({"metric": "quality", **rule} for rule in rules) or ({"metric": "quality", "min": -9.0},)},
        }
    )


def judged(candidate: Run | Sequence[Run], baseline: Run | Sequence[Run], policy: Config, **more: Any) -> list[RuleResult]:
    sides = [[side] if isinstance(side, Run) else side for side in (candidate, baseline)]
    return list(judge.judge(Comparison(*sides, config=policy, **more)).rules)


AUC: dict[str, Any] = {"aggregate": "roc_auc", "prediction": "score"}
F1: dict[str, Any] = {"aggregate": "f1"}


class TestChoice:
    """Only what is there decides."""

    @pytest.mark.parametrize(
        ("name", "weighted", "level"),
        [
            ("accuracy", False, "mean"),
            ("brier", False, "mean"),
            ("brier", True, "sums"),
            ("f1", False, "sums"),
            ("roc_auc", True, "roc_auc"),
            ("average_precision", False, "ranking"),
            ("root_mean_squared_error", False, "sums"),
        ],
    )
    def test_what_a_metric_is(self, name: str, weighted: bool, level: str) -> None:
        assert labelled.level_of(set_metrics.by_name()[name], weighted=weighted) == level

    @pytest.mark.parametrize(
        ("metric", "runs", "noise", "cluster", "method"),
        [
            (F1, 1, None, None, "BCa bootstrap, 10,000 resamples (a metric of the whole test set, one run a side)"),
            (
                F1,
                1,
                None,
                "group",
                "BCa bootstrap of clusters, 10,000 resamples (a metric of the whole test set, one run a side)",
            ),
            (F1, 3, None, None, "examples × seeds, paired of the influence values of f1 (several runs)"),
            (F1, 1, 0.01, None, "examples × seeds, paired of the influence values of f1 (training noise is known)"),
            (AUC, 1, None, None, "DeLong (the area under the ROC curve, one run a side)"),
            (AUC, 1, None, "group", "paired t, clustered of the influence values of roc_auc"),
            ({"aggregate": "accuracy"}, 1, None, None, "Tango"),
        ],
    )
    def test_is_named_in_the_result(  # noqa: PLR0917
        self, folder: Folder, metric: Mapping[str, Any], runs: int, noise: float | None, cluster: str | None, method: str
    ) -> None:
        model = Model()
        group = {"group": np.arange(N) // 3}
        sides = [[folder.run({**model.predictions(), **group}) for _ in range(runs)] for _ in range(2)]
        (rule,) = judged(sides[0], sides[1], config({"max_regression": 0.05}, cluster=cluster, noise=noise, **metric))
        assert method in rule.method
        assert rule.n == N
        assert rule.outcome == "pass"
        assert ("training noise" in rule.noise) == (runs > 1 or noise is not None)


class TestUndefined:
    """A metric that is not defined on a side never passes."""

    @pytest.mark.parametrize("rule", [{"max_regression": 0.05}, {"min": 0.1}])
    def test_what_only_the_candidate_lacks_is_gone(self, folder: Folder, rule: Mapping[str, Any]) -> None:
        model = Model()
        good = model.predictions()
        silent = {**good, "prediction": np.zeros_like(good["prediction"])}
        (found,) = judged(folder.run(silent), folder.run(good), config(rule, aggregate="precision"))
        assert found.outcome == "not_comparable"
        assert "precision is not defined" in found.reason

    @pytest.mark.parametrize("rule", [{"max_regression": 0.05}, {"min": 0.1}])
    def test_what_neither_side_has_is_inconclusive(self, folder: Folder, rule: Mapping[str, Any]) -> None:
        model = Model()
        good = model.predictions()
        silent = {**good, "prediction": np.zeros_like(good["prediction"])}
        (found,) = judged(folder.run(silent), folder.run(silent), config(rule, aggregate="precision"))
        assert found.outcome == "inconclusive"
        assert "precision is not defined" in found.reason


class TestOutcomes:
    @pytest.mark.parametrize("metric", [F1, AUC, {"aggregate": "average_precision", "prediction": "score"}])
    @pytest.mark.parametrize("limit", [0.03, "4%"])
    @pytest.mark.parametrize("runs", [1, 3])
    def test_a_model_that_is_much_worse_fails_and_its_equal_passes(
        self, folder: Folder, metric: Mapping[str, Any], limit: object, runs: int
    ) -> None:
        model = Model(n=1_500)
        policy = config({"max_regression": limit}, **metric)
        baseline = [folder.run(model.predictions(noise=0.2)) for _ in range(runs)]
        equal = [folder.run(model.predictions(noise=0.2)) for _ in range(runs)]
        worse = [folder.run(model.predictions(noise=2.5)) for _ in range(runs)]
        assert [rule.outcome for rule in judged(equal, baseline, policy)] == ["pass"]
        assert [rule.outcome for rule in judged(worse, baseline, policy)] == ["fail"]

    def test_values_are_means_over_runs(self, folder: Folder) -> None:
        model = Model()
        tables = [model.predictions() for _ in range(4)]
        policy = config({"max_regression": 0.1}, **F1)
        (rule,) = judged([folder.run(t) for t in tables[:2]], [folder.run(t) for t in tables[2:]], policy)
        values = []
        for t in tables:
            sample = set_metrics.Sample(label=t["label"].astype(float), prediction=t["prediction"].astype(float))
            values.append(set_metrics.by_name()["f1"].value(sample))
        assert rule.candidate == pytest.approx(np.mean(values[:2]))
        assert rule.baseline == pytest.approx(np.mean(values[2:]))

    def test_an_absolute_bound_is_about_the_candidate_alone(self, folder: Folder) -> None:
        run = folder.run(Model().predictions())
        low, high = judged(run, [], config({"min": 0.5}, {"min": 0.95}, **AUC))
        assert (low.outcome, high.outcome) == ("pass", "fail")
        assert low.method.startswith("DeLong")

    def test_the_order_of_rows_does_not_matter(self, folder: Folder) -> None:
        model = Model()
        candidate, baseline = model.predictions(), model.predictions()
        order = np.random.default_rng(2).permutation(N)
        policy = config({"max_regression": 0.02}, **F1)
        ids = {"example_id": np.arange(N)}
        one = folder.run({**ids, **baseline}, ids=False)
        other = folder.run({key: np.asarray(column)[order] for key, column in {**ids, **baseline}.items()}, ids=False)
        run = folder.run(candidate)
        assert judged(run, one, policy) == judged(run, other, policy)

    def test_slices_have_metrics_of_their_own(self, folder: Folder) -> None:
        model = Model(n=2_000)
        where = {"site": ["north"] * 1_000 + ["south"] * 1_000}
        baseline = model.predictions(noise=0.1)
        candidate = model.predictions(noise=0.1)
        candidate["prediction"][1_000:] = model.rng.integers(0, 2, 1_000)
        rules = judged(
            folder.run({**candidate, **where}),
            folder.run({**baseline, **where}),
            config({"max_regression": 0.05, "slices": ("site",)}, **F1),
        )
        assert {rule.slice: rule.outcome for rule in rules} == {"site=north": "pass", "site=south": "fail"}

    def test_sides_that_can_not_be_paired_are_compared_all_the_same(self, folder: Folder) -> None:
        model = Model(n=2_000)
        sides = [folder.run(model.predictions(), ids=False) for _ in range(2)]
        for metric, method in ((F1, "BCa bootstrap, 10,000 resamples, unpaired"), (AUC, "DeLong, unpaired")):
            (rule,) = judged(sides[0], sides[1], config({"max_regression": 0.1}, **metric))
            assert rule.outcome == "pass"
            assert rule.method.startswith(method)
            assert "no id column" in rule.method

    def test_runs_of_the_main_branch_tell_the_noise(self, folder: Folder) -> None:
        model = Model()
        history = [folder.run(model.predictions()) for _ in range(3)]
        (rule,) = judged(
            folder.run(model.predictions()),
            folder.run(model.predictions()),
            config({"max_regression": 0.1}, **F1),
            history=history,
        )
        assert "influence values" in rule.method
        assert "training noise" in rule.noise

    def test_values_without_score_tables_are_compared_as_those_of_any_metric(self) -> None:
        runs = [Run(where=Path("run"), metrics={"quality": Metric(value, None, None)}) for value in (0.9, 0.9)]
        (rule,) = judged(runs[0], runs[1], config({"max_regression": 0.01}, **F1))
        assert (rule.outcome, rule.method) == ("pass", "exact comparison")

    def test_the_same_inputs_have_the_same_result(self, folder: Folder) -> None:
        model = Model()
        sides = [folder.run(model.predictions()) for _ in range(2)]
        policy = config({"max_regression": 0.02}, **F1)
        assert judged(sides[0], sides[1], policy) == judged(sides[0], sides[1], policy)


class TestDegenerateInputs:
    def outcome(self, folder: Folder, candidate: Mapping[str, Any], baseline: Mapping[str, Any], **metric: Any) -> RuleResult:
        (rule,) = judged(folder.run(candidate), folder.run(baseline), config({"max_regression": 0.02}, **metric))
        return rule

    @pytest.mark.parametrize("only", [0, 1])
    def test_labels_that_are_all_the_same_have_no_area(self, folder: Folder, only: int) -> None:
        columns = [{"label": [only] * 60, "score": np.random.default_rng(k).random(60)} for k in range(2)]
        rule = self.outcome(folder, columns[0], columns[1], **AUC)
        assert rule.outcome == "inconclusive"
        assert "roc_auc is not defined: no example is" in rule.reason
        assert rule.candidate is None

    def test_a_model_that_predicts_nothing_has_no_precision(self, folder: Folder) -> None:
        model = Model()
        silent = {**model.predictions(), "prediction": [0] * N}
        rule = self.outcome(folder, silent, model.predictions(), aggregate="precision")
        assert rule.outcome == "not_comparable"
        assert "no example is predicted to be positive" in rule.reason

    def test_the_same_predictions_pass(self, folder: Folder) -> None:
        columns = Model().predictions()
        metrics: list[dict[str, Any]] = [
            F1,
            AUC,
            {"aggregate": "f1_macro"},
            {"aggregate": "average_precision", "prediction": "score"},
        ]
        for metric in metrics:
            rule = self.outcome(folder, columns, columns, **metric)
            assert (rule.outcome, rule.difference) == ("pass", 0.0)
            assert rule.method.startswith("identical" if "prediction" in metric else "Poisson bound, few predictions changed")

    def test_two_perfect_rankings_are_inconclusive(self, folder: Folder) -> None:
        label = [0] * 30 + [1] * 30
        columns = [{"label": label, "score": np.array(label) * (1 + k) + 0.1} for k in range(2)]
        rule = self.outcome(folder, columns[0], columns[1], **AUC)
        assert (rule.outcome, rule.candidate) == ("inconclusive", 1.0)

    @pytest.mark.parametrize("metric", [F1, AUC, {"aggregate": "r2", "prediction": "score"}])
    def test_one_example(self, folder: Folder, metric: Mapping[str, Any]) -> None:
        columns = [{"label": [1], "score": [0.5 + k], "prediction": [k]} for k in range(2)]
        assert self.outcome(folder, columns[0], columns[1], **metric).outcome == "inconclusive"

    def test_one_cluster(self, folder: Folder) -> None:
        model = Model()
        sides = [folder.run({**model.predictions(), "group": ["all"] * N}) for _ in range(2)]
        for metric in (F1, AUC):
            (rule,) = judged(sides[0], sides[1], config({"max_regression": 0.02}, cluster="group", **metric))
            assert rule.outcome == "inconclusive"
            assert "cluster" in rule.reason

    def test_other_labels_are_another_test_set(self, folder: Folder) -> None:
        model = Model()
        turned = model.predictions()
        turned["label"] = 1 - turned["label"]
        rule = self.outcome(folder, turned, model.predictions(), **F1)
        assert rule.outcome == "not_comparable"
        assert "the test set changed: `label` differs for 900 examples" in rule.reason

    def test_other_weights_are_another_test_set(self, folder: Folder) -> None:
        model = Model()
        weight = np.ones(N)
        columns = [{**model.predictions(), "weight": weight * (1 + k)} for k in range(2)]
        rule = self.outcome(folder, columns[0], columns[1], weight="weight", **F1)
        assert "`label` or `weight` differs for 900 examples" in rule.reason

    def test_runs_of_one_side_that_disagree_about_the_truth(self, folder: Folder) -> None:
        model, other = Model(), Model(seed=2)
        runs = [folder.run(model.predictions()), folder.run(other.predictions())]
        with pytest.raises(InputError, match="`label` differs for"):
            judged(runs, folder.run(model.predictions()), config({"max_regression": 0.02}, **F1))

    def test_a_side_without_the_columns(self, folder: Folder) -> None:
        model = Model()
        without = {"label": model.label}
        rule = self.outcome(folder, without, model.predictions(), **F1)
        assert rule.outcome == "not_comparable"
        assert "the candidate does not have the metric `quality`" in rule.reason

    @pytest.mark.parametrize("aggregate", ["log_loss", "brier", "calibration_error"])
    def test_a_score_that_is_no_probability(self, folder: Folder, aggregate: str) -> None:
        model = Model()
        with pytest.raises(InputError, match="is no probability"):
            self.outcome(folder, model.predictions(), model.predictions(), aggregate=aggregate, prediction="score")

    @pytest.mark.parametrize(("huge", "outcome"), [(1e200, "inconclusive"), (1e-200, "inconclusive"), (1.0, "pass")])
    def test_numbers_that_are_too_large_or_too_small_to_square(self, folder: Folder, huge: float, outcome: str) -> None:
        rng = np.random.default_rng(1)
        label = rng.standard_normal(300)
        columns = [{"label": label * huge, "prediction": (label + 0.3 + 0.01 * rng.standard_normal(300)) * huge} for _ in "ab"]
        assert self.outcome(folder, columns[0], columns[1], aggregate="r2").outcome == outcome


class TestFunctionsOfTheUsers:
    REFERENCE = "shop.metrics:quality"

    def judged(self, folder: Folder, function: Any, *, runs: int = 1, limit: float = 0.1) -> RuleResult:
        model = Model(n=400)
        sides = [[folder.run(model.predictions()) for _ in range(runs)] for _ in range(2)]
        policy = config({"max_regression": limit}, aggregate=self.REFERENCE)
        (rule,) = judged(sides[0], sides[1], policy, functions={self.REFERENCE: function})
        return rule

    @staticmethod
    def agreement(label: Array, prediction: Array, weight: Array) -> float:
        return float((weight * (label == prediction)).sum() / weight.sum())

    @pytest.mark.parametrize(
        ("runs", "method"), [(1, "BCa bootstrap, 2,000 resamples"), (3, "of the influence values of shop.metrics:quality")]
    )
    def test_are_resampled_or_jackknifed(self, folder: Folder, runs: int, method: str) -> None:
        rule = self.judged(folder, self.agreement, runs=runs)
        assert method in rule.method
        assert (rule.outcome, rule.n) == ("pass", 400)

    @pytest.mark.parametrize(
        ("function", "reason"),
        [
            (lambda *_: float("nan"), "the function gave nan for 400 examples"),
            (lambda *_: "good", "gave a str; expected one number"),
            (lambda *_: int("much"), "raised ValueError: invalid literal"),
        ],
    )
    def test_that_go_wrong_leave_the_rule_inconclusive(self, folder: Folder, function: Any, reason: str) -> None:
        rule = self.judged(folder, function)
        assert rule.outcome == "inconclusive"
        assert f"{self.REFERENCE}" in rule.reason
        assert reason in rule.reason

    def test_that_nobody_found_are_a_mistake_of_the_configuration(self, folder: Folder) -> None:
        with pytest.raises(ConfigError, match="not called here"):
            judged(folder.run(Model().predictions()), [], config(aggregate=self.REFERENCE))

"""Set-level metrics: their values are scikit-learn's, and their influence values are their derivatives by the weights.

Every example is put to all metrics: to draw one takes hypothesis longer than a metric takes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn import metrics as sklearn

from metricgate.stats import error_metrics, set_metrics
from metricgate.stats.inference import UndecidableError
from metricgate.stats.set_metrics import Custom, Sample, SetMetric

Array = NDArray[np.float64]

KNOWN = set_metrics.by_name()
seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(6, 60)


def classes(rng: np.random.Generator, n: int, *, count: int, weighted: bool) -> Sample:
    label = rng.integers(0, count, n)
    prediction = np.where(rng.random(n) < 0.6, label, rng.integers(0, count, n))
    # Every class is there, so that nothing depends on how many there are thought to be.
    label[:count] = prediction[:count] = np.arange(count)
    return Sample(label=label.astype(float), prediction=prediction.astype(float), weight=weights(rng, n, weighted=weighted))


def ranking(rng: np.random.Generator, n: int, *, weighted: bool, digits: int = 2) -> Sample:
    label = (rng.random(n) < 0.4).astype(float)
    label[:2] = 0, 1
    # Rounded, so that there are ties.
    score = np.clip(np.round(0.5 + 0.2 * (label - 0.5) + 0.2 * rng.standard_normal(n), digits), 0, 1)
    return Sample(label=label, prediction=score, weight=weights(rng, n, weighted=weighted))


def numbers(rng: np.random.Generator, n: int, *, weighted: bool) -> Sample:
    label = 5 + rng.standard_normal(n)
    return Sample(label=label, prediction=label + rng.gamma(1.0, 1.0, n), weight=weights(rng, n, weighted=weighted))


def weights(rng: np.random.Generator, n: int, *, weighted: bool) -> Array | None:
    return np.asarray(rng.integers(1, 5, n) * rng.random(), dtype=np.float64) if weighted else None


def sample_for(metric: str, rng: np.random.Generator, n: int, *, weighted: bool) -> Sample:
    kind = KNOWN[metric].inputs
    if kind == "numbers":
        return numbers(rng, n, weighted=weighted)
    if kind in {"ranking", "probabilities"}:
        return ranking(rng, n, weighted=weighted)
    return classes(rng, n, count=2 if kind == "two classes" else 4, weighted=weighted)


def averaged(of: Callable[..., Any], average: str) -> Callable[..., Any]:
    return lambda y, p, sample_weight: of(y, p, average=average, sample_weight=sample_weight, zero_division=0)


THEIRS: dict[str, Callable[..., Any]] = {
    "accuracy": sklearn.accuracy_score,
    "balanced_accuracy": sklearn.balanced_accuracy_score,
    "matthews_corrcoef": sklearn.matthews_corrcoef,
    "cohen_kappa": lambda y, p, sample_weight: sklearn.cohen_kappa_score(y, p, sample_weight=sample_weight),
    "roc_auc": sklearn.roc_auc_score,
    "average_precision": sklearn.average_precision_score,
    "log_loss": lambda y, p, sample_weight: sklearn.log_loss(y, p, sample_weight=sample_weight, labels=[0, 1]),
    "brier": sklearn.brier_score_loss,
    "mean_absolute_error": sklearn.mean_absolute_error,
    "mean_squared_error": sklearn.mean_squared_error,
    "root_mean_squared_error": sklearn.root_mean_squared_error,
    "r2": sklearn.r2_score,
    "f1": averaged(sklearn.f1_score, "binary"),
    "precision": averaged(sklearn.precision_score, "binary"),
    "recall": averaged(sklearn.recall_score, "binary"),
    **{
        f"{name}_{average}": averaged(of, average)
        for name, of in (("f1", sklearn.f1_score), ("precision", sklearn.precision_score), ("recall", sklearn.recall_score))
        for average in ("macro", "micro", "weighted")
    },
}


def test_every_metric_but_the_calibration_error_has_its_match_in_scikit_learn() -> None:
    assert set(THEIRS) == set(KNOWN) - {"calibration_error"}


class TestValues:
    @given(seed=seeds, n=sizes, weighted=st.booleans())
    def test_are_those_of_scikit_learn(self, seed: int, n: int, weighted: bool) -> None:
        for name, of in THEIRS.items():
            sample = sample_for(name, np.random.default_rng(seed), n, weighted=weighted)
            theirs = of(sample.label, sample.prediction, sample_weight=sample.weight)
            assert KNOWN[name].value(sample) == pytest.approx(theirs, rel=1e-10, abs=1e-12), name

    @given(seed=seeds, n=sizes)
    def test_a_class_that_only_one_side_of_the_table_has_counts_as_in_scikit_learn(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        sample = Sample(label=rng.integers(0, 3, n).astype(float), prediction=rng.integers(1, 5, n).astype(float))
        for name in ("f1_macro", "precision_macro", "recall_macro", "f1_weighted"):
            theirs = THEIRS[name](sample.label, sample.prediction, sample_weight=None)
            assert KNOWN[name].value(sample) == pytest.approx(theirs, rel=1e-10)

    @given(seed=seeds, n=sizes, weighted=st.booleans())
    def test_the_calibration_error_by_loops(self, seed: int, n: int, weighted: bool) -> None:
        sample = ranking(np.random.default_rng(seed), n, weighted=weighted)
        total = 0.0
        for b in range(error_metrics.BINS):
            low, high = b / error_metrics.BINS, (b + 1) / error_metrics.BINS
            inside = [i for i in range(n) if low < sample.prediction[i] <= high or (b == 0 and sample.prediction[i] == 0)]
            total += abs(sum(sample.weights[i] * (sample.label[i] - sample.prediction[i]) for i in inside))
        assert KNOWN["calibration_error"].value(sample) == pytest.approx(total / sample.weights.sum(), rel=1e-9)

    @given(seed=seeds, n=sizes)
    def test_a_weight_of_two_is_the_example_twice(self, seed: int, n: int) -> None:
        for name in KNOWN:
            rng = np.random.default_rng(seed)
            sample = sample_for(name, rng, n, weighted=False)
            times = rng.integers(1, 4, n)
            twice = Sample(label=np.repeat(sample.label, times), prediction=np.repeat(sample.prediction, times))
            weighted = Sample(label=sample.label, prediction=sample.prediction, weight=times.astype(float))
            assert KNOWN[name].value(weighted) == pytest.approx(KNOWN[name].value(twice), rel=1e-9), name

    @given(seed=seeds, n=sizes, weighted=st.booleans())
    def test_a_resample_that_takes_every_example_once_is_the_sample(self, seed: int, n: int, weighted: bool) -> None:
        for name in KNOWN:
            sample = sample_for(name, np.random.default_rng(seed), n, weighted=weighted)
            metric = KNOWN[name]
            assert metric.resampled(sample)(np.ones((2, n))) == pytest.approx(metric.value(sample), rel=1e-9), name

    @given(seed=seeds, n=sizes, weighted=st.booleans())
    def test_a_resample_is_the_metric_of_what_was_drawn(self, seed: int, n: int, weighted: bool) -> None:
        for name in KNOWN:
            rng = np.random.default_rng(seed)
            sample = sample_for(name, rng, n, weighted=weighted)
            drawn = rng.integers(0, n, n)
            try:
                expected = KNOWN[name].value(sample.at(drawn))
            except UndecidableError:
                expected = math.nan
            (found,) = KNOWN[name].resampled(sample)(np.bincount(drawn, minlength=n)[None, :].astype(float))
            assert found == pytest.approx(expected, rel=1e-8, abs=1e-9, nan_ok=True), name


class TestInfluence:
    @given(seed=seeds, n=sizes, weighted=st.booleans())
    def test_is_the_derivative_by_the_weight(self, seed: int, n: int, weighted: bool) -> None:
        for name in THEIRS:
            rng = np.random.default_rng(seed)
            sample = sample_for(name, rng, n, weighted=weighted)
            self.check(KNOWN[name], sample, rng)

    @given(seed=seeds, n=st.integers(40, 80), weighted=st.booleans())
    def test_of_the_calibration_error_where_the_gaps_are_clear(self, seed: int, n: int, weighted: bool) -> None:
        rng = np.random.default_rng(seed)
        label = (rng.random(n) < 0.1).astype(float)
        sure = Sample(label=label, prediction=rng.uniform(0.88, 0.92, n), weight=weights(rng, n, weighted=weighted))
        assume(label.mean() < 0.3)
        self.check(KNOWN["calibration_error"], sure, rng)

    @staticmethod
    def check(metric: SetMetric, sample: Sample, rng: np.random.Generator) -> None:
        n, step = sample.n, 1e-5
        influence = metric.influence(sample)
        assert influence is not None
        assert influence.mean() == pytest.approx(0, abs=1e-9 * max(1.0, np.abs(influence).max()))
        for i in rng.integers(0, n, 3):
            nudge = np.ones((2, n))
            nudge[:, i] += step, -step
            above, below = metric.resampled(sample)(nudge)
            slope = n * (above - below) / (2 * step)
            assert influence[i] == pytest.approx(slope, rel=1e-4, abs=1e-4 * max(1.0, np.abs(influence).max()))


class TestWhatIsNotDefined:
    @pytest.mark.parametrize(
        ("name", "label", "prediction", "why"),
        [
            ("roc_auc", [1, 1, 1], [0.1, 0.2, 0.3], "no example is negative"),
            ("roc_auc", [0, 0, 0], [0.1, 0.2, 0.3], "no example is positive"),
            ("average_precision", [0, 0, 0], [0.1, 0.2, 0.3], "no example is positive"),
            ("precision", [0, 1, 1], [0, 0, 0], "no example is predicted to be positive"),
            ("recall", [0, 0, 0], [0, 1, 0], "no example is positive"),
            ("f1", [0, 0, 0], [0, 0, 0], "nor is one predicted"),
            ("matthews_corrcoef", [1, 1, 1], [0, 1, 0], "one and the same class"),
            ("cohen_kappa", [1, 1, 1], [1, 1, 1], "one and the same class"),
            ("r2", [2, 2, 2], [1, 2, 3], "all labels are equal"),
        ],
    )
    def test_is_undecidable_and_says_why(self, name: str, label: list[float], prediction: list[float], why: str) -> None:
        sample = Sample(label=np.array(label, dtype=float), prediction=np.array(prediction, dtype=float))
        with pytest.raises(UndecidableError, match=why):
            KNOWN[name].value(sample)
        with pytest.raises(UndecidableError):
            KNOWN[name].influence(sample)

    @pytest.mark.parametrize("name", KNOWN)
    def test_weights_that_sum_to_zero(self, name: str) -> None:
        sample = sample_for(name, np.random.default_rng(1), 20, weighted=False)
        nothing = Sample(label=sample.label, prediction=sample.prediction, weight=np.zeros(20))
        with pytest.raises(UndecidableError):
            KNOWN[name].value(nothing)

    def test_a_calibration_error_within_its_own_noise(self) -> None:
        rng = np.random.default_rng(3)
        probability = rng.random(400)
        calibrated = Sample(label=(rng.random(400) < probability).astype(float), prediction=probability)
        with pytest.raises(UndecidableError, match="within its own noise"):
            KNOWN["calibration_error"].influence(calibrated)


class TestFunctionsOfTheUsers:
    SAMPLE = Sample(label=np.array([0.0, 1, 1]), prediction=np.array([0.0, 1, 0]))

    def test_get_label_prediction_and_weight(self) -> None:
        cost = Custom("my:cost", lambda label, prediction, weight: float(np.sum(weight * (label != prediction))))
        assert cost.value(self.SAMPLE) == 1.0
        assert cost.resampled(self.SAMPLE)(np.array([[0.0, 0, 3], [1, 2, 0]])).tolist() == [3.0, 0.0]

    @pytest.mark.parametrize(
        ("function", "why"),
        [
            (lambda *_: "high", "gave a str; expected one number"),
            (lambda *_: None, "gave a NoneType"),
            (lambda *_: True, "gave a bool"),
            (lambda *_: np.array([1.0, 2.0]), "gave a ndarray"),
            (lambda *_: math.nan, "the function gave nan for 3 examples"),
            (lambda *_: math.inf, "the function gave inf"),
            (lambda *_: 1 / 0, "raised ZeroDivisionError: division by zero"),
        ],
    )
    def test_that_go_wrong_are_named(self, function: Callable[..., Any], why: str) -> None:
        with pytest.raises(UndecidableError, match=f"my:cost.*{why}"):
            Custom("my:cost", function).value(self.SAMPLE)

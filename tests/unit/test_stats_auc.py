"""The area under the ROC curve and its variance by DeLong."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from metricgate.stats import auc, means
from metricgate.stats.inference import Exact, Inference, UndecidableError, t_quantile
from metricgate.stats.set_metrics import Sample

Array = NDArray[np.float64]

seeds = st.integers(0, 2**32 - 1)


def predictions(rng: np.random.Generator, n: int, *, digits: int = 1) -> tuple[Array, Array, Array]:
    label = (rng.random(n) < 0.4).astype(float)
    label[:4] = 0, 1, 0, 1
    both = label + rng.standard_normal(n)
    return label, np.round(both + rng.standard_normal(n), digits), np.round(both + rng.standard_normal(n), digits)


def wins(positives: Array, negatives: Array) -> Array:
    """The kernel of Mann and Whitney, (m, k): 1 for a win, one half for a tie."""
    kernel: Array = (positives[:, None] > negatives) + 0.5 * (positives[:, None] == negatives)
    return kernel


def variance(result: Inference) -> float:
    """From half the interval, by the t quantile of the result's degrees of freedom."""
    low, high, _ = result.interval(0.9)
    return ((high - low) / 2 / t_quantile(0.95, df=result.df)) ** 2


def delong_by_definition(label: Array, candidate: Array, baseline: Array, *, weight: float) -> tuple[float, float]:
    """The estimate and variance of DeLong 1988 by the kernel of all pairs, O(m·k)."""
    area, v10, v01 = [], [], []
    for scores in (candidate, baseline):
        kernel = wins(scores[label == 1], scores[label == 0])
        area.append(kernel.mean())
        v10.append(kernel.mean(axis=1))
        v01.append(kernel.mean(axis=0))
    contrast = np.array([1.0, -weight])
    s10, s01 = np.cov(v10), np.cov(v01)
    covariance = s10 / len(v10[0]) + s01 / len(v01[0])
    return float(contrast @ area), float(contrast @ covariance @ contrast)


class TestPlacements:
    @given(seeds, st.integers(4, 60))
    def test_are_the_means_of_the_mann_whitney_kernel(self, seed: int, n: int) -> None:
        label, score, _ = predictions(np.random.default_rng(seed), n)
        kernel = wins(score[label == 1], score[label == 0])
        found = auc.placements(label, score)
        assert found.area == pytest.approx(kernel.mean(), rel=1e-12)
        assert found.positives == pytest.approx(kernel.mean(axis=1), rel=1e-12)
        assert found.negatives == pytest.approx(kernel.mean(axis=0), rel=1e-12)

    @given(seeds, st.integers(6, 60))
    def test_do_not_depend_on_the_order_of_examples_or_on_the_scale_of_predictions(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        label, score, _ = predictions(rng, n)
        order = rng.permutation(n)
        assert auc.placements(label[order], np.exp(score[order])).area == pytest.approx(auc.placements(label, score).area)

    @given(seeds, st.integers(6, 60))
    def test_turning_the_predictions_turns_the_area(self, seed: int, n: int) -> None:
        label, score, _ = predictions(np.random.default_rng(seed), n)
        assert auc.placements(label, -score).area == pytest.approx(1 - auc.placements(label, score).area)


class TestPairedDifference:
    @given(seeds, st.integers(40, 90), st.sampled_from([1.0, 0.9, 1.1]))
    def test_is_delongs(self, seed: int, n: int, weight: float) -> None:
        label, candidate, baseline = predictions(np.random.default_rng(seed), n)
        estimate, expected = delong_by_definition(label, candidate, baseline, weight=weight)
        assume(expected > 1e-9)
        found = auc.paired_difference(label, candidate, baseline, baseline_weight=weight)
        assert found.estimate == pytest.approx(estimate, rel=1e-10, abs=1e-12)
        assert variance(found) == pytest.approx(expected, rel=1e-6)
        assert found.n == n

    @given(seeds, st.integers(40, 90))
    def test_the_other_way_round_it_is_the_negative(self, seed: int, n: int) -> None:
        label, candidate, baseline = predictions(np.random.default_rng(seed), n)
        assume(delong_by_definition(label, candidate, baseline, weight=1.0)[1] > 1e-9)
        one, other = (auc.paired_difference(label, *sides) for sides in ((candidate, baseline), (baseline, candidate)))
        assert one.estimate == pytest.approx(-other.estimate)
        assert one.p_value(null=-0.01, alternative="less") == pytest.approx(other.p_value(null=0.01, alternative="greater"))

    @given(seeds)
    def test_it_is_nearly_the_t_test_of_the_influence_values(self, seed: int) -> None:
        label, candidate, baseline = predictions(np.random.default_rng(seed), 2_000)
        metric = auc.RocAuc()
        scores = [
            metric.value(sample) + metric.influence(sample)
            for sample in (Sample(label=label, prediction=candidate), Sample(label=label, prediction=baseline))
        ]
        linear = means.paired_difference(scores[0][None], scores[1][None])
        delong = auc.paired_difference(label, candidate, baseline)
        assert linear.estimate == pytest.approx(delong.estimate, abs=1e-12)
        assert variance(linear) == pytest.approx(variance(delong), rel=0.03)

    def test_identical_predictions_differ_by_exactly_nothing(self) -> None:
        label, score, _ = predictions(np.random.default_rng(1), 50)
        assert isinstance(auc.paired_difference(label, score, score.copy()), Exact)

    def test_unpaired_sides_have_the_variance_of_both(self) -> None:
        rng = np.random.default_rng(2)
        sides = [Sample(label=label, prediction=score) for label, score, _ in (predictions(rng, 90), predictions(rng, 70))]
        together = auc.unpaired_difference(*sides)
        alone = [delong_by_definition(side.label, side.prediction, side.prediction, weight=0.0) for side in sides]
        assert together.estimate == pytest.approx(alone[0][0] - alone[1][0])
        assert variance(together) == pytest.approx(alone[0][1] + alone[1][1], rel=1e-6)


class TestOneArea:
    def test_has_delongs_error_on_the_scale_of_its_logit(self) -> None:
        label, score, _ = predictions(np.random.default_rng(3), 80)
        estimate, expected = delong_by_definition(label, score, score, weight=0.0)
        found = auc.area(Sample(label=label, prediction=score))
        assert found.estimate == pytest.approx(estimate)
        low, high, _ = found.interval(0.9)
        width = special.logit(high) - special.logit(low)
        half = t_quantile(0.95, df=found.df) * math.sqrt(expected) / (estimate * (1 - estimate))
        assert width == pytest.approx(2 * half, rel=1e-6)
        assert found.p_value(null=low, alternative="greater") == pytest.approx(0.05)
        assert found.p_value(null=high, alternative="less") == pytest.approx(0.05)

    @pytest.mark.parametrize(("null", "greater"), [(-0.1, 0.0), (0.0, 0.0), (1.0, 1.0), (1.5, 1.0)])
    def test_lies_between_0_and_1(self, null: float, greater: float) -> None:
        label, score, _ = predictions(np.random.default_rng(3), 80)
        found = auc.area(Sample(label=label, prediction=score))
        assert found.p_value(null=null, alternative="greater") == greater
        assert found.p_value(null=null, alternative="less") == 1 - greater
        assert 0 < found.interval(0.999999).low < found.interval(0.999999).high < 1

    @pytest.mark.parametrize(("n", "positive", "apart"), [(50, 0.5, 2.0), (200, 0.5, 3.0), (200, 0.1, 3.0), (1_000, 0.05, 3.0)])
    def test_is_seldom_shown_to_be_more_than_it_is(self, n: int, positive: float, apart: float) -> None:
        """One-sided 5% at areas of 0.92 and 0.98; what is undecidable shows nothing."""
        rng = np.random.default_rng(7)
        truth = float(special.ndtr(apart / math.sqrt(2)))
        trials = 1_500
        rejected = {"less": 0, "greater": 0}
        label = np.zeros(n)
        label[: round(positive * n)] = 1
        for _ in range(trials):
            try:
                found = auc.area(Sample(label=label, prediction=apart * label + rng.standard_normal(n)))
            except UndecidableError:
                continue
            for alternative in rejected:
                rejected[alternative] += found.p_value(null=truth, alternative=alternative) <= 0.05  # type: ignore[arg-type]
        assert max(rejected.values()) / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)


class TestWhatIsRefused:
    @pytest.mark.parametrize("only", [0.0, 1.0])
    def test_labels_that_are_all_the_same(self, only: float) -> None:
        with pytest.raises(UndecidableError, match="no example is"):
            auc.paired_difference(np.full(9, only), np.arange(9.0), np.arange(9.0))

    def test_a_class_with_a_single_example(self) -> None:
        label = np.array([1.0, 0, 0, 0, 0])
        with pytest.raises(UndecidableError, match="single example"):
            auc.paired_difference(label, np.arange(5.0), np.arange(5.0)[::-1])

    def test_an_area_of_1_on_both_sides(self) -> None:
        label = np.array([0.0] * 20 + [1.0] * 20)
        with pytest.raises(UndecidableError, match="no variance"):
            auc.paired_difference(label, label + 0.1, label * 2)

    def test_every_prediction_the_same(self) -> None:
        label = np.array([0.0, 1] * 20)
        with pytest.raises(UndecidableError, match="no variance"):
            auc.area(Sample(label=label, prediction=np.ones(40)))

    @pytest.mark.parametrize("turned", [1, -1])
    def test_a_ranking_without_a_single_error(self, turned: int) -> None:
        label = np.array([0.0, 1] * 20)
        with pytest.raises(UndecidableError, match="without a single error"):
            auc.area(Sample(label=label, prediction=turned * label))


class TestErrorRates:
    @pytest.mark.parametrize(("n", "positive"), [(200, 0.5), (200, 0.1), (1_000, 0.05)])
    def test_a_healthy_candidate_is_seldom_called_worse(self, n: int, positive: float) -> None:
        """One-sided 5% over 2,000 pairs of equally good models: within three standard errors of at most 5%."""
        rng = np.random.default_rng(5)
        trials, worse = 2_000, 0
        for _ in range(trials):
            label = np.zeros(n)
            label[: round(positive * n)] = 1
            shared = 1.5 * label + rng.standard_normal(n)
            sides = shared + 0.7 * rng.standard_normal((2, n))
            try:
                worse += auc.paired_difference(label, *sides).p_value(null=0.0, alternative="less") <= 0.05
            except UndecidableError:
                continue
        assert worse / trials <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
        assert worse / trials >= 0.02

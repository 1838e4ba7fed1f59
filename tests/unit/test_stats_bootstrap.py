"""The BCa bootstrap: scipy's answer, from fewer draws, and no answer where there is none."""

import math
import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from metricgate.stats import bootstrap, jackknife, resampling, set_metrics
from metricgate.stats.bootstrap import Bootstrapped, FewChanges, Resampled
from metricgate.stats.inference import Exact, UndecidableError
from metricgate.stats.set_metrics import Custom, Sample

Array = NDArray[np.float64]

KNOWN = set_metrics.by_name()
ERROR, F1, R2 = KNOWN["mean_absolute_error"], KNOWN["f1"], KNOWN["r2"]


def plain(found: Bootstrapped) -> Bootstrapped:
    """Efron's BCa, without what is added for few examples."""
    return Bootstrapped(
        estimate=found.estimate,
        resamples=found.resamples,
        bias=found.bias,
        acceleration=found.acceleration,
        df=math.inf,
        cautious=False,
        n=found.n,
        method=found.method,
    )


def bca(both: Resampled, *, baseline_weight: float = 1.0) -> Bootstrapped:
    found = both.difference(baseline_weight=baseline_weight)
    assert isinstance(found, Bootstrapped)
    return found


def labels(rng: np.random.Generator, n: int, *, right: float, worse: float, positive: float = 0.4) -> tuple[Sample, Sample]:
    """A candidate that turns some of a baseline's predictions."""
    truth = (rng.random(n) < positive).astype(float)
    baseline = np.where(rng.random(n) < right, truth, 1 - truth)
    candidate = np.where(rng.random(n) < worse, 1 - baseline, baseline)
    return Sample(label=truth, prediction=candidate), Sample(label=truth, prediction=baseline)


class TestAgainstScipy:
    """The ends of the interval, in standard errors: those of two bootstraps of 10,000 differ by about 0.05 of one."""

    def compare(self, found: Bootstrapped, theirs: object) -> None:
        low, high = theirs.confidence_interval  # type: ignore[attr-defined]
        ours = plain(found).interval(0.9)
        stderr = theirs.standard_error  # type: ignore[attr-defined]
        assert ours.low == pytest.approx(low, abs=0.2 * stderr)
        assert ours.high == pytest.approx(high, abs=0.2 * stderr)
        assert found.resamples.std() == pytest.approx(stderr, rel=0.03)

    def test_the_mean_of_skewed_scores(self) -> None:
        rng = np.random.default_rng(1)
        error = rng.gamma(0.5, 2.0, 300)
        found = bootstrap.alone(ERROR, Sample(label=np.zeros(300), prediction=error)).alone()
        theirs = stats.bootstrap(
            (error,), np.mean, n_resamples=10_000, method="BCa", confidence_level=0.9, rng=np.random.default_rng(2)
        )
        self.compare(found, theirs)

    def test_r2_which_is_no_mean(self) -> None:
        rng = np.random.default_rng(3)
        label = rng.standard_normal(150)
        prediction = label + rng.gamma(1, 1, 150)

        def r2(y: Array, p: Array, axis: int) -> Any:
            centred = y - y.mean(axis=axis, keepdims=True)
            return 1 - ((p - y) ** 2).sum(axis=axis) / (centred**2).sum(axis=axis)

        found = bootstrap.alone(R2, Sample(label=label, prediction=prediction)).alone()
        theirs = stats.bootstrap(
            (label, prediction),
            r2,
            paired=True,
            n_resamples=10_000,
            method="BCa",
            confidence_level=0.9,
            rng=np.random.default_rng(4),
        )
        self.compare(found, theirs)

    def test_a_difference_of_f1_from_the_cells_of_a_table(self) -> None:
        candidate, baseline = labels(np.random.default_rng(5), 400, right=0.85, worse=0.1)

        def f1(y: Array, p: Array, axis: int) -> Any:
            return 2 * (y * p).sum(axis=axis) / (y.sum(axis=axis) + p.sum(axis=axis))

        def difference(y: Array, c: Array, b: Array, axis: int = -1) -> Any:
            return f1(y, c, axis) - f1(y, b, axis)

        found = bca(bootstrap.paired(F1, candidate, baseline))
        theirs = stats.bootstrap(
            (candidate.label, candidate.prediction, baseline.prediction),
            difference,
            paired=True,
            n_resamples=10_000,
            method="BCa",
            confidence_level=0.9,
            rng=np.random.default_rng(6),
        )
        self.compare(found, theirs)

    def test_blocks_of_many_examples(self) -> None:
        rng = np.random.default_rng(7)
        n = 4 * resampling.BLOCKS_ABOVE
        candidate, baseline = (Sample(label=np.zeros(n), prediction=rng.lognormal(0, 1, n)) for _ in range(2))
        found = bca(bootstrap.paired(ERROR, candidate, baseline))
        shift = candidate.prediction - baseline.prediction
        assert found.estimate == pytest.approx(shift.mean())
        assert found.resamples.std() == pytest.approx(shift.std() / math.sqrt(n), rel=0.03)
        # What the bootstrap of a mean is skewed by is the sample's own skewness over √n.
        assert found.acceleration == pytest.approx(stats.skew(shift) / math.sqrt(n) / 6, rel=1e-6)

    def test_blocks_of_a_metric_that_is_no_mean(self) -> None:
        rng = np.random.default_rng(8)
        n = resampling.BLOCKS_ABOVE + 1
        label = rng.standard_normal(n)
        sample = Sample(label=label, prediction=label + rng.gamma(1, 1, n))
        found = bootstrap.alone(R2, sample).alone()
        influence = R2.influence(sample)
        assert influence is not None
        assert found.resamples.std() == pytest.approx(influence.std() / math.sqrt(n), rel=0.03)
        assert abs(found.bias) < 0.05


class TestAnswers:
    @given(st.integers(0, 2**32 - 1), st.sampled_from(["f1", "balanced_accuracy", "matthews_corrcoef"]))
    def test_interval_and_p_value_agree(self, seed: int, name: str) -> None:
        sides = labels(np.random.default_rng(seed), 300, right=0.8, worse=0.2)
        found = bca(bootstrap.paired(KNOWN[name], *sides, resamples=2_000))
        low, high, _ = found.interval(0.9)
        assert low < found.estimate < high
        # Resamples of a table are lumps, so an end of the interval lies between two levels.
        assert found.p_value(null=low, alternative="greater") == pytest.approx(0.05, abs=0.02)
        assert found.p_value(null=high, alternative="less") == pytest.approx(0.05, abs=0.02)
        assert found.p_value(null=low - 1, alternative="greater") < 0.01
        assert found.p_value(null=low - 1, alternative="less") > 0.99

    @given(st.integers(0, 2**32 - 1))
    def test_the_other_way_round_it_is_the_negative(self, seed: int) -> None:
        candidate, baseline = labels(np.random.default_rng(seed), 300, right=0.8, worse=0.2)
        one = bca(bootstrap.paired(F1, candidate, baseline, resamples=2_000))
        other = bca(bootstrap.paired(F1, baseline, candidate, resamples=2_000))
        stderr = float(one.resamples.std())
        assert one.estimate == pytest.approx(-other.estimate)
        assert one.interval(0.9).low == pytest.approx(-other.interval(0.9).high, abs=0.5 * stderr)

    def test_the_same_question_has_the_same_answer(self) -> None:
        sides = labels(np.random.default_rng(1), 500, right=0.8, worse=0.1)
        one, other = (bca(bootstrap.paired(F1, *sides)) for _ in range(2))
        assert np.array_equal(one.resamples, other.resamples)

    def test_a_relative_limit_comes_from_the_same_draws(self) -> None:
        sides = labels(np.random.default_rng(1), 500, right=0.8, worse=0.1)
        both = bootstrap.paired(F1, *sides)
        weighted = bca(both, baseline_weight=0.9)
        assert weighted.estimate == pytest.approx(both.values[0] - 0.9 * both.values[1])
        assert np.allclose(weighted.resamples, np.sort(both.draws[0] - 0.9 * both.draws[1]))

    def test_a_p_value_is_never_smaller_than_the_draws_can_show(self) -> None:
        sides = labels(np.random.default_rng(1), 2_000, right=0.9, worse=0.3)
        found = bca(bootstrap.paired(F1, *sides))
        assert found.p_value(null=1.0, alternative="less") >= 1 / (resampling.RESAMPLES + 1)

    def test_whole_clusters_are_drawn(self) -> None:
        """Every example four times over, in clusters of four, tells as much as each of them once."""
        once = labels(np.random.default_rng(1), 500, right=0.8, worse=0.1)
        fourfold = [Sample(label=np.repeat(s.label, 4), prediction=np.repeat(s.prediction, 4)) for s in once]
        clusters = np.repeat(np.arange(500, dtype=np.int32), 4)
        one = bca(bootstrap.paired(F1, *once))
        other = bca(bootstrap.paired(F1, fourfold[0], fourfold[1], clusters=clusters))
        assert other.resamples.std() == pytest.approx(one.resamples.std(), rel=0.03)
        assert other.acceleration == pytest.approx(one.acceleration, rel=1e-9)
        assert "clusters" in other.method

    @pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
    def test_metrics_of_ranks_by_cluster(self, name: str) -> None:
        rng = np.random.default_rng(1)
        label = np.repeat(rng.integers(0, 2, 150), 2).astype(float)
        sample = Sample(label=label, prediction=label + rng.standard_normal(300))
        clusters = (np.arange(300) // 2).astype(np.int32)
        metric = KNOWN[name]
        found = bootstrap.alone(metric, sample, clusters=clusters, resamples=2_000).alone()
        influence = metric.influence(sample)
        assert influence is not None
        expected = np.sqrt((influence.reshape(150, 2).sum(axis=1) ** 2).sum()) / 300
        assert found.resamples.std() == pytest.approx(expected, rel=0.1)

    def test_independent_sides_are_drawn_independently(self) -> None:
        rng = np.random.default_rng(1)
        one, _ = labels(rng, 400, right=0.8, worse=0.1)
        other, _ = labels(rng, 300, right=0.8, worse=0.1)
        alone = [bootstrap.alone(F1, side) for side in (one, other)]
        together = bca(bootstrap.independent(*alone))
        variances = [float(side.draws[0].var()) for side in alone]
        assert together.resamples.var() == pytest.approx(sum(variances), rel=0.05)

    def test_weights_count(self) -> None:
        candidate, baseline = labels(np.random.default_rng(1), 500, right=0.8, worse=0.1)
        twice = np.full(500, 2.0)
        one = bca(bootstrap.paired(F1, candidate, baseline))
        heavier = [Sample(label=s.label, prediction=s.prediction, weight=twice) for s in (candidate, baseline)]
        assert bca(bootstrap.paired(F1, *heavier)).interval(0.9) == pytest.approx(one.interval(0.9))


class TestFunctionsOfTheUsers:
    def test_have_the_same_interval_as_the_metric_that_they_compute(self) -> None:
        candidate, baseline = labels(np.random.default_rng(1), 300, right=0.8, worse=0.15)

        def f1(label: Array, prediction: Array, weight: Array) -> float:
            hits = (weight * label * prediction).sum()
            return float(2 * hits / ((weight * label).sum() + (weight * prediction).sum()))

        ours = bca(bootstrap.paired(F1, candidate, baseline))
        theirs = bca(bootstrap.paired(Custom("my:f1", f1), candidate, baseline))
        stderr = float(ours.resamples.std())
        assert theirs.estimate == pytest.approx(ours.estimate)
        assert theirs.interval(0.9) == pytest.approx(ours.interval(0.9), abs=0.2 * stderr)
        assert "2,000 resamples" in theirs.method

    def test_pseudo_scores_have_the_variance_of_the_metric(self) -> None:
        sample, _ = labels(np.random.default_rng(1), 400, right=0.8, worse=0.1)
        known, _ = jackknife.pseudo_scores(F1, sample)
        grouped, _ = jackknife.pseudo_scores(Custom("my:f1", lambda y, p, _: 2 * (y * p).sum() / (y.sum() + p.sum())), sample)
        assert known.mean() == pytest.approx(grouped.mean())
        assert len(grouped) == 200
        assert grouped.var() / len(grouped) == pytest.approx(known.var() / len(known), rel=0.25)

    def test_one_that_is_undefined_on_some_resamples_is_undecidable(self) -> None:
        sample = Sample(label=np.array([1.0] * 3 + [0.0] * 27), prediction=np.zeros(30))

        def fragile(label: Array, prediction: Array, weight: Array) -> float:
            del prediction, weight
            return float(len(label) / label.sum()) if label.sum() else math.nan

        with pytest.raises(UndecidableError, match="not defined"):
            bootstrap.alone(Custom("my:fragile", fragile), sample).alone()


class TestFewChanges:
    def changed(self, count: int, *, n: int = 3_000) -> FewChanges:
        _, baseline = labels(np.random.default_rng(1), n, right=0.7, worse=0.3)
        prediction = baseline.prediction.copy()
        prediction[:count] = 1 - prediction[:count]
        found = bootstrap.paired(F1, Sample(label=baseline.label, prediction=prediction), baseline).difference()
        assert isinstance(found, FewChanges)
        return found

    @pytest.mark.parametrize("count", [1, 3])
    def test_rule_out_a_large_loss_and_prove_none(self, count: int) -> None:
        found = self.changed(count)
        assert found.p_value(null=-0.02, alternative="greater") < 1e-3
        assert found.p_value(null=-1e-4, alternative="greater") > 0.5
        assert found.p_value(null=-0.02, alternative="less") == 1.0
        assert found.p_value(null=0.02, alternative="less") < 1e-3

    def test_the_same_numbers_are_the_same_model(self) -> None:
        rng = np.random.default_rng(1)
        sample = Sample(label=rng.standard_normal(300), prediction=rng.standard_normal(300))
        assert isinstance(bootstrap.paired(R2, sample, sample).difference(), Exact)

    def test_but_the_same_classes_may_be_those_of_another_one(self) -> None:
        few, many = self.changed(0, n=50), self.changed(0, n=3_000)
        assert few.p_value(null=-0.01, alternative="greater") > 0.05
        assert many.p_value(null=-0.01, alternative="greater") < 0.01
        assert many.p_value(null=0.0, alternative="greater") == 1.0

    def test_interval_and_p_value_agree(self) -> None:
        found = self.changed(2)
        low, high, _ = found.interval(0.9)
        assert low < found.estimate < high
        assert found.p_value(null=low, alternative="greater") == pytest.approx(0.05)
        assert found.p_value(null=high, alternative="less") == pytest.approx(0.05)

    def test_no_example_adds_more_than_a_step(self) -> None:
        """Every single prediction turned the other way moves F1 by less than what the bound takes for one."""
        _, baseline = labels(np.random.default_rng(1), 200, right=0.7, worse=0.3)
        found = self.changed(1, n=200)
        before = F1.value(baseline)
        for i in range(200):
            prediction = baseline.prediction.copy()
            prediction[i] = 1 - prediction[i]
            assert abs(F1.value(Sample(label=baseline.label, prediction=prediction)) - before) <= 1.02 * found.step

    def test_a_loss_at_the_limit_is_seldom_passed(self) -> None:
        """The false-pass rate where changes are rare, over 1,000 pairs whose true difference is the limit itself."""
        rng = np.random.default_rng(3)
        n, turned, passed, bounded = 2_000, 0.0015, 0, 0
        truth = (rng.random(n) < 0.5).astype(float)
        right = Sample(label=truth, prediction=truth)
        for _ in range(1_000):
            worse = Sample(label=truth, prediction=np.where(rng.random(n) < turned, 1 - truth, truth))
            try:
                found = bootstrap.paired(F1, worse, right, resamples=1_000).difference()
            except UndecidableError:  # without a single error, nothing tells how much one would weigh
                continue
            bounded += isinstance(found, FewChanges)
            passed += found.p_value(null=-turned, alternative="greater") <= 0.05
        assert bounded > 500
        assert passed / 1_000 <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 1_000)


class TestWhatIsRefused:
    def test_one_example(self) -> None:
        with pytest.raises(UndecidableError, match="there is 1 example"):
            bootstrap.alone(ERROR, Sample(label=np.zeros(1), prediction=np.ones(1)))

    def test_one_cluster(self) -> None:
        sides = labels(np.random.default_rng(1), 30, right=0.7, worse=0.3)
        with pytest.raises(UndecidableError, match="there is 1 cluster"):
            bootstrap.paired(F1, *sides, clusters=np.zeros(30, dtype=np.int32))

    def test_one_score_that_is_far_out(self) -> None:
        error = np.random.default_rng(1).random(300)
        error[0] = 1e6
        with pytest.raises(UndecidableError, match="too few examples decide"):
            bootstrap.alone(ERROR, Sample(label=np.zeros(300), prediction=error)).alone()

    def test_a_precision_that_resamples_often_leave_without_a_positive_prediction(self) -> None:
        label = np.array([1.0, 0] * 100)
        prediction = np.zeros(200)
        prediction[:4] = 1
        with pytest.raises(UndecidableError, match=r"not defined for \d+% of the resamples"):
            bootstrap.alone(KNOWN["precision"], Sample(label=label, prediction=prediction)).alone()


class TestErrorRates:
    @pytest.mark.parametrize(
        ("n", "positive", "worse"), [(60, 0.5, 0.2), (200, 0.5, 0.1), (200, 0.1, 0.1), (1_000, 0.05, 0.02)]
    )
    def test_a_healthy_candidate_is_seldom_called_worse(self, n: int, positive: float, worse: float) -> None:
        """One-sided 5% over 800 pairs of equally good models; what is undecidable blocks nobody."""
        rng = np.random.default_rng(7)
        trials = 800
        rejected = {"less": 0, "greater": 0}
        for _ in range(trials):
            truth = (rng.random(n) < positive).astype(float)
            easy = np.where(rng.random(n) < 0.85, truth, 1 - truth)
            sides = [Sample(label=truth, prediction=np.where(rng.random(n) < worse, 1 - easy, easy)) for _ in range(2)]
            try:
                found = bootstrap.paired(F1, *sides, resamples=1_000).difference()
            except UndecidableError:
                continue
            for alternative in rejected:
                rejected[alternative] += found.p_value(null=0.0, alternative=alternative) <= 0.05  # type: ignore[arg-type]
        bound = 0.05 + 3 * math.sqrt(0.05 * 0.95 / trials)
        assert max(rejected.values()) / trials <= bound


def test_nothing_warns_on_its_way() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("f1_macro", "matthews_corrcoef", "precision"):
            sides = labels(np.random.default_rng(1), 40, right=0.7, worse=0.3)
            bootstrap.paired(KNOWN[name], *sides).difference()

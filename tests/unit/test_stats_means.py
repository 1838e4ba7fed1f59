"""Means of scores: examples crossed with seeds, paired and unpaired, and one side alone."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from metricgate import training_noise
from metricgate.examples import Examples
from metricgate.stats import means, noise
from metricgate.stats.clusters import degrees_of_freedom
from metricgate.stats.inference import Alternative, Exact, Inference, Student, UndecidableError
from metricgate.stats.means import Value
from metricgate.stats.noise import Noise
from metricgate.stats.proportions import PairedProportions, Proportion
from metricgate.stats.scatter import Sample
from metricgate.stats.sign_flip import SignFlip
from metricgate.training_noise import NoiseSources

Array = NDArray[np.float64]

SIDES: tuple[Alternative, Alternative] = ("greater", "less")

seeds = st.integers(0, 2**32 - 1)
sizes = st.integers(5, 40)
enough = st.integers(30, 60)
"""So many that single runs are judged by t, not by sign flips."""


def crossed_by_loops(
    candidate: Array, baseline: Array, history: list[Array], *, weight: float = 1.0, clusters: list[int] | None = None
) -> tuple[float, float, float]:
    """Estimate, variance and degrees of freedom of STATS.md's "Examples crossed with seeds", written down once more."""
    n = len(candidate[0])
    differences = []
    for i in range(n):
        of_candidate = sum(run[i] for run in candidate) / len(candidate)
        of_baseline = sum(run[i] for run in baseline) / len(baseline)
        differences.append(of_candidate - weight * of_baseline)
    estimate = sum(differences) / n
    if clusters is None:
        v_d_over_n = sum((d - estimate) ** 2 for d in differences) / (n - 1) / n
        df_examples = n - 1
    else:
        sums: dict[int, float] = {}
        for d, cluster in zip(differences, clusters, strict=True):
            sums[cluster] = sums.get(cluster, 0.0) + d - estimate
        v_d_over_n = len(sums) / (len(sums) - 1) * sum(s**2 for s in sums.values()) / n**2
        df_examples = len(sums) - 1

    squares = residual_squares = 0.0
    df = residual_df = 0
    for group in (candidate, baseline, *history):
        runs = len(group)
        if runs < 2:
            continue
        run_means = [sum(run) / n for run in group]
        grand = sum(run_means) / runs
        squares += sum((mean - grand) ** 2 for mean in run_means)
        df += runs - 1
        for i in range(n):
            example = sum(run[i] for run in group) / runs
            for run, mean in zip(group, run_means, strict=True):
                residual_squares += (run[i] - mean - example + grand) ** 2
        residual_df += (n - 1) * (runs - 1)
    a = 1 / len(candidate) + weight**2 / len(baseline)
    parts = [(v_d_over_n, df_examples)]
    if df:
        parts += [(a * squares / df, df), (-a * residual_squares / residual_df / n, residual_df)]
    variance = max(sum(part for part, _ in parts), v_d_over_n)
    spread = sum(part**2 / part_df for part, part_df in parts)
    return estimate, variance, max(variance**2 / spread, min(part_df for _, part_df in parts))


def known(*groups: Array) -> list[Noise]:
    return [one for group in groups if (one := noise.of_scores(group)) is not None]


def pooled(*groups: Array) -> Noise:
    return noise.pool(known(*groups), source="of these runs")


def as_student(result: Inference) -> Student:
    assert isinstance(result, Student)
    return result


def trainings(
    rng: np.random.Generator, *, runs: int, examples: Array, seed_sd: float, residual_sd: float, mean: float = 0.0
) -> Array:
    """Scores of several trainings: every example its own difficulty, every seed its own luck, and the rest."""
    luck = seed_sd * rng.standard_normal((runs, 1))
    return mean + examples + luck + residual_sd * rng.standard_normal((runs, len(examples)))


class TestExamplesCrossedWithSeeds:
    @given(seeds, st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(2, 4), max_size=3), enough, st.booleans())
    def test_the_formula(  # noqa: PLR0917
        self, seed: int, candidates: int, baselines: int, recorded: list[int], n: int, clustered: bool
    ) -> None:
        rng = np.random.default_rng(seed)
        n += -n % 4  # clusters of equal sizes
        examples = rng.normal(size=n)
        groups = [
            trainings(rng, runs=runs, examples=examples, seed_sd=0.3, residual_sd=1.0)
            for runs in (candidates, baselines, *recorded)
        ]
        clusters = (np.arange(n) % 4).astype(np.int32) if clustered else None
        has_noise = any(len(group) > 1 for group in groups)
        candidate, baseline, *history = groups
        result = as_student(
            means.paired_difference(candidate, baseline, clusters=clusters, noise=pooled(*groups) if has_noise else None)
            if not has_noise or noise.bartlett([one for g in groups if (one := noise.of_scores(g))]) >= noise.GROSS
            else means.paired_difference(candidate, baseline, clusters=clusters, noise=None)
        )
        if has_noise and "seeds" not in result.method:
            return
        estimate, variance, df = crossed_by_loops(
            candidate, baseline, history, clusters=None if clusters is None else [int(c) for c in clusters]
        )
        assert result.estimate == pytest.approx(estimate, rel=1e-10, abs=1e-12)
        assert result.stderr**2 == pytest.approx(variance, rel=1e-10)
        assert result.df == pytest.approx(df, rel=1e-8)
        assert result.n == n

    @given(seeds, sizes, st.floats(0.5, 1.5))
    def test_the_formula_with_a_weight(self, seed: int, n: int, weight: float) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = rng.normal(5, 1, size=(2, n)), rng.normal(5, 1, size=(2, n))
        assume(noise.bartlett(known(candidate, baseline)) >= noise.GROSS)
        result = as_student(
            means.paired_difference(candidate, baseline, baseline_weight=weight, noise=pooled(candidate, baseline))
        )
        estimate, variance, df = crossed_by_loops(candidate, baseline, [], weight=weight)
        assert result.estimate == pytest.approx(estimate, rel=1e-10, abs=1e-12)
        assert result.stderr**2 == pytest.approx(variance, rel=1e-10)
        assert result.df == pytest.approx(df, rel=1e-8)

    @given(seeds, enough, st.floats(0, 1))
    def test_training_noise_never_makes_the_test_set_surer(self, seed: int, n: int, variance: float) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = rng.normal(size=(1, n)), rng.normal(size=(1, n))
        alone = as_student(means.paired_difference(candidate, baseline))
        small = Noise(variance=variance, df=4, residual=50.0, residual_df=400)
        assert as_student(means.paired_difference(candidate, baseline, noise=small)).stderr >= alone.stderr * (1 - 1e-12)

    def test_it_says_what_it_covers(self) -> None:
        rng = np.random.default_rng(0)
        candidate, baseline = rng.normal(size=(3, 50)), rng.normal(size=(3, 50))
        with_noise = means.paired_difference(candidate, baseline, noise=pooled(candidate, baseline))
        assert with_noise.covers == "the test set and the training noise of these runs"
        assert means.paired_difference(candidate[:1], baseline[:1]).covers == "the test set only"

    @pytest.mark.parametrize(
        ("candidates", "baselines", "recorded", "at_most"),
        [
            (1, 1, 0, 1.3),
            (2, 2, 0, 1.3),
            (3, 3, 0, 1.3),
            (1, 3, 0, 1.3),
            (1, 1, 4, 1.3),
            (3, 3, 4, 1.3),
        ],
        ids=["no noise", "2 seeds", "3 seeds", "1 against 3 seeds", "history only", "3 seeds and history"],
    )
    def test_healthy_work_is_blocked_about_as_often_as_alpha_says(
        self, candidates: int, baselines: int, recorded: int, at_most: float
    ) -> None:
        # The truth lies exactly on the limit, 2,000 times: the Monte Carlo error at 0.05 is 0.005, two of them are allowed for.
        # Seeds move the metric twice as much as the residual does (1/√50), which is where Satterthwaite errs most.
        rng = np.random.default_rng(20)
        n, limit, alpha, repetitions = 50, 0.3, 0.05, 2000
        seed_sd = 0.0 if candidates == baselines == 1 and not recorded else 2 / math.sqrt(n)
        fails = passes = 0
        for _ in range(repetitions):
            examples = rng.standard_normal(n)
            candidate = trainings(rng, runs=candidates, examples=examples, seed_sd=seed_sd, residual_sd=1.0, mean=-limit)
            baseline = trainings(rng, runs=baselines, examples=examples, seed_sd=seed_sd, residual_sd=1.0)
            history = tuple(
                Examples.of(trainings(rng, runs=3, examples=examples, seed_sd=seed_sd, residual_sd=1.0))
                for _ in range(recorded)
            )
            of_training, _ = training_noise.estimate(
                NoiseSources(history=history), [Sample.of(candidate), Sample.of(baseline)], reduce=lambda one: one.samples()
            )
            result = means.paired_difference(candidate, baseline, noise=of_training)
            fails += result.p_value(null=-limit, alternative="less") <= alpha
            passes += result.p_value(null=-limit, alternative="greater") <= alpha
        assert 0.5 * alpha - 0.01 <= fails / repetitions <= at_most * alpha + 0.01
        assert 0.5 * alpha - 0.01 <= passes / repetitions <= at_most * alpha + 0.01


class TestPairedWithoutNoise:
    @given(seeds, enough)
    def test_it_is_the_paired_t_test_of_scipy(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = rng.normal(size=n), rng.normal(size=n)
        result = as_student(means.paired_difference(candidate[None], baseline[None]))
        assume(result.skewness == 0)  # one normal sample in a hundred looks skewed
        expected = stats.ttest_rel(candidate, baseline, alternative="less")
        assert result.p_value(null=0, alternative="less") == pytest.approx(expected.pvalue, rel=1e-10)
        assert result.df == expected.df
        both = stats.ttest_rel(candidate, baseline).confidence_interval(0.95)
        assert result.interval(0.95)[:2] == pytest.approx((both.low, both.high), rel=1e-9, abs=1e-12)

    @given(seeds, st.integers(2, 8), st.integers(2, 6))
    def test_clusters_are_those_of_statsmodels(self, seed: int, clusters: int, each: int) -> None:
        rng = np.random.default_rng(seed)
        codes = np.repeat(np.arange(clusters), each)
        rng.shuffle(codes)
        difference = rng.normal(size=len(codes)) + codes
        result = as_student(
            means.paired_difference(difference[None], np.zeros((1, len(codes))), clusters=codes.astype(np.int32))
        )
        fitted = sm.OLS(difference, np.ones(len(codes))).fit(cov_type="cluster", cov_kwds={"groups": codes})
        assert result.stderr == pytest.approx(float(fitted.bse[0]), rel=1e-10)
        assert result.df == clusters - 1

    def test_clusters_of_unequal_sizes_count_as_fewer(self) -> None:
        codes = np.repeat(np.arange(10), [10] * 9 + [90]).astype(np.int32)
        found = means.mean_variance(np.random.default_rng(3).normal(size=len(codes)), clusters=codes)
        assert found.df == pytest.approx(degrees_of_freedom(np.array([10] * 9 + [90])))
        assert found.df < 3

    def test_few_numeric_differences_are_judged_by_their_signs(self) -> None:
        candidate, baseline = np.random.default_rng(4).normal(size=(2, 1, 29))
        result = means.paired_difference(candidate, baseline)
        assert isinstance(result, SignFlip)
        assert sorted(result.differences) == pytest.approx(sorted(candidate[0] - baseline[0]))
        assert isinstance(means.paired_difference(candidate, baseline, noise=noise.given(0.1)), Student)

    @pytest.mark.parametrize("n", [30, 100, 1000])
    def test_skewed_scores_block_no_more_healthy_work_than_alpha_says(self, n: int) -> None:
        # Log-normal differences whose mean is exactly the limit, 2,000 times: t alone would have 0.15, 0.12 and 0.07 below.
        rng = np.random.default_rng(6)
        limit = math.exp(0.5)
        results = [means.paired_difference(np.exp(rng.normal(size=(1, n))), np.zeros((1, n))) for _ in range(2000)]
        for side in SIDES:
            assert np.mean([r.p_value(null=limit, alternative=side) <= 0.05 for r in results]) <= 1.3 * 0.05

    def test_the_clustered_standard_error_of_the_paper(self) -> None:
        scores = np.arange(20.0)
        clustered = means.mean_variance(scores, clusters=(np.arange(20) % 4).astype(np.int32))
        assert math.sqrt(clustered.variance) == pytest.approx(0.6454972, abs=5e-8)
        assert clustered.df == 3
        assert math.sqrt(means.mean_variance(scores).variance) == pytest.approx(1.3228757, abs=5e-8)

    @given(seeds, sizes)
    def test_clusters_of_one_are_no_clusters(self, seed: int, n: int) -> None:
        x = np.random.default_rng(seed).normal(size=n)
        assert means.mean_variance(x, clusters=np.arange(n, dtype=np.int32)) == pytest.approx(means.mean_variance(x))

    def test_only_the_clusters_that_are_there_count(self) -> None:
        # A slice keeps the codes of the whole test set.
        x = np.array([1.0, 2.0, 4.0, 7.0])
        few = means.mean_variance(x, clusters=np.array([0, 0, 1, 1], dtype=np.int32))
        assert means.mean_variance(x, clusters=np.array([7, 7, 900, 900], dtype=np.int32)) == few

    def test_one_cluster_is_refused(self) -> None:
        with pytest.raises(UndecidableError, match="one cluster"):
            means.mean_variance(np.arange(5.0), clusters=np.zeros(5, dtype=np.int32))

    @given(seeds, sizes)
    def test_single_runs_of_0_and_1_are_tango_s(self, seed: int, n: int) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = rng.integers(0, 2, size=(1, n)).astype(float), rng.integers(0, 2, size=(1, n)).astype(float)
        result = means.paired_difference(candidate, baseline)
        assert isinstance(result, PairedProportions)
        assert result.estimate == pytest.approx(float(candidate.mean() - baseline.mean()))

    def test_0_and_1_with_training_noise_are_not_tango_s(self) -> None:
        rng = np.random.default_rng(1)
        candidate, baseline = rng.integers(0, 2, size=(1, 99)).astype(float), rng.integers(0, 2, size=(1, 99)).astype(float)
        assert isinstance(means.paired_difference(candidate, baseline, noise=noise.given(0.01)), Student)

    def test_n_times_the_evidence_is_sqrt_n_times_surer(self) -> None:
        x = np.random.default_rng(2).normal(size=(1, 400))
        once = as_student(means.paired_difference(x, np.zeros_like(x)))
        many = as_student(means.paired_difference(np.tile(x, 4), np.tile(np.zeros_like(x), 4)))
        assert many.stderr == pytest.approx(once.stderr / 2, rel=0.01)


class TestDegenerate:
    @pytest.mark.parametrize("n", [1])
    def test_one_example_is_no_test_set(self, n: int) -> None:
        with pytest.raises(UndecidableError, match="two are the least"):
            means.paired_difference(np.full((1, n), 0.3), np.full((1, n), 0.2))

    @pytest.mark.parametrize("shift", [0.0, -0.1, 1e6])
    def test_a_constant_shift_has_no_variance_to_judge_by(self, shift: float) -> None:
        x = np.random.default_rng(3).random((1, 100))
        baseline = x.copy() if shift else np.full((1, 100), 0.4)
        with pytest.raises(UndecidableError, match="no variance"):
            means.paired_difference(baseline + shift, baseline)

    @given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
    def test_rounding_is_no_variance(self, scale: float, offset: float) -> None:
        baseline = scale * np.linspace(0, 1, 50)[None] + offset
        with pytest.raises(UndecidableError):
            means.paired_difference(baseline + 0.1 * scale, baseline)

    def test_equal_numeric_scores_are_equal(self) -> None:
        x = np.random.default_rng(4).random((2, 50))
        result = means.paired_difference(x, x.copy())
        assert isinstance(result, Exact)
        assert (result.estimate, result.n, result.method) == (0.0, 50, "identical scores")

    def test_equal_0_and_1_scores_still_tell_only_about_as_many_examples(self) -> None:
        x = np.random.default_rng(5).integers(0, 2, size=(3, 60)).astype(float)
        result = means.paired_difference(x, x.copy(), noise=pooled(x, x))
        assert isinstance(result, PairedProportions)
        assert result.interval(0.95).low < -0.04

    def test_all_equal_with_known_noise_is_judged_by_the_noise(self) -> None:
        ones = np.ones((1, 100))
        result = as_student(means.paired_difference(ones, ones * 0.9, noise=Noise(variance=0.01, df=8)))
        assert result.stderr == pytest.approx(math.sqrt(2 * 0.01))
        assert result.df == pytest.approx(8)

    def test_noise_that_is_zero_covers_nothing(self) -> None:
        rng = np.random.default_rng(6)
        result = means.paired_difference(rng.random((2, 50)), rng.random((2, 50)), noise=Noise(variance=0.0, df=2))
        assert result.covers == "the test set only"


class TestUnpaired:
    @given(seeds, sizes, sizes)
    def test_it_is_welch_s_test_of_scipy(self, seed: int, n: int, m: int) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = rng.normal(size=n), rng.normal(0, 2, size=m)
        result = as_student(means.unpaired_difference(candidate[None], baseline[None]))
        assume(result.skewness == 0)
        expected = stats.ttest_ind(candidate, baseline, equal_var=False, alternative="less")
        assert result.p_value(null=0, alternative="less") == pytest.approx(expected.pvalue, rel=1e-10)
        assert result.df == pytest.approx(expected.df, rel=1e-9)
        both = stats.ttest_ind(candidate, baseline, equal_var=False).confidence_interval(0.9)
        assert result.interval(0.9)[:2] == pytest.approx((both.low, both.high), rel=1e-9, abs=1e-12)

    @given(seeds, st.integers(2, 6), st.integers(2, 6))
    def test_values_of_several_seeds_are_student_s_test_of_scipy(self, seed: int, candidates: int, baselines: int) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = rng.normal(size=candidates), rng.normal(size=baselines)
        both = [one for values in (candidate, baseline) if (one := noise.of_values(list(values)))]
        assume(noise.bartlett(both) >= noise.GROSS)
        result = means.unpaired_difference(
            Value(value=float(candidate.mean()), runs=candidates),
            Value(value=float(baseline.mean()), runs=baselines),
            noise=noise.pool(both, source="of these runs"),
        )
        expected = stats.ttest_ind(candidate, baseline, alternative="less")
        assert result.p_value(null=0, alternative="less") == pytest.approx(expected.pvalue, rel=1e-10)
        assert result.df == pytest.approx(candidates + baselines - 2)
        assert result.covers == "the training noise"

    def test_one_run_against_a_history_is_the_t_prediction_interval(self) -> None:
        # 25 values with mean 100 and standard deviation 10, one-sided 0.977.
        history = np.linspace(-1, 1, 25)
        history = 100 + 10 * history / history.std(ddof=1)
        result = means.unpaired_difference(
            Value(value=100.0, runs=1),
            Value(value=float(history.mean()), runs=25),
            noise=noise.of_values(list(history)),
        )
        low, high, _ = result.interval(2 * 0.977 - 1)
        assert (100 + low, 100 + high) == pytest.approx((78.539097, 121.460903), abs=5e-7)

    def test_a_value_with_its_standard_error_is_judged_by_it(self) -> None:
        result = as_student(
            means.unpaired_difference(
                Value(value=0.93, runs=1, stderr=0.003, n=1000), Value(value=0.94, runs=1, stderr=0.004, n=2000)
            )
        )
        assert result.stderr == pytest.approx(0.005)
        expected = 0.005**4 / (0.003**4 / 999 + 0.004**4 / 1999)
        assert result.df == pytest.approx(expected)
        assert result.n == 1000

    def test_a_single_value_is_compared_exactly(self) -> None:
        result = means.unpaired_difference(Value(value=0.93, runs=1), Value(value=0.94, runs=1))
        assert isinstance(result, Exact)
        # 0.93 − 0.94 is a little more than −0.01 in some roundings and a little less in others.
        assert result.p_value(null=-0.01, alternative="greater") == 0

    @pytest.mark.parametrize("baseline", [30, 70, 1_234_570, 30_000_000_070])
    def test_ten_per_cent_more_parameters_are_ten_per_cent(self, baseline: int) -> None:
        def p_worse(candidate: int) -> tuple[float, float]:
            sides = Value(value=float(candidate), runs=1), Value(value=float(baseline), runs=1)
            result = means.unpaired_difference(*sides, baseline_weight=1.1)
            return result.p_value(null=0, alternative="less"), result.p_value(null=0, alternative="greater")

        exactly = baseline * 11 // 10
        assert p_worse(exactly)[0] == 0
        assert p_worse(exactly + 1) == (1, 0)

    def test_training_noise_comes_on_top_and_counts_once(self) -> None:
        rng = np.random.default_rng(7)
        candidate, baseline = rng.normal(size=(3, 40)), rng.normal(size=(2, 60))
        of_training = Noise(variance=0.2, df=4, residual=0.3, residual_df=117)
        result = as_student(means.unpaired_difference(candidate, baseline, noise=of_training))
        own = [float(np.var(side.mean(axis=0), ddof=1)) / side.shape[1] for side in (candidate, baseline)]
        training = (1 / 3 + 1 / 2) * 0.2
        twice = (1 / 3 / 40 + 1 / 2 / 60) * 0.3
        variance = sum(own) + training - twice
        assert result.stderr**2 == pytest.approx(variance, rel=1e-10)
        spread = own[0] ** 2 / 39 + own[1] ** 2 / 59 + training**2 / 4 + twice**2 / 117
        assert variance**2 / spread > 4
        assert result.df == pytest.approx(variance**2 / spread, rel=1e-10)

    def test_clusters_count_on_each_side(self) -> None:
        rng = np.random.default_rng(8)
        candidate, baseline = rng.normal(size=(1, 40)), rng.normal(size=(1, 30))
        codes = (np.arange(40) % 5).astype(np.int32), (np.arange(30) % 6).astype(np.int32)
        result = as_student(
            means.unpaired_difference(candidate, baseline, candidate_clusters=codes[0], baseline_clusters=codes[1])
        )
        parts = [means.mean_variance(x[0], clusters=c) for x, c in zip((candidate, baseline), codes, strict=True)]
        assert result.stderr**2 == pytest.approx(parts[0].variance + parts[1].variance)

    def test_no_variance_on_either_side_is_no_inference(self) -> None:
        with pytest.raises(UndecidableError):
            means.unpaired_difference(np.ones((1, 50)), np.full((1, 40), 0.9))
        with pytest.raises(UndecidableError):
            means.unpaired_difference(Value(value=0.9, runs=1, stderr=0.0, n=9), Value(value=0.8, runs=1, stderr=0.0, n=9))


class TestOneSideAlone:
    @given(seeds, sizes)
    def test_it_is_the_one_sample_t_test_of_scipy(self, seed: int, n: int) -> None:
        x = np.random.default_rng(seed).normal(size=n)
        result = as_student(means.mean(x[None]))
        assume(result.skewness == 0)
        expected = stats.ttest_1samp(x, 0.1, alternative="greater")
        assert result.p_value(null=0.1, alternative="greater") == pytest.approx(expected.pvalue, rel=1e-10)
        assert result.df == n - 1

    def test_several_seeds(self) -> None:
        rng = np.random.default_rng(9)
        x = trainings(rng, runs=3, examples=rng.normal(size=30), seed_sd=0.5, residual_sd=1.0)
        (of_training,) = known(x)
        result = as_student(means.mean(x, noise=of_training))
        own = float(np.var(x.mean(axis=0), ddof=1)) / 30
        assert result.stderr**2 == pytest.approx(max(own + of_training.variance / 3 - of_training.residual / 90, own))

    def test_one_run_of_0_and_1_is_wilson_s(self) -> None:
        x = (np.arange(100) < 93).astype(float)[None]
        result = means.mean(x)
        assert isinstance(result, Proportion)
        assert result.estimate == pytest.approx(0.93)

    def test_all_right_is_wilson_s_whatever_the_noise(self) -> None:
        assert isinstance(means.mean(np.ones((3, 100)), noise=noise.given(0.01)), Proportion)

    def test_clustered_0_and_1_are_not_wilson_s(self) -> None:
        x = (np.arange(100) % 3 > 0).astype(float)[None]
        assert isinstance(means.mean(x, clusters=(np.arange(100) // 10).astype(np.int32)), Student)

    def test_a_single_value_is_exact(self) -> None:
        assert isinstance(means.mean(Value(value=1e6, runs=1)), Exact)

    def test_values_of_several_seeds_are_a_t_test(self) -> None:
        values = [0.90, 0.92, 0.91]
        result = means.mean(Value(value=0.91, runs=3), noise=noise.of_values(values))
        expected = stats.ttest_1samp(values, 0.9, alternative="greater").pvalue
        assert result.p_value(null=0.9, alternative="greater") == pytest.approx(expected, rel=1e-9)
        assert result.covers == "the training noise"

    def test_a_constant_is_refused(self) -> None:
        with pytest.raises(UndecidableError, match="same score"):
            means.mean(np.full((1, 50), 0.4))

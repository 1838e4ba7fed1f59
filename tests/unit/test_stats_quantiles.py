"""Quantiles as means of influences."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metricgate.stats import means, quantiles
from metricgate.stats.inference import UndecidableError


@given(st.integers(0, 2**32 - 1), st.sampled_from([0.05, 0.5, 0.9, 0.95]), st.integers(1, 4), st.integers(500, 900))
def test_the_mean_of_a_row_is_the_quantile_of_its_scores(seed: int, probability: float, runs: int, n: int) -> None:
    scores = np.random.default_rng(seed).gamma(2.0, size=(runs, n))
    rows = quantiles.linearise(scores, probability)
    assert rows.shape == scores.shape
    assert rows.mean(axis=1) == pytest.approx(np.quantile(scores, probability, axis=1))


@pytest.mark.parametrize("probability", [0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(
    "distribution", [stats.norm(), stats.gamma(2), stats.lognorm(0.5)], ids=["normal", "gamma", "lognormal"]
)
def test_the_variance_of_a_row_is_that_of_the_quantile(probability: float, distribution: stats.rv_continuous) -> None:
    # By theory p (1 − p) / f² / n; the density at p99 of 20,000 examples is known within some per cent.
    n = 20_000
    scores = distribution.rvs(size=(1, n), random_state=np.random.default_rng(1))
    theory = probability * (1 - probability) / distribution.pdf(distribution.ppf(probability)) ** 2 / n
    found = means.mean_variance(quantiles.linearise(scores, probability)[0]).variance
    assert found == pytest.approx(theory, rel=0.25)


def test_its_standard_error_agrees_with_a_bootstrap() -> None:
    # Both vary by some ten per cent from sample to sample, so twenty samples are averaged.
    rng = np.random.default_rng(2)
    ours, bootstrap = [], []
    for latency in rng.gamma(4.0, 3.0, size=(20, 1000)):
        resampled = np.quantile(latency[rng.integers(0, 1000, size=(200, 1000))], 0.95, axis=1)
        bootstrap.append(resampled.std())
        ours.append(means.mean_variance(quantiles.linearise(latency[None], 0.95)[0]).variance ** 0.5)
    assert np.mean(ours) == pytest.approx(np.mean(bootstrap), rel=0.1)


@pytest.mark.parametrize(("n", "probability"), [(499, 0.95), (49, 0.5), (249, 0.9), (2499, 0.99), (10, 0.0)])
def test_too_few_examples_beyond_it_are_refused(n: int, probability: float) -> None:
    with pytest.raises(UndecidableError, match="beyond the quantile"):
        quantiles.linearise(np.arange(n, dtype=np.float64)[None], probability)


@pytest.mark.parametrize(("n", "probability"), [(500, 0.95), (50, 0.5), (250, 0.9), (2500, 0.99)])
def test_twenty_five_beyond_it_are_enough(n: int, probability: float) -> None:
    assert quantiles.linearise(np.arange(n, dtype=np.float64)[None], probability).shape == (1, n)


def test_scores_that_are_nearly_all_the_same_have_no_density() -> None:
    scores = np.array([[12.0] * 990 + [13.0] * 10])
    with pytest.raises(UndecidableError, match="share the same score"):
        quantiles.linearise(scores, 0.95)


def test_the_unit_of_the_scores_does_not_matter() -> None:
    scores = np.random.default_rng(3).gamma(2.0, size=(2, 300))
    assert quantiles.linearise(1000 * scores, 0.9) == pytest.approx(1000 * quantiles.linearise(scores, 0.9))


def test_p95_rules_block_healthy_work_about_as_often_as_they_say() -> None:
    # 1,500 paired comparisons of a heavy-tailed latency whose p95 differs by exactly the limit, with the fewest examples that
    # are allowed. The Monte Carlo error is 0.0056; the density at the quantile is estimated too, so that half to 1.3 times
    # alpha is asked for, and two Monte Carlo errors.
    rng = np.random.default_rng(4)
    n, repetitions, alpha = 500, 1500, 0.05
    fails = passes = 0
    for _ in range(repetitions):
        shared = np.exp(rng.normal(2.0, 0.8, size=n))
        candidate, baseline = (shared + rng.gamma(2.0, 1.0, size=n) for _ in range(2))
        result = means.paired_difference(
            quantiles.linearise((candidate + 1.0)[None], 0.95), quantiles.linearise(baseline[None], 0.95)
        )
        fails += result.p_value(null=1.0, alternative="greater") <= alpha
        passes += result.p_value(null=1.0, alternative="less") <= alpha
    assert 0.5 * alpha - 0.011 <= fails / repetitions <= 1.3 * alpha + 0.011
    assert 0.5 * alpha - 0.011 <= passes / repetitions <= 1.3 * alpha + 0.011

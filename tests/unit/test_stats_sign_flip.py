"""The sign-flip permutation test: the share of all sign changes, counted."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metricgate.stats.inference import Alternative, UndecidableError
from metricgate.stats.sign_flip import SignFlip

SIDES: tuple[Alternative, Alternative] = ("greater", "less")
A = (3.67, 1.72, 3.46, 2.60, 2.03, 2.10, 3.01)
B = (2.11, 1.79, 2.71, 1.89, 1.69, 1.71, 2.01)

differences = st.lists(st.floats(-100, 100).map(lambda x: round(x, 2)), min_size=2, max_size=9).map(tuple)


def flips(values: tuple[float, ...]) -> SignFlip:
    return SignFlip(differences=values, covers="the test set only")


def test_the_published_example() -> None:
    # 4 of 128 sign changes are as far from 0 as the treatment is, 2 of them on its side.
    result = flips(tuple(a - b for a, b in zip(A, B, strict=True)))
    reference = stats.permutation_test(
        (np.array(A), np.array(B)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=10**6,
        vectorized=True,
    )
    assert reference.pvalue == 4 / 128
    assert result.p_value(null=0, alternative="greater") == 2 / 128
    assert 2 * result.p_value(null=0, alternative="greater") == reference.pvalue


@settings(max_examples=30)
@given(differences, st.sampled_from(SIDES))
def test_it_is_that_of_scipy(values: tuple[float, ...], side: Alternative) -> None:
    expected = stats.permutation_test(
        (np.array(values), np.zeros(len(values))),
        lambda x, y, axis: np.sum(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=10**6,
        alternative=side,
        vectorized=True,
    ).pvalue
    assert flips(values).p_value(null=0, alternative=side) == pytest.approx(expected, rel=1e-12)


@given(differences, st.floats(-50, 50).map(lambda x: round(x, 1)))
def test_it_counts_every_sign_change(values: tuple[float, ...], null: float) -> None:
    moved = [value - null for value in values]
    total = math.fsum(moved)
    sums = [
        math.fsum(s * m for s, m in zip(signs, moved, strict=True)) for signs in itertools.product((1, -1), repeat=len(moved))
    ]
    expected = sum(one >= total - 1e-9 for one in sums) / len(sums)
    assert flips(values).p_value(null=null, alternative="greater") == expected


@given(differences, st.floats(0.05, 0.45))
def test_the_interval_holds_what_is_not_rejected(values: tuple[float, ...], tail: float) -> None:
    result = flips(values)
    low, high, _ = result.interval(1 - 2 * tail)
    if tail < 0.5 ** len(values):
        assert (low, high) == (-math.inf, math.inf)
        return
    assert min(values) - 1e-9 <= low <= result.estimate + 1e-9
    assert result.estimate - 1e-9 <= high <= max(values) + 1e-9
    assert result.p_value(null=low - 1e-6, alternative="greater") <= tail
    assert result.p_value(null=high + 1e-6, alternative="less") <= tail


def test_as_many_as_twenty_nine_are_counted_out() -> None:
    # With symmetric differences it agrees with t, which is exact for these.
    x = np.random.default_rng(0).normal(0.2, 1, size=29)
    ours = flips(tuple(float(v) for v in x))
    t = stats.ttest_1samp(x, 0)
    assert ours.p_value(null=0, alternative="greater") == pytest.approx(t.pvalue / 2, rel=0.1)
    assert ours.interval(0.95)[:2] == pytest.approx(tuple(t.confidence_interval(0.95)), abs=0.03)


def test_a_symmetric_score_rejects_exactly_as_often_as_alpha_says() -> None:
    # Ten Laplace differences: 51 of the 1,024 sign changes are at most 5%.
    rng = np.random.default_rng(1)
    rejected = [
        flips(tuple(float(v) for v in rng.laplace(size=10))).p_value(null=0, alternative="less") <= 0.05 for _ in range(4000)
    ]
    assert np.mean(rejected) == pytest.approx(51 / 1024, abs=0.011)  # three Monte Carlo errors


@pytest.mark.parametrize("values", [(), (1.0,), (1.0, math.nan), (1.0, math.inf), (1e308, 1e308)])
def test_what_is_no_sample_is_refused(values: tuple[float, ...]) -> None:
    with pytest.raises(UndecidableError):
        flips(values)


def test_too_many_to_count_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(ValueError, match="at most 40"):
        flips((1.0,) * 41)

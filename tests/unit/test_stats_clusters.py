"""Degrees of freedom of a mean over clusters."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import special

from metricgate.stats.clusters import degrees_of_freedom
from metricgate.stats.inference import UndecidableError

sizes = st.lists(st.integers(1, 500), min_size=6, max_size=30)


def by_matrices(counts: NDArray[np.float64]) -> float:
    w = counts / counts.sum()
    centring = np.eye(len(w)) - np.outer(np.ones(len(w)), w)
    form = centring.T @ np.diag(w**2) @ centring
    return float(np.trace(form) ** 2 / np.trace(form @ form))


@given(sizes)
def test_they_are_those_of_the_quadratic_form(counts: list[int]) -> None:
    assert degrees_of_freedom(np.array(counts)) == pytest.approx(by_matrices(np.array(counts, dtype=float)), rel=1e-6)


@given(st.integers(2, 1000), st.integers(1, 50))
def test_equal_clusters_have_one_less_than_there_are(clusters: int, each: int) -> None:
    assert degrees_of_freedom(np.full(clusters, each)) == pytest.approx(clusters - 1, rel=1e-9)


@given(sizes)
def test_unequal_clusters_have_fewer(counts: list[int]) -> None:
    assume(len(set(counts)) > 1)
    assert 0.99 <= degrees_of_freedom(np.array(counts)) < len(counts) - 1


@pytest.mark.parametrize("counts", [[7], [10, 30], [20, 20, 200], [20, 20, 20, 200]])
def test_one_cluster_or_few_very_unequal_ones_are_refused(counts: list[int]) -> None:
    with pytest.raises(UndecidableError, match="cluster"):
        degrees_of_freedom(np.array(counts))


@pytest.mark.parametrize(
    "counts", [[9] * 2, [5, 8], [9] * 5, [5, 14, 23, 32, 41, 50], [10] * 9 + [90], [5 * 1.5**i for i in range(10)]]
)
@pytest.mark.parametrize("within", [0.0, 0.5])
def test_healthy_work_is_blocked_no_more_often_than_alpha_says(counts: list[float], within: float) -> None:
    # 20,000 times; the Monte Carlo error is 0.0015. With C − 1 degrees of freedom the last two would have 0.13 and 0.10.
    rng = np.random.default_rng(2)
    n = np.array(counts, dtype=float)
    w, count = n / n.sum(), len(n)
    means = rng.standard_normal((20_000, count)) * np.sqrt(1 - within + within / n)
    estimate = means @ w
    variance = count / (count - 1) * np.square(w * (means - estimate[:, None])).sum(axis=1)
    rejected = estimate / np.sqrt(variance) <= special.stdtrit(degrees_of_freedom(n), 0.05)
    assert 0.4 * 0.05 <= rejected.mean() <= 1.1 * 0.05 + 0.003

"""Quantiles as means, so that everything that is known about means of paired scores holds for them too."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import special

from metricgate.stats.inference import UndecidableError

MIN_BEYOND = 25
"""The least number of examples that must lie beyond the quantile.

With fewer the density there is a guess: of healthy changes to a log-normal latency (standard deviation of the logarithm
0.8), p95 blocks 19% at alpha 0.05 with 5 beyond it, 12% with 10, 7% with 15, and 4% with 25.
"""


def linearise(scores: NDArray[np.float64], probability: float) -> NDArray[np.float64]:
    """Replace each score by its influence on the quantile, run by run, so that the mean of a row is that run's quantile.

    z_ki = q_k + (p − 1[x_ki <= q_k]) / f_k(q_k), recentred on q_k; the density f_k is the inverse slope of the quantile
    function over Bofinger's bandwidth.

    Args:
        scores: Shape (runs, examples).
        probability: 0.95 for the 95th percentile.

    Raises:
        UndecidableError: Too few examples beyond the quantile, or so many ties that there is no density.

    References:
        Serfling, Approximation Theorems of Mathematical Statistics (1980), 2.5; Bofinger, Australian Journal of Statistics
        17 (1975) 1-7.

    >>> latency = np.random.default_rng(0).gamma(9.0, size=(1, 1000))
    >>> rows = linearise(latency, 0.95)
    >>> bool(np.isclose(rows.mean(), np.quantile(latency, 0.95)))
    True
    """
    n = scores.shape[1]
    beyond = n * min(probability, 1 - probability)
    if round(beyond, 6) < MIN_BEYOND:  # 1 − 0.9 is a little less than 0.1
        raise UndecidableError(f"{n} examples leave {beyond:.1f} beyond the quantile; {MIN_BEYOND} are the least")
    width = _bandwidth(n, probability)
    low, quantile, high = np.quantile(scores, [probability - width, probability, probability + width], axis=1)
    if bool((high <= low).any()):
        raise UndecidableError("too many examples share the same score around the quantile")
    slope = (high - low) / (2 * width)
    influence = (probability - (scores <= quantile[:, None])) * slope[:, None]
    recentred: NDArray[np.float64] = influence - influence.mean(axis=1, keepdims=True) + quantile[:, None]
    return recentred


def _bandwidth(n: int, probability: float) -> float:
    z = float(special.ndtri(probability))
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    width: float = (4.5 * density**4 / (2 * z**2 + 1) ** 2 / n) ** 0.2
    return min(width, 0.95 * probability, 0.95 * (1 - probability))

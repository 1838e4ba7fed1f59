"""0/1 scores: no simulation, the probabilities of all tables are summed up."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.calibration.rates import ALPHA, NOMINAL, Row
from metricgate.stats.inference import Alternative
from metricgate.stats.proportions import PairedProportions, Proportion

PAIRED = (
    (30, 0.0, 4.0),
    (30, 0.1, 0.5),
    (30, 0.1, 4.0),
    (100, 0.0, 3.0),
    (100, 0.03, 0.5),
    (100, 0.03, 8.0),
    (200, 0.0, 8.0),
    (200, 0.05, 0.5),
    (200, 0.02, 4.0),
    (200, 0.02, 20.0),
    (1000, 0.0, 50.0),
    (1000, 0.01, 1.0),
    (1000, 0.01, 40.0),
    (10_000, 0.0, 10.0),
    (10_000, 0.01, 1.0),
    (10_000, 0.01, 300.0),
    (100_000, 0.0, 200.0),
    (100_000, 0.001, 10.0),
    (100_000, 0.005, 3000.0),
)
"""n, the allowed regression, and how many pairs are expected to get better."""


def paired_rows() -> list[Row]:
    """Tango's test at a true difference of exactly −m."""
    rows = []
    for n, margin, better in PAIRED:
        p_better, p_worse = better / n, better / n + margin
        sd = math.sqrt((p_better + p_worse - margin**2) / n)
        rows.append(
            Row(
                method="Tango",
                regime=f"m = {margin:g}, {better:g} better and {n * p_worse:g} worse expected",
                n=f"{n:,}",
                fails=rejections(n, p_better, p_worse, null=-margin, side="less", alpha=ALPHA),
                passes=rejections(n, p_better, p_worse, null=-margin, side="greater", alpha=ALPHA),
                power=rejections(n, p_better, p_worse, null=-margin + NOMINAL * sd, side="less", alpha=ALPHA),
                repetitions=0,
                large=n >= 200,
            )
        )
    return rows


def family_rows() -> list[Row]:
    """Any false fail among 100 independent slices that all lie on the limit: at most one at alpha/100 each, by Holm."""
    rows = []
    for n, margin, better in ((100, 0.03, 8.0), (200, 0.03, 8.0), (1000, 0.01, 40.0), (1000, 0.01, 1.0), (10_000, 0.01, 300.0)):
        each = rejections(n, better / n, better / n + margin, null=-margin, side="less", alpha=ALPHA / 100)
        rows.append(
            Row(
                method="Tango, Holm",
                regime=f"100 slices, m = {margin:g}, {better:g} better and {better + n * margin:g} worse expected in each",
                n=f"{n:,}",
                fails=1 - (1 - each) ** 100,
                passes=None,
                power=None,
                repetitions=0,
                large=n >= 200,
            )
        )
    return rows


def single_rows() -> list[Row]:
    """One proportion exactly at its bound."""
    rows = []
    for n, bound in ((30, 0.9), (200, 0.9), (200, 0.99), (1000, 0.99), (10_000, 0.9), (100_000, 0.99)):
        counts = np.arange(n + 1)
        sd = math.sqrt(bound * (1 - bound) / n)
        near = counts[np.abs(counts / n - bound) < 12 * sd + 3 / n]
        weights = stats.binom(n, bound).pmf(near)
        tests = [Proportion(successes=int(k), n=n, covers="") for k in near]

        def rate(
            null: float, side: Alternative, weights: NDArray[np.float64] = weights, tests: list[Proportion] = tests
        ) -> float:
            return float(weights @ np.array([test.p_value(null=null, alternative=side) <= ALPHA for test in tests]))

        rows.append(
            Row(
                method="binomial",
                regime=f"bound {bound:g}",
                n=f"{n:,}",
                fails=rate(bound, "less"),
                passes=rate(bound, "greater"),
                power=rate(min(bound + NOMINAL * sd, 1 - 1e-9), "less"),
                repetitions=0,
                large=n >= 200,
            )
        )
    return rows


def rejections(  # six numbers make a regime
    n: int, p_better: float, p_worse: float, *, null: float, side: Alternative, alpha: float
) -> float:
    """The probability that the test rejects: for each number of worse ones, what rejects is one end of the better ones."""
    numbers, weights = _likely(n, p_worse)
    rest = stats.binom(n - numbers, min(p_better / (1 - p_worse), 1.0))
    ends = []
    lows, highs = (np.asarray(tail).astype(int).tolist() for tail in (rest.ppf(1e-10), rest.isf(1e-10)))
    for worse, low, high in zip(numbers.tolist(), lows, highs, strict=True):

        def rejects(better: int, worse: int = worse) -> bool:
            table = PairedProportions(better=better, worse=worse, n=n, covers="")
            return table.p_value(null=null, alternative=side) <= alpha

        ends.append(_end(low, high, rejects, side=side))
    some = np.array([end is not None for end in ends])
    end = np.array([-1 if end is None else end for end in ends])
    tails = rest.cdf(end) if side == "less" else rest.sf(end - 1)
    return float(weights[some] @ tails[some])


def _end(low: int, high: int, rejects: Callable[[int], bool], *, side: Alternative) -> int | None:
    """The last number, up or down from one end, that rejects; None if not even that end does."""
    if not rejects(low if side == "less" else high):
        return None
    while low < high:
        middle = (low + high + (side == "less")) // 2
        if side == "less":
            low, high = (middle, high) if rejects(middle) else (low, middle - 1)
        else:
            low, high = (low, middle) if rejects(middle) else (middle + 1, high)
    return low


def _likely(n: int, probability: float) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    distribution = stats.binom(n, probability)
    low, high = int(distribution.ppf(1e-8)), int(distribution.isf(1e-8))
    # Of many thousand numbers every few tell as much.
    step = max(1, (high - low) // 150)
    counts = np.arange(max(low, 0), high + 1, step)
    weights = distribution.pmf(counts)
    return counts, weights / weights.sum()

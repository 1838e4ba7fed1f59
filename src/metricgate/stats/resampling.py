"""Drawing resamples of labels and predictions: the fewest units with the same distribution.

The cells of a table of classes are drawn by one multinomial draw; whole clusters; else examples. Above ``BLOCKS_ABOVE``
examples, a metric of sums draws from blocks of examples of nearly equal influence: how many from each block is multinomial,
exactly, and what the sum within blocks adds is normal, with the covariance that it has there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metricgate.stats.set_metrics import OfSums, Sample, SetMetric, Vector

RESAMPLES = 10_000
BLOCKS_ABOVE = 20_000
BLOCKS = 256
SINGLES = 32
"""Examples at either end of the influence values that are blocks of their own: what is far out is drawn exactly."""

_CELLS = 4_000_000
_IN_CACHE = 16_384
"""How many examples are drawn at once: few calls where there are few, and what was drawn stays in the processor's cache."""
_CELL_COST = 20
"""How many examples are drawn in the time of one binomial number."""
_BUDGET = 2.5e9
_COST_DENSE, _COST_SPARSE, _COST_RANKED = 5, 12, 50
"""Nanoseconds for one example of one resample: fewer resamples of more examples, so that no rule takes many seconds."""

Draw = Callable[[np.random.Generator, int], tuple[Vector, ...]]
"""From a generator and a number to as many resampled values of each sample."""


def drawing(
    metric: SetMetric, samples: tuple[Sample, ...], shares: tuple[Vector, ...], codes: NDArray[np.intp] | None, units: int
) -> tuple[Draw, int, int]:
    """How to draw, how many at once, and how many at most for the time that it takes."""
    n = samples[0].n
    if isinstance(metric, OfSums):
        terms = [_by_unit(metric.weighted_terms(sample), codes, units) for sample in samples]
        width = sum(int(term.shape[1]) for term in terms)
        if sparse.issparse(terms[0]):
            cells, counts = _cells(samples, codes)
            if len(counts) < units / _CELL_COST:
                inside = [_by_first(term, cells) for term in terms]
                return _of_cells(metric, inside, counts), max(1, _CELLS // (len(counts) + width)), RESAMPLES
        elif units > BLOCKS_ABOVE:
            return (
                _of_blocks(metric, [np.asarray(term) for term in terms], shares),
                max(1, _CELLS // (BLOCKS + width)),
                RESAMPLES,
            )
        statistics: list[Callable[[Vector], Vector]] = [_of_terms(metric, term) for term in terms]
    else:
        width = 0
        statistics = [metric.resampled(sample) for sample in samples]
    whole = codes if not isinstance(metric, OfSums) else None
    at_once = max(1, _IN_CACHE // units)

    def draw(generator: np.random.Generator, size: int) -> tuple[Vector, ...]:
        multiplicities = np.empty((size, units))
        for start in range(0, size, at_once):
            rows = multiplicities[start : start + at_once]
            drawn = generator.integers(0, units, size=rows.shape) + np.arange(len(rows))[:, np.newaxis] * units
            rows[:] = np.bincount(drawn.ravel(), minlength=rows.size).reshape(rows.shape)
        if whole is not None:
            multiplicities = multiplicities[:, whole]
        return tuple(statistic(multiplicities) for statistic in statistics)

    cost = _COST_RANKED if not isinstance(metric, OfSums) else _COST_SPARSE if sparse.issparse(terms[0]) else _COST_DENSE
    return draw, max(1, _CELLS // (n + width)), int(_BUDGET / (n * cost))


def _of_terms(metric: OfSums, terms: NDArray[np.float64] | sparse.csr_array) -> Callable[[Vector], Vector]:
    def of(multiplicities: Vector) -> Vector:
        return metric.of_sums(np.asarray((terms.T @ multiplicities.T).T, dtype=np.float64))

    return of


def _by_unit(
    terms: NDArray[np.float64] | sparse.csr_array, codes: NDArray[np.intp] | None, units: int
) -> NDArray[np.float64] | sparse.csr_array:
    """The terms of each example, or their sums over each cluster."""
    if codes is None:
        return terms
    n = len(codes)
    member = sparse.csr_array((np.ones(n), (codes, np.arange(n))), shape=(units, n))
    summed = member @ terms
    return summed if isinstance(summed, np.ndarray) else sparse.csr_array(summed)


def _by_first(terms: NDArray[np.float64] | sparse.csr_array, first: NDArray[np.intp]) -> sparse.csr_array:
    return sparse.csr_array(terms)[first]


def _cells(samples: tuple[Sample, ...], codes: NDArray[np.intp] | None) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """The first example of each different combination of label, predictions and weight, and how many examples have it."""
    n = samples[0].n
    if codes is not None:
        return np.arange(n), np.ones(n, dtype=np.intp)
    combined = samples[0].label.astype(np.int64)
    more = [sample.prediction.astype(np.int64) for sample in samples]
    if samples[0].weight is not None:
        more.append(np.unique(samples[0].weight, return_inverse=True)[1].astype(np.int64))
    for column in more:
        combined = np.unique(combined, return_inverse=True)[1] * (int(column.max()) + 1) + column
    _, first, counts = np.unique(combined, return_index=True, return_counts=True)
    return first, counts


def _of_cells(metric: OfSums, terms: Sequence[sparse.csr_array], counts: NDArray[np.intp]) -> Draw:
    """Exactly the bootstrap of the examples, since those of one cell are all alike."""
    n = int(counts.sum())
    of = [_of_terms(metric, term) for term in terms]

    def draw(generator: np.random.Generator, size: int) -> tuple[Vector, ...]:
        drawn = generator.multinomial(n, counts / n, size=size).astype(np.float64)
        return tuple(statistic(drawn) for statistic in of)

    return draw


def _of_blocks(metric: OfSums, terms: Sequence[NDArray[np.float64]], shares: tuple[Vector, ...]) -> Draw:
    """Blocks of examples of nearly equal influence on the difference."""
    units = len(terms[0])
    order = np.argsort(shares[0] - shares[1] if len(shares) > 1 else shares[0], kind="stable")
    inner = np.linspace(SINGLES, units - SINGLES, BLOCKS - 2 * SINGLES + 1).astype(np.intp)
    starts = np.concatenate([np.arange(SINGLES), inner[:-1], np.arange(units - SINGLES, units)])
    sizes = np.diff(np.append(starts, units))
    together = np.concatenate(terms, axis=1)[order]
    means = np.add.reduceat(together, starts, axis=0) / sizes[:, None]
    within = together - np.repeat(means, sizes, axis=0)
    spread, axes = np.linalg.eigh(within.T @ within)
    keep = spread > 0
    root = axes[:, keep] * np.sqrt(spread[keep])
    splits = np.cumsum([term.shape[1] for term in terms])[:-1]

    def draw(generator: np.random.Generator, size: int) -> tuple[Vector, ...]:
        sums = generator.multinomial(units, sizes / units, size=size) @ means
        sums += generator.standard_normal((size, root.shape[1])) @ root.T
        return tuple(metric.of_sums(part) for part in np.split(sums, splits, axis=1))

    return draw

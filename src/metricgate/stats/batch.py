"""The sums of one batch of examples, group by group: what scatters are merged from."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from metricgate.stats.scatter import Scatter

Scores = NDArray[np.float64]
Codes = NDArray[np.integer[Any]]

FEW = 30
"""With fewer examples than these the scores themselves are kept: tests of so few look at each."""


@dataclass(frozen=True)
class ClusterSums:
    """The clusters of one batch: what their examples sum up to.

    Attributes:
        keys: Group times ``width`` plus code, ascending.
        sizes: The number of examples of each.
        sums: (keys, P), of the columns, centred by ``centres``.
        centres: (G, P).
    """

    keys: NDArray[np.int64]
    sizes: NDArray[np.int64]
    sums: Scores
    centres: Scores


class Batch:
    """Examples sorted by group, and their sums group by group."""

    def __init__(self, sides: Sequence[Scores], counts: NDArray[np.int64], clusters: Codes | None) -> None:
        self.sides = sides
        self.there = np.flatnonzero(counts)
        self.counts = counts[self.there]
        self.starts = np.cumsum(self.counts) - self.counts
        self.clusters = clusters

    def summed(self, blank: Scatter) -> Scatter:
        """The sums of this batch in the shape of ``blank``."""
        averages = [side[0] if len(side) == 1 else side.mean(axis=0) for side in self.sides]
        columns = averages if len(averages) == 1 else [averages[0] - averages[1], *averages]
        blank.n[self.there] = self.counts
        centred = [self._centred(column, blank, index) for index, column in enumerate(columns)]
        squared = {}
        for index, (left, right) in enumerate(zip(*factors(len(columns)), strict=True)):
            squared[left, right] = centred[left] * centred[right]
            blank.products[self.there, index] = self._sums(squared[left, right])
        for index, (i, j, k) in enumerate(triples(len(columns))):
            blank.triples[self.there, index] = self._sums(centred[i] * squared[j, k])
        row = len(columns)
        for index, (side, average) in enumerate(zip(self.sides, averages, strict=True)):
            blank.odd[self.there, index] = self._any(functools.reduce(np.logical_or, map(_is_odd, side)))
            for run in side if len(side) > 1 else ():
                blank.unlike[self.there, index] |= self._any(run != side[0])
                blank.residuals[self.there, index] += self._sums(np.square(self._centred(run - average, blank, row)))
                row += 1
            row += len(side) == 1
        if len(self.sides) == 2 and blank.runs[0] == blank.runs[1]:
            for one, other in zip(*self.sides, strict=True):
                blank.changed[self.there] |= self._any(one != other)
        self._keep_few(blank, columns)
        if self.clusters is None:
            return blank
        return replace(blank, clusters=(self._clustered(blank, centred, self.clusters),))

    def _centred(self, column: Scores, blank: Scatter, index: int) -> Scores:
        """The deviations from the mean of each group; the mean goes into ``blank``."""
        anchor = self._sums(column) / self.counts
        column = column - np.repeat(anchor, self.counts)
        rest = self._sums(column) / self.counts
        blank.anchors[self.there, index], blank.rests[self.there, index] = anchor, rest
        return column - np.repeat(rest, self.counts)

    def _sums(self, column: Scores) -> Scores:
        return np.add.reduceat(column, self.starts)

    def _any(self, flags: NDArray[np.bool_]) -> NDArray[np.bool_]:
        if not flags.any():
            return np.zeros(len(self.starts), dtype=np.bool_)
        return np.logical_or.reduceat(flags, self.starts)

    def _keep_few(self, blank: Scatter, columns: Sequence[Scores]) -> None:
        for group, start, count in zip(self.there, self.starts, self.counts, strict=True):
            if count >= FEW:
                del blank.few[int(group)]
                continue
            at = slice(start, start + count)
            codes = np.empty(0, dtype=np.int64) if self.clusters is None else self.clusters[at].astype(np.int64)
            blank.few[int(group)] = np.stack([column[at] for column in columns]), codes

    def _clustered(self, blank: Scatter, centred: Sequence[Scores], clusters: Codes) -> ClusterSums:
        keys = np.repeat(self.there, self.counts) * blank.width + clusters
        found, where, sizes = np.unique(keys, return_inverse=True, return_counts=True)
        return ClusterSums(found, sizes.astype(np.int64), by_key(where, centred, len(found)), blank.means)


def by_key(keys: NDArray[np.intp], columns: Iterable[Scores], count: int) -> Scores:
    """(count, P), the sums of P columns over the rows of each key."""
    return np.stack([np.bincount(keys, weights=column, minlength=count) for column in columns], axis=1).astype(np.float64)


def columns_of(sides: int) -> int:
    """P: x̄_i of one side; of two their difference and both."""
    return 1 if sides == 1 else 3


def factors(columns: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which columns are multiplied: each with itself, and the first with the last."""
    return (np.array([0]), np.array([0])) if columns == 1 else (np.array([0, 1, 2, 0]), np.array([0, 1, 2, 2]))


def triples(columns: int) -> tuple[tuple[int, int, int], ...]:
    """The same of three: each cubed, and the mixed terms of first plus last."""
    return ((0, 0, 0),) if columns == 1 else ((0, 0, 0), (1, 1, 1), (2, 2, 2), (0, 0, 2), (0, 2, 2))


def _is_odd(run: Scores) -> NDArray[np.bool_]:
    odd: NDArray[np.bool_] = (run != 0) & (run != 1)
    return odd

"""What inference about means needs of scores, summed up batch by batch: nothing else has to be in memory.

Everything that is said about means, paired or not, over seeds, slices and clusters, follows from a few sums over examples. Here
they are summed, centred and in one fixed order, so that neither a large offset nor the size of the batches costs digits and the
same scores always give the same numbers. What two sides differ by is summed as a difference, example by example: equal scores
differ by exactly zero, and a difference of a billionth of the scores keeps all its digits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from metricgate.stats.batch import FEW, Batch, ClusterSums, Codes, Scores, by_key, columns_of, factors, triples
from metricgate.stats.inference import ROUNDING
from metricgate.stats.samples import Pair, Sample, Spread

__all__ = ["FEW", "Codes", "Pair", "Sample", "Scatter", "Scores", "Spread"]

_CANCELLED = 1e-14
"""Relative to its parts: a sum of squares that is no larger is what rounding left of nothing."""


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """The sums of one side, or of two sides over the same examples, for each of G groups of examples.

    A monoid: the scatter of all examples is that of some merged with that of the others (Chan, Golub, LeVeque, The American
    Statistician 37 (1983) 242). The columns whose products are summed are x̄_i of a single side; of two sides they are
    c̄_i − b̄_i, c̄_i and b̄_i, means over runs.

    Attributes:
        runs: The number of runs of each side.
        n: (G,), examples.
        anchors: (G, P + K), numbers near the means of the columns, and of x_ki − x̄_i for the runs of both sides.
        rests: (G, P + K), what the means are beyond their anchors: so the mean of numbers near a billion keeps its digits too.
        products: (G, …), sums of products of the centred columns: each with itself, and the first with the last.
        triples: (G, …), the same of products of three: what the cubes of such columns and of first plus last consist of.
        residuals: (G, sides), Σ (x_ki − x̄_k − x̄_i + x̄)².
        odd: (G, sides), whether there is a score that is neither 0 nor 1.
        unlike: (G, sides), whether there is an example that not all runs of a side score alike.
        changed: (G,), whether the runs of the two sides differ anywhere.
        few: For groups of fewer than ``FEW`` examples the columns themselves, (P, n), and the codes of their clusters.
        width: The number of cluster codes; 0 where examples are independent.
        clusters: Of each batch.
    """

    runs: tuple[int, ...]
    n: NDArray[np.int64]
    anchors: Scores
    rests: Scores
    products: Scores
    triples: Scores
    residuals: Scores
    odd: NDArray[np.bool_]
    unlike: NDArray[np.bool_]
    changed: NDArray[np.bool_]
    few: dict[int, tuple[Scores, NDArray[np.int64]]]
    width: int = 0
    clusters: tuple[ClusterSums, ...] = ()

    @classmethod
    def empty(cls, runs: Sequence[int], *, groups: int = 1, width: int = 0) -> Scatter:
        """Of no examples."""
        sides, columns = len(runs), columns_of(len(runs))
        return cls(
            runs=tuple(runs),
            n=np.zeros(groups, dtype=np.int64),
            anchors=np.zeros((groups, columns + sum(runs))),
            rests=np.zeros((groups, columns + sum(runs))),
            products=np.zeros((groups, len(factors(columns)[0]))),
            triples=np.zeros((groups, len(triples(columns)))),
            residuals=np.zeros((groups, sides)),
            odd=np.zeros((groups, sides), dtype=np.bool_),
            unlike=np.zeros((groups, sides), dtype=np.bool_),
            changed=np.zeros(groups, dtype=np.bool_),
            few={group: (np.empty((columns, 0)), np.empty(0, dtype=np.int64)) for group in range(groups)},
            width=width,
        )

    @classmethod
    def of(
        cls,
        sides: Sequence[Scores],
        *,
        codes: Codes | None = None,
        groups: int = 1,
        clusters: Codes | None = None,
        width: int | None = None,
    ) -> Scatter:
        """Of one batch of examples.

        Args:
            sides: One matrix, or two over the same examples, each of shape (runs, n).
            codes: (n,), the group of each example; without them all are in group 0.
            groups: G.
            clusters: (n,), the cluster of each example.
            width: How many cluster codes there are; by default one more than the largest.
        """
        n = sides[0].shape[1]
        if clusters is not None and width is None:
            width = int(clusters.max(initial=0)) + 1
        blank = cls.empty([len(side) for side in sides], groups=groups, width=width or 0)
        if n == 0:
            return blank
        if codes is None or groups == 1:
            counts = np.array([n] + [0] * (groups - 1), dtype=np.int64)
        else:
            counts = np.bincount(codes, minlength=groups).astype(np.int64)
            order = np.argsort(codes, kind="stable")
            sides = [side[:, order] for side in sides]
            clusters = clusters[order] if clusters is not None else None
        return Batch(sides, counts, clusters).summed(blank)

    def merge(self, other: Scatter) -> Scatter:
        """Of the examples of both."""
        n = self.n + other.n
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.where(n > 0, other.n / n, 0.0)
        cross = self.n * share
        apart = (other.anchors - self.anchors) + (other.rests - self.rests)
        first = self.n == 0
        columns = columns_of(len(self.runs))
        left, right = factors(columns)
        both = self.few.keys() & other.few.keys()
        return replace(
            self,
            n=n,
            anchors=np.where(first[:, None], other.anchors, self.anchors),
            rests=np.where(first[:, None], other.rests, self.rests + apart * share[:, None]),
            products=self.products + other.products + apart[:, left] * apart[:, right] * cross[:, None],
            triples=self._merged_triples(other, apart, share),
            residuals=self.residuals + other.residuals + self._by_side(np.square(apart[:, columns:])) * cross[:, None],
            odd=self.odd | other.odd,
            unlike=self.unlike | other.unlike,
            changed=self.changed | other.changed,
            few={
                group: (
                    np.hstack([self.few[group][0], other.few[group][0]]),
                    np.hstack([self.few[group][1], other.few[group][1]]),
                )
                for group in sorted(both)
                if n[group] < FEW
            },
            clusters=self.clusters + other.clusters,
        )

    def _merged_triples(self, other: Scatter, apart: Scores, share: Scores) -> Scores:
        """Both sums centred anew: by −share · apart and by (1 − share) · apart."""
        pairs = {pair: at for at, pair in enumerate(zip(*factors(columns_of(len(self.runs))), strict=True))}
        merged = self.triples + other.triples
        for at, (i, j, k) in enumerate(triples(columns_of(len(self.runs)))):
            for one, rest in ((i, pairs[j, k]), (j, pairs[i, k]), (k, pairs[i, j])):
                merged[:, at] += apart[:, one] * ((1 - share) * other.products[:, rest] - share * self.products[:, rest])
            moved = other.n * (1 - share) ** 3 - self.n * share**3
            merged[:, at] += moved * apart[:, i] * apart[:, j] * apart[:, k]
        return merged

    def total(self) -> Scatter:
        """Of all groups as one."""
        merged = Scatter.empty(self.runs, width=self.width)
        for group in range(len(self.n)):
            at = slice(group, group + 1)
            merged = merged.merge(
                replace(
                    self,
                    n=self.n[at],
                    anchors=self.anchors[at],
                    rests=self.rests[at],
                    products=self.products[at],
                    triples=self.triples[at],
                    residuals=self.residuals[at],
                    odd=self.odd[at],
                    unlike=self.unlike[at],
                    changed=self.changed[at],
                    few={0: self.few[group]} if group in self.few else {},
                    clusters=(),
                )
            )
        return replace(merged, clusters=tuple(self._regrouped(one, merged.means) for one in self.clusters))

    def sample(self, group: int = 0, *, side: int = 0) -> Sample:
        """What one group says of one side."""
        weights = [0.0] * columns_of(len(self.runs))
        weights[side + (len(self.runs) > 1)] = 1.0
        start = len(weights) + sum(self.runs[:side])
        return Sample(
            spread=self.spread(group, weights, sizes=(side + (len(self.runs) > 1),)),
            offsets=(self.anchors + self.rests)[group, start : start + self.runs[side]],
            residual=float(self.residuals[group, side]),
            binary=not self.odd[group, side],
            alike=not self.unlike[group, side],
        )

    def pair(self, group: int = 0) -> Pair:
        """What one group says of two sides."""
        return Pair(
            candidate=self.sample(group),
            baseline=self.sample(group, side=1),
            identical=self.runs[0] == self.runs[1] and not self.changed[group],
            _scatter=self,
            _group=group,
        )

    def spread(self, group: int, weights: Sequence[float], *, sizes: Sequence[int]) -> Spread:
        """The spread of a weighted sum of the columns; ``sizes`` are those that tell how large a rounding error may be."""
        w = np.asarray(weights)
        n, means = int(self.n[group]), self.means[group]
        left, right = factors(len(w))
        # 0 · ∞ is nothing: what overflowed and is not asked for must not spoil the rest.
        used = (w[left] != 0) & (w[right] != 0)
        parts = (w[left] * w[right] * np.where(left == right, 1.0, 2.0))[used] * self.products[group][used]
        squares = math.fsum(parts) if np.isfinite(parts).all() else math.inf
        own = [float(self.products[group, size] / n + np.square(means[size])) for size in sizes] if n else [0.0]
        tiny = max(n * ROUNDING**2 * max(own), _CANCELLED * float(np.abs(parts).max(initial=0.0)) if len(parts) > 1 else 0.0)
        if squares <= tiny and math.isfinite(tiny):
            squares = 0.0
        asked = np.flatnonzero(w)
        mean = math.fsum(w[asked] * means[asked]) if np.isfinite(means[asked]).all() else math.nan
        few, codes = self.few.get(group, (None, None))
        spread = Spread(
            n=n,
            mean=mean,
            squares=squares,
            cubes=self._cubes(group, w) if squares else 0.0,
            values=None if few is None else _weighted(few[asked], w[asked]),
        )
        if not self.width:
            return spread
        keys, cluster_sizes, sums = self._consolidated
        at = slice(*np.searchsorted(keys, [group * self.width, (group + 1) * self.width]))
        members = None if codes is None else np.searchsorted(keys[at], codes + group * self.width)
        clustered = _weighted(sums[at].T[asked], w[asked]) if squares else np.zeros(at.stop - at.start)
        return replace(spread, sizes=cluster_sizes[at], sums=clustered, members=members)

    @property
    def means(self) -> Scores:
        """(G, P), of the columns."""
        means: Scores = (self.anchors + self.rests)[:, : columns_of(len(self.runs))]
        return means

    def _cubes(self, group: int, w: Scores) -> float:
        terms = [
            (1.0 if i == k else 3.0) * float(w[i] * w[j] * w[k]) * float(self.triples[group, at])
            for at, (i, j, k) in enumerate(triples(len(w)))
            if w[i] and w[j] and w[k]
        ]
        return sum(terms)

    @functools.cached_property
    def _consolidated(self) -> tuple[NDArray[np.int64], NDArray[np.int64], Scores]:
        """Keys, sizes and sums of all clusters, centred by the means of their groups."""
        if not self.clusters:
            return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64), np.empty((0, columns_of(len(self.runs))))
        keys, where = np.unique(np.concatenate([one.keys for one in self.clusters]), return_inverse=True)
        sizes = np.concatenate([one.sizes for one in self.clusters])
        sums = np.concatenate(
            [one.sums + one.sizes[:, None] * (one.centres - self.means)[one.keys // self.width] for one in self.clusters]
        )
        total = by_key(where, sums.T, len(keys))
        return keys, np.bincount(where, weights=sizes, minlength=len(keys)).astype(np.int64), total

    def _regrouped(self, one: ClusterSums, centre: Scores) -> ClusterSums:
        group = one.keys // self.width
        sums = one.sums + one.sizes[:, None] * (one.centres[group] - centre)
        return ClusterSums(one.keys - group * self.width, one.sizes, sums, centre)

    def _by_side(self, of_runs: Scores) -> Scores:
        starts = np.cumsum([0, *self.runs[:-1]])
        return np.add.reduceat(of_runs, starts, axis=1)


def _weighted(columns: Scores, weights: Scores) -> Scores:
    # No matrix product, whose order of summation is the business of the library behind it.
    weighted: Scores = (columns * weights[:, None]).sum(axis=0)
    return weighted

"""What is known of scores once they are summed up: all that inference about means needs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from metricgate.stats.batch import Codes, Scores

if TYPE_CHECKING:
    from metricgate.stats.scatter import Scatter


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How one number per example is spread.

    Attributes:
        n: The number of examples.
        mean: x̄.
        squares: Σ (x_i − x̄)²; 0 where the numbers are equal within rounding.
        cubes: Σ (x_i − x̄)³.
        sizes: (C,), the number of examples of each cluster, of clusters that have any; None where examples are independent.
        sums: (C,), Σ_{i in c} (x_i − x̄).
        values: (n,), the numbers, in no particular order, where there are fewer than ``FEW``.
        members: (n,), for each of the values its position in ``sizes``.
    """

    n: int
    mean: float
    squares: float
    cubes: float = 0.0
    sizes: NDArray[np.int64] | None = None
    sums: Scores | None = None
    values: Scores | None = None
    members: NDArray[np.int64] | None = None

    @classmethod
    def of(cls, scores: Scores, *, clusters: Codes | None = None) -> Spread:
        """Of one score per example, shape (n,)."""
        from metricgate.stats.scatter import Scatter

        return Scatter.of([scores[None]], clusters=clusters).sample().spread


@dataclass(frozen=True, kw_only=True)
class Sample:
    """Several runs of one side over the same examples, x_ki of run k and example i.

    Attributes:
        spread: Of x̄_i, the mean over runs.
        offsets: (K,), by how much the mean of each run differs from the mean of all.
        residual: Σ (x_ki − x̄_k − x̄_i + x̄)².
        binary: Whether all scores are 0 or 1.
        alike: Whether all runs have the same scores.
    """

    spread: Spread
    offsets: Scores
    residual: float
    binary: bool
    alike: bool

    @classmethod
    def of(cls, scores: Scores, *, clusters: Codes | None = None) -> Sample:
        """Of scores of shape (runs, n)."""
        from metricgate.stats.scatter import Scatter

        return Scatter.of([scores], clusters=clusters).sample()

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.spread.n

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self.offsets)

    @property
    def mean(self) -> float:
        """The mean over examples and runs."""
        return self.spread.mean

    @property
    def means(self) -> Scores:
        """(K,), the mean of each run."""
        return self.spread.mean + self.offsets

    @property
    def varies(self) -> bool:
        """Whether there are two different scores."""
        return self.spread.squares > 0 or not self.alike


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two sides over the same examples.

    Attributes:
        candidate: The first side.
        baseline: The second.
        identical: Whether both have as many runs, and run by run the same scores.
    """

    candidate: Sample
    baseline: Sample
    identical: bool
    _scatter: Scatter = field(repr=False, compare=False)
    _group: int = field(repr=False, compare=False)

    @classmethod
    def of(cls, candidate: Scores, baseline: Scores, *, clusters: Codes | None = None) -> Pair:
        """Of scores of shape (K_c, n) and (K_b, n)."""
        from metricgate.stats.scatter import Scatter

        return Scatter.of([candidate, baseline], clusters=clusters).pair()

    @property
    def n(self) -> int:
        """The number of examples."""
        return self.candidate.n

    def difference(self, *, baseline_weight: float = 1.0) -> Spread:
        """The spread of candidate − weight · baseline, example by example."""
        return self._scatter.spread(self._group, [1.0, 0.0, 1.0 - baseline_weight], sizes=(1, 2))

"""Degrees of freedom of a mean over clusters of unequal sizes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metricgate.stats.inference import UndecidableError

_FEW = 5
_BIASED = 1.75
"""With up to five clusters the estimated variance may be too small by no more than this factor: beyond it the test rejects
up to four times too often, and no choice of degrees of freedom cures that."""


def degrees_of_freedom(sizes: NDArray[np.int64] | NDArray[np.float64]) -> float:
    """Those of the cluster-robust variance C/(C − 1) · Σ_c (w_c (x̄_c − x̄))², w_c = n_c / n: C − 1 for equal sizes, else fewer.

    The variance is a quadratic form in the means of the clusters, A = M'W²M, M = I − 1w', W = diag(w), and has
    tr(A)² / tr(A²) degrees of freedom where the clusters' means vary alike. One large cluster among many small ones counts as
    little more than one: C − 1 would block up to five times as often as alpha says.

    Args:
        sizes: (C,), the number of examples of each cluster.

    Raises:
        UndecidableError: One cluster, or so few of so different sizes that their variance can't be told.

    References:
        Bell, McCaffrey, Survey Methodology 28 (2002) 169-181; Imbens, Kolesár, Review of Economics and Statistics 98 (2016)
        701-712.

    >>> round(degrees_of_freedom(np.array([5, 5, 5, 5])), 9)
    3.0
    >>> round(degrees_of_freedom(np.array([100, 20, 20, 20, 20, 20])), 1)
    2.0
    """
    count = len(sizes)
    if count < 2:
        raise UndecidableError("all examples are in one cluster; two clusters are the least that have a variance")
    w = sizes / sizes.sum()
    squares, cubes, fourths, fifths = (float((w**power).sum()) for power in (2, 3, 4, 5))
    trace = squares - 2 * cubes + squares**2
    of_square = (
        fourths
        + 2 * (squares * fourths - 2 * fifths)
        + 2 * cubes**2
        + 2 * squares * fourths
        - 4 * squares**2 * cubes
        + squares**4
    )
    bias = squares / trace * (count - 1) / count
    if count <= _FEW and bias > _BIASED:
        largest = 100 * float(w.max())
        raise UndecidableError(f"the largest of {count} clusters has {largest:.0f}% of the examples: too few, and too unequal")
    return min(trace * trace / of_square, count - 1.0)

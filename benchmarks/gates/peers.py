"""How others decide that a number got worse: each function takes the evidence of one pair and says whether it would block.

Runs are rows: every argument is a matrix of 0/1 scores of shape (runs, examples), paired by column.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.gates.study import Scores
from metricgate.stats import adaptive


def drop(candidate: Scores, baseline: Scores, *, by: float = 0.0) -> bool:
    """A threshold on the difference of two numbers, as in most hand-written checks.

    TensorFlow Model Analysis decides this way too: its change threshold looks at the difference alone, and its confidence
    intervals are shown beside it (evaluators/metrics_validator.py).
    """
    return bool(baseline.mean() - candidate.mean() > by)


def unpaired_z(candidate: Scores, baseline: Scores, *, level: float) -> bool:
    """lm-evaluation-harness, scripts/model_comparator.py: z from two accuracies and their standard errors.

    It tests in both directions at 0.05; a gate blocks only what got worse, 0.025.
    """
    one, other = candidate[0], baseline[0]
    variance = one.var(ddof=1) / len(one) + other.var(ddof=1) / len(other)
    z = (one.mean() - other.mean()) / math.sqrt(variance)
    return bool(special.ndtr(z) <= level)


def asv(candidate: Scores, baseline: Scores, *, factor: float = 1.1) -> bool:
    """airspeed velocity, `asv continuous`: slower by the factor, and Mann-Whitney's p below 0.002 (asv/statistics.py).

    What is compared is the median error rate, smaller being better as for a timing; a run is one sample. With one sample a
    side only the factor counts; with too few for such a p, 99% intervals of the two medians must not overlap.
    """
    ours, theirs = (1 - side.mean(axis=1) for side in (candidate, baseline))
    if min(len(ours), len(theirs)) > 1 and not _asv_differs(ours, theirs):
        return False
    return bool(np.median(theirs) < np.median(ours) / factor)


def _asv_differs(ours: NDArray[np.float64], theirs: NDArray[np.float64]) -> bool:
    if 1 / special.comb(len(ours) + len(theirs), len(ours)) < 0.002:
        return bool(stats.mannwhitneyu(ours, theirs, method="exact").pvalue < 0.002)
    one, other = _asv_interval(ours), _asv_interval(theirs)
    return one[1] < other[0] or other[1] < one[0]


def _asv_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The 99% interval of the median for fewer than eight values: quantiles of a posterior p(b) ~ (Σ |y − b|)^−n.

    Both tails of that density are powers, ∫ (Σ |y − b|)^−n db = (Σ |y − b|)^−(n−1) / (n (n − 1)) beyond the outermost values.
    """
    n, y = len(values), np.sort(values)
    if y[0] == y[-1]:
        return float(y[0]), float(y[0])
    tails = [float(np.abs(y - end).sum()) ** (1 - n) / (n * (n - 1)) for end in (y[0], y[-1])]
    grid = np.concatenate([np.linspace(a, b, 101)[:-1] for a, b in itertools.pairwise(y)] + [y[-1:]])
    inside = float(np.trapezoid(np.abs(y[:, None] - grid).sum(axis=0) ** -n, grid))
    wanted = 0.005 * (sum(tails) + inside)
    # Where a tail holds more than that, the quantile lies in it: there Σ |y − b| = n · |mean − b|.
    low, high = (
        side * (wanted * n * (n - 1)) ** (1 / (1 - n)) / n + y.mean() if wanted < tail else end
        for side, tail, end in zip((-1, 1), tails, (y[0], y[-1]), strict=True)
    )
    return float(low), float(high)


def bencher(candidate: Scores, earlier: Scores, boundary: float) -> bool:
    """Bencher's t_test threshold: below the t quantile of the history's mean and standard deviation.

    lib/bencher_boundary: the standard deviation is that of a population, and nothing is added for the error of the mean.
    """
    history = earlier.mean(axis=1)
    limit = history.mean() - special.stdtrit(len(history) - 1, boundary) * history.std()
    return bool(candidate.mean() < limit)


def prediction_interval(candidate: Scores, earlier: Scores, boundary: float) -> bool:
    """The t prediction interval for one more run: mean − t · s · sqrt(1 + 1/n)."""
    history = earlier.mean(axis=1)
    n = len(history)
    limit = history.mean() - special.stdtrit(n - 1, boundary) * history.std(ddof=1) * math.sqrt(1 + 1 / n)
    return bool(candidate[0].mean() < limit)


def jackknife(candidate: Scores, baseline: Scores, random: np.random.Generator, *, buckets: int = 20) -> bool:
    """TensorFlow Model Analysis, evaluators/jackknife.py: the 95% interval of the difference from 20 random buckets.

    Pseudo-values 20·θ − 19·θ_(−j) and Student's t with 19 degrees of freedom; blocked where the interval lies below 0.
    """
    difference = candidate[0] - baseline[0]
    bucket = random.integers(0, buckets, len(difference))
    left = len(difference) - np.bincount(bucket, minlength=buckets)
    without = (difference.sum() - np.bincount(bucket, weights=difference, minlength=buckets)) / left
    pseudo = buckets * difference.mean() - (buckets - 1) * without
    stderr = pseudo.std(ddof=1) / math.sqrt(buckets)
    return bool(difference.mean() + special.stdtrit(buckets - 1, 0.975) * stderr < 0)


def ease_ml(candidate: Scores, baseline: Scores, *, delta: float = 0.05) -> bool:
    """ease.ml/ci (SysML 2019): the condition n − o > 0 ± ε, ε what so many labels allow by Hoeffding's bound for one verdict.

    Blocked where n − o + ε < 0, its mode without false negatives. The other mode blocks whatever is not shown to be better.
    """
    clause = adaptive.Clause(weights={"n": 1.0, "o": -1.0}, greater=True, threshold=0.0, tolerance=1.0)
    bound = adaptive.split(clause, delta=delta)
    # The number of examples grows with 1/ε².
    tolerance = math.sqrt(bound.log_pieces / bound.rate / candidate.shape[1])
    return drop(candidate[:1], baseline[:1], by=tolerance)


def welch(candidate: Scores, baseline: Scores) -> bool:
    """Welch's t over the accuracies of the runs, one-sided 5%."""
    return bool(
        stats.ttest_ind(candidate.mean(axis=1), baseline.mean(axis=1), equal_var=False, alternative="less").pvalue <= 0.05
    )


def student(candidate: Scores, baseline: Scores) -> bool:
    """Student's t over the accuracies of the runs, one-sided 5%: for this fixed test set, and no other examples."""
    ours, theirs = candidate.mean(axis=1), baseline.mean(axis=1)
    return bool(stats.ttest_ind(ours, theirs, alternative="less").pvalue <= 0.05)

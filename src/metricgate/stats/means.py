"""Means of scores: examples crossed with training seeds, paired and unpaired, and of a candidate alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricgate.stats.coverage import TEST_SET, TRAINING
from metricgate.stats.inference import ROUNDING, Component, Exact, Inference, UndecidableError, combined
from metricgate.stats.noise import Noise
from metricgate.stats.proportions import PairedProportions, Proportion

Scores = NDArray[np.float64]
Codes = NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class Value:
    """A metric of one side that comes without scores.

    Attributes:
        value: Its mean over runs.
        runs: The number of runs.
        stderr: Its standard error over examples, where known.
        n: The number of examples, where known.
    """

    value: float
    runs: int
    stderr: float | None = None
    n: int | None = None


def paired_difference(
    candidate: Scores,
    baseline: Scores,
    *,
    baseline_weight: float = 1.0,
    clusters: Codes | None = None,
    noise: Noise | None = None,
) -> Inference:
    """The mean of candidate − weight · baseline over the same examples.

    With runs k and examples i, d_i the difference of the example means over runs, v_d its variance, a = 1/K_c + w²/K_b::

        Var(D) = a · s² + v_d/n − a · MS_res/n,  never below v_d/n

    with degrees of freedom by Satterthwaite. s² and MS_res come from ``noise``; without it the interval covers the test set
    only. One run of 0/1 scores a side is Tango's score test instead.

    Args:
        candidate: Shape (K_c, n).
        baseline: Shape (K_b, n), the same examples in the same order.
        baseline_weight: w; 1 for the difference, 1 − r for "at most r worse than the baseline, relative to it" (Fieller).
        clusters: Shape (n,): the cluster of each example, for examples that are not independent.
        noise: The training noise.

    Raises:
        UndecidableError: Fewer than two examples or clusters, or no variance where there has to be some.

    References:
        Dorfman, Berbaum, Metz, Investigative Radiology 27 (1992) 723; Obuchowski, Rockette, Communications in Statistics 24
        (1995) 285; clusters: Miller, arXiv:2411.00640.
    """
    n = candidate.shape[1]
    noise = noise if noise is not None and noise.variance > 0 else None
    plain = clusters is None and baseline_weight == 1.0
    identical = candidate.shape == baseline.shape and bool(np.array_equal(candidate, baseline))
    single = len(candidate) == len(baseline) == 1
    if plain and is_binary(candidate, baseline) and (identical or (single and noise is None)):
        return PairedProportions.of(candidate[0], baseline[0], covers=_covers(None if identical else noise))
    if identical and baseline_weight == 1.0 and float(np.ptp(candidate)) > 0:
        return Exact(estimate=0.0, n=n, method="identical scores", covers="every example has the score it had before")
    difference = candidate.mean(axis=0) - baseline_weight * baseline.mean(axis=0)
    scale = max(float(np.abs(candidate).max()), float(np.abs(baseline).max()))
    examples = mean_variance(difference, clusters=clusters, scale=scale)
    if examples.variance == 0 and noise is None:
        raise UndecidableError("every example changed by exactly the same amount: there is no variance to judge by")
    weight = 1 / len(candidate) + baseline_weight**2 / len(baseline)
    kind = "paired t" if noise is None else "examples × seeds, paired"
    training, counted_twice = _training(noise, (weight, n))
    return combined(
        estimate=float(difference.mean()),
        examples=[examples],
        training=training,
        counted_twice=counted_twice,
        n=n,
        method=kind + (", clustered" if clusters is not None else ""),
        covers=_covers(noise),
    )


def unpaired_difference(
    candidate: Scores | Value,
    baseline: Scores | Value,
    *,
    baseline_weight: float = 1.0,
    candidate_clusters: Codes | None = None,
    baseline_clusters: Codes | None = None,
    noise: Noise | None = None,
) -> Inference:
    """The mean of candidate − weight · baseline where the examples can't be paired: Welch's t, with the training noise added.

    Each side is a matrix of scores or a value with its standard error. A value without standard error counts by the
    training noise alone, and exactly where there is none.

    Raises:
        UndecidableError: As ``paired_difference``.

    References:
        Welch, Biometrika 34 (1947) 28.
    """
    noise = noise if noise is not None and noise.variance > 0 else None
    sides = [(candidate, candidate_clusters, 1.0), (baseline, baseline_clusters, baseline_weight)]
    estimate = _mean(candidate) - baseline_weight * _mean(baseline)
    parts: list[Component] = []
    shares: list[tuple[float, int | None]] = []
    for side, clusters, weight in sides:
        own = _own_variance(side, clusters)
        if own is not None:
            parts.append(Component(weight**2 * own.variance, own.df))
        shares.append((weight**2 / _runs(side), _examples(side) if own is not None else None))
    training, counted_twice = _training(noise, *shares)
    n = min(_examples(candidate) or _runs(candidate), _examples(baseline) or _runs(baseline))
    if not parts and training is None:
        return Exact(estimate=estimate, n=n, scale=max(abs(_mean(candidate)), abs(baseline_weight * _mean(baseline))))
    return combined(
        estimate=estimate,
        examples=parts,
        training=training,
        counted_twice=counted_twice,
        n=n,
        method="Welch t" if noise is None else "Welch t, with training noise" if parts else "t over runs",
        covers=_covers(noise) if parts else TRAINING,
    )


def mean(scores: Scores | Value, *, clusters: Codes | None = None, noise: Noise | None = None) -> Inference:
    """The mean of one side alone, for an absolute bound: Var = s²/K + v/n − MS_res/(K·n), never below v/n.

    One run of 0/1 scores is Wilson's score interval instead.

    Raises:
        UndecidableError: As ``paired_difference``.
    """
    noise = noise if noise is not None and noise.variance > 0 else None
    if not isinstance(scores, Value):
        alike = bool((scores == scores[0]).all())
        if clusters is None and is_binary(scores) and alike and (noise is None or float(np.ptp(scores)) == 0):
            return Proportion.of(scores[0], covers=_covers(None))
    own = _own_variance(scores, clusters)
    n = _examples(scores) or _runs(scores)
    training, counted_twice = _training(noise, (1 / _runs(scores), _examples(scores) if own is not None else None))
    if own is None and training is None:
        return Exact(estimate=_mean(scores), n=n)
    if own is not None and own.variance == 0 and training is None:
        raise UndecidableError("every example has the same score: there is no variance to judge by")
    return combined(
        estimate=_mean(scores),
        examples=[own] if own else [],
        training=training,
        counted_twice=counted_twice,
        n=n,
        method=("t" if noise is None else "examples × seeds" if own else "t over runs")
        + (", clustered" if clusters is not None else ""),
        covers=_covers(noise) if own else TRAINING,
    )


def summary(scores: Scores, *, clusters: Codes | None = None) -> Value:
    """Several runs whose examples are in no known order: the mean over runs and the standard error of a single run.

    Averaging over runs row by row would take different examples for one.

    Raises:
        UndecidableError: As ``mean_variance``.
    """
    variances = [mean_variance(run, clusters=clusters).variance for run in scores]
    return Value(
        value=float(scores.mean()), runs=len(scores), stderr=math.sqrt(math.fsum(variances) / len(scores)), n=scores.shape[1]
    )


def mean_variance(scores: NDArray[np.float64], *, clusters: Codes | None = None, scale: float | None = None) -> Component:
    """The variance of the mean of one score per example, and its degrees of freedom.

    Differences within rounding of ``scale`` (by default the largest score) count as none.

    With clusters: C/(C − 1) · Σ_c (Σ_{i in c} (x_i − x̄))² / n², C − 1 degrees of freedom.

    Raises:
        UndecidableError: Fewer than two examples or clusters.
    """
    n = len(scores)
    if n < 2:
        raise UndecidableError(f"there is {n} example; two are the least that have a variance")
    # What differs by no more than rounding is equal: a variance of 1e-33 would make any difference infinitely significant.
    equal = float(np.ptp(scores)) <= ROUNDING * (scale if scale is not None else float(np.abs(scores).max()))
    deviations = np.zeros(n) if equal else scores - scores.mean()
    if clusters is None:
        return Component(float(np.dot(deviations, deviations)) / (n - 1) / n, n - 1)
    sums = np.bincount(clusters, weights=deviations)[np.unique(clusters)]
    if len(sums) < 2:
        raise UndecidableError("all examples are in one cluster; two clusters are the least that have a variance")
    return Component(len(sums) / (len(sums) - 1) * float(np.dot(sums, sums)) / n**2, len(sums) - 1)


def is_binary(*matrices: Scores) -> bool:
    """Whether all scores are 0 or 1."""
    return all(bool(((scores == 0) | (scores == 1)).all()) for scores in matrices)


def _training(noise: Noise | None, *shares: tuple[float, int | None]) -> tuple[Component | None, Component | None]:
    """The part of the variance that comes from training, and what the variance over examples holds of it already.

    Both sides' noise is one and the same estimate, so their weights add up before its degrees of freedom count.

    Args:
        noise: The training noise.
        shares: For each side its weight (1/K for the mean of K runs) and its number of examples; None where the variance
            over examples, which holds the residual once already, is not part of the sum.
    """
    if noise is None:
        return None, None
    training = Component(math.fsum(weight for weight, _ in shares) * noise.variance, noise.df)
    return training, Component(math.fsum(weight / n for weight, n in shares if n) * noise.residual, noise.residual_df)


def _own_variance(side: Scores | Value, clusters: Codes | None) -> Component | None:
    if isinstance(side, Value):
        if side.stderr is None:
            return None
        return Component(side.stderr**2, side.n - 1 if side.n and side.n > 1 else math.inf)
    return mean_variance(side.mean(axis=0), clusters=clusters)


def _mean(side: Scores | Value) -> float:
    return side.value if isinstance(side, Value) else float(side.mean())


def _runs(side: Scores | Value) -> int:
    return side.runs if isinstance(side, Value) else len(side)


def _examples(side: Scores | Value) -> int | None:
    return side.n if isinstance(side, Value) else side.shape[1]


def _covers(noise: Noise | None) -> str:
    if noise is None:
        return f"{TEST_SET} only"
    return f"{TEST_SET} and {TRAINING} {noise.source}".rstrip()

"""Means of scores: examples crossed with training seeds, paired and unpaired, and of a candidate alone."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metricgate.stats import choice, tails
from metricgate.stats import clusters as cluster_sizes
from metricgate.stats.choice import Facts
from metricgate.stats.coverage import TEST_SET, TRAINING
from metricgate.stats.inference import Component, Exact, Inference, UndecidableError, combined
from metricgate.stats.noise import Noise
from metricgate.stats.proportions import PairedProportions, Proportion
from metricgate.stats.scatter import Codes, Pair, Sample, Scores, Spread
from metricgate.stats.sign_flip import SignFlip

_LOPSIDED = 1.0
"""One standard error of skewness. Turning signs takes for granted that differences are symmetric; fewer than 30 that are more
lopsided are left to t and its correction for skewness. With exponential ones signs alone would block 14% at alpha 0.05."""


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
    """``paired`` of scores in memory, of shape (K_c, n) and (K_b, n), the same examples in the same order.

    Args:
        candidate: Shape (K_c, n).
        baseline: Shape (K_b, n).
        baseline_weight: As in ``paired``.
        clusters: Shape (n,): the cluster of each example, for examples that are not independent.
        noise: The training noise.

    Raises:
        UndecidableError: As ``paired``.

    >>> latency = np.random.default_rng(0).gamma(9.0, size=(1, 400))
    >>> slower = latency + np.random.default_rng(1).normal(0.2, 1.0, size=(1, 400))
    >>> result = paired_difference(slower, latency)
    >>> result.method, round(result.estimate, 3), round(result.p_value(null=0.1, alternative="greater"), 4)
    ('paired t', 0.118, 0.3471)
    """
    return paired(Pair.of(candidate, baseline, clusters=clusters), baseline_weight=baseline_weight, noise=noise)


def paired(pair: Pair, *, baseline_weight: float = 1.0, noise: Noise | None = None) -> Inference:
    """The mean of candidate − weight · baseline over the same examples.

    With runs k and examples i, d_i the difference of the example means over runs, v_d its variance, a = 1/K_c + w²/K_b::

        Var(D) = a · s² + v_d/n − a · MS_res/n,  never below v_d/n

    with degrees of freedom by Satterthwaite. s² and MS_res come from ``noise``; without it the interval covers the test set
    only. One run of 0/1 scores a side is Tango's score test instead, and fewer than 30 others without noise or clusters are the
    sign-flip test, unless they are lopsided.

    Args:
        pair: The scores of both sides, summed up.
        baseline_weight: w; 1 for the difference, 1 − r for "at most r worse than the baseline, relative to it" (Fieller).
        noise: The training noise.

    Raises:
        UndecidableError: Fewer than two examples or clusters, or no variance where there has to be some.

    References:
        Dorfman, Berbaum, Metz, Investigative Radiology 27 (1992) 723; Obuchowski, Rockette, Communications in Statistics 24
        (1995) 285; clusters: Miller, arXiv:2411.00640.
    """
    candidate, baseline, n = pair.candidate, pair.baseline, pair.n
    noise = _known(noise)
    difference = pair.difference(baseline_weight=baseline_weight)
    method = choice.choose(facts_of_pair(pair, baseline_weight=baseline_weight, noise=noise)).method
    if method == "score test":
        return _turned(difference, covers=_covers(None if pair.identical else noise))
    if method == "identical":
        return Exact(estimate=0.0, n=n, method="identical scores", covers="every example has the score it had before")
    examples = mean_variance(difference)
    if examples.variance == 0 and noise is None:
        if candidate.varies or baseline.varies:
            raise UndecidableError("every example changed by exactly the same amount: there is no variance to judge by")
        instead = "; an absolute limit could be judged" if candidate.binary and baseline.binary else ""
        raise UndecidableError(f"all examples have one score on each side: there is no variance to judge by{instead}")
    if method == "sign flips" and difference.values is not None:
        return SignFlip(differences=tuple(float(value) for value in difference.values), covers=_covers(None))
    if noise is None and difference.sizes is None and difference.values is not None:
        examples = examples._replace(third=_lopsided(difference) / n**3)
    weight = 1 / candidate.runs + baseline_weight**2 / baseline.runs
    kind = "paired t" if noise is None else "examples × seeds, paired"
    training, counted_twice = _training(noise, (weight, n))
    return combined(
        estimate=difference.mean,
        examples=[examples],
        training=training,
        counted_twice=counted_twice,
        n=n,
        method=kind + _clustered(difference),
        covers=_covers(noise),
    )


def unpaired_difference(
    candidate: Scores | Sample | Value,
    baseline: Scores | Sample | Value,
    *,
    baseline_weight: float = 1.0,
    candidate_clusters: Codes | None = None,
    baseline_clusters: Codes | None = None,
    noise: Noise | None = None,
) -> Inference:
    """The mean of candidate − weight · baseline where the examples can't be paired: Welch's t, with the training noise added.

    Each side is a matrix of scores, the same summed up, or a value with its standard error. A value without standard error
    counts by the training noise alone, and exactly where there is none.

    Raises:
        UndecidableError: As ``paired``.

    References:
        Welch, Biometrika 34 (1947) 28.

    >>> result = unpaired_difference(Value(value=0.91, runs=1, stderr=0.004), Value(value=0.93, runs=1, stderr=0.003))
    >>> round(result.p_value(null=0.0, alternative="less"), 6)
    3.2e-05
    """
    noise = _known(noise)
    one, other = _summed(candidate, candidate_clusters), _summed(baseline, baseline_clusters)
    estimate = _mean(one) - baseline_weight * _mean(other)
    parts: list[Component] = []
    shares: list[tuple[float, int | None]] = []
    for side, weight in ((one, 1.0), (other, -baseline_weight)):
        own = _own_variance(side)
        if own is not None:
            parts.append(Component(weight**2 * own.variance, own.df, weight**3 * own.third))
        shares.append((weight**2 / side.runs, side.n if own is not None else None))
    training, counted_twice = _training(noise, *shares)
    n = min(one.n or one.runs, other.n or other.runs)
    if not parts and training is None:
        return Exact(estimate=estimate, n=n, scale=max(abs(_mean(one)), abs(baseline_weight * _mean(other))))
    return combined(
        estimate=estimate,
        examples=parts,
        training=training,
        counted_twice=counted_twice,
        n=n,
        method="Welch t" if noise is None else "Welch t, with training noise" if parts else "t over runs",
        covers=_covers(noise) if parts else TRAINING,
    )


def mean(scores: Scores | Sample | Value, *, clusters: Codes | None = None, noise: Noise | None = None) -> Inference:
    """The mean of one side alone, for an absolute bound: Var = s²/K + v/n − MS_res/(K·n), never below v/n.

    One run of 0/1 scores is one proportion instead.

    Raises:
        UndecidableError: As ``paired``.

    >>> result = mean(np.array([[1.0] * 95 + [0.0] * 5]))
    >>> result.method, round(result.p_value(null=0.9, alternative="greater"), 4)
    ('exact binomial test', 0.0576)
    """
    noise = _known(noise)
    side = _summed(scores, clusters)
    if isinstance(side, Sample) and choice.choose(facts_of_one(side, noise=noise)).method == "binomial test":
        return Proportion(successes=round(side.mean * side.n), n=side.n, covers=_covers(None))
    clustered = _clustered(side.spread) if isinstance(side, Sample) else ""
    own = _own_variance(side)
    n = side.n or side.runs
    training, counted_twice = _training(noise, (1 / side.runs, side.n if own is not None else None))
    if own is None and training is None:
        return Exact(estimate=_mean(side), n=n)
    if own is not None and own.variance == 0 and training is None:
        raise UndecidableError("every example has the same score: there is no variance to judge by")
    return combined(
        estimate=_mean(side),
        examples=[own] if own else [],
        training=training,
        counted_twice=counted_twice,
        n=n,
        method=("t" if noise is None else "examples × seeds" if own else "t over runs") + clustered,
        covers=_covers(noise) if own else TRAINING,
    )


def facts_of_pair(pair: Pair, *, baseline_weight: float, noise: Noise | None) -> Facts:
    """What there is to choose the method of ``paired`` by."""
    candidate, baseline = pair.candidate, pair.baseline
    difference = pair.difference(baseline_weight=baseline_weight)
    binary = candidate.binary and baseline.binary
    return Facts(
        sides="paired",
        examples=pair.n,
        binary=binary,
        identical=pair.identical,
        varied=candidate.varies and pair.n > 1,
        symmetric=difference.values is not None and _lopsided(difference) == 0,
        several=max(candidate.runs, baseline.runs) > 1,
        noise=_known(noise) is not None,
        clustered=difference.sizes is not None,
        relative=baseline_weight != 1.0,
    )


def facts_of_two(candidate: Sample | Value, baseline: Sample | Value, *, noise: Noise | None) -> Facts:
    """What there is to choose the method of ``unpaired_difference`` by."""
    known = [side.n or side.runs for side in (candidate, baseline) if isinstance(side, Sample) or side.stderr is not None]
    return Facts(sides="apart", examples=min(known, default=0), noise=_known(noise) is not None)


def facts_of_one(side: Sample | Value, *, noise: Noise | None) -> Facts:
    """What there is to choose the method of ``mean`` by."""
    known = _known(noise) is not None
    if isinstance(side, Value):
        return Facts(sides="alone", examples=0 if side.stderr is None else side.n or side.runs, noise=known)
    clustered = side.spread.sizes is not None
    binary = side.binary and side.alike
    constant = binary and not side.varies and not clustered
    several = side.runs > 1 and not side.alike
    return Facts(
        sides="alone", examples=side.n, binary=binary, several=several, noise=known and not constant, clustered=clustered
    )


def summary(runs: Sequence[Sample]) -> Value:
    """Several runs whose examples are in no known order: the mean over runs and the standard error of a single run.

    Averaging over runs row by row would take different examples for one.

    Args:
        runs: One sample of a single run each.

    Raises:
        UndecidableError: As ``mean_variance``.
    """
    variances = [mean_variance(run.spread).variance for run in runs]
    return Value(
        value=math.fsum(run.mean for run in runs) / len(runs),
        runs=len(runs),
        stderr=math.sqrt(math.fsum(variances) / len(runs)),
        n=runs[0].n,
    )


def mean_variance(scores: Scores | Spread, *, clusters: Codes | None = None) -> Component:
    """The variance of the mean of one score per example, and its degrees of freedom.

    With clusters: C/(C − 1) · Σ_c (Σ_{i in c} (x_i − x̄))² / n², C − 1 degrees of freedom, fewer for clusters of unequal sizes.

    Args:
        scores: Shape (n,), or the same summed up.
        clusters: Shape (n,), of scores in memory.

    Raises:
        UndecidableError: Fewer than two examples or clusters.

    References:
        Miller, arXiv:2411.00640.

    >>> round(mean_variance(np.arange(20.0), clusters=np.arange(20) % 4).variance ** 0.5, 7)
    0.6454972
    """
    spread = scores if isinstance(scores, Spread) else Spread.of(scores, clusters=clusters)
    n = spread.n
    if n < 2:
        raise UndecidableError(f"there is {n} example; two are the least that have a variance")
    if spread.sums is None or spread.sizes is None:
        third = tails.third_moment(cubes=spread.cubes, squares=spread.squares, count=n)
        return Component(spread.squares / (n - 1) / n, n - 1, third / n**3)
    count = len(spread.sums)
    df = cluster_sizes.degrees_of_freedom(spread.sizes)
    squares = float(np.square(spread.sums).sum())
    third = tails.third_moment(cubes=float((spread.sums**3).sum()), squares=squares, count=count)
    return Component(count / (count - 1) * squares / n**2, df, third / n**3)


def _known(noise: Noise | None) -> Noise | None:
    return noise if noise is not None and noise.variance > 0 else None


def _lopsided(difference: Spread) -> float:
    return tails.third_moment(cubes=difference.cubes, squares=difference.squares, count=difference.n, notable=_LOPSIDED)


def _turned(difference: Spread, *, covers: str) -> PairedProportions:
    """Tango's test, from the differences of 0/1 scores: their sum is b − c, that of their squares b + c."""
    n = difference.n
    balance = round(difference.mean * n)
    changed = round(difference.squares + n * difference.mean**2)
    return PairedProportions(better=(changed + balance) // 2, worse=(changed - balance) // 2, n=n, covers=covers)


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


def _summed(side: Scores | Sample | Value, clusters: Codes | None) -> Sample | Value:
    return Sample.of(side, clusters=clusters) if isinstance(side, np.ndarray) else side


def _own_variance(side: Sample | Value) -> Component | None:
    if isinstance(side, Value):
        if side.stderr is None:
            return None
        return Component(side.stderr**2, side.n - 1 if side.n and side.n > 1 else math.inf)
    return mean_variance(side.spread)


def _mean(side: Sample | Value) -> float:
    return side.value if isinstance(side, Value) else side.mean


def _clustered(spread: Spread) -> str:
    return "" if spread.sizes is None else ", clustered"


def _covers(noise: Noise | None) -> str:
    if noise is None:
        return f"{TEST_SET} only"
    return f"{TEST_SET} and {TRAINING} {noise.source}".rstrip()

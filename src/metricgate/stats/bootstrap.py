"""The BCa bootstrap of set-level metrics: of one side, of a difference over the same examples, and of two independent sides.

Efron, JASA 82 (1987) 171: percentiles of the resampled metric, corrected for its bias (z0) and for how its spread changes with
its value (a, from influence values). These make it fast and safe:

- What is resampled are the fewest units with the same distribution: the cells of a table of classes, by one multinomial draw;
  whole clusters; else examples, or blocks of them (``resampling``).
- Percentiles are those of Student's t, with √(n/(n − 1)), instead of the normal distribution's, since the bootstrap is too
  narrow for few examples (Hesterberg, The American Statistician 69 (2015) 371). Its degrees of freedom are those of the
  variance of the influence values, 2n/(κ − 1) for a kurtosis of κ: about twice the number of examples that decide, where these
  are few.
- Of the BCa interval and the plain percentiles the one that reaches farther counts on each side, since for few examples the
  corrections are noise themselves: with 20 positives among 200 examples, BCa alone called 7% of equal models worse at 5%.
- Where a few examples decide, or the metric is biased or often not defined, the answer is that nothing can be said.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import special

from metricgate.stats import jackknife, resampling
from metricgate.stats.batch import Codes
from metricgate.stats.coverage import TEST_SET
from metricgate.stats.inference import Alternative, Exact, Inference, Interval, UndecidableError, t_cdf, t_quantile
from metricgate.stats.set_metrics import Custom, Sample, SetMetric, Vector, deciding

RESAMPLES_OF_FUNCTIONS = 2_000
"""Where each costs a call of a function of the user's."""
LEAST_DF = 8.0
"""About twice the number of examples that decide; with fewer nothing is known about the spread."""

_SEED = 20_240_229
_MOST_ACCELERATION = 0.2
_MOST_BIAS = 1.0
_MOST_UNDEFINED = 0.01


@dataclass(frozen=True, eq=False, kw_only=True)
class Resampled:
    """The metric of one or two samples, resampled together: every difference of them comes from the same draws.

    Attributes:
        values: The metric of each sample.
        draws: Its resampled values, each of shape (resamples,).
        shares: For each sample, what every unit adds to its value to first order, shape (units,).
        n: The number of examples of the smallest sample.
        units: How many independent things were drawn from: examples or clusters.
        method: In words.
        paired: Whether the samples have the same units.
        changed: How many examples two samples differ in; None for independent samples, and where clusters are drawn.
        classes: Whether predictions are classes: different models often have the same, and never the same numbers.
    """

    values: tuple[float, ...]
    draws: tuple[Vector, ...]
    shares: tuple[Vector, ...]
    n: int
    units: int
    method: str
    paired: bool = True
    changed: int | None = None
    classes: bool = False

    def difference(self, *, baseline_weight: float = 1.0) -> Inference:
        """The first sample's metric − weight · the second's.

        Raises:
            UndecidableError: A few examples decide, or the metric is biased or often not defined.
        """
        weights = (1.0, -baseline_weight)
        if self.changed == 0 and baseline_weight == 1.0 and not self.classes:
            covers = "every example has the prediction it had before"
            return Exact(estimate=0.0, n=self.n, method="identical predictions", covers=covers)
        if self.changed is not None and baseline_weight == 1.0 and deciding(self._shares(weights)) < LEAST_DF:
            step = max(float(np.ptp(share)) for share in self.shares)
            if step == 0:
                raise UndecidableError("no example moves the metric: there is no variance to judge by")
            return FewChanges(estimate=self.values[0] - self.values[1], changed=self.changed, step=step, n=self.n)
        return self._combined(weights)

    def alone(self) -> Bootstrapped:
        """The first sample's metric.

        Raises:
            UndecidableError: As ``difference``.
        """
        return self._combined((1.0,))

    def _combined(self, weights: Sequence[float]) -> Bootstrapped:
        estimate = math.fsum(w * value for w, value in zip(weights, self.values, strict=False))
        draws = sum((w * draw for w, draw in zip(weights, self.draws, strict=False)), np.zeros_like(self.draws[0]))
        scale = max(abs(value) for value in self.values)
        return _bca(estimate, draws, self._shares(weights), scale=scale, n=self.n, units=self.units, method=self.method)

    def _shares(self, weights: Sequence[float]) -> Vector:
        parts = [w * share for w, share in zip(weights, self.shares, strict=False)]
        return sum(parts[1:], parts[0]) if self.paired else np.concatenate(parts)


@dataclass(frozen=True, eq=False, kw_only=True)
class Bootstrapped:
    """An estimate with the distribution of its resamples.

    Attributes:
        resamples: Sorted, all finite.
        bias: z0, the normal quantile of the share of resamples below the estimate.
        acceleration: a, a sixth of the skewness of the estimate.
        df: Degrees of freedom; infinite for the plain BCa of Efron.
        stretch: √(units/(units − 1)), or 1 for the plain BCa.
        undefined: How many resamples had no value; they count against every answer.
        cautious: Whether the percentiles without correction count too, where they say less.
    """

    estimate: float
    resamples: Vector
    bias: float
    acceleration: float
    df: float
    n: int
    method: str
    stretch: float = 1.0
    undefined: int = 0
    cautious: bool = True
    covers: str = field(default=f"{TEST_SET} only")

    def interval(self, level: float) -> Interval:
        """Percentiles of the resamples at Φ(z0 + (z0 + z)/(1 − a(z0 + z))), or at Φ(z) where those lie farther out."""
        half = self.stretch * t_quantile(0.5 + level / 2, df=self.df)
        lows, highs = ([self._at(z, *way) for way in self._ways] for z in (-half, half))
        return Interval(min(lows), max(highs), level)

    @property
    def _ways(self) -> tuple[tuple[float, float], ...]:
        """Bias and acceleration by which to correct."""
        corrected = (self.bias, self.acceleration)
        return (corrected, (0.0, 0.0)) if self.cautious else (corrected,)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """The level at which a bound of the one-sided interval is ``null``; never below 1/(resamples + 1)."""
        total = len(self.resamples) + self.undefined
        below = (np.searchsorted(self.resamples, null, "left") + np.searchsorted(self.resamples, null, "right")) / 2
        # A resample without a value counts against what is to be shown.
        unfavourable = below + self.undefined if alternative == "greater" else below
        share = min(max(unfavourable, 1.0), total - 1.0) / total
        found = 1 / (total + 1)
        for bias, acceleration in self._ways:
            away = float(special.ndtri(share)) - bias
            z = away / (1 + acceleration * away) - bias
            found = max(found, t_cdf((z if alternative == "greater" else -z) / self.stretch, df=self.df))
        return found

    def _at(self, z: float, bias: float, acceleration: float) -> float:
        moved = bias + z
        level = float(special.ndtr(bias + moved / max(1 - acceleration * moved, 1e-3)))
        # Resamples without a value could lie anywhere: as many places farther out.
        total = len(self.resamples)
        extra = self.undefined / total
        level = level - extra if level < 0.5 else level + extra
        return float(np.quantile(self.resamples, min(max(level, 0.0), 1.0)))


def paired(
    metric: SetMetric, candidate: Sample, baseline: Sample, *, clusters: Codes | None = None, resamples: int | None = None
) -> Resampled:
    """Resample two predictions of the same examples together.

    Args:
        metric: What is computed of each side.
        candidate: The first sample.
        baseline: The second one, of the same examples in the same order, so with the same labels and weights.
        clusters: Shape (n,): the cluster of each example, for examples that are not independent.
        resamples: How many; by default 10,000, or 2,000 for a function of the user's.

    Raises:
        UndecidableError: The metric is not defined on one side, or there are fewer than two examples or clusters.

    >>> rng = np.random.default_rng(1)
    >>> truth = (rng.random(2_000) < 0.4).astype(float)
    >>> good = np.where(rng.random(2_000) < 0.9, truth, 1 - truth)
    >>> poor = np.where(rng.random(2_000) < 0.1, 1 - good, good)
    >>> from metricgate.stats import set_metrics
    >>> f1 = set_metrics.by_name()["f1"]
    >>> found = paired(f1, Sample(label=truth, prediction=poor), Sample(label=truth, prediction=good)).difference()
    >>> found.interval(0.95).high < 0
    True
    """
    return _resampled(metric, (candidate, baseline), clusters=clusters, resamples=resamples)


def alone(metric: SetMetric, sample: Sample, *, clusters: Codes | None = None, resamples: int | None = None) -> Resampled:
    """Resample one side.

    Raises:
        UndecidableError: As ``paired``.
    """
    return _resampled(metric, (sample,), clusters=clusters, resamples=resamples)


def independent(one: Resampled, other: Resampled) -> Resampled:
    """Two sides that were resampled alone, with different examples."""
    # The same seed drew both: another order of the one makes them independent.
    shuffled = np.random.default_rng(_SEED + 1).permutation(other.draws[0])
    return Resampled(
        values=(one.values[0], other.values[0]),
        draws=(one.draws[0], shuffled),
        shares=(one.shares[0], other.shares[0]),
        n=min(one.n, other.n),
        units=min(one.units, other.units),
        method=f"{one.method}, unpaired",
        paired=False,
    )


def _resampled(metric: SetMetric, samples: tuple[Sample, ...], *, clusters: Codes | None, resamples: int | None) -> Resampled:
    n = samples[0].n
    codes = None if clusters is None else np.unique(clusters, return_inverse=True)[1]
    units = n if codes is None else int(codes.max(initial=-1)) + 1
    if units < 2:
        what = "example" if codes is None else "cluster"
        raise UndecidableError(f"there is {units} {what}; two are the least that have a variance")
    values = tuple(metric.value(sample) for sample in samples)
    shares = tuple(_shares(metric, sample, codes, units) for sample in samples)
    custom = isinstance(metric, Custom)
    count = resamples or (RESAMPLES_OF_FUNCTIONS if custom else resampling.RESAMPLES)
    generator = np.random.default_rng(_SEED)
    draw, chunk, limit = resampling.drawing(metric, samples, shares, codes, units)
    if resamples is None and not custom:
        count = max(min(count, limit), RESAMPLES_OF_FUNCTIONS)
    parts = [draw(generator, size) for size in _sizes(count, chunk)]
    draws = tuple(np.concatenate([part[side] for part in parts]) for side in range(len(samples)))
    by = "" if codes is None else " of clusters"
    method = f"BCa bootstrap{by}, {count:,} resamples"
    changed = None
    if len(samples) > 1 and codes is None:
        changed = int(np.count_nonzero(samples[0].prediction != samples[1].prediction))
    return Resampled(
        values=values,
        draws=draws,
        shares=shares,
        n=n,
        units=units,
        method=method,
        changed=changed,
        classes=metric.inputs in {"classes", "two classes"},
    )


def _sizes(count: int, chunk: int) -> Iterator[int]:
    for start in range(0, count, chunk):
        yield min(chunk, count - start)


def _shares(metric: SetMetric, sample: Sample, codes: NDArray[np.intp] | None, units: int) -> Vector:
    """What each unit adds to the metric, to first order: its influence values, summed, over n."""
    influence = metric.influence(sample)
    if influence is None:
        own = None if codes is None else codes.astype(np.int32)
        pseudo, _ = jackknife.pseudo_scores(metric, sample, clusters=own)
        groups: Vector = (pseudo - pseudo.mean()) / len(pseudo)
        return groups
    influence = influence / sample.n
    return influence if codes is None else np.bincount(codes, weights=influence, minlength=units).astype(np.float64)


@dataclass(frozen=True, kw_only=True)
class FewChanges:
    """A difference that a few examples make, too few for their spread to be known; what it can't be is known all the same.

    No example adds more than ``step`` to the difference, so that a true difference beyond δ needs at least δ/step changed
    examples a sample, on average. That so few changed shows with Poisson's distribution that there are not that many::

        p = P(Poisson(δ/step) <= changed)

    It can show that nothing much was lost, and never that something was.
    """

    estimate: float
    changed: int
    step: float
    n: int
    method: str = "Poisson bound, few predictions changed"
    covers: str = f"{TEST_SET} only"
    df: float = math.inf

    def interval(self, level: float) -> Interval:
        """±step · the largest number of changes that ``changed`` leaves possible."""
        most = float(special.gammainccinv(self.changed + 1, (1 - level) / 2)) * self.step
        return Interval(-most, most, level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """1 where the alternative would have to be shown by changes themselves."""
        beyond = -null if alternative == "greater" else null
        return float(special.pdtr(self.changed, beyond / self.step)) if beyond > 0 else 1.0


def _bca(estimate: float, draws: Vector, shares: Vector, *, scale: float, n: int, units: int, method: str) -> Bootstrapped:
    defined = np.isfinite(draws)
    undefined = int(len(draws) - defined.sum())
    if undefined > _MOST_UNDEFINED * len(draws):
        raise UndecidableError(f"the metric is not defined for {undefined / len(draws):.0%} of the resamples: too few examples")
    squares = float(np.square(shares).sum())
    if not math.isfinite(squares):
        raise UndecidableError("the numbers are too large to compute with")
    if squares <= (1e-12 * scale) ** 2 / units:
        raise UndecidableError("no example moves the metric: there is no variance to judge by")
    df = min(units - 1.0, deciding(shares))
    if df < LEAST_DF:
        raise UndecidableError(
            f"too few examples decide: as many as {max(df / 2, 1):.0f} would; {LEAST_DF / 2:.0f} are the least"
        )
    acceleration = float(np.sum(shares**3)) / (6 * squares**1.5)
    resamples = np.sort(draws[defined])
    tolerance = 1e-12 * scale  # what is equal but for rounding is equal
    below = np.searchsorted(resamples, estimate - tolerance, "left") + np.searchsorted(resamples, estimate + tolerance, "right")
    share = below / (2 * len(resamples))
    bias = float(special.ndtri(share))
    if not abs(bias) <= _MOST_BIAS or abs(acceleration) > _MOST_ACCELERATION:
        why = "is biased" if not abs(bias) <= _MOST_BIAS else "depends on a few examples"
        raise UndecidableError(f"the resampled metric {why} too much for a bootstrap interval; more examples would help")
    return Bootstrapped(
        estimate=estimate,
        resamples=resamples,
        bias=bias,
        acceleration=acceleration,
        df=df,
        n=n,
        method=method,
        stretch=math.sqrt(units / (units - 1)),
        undefined=undefined,
    )

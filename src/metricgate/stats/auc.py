"""The area under the ROC curve, with DeLong's variance, and average precision: in O(n log n), ties and weights included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import special

from metricgate.stats.coverage import TEST_SET
from metricgate.stats.inference import (
    ROUNDING,
    Alternative,
    Component,
    Exact,
    Inference,
    Interval,
    Student,
    UndecidableError,
    combined,
    satterthwaite,
)
from metricgate.stats.set_metrics import Inputs, Multiplicities, Sample, Vector, deciding

LEAST_DF = 3.0
"""Of the variance of an area or a difference, about twice the number of examples that decide: with fewer, it is unknown."""
LEAST_ERRORS = 1.0
"""min(m, k) · min(area, 1 − area): how much of the smaller class is misplaced, in examples. With less, an area near 1 is shown
to be more than it is too often."""


Sums: TypeAlias = NDArray[np.float64]


class Placements(NamedTuple):
    """Where each example stands among those of the other class.

    Attributes:
        area: The area under the curve.
        positives: Shape (m,): for each positive, the share of negatives below it, ties counted half (V10 in DeLong 1988).
        negatives: Shape (k,): for each negative, the share of positives above it (V01).
    """

    area: float
    positives: Vector
    negatives: Vector


class _Ranked(NamedTuple):
    """Examples from the lowest prediction to the highest; those with the same one form a group."""

    order: NDArray[np.intp]
    starts: NDArray[np.intp]
    group: NDArray[np.intp]

    def sums(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Of values in ranked order, shape (…, n), the sum of each group."""
        if len(self.starts) == len(self.order):
            return values  # each example has a prediction of its own, as most do
        return np.add.reduceat(values, self.starts, axis=-1)


def _ranked(prediction: Vector) -> _Ranked:
    order = np.argsort(prediction, kind="stable")
    ordered = prediction[order]
    first = np.empty(len(order), dtype=bool)
    first[:1] = True
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    return _Ranked(order, np.flatnonzero(first), np.cumsum(first) - 1)


def placements(label: Vector, prediction: Vector, weight: Vector | None = None) -> Placements:
    """The placements of all examples by one sorting (Sun, Xu, IEEE Signal Processing Letters 21 (2014) 1389).

    Args:
        label: Shape (n,), 0 or 1.
        prediction: Shape (n,), higher for what is more likely 1.
        weight: Shape (n,).

    Raises:
        UndecidableError: All labels are the same.

    >>> placements(np.array([0.0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.9])).positives.tolist()
    [0.75, 1.0]
    """
    positive = label == 1
    weights = np.ones(len(label)) if weight is None else weight
    above, below = float(weights[positive].sum()), float(weights[~positive].sum())
    if above == 0 or below == 0:
        kind = "positive" if above == 0 else "negative"
        raise UndecidableError(f"roc_auc is not defined: no example is {kind}")
    ranked = _ranked(prediction)
    ordered = weights[ranked.order]
    right = positive[ranked.order]
    negative_sums = ranked.sums(np.where(right, 0.0, ordered))
    positive_sums = ranked.sums(np.where(right, ordered, 0.0))
    lower = (np.cumsum(negative_sums) - 0.5 * negative_sums) / below
    higher = (above - np.cumsum(positive_sums) + 0.5 * positive_sums) / above
    place = np.empty(len(label))
    place[ranked.order] = np.where(right, lower[ranked.group], higher[ranked.group])
    ones, zeros = place[positive], place[~positive]
    area = float(ones.mean() if weight is None else (ones * weights[positive]).sum() / above)
    return Placements(area, ones, zeros)


@dataclass(frozen=True)
class RocAuc:
    """The probability that a positive example has a higher prediction than a negative one, ties counted half."""

    name: str = "roc_auc"
    inputs: Inputs = "ranking"

    def value(self, sample: Sample) -> float:
        """The area."""
        return placements(sample.label, sample.prediction, sample.weight).area

    def influence(self, sample: Sample) -> Vector:
        """n · w_i · (placement − area) / the weight of its class: DeLong's components, by cluster those of Obuchowski.

        References:
            Obuchowski, Biometrics 53 (1997) 567.
        """
        found = placements(sample.label, sample.prediction, sample.weight)
        positive = sample.label == 1
        weights = sample.weights
        influence = np.empty(sample.n)
        for members, places in ((positive, found.positives), (~positive, found.negatives)):
            own = weights[members]
            influence[members] = sample.n * own * (places - found.area) / own.sum()
        centred: Vector = influence - influence.mean()
        return centred

    def resampled(self, sample: Sample) -> Callable[[Multiplicities], Vector]:
        """The area of each resample, from one sorting."""

        def area(ones: Sums, all_: Sums) -> Sums:
            zeros = all_ - ones
            wins = (ones * (np.cumsum(zeros, axis=1) - 0.5 * zeros)).sum(axis=1)
            return np.asarray(wins / (ones.sum(axis=1) * zeros.sum(axis=1)), dtype=np.float64)

        return _resampled(sample, area)


@dataclass(frozen=True)
class AveragePrecision:
    """The mean, over positive examples, of the precision among all predictions at least as high."""

    name: str = "average_precision"
    inputs: Inputs = "ranking"

    def value(self, sample: Sample) -> float:
        """Average precision."""
        found = float(self.resampled(sample)(np.ones((1, sample.n)))[0])
        if not np.isfinite(found):
            raise UndecidableError("average_precision is not defined: no example is positive")
        return found

    def influence(self, sample: Sample) -> Vector:
        """The derivative of Σ_i w_i y_i P(s_i)/A(s_i) / Σ_i w_i y_i by each weight.

        P(s) and A(s) are the weights of positive and of all examples with predictions of at least s.
        """
        value = self.value(sample)
        ranked = _ranked(sample.prediction)
        weights = sample.weights[ranked.order]
        label = (sample.label[ranked.order] == 1).astype(np.float64)
        ones, all_ = ranked.sums(weights * label), ranked.sums(weights)
        hits, drawn = np.cumsum(ones[::-1])[::-1], np.cumsum(all_[::-1])[::-1]
        seen = drawn > 0
        precision = np.divide(hits, drawn, out=np.zeros_like(hits), where=seen)
        per_hit = np.cumsum(np.divide(ones, drawn, out=np.zeros_like(hits), where=seen))
        per_draw = np.cumsum(np.divide(ones * precision, drawn, out=np.zeros_like(hits), where=seen))
        slope = label * (precision + per_hit - value)[ranked.group] - per_draw[ranked.group]
        influence = np.empty(sample.n)
        influence[ranked.order] = sample.n * weights * slope / ones.sum()
        centred: Vector = influence - influence.mean()
        return centred

    def resampled(self, sample: Sample) -> Callable[[Multiplicities], Vector]:
        """Average precision of each resample, from one sorting."""

        def precision_at_hits(ones: Sums, all_: Sums) -> Sums:
            hits, seen = (np.cumsum(part[:, ::-1], axis=1)[:, ::-1] for part in (ones, all_))
            precision = np.divide(hits, seen, out=np.zeros_like(hits), where=seen > 0)
            return np.asarray((ones * precision).sum(axis=1) / ones.sum(axis=1), dtype=np.float64)

        return _resampled(sample, precision_at_hits)


METRICS = (RocAuc(), AveragePrecision())


def _resampled(sample: Sample, metric: Callable[[Sums, Sums], Sums]) -> Callable[[Multiplicities], Vector]:
    """A metric of ranks for each resample, from one sorting.

    Args:
        sample: What is resampled.
        metric: From the weights of the positive and of all examples at each different prediction, ascending, both of shape
            (resamples, predictions), to one number a resample.
    """
    ranked = _ranked(sample.prediction)
    weights = sample.weights[ranked.order]
    positive = np.where(sample.label[ranked.order] == 1, weights, 0.0)

    def of(multiplicities: Multiplicities) -> Vector:
        drawn = multiplicities[:, ranked.order]
        with np.errstate(divide="ignore", invalid="ignore"):
            return metric(ranked.sums(drawn * positive), ranked.sums(drawn * weights))

    return of


def paired_difference(label: Vector, candidate: Vector, baseline: Vector, *, baseline_weight: float = 1.0) -> Inference:
    """The area of the candidate − weight · that of the baseline on the same examples, by DeLong's method.

    Var = s²(V10_c − w·V10_b)/m + s²(V01_c − w·V01_b)/k over m positives and k negatives: two independent parts, with m − 1 and
    k − 1 degrees of freedom.

    Args:
        label: Shape (n,), 0 or 1.
        candidate: Shape (n,), the candidate's predictions.
        baseline: Shape (n,), the baseline's.
        baseline_weight: w; 1 − r for "at most r worse, relative to the baseline".

    Raises:
        UndecidableError: All labels are the same, one class has a single example, or no placement differs.

    References:
        DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837.

    >>> label = np.array([0.0, 0, 0, 0, 1, 1, 1, 1])
    >>> better = np.array([0.1, 0.3, 0.2, 0.6, 0.5, 0.7, 0.8, 0.9])
    >>> worse = np.array([0.1, 0.6, 0.2, 0.7, 0.5, 0.3, 0.8, 0.9])
    >>> result = paired_difference(label, better, worse)
    >>> round(result.estimate, 4), result.method
    (0.1875, 'DeLong')
    """
    ours, theirs = placements(label, candidate), placements(label, baseline)
    if baseline_weight == 1.0 and np.array_equal(candidate, baseline) and float(np.ptp(candidate)) > 0:
        covers = "every example has the prediction it had before"
        return Exact(estimate=0.0, n=len(label), method="identical predictions", covers=covers)
    return _inference(
        ours.area - baseline_weight * theirs.area,
        [ours.positives - baseline_weight * theirs.positives, ours.negatives - baseline_weight * theirs.negatives],
        n=len(label),
        method="DeLong",
    )


def unpaired_difference(candidate: Sample, baseline: Sample, *, baseline_weight: float = 1.0) -> Inference:
    """The same where the sides have different examples: four independent parts.

    Raises:
        UndecidableError: As ``paired_difference``.
    """
    ours = placements(candidate.label, candidate.prediction)
    theirs = placements(baseline.label, baseline.prediction)
    return _inference(
        ours.area - baseline_weight * theirs.area,
        [ours.positives, ours.negatives, baseline_weight * theirs.positives, baseline_weight * theirs.negatives],
        n=min(candidate.n, baseline.n),
        method="DeLong, unpaired",
    )


def area(sample: Sample) -> Inference:
    """The area of one side alone, on the scale of its logit, which keeps the interval between 0 and 1.

    Raises:
        UndecidableError: As ``paired_difference``; or the area is 0 or 1.

    References:
        Qin, Hotilovac, Statistical Methods in Medical Research 17 (2008) 207.
    """
    found = placements(sample.label, sample.prediction)
    if not 0 < found.area < 1:
        raise UndecidableError(f"the area is {found.area:g}: how sure that is can't be told without a single error")
    if (errors := min(len(found.positives), len(found.negatives)) * min(found.area, 1 - found.area)) < LEAST_ERRORS:
        raise UndecidableError(
            f"the area is {found.area:.4g}: the misplacing of {errors:.2g} examples does not tell how sure it is"
        )
    plain = _inference(found.area, [found.positives, found.negatives], n=sample.n, method="DeLong, of the logit")
    if not isinstance(plain, Student):
        return plain
    return Logit(on_scale=replace(plain, estimate=_logit(found.area), stderr=plain.stderr / (found.area * (1 - found.area))))


def _inference(estimate: float, parts: list[Vector], *, n: int, method: str) -> Inference:
    if min(len(part) for part in parts) < 2:
        raise UndecidableError("one class has a single example; two of each are the least that have a variance")
    components = [_mean(part) for part in parts]
    if not any(component.variance for component in components):
        raise UndecidableError("every example is ranked alike: there is no variance to judge by")
    if (df := satterthwaite(components).df) < LEAST_DF:
        raise UndecidableError(f"too few examples decide: as many as {max(df / 2, 1):.0f} would")
    return combined(estimate=estimate, examples=components, n=n, method=method, covers=f"{TEST_SET} only")


@dataclass(frozen=True, kw_only=True)
class Logit:
    """A number between 0 and 1 whose logit has an error that follows Student's t.

    Attributes:
        on_scale: The logit.
        method: As of the logit, unless renamed.
        n: As of the logit.
    """

    on_scale: Student
    method: str = ""
    n: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "method", self.method or self.on_scale.method)
        object.__setattr__(self, "n", self.n or self.on_scale.n)

    @property
    def estimate(self) -> float:
        """The number itself."""
        return float(special.expit(self.on_scale.estimate))

    @property
    def df(self) -> float:
        """Degrees of freedom."""
        return self.on_scale.df

    @property
    def covers(self) -> str:
        """What the interval covers."""
        return self.on_scale.covers

    def interval(self, level: float) -> Interval:
        """The interval of the logit, turned back."""
        low, high, _ = self.on_scale.interval(level)
        return Interval(float(special.expit(low)), float(special.expit(high)), level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """That of the logit; a null beyond 0 and 1 is nothing that the number can be."""
        if not 0 < null < 1:
            return 0.0 if (null <= 0) == (alternative == "greater") else 1.0
        return self.on_scale.p_value(null=_logit(null), alternative=alternative)


def _logit(number: float) -> float:
    return float(special.logit(number))


def _mean(places: Vector) -> Component:
    """The variance of a mean, with the degrees of freedom that its estimate really has: few, where a few places differ."""
    deviations = places - places.mean()
    if float(np.abs(deviations).max()) <= ROUNDING:
        return Component(0.0, len(places) - 1)
    m = len(places)
    return Component(float(np.square(deviations).sum()) / (m - 1) / m, min(m - 1.0, deciding(deviations)))

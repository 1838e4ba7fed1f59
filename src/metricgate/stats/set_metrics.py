"""Metrics of a whole test set, such as F1, that are no mean of scores: what each of them is, and how every example moves it.

A metric here is a function of the weighted examples. Beside its value it gives each example's *influence*, the derivative of
the value by that example's weight, times n (Hampel, JASA 69 (1974) 383; the infinitesimal jackknife of Efron, The Jackknife,
the Bootstrap and Other Resampling Plans (1982), 6): value + influence is a score per example whose mean is the metric, and
whose variance over examples is that of the metric. So everything that is known about means of scores holds for set-level
metrics too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metricgate.stats.inference import UndecidableError

Vector = NDArray[np.float64]
Terms: TypeAlias = "NDArray[np.float64] | sparse.csr_array"
Inputs = Literal["classes", "two classes", "ranking", "probabilities", "numbers", "anything"]
"""What label and prediction are: the codes 0, 1, … of classes, 1 being the positive one of two; a label of 0 or 1 and any
number that ranks, or a probability; two numbers; whatever a custom function takes."""

Multiplicities = NDArray[np.float64]
"""Shape (resamples, n): how often each example was drawn."""

_STEP = 1e-20
_CHUNK = 64


@dataclass(frozen=True, kw_only=True)
class Sample:
    """What one run predicted.

    Attributes:
        label: Shape (n,), the truth.
        prediction: Shape (n,).
        weight: Shape (n,), finite, none negative; None where every example counts the same.
    """

    label: NDArray[Any]
    prediction: NDArray[Any]
    weight: Vector | None = None

    @property
    def n(self) -> int:
        """The number of examples."""
        return len(self.label)

    @property
    def weights(self) -> Vector:
        """The weights, 1 where there are none."""
        return np.ones(self.n) if self.weight is None else self.weight

    def at(self, positions: NDArray[np.intp]) -> Sample:
        """Some of the examples."""
        return Sample(
            label=self.label[positions],
            prediction=self.prediction[positions],
            weight=None if self.weight is None else self.weight[positions],
        )


class SetMetric(Protocol):
    """A metric of weighted examples."""

    @property
    def name(self) -> str:
        """As in ``metricgate.yaml``."""
        ...

    @property
    def inputs(self) -> Inputs:
        """What label and prediction are."""
        ...

    def value(self, sample: Sample) -> float:
        """The metric.

        Raises:
            UndecidableError: It is not defined on this sample; the message says why.
        """
        ...

    def influence(self, sample: Sample) -> Vector | None:
        """Shape (n,), with a mean of 0; None where it is not known in closed form.

        Raises:
            UndecidableError: The metric is not defined, or not smooth enough here for an influence to mean anything.
        """
        ...

    def resampled(self, sample: Sample) -> Callable[[Multiplicities], Vector]:
        """A function from multiplicities to the metric of each resample, NaN where it is not defined."""
        ...


@dataclass(frozen=True)
class OfSums:
    """A metric that is a smooth function of sums over examples, as most are.

    Attributes:
        name: As in ``metricgate.yaml``.
        inputs: What label and prediction are.
        terms: From labels and predictions to what is summed, shape (n, q).
        of: From sums, shape (…, q), to values, shape (…); defined for complex sums too, so that its derivative is exact
            (Squire, Trapp, SIAM Review 40 (1998) 110). NaN where the metric is not defined.
        undefined: Why that happens, in words.
        score: Where the metric is the mean of one score per example: from labels and predictions to scores, shape (n,).
    """

    name: str
    inputs: Inputs
    terms: Callable[[NDArray[Any], NDArray[Any]], Terms]
    of: Callable[[NDArray[Any]], NDArray[Any]]
    undefined: str = "the weights sum to zero"
    score: Callable[[NDArray[Any], NDArray[Any]], Vector] | None = None

    def value(self, sample: Sample) -> float:
        """The metric."""
        return self._defined(self.sums(sample))

    def influence(self, sample: Sample) -> Vector:
        """n · w_i · ∇of(S) · t_i: exact, since the metric does not change when all weights do."""
        terms = self.terms(sample.label, sample.prediction)
        sums = np.asarray(terms.T @ sample.weights, dtype=np.float64)
        self._defined(sums)
        slopes = np.asarray(terms @ self._gradient(sums), dtype=np.float64)
        influence: Vector = sample.n * sample.weights * slopes
        centred: Vector = influence - influence.mean()
        return centred

    def resampled(self, sample: Sample) -> Callable[[Multiplicities], Vector]:
        """The metric of each resample."""
        terms = self.weighted_terms(sample)
        return lambda multiplicities: self.of_sums(np.asarray((terms.T @ multiplicities.T).T, dtype=np.float64))

    def weighted_terms(self, sample: Sample) -> Terms:
        """What is summed, times the weights."""
        terms = self.terms(sample.label, sample.prediction)
        if sample.weight is None:
            return terms
        if isinstance(terms, np.ndarray):
            return terms * sample.weight[:, None]
        return sparse.csr_array(sparse.diags_array(sample.weight) @ terms)

    def sums(self, sample: Sample) -> Vector:
        """The sums over all examples, shape (q,)."""
        return np.asarray(self.terms(sample.label, sample.prediction).T @ sample.weights, dtype=np.float64)

    def of_sums(self, sums: NDArray[np.float64]) -> Vector:
        """The metric of many sums at once, NaN where it is not defined."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(self.of(sums), dtype=np.float64)

    def _defined(self, sums: Vector) -> float:
        found = float(self.of_sums(sums))
        if not np.isfinite(found):
            raise UndecidableError(f"{self.name} is not defined: {self.undefined}")
        return found

    def _gradient(self, sums: Vector) -> Vector:
        scale = _STEP * max(float(np.abs(sums).max()), 1.0)
        gradient = np.empty(len(sums))
        for start in range(0, len(sums), _CHUNK):
            stop = min(start + _CHUNK, len(sums))
            moved = np.repeat(sums[None, :].astype(np.complex128), stop - start, axis=0)
            moved[np.arange(stop - start), np.arange(start, stop)] += 1j * scale
            with np.errstate(divide="ignore", invalid="ignore"):
                gradient[start:stop] = self.of(moved).imag / scale
        return gradient


@dataclass(frozen=True)
class Custom:
    """A function of the user's.

    Attributes:
        name: Such as ``mypackage.metrics:cost``.
        function: From (label, prediction, weight), each of shape (n,), to a number.
    """

    name: str
    function: Callable[[NDArray[Any], NDArray[Any], Vector], Any]
    inputs: Inputs = "anything"

    def value(self, sample: Sample) -> float:
        """The metric."""
        found = self._call(sample)
        if not np.isfinite(found):
            raise UndecidableError(f"{self.name} is not defined: the function gave {found:g} for {sample.n:,} examples")
        return found

    def influence(self, sample: Sample) -> None:
        """Not known."""
        del sample

    def resampled(self, sample: Sample) -> Callable[[Multiplicities], Vector]:
        """Rows are drawn, not weights: a function may leave the weights out."""

        def of(multiplicities: Multiplicities) -> Vector:
            drawn = (np.repeat(np.arange(sample.n), row.astype(np.intp)) for row in multiplicities)
            return np.array([self._call(sample.at(positions)) for positions in drawn])

        return of

    def _call(self, sample: Sample) -> float:
        try:
            found = self.function(sample.label, sample.prediction, sample.weights)
        except Exception as error:  # anything can go wrong in a function of the user's
            raise UndecidableError(
                f"{self.name} raised {type(error).__name__}: {_first_line(error)} (called with label, prediction and weight, "
                f"arrays of {sample.n:,})"
            ) from error
        if isinstance(found, np.ndarray) and found.ndim == 0:
            found = found[()]
        if isinstance(found, bool | np.bool_) or not isinstance(found, int | float | np.integer | np.floating):
            raise UndecidableError(f"{self.name} gave a {type(found).__name__}; expected one number")
        return float(found)


def deciding(shares: Vector) -> float:
    """Degrees of freedom of a variance that is estimated from these, 2n/(κ − 1): about twice the number that decide."""
    squares = float(np.square(shares).sum())
    if squares == 0:
        return 0.0
    relative = shares**2 / squares
    return 2.0 / max(float(np.square(relative).sum()) - 1 / len(shares), 1e-300)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["no message"])[0][:200]


def by_name() -> Mapping[str, SetMetric]:
    """Every metric that is known by a name, in the order of the documentation."""
    from metricgate.stats import auc, class_metrics, error_metrics

    every: tuple[SetMetric, ...] = (*class_metrics.METRICS, *auc.METRICS, *error_metrics.METRICS)
    return {metric.name: metric for metric in every}

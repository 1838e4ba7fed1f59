"""Metrics of predicted numbers and probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricgate.stats.inference import UndecidableError
from metricgate.stats.set_metrics import Inputs, OfSums, Sample, Vector

BINS = 15
"""Of the calibration error, equally wide: Guo, Pleiss, Sun, Weinberger, ICML 2017."""

_CLEAR = 2.0
_MOST_UNCLEAR = 0.2


def _squared(label: NDArray[Any], prediction: NDArray[Any]) -> Vector:
    return np.asarray((prediction - label) ** 2, dtype=np.float64)


def _absolute(label: NDArray[Any], prediction: NDArray[Any]) -> Vector:
    return np.asarray(np.abs(prediction - label), dtype=np.float64)


def _cross_entropy(label: NDArray[Any], prediction: NDArray[Any]) -> Vector:
    """−log of the probability that was given to what is true, which is kept from 0 by the smallest step of a double."""
    tiny = np.finfo(np.float64).eps
    of_truth = np.where(label == 1, prediction, 1 - prediction)
    return np.asarray(-np.log(np.clip(of_truth, tiny, 1 - tiny)), dtype=np.float64)


def _mean_of(name: str, score: Any, *, inputs: Inputs, root: bool = False) -> OfSums:
    def terms(label: NDArray[Any], prediction: NDArray[Any]) -> NDArray[np.float64]:
        return np.stack([np.ones(len(label)), score(label, prediction)], axis=1)

    def of(sums: NDArray[Any]) -> NDArray[Any]:
        mean: NDArray[Any] = sums[..., 1] / sums[..., 0]
        return np.sqrt(mean) if root else mean

    return OfSums(name, inputs, terms, of, score=None if root else score)


def _r2_terms(label: NDArray[Any], prediction: NDArray[Any]) -> NDArray[np.float64]:
    centred = label - label.mean()  # less is lost when it is squared
    return np.stack([np.ones(len(label)), centred, centred**2, (prediction - label) ** 2], axis=1)


def _r2(sums: NDArray[Any]) -> NDArray[Any]:
    total = sums[..., 2] - sums[..., 1] * sums[..., 1] / sums[..., 0]
    explained: NDArray[Any] = 1 - sums[..., 3] / np.where(total.real > 1e-12 * sums[..., 2].real, total, np.nan)
    return explained


def bins(prediction: NDArray[Any]) -> NDArray[np.intp]:
    """The bin of each probability, closed above: bin b holds (b/15, (b + 1)/15], and the first one 0 as well."""
    return np.asarray(np.clip(np.ceil(prediction * BINS) - 1, 0, BINS - 1), dtype=np.intp)


def _calibration_terms(label: NDArray[Any], prediction: NDArray[Any]) -> NDArray[np.float64]:
    terms = np.zeros((len(label), 1 + BINS))
    terms[:, 0] = 1
    terms[np.arange(len(label)), 1 + bins(prediction)] = label - prediction
    return terms


def _calibration(sums: NDArray[Any]) -> NDArray[Any]:
    gaps = sums[..., 1:]
    error: NDArray[Any] = (np.sign(gaps.real) * gaps).sum(axis=-1) / sums[..., 0]
    return error


class CalibrationError(OfSums):
    """The expected calibration error, Σ_b |Σ_{i in b} w_i (y_i − p_i)| / Σ w_i.

    It is smooth only where the gap of each bin is clearly on one side of 0; near 0 it is biased, and neither influence values
    nor resamples tell its error.
    """

    def influence(self, sample: Sample) -> Vector:
        """As of every metric of sums, where most of the error is in bins whose gap is clear (two standard errors)."""
        terms = np.asarray(self.weighted_terms(sample))[:, 1:]
        gaps, noise = np.abs(terms.sum(axis=0)), np.sqrt((terms**2).sum(axis=0))
        total = float(gaps.sum())
        unclear = float(gaps[gaps < _CLEAR * noise].sum())
        if total > 0 and unclear > _MOST_UNCLEAR * total:
            raise UndecidableError(
                f"{unclear / total:.0%} of the calibration error are within its own noise, so its error can't be told; more "
                "examples would, or `brier` and `log_loss`, which need no bins"
            )
        return super().influence(sample)


METRICS = (
    _mean_of("log_loss", _cross_entropy, inputs="probabilities"),
    _mean_of("brier", _squared, inputs="probabilities"),
    CalibrationError("calibration_error", "probabilities", _calibration_terms, _calibration),
    _mean_of("mean_absolute_error", _absolute, inputs="numbers"),
    _mean_of("mean_squared_error", _squared, inputs="numbers"),
    _mean_of("root_mean_squared_error", _squared, inputs="numbers", root=True),
    OfSums("r2", "numbers", _r2_terms, _r2, "all labels are equal"),
)

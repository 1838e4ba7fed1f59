"""Metrics of predicted classes: each a function of, for every class, how often it was right, predicted and true.

Where scikit-learn warns and takes 0 for 0/0 (precision without a positive prediction), these are not defined; a class of a
macro average that was never predicted or is never true counts as 0, as it does there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from metricgate.stats.set_metrics import Inputs, OfSums

Counts = NDArray[Any]
OfCounts = Callable[[Counts, Counts, Counts], NDArray[Any]]


def terms(label: NDArray[Any], prediction: NDArray[Any]) -> sparse.csr_array:
    """For each example a 1 at the class that it is (if predicted so), at the one predicted, and at the one it is: (n, 3C).

    >>> terms(np.array([0, 1]), np.array([1, 1])).toarray().astype(int).tolist()
    [[0, 0, 0, 1, 1, 0], [0, 1, 0, 1, 0, 1]]
    """
    truth, predicted = label.astype(np.intp), prediction.astype(np.intp)
    n = len(truth)
    classes = 1 + max(int(truth.max(initial=1)), int(predicted.max(initial=1)))
    columns = np.stack([truth, classes + predicted, 2 * classes + truth], axis=1)
    values = np.ones((n, 3))
    values[:, 0] = truth == predicted
    pointers = np.arange(0, 3 * n + 1, 3)
    return sparse.csr_array((values.ravel(), columns.ravel(), pointers), shape=(n, 3 * classes))


def _metric(name: str, of: OfCounts, *, inputs: Inputs = "classes", undefined: str = "") -> OfSums:
    def of_sums(sums: NDArray[Any]) -> NDArray[Any]:
        right, predicted, true = np.split(sums, 3, axis=-1)
        return of(right, predicted, true)

    return OfSums(name, inputs, terms, of_sums, undefined or "the weights sum to zero")


def _ratio(above: Counts, below: Counts) -> Counts:
    """0 for 0/0."""
    present = below.real > 0
    return np.where(present, above / np.where(present, below, 1), 0)


def _precision(right: Counts, predicted: Counts, true: Counts) -> Counts:
    del true
    return _ratio(right, predicted)


def _recall(right: Counts, predicted: Counts, true: Counts) -> Counts:
    del predicted
    return _ratio(right, true)


def _f1(right: Counts, predicted: Counts, true: Counts) -> Counts:
    return _ratio(2 * right, predicted + true)


def _macro(of: OfCounts) -> OfCounts:
    """The mean over the classes that are there, true or predicted."""

    def mean(right: Counts, predicted: Counts, true: Counts) -> NDArray[Any]:
        present = (predicted + true).real > 0
        averaged: NDArray[Any] = (of(right, predicted, true) * present).sum(axis=-1) / present.sum(axis=-1)
        return averaged

    return mean


def _weighted(of: OfCounts) -> OfCounts:
    """The mean over classes, each as often as it is true."""

    def mean(right: Counts, predicted: Counts, true: Counts) -> NDArray[Any]:
        averaged: NDArray[Any] = (of(right, predicted, true) * true).sum(axis=-1) / true.sum(axis=-1)
        return averaged

    return mean


def _accuracy(right: Counts, predicted: Counts, true: Counts) -> NDArray[Any]:
    del predicted
    share: NDArray[Any] = right.sum(axis=-1) / true.sum(axis=-1)
    return share


def _balanced_accuracy(right: Counts, predicted: Counts, true: Counts) -> NDArray[Any]:
    del predicted
    averaged: NDArray[Any] = _ratio(right, true).sum(axis=-1) / (true.real > 0).sum(axis=-1)
    return averaged


def _matthews(right: Counts, predicted: Counts, true: Counts) -> NDArray[Any]:
    """(c·n − Σ p_k t_k) / √((n² − Σ p_k²)(n² − Σ t_k²)): Gorodkin, Computational Biology and Chemistry 28 (2004) 367."""
    n = true.sum(axis=-1)
    shared = right.sum(axis=-1) * n - (predicted * true).sum(axis=-1)
    spread = (n * n - (predicted * predicted).sum(axis=-1)) * (n * n - (true * true).sum(axis=-1))
    coefficient: NDArray[Any] = shared / np.sqrt(np.where(spread.real > 1e-9 * (n * n).real ** 2 / n.real, spread, np.nan))
    return coefficient


def _kappa(right: Counts, predicted: Counts, true: Counts) -> NDArray[Any]:
    """(observed − expected) / (1 − expected): Cohen, Educational and Psychological Measurement 20 (1960) 37."""
    n = true.sum(axis=-1)
    observed, expected = right.sum(axis=-1) / n, (predicted * true).sum(axis=-1) / (n * n)
    kappa: NDArray[Any] = (observed - expected) / np.where(expected.real < 1, 1 - expected, np.nan)
    return kappa


def _positive(above: Callable[[Counts, Counts, Counts], Counts], below: Callable[[Counts, Counts, Counts], Counts]) -> OfCounts:
    """A ratio about the class 1."""

    def of(right: Counts, predicted: Counts, true: Counts) -> NDArray[Any]:
        counts = right[..., 1], predicted[..., 1], true[..., 1]
        ratio: NDArray[Any] = above(*counts) / below(*counts)
        return ratio

    return of


_TWO: Inputs = "two classes"
_CONSTANT = "all labels, or all predictions, are one and the same class"

METRICS = (
    OfSums(
        "accuracy",
        "classes",
        terms,
        lambda sums: _accuracy(*np.split(sums, 3, axis=-1)),
        score=lambda label, prediction: (label == prediction).astype(np.float64),
    ),
    _metric("balanced_accuracy", _balanced_accuracy),
    _metric(
        "f1",
        _positive(lambda right, _, __: 2 * right, lambda _, predicted, true: predicted + true),
        inputs=_TWO,
        undefined="no example is positive, nor is one predicted to be",
    ),
    _metric("f1_macro", _macro(_f1)),
    _metric("f1_micro", _accuracy),
    _metric("f1_weighted", _weighted(_f1)),
    _metric(
        "precision",
        _positive(lambda right, _, __: right, lambda _, predicted, __: predicted),
        inputs=_TWO,
        undefined="no example is predicted to be positive",
    ),
    _metric("precision_macro", _macro(_precision)),
    _metric("precision_micro", _accuracy),
    _metric("precision_weighted", _weighted(_precision)),
    _metric(
        "recall",
        _positive(lambda right, _, __: right, lambda _, __, true: true),
        inputs=_TWO,
        undefined="no example is positive",
    ),
    _metric("recall_macro", _macro(_recall)),
    _metric("recall_micro", _accuracy),
    _metric("recall_weighted", _weighted(_recall)),
    _metric("matthews_corrcoef", _matthews, undefined=_CONSTANT),
    _metric("cohen_kappa", _kappa, undefined=_CONSTANT),
)

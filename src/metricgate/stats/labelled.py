"""A metric of labels and predictions as scipy has its tests: arrays in, an inference out."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricgate.stats import auc, bootstrap, means, set_metrics
from metricgate.stats.batch import Codes
from metricgate.stats.choice import Facts, Level, choose
from metricgate.stats.inference import Inference
from metricgate.stats.set_metrics import Custom, OfSums, Sample, SetMetric, Vector

Function = Callable[[NDArray[Any], NDArray[Any], Vector], Any]


def labelled_difference(
    metric: str | Function,
    label: NDArray[Any],
    candidate: NDArray[Any],
    baseline: NDArray[Any],
    *,
    weight: Vector | None = None,
    clusters: Codes | None = None,
    baseline_weight: float = 1.0,
) -> Inference:
    """The metric of the candidate − w · that of the baseline, on the same examples, one run a side.

    The method is that of ``choice.choose``: DeLong for the area under the ROC curve, the BCa bootstrap for F1 and whatever
    else is no mean of scores, and the method of means for what is one.

    Args:
        metric: A name such as ``f1`` or ``roc_auc``, or a function of (label, prediction, weight) that gives a number.
        label: Shape (n,), the truth.
        candidate: Shape (n,), the candidate's predictions.
        baseline: Shape (n,), the baseline's.
        weight: Shape (n,), how much each example counts; None where all count the same.
        clusters: Shape (n,): the cluster of each example, for examples that are not independent.
        baseline_weight: w; 1 − r for "at most r worse, relative to the baseline".

    Raises:
        ValueError: There is no metric of that name.
        UndecidableError: The metric is not defined on one side, or too few examples decide.

    References:
        DeLong, DeLong, Clarke-Pearson, Biometrics 44 (1988) 837; Efron, JASA 82 (1987) 171.

    >>> label = np.array([0, 1] * 500)
    >>> candidate = np.where(np.arange(1000) % 7 == 0, 1 - label, label)
    >>> baseline = np.where(np.arange(1000) % 11 == 0, 1 - label, label)
    >>> result = labelled_difference("f1", label, candidate, baseline)
    >>> round(result.estimate, 4), result.method
    (-0.0519, 'BCa bootstrap, 10,000 resamples')
    """
    found = _metric(metric)
    ours, theirs = (
        Sample(label=np.asarray(label), prediction=np.asarray(prediction), weight=weight)
        for prediction in (candidate, baseline)
    )
    facts = Facts(
        sides="paired",
        examples=ours.n,
        level=level_of(found, weighted=weight is not None),
        clustered=clusters is not None,
        weighted=weight is not None,
        relative=baseline_weight != 1.0,
    )
    method = choose(facts).method
    if method == "DeLong":
        return auc.paired_difference(ours.label, ours.prediction, theirs.prediction, baseline_weight=baseline_weight)
    if method == "bootstrap":
        return bootstrap.paired(found, ours, theirs, clusters=clusters).difference(baseline_weight=baseline_weight)
    rows = [_scores(found, sample)[None] for sample in (ours, theirs)]
    return means.paired_difference(*rows, baseline_weight=baseline_weight, clusters=clusters)


def level_of(metric: SetMetric, *, weighted: bool) -> Level:
    """What a metric is to the choice of a method."""
    if metric.name == "roc_auc":
        return "roc_auc"
    if isinstance(metric, OfSums):
        return "mean" if metric.score is not None and not weighted else "sums"
    return "ranking" if metric.inputs == "ranking" else "function"


def _metric(metric: str | Function) -> SetMetric:
    if not isinstance(metric, str):
        return Custom(getattr(metric, "__name__", "function"), metric)
    known = set_metrics.by_name()
    if metric not in known:
        near = difflib.get_close_matches(metric, known, n=1)
        message = f"there is no metric {metric!r}" + (f"; did you mean {near[0]!r}?" if near else "")
        raise ValueError(message)
    return known[metric]


def _scores(metric: SetMetric, sample: Sample) -> Vector:
    if isinstance(metric, OfSums) and metric.score is not None and sample.weight is None:
        return metric.score(sample.label, sample.prediction)
    influence = metric.influence(sample)
    if influence is None:
        message = f"the influence of one example on {metric.name} is not known"
        raise ValueError(message)
    scores: Vector = metric.value(sample) + influence
    return scores

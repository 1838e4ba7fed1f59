"""One score per example, or per group of examples, whose mean is a metric of the whole test set."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from metricgate.stats.batch import Codes
from metricgate.stats.inference import UndecidableError
from metricgate.stats.set_metrics import Sample, SetMetric, Vector

_GROUPS = 200


def pseudo_scores(metric: SetMetric, sample: Sample, *, clusters: Codes | None = None) -> tuple[Vector, Codes | None]:
    """One score per example whose mean is the metric, or per group of examples where the influence of one is not known.

    For a function of the user's these are the jackknife's pseudo-values, G·θ − (G − 1)·θ without group g, moved so that their
    mean is θ, over at most 200 groups of examples, or of whole clusters (Shao, Tu, The Jackknife and Bootstrap (1995), 2.3).

    Returns:
        The scores, and the cluster of each; None where they are independent.

    Raises:
        UndecidableError: The metric is not defined, on all examples or without some.
    """
    value = metric.value(sample)
    influence = metric.influence(sample)
    if influence is not None:
        return value + influence, clusters
    groups = _groups(sample.n, clusters)
    count = int(groups.max()) + 1
    if count < 2:
        raise UndecidableError("there is one example, or one cluster; two are the least that have a variance")
    without = np.array([metric.value(sample.at(np.flatnonzero(groups != group))) for group in range(count)])
    pseudo = count * value - (count - 1) * without
    return pseudo - pseudo.mean() + value, None


def _groups(n: int, clusters: Codes | None) -> NDArray[np.intp]:
    """Examples, or clusters, dealt out to at most 200 groups."""
    units = np.arange(n) if clusters is None else np.unique(clusters, return_inverse=True)[1]
    return np.asarray(units % _GROUPS, dtype=np.intp)

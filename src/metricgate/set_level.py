"""Labels and predictions of one side's runs as examples: for each a score whose mean is the metric of the whole test set."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from metricgate.errors import InputError
from metricgate.examples import Examples
from metricgate.predictions import Reader, check_alike
from metricgate.side import Side
from metricgate.stats import jackknife
from metricgate.stats.inference import UndecidableError
from metricgate.stats.scatter import Codes, Pair, Sample, Scores
from metricgate.stats.set_metrics import OfSums, SetMetric
from metricgate.stats.set_metrics import Sample as Predicted

Clusters = Callable[[], Codes | None]


@dataclass(frozen=True, kw_only=True)
class SetLevel(Examples):
    """Examples of which labels and predictions are known.

    Attributes:
        metric: What is computed of them.
        predicted: For each run, its labels and predictions.
    """

    metric: SetMetric
    predicted: Callable[[], tuple[Predicted, ...]] = field(repr=False)

    @classmethod
    def of_runs(
        cls,
        metric: SetMetric,
        predicted: Callable[[], tuple[Predicted, ...]],
        *,
        n: int,
        runs: int,
        ordered: bool,
        clusters: Clusters,
    ) -> SetLevel:
        """Examples that are read when somebody asks."""
        found = functools.cache(predicted)

        @functools.cache
        def reduced() -> tuple[Scores, Codes | None]:
            rows = [_scores(metric, run, clusters()) for run in found()]
            return np.stack([row for row, _ in rows]), rows[0][1]

        def samples() -> tuple[Sample, ...]:
            scores, groups = reduced()
            together = [scores] if ordered else [row[None] for row in scores]
            return tuple(Sample.of(one, clusters=groups) for one in together)

        return cls(
            n=n,
            runs=runs,
            ordered=ordered,
            samples=samples,
            scores=lambda: reduced()[0],
            clusters=clusters,
            metric=metric,
            predicted=found,
        )

    @property
    def is_mean(self) -> bool:
        """Whether the metric is the mean of one score per example, as any other metric of scores."""
        return isinstance(self.metric, OfSums) and self.metric.score is not None and not self.weighted

    @property
    def weighted(self) -> bool:
        """Whether examples count differently."""
        return self.predicted()[0].weight is not None

    @property
    def grouped(self) -> bool:
        """Whether a score is about a group of examples, since the influence of a single one is not known."""
        return bool(self.scores().shape[1] != self.n)

    def value(self) -> float | None:
        """The mean over runs of the metric; None where it is not defined."""
        try:
            values = [self.metric.value(run) for run in self.predicted()]
        except UndecidableError:
            return None
        return math.fsum(values) / len(values)


def pair(candidate: SetLevel, baseline: SetLevel) -> Pair:
    """Both sides over the same examples.

    Raises:
        UndecidableError: The metric is not defined on one of them.
    """
    clusters = None if candidate.grouped else candidate.clusters()
    return Pair.of(candidate.scores(), baseline.scores(), clusters=clusters)


def read(reader: Reader, side: Side) -> tuple[Predicted, ...]:
    """Labels and predictions of every run of a side, in the common order.

    Raises:
        InputError: A column holds what the metric can't be computed from, or two runs disagree about the truth.
    """
    orders = side.orders or tuple(None for _ in side.tables)
    found: list[Predicted] = []
    for table, order in zip(side.tables, orders, strict=True):
        sample = reader.read(table)
        if sample.n != side.tables[0].n:
            raise InputError(
                f"{sample.n:,} examples, and {side.tables[0].path} has {side.tables[0].n:,}",
                where=str(table.path),
                expected="the same test set in every run",
            )
        found.append(sample if order is None else sample.at(order.astype(np.intp)))
    if side.has_ids:
        check_alike(found, [table.path for table in side.tables], columns=reader.truth)
    return tuple(found)


def _scores(metric: SetMetric, sample: Predicted, clusters: Codes | None) -> tuple[Scores, Codes | None]:
    if isinstance(metric, OfSums) and metric.score is not None and sample.weight is None:
        metric.value(sample)  # says where it is not defined
        return metric.score(sample.label, sample.prediction), clusters
    return jackknife.pseudo_scores(metric, sample, clusters=clusters)

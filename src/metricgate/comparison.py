"""Brings two sets of runs together: which examples pair with which, which slices there are, and what can't be compared."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricgate import comparability, copies, flips, reduction, same_runs, set_level
from metricgate import history as recorded_runs
from metricgate.config import Config
from metricgate.custom_metrics import Functions
from metricgate.errors import InputError
from metricgate.evidence import Evidence
from metricgate.examples import Examples
from metricgate.flips import Flips
from metricgate.groups import Groups, natural_order
from metricgate.predictions import Reader
from metricgate.reduction import Scatters
from metricgate.run import Run
from metricgate.set_level import SetLevel
from metricgate.side import Side
from metricgate.stats import set_metrics
from metricgate.stats.means import Value
from metricgate.stats.scatter import Pair, Sample
from metricgate.training_noise import NoiseSources


class Comparison:
    """A candidate beside its baseline, metric by metric and slice by slice.

    Args:
        candidate: The candidate's runs, at least one.
        baseline: The baseline's runs; none where it is missing.
        history: Recorded runs of the main branch, for the training noise.
        config: Which metrics, slices, ids and clusters.
        functions: The user's functions that metrics name, by reference.

    Raises:
        InputError: A score table is malformed, or the runs of one side have different test sets.
        ConfigError: A metric names a function that is not among these.
    """

    def __init__(
        self,
        candidate: Sequence[Run],
        baseline: Sequence[Run],
        *,
        history: Sequence[Run] = (),
        config: Config,
        functions: Functions | None = None,
    ) -> None:
        self.config = config
        self._readers = {
            name: Reader.of(name, metric, functions or {}) for name, metric in config.metrics.items() if metric.set_level
        }
        self._predictions: dict[tuple[str, int], tuple[set_metrics.Sample, ...]] = {}
        self.warnings: list[str] = []
        self._reductions: dict[tuple[object, ...], dict[str | None, Scatters]] = {}
        self.candidate = self._distinct(Side(candidate, label="candidate"))
        reference = self.candidate.tables[0] if self.candidate.has_ids else None
        recorded = recorded_runs.without(history, [*candidate, *baseline])
        earlier = recorded_runs.of_same_training(recorded, baseline)
        everything = [*baseline, *earlier]
        self.baseline = self._distinct(
            Side(everything, label="baseline", reference=reference if _all_ids(everything) else None), own=len(baseline)
        )
        # A run that is on both sides is no second training, and others beside it would make a difference where there is none.
        shared = same_runs.in_baseline(self.candidate, self.baseline, config.metrics)
        self.same_runs = bool(shared)
        self.baseline = self.baseline.only(shared) if shared else self.baseline
        self.history = [
            Side(runs, label="history", reference=reference if _all_ids(runs) else None)
            for runs in recorded_runs.commits([run for run in recorded if run not in earlier])
        ]
        if foreign := sum(self._is_foreign(side) for side in self.history):
            self.warnings.append(
                f"{foreign} of {len(self.history)} recorded commits have another test set: their scores tell nothing about the "
                "training noise here."
            )
        self.problem = comparability.problem(self.candidate, self.baseline, config=config, paired=self.paired)
        if unknown := comparability.unknown_hardware(self.candidate, self.baseline, config=config):
            self.warnings.append(unknown)

    @property
    def missing_baseline(self) -> bool:
        """Whether there is nothing to compare with."""
        return not self.baseline.runs

    @cached_property
    def paired(self) -> bool:
        """Whether the examples of both sides can be paired by id."""
        return self.candidate.has_ids and self.baseline.has_ids and not self.baseline.mismatch

    def evidence(self, metric: str) -> Evidence:
        """Everything about one metric on all examples."""
        return self._evidence(metric, None)

    def slices(self, metric: str, column: str) -> list[Evidence]:
        """Everything about one metric on each value of a slice column; slices that one side lacks have a problem."""
        sides = [side for side in (self.candidate, self.baseline) if side.runs]
        if lacking := [side.label for side in sides if not side.has_column(column)]:
            problem = f"the score table of the {' and the '.join(lacking)} has no column `{column}`"
            return [Evidence(metric=metric, slice=f"{column}=*", candidate=None, baseline=None, problem=problem)]
        names = [name for side in sides for name in side.groups(column).names]
        return [self._evidence(metric, (column, name)) for name in sorted(dict.fromkeys(names), key=natural_order)]

    def flips(self, metric: str, *, only: str | None = None) -> Flips | None:
        """The examples that turned, by the majority of each side's runs; None where they can't be known.

        Args:
            metric: A metric with 0/1 scores.
            only: A column; examples where it is 0 or false are left out.
        """
        if not self.paired or self.problem:
            return None
        higher = self.config.metrics[metric].direction == "higher"
        return flips.between(self.candidate, self.baseline, metric, higher=higher, only=only)

    def _evidence(self, metric: str, slice_: tuple[str, str] | None) -> Evidence:
        slice_name = "=".join(slice_) if slice_ else None
        together = self.paired and not self.problem
        sides = (self.candidate, self.baseline)
        candidate, baseline = (self._side(side, metric, slice_, together=together) for side in sides)
        paired = together and isinstance(candidate, Examples) and isinstance(baseline, Examples)
        return Evidence(
            metric=metric,
            slice=slice_name,
            candidate=candidate,
            baseline=baseline,
            pair=(lambda: self._pair(metric, slice_, candidate, baseline)) if paired else None,
            unpaired_reason="" if paired or self.missing_baseline else self._unpaired_reason(metric),
            problem=self._metric_problem(metric, slice_name, candidate, baseline),
            noise=self._noise(metric, slice_),
            same_runs=self.same_runs,
        )

    def _pair(
        self, metric: str, slice_: tuple[str, str] | None, candidate: Examples | Value | None, baseline: Examples | Value | None
    ) -> Pair:
        if isinstance(candidate, SetLevel) and isinstance(baseline, SetLevel):
            return set_level.pair(candidate, baseline)
        sides = (self.candidate, self.baseline)
        return self._scatters(sides, metric, slice_)[0].pair(self._group(sides[0], slice_))

    def _has(self, side: Side, metric: str) -> bool:
        """Whether every run of a side has the columns that a metric comes from."""
        reader = self._readers.get(metric)
        return side.has_column(metric) if reader is None else all(side.has_column(column) for column in reader.config.columns)

    def _predicted(self, metric: str, side: Side) -> tuple[set_metrics.Sample, ...]:
        """Labels and predictions of all examples, read once."""
        key = metric, id(side)
        if key not in self._predictions:
            self._predictions[key] = set_level.read(self._readers[metric], side)
        return self._predictions[key]

    def _side(self, side: Side, metric: str, slice_: tuple[str, str] | None, *, together: bool) -> Examples | Value | None:
        if not self._has(side, metric):
            return None if slice_ or not side.runs else side.value(metric)
        sides = (self.candidate, self.baseline)
        if together and all(self._has(one, metric) for one in sides):
            return self._examples(side, metric, slice_, sides=sides)
        return self._examples(side, metric, slice_, sides=(side,))

    def _examples(
        self,
        side: Side,
        metric: str,
        slice_: tuple[str, str] | None,
        *,
        sides: tuple[Side, ...],
        grouped: Side | None = None,
    ) -> Examples | None:
        """The examples of a side.

        Args:
            side: Whose.
            metric: Which of its scores.
            slice_: A column and its value.
            sides: The side alone, or both, to be summed up together.
            grouped: Whose columns tell the slices, in the same order; by default its own.
        """
        by = grouped or sides[0]
        n: int | None = side.tables[0].n
        if slice_:
            n = by.size(*slice_) if by.has_column(slice_[0]) else None
        if n is None:
            return None
        clusters = self._clusters(side)
        ordered = side.has_ids or len(side.runs) == 1

        def at(found: NDArray[Any]) -> NDArray[Any]:
            return found if slice_ is None else found[..., by.groups(slice_[0]).codes == self._group(by, slice_)]

        def clusters_here() -> NDArray[Any] | None:
            return None if clusters is None else at(clusters.codes)

        if metric in self._readers:
            return SetLevel.of_runs(
                self._readers[metric].metric,
                lambda: tuple(run.at(at(np.arange(run.n))) if slice_ else run for run in self._predicted(metric, side)),
                n=n,
                runs=len(side.runs),
                ordered=ordered,
                clusters=clusters_here,
            )

        def samples() -> tuple[Sample, ...]:
            found = self._scatters(sides, metric, slice_, grouped=by)
            return tuple(one.sample(self._group(by, slice_), side=sides.index(side)) for one in found)

        return Examples(
            n=n,
            runs=len(side.runs),
            ordered=ordered,
            samples=samples,
            scores=lambda: at(side.matrix(metric)),
            clusters=clusters_here,
        )

    def _group(self, side: Side, slice_: tuple[str, str] | None) -> int:
        return 0 if slice_ is None else side.groups(slice_[0]).names.index(slice_[1])

    def _scatters(
        self,
        sides: tuple[Side, ...],
        metric: str,
        slice_: tuple[str, str] | None,
        *,
        grouped: Side | None = None,
    ) -> Scatters:
        """The scores of a metric summed up: read once for all slices that the rules ask for."""
        by = grouped or sides[0]
        asked = slice_[0] if slice_ else None
        known = self._reductions.setdefault((metric, *(id(side) for side in sides)), {})
        if asked not in known:
            columns = [column for rule in self.config.rules if rule.metric == metric for column in rule.slices]
            columns = [column for column in dict.fromkeys(columns) if by.has_column(column)]
            known.update(
                reduction.reduce(
                    sides,
                    metric,
                    slices={column: by.groups(column) for column in dict.fromkeys([*columns, *([asked] if asked else [])])},
                    clusters=self._clusters(sides[0]),
                    apart=not all(side.has_ids or len(side.runs) == 1 for side in sides),
                )
            )
        return known[asked]

    def _clusters(self, side: Side) -> Groups | None:
        column = self.config.scores.cluster
        if column is None or side in self.history:
            return None
        if not side.has_column(column):
            raise InputError(
                f"there is no column `{column}`",
                where=str(side.tables[0].path),
                expected="the cluster column that the configuration names",
                fix="write it from the evaluation, or set `scores: {cluster: null}`",
            )
        return side.groups(column)

    def _is_foreign(self, side: Side) -> bool:
        """Whether recorded scores are those of another test set, as far as that can be known."""
        if not (side.has_scores and self.candidate.has_scores):
            return False
        return bool(side.mismatch) or side.tables[0].n != self.candidate.tables[0].n

    def _noise(self, metric: str, slice_: tuple[str, str] | None) -> NoiseSources:
        sliced = slice_ is not None
        scored: list[Examples] = []
        values: list[list[float]] = []
        for side in self.history:
            if self._has(side, metric) and not self._is_foreign(side):
                by = self.candidate if side.aligned else side
                found = self._examples(side, metric, slice_, sides=(side,), grouped=by)
                if found is not None:
                    scored.append(found)
            elif not sliced:
                values.append([run.metrics[metric].value for run in side.runs if metric in run.metrics])
        own = (
            []
            if sliced
            else [
                [run.metrics[metric].value for run in side.runs if metric in run.metrics]
                for side in (self.candidate, self.baseline)
                if not self._has(side, metric)
            ]
        )
        return NoiseSources(
            history=tuple(scored),
            own_values=tuple(tuple(v) for v in own),
            history_values=tuple(tuple(v) for v in values if v),
            given=self.config.noise.get(metric),
            sliced=sliced,
        )

    def _unpaired_reason(self, metric: str) -> str:
        for side in (self.candidate, self.baseline):
            if not self._has(side, metric):
                return f"the {side.label} has no score per example for it"
            if not side.has_ids:
                return f"the score table of the {side.label} has no id column `{self.config.scores.id}`"
        return "the examples differ"

    def _metric_problem(
        self, metric: str, slice_name: str | None, candidate: Examples | Value | None, baseline: Examples | Value | None
    ) -> str:
        if self.problem:
            return self.problem
        what = f"the slice {slice_name}" if slice_name else f"the metric `{metric}`"
        for side, found in ((self.candidate, candidate), (self.baseline, baseline)):
            if found is None and side.runs:
                lacks = f"`{metric}`" if slice_name and not self._has(side, metric) else what
                return f"the {side.label} does not have {lacks}"
        if self.paired and metric in self._readers and all(self._has(side, metric) for side in (self.candidate, self.baseline)):
            truth = (self._predicted(metric, side)[0] for side in (self.candidate, self.baseline))
            if changed := self._readers[metric].changed_truth(*truth):
                return changed
        return comparability.metric_problem(metric, self.candidate, self.baseline, config=self.config)

    def _distinct(self, side: Side, *, own: int | None = None) -> Side:
        """The side without runs that are copies of each other; beyond the first ``own`` copies are to be expected."""
        columns = [
            column
            for name, metric in self.config.metrics.items()
            for column in (metric.columns[1:2] if metric.set_level else (name,))
            if side.has_column(column) and (not metric.set_level or all(t.columns[column] != "text" for t in side.tables))
        ]
        different, warning = copies.without(side, columns, own=own)
        if warning:
            self.warnings.append(warning)
        return different


def _all_ids(runs: Sequence[Run]) -> bool:
    return bool(runs) and all(run.scores is not None and run.scores.has_ids for run in runs)

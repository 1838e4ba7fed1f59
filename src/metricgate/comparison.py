"""Brings two sets of runs together: which examples pair with which, which slices there are, and what can't be compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from metricgate import comparability
from metricgate import history as recorded_runs
from metricgate.config import Config
from metricgate.errors import InputError
from metricgate.run import Run
from metricgate.score_table import natural_order
from metricgate.side import Side
from metricgate.stats.means import Codes, Scores, Value, is_binary
from metricgate.training_noise import NoiseSources


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What both sides say about one metric, on all examples or on one slice.

    Attributes:
        metric: The metric's name.
        slice: ``label=8``, or None for all examples.
        candidate: Scores of shape (runs, n), or a value without scores; None where the candidate lacks the metric.
        baseline: The same of the baseline.
        candidate_ordered: Whether column i is the same example in all of the candidate's runs, which only ids can tell.
        baseline_ordered: The same of the baseline.
        candidate_clusters: Shape (n,); None where examples are independent.
        baseline_clusters: The same of the baseline.
        paired: Whether column i of both matrices is the same example.
        unpaired_reason: Why not, where both sides are there.
        problem: Why the two sides can't be compared; empty where they can.
        noise: Where the training noise of this metric can come from.
    """

    metric: str
    slice: str | None
    candidate: Scores | Value | None
    baseline: Scores | Value | None
    candidate_ordered: bool = True
    baseline_ordered: bool = True
    candidate_clusters: Codes | None = None
    baseline_clusters: Codes | None = None
    paired: bool = False
    unpaired_reason: str = ""
    problem: str = ""
    noise: NoiseSources = field(default_factory=NoiseSources)

    @property
    def n(self) -> int | None:
        """The number of test examples of the smaller side."""
        sizes = [_size(side) for side in (self.candidate, self.baseline)]
        known = [size for size in sizes if size is not None]
        return min(known, default=None)

    @property
    def candidate_n(self) -> int | None:
        """The number of the candidate's test examples."""
        return _size(self.candidate)

    @property
    def binary(self) -> bool:
        """Whether all scores that there are are 0 or 1."""
        matrices = [side for side in (self.candidate, self.baseline) if isinstance(side, np.ndarray)]
        return bool(matrices) and is_binary(*matrices)


@dataclass(frozen=True)
class Flips:
    """The examples that most runs of one side get right and most of the other get wrong."""

    metric: str
    worse: tuple[str, ...]
    better: tuple[str, ...]
    n: int


class Comparison:
    """A candidate beside its baseline, metric by metric and slice by slice.

    Args:
        candidate: The candidate's runs, at least one.
        baseline: The baseline's runs; none where it is missing.
        history: Recorded runs of the main branch, for the training noise.
        config: Which metrics, slices, ids and clusters.

    Raises:
        InputError: A score table is malformed, or the runs of one side have different test sets.
    """

    def __init__(
        self, candidate: Sequence[Run], baseline: Sequence[Run], *, history: Sequence[Run] = (), config: Config
    ) -> None:
        self.config = config
        self.warnings: list[str] = []
        self.candidate = self._distinct(Side(candidate, label="candidate"))
        reference = self.candidate.tables[0] if self.candidate.has_ids else None
        recorded = recorded_runs.without(history, [*candidate, *baseline])
        earlier = recorded_runs.of_same_training(recorded, baseline)
        everything = [*baseline, *earlier]
        self.baseline = self._distinct(
            Side(everything, label="baseline", reference=reference if _all_ids(everything) else None), own=len(baseline)
        )
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
        return self._evidence(metric, None, None, None)

    def slices(self, metric: str, column: str) -> list[Evidence]:
        """Everything about one metric on each value of a slice column; slices that one side lacks have a problem."""
        sides = [side for side in (self.candidate, self.baseline) if side.runs]
        if lacking := [side.label for side in sides if not side.has_column(column)]:
            problem = f"the score table of the {' and the '.join(lacking)} has no column `{column}`"
            return [Evidence(metric=metric, slice=f"{column}=*", candidate=None, baseline=None, problem=problem)]
        members = [side.members(column) if side.runs else {} for side in (self.candidate, self.baseline)]
        names = [name for groups in members for name in groups]
        return [
            self._evidence(metric, (column, name), *(groups.get(name) for groups in members))
            for name in sorted(dict.fromkeys(names), key=natural_order)
        ]

    def flips(self, metric: str, *, only: str | None = None) -> Flips | None:
        """The examples that turned, by the majority of each side's runs; None where they can't be known.

        Args:
            metric: A metric with 0/1 scores.
            only: A column; examples where it is 0 or false are left out.
        """
        if not self.paired or self.problem:
            return None
        if not (self.candidate.has_column(metric) and self.baseline.has_column(metric)):
            return None
        candidate, baseline = self.candidate.matrix(metric), self.baseline.matrix(metric)
        if not is_binary(candidate, baseline):
            return None
        keep = np.ones(candidate.shape[1], dtype=bool)
        if only is not None:
            if not self.baseline.has_column(only):
                return None
            # What is critical was decided on the main branch: the candidate can't unmark an example.
            keep = self.baseline.matrix(only)[0] != 0
        before, after = baseline.mean(axis=0), candidate.mean(axis=0)
        if self.config.metrics[metric].direction == "lower":
            before, after = 1 - before, 1 - after
        table = self.candidate.tables[0]
        worse = np.flatnonzero(keep & (before > 0.5) & (after < 0.5))
        better = np.flatnonzero(keep & (before < 0.5) & (after > 0.5))
        ids = table.ids_at(np.concatenate([worse, better]))
        return Flips(metric, tuple(ids[: len(worse)]), tuple(ids[len(worse) :]), int(keep.sum()))

    def _evidence(
        self,
        metric: str,
        slice_: tuple[str, str] | None,
        candidate_at: NDArray[np.intp] | None,
        baseline_at: NDArray[np.intp] | None,
    ) -> Evidence:
        sliced = slice_ is not None
        slice_name = "=".join(slice_) if slice_ else None
        candidate = self._scores(self.candidate, metric, candidate_at, sliced=sliced)
        baseline = self._scores(self.baseline, metric, baseline_at, sliced=sliced)
        both = isinstance(candidate, np.ndarray) and isinstance(baseline, np.ndarray)
        paired = self.paired and both and candidate.shape[1:] == baseline.shape[1:]  # type: ignore[union-attr]
        return Evidence(
            metric=metric,
            slice=slice_name,
            candidate=candidate,
            baseline=baseline,
            candidate_clusters=self._clusters(self.candidate, candidate_at) if isinstance(candidate, np.ndarray) else None,
            baseline_clusters=self._clusters(self.baseline, baseline_at) if isinstance(baseline, np.ndarray) else None,
            paired=paired,
            unpaired_reason="" if paired or self.missing_baseline else self._unpaired_reason(metric),
            problem=self._metric_problem(metric, slice_name, candidate, baseline),
            candidate_ordered=self.candidate.has_ids,
            baseline_ordered=self.baseline.has_ids,
            noise=self._noise(metric, slice_, candidate_at),
        )

    def _scores(self, side: Side, metric: str, at: NDArray[np.intp] | None, *, sliced: bool) -> Scores | Value | None:
        if sliced and at is None:
            return None
        if side.has_column(metric):
            matrix = side.matrix(metric)
            return matrix if at is None else matrix[:, at]
        return None if sliced or not side.runs else side.value(metric)

    def _clusters(self, side: Side, at: NDArray[np.intp] | None) -> Codes | None:
        column = self.config.scores.cluster
        if column is None:
            return None
        if not side.has_column(column):
            raise InputError(
                f"there is no column `{column}`",
                where=str(side.tables[0].path),
                expected="the cluster column that the configuration names",
                fix="write it from the evaluation, or set `scores: {cluster: null}`",
            )
        codes = side.groups(column).codes
        return codes if at is None else codes[at]

    def _is_foreign(self, side: Side) -> bool:
        """Whether recorded scores are those of another test set, as far as that can be known."""
        if not (side.has_scores and self.candidate.has_scores):
            return False
        return bool(side.mismatch) or side.tables[0].n != self.candidate.tables[0].n

    def _noise(self, metric: str, slice_: tuple[str, str] | None, candidate_at: NDArray[np.intp] | None) -> NoiseSources:
        sliced = slice_ is not None
        matrices: list[Scores] = []
        unordered: list[Scores] = []
        values: list[list[float]] = []
        for side in self.history:
            if side.has_column(metric) and not self._is_foreign(side):
                at = _positions(side, slice_, candidate_at) if slice_ else slice(None)
                if at is not None:
                    kept = matrices if side.has_ids or len(side.runs) == 1 else unordered
                    kept.append(side.matrix(metric)[:, at])
            elif not sliced:
                values.append([run.metrics[metric].value for run in side.runs if metric in run.metrics])
        own = (
            []
            if sliced
            else [
                [run.metrics[metric].value for run in side.runs if metric in run.metrics]
                for side in (self.candidate, self.baseline)
                if not side.has_column(metric)
            ]
        )
        return NoiseSources(
            history=tuple(matrices),
            unordered=tuple(unordered),
            own_values=tuple(tuple(v) for v in own),
            history_values=tuple(tuple(v) for v in values if v),
            given=self.config.noise.get(metric),
            sliced=sliced,
        )

    def _unpaired_reason(self, metric: str) -> str:
        for side in (self.candidate, self.baseline):
            if not side.has_column(metric):
                return f"the {side.label} has no score per example for it"
            if not side.has_ids:
                return f"the score table of the {side.label} has no id column `{self.config.scores.id}`"
        return "the examples differ"

    def _metric_problem(
        self, metric: str, slice_name: str | None, candidate: Scores | Value | None, baseline: Scores | Value | None
    ) -> str:
        if self.problem:
            return self.problem
        what = f"the slice {slice_name}" if slice_name else f"the metric `{metric}`"
        for side, found in ((self.candidate, candidate), (self.baseline, baseline)):
            if found is None and side.runs:
                lacks = f"`{metric}`" if slice_name and not side.has_column(metric) else what
                return f"the {side.label} does not have {lacks}"
        return comparability.metric_problem(metric, self.candidate, self.baseline, config=self.config)

    def _distinct(self, side: Side, *, own: int | None = None) -> Side:
        """Runs that are copies of each other count once: a seed that nothing reads makes no new evidence.

        Beyond the first ``own`` runs there are earlier ones, of which copies are to be expected.

        Runs without scores all stay: single values that are equal (a parameter count) say nothing about the seeds.
        """
        columns = [metric for metric in self.config.metrics if side.has_column(metric)]
        if len(side.runs) < 2 or not columns:
            return side
        kept: list[int] = []
        for index in range(len(side.runs)):
            # The first metric tells nearly all runs apart, so that the others are seldom read twice.
            if not any(all(_equal(side.matrix(c), index, other) for c in columns) for other in kept):
                kept.append(index)
        if len(kept) == len(side.runs):
            return side
        runs = own or len(side.runs)
        different = sum(index < runs for index in kept)
        if different < runs:
            self.warnings.append(
                f"{runs} runs of the {side.label} hold {different} different result{'s'[: different != 1]}: the training "
                "probably does not read METRICGATE_SEED. Equal runs count once."
            )
        return side.only(kept)


def _equal(matrix: Scores, one: int, other: int) -> bool:
    return np.array_equal(matrix[one], matrix[other])


def _all_ids(runs: Sequence[Run]) -> bool:
    return bool(runs) and all(run.scores is not None and run.scores.has_ids for run in runs)


def _positions(side: Side, slice_: tuple[str, str], candidate_at: NDArray[np.intp] | None) -> NDArray[np.intp] | None:
    """Where a slice is in recorded scores; None where that can't be known."""
    if side.aligned:
        return candidate_at
    column, name = slice_
    return side.members(column).get(name) if side.has_column(column) else None


def _size(side: Scores | Value | None) -> int | None:
    if side is None:
        return None
    return side.n if isinstance(side, Value) else side.shape[1]

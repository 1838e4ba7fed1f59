"""The examples that turned from right to wrong, and from wrong to right."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from metricgate.side import Side
from metricgate.stats.scatter import Scores

NAMED = 10_000
"""The most ids that are listed in each direction: a report of a hundred million examples stays readable."""


@dataclass(frozen=True)
class Flips:
    """The examples that most runs of one side get right and most of the other get wrong.

    Attributes:
        metric: By which metric.
        worse: The ids of those that got worse, the first ``NAMED`` of them.
        better: The same of those that got better.
        n: All examples, or all that are protected.
        unnamed_worse: How many more got worse.
        unnamed_better: How many more got better.
    """

    metric: str
    worse: tuple[str, ...]
    better: tuple[str, ...]
    n: int
    unnamed_worse: int = 0
    unnamed_better: int = 0


@dataclass
class _Turned:
    """Positions of examples that turned: all are counted, the first are named."""

    named: list[int] = field(default_factory=list)
    count: int = 0

    def add(self, positions: NDArray[np.int64]) -> None:
        self.named += positions[: NAMED - len(self.named)].tolist()
        self.count += len(positions)


def between(candidate: Side, baseline: Side, metric: str, *, higher: bool, only: str | None = None) -> Flips | None:
    """The flips between two sides whose examples are in the same order; None where there are no 0/1 scores on both.

    Args:
        candidate: The runs under test.
        baseline: What they are compared with.
        metric: By which scores.
        higher: Whether 1 is right.
        only: A column of the baseline; examples where it is 0 or false are left out. None too where it is not there: what is
            protected was decided on the main branch, and the candidate can't unmark an example.
    """
    if not (candidate.has_column(metric) and baseline.has_column(metric)):
        return None
    if only is not None and not baseline.has_column(only):
        return None
    protected = baseline.batches(only) if only is not None else itertools.repeat(None)
    worse, better = _Turned(), _Turned()
    n = start = 0
    for after, before, marks in zip(candidate.batches(metric), baseline.batches(metric), protected, strict=False):
        if not (_is_binary(after) and _is_binary(before)):
            return None
        keep = np.ones(after.shape[1], dtype=np.bool_) if marks is None else marks[0] != 0
        is_right, was_right = (side.mean(axis=0) - 0.5 for side in (after, before))
        if not higher:
            is_right, was_right = -is_right, -was_right
        worse.add(start + np.flatnonzero(keep & (was_right > 0) & (is_right < 0)))
        better.add(start + np.flatnonzero(keep & (was_right < 0) & (is_right > 0)))
        n += int(np.count_nonzero(keep))
        start += after.shape[1]
    ids = [tuple(candidate.tables[0].ids_at(one.named)) for one in (worse, better)]
    return Flips(metric, ids[0], ids[1], n, worse.count - len(ids[0]), better.count - len(ids[1]))


def _is_binary(scores: Scores) -> bool:
    return bool(((scores == 0) | (scores == 1)).all())

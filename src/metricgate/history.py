"""Recorded runs of the main branch: which of them are baseline runs, and which tell only how noisy training is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from metricgate.run import Run


def without(history: Sequence[Run], judged: Sequence[Run]) -> list[Run]:
    """The recorded runs that are not judged themselves, wherever their copies lie: told by commit and seed."""
    known = {_identity(run) for run in judged} - {None}
    return [run for run in history if _identity(run) not in known]


def of_same_training(history: Sequence[Run], baseline: Sequence[Run]) -> list[Run]:
    """Earlier runs that count as baseline runs: the same training (by fingerprint), evaluated in the same way.

    Nothing that training depends on changed between them, so only the seed and the hardware's luck differ. Only where
    ``train.inputs`` is declared are there fingerprints to go by.
    """
    prints = {_prints(run) for run in baseline}
    if len(prints) != 1 or None in next(iter(prints)):
        return []
    return [run for run in history if _prints(run) in prints and run.scores is not None]


def commits(history: Sequence[Run]) -> list[list[Run]]:
    """The recorded runs commit by commit, oldest first; runs without a commit belong to that of their folder."""

    def commit(run: Run) -> str:
        return run.record.commit or str(run.where.parent)

    groups = [list(runs) for _, runs in itertools.groupby(sorted(history, key=commit), key=commit)]
    return sorted(groups, key=lambda runs: (min(run.record.times.started or "" for run in runs), str(runs[0].where)))


def _prints(run: Run) -> tuple[object, ...]:
    own = run.record.fingerprints
    return own.training, own.evaluation, own.test_set, own.reference_columns


def _identity(run: Run) -> tuple[str, int | None] | None:
    return (run.record.commit, run.record.seed) if run.record.commit else None

"""Recorded runs of the main branch: which of them are baseline runs, and which tell only how noisy training is."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from metricgate.run import Run


def without(history: Sequence[Run], judged: Sequence[Run]) -> list[Run]:
    """The recorded runs that are not judged themselves, and each training once, wherever copies of it lie.

    A training that was reused for later commits is recorded with each of them: counted as often, it would make the training
    noise look better known, or, between successive commits, smaller than it is. What is kept is the one that was evaluated as
    those are that are judged, or else the first of them.
    """
    known = {training_of(run) for run in judged} - {None}
    evaluations = {run.record.fingerprints.evaluation for run in judged}

    def worth(run: Run) -> tuple[bool, bool]:
        return run.record.fingerprints.evaluation not in evaluations, run.record.reused_from is not None

    kept = set()
    for index in sorted(range(len(history)), key=lambda index: worth(history[index])):
        training = training_of(history[index])
        if training is None or training not in known:
            kept.add(index)
            known.add(training)
    return [run for index, run in enumerate(history) if index in kept]


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


def training_of(run: Run) -> tuple[str, int | None] | None:
    """Which training a run is of: the commit that was trained, and the seed; None where that is not known."""
    record = run.record
    commit = record.reused_from.commit if record.reused_from else record.commit
    return (commit, record.seed) if commit else None

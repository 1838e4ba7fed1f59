"""Recorded runs that may take the place of a training, copied out of a store that is a folder.

A branch on GitHub is not searched for them: each run would cost a request. There, those count that were read for comparing.
"""

from __future__ import annotations

from pathlib import Path

from metricgate.baseline.store import RunStore
from metricgate.errors import MetricgateError


def copy_out(store: RunStore, name: str, *, training: str, seed: int, into: Path) -> Path | None:
    """Copy the newest recorded commit out that has a run of a training and a seed.

    Args:
        store: Where runs are recorded.
        name: The model.
        training: The fingerprint of the training.
        seed: The seed.
        into: A folder; the runs go into one named after the commit in it.

    Returns:
        That folder; None where there is no such run, or the store can't be read: then it is trained.
    """
    try:
        times = store.commits(name)
        for commit in sorted(times, key=lambda commit: times[commit], reverse=True):
            found = store.records(name, commit).values()
            if any(record.seed == seed and record.fingerprints.training == training for record in found):
                return store.load(name, commit, into)
    except (MetricgateError, OSError):
        pass
    return None

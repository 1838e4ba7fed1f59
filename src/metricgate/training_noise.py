"""Where the training noise of a comparison comes from: seeds, recorded commits, successive commits, the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from metricgate.stats import noise
from metricgate.stats.inference import UndecidableError
from metricgate.stats.means import Scores

Linearise = Callable[[Scores], Scores]


@dataclass(frozen=True, kw_only=True)
class NoiseSources:
    """Runs beside candidate and baseline that tell how much a metric moves when only the seed changes.

    Attributes:
        history: Score matrices of recorded commits, oldest first, each of shape (runs, n).
        unordered: The same of commits whose examples have no ids, so that nobody knows which scores of two runs belong to the
            same example.
        own_values: Single values of candidate and baseline, where they have no scores.
        history_values: Single values of recorded commits without scores, oldest first, one tuple a commit.
        given: The standard deviation from the configuration.
        sliced: Whether all this is about a slice.
    """

    history: tuple[Scores, ...] = ()
    unordered: tuple[Scores, ...] = ()
    own_values: tuple[tuple[float, ...], ...] = ()
    history_values: tuple[tuple[float, ...], ...] = ()
    given: float | None = None
    sliced: bool = False


def estimate(sources: NoiseSources, own: tuple[Scores, ...], *, linearise: Linearise) -> tuple[noise.Noise | None, str]:
    """The training noise, from the best source there is, and a warning (empty where there is none).

    Pooled over all commits with several runs (candidate and baseline among them); else from successive single runs; else
    from the configuration; else None.
    """
    own_noise = [noise.of_scores(scores) for scores in own] + [noise.of_values(values) for values in sources.own_values]
    history, unordered = _usable(sources.history, linearise), _usable(sources.unordered, linearise)
    recorded = [noise.of_scores(scores) for scores in history]
    recorded += [noise.of_values([float(mean) for mean in scores.mean(axis=1)]) for scores in unordered]
    recorded += [noise.of_values(values) for values in sources.history_values]
    # Runs of one commit that are all alike (a parameter count, a training that ignores its seed) say nothing about noise,
    # and would dilute what the others say.
    mine = [item for item in own_noise if item is not None and item.variance > 0]
    theirs = [item for item in recorded if item is not None and item.variance > 0]
    if mine or theirs:
        return _pooled(mine, theirs)
    singles = [float(np.mean(scores)) for scores in history]
    singles = singles or [value for values in sources.history_values for value in values]
    if (successive := noise.of_successive(singles)) is not None and successive.variance > 0:
        return successive, ""
    if sources.given is not None:
        known = noise.given(sources.given)
        return replace(known, source=f"{known.source} for all examples") if sources.sliced else known, ""
    return None, ""


def _usable(matrices: tuple[Scores, ...], linearise: Linearise) -> list[Scores]:
    """The linearised matrices; a recorded commit that has no such quantile is no reason not to judge this one."""
    usable = []
    for scores in matrices:
        with contextlib.suppress(UndecidableError):
            usable.append(linearise(scores))
    return usable


def _pooled(mine: list[noise.Noise], theirs: list[noise.Noise]) -> tuple[noise.Noise, str]:
    runs = int(sum(item.df + 1 for item in mine))
    source = f"of {runs} runs" if mine else ""
    if theirs:
        commits = f"{len(theirs)} recorded commit{'s'[: len(theirs) != 1]}"
        try:
            return noise.pool([*mine, *theirs], source=f"{source} and {commits}" if source else f"of {commits}"), ""
        except UndecidableError as error:
            if not mine:
                worst = max(theirs, key=lambda item: item.variance)
                return worst, f"{error}; the largest is used"
            pooled, warning = _pooled(mine, [])
            return pooled, warning or f"{error}; the recorded commits are left out"
    try:
        return noise.pool(mine, source=source), ""
    except UndecidableError as error:
        # Never the smaller of two: an interval that is too wide passes nothing that it should not.
        return max(mine, key=lambda item: item.variance), f"{error}; the larger of candidate and baseline is used"

"""Where the training noise of a comparison comes from: seeds, recorded commits, successive commits, the configuration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from metricgate.examples import Examples
from metricgate.stats import noise
from metricgate.stats.inference import UndecidableError
from metricgate.stats.scatter import Sample

Reduce = Callable[[Examples], tuple[Sample, ...]]
"""What an aggregate makes of examples: samples whose means are the runs' metrics."""


@dataclass(frozen=True, kw_only=True)
class NoiseSources:
    """Runs beside candidate and baseline that tell how much a metric moves when only the seed changes.

    Attributes:
        history: The examples of recorded commits with scores, oldest first.
        own_values: Single values of candidate and baseline, where they have no scores.
        history_values: Single values of recorded commits without scores, oldest first, one tuple a commit.
        given: The standard deviation from the configuration.
        sliced: Whether all this is about a slice.
    """

    history: tuple[Examples, ...] = ()
    own_values: tuple[tuple[float, ...], ...] = ()
    history_values: tuple[tuple[float, ...], ...] = ()
    given: float | None = None
    sliced: bool = False


def estimate(sources: NoiseSources, own: Sequence[Sample], *, reduce: Reduce) -> tuple[noise.Noise | None, str]:
    """The training noise, from the best source there is, and a warning (empty where there is none).

    Pooled over all commits with several runs (candidate and baseline among them); else from successive single runs; else
    from the configuration; else None.
    """
    own_noise = [noise.of_scores(sample) for sample in own] + [noise.of_values(values) for values in sources.own_values]
    history = _usable(sources.history, reduce)
    recorded = [of_samples(samples) for samples in history]
    recorded += [noise.of_values(values) for values in sources.history_values]
    # Runs of one commit that are all alike (a parameter count, a training that ignores its seed) say nothing about noise,
    # and would dilute what the others say.
    mine = [item for item in own_noise if item is not None and item.variance > 0]
    theirs = [item for item in recorded if item is not None and item.variance > 0]
    if mine or theirs:
        return _pooled(mine, theirs)
    singles = [sample.mean for samples in history for sample in samples if sample.runs == len(samples) == 1]
    singles = singles or [value for values in sources.history_values for value in values]
    if (successive := noise.of_successive(singles)) is not None and successive.variance > 0:
        return successive, ""
    if sources.given is not None:
        known = noise.given(sources.given)
        return replace(known, source=f"{known.source} for all examples") if sources.sliced else known, ""
    return None, ""


def of_samples(samples: Sequence[Sample]) -> noise.Noise | None:
    """The noise among the runs of one commit; without their residual where they are samples apart."""
    return noise.of_scores(samples[0]) if len(samples) == 1 else noise.of_values([sample.mean for sample in samples])


def _usable(history: Sequence[Examples], reduce: Reduce) -> list[tuple[Sample, ...]]:
    """The recorded commits reduced; one that has no such quantile is no reason not to judge this one."""
    usable = []
    for examples in history:
        with contextlib.suppress(UndecidableError):
            usable.append(reduce(examples))
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

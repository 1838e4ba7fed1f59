"""What both sides of a comparison say about one metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from metricgate.examples import Examples
from metricgate.stats.means import Value
from metricgate.stats.scatter import Pair
from metricgate.training_noise import NoiseSources


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What both sides say about one metric, on all examples or on one slice.

    Attributes:
        metric: The metric's name.
        slice: ``label=8``, or None for all examples.
        candidate: Its examples, or a value without scores; None where the candidate lacks the metric.
        baseline: The same of the baseline.
        pair: Both sides summed up together; None where their examples can't be paired.
        unpaired_reason: Why not, where both sides are there.
        problem: Why the two sides can't be compared; empty where they can.
        noise: Where the training noise of this metric can come from.
        same_runs: Whether both sides are the same runs, because nothing that training depends on changed.
    """

    metric: str
    slice: str | None
    candidate: Examples | Value | None
    baseline: Examples | Value | None
    pair: Callable[[], Pair] | None = None
    unpaired_reason: str = ""
    problem: str = ""
    noise: NoiseSources = field(default_factory=NoiseSources)
    same_runs: bool = False

    @property
    def paired(self) -> bool:
        """Whether both sides have the same examples in the same order."""
        return self.pair is not None

    @property
    def n(self) -> int | None:
        """The number of test examples of the smaller side."""
        sizes = [side.n for side in (self.candidate, self.baseline) if side is not None and side.n is not None]
        return min(sizes, default=None)

    @property
    def candidate_n(self) -> int | None:
        """The number of the candidate's test examples."""
        return self.candidate.n if self.candidate is not None else None

    @property
    def binary(self) -> bool:
        """Whether all scores that there are are 0 or 1."""
        found = [side.samples() for side in (self.candidate, self.baseline) if isinstance(side, Examples)]
        return bool(found) and all(sample.binary for samples in found for sample in samples)

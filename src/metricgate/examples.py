"""The examples that a number rests on: one side's scores, on the whole test set or on a slice."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from metricgate.stats.scatter import Codes, Sample, Scores


@dataclass(frozen=True, kw_only=True)
class Examples:
    """Scores of one side's runs: summed up without ever being in memory, and read in full only when somebody asks.

    Attributes:
        n: The number of examples.
        runs: The number of runs.
        ordered: Whether all runs have their examples in the same order, which only ids can tell.
        samples: Everything that inference about means needs: one sample of all runs, or one a run where they are not ordered.
        scores: The scores themselves, shape (runs, n): as much memory as they take.
        clusters: Shape (n,), the cluster of each example; None where examples are independent.
    """

    n: int
    runs: int
    ordered: bool = True
    samples: Callable[[], tuple[Sample, ...]] = field(repr=False)
    scores: Callable[[], Scores] = field(repr=False)
    clusters: Callable[[], Codes | None] = field(default=lambda: None, repr=False)

    @classmethod
    def of(cls, scores: Scores, *, clusters: Codes | None = None, ordered: bool = True) -> Examples:
        """Scores in memory, of shape (runs, n)."""
        together = [scores] if ordered else [run[None] for run in scores]
        return cls(
            n=scores.shape[1],
            runs=len(scores),
            ordered=ordered or len(scores) == 1,
            samples=lambda: tuple(Sample.of(one, clusters=clusters) for one in together),
            scores=lambda: scores,
            clusters=lambda: clusters,
        )

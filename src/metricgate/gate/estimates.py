"""Which statistical method answers for which evidence. The only place that chooses."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from metricgate import training_noise
from metricgate.comparison import Evidence
from metricgate.stats import means, quantiles
from metricgate.stats.inference import Inference
from metricgate.stats.means import Scores, Value
from metricgate.stats.noise import Noise
from metricgate.stats.power import Runs


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Evidence made ready for inference: every aggregate a mean, the training noise estimated.

    Attributes:
        candidate: Scores whose row means are the runs' metrics, or a value; None where there is none.
        baseline: The same of the baseline.
        noise: The training noise, where it is known.
        warning: What to tell about the noise.
    """

    evidence: Evidence
    candidate: Scores | Value | None
    baseline: Scores | Value | None
    noise: Noise | None
    warning: str = ""

    def difference(self, *, baseline_weight: float = 1.0) -> Inference:
        """Candidate − weight · baseline: paired where the examples can be paired, otherwise Welch.

        Raises:
            UndecidableError: The evidence allows no inference.
        """
        evidence = self.evidence
        if self.candidate is None or self.baseline is None:
            message = "a difference needs two sides"
            raise ValueError(message)
        if evidence.paired and isinstance(self.candidate, np.ndarray) and isinstance(self.baseline, np.ndarray):
            return means.paired_difference(
                self.candidate,
                self.baseline,
                baseline_weight=baseline_weight,
                clusters=evidence.candidate_clusters,
                noise=self.noise,
            )
        return means.unpaired_difference(
            self.candidate,
            self.baseline,
            baseline_weight=baseline_weight,
            candidate_clusters=evidence.candidate_clusters,
            baseline_clusters=evidence.baseline_clusters,
            noise=self.noise,
        )

    def runs(self, *, alone: bool = False, baseline_weight: float = 1.0) -> Runs:
        """How many runs such an inference rests on."""
        candidate = _runs(self.candidate)
        if alone:
            return Runs(candidate=candidate)
        return Runs(candidate=candidate, baseline=_runs(self.baseline), baseline_weight=baseline_weight)

    def candidate_alone(self) -> Inference:
        """The candidate's metric, for an absolute bound.

        Raises:
            UndecidableError: The evidence allows no inference.
        """
        if self.candidate is None:
            message = "there is no candidate"
            raise ValueError(message)
        return means.mean(self.candidate, clusters=self.evidence.candidate_clusters, noise=self.noise)


def measure(evidence: Evidence, *, aggregate: str) -> Measured:
    """Turn the aggregate into a mean and estimate the training noise.

    Raises:
        UndecidableError: There are too few examples for the aggregate.
    """

    def linearise(scores: Scores) -> Scores:
        if aggregate == "mean":
            return scores
        return quantiles.linearise(scores, quantile_of(aggregate))

    sources = evidence.noise
    sides: list[Scores | Value | None] = []
    for side, ordered, clusters in (
        (evidence.candidate, evidence.candidate_ordered, evidence.candidate_clusters),
        (evidence.baseline, evidence.baseline_ordered, evidence.baseline_clusters),
    ):
        ready = linearise(side) if isinstance(side, np.ndarray) else side
        if isinstance(ready, np.ndarray) and len(ready) > 1 and not ordered:
            sources = replace(sources, own_values=(*sources.own_values, tuple(float(mean) for mean in ready.mean(axis=1))))
            ready = means.summary(ready, clusters=clusters)
        sides.append(ready)
    candidate, baseline = sides
    own = tuple(side for side in sides if isinstance(side, np.ndarray))
    noise, warning = training_noise.estimate(sources, own, linearise=linearise)
    return Measured(evidence=evidence, candidate=candidate, baseline=baseline, noise=noise, warning=warning)


def quantile_of(aggregate: str) -> float:
    """0.5 for ``median``, 0.95 for ``p95``."""
    return 0.5 if aggregate == "median" else float(aggregate.removeprefix("p")) / 100


def _runs(side: Scores | Value | None) -> int:
    if side is None:
        return 1
    return side.runs if isinstance(side, Value) else len(side)


def value(side: Scores | Value | None, *, aggregate: str) -> float | None:
    """The metric of one side: the mean over its runs of each run's aggregate."""
    if side is None or isinstance(side, Value):
        return None if side is None else side.value
    if aggregate == "mean":
        return float(side.mean())
    return float(np.quantile(side, quantile_of(aggregate), axis=1).mean())

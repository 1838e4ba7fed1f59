"""Evidence made ready for inference: every aggregate a mean, the training noise estimated."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from metricgate import training_noise
from metricgate.evidence import Evidence
from metricgate.examples import Examples
from metricgate.gate import phrases
from metricgate.set_level import SetLevel
from metricgate.stats import choice, means, quantiles
from metricgate.stats.inference import Exact, Inference
from metricgate.stats.means import Value
from metricgate.stats.noise import Noise
from metricgate.stats.power import Runs
from metricgate.stats.scatter import Pair, Sample


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Evidence made ready for inference: every aggregate a mean, the training noise estimated.

    Attributes:
        candidate: A sample whose mean is the metric, or a value; None where there is none.
        baseline: The same of the baseline.
        pair: Both together, where their examples can be paired.
        noise: The training noise, where it is known.
        warning: What to tell about the noise.
    """

    evidence: Evidence
    candidate: Sample | Value | None
    baseline: Sample | Value | None
    pair: Pair | None
    noise: Noise | None
    warning: str = ""

    def difference(self, *, baseline_weight: float = 1.0) -> Inference:
        """Candidate − weight · baseline: paired where the examples can be paired, otherwise Welch.

        Raises:
            UndecidableError: The evidence allows no inference.
        """
        if self.candidate is None or self.baseline is None:
            message = "a difference needs two sides"
            raise ValueError(message)
        if self.evidence.same_runs:
            return _of_the_same(self.candidate, baseline_weight=baseline_weight)
        if self.pair is not None:
            return means.paired(self.pair, baseline_weight=baseline_weight, noise=self.noise)
        return means.unpaired_difference(self.candidate, self.baseline, baseline_weight=baseline_weight, noise=self.noise)

    def reason(self, *, alone: bool = False, baseline_weight: float = 1.0) -> str:
        """Why the method of such an inference is the one."""
        if self.candidate is None or (self.baseline is None and not alone) or (self.evidence.same_runs and not alone):
            return ""
        if alone or self.baseline is None:
            facts = means.facts_of_one(self.candidate, noise=self.noise)
        elif self.pair is not None:
            facts = means.facts_of_pair(self.pair, baseline_weight=baseline_weight, noise=self.noise)
        else:
            facts = means.facts_of_two(self.candidate, self.baseline, noise=self.noise)
        chosen = choice.choose(facts)
        if chosen.method in {"exact", "identical"}:
            return ""  # what the interval covers says it
        unpaired = self.evidence.unpaired_reason if facts.sides == "apart" else ""
        return f"not paired: {unpaired}" if unpaired else chosen.reason

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
        return means.mean(self.candidate, noise=self.noise)


def measure(evidence: Evidence, *, aggregate: str) -> Measured:
    """Turn the aggregate into a mean and estimate the training noise.

    Raises:
        UndecidableError: There are too few examples for the aggregate.
    """

    def reduce(examples: Examples) -> tuple[Sample, ...]:
        if aggregate == "mean" or isinstance(examples, SetLevel):
            return examples.samples()
        linear = quantiles.linearise(examples.scores(), quantile_of(aggregate))
        return Examples.of(linear, clusters=examples.clusters(), ordered=examples.ordered).samples()

    sources, pair = evidence.noise, None
    sides: list[Sample | Value | None] = []
    for side in (evidence.candidate, evidence.baseline):
        if not isinstance(side, Examples):
            sides.append(side)
            continue
        samples = reduce(side)
        if not side.ordered:
            sources = replace(sources, own_values=(*sources.own_values, tuple(sample.mean for sample in samples)))
        sides.append(samples[0] if side.ordered else means.summary(samples))
    if evidence.pair is not None:
        is_mean = aggregate == "mean" or isinstance(evidence.candidate, SetLevel)
        pair = evidence.pair() if is_mean else _linearised(evidence, quantile_of(aggregate))
    # One run on both sides is one run: counted twice, the training noise would seem better known than it is.
    own = [side for side in (sides[:1] if evidence.same_runs else sides) if isinstance(side, Sample)]
    noise, warning = training_noise.estimate(sources, own, reduce=reduce)
    candidate, baseline = sides
    return Measured(evidence=evidence, candidate=candidate, baseline=baseline, pair=pair, noise=noise, warning=warning)


def _linearised(evidence: Evidence, probability: float) -> Pair | None:
    candidate, baseline = evidence.candidate, evidence.baseline
    if not (isinstance(candidate, Examples) and isinstance(baseline, Examples)):
        return None
    linear = [quantiles.linearise(side.scores(), probability) for side in (candidate, baseline)]
    return Pair.of(*linear, clusters=candidate.clusters())


def quantile_of(aggregate: str) -> float:
    """0.5 for ``median``, 0.95 for ``p95``."""
    return 0.5 if aggregate == "median" else float(aggregate.removeprefix("p")) / 100


def value(side: Examples | Value | None, *, aggregate: str) -> float | None:
    """The metric of one side: the mean over its runs of each run's aggregate."""
    if side is None or isinstance(side, Value):
        return None if side is None else side.value
    if isinstance(side, SetLevel):
        return side.value()
    if aggregate == "mean":
        samples = side.samples()
        return float(np.mean([sample.mean for sample in samples]))
    return float(np.quantile(side.scores(), quantile_of(aggregate), axis=1).mean())


def _of_the_same(side: Sample | Value, *, baseline_weight: float) -> Exact:
    """side − weight · side, where both sides are the same runs: no test set and no seed could make it anything else."""
    value = side.value if isinstance(side, Value) else side.mean
    return Exact(
        estimate=value - baseline_weight * value,
        scale=abs(value),
        n=side.n or side.runs,
        method=phrases.SAME_RUNS,
        covers="nothing, since the training is the same and was not repeated",
    )


def _runs(side: Sample | Value | None) -> int:
    return 1 if side is None else side.runs

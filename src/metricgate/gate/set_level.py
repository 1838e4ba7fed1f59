"""Metrics of labels and predictions made ready for inference, by the method that is chosen for them."""

from __future__ import annotations

import dataclasses
import functools
from dataclasses import dataclass

from metricgate.gate.estimates import Measured
from metricgate.set_level import SetLevel
from metricgate.stats import auc, bootstrap, labelled, set_metrics
from metricgate.stats.choice import Choice, Facts, choose
from metricgate.stats.inference import Inference, UndecidableError

LEAST_DECIDING = 16.0
"""Degrees of freedom of the variance of influence values, about twice the number of examples that decide."""


@dataclass(frozen=True, kw_only=True)
class SetLevelMeasured(Measured):
    """Evidence about a metric of labels and predictions, and the method chosen."""

    choice: Choice

    def reason(self, *, alone: bool = False, baseline_weight: float = 1.0) -> str:  # noqa: ARG002 - one for all weights
        """Why the method is the one."""
        if self.evidence.same_runs and not alone:
            return ""
        unpaired = self.evidence.unpaired_reason
        return f"{self.choice.reason}; not paired: {unpaired}" if unpaired else self.choice.reason

    def difference(self, *, baseline_weight: float = 1.0) -> Inference:
        """Candidate − weight · baseline by the chosen method.

        Raises:
            UndecidableError: The evidence allows no inference.
        """
        if self.evidence.same_runs:
            return super().difference(baseline_weight=baseline_weight)
        candidate, baseline = self.evidence.candidate, self.evidence.baseline
        if not (isinstance(candidate, SetLevel) and isinstance(baseline, SetLevel)) or self.choice.method == "influence values":
            self._check_deciding(baseline_weight=baseline_weight)
            return self._named(super().difference(baseline_weight=baseline_weight))
        if self.choice.method == "bootstrap":
            return self._named(self._resampled.difference(baseline_weight=baseline_weight))
        ours, theirs = candidate.predicted()[0], baseline.predicted()[0]
        if not self.evidence.paired:
            return self._named(auc.unpaired_difference(ours, theirs, baseline_weight=baseline_weight))
        predictions = ours.prediction, theirs.prediction
        return self._named(auc.paired_difference(ours.label, *predictions, baseline_weight=baseline_weight))

    def candidate_alone(self) -> Inference:
        """The candidate's metric by the chosen method.

        Raises:
            UndecidableError: The evidence allows no inference.
        """
        candidate = self.evidence.candidate
        if not isinstance(candidate, SetLevel) or self.choice.method == "influence values":
            self._check_deciding(baseline_weight=0.0)
            return self._named(super().candidate_alone())
        if self.choice.method == "bootstrap":
            return self._named(self._alone(candidate).alone())
        return self._named(auc.area(candidate.predicted()[0]))

    @functools.cached_property
    def _resampled(self) -> bootstrap.Resampled:
        candidate, baseline = self.evidence.candidate, self.evidence.baseline
        if not (isinstance(candidate, SetLevel) and isinstance(baseline, SetLevel)):
            message = "a difference needs two sides"
            raise TypeError(message)
        if self.evidence.paired:
            samples = candidate.predicted()[0], baseline.predicted()[0]
            return bootstrap.paired(candidate.metric, *samples, clusters=candidate.clusters())
        return bootstrap.independent(self._alone(candidate), self._alone(baseline))

    def _alone(self, side: SetLevel) -> bootstrap.Resampled:
        return bootstrap.alone(side.metric, side.predicted()[0], clusters=side.clusters())

    def _check_deciding(self, *, baseline_weight: float) -> None:
        """Refuse a variance over examples that a few of them make, where it is all that the interval covers."""
        candidate, baseline = self.evidence.candidate, self.evidence.baseline
        if self.noise is not None or not isinstance(candidate, SetLevel):
            return
        scores = candidate.scores().mean(axis=0)
        if baseline_weight and self.evidence.paired and isinstance(baseline, SetLevel):
            scores = scores - baseline_weight * baseline.scores().mean(axis=0)
        shares = scores - scores.mean()
        if shares.any() and (df := set_metrics.deciding(shares)) < LEAST_DECIDING:
            raise UndecidableError(f"too few examples decide: as many as {max(df / 2, 1):.0f} would")

    def _named(self, result: Inference) -> Inference:
        """The result under a name that says what was done, about as many examples as there are."""
        candidate = self.evidence.candidate
        metric = candidate.metric.name if isinstance(candidate, SetLevel) else self.evidence.metric
        of = f" of the influence values of {metric}" if self.choice.method == "influence values" else ""
        said = {"method": f"{result.method}{of}", "n": self.evidence.n or result.n}
        # Every inference is a dataclass; tests of few examples count them themselves.
        own = {field.name for field in dataclasses.fields(result)}  # type: ignore[arg-type]  # the protocol can't say so
        return dataclasses.replace(result, **{name: said[name] for name in said if name in own})  # type: ignore[type-var]  # as above


def chosen(measured: Measured) -> Measured:
    """The evidence with the method for its metric; as it is where no labels and predictions are known."""
    sides = [side for side in (measured.evidence.candidate, measured.evidence.baseline) if isinstance(side, SetLevel)]
    if not sides:
        return measured
    weighted = any(side.weighted for side in sides)
    level = labelled.level_of(sides[0].metric, weighted=weighted)
    if level == "mean":
        return measured
    facts = Facts(
        sides="paired" if measured.evidence.paired else "apart",
        level=level,
        examples=max(side.n for side in sides),
        several=max(side.runs for side in sides) > 1,
        noise=measured.noise is not None,
        clustered=any(side.clusters() is not None for side in sides),
        weighted=weighted,
        ordered=all(side.ordered for side in sides),
    )
    choice = choose(facts)
    known = {field.name: getattr(measured, field.name) for field in dataclasses.fields(Measured)}
    return SetLevelMeasured(**known, choice=choice)

"""From a comparison and its verdict to the document that tells of them."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import asdict

from metricgate.comparison import Comparison
from metricgate.flips import Flips
from metricgate.gate.reuse import Reuse
from metricgate.gate.verdict import RuleResult, Verdict
from metricgate.report import cost
from metricgate.report.document import (
    FlipsInfo,
    IntervalInfo,
    Origin,
    Report,
    ReuseInfo,
    RuleInfo,
    SettlementInfo,
    SideInfo,
    UntestedInfo,
    VarianceInfo,
)
from metricgate.run import Run
from metricgate.stats.inference import Parts

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


def build(
    comparison: Comparison,
    verdict: Verdict,
    *,
    policy_changes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    origin: Origin | None = None,
    reuse: Reuse | None = None,
    policy: str | None = None,
    given: tuple[Sequence[Run], Sequence[Run]] | None = None,
    baseline_trained: bool = False,
) -> Report:
    """Put a comparison and its verdict into one document.

    Args:
        comparison: What was compared.
        verdict: What the rules say.
        policy_changes: How the candidate's policy differs from the one that judged, one line each.
        warnings: What the caller has to add to the verdict's own.
        origin: Where the baseline's runs come from, if they were recorded earlier.
        reuse: How often the test set has been asked, where that is known.
        policy: The digest of the policy in force, where only a part of it could be judged; by default that of the comparison's.
        given: The runs of candidate and baseline with those that a comparison leaves out, such as copies of each other; by
            default those that it looks at. The models of all of them are named, and their cost is told.
        baseline_trained: Whether the baseline was trained for this comparison, so that it is part of the cost.
    """
    config = comparison.config
    candidate, baseline = given or (comparison.candidate.runs, comparison.baseline.runs)
    trained = [run.record for run in (*candidate, *(baseline if baseline_trained else ()))]
    test_sets = {run.record.fingerprints.test_set or "" for run in comparison.candidate.runs}
    return Report(
        name=config.name,
        verdict=verdict.verdict,
        exit_code=int(verdict.exit_code),
        reasons=verdict.reasons,
        baseline=_side(comparison.baseline.runs, models=_models(baseline), origin=origin),
        candidate=_side(comparison.candidate.runs, models=_models(candidate)),
        alpha=config.gate.alpha,
        power=config.gate.power,
        rules=tuple(_rule(rule, level=1 - config.gate.alpha) for rule in verdict.rules),
        untested_slices=tuple(UntestedInfo(metric=u.metric, slice=u.slice, n=u.n, min_n=u.min_n) for u in verdict.untested),
        flips=_flips(comparison),
        policy_changed=bool(policy_changes),
        policy_changes=tuple(policy_changes),
        warnings=(*verdict.warnings, *warnings),
        reuse=ReuseInfo(**{key: getattr(reuse, key) for key in ReuseInfo.model_fields}) if reuse else None,
        policy=policy or config.policy_digest,
        test_set=next((found for found in test_sets if len(test_sets) == 1 and _DIGEST.fullmatch(found)), None),
        cost=cost.of(trained),
        reused=cost.reused(run.record for run in candidate),
    )


def _side(runs: Sequence[Run], *, models: dict[int, str], origin: Origin | None = None) -> SideInfo:
    first = runs[0].record if runs else None
    # Beside the runs of the baseline's commit there may be earlier ones of the same training.
    own = [run for run in runs if first and first.fingerprints.training and run.record.commit == first.commit] or runs
    commits = {run.record.commit for run in own if run.record.commit}
    commit = commits.pop() if len(commits) == 1 else None
    seeds = sorted(run.record.seed for run in own if run.record.seed is not None)
    return SideInfo(
        commit=commit,
        runs=len(own),
        seeds=tuple(seeds),
        earlier_runs=len(runs) - len(own),
        models=models,
        commits_before=origin.commits_before if origin else None,
        recorded=origin.recorded if origin else None,
    )


def _models(runs: Sequence[Run]) -> dict[int, str]:
    records = (run.record for run in runs)
    return {
        record.seed: record.model_digest
        for record in records
        if record.seed is not None and record.model_digest and _DIGEST.fullmatch(record.model_digest)
    }


def _rule(rule: RuleResult, *, level: float) -> RuleInfo:
    interval = rule.interval
    return RuleInfo(
        rule=rule.rule,
        metric=rule.metric,
        slice=rule.slice,
        kind=rule.kind,
        limit=rule.limit.value,
        relative=rule.limit.relative,
        direction=rule.direction,
        aggregate=rule.aggregate,
        binary=rule.binary,
        baseline=_finite(rule.baseline),
        candidate=_finite(rule.candidate),
        difference=_finite(rule.difference),
        interval=IntervalInfo(
            low=_finite(interval.low) if interval else None, high=_finite(interval.high) if interval else None, level=level
        ),
        p_value=_finite(rule.p_value),
        p_adjusted=_finite(rule.p_adjusted),
        p_pass=_finite(rule.p_pass),
        mde=_finite(rule.mde),
        smallest_limit=_finite(rule.smallest_limit),
        to_settle=_finite(rule.to_settle),
        settlement=SettlementInfo(**asdict(rule.settlement)) if rule.settlement else None,
        variance=_variance(rule.parts),
        n=rule.n,
        method=rule.method,
        noise=rule.noise,
        outcome=rule.outcome,
        reason=rule.reason,
    )


def _variance(parts: Parts | None) -> VarianceInfo | None:
    if parts is None:
        return None
    return VarianceInfo(
        examples=math.fsum(part.variance for part in parts.examples),
        training=parts.training.variance if parts.training else None,
        counted_twice=parts.counted_twice.variance if parts.counted_twice else 0.0,
    )


def _flips(comparison: Comparison) -> FlipsInfo:
    """The flips of the first metric, in the order of the rules, whose scores are 0 or 1."""
    for metric in dict.fromkeys(rule.metric for rule in comparison.config.rules):
        flips: Flips | None = comparison.flips(metric)
        if flips is not None:
            return FlipsInfo(
                metric=metric,
                worse=flips.worse,
                better=flips.better,
                unnamed_worse=flips.unnamed_worse,
                unnamed_better=flips.unnamed_better,
            )
    return FlipsInfo()


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None

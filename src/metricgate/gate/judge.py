"""Applies every rule of the policy to a comparison."""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass, replace

import numpy as np

from metricgate.comparison import Comparison
from metricgate.config import Config, MetricConfig, Rule
from metricgate.evidence import Evidence
from metricgate.gate import estimates, phrases, set_level, verdict
from metricgate.gate.estimates import Measured
from metricgate.gate.verdict import RuleResult, UntestedSlice, Verdict
from metricgate.stats import multiplicity, power
from metricgate.stats.inference import Alternative, Exact, Inference, UndecidableError
from metricgate.stats.means import Value
from metricgate.stats.power import Runs


@dataclass(frozen=True)
class _Test:
    """One rule's null hypothesis about one inference: ``fail`` is the alternative that makes the rule fail."""

    result: Inference
    null: float
    fail: Alternative
    runs: Runs

    @property
    def p_fail(self) -> float:
        return self.result.p_value(null=self.null, alternative=self.fail)

    @property
    def p_pass(self) -> float:
        return self.result.p_value(null=self.null, alternative=self.succeed)

    @property
    def succeed(self) -> Alternative:
        return "less" if self.fail == "greater" else "greater"


@dataclass(frozen=True)
class _Draft:
    """A rule's numbers before the correction for several rules; without a test the outcome is final already."""

    result: RuleResult
    test: _Test | None = None
    warning: str = ""


@np.errstate(over="ignore", invalid="ignore")  # what overflows ends as a number that is not finite, and inconclusive
def judge(comparison: Comparison) -> Verdict:
    """The verdict of the comparison's policy.

    Fails are corrected by Holm over all rules that compare with the baseline, slices included; passes need no correction,
    since a verdict passes only if every rule does (intersection-union test, Berger 1982).

    Raises:
        InputError: A score column that a rule needs is malformed.
    """
    config = comparison.config
    drafts: list[_Draft] = []
    untested: list[UntestedSlice] = []
    warnings = list(comparison.warnings)
    for index, rule in enumerate(config.rules):
        # What must not flip is protected wherever it is.
        for column in (rule.slices if rule.must_not_flip is None else ()) or (None,):
            tested, small = _apply_to(rule, index, column, comparison)
            drafts += tested
            untested += small
    warnings += [draft.warning for draft in drafts if draft.warning]
    results = [_decide(draft, config) for draft in _adjusted(drafts)]
    return verdict.conclude(results, config=config, untested=untested, warnings=_unique([*warnings, *_advice(results, config)]))


def _apply_to(rule: Rule, index: int, column: str | None, comparison: Comparison) -> tuple[list[_Draft], list[UntestedSlice]]:
    """Apply a rule to all examples, or to every slice of a column that is large enough."""
    found = [comparison.evidence(rule.metric)] if column is None else comparison.slices(rule.metric, column)
    untested = [
        UntestedSlice(index, rule.metric, evidence.slice, size, rule.min_n)
        for evidence in found
        if evidence.slice is not None and (size := _size_if_testable(evidence, rule)) is not None and size < rule.min_n
    ]
    small = {slice_.slice for slice_ in untested}
    drafts = [_apply(rule, index, evidence, comparison) for evidence in found if evidence.slice not in small]
    if not drafts:
        # A rule that tests nothing must not look like one that found nothing.
        result = _blank(rule, index, f"{column}=*", comparison.config.metrics[rule.metric])
        reason = f"{phrases.where(result)}: no slice has the {rule.min_n} examples of `min_n`, so nothing was tested"
        drafts.append(_Draft(replace(result, outcome="inconclusive", reason=reason)))
    return drafts, untested


def _size_if_testable(evidence: Evidence, rule: Rule) -> int | None:
    """The number of examples that a rule's test would rest on; None where there will be no test."""
    if rule.kind in {"min", "max"}:
        return evidence.candidate_n
    return None if evidence.problem else evidence.n


def _blank(rule: Rule, index: int, slice_name: str | None, metric: MetricConfig) -> RuleResult:
    return RuleResult(
        rule=index,
        metric=rule.metric,
        slice=slice_name,
        kind=rule.kind,
        limit=rule.limit,
        direction=metric.direction,
        aggregate=metric.aggregate,
    )


def _apply(rule: Rule, index: int, evidence: Evidence, comparison: Comparison) -> _Draft:
    metric = comparison.config.metrics[rule.metric]
    result = replace(
        _blank(rule, index, evidence.slice, metric),
        baseline=estimates.value(evidence.baseline, aggregate=metric.aggregate),
        candidate=estimates.value(evidence.candidate, aggregate=metric.aggregate),
        n=evidence.n,
        binary=metric.aggregate == "mean" and evidence.binary,
    )
    if result.baseline is not None and result.candidate is not None:
        result = replace(result, difference=result.candidate - result.baseline)
    absolute = rule.kind in {"min", "max"}
    if evidence.candidate is None and absolute:
        return _Draft(replace(result, reason=f"the candidate does not have {phrases.where(result)}"))
    if evidence.problem and not absolute:
        reason = f"{phrases.where(result)}: {evidence.problem}"
        return _Draft(replace(result, reason=reason, missing_baseline=comparison.missing_baseline))
    if rule.must_not_flip is not None:
        return _Draft(_flips(rule, result, comparison))
    if rule.limit.relative and not absolute and result.baseline == 0:
        return _Draft(replace(result, reason=f"{phrases.where(result)}: the baseline is 0, so nothing is {rule.limit} of it"))
    needed = [result.candidate, *([] if absolute else [result.baseline])]
    why: object = "the scores are too large to compute with"
    # Arithmetic errors are of numbers between scores and result that no floating-point number holds.
    with contextlib.suppress(ArithmeticError):
        try:
            if all(number is None or math.isfinite(number) for number in needed):
                measured = set_level.chosen(estimates.measure(evidence, aggregate=metric.aggregate))
                return _tested(rule, result, measured, metric, comparison.config)
        except UndecidableError as error:
            why = error
    # What only the baseline has is gone, not uncertain: a model that calls nothing positive has no precision.
    gone = result.candidate is None and result.baseline is not None
    outcome: verdict.RuleOutcome = "not_comparable" if gone else "inconclusive"
    return _Draft(replace(result, outcome=outcome, reason=f"{phrases.where(result)}: {why}"))


def _tested(rule: Rule, result: RuleResult, measured: Measured, metric: MetricConfig, config: Config) -> _Draft:
    gate = config.gate
    if rule.kind in {"min", "max"}:
        shown, reason = measured.candidate_alone(), measured.reason(alone=True)
        test = _Test(shown, rule.limit.value, "less" if rule.kind == "min" else "greater", measured.runs(alone=True))
    else:
        shown = measured.difference()
        test = _relative_test(rule, result, measured, metric, shown)
        reason = measured.reason(baseline_weight=test.runs.baseline_weight)
    if rule.kind == "max_regression":
        bound = shown.interval(1 - 2 * gate.alpha)
        result = replace(result, smallest_limit=max(0.0, -bound.low if metric.direction == "higher" else bound.high))
    exact = isinstance(test.result, Exact)
    linearised = metric.aggregate != "mean" and not metric.set_level and not isinstance(measured.candidate, Value)
    result = replace(
        result,
        interval=None if isinstance(shown, Exact) else shown.interval(1 - gate.alpha),
        p_value=test.p_fail,
        p_pass=test.p_pass,
        mde=power.minimum_detectable_effect(test.result, alpha=gate.alpha, power=gate.power, alternative=test.fail),
        parts=getattr(test.result, "parts", None),
        n=None if exact and isinstance(measured.candidate, Value) else test.result.n,
        method=test.result.method
        + (f" of the linearised {metric.aggregate}" if linearised else "")
        + (f" ({reason})" if reason else ""),
        noise=test.result.covers,
    )
    return _Draft(result, test, measured.warning)


def _relative_test(rule: Rule, result: RuleResult, measured: Measured, metric: MetricConfig, difference: Inference) -> _Test:
    """max_regression fails where the metric is worse by more than the limit, min_improvement where it isn't better by it.

    An absolute limit tests candidate − baseline against ∓limit; a relative one tests candidate − (1 ∓ limit) · baseline
    against 0, with the sign turned for a negative baseline, so that 10% of it is always an amount.
    """
    better = 1.0 if metric.direction == "higher" else -1.0
    allowed = -better if rule.kind == "max_regression" else better
    fail: Alternative = "less" if metric.direction == "higher" else "greater"
    if not rule.limit.relative:
        return _Test(difference, allowed * rule.limit.value, fail, measured.runs())
    sign = 1.0 if result.baseline is not None and result.baseline > 0 else -1.0
    weight = 1 + allowed * sign * rule.limit.value
    return _Test(measured.difference(baseline_weight=weight), 0.0, fail, measured.runs(baseline_weight=weight))


def _flips(rule: Rule, draft: RuleResult, comparison: Comparison) -> RuleResult:
    column = str(rule.must_not_flip)
    flips = comparison.flips(rule.metric, only=column)
    draft = replace(draft, method="count of flips", noise="these examples only")
    if flips is None:
        reason = f"{phrases.where(draft)}: flips need paired 0/1 scores and a true/false column `{column}` in both score tables"
        return replace(draft, reason=reason)
    if flips.n == 0:
        return replace(draft, n=0, reason=f"{phrases.where(draft)}: no example has `{column}` set, so nothing is protected")
    outcome: verdict.RuleOutcome = "fail" if flips.worse else "pass"
    return replace(draft, n=flips.n, outcome=outcome, reason=phrases.flips(draft, flips, column))


def _adjusted(drafts: list[_Draft]) -> list[_Draft]:
    """Holm over all rules relative to the baseline that have a test with an error rate."""
    family = [
        index
        for index, draft in enumerate(drafts)
        if draft.test is not None and not isinstance(draft.test.result, Exact) and draft.result.kind not in {"min", "max"}
    ]
    adjusted = dict(zip(family, multiplicity.holm([drafts[i].result.p_value or 0.0 for i in family]), strict=True))
    return [
        replace(draft, result=replace(draft.result, p_adjusted=adjusted.get(index, draft.result.p_value)))
        for index, draft in enumerate(drafts)
    ]


def _decide(draft: _Draft, config: Config) -> RuleResult:
    """Turn p-values into an outcome."""
    result, test, gate = draft.result, draft.test, config.gate
    if test is None or result.p_value is None or result.p_adjusted is None or result.p_pass is None:
        return result
    # Passing first: an exact value that lies on its limit meets it.
    if result.p_pass <= gate.alpha:
        return replace(result, outcome="pass", reason=phrases.passed(result))
    if result.p_adjusted <= gate.alpha:
        return replace(result, outcome="fail", reason=phrases.failed(result))
    # On the failing side the correction makes the test harder: as much harder as it made this p-value larger.
    failing = result.p_value < result.p_pass
    alpha = gate.alpha * result.p_value / result.p_adjusted if failing and result.p_adjusted else gate.alpha
    alternative = test.fail if failing else test.succeed
    effect = power.minimum_detectable_effect(test.result, alpha=alpha, power=gate.power, alternative=alternative)
    distance = abs(test.result.estimate - test.null)
    if effect is not None:
        result = replace(
            result,
            to_settle=power.factor_to_settle(distance, effect),
            settlement=power.settle(
                test.result, distance=distance, effect=effect, runs=test.runs, alpha=alpha, power=gate.power
            ),
        )
    return replace(result, outcome="inconclusive", reason=phrases.inconclusive(result))


def _advice(results: list[RuleResult], config: Config) -> list[str]:
    """What a reader should know about the policy itself."""
    zero = [r for r in results if r.kind == "max_regression" and r.limit.value == 0 and r.outcome == "inconclusive" and r.mde]
    if not zero:
        return []
    worst = max(zero, key=lambda r: r.mde or 0.0)
    text = (
        f"{worst.where}: `max_regression: 0` can fail or be inconclusive, and hardly ever pass, since no finite test set "
        f"proves that nothing was lost; with today's evidence the smallest limit that passes is {worst.smallest_limit:.2g} "
        f"(alpha {config.gate.alpha:g})."
    )
    return [text]


def _unique(texts: list[str]) -> list[str]:
    return list(dict.fromkeys(texts))

"""What one rule says, and what all rules say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from metricgate.config import Config, Kind, Outcome
from metricgate.config_fields import Limit
from metricgate.errors import ExitCode

if TYPE_CHECKING:
    from metricgate.stats.inference import Interval, Parts
    from metricgate.stats.power import Settlement

RuleOutcome = Literal["pass", "fail", "inconclusive", "not_comparable"]


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """What one rule says about one metric, on all examples or on one slice.

    Attributes:
        rule: The rule's place in the configuration, from 0.
        metric: The metric's name.
        slice: ``label=8``, or None for all examples.
        kind: min, max, max_regression, min_improvement or must_not_flip.
        limit: What is allowed, as written.
        direction: Which way the metric is better.
        aggregate: mean, median, p95 …
        baseline: The baseline's metric, mean over its runs.
        candidate: The candidate's.
        difference: candidate − baseline, in the metric's unit.
        interval: Of the difference; of the candidate for an absolute bound. Two-sided, level 1 − alpha.
        p_value: One-sided, of the test that would make the rule fail.
        p_adjusted: The same after Holm over all rules relative to the baseline.
        p_pass: One-sided, of the test that would make the rule pass.
        mde: The distance from the limit that this evidence would have shown with the configured power.
        n: The number of test examples.
        method: The statistical method.
        noise: What the interval covers.
        binary: Whether the scores are 0 or 1, so that differences are percentage points.
        outcome: What the rule says.
        reason: Why, in one sentence.
        to_settle: By how much the evidence would have to grow to settle an inconclusive rule.
        settlement: The same told apart: how many more examples, or how many runs a side.
        parts: Where the variance comes from, where that is known.
        smallest_limit: The smallest absolute max_regression that this evidence would have passed.
        missing_baseline: Whether it can't be compared only because there is no baseline.
    """

    rule: int
    metric: str
    slice: str | None
    kind: Kind
    limit: Limit
    direction: Literal["higher", "lower"]
    aggregate: str = "mean"
    baseline: float | None = None
    candidate: float | None = None
    difference: float | None = None
    interval: Interval | None = None
    p_value: float | None = None
    p_adjusted: float | None = None
    p_pass: float | None = None
    mde: float | None = None
    n: int | None = None
    method: str = ""
    noise: str = ""
    binary: bool = False
    outcome: RuleOutcome = "not_comparable"
    reason: str = ""
    to_settle: float | None = None
    settlement: Settlement | None = None
    parts: Parts | None = None
    smallest_limit: float | None = None
    missing_baseline: bool = False

    @property
    def where(self) -> str:
        """``accuracy``, or ``accuracy on label=8``."""
        return f"{self.metric} on {self.slice}" if self.slice else self.metric


@dataclass(frozen=True)
class UntestedSlice:
    """A slice that is listed, not tested, because it has too few examples."""

    rule: int
    metric: str
    slice: str
    n: int
    min_n: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What all rules say together.

    Attributes:
        verdict: pass, fail, inconclusive or not_comparable.
        exit_code: That of the command, by the policy.
        reasons: Why, most severe first; empty for a plain pass.
        rules: What each rule says.
        untested: Slices that were too small to test.
        warnings: What the reader should know beside it.
    """

    verdict: RuleOutcome
    exit_code: ExitCode
    reasons: tuple[str, ...]
    rules: tuple[RuleResult, ...]
    untested: tuple[UntestedSlice, ...] = ()
    warnings: tuple[str, ...] = field(default=())


def conclude(
    rules: Sequence[RuleResult], *, config: Config, untested: Sequence[UntestedSlice] = (), warnings: Sequence[str] = ()
) -> Verdict:
    """Put the outcomes of all rules together by the policy.

    A failed rule always fails. Not comparable and inconclusive count as the policy says: with ``pass`` they are reasons
    without consequence, with ``warn`` they are the verdict with exit code 0, with ``fail`` with their own exit code. The most
    severe exit code wins: regression, then not comparable, then inconclusive.
    """
    gate = config.gate
    found: list[tuple[RuleOutcome, Outcome, RuleResult]] = []
    for rule in rules:
        if rule.outcome == "fail":
            found.append(("fail", "fail", rule))
        elif rule.outcome == "not_comparable":
            policy = gate.on_missing_baseline if rule.missing_baseline else gate.on_not_comparable
            found.append(("not_comparable", policy, rule))
        elif rule.outcome == "inconclusive":
            found.append(("inconclusive", gate.on_inconclusive, rule))
    severity = {"fail": 0, "warn": 1, "pass": 2}
    kinds = {"fail": 0, "not_comparable": 1, "inconclusive": 2, "pass": 3}
    # A failed rule before one that only the policy makes fail, and both before mere warnings.
    found.sort(key=lambda item: (severity[item[1]], kinds[item[0]], item[2].p_adjusted or 0.0))
    reasons = tuple(dict.fromkeys(rule.reason for _, _, rule in found))
    outcome, policy = (found[0][0], found[0][1]) if found else ("pass", "pass")
    codes = {
        "fail": ExitCode.REGRESSION,
        "not_comparable": ExitCode.NOT_COMPARABLE,
        "inconclusive": ExitCode.INCONCLUSIVE,
        "pass": ExitCode.PASSED,
    }
    return Verdict(
        verdict="pass" if policy == "pass" else outcome,
        exit_code=codes[outcome] if policy == "fail" else ExitCode.PASSED,
        reasons=reasons,
        rules=tuple(rules),
        untested=tuple(untested),
        warnings=tuple(warnings),
    )

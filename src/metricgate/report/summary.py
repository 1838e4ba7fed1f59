"""What a report says, in plain text: the parts that Markdown and the terminal then lay out."""

from __future__ import annotations

from dataclasses import dataclass

from metricgate.gate import phrases
from metricgate.report import numbers
from metricgate.report.document import Report, RuleInfo, SideInfo
from metricgate.stats.coverage import TEST_SET

ICONS = {"pass": "✅", "fail": "❌", "inconclusive": "⚪", "not_comparable": "⚠️"}
WORDS = {"pass": "✅", "fail": "❌", "inconclusive": "⚪ not sure", "not_comparable": "⚠️ not comparable"}
MEASURE_NOISE = "metricgate run --seeds 0,1,2"
SLICES_IN_TABLE = 3
"""The rest is one fold away."""
TEST_SET_ONLY = f"{TEST_SET} only"
_SAME_RUNS = "both sides are the same runs, since nothing that training depends on changed"


@dataclass(frozen=True)
class Row:
    """One line of a table: the metric's name (not yet escaped) and its numbers."""

    name: str
    arrow: str
    baseline: str
    candidate: str
    difference: str
    allowed: str
    outcome: str


def headline(report: Report) -> str:
    """One line: ``❌ digits-cnn: accuracy fell by 2.2 points``."""
    failed = _failed(report)
    icon = ICONS[report.verdict]
    if report.verdict == "fail" and failed:
        more = f", and {len(failed) - 1} more rule{'s'[: len(failed) != 2]} failed" if len(failed) > 1 else ""
        return f"{icon} {report.name}: {_what_failed(failed[0])}{more}"
    if report.verdict == "not_comparable":
        missing = report.baseline.runs == 0 and report.candidate.runs > 0
        return f"{icon} {report.name}: {'no baseline to compare with' if missing else 'not comparable'}"
    if report.verdict == "inconclusive":
        return f"{icon} {report.name}: not sure"
    return f"{icon} {report.name}: {'no regression' if report.rules else 'recorded, nothing to judge'}"


def lead(report: Report) -> str:
    """One paragraph: the reason behind the headline."""
    failed = _failed(report)
    if report.verdict == "fail" and failed:
        return _why_failed(failed[0], report)
    if report.verdict == "not_comparable":
        return f"{_sentence(report.reasons[0])} {_consequence(report)}" if report.reasons else _consequence(report)
    if report.verdict == "inconclusive":
        spent = report.reuse is not None and report.reuse.spent and report.exit_code == 3
        first = None if spent else next((rule for rule in report.rules if rule.outcome == "inconclusive"), None)
        parts = [_sentence(first.reason if first else report.reasons[0])] if first or report.reasons else []
        if first is not None and first.noise == TEST_SET_ONLY:
            parts.append(f"{_unknown_noise(report)[0].upper()}{_unknown_noise(report)[1:]}")
        return " ".join([*parts, _consequence(report)])
    first = next((rule for rule in report.rules if rule.kind == "max_regression" and rule.slice is None), None)
    if first is None or first.difference is None:
        if not report.rules:
            return "No rule of the policy can be judged without a baseline."
        passed = sum(rule.outcome == "pass" for rule in report.rules)
        return f"All {passed} rules passed." if passed == len(report.rules) else _sentence("; ".join(report.reasons[:1]))
    interval = (
        f", {numbers.level(first)} interval {numbers.signed(first.interval.low)} … {numbers.signed(first.interval.high)}"
        if first.interval.low is not None
        else ""
    )
    change = (
        f"{first.metric} {numbers.plain(first.baseline)} → {numbers.plain(first.candidate)} "
        f"({numbers.signed(first.difference)}{interval})"
    )
    seen = _SAME_RUNS if first.method == phrases.SAME_RUNS else detectable(first, report)
    return f"{change}; {seen}." if seen else f"{change}."


def table_rules(report: Report) -> list[RuleInfo]:
    """The rules of the first table: all that are not on slices, and the worst slices that fail or may be worse."""
    worst = [
        rule for rule in slices(report) if rule.outcome in {"fail", "not_comparable"} or may_be_worse(rule, alpha=report.alpha)
    ]
    return [rule for rule in report.rules if rule.slice is None] + worst[:SLICES_IN_TABLE]


def slices(report: Report) -> list[RuleInfo]:
    """The rules on slices, worst first."""
    order = {"fail": 0, "not_comparable": 1, "inconclusive": 2, "pass": 2}
    return sorted(
        (rule for rule in report.rules if rule.slice is not None),
        key=lambda rule: (order[rule.outcome], _gain(rule), rule.metric, rule.slice or ""),
    )


def may_be_worse(rule: RuleInfo, *, alpha: float) -> bool:
    """Whether a slice failed, or would have failed had it been the only rule."""
    return rule.outcome == "fail" or (rule.outcome == "inconclusive" and rule.p_value is not None and rule.p_value <= alpha)


def slices_title(report: Report) -> str:
    """``Slices: 1 of 10 may be worse``."""
    sliced = slices(report)
    lost = sum(rule.outcome == "not_comparable" for rule in sliced)
    if lost:
        return f"Slices: {lost} of {len(sliced)} can't be compared"
    worse = sum(may_be_worse(rule, alpha=report.alpha) for rule in sliced)
    if worse:
        return f"Slices: {worse} of {len(sliced)} may be worse"
    unsure = sum(rule.outcome == "inconclusive" for rule in sliced)
    return f"Slices: none of {len(sliced)} is shown to be worse" + (f", {unsure} not sure" if unsure else "")


def row(rule: RuleInfo) -> Row:
    """One line of a table."""
    name = rule.metric if rule.aggregate == "mean" else f"{rule.metric} {rule.aggregate}"
    name += f", {rule.slice.replace('=', ' = ', 1)}" if rule.slice else ""
    absolute = rule.kind in {"min", "max"}
    marked = rule.noise == TEST_SET_ONLY and rule.interval.low is not None and not absolute
    return Row(
        name=name,
        arrow=numbers.ARROWS[rule.direction],
        baseline="" if absolute else numbers.plain(rule.baseline),
        candidate=numbers.plain(rule.candidate),
        difference=numbers.difference(rule) + (" †" if marked else ""),
        allowed=numbers.allowed(rule),
        outcome=WORDS[rule.outcome],
    )


def footnote(report: Report, rules: list[RuleInfo]) -> str:
    """What † means, where a row has it."""
    if not any(row(rule).difference.endswith("†") for rule in rules):
        return ""
    return f"† covers the test set only: {_unknown_noise(report)}"


def _unknown_noise(report: Report) -> str:
    """Why the training noise is not known, and what would make it known."""
    if min(report.baseline.runs, report.candidate.runs) > 1:
        return "the runs of the two sides are so alike that their seeds do not tell how noisy training is."
    return f"how much a new seed alone changes the metric is not known here. `{MEASURE_NOISE}` on both sides measures it."


def untested(report: Report, *, limit: int) -> str:
    """The slices that were too small to test."""
    if not report.untested_slices:
        return ""
    shown = [f"{item.metric} on {item.slice} ({item.n})" for item in report.untested_slices[:limit]]
    more = len(report.untested_slices) - len(shown)
    listed = ", ".join(shown) + (f", and {more} more" if more else "")
    least = max(item.min_n for item in report.untested_slices)
    return f"Not tested, fewer than {least} examples: {listed}."


def certainty(report: Report, *, limit: int = 8) -> list[str]:
    """How sure the report is: one line per overall rule, then the methods."""
    lines: list[str] = []
    for rule in report.rules:
        if rule.slice is not None or len(lines) >= limit:
            continue
        if seen := detectable(rule, report):
            lines.append(f"{rule.metric}: {seen}.")
        if rule.outcome == "inconclusive" and rule.to_settle is not None:
            lines.append(f"{rule.metric}: {_settle(rule)}.")
    methods = dict.fromkeys(
        f"{rule.metric}: {rule.method}{f', {rule.n:,} examples' if rule.n else ''}; the interval covers {rule.noise}."
        for rule in report.rules
        if rule.method and rule.slice is None
    )
    lines += list(methods)[:limit]
    if report.tests > 1:
        lines.append(f"Fails are corrected by Holm over {report.tests} rules; passes need no correction.")
    if report.reuse is not None and report.reuse.count is not None:
        of = f" of {report.reuse.budget:,}" if report.reuse.budget is not None else ""
        lines.append(f"This is verdict {report.reuse.count:,}{of} on this test set.")
    lines.append(
        f"Tests are one-sided at {report.alpha:g}: the rate at which the gate aims to block healthy work, and to pass a loss "
        "of exactly the limit."
    )
    return list(dict.fromkeys(lines))


def detectable(rule: RuleInfo, report: Report) -> str:
    """What the comparison would have seen: ``a drop of 1.8 points would have been blocked with 80% probability``."""
    if rule.mde is None or rule.kind != "max_regression":
        return ""
    limit = rule.limit * abs(rule.baseline or 0.0) if rule.relative else rule.limit
    word = "drop" if rule.direction == "higher" else "rise"
    alone = "" if report.tests <= 1 else ", were it the only rule"
    return (
        f"a {word} of {numbers.amount(limit + rule.mde, rule)} would have been blocked with "
        f"{report.power * 100:g}% probability{alone}"
    )


def footer(report: Report) -> str:
    """Which runs were compared."""
    return f"Baseline: {_runs(report.baseline)}{_origin(report.baseline)}. This change: {_runs(report.candidate)}."


def accepted(report: Report) -> str:
    """Who accepted the regression, where somebody did."""
    waiver = report.waiver
    if waiver is None:
        return ""
    return f"Accepted by {waiver.by} on {_moment(waiver.at)} for {waiver.commit[:7]}: this failure does not block the merge."


def commit(side: SideInfo) -> str:
    """A short commit, or nothing."""
    return (side.commit or "")[:7]


def _runs(side: SideInfo) -> str:
    if side.runs == 0:
        return "none"
    seeds = f" (seed{'s'[: len(side.seeds) != 1]} {', '.join(map(str, side.seeds[:10]))})" if side.seeds else ""
    at = f" of {commit(side)}" if side.commit else ""
    earlier = f" and {side.earlier_runs} earlier of the same training" if side.earlier_runs else ""
    return f"{side.runs} run{'s'[: side.runs != 1]}{at}{seeds}{earlier}"


def _origin(side: SideInfo) -> str:
    """Where a recorded baseline comes from: ``, 3 commits before the merge-base, recorded 2026-11-20 14:02 UTC``."""
    parts = []
    if side.commits_before is not None:
        away = f"{side.commits_before} commit{'s'[: side.commits_before != 1]} before the merge-base"
        parts.append(away if side.commits_before else "the merge-base")
    if side.recorded:
        parts.append(f"recorded {_moment(side.recorded)}")
    return "".join(f", {part}" for part in parts)


def _moment(time: str) -> str:
    """``2026-11-20T14:02:11Z`` to the minute."""
    return f"{time[:10]} {time[11:16]} UTC" if time[10:11] == "T" else time


def _failed(report: Report) -> list[RuleInfo]:
    """The rules that failed: those on all examples first, in the order of the policy; of slices the most certain."""
    failed = [rule for rule in report.rules if rule.outcome == "fail"]
    return sorted(failed, key=lambda rule: (rule.slice is not None, rule.rule, rule.p_adjusted or 0.0))


def _gain(rule: RuleInfo) -> float:
    if rule.difference is None:
        return 0.0
    return rule.difference if rule.direction == "higher" else -rule.difference


def _where(rule: RuleInfo) -> str:
    return f"{rule.metric} on {rule.slice}" if rule.slice else rule.metric


def _what_failed(rule: RuleInfo) -> str:
    if rule.kind == "must_not_flip":
        return rule.reason
    if rule.kind in {"min", "max"}:
        side = "below" if rule.kind == "min" else "above"
        return f"{_where(rule)} is {numbers.plain(rule.candidate)}, {side} {numbers.plain(rule.limit)}"
    change = rule.difference or 0.0
    if rule.kind == "min_improvement" and _gain(rule) >= 0:
        moved = f"improved by only {numbers.amount(abs(change), rule)}" if change else "did not improve"
        return f"{_where(rule)} {moved}"
    return f"{_where(rule)} {'rose' if change > 0 else 'fell'} by {numbers.amount(abs(change), rule)}"


def _why_failed(rule: RuleInfo, report: Report) -> str:
    confidence = f"{(1 - report.alpha) * 100:g}% confidence"
    p = numbers.p_value(rule.p_adjusted)
    corrected = f" after correction for {report.tests} rules" if report.tests > 1 and rule.kind not in {"min", "max"} else ""
    covers = f"; the interval covers {rule.noise}" if rule.noise else ""
    if rule.kind == "must_not_flip":
        return "These examples are marked as ones that may never turn from right to wrong."
    limit = f"{rule.limit * 100:g}%" if rule.relative else numbers.amount(rule.limit, rule)
    if rule.method == phrases.SAME_RUNS:
        return f"Required is more than {limit}, and {_SAME_RUNS}."
    if rule.mde is None:
        return f"Allowed is {limit}. There is a single value on each side, so the two are compared as they are."
    if rule.kind in {"min", "max"}:
        return f"The {'lower' if rule.kind == 'min' else 'upper'} bound is missed with {confidence} ({p}){covers}."
    if rule.kind == "min_improvement":
        return f"Required is more than {limit}. It is less than that with {confidence} ({p}{corrected}){covers}."
    word = "drop" if rule.direction == "higher" else "rise"
    return f"Allowed is {limit}. The {word} is larger than that with {confidence} ({p}{corrected}){covers}."


def _settle(rule: RuleInfo) -> str:
    if rule.settlement is None:
        if rule.to_settle is not None and rule.to_settle <= 100:  # a report from before the two were told apart
            return f"about {max(rule.to_settle, 1.1):.2g} times the evidence would settle it"
        return "it lies so close to the limit that more data would hardly settle it"
    told = phrases.settled_by(rule.settlement, factor=rule.to_settle or 1.0)
    seeds = rule.settlement.seeds
    return f"{told}; `metricgate run --seeds 0-{seeds - 1}` trains so many" if seeds is not None and seeds > 1 else told


def _consequence(report: Report) -> str:
    if report.exit_code == 0:
        return "The policy lets this pass with a warning."
    return "The policy does not let this pass."


def _sentence(text: str) -> str:
    return text.rstrip(".") + "."

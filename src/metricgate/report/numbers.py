"""How numbers look in a report."""

from __future__ import annotations

from metricgate.gate import phrases
from metricgate.report.document import RuleInfo

MINUS = "−"
ARROWS = {"higher": "↑", "lower": "↓"}


def plain(value: float | None) -> str:
    """``0.9633``, ``12.1``, ``1,234,567``; nothing for None."""
    if value is None:
        return ""
    size = abs(value)
    if value == 0:
        return "0"
    if size >= 10_000:
        shown = f"{value:,.0f}"
    elif size >= 100:
        shown = f"{value:.1f}"
    elif size >= 10:
        shown = f"{value:.2f}"
    elif size >= 0.00005:
        shown = f"{value:.4f}"
    else:
        shown = f"{value:.2e}"
    return shown.replace("-", MINUS)


def signed(value: float | None) -> str:
    """The same with its sign."""
    if value is None:
        return ""
    return plain(value) if value < 0 else f"+{plain(value)}" if value > 0 else "±0"


def difference(rule: RuleInfo) -> str:
    """``−0.0222 (−0.0312 … −0.0132)``; an absolute bound shows the interval of the candidate."""
    if rule.kind in {"min", "max"}:
        shown = "" if rule.interval.low is None else f"({plain(rule.interval.low)} … {plain(rule.interval.high)})"
    elif rule.interval.low is None:
        shown = signed(rule.difference)
    else:
        shown = f"{signed(rule.difference)} ({signed(rule.interval.low)} … {signed(rule.interval.high)})"
    return shown


def allowed(rule: RuleInfo) -> str:
    """The limit as a bound on what the column shows: ``≥ −0.0100``, ``≤ +10%``, ``≥ 0.9000``."""
    if rule.kind == "must_not_flip":
        return "no flip"
    amount = f"{rule.limit * 100:g}%" if rule.relative else plain(rule.limit)
    if rule.kind in {"min", "max"}:
        return f"{'≥' if rule.kind == 'min' else '≤'} {amount}"
    higher = rule.direction == "higher"
    if rule.kind == "max_regression":
        sign = MINUS if higher else "+"
        return f"{'≥' if higher else '≤'} {'0' if rule.limit == 0 else sign + amount}"
    return f"{'>' if higher else '<'} {'+' if higher else MINUS}{amount}"


def p_value(value: float | None) -> str:
    """``p = 0.004`` or ``p < 0.0001``."""
    if value is None:
        return ""
    return "p < 0.0001" if value < 0.0001 else f"p = {value:.2g}"


def amount(value: float, rule: RuleInfo) -> str:
    """``2.2 points`` for a share of examples, the plain number otherwise."""
    return phrases.points(value) if rule.binary and rule.aggregate == "mean" else f"{value:.3g}"


def level(rule: RuleInfo) -> str:
    """``95%``."""
    return f"{rule.interval.level * 100:g}%"

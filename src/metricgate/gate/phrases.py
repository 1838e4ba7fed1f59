"""The one sentence that says why a rule has its outcome."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Protocol

from metricgate.gate.verdict import RuleResult

if TYPE_CHECKING:
    from metricgate.flips import Flips


SAME_RUNS = "no test, the same runs on both sides"
"""The method where nothing that training depends on changed, and so nothing was trained again."""


def where(rule: RuleResult) -> str:
    """``accuracy`` or ``accuracy on label=8``."""
    return rule.where


def amount(value: float, *, rule: RuleResult) -> str:
    """An amount of a metric: ``2.2 points`` for a share of examples, the plain number otherwise."""
    return points(value) if rule.binary and rule.aggregate == "mean" else f"{value:.3g}"


def points(share: float) -> str:
    """A share as percentage points: ``2.2 points``."""
    shown = f"{share * 100:.2g}"
    return f"{shown} point{'s'[: shown != '1']}"


def allowed(rule: RuleResult) -> str:
    """The limit in the same words as ``amount``."""
    return str(rule.limit) if rule.limit.relative else amount(rule.limit.value, rule=rule)


def failed(rule: RuleResult) -> str:
    """Why the rule failed."""
    if rule.kind in {"min", "max"}:
        side = "least" if rule.kind == "min" else "most"
        return f"{where(rule)} is {rule.candidate:.4g}; at {side} {rule.limit} is allowed{_certainty(rule)}"
    if rule.kind == "min_improvement":
        return f"{where(rule)} {_moved(rule)}; it has to improve by more than {allowed(rule)}{_certainty(rule)}"
    return f"{where(rule)} {_moved(rule)}; allowed is {allowed(rule)}{_certainty(rule)}"


def passed(rule: RuleResult) -> str:
    """Why the rule passed."""
    if rule.kind in {"min", "max"}:
        side = "least" if rule.kind == "min" else "most"
        return f"{where(rule)} is {rule.candidate:.4g}, at {side} {rule.limit}"
    if rule.kind == "min_improvement":
        return f"{where(rule)} {_moved(rule)}, by more than {allowed(rule)}"
    return f"{where(rule)} {_moved(rule)}; a loss of more than {allowed(rule)} is ruled out"


def inconclusive(rule: RuleResult) -> str:
    """Why the rule can't say, and what would settle it."""
    verb = "is within" if rule.kind == "max_regression" else "meets"
    limit = f"the limit of {rule.limit if rule.kind in {'min', 'max'} else allowed(rule)}"
    state = f"is {rule.candidate:.4g}" if rule.kind in {"min", "max"} else _moved(rule)
    sentence = f"{where(rule)} {state}: the evidence does not show whether it {verb} {limit}"
    if rule.to_settle is None:
        return sentence
    if rule.mde is not None and math.isinf(rule.mde):
        return f"{sentence}; no result on {rule.n} examples could"
    if rule.settlement is None:
        return f"{sentence}; it lies so close to the limit that more data would hardly settle it"
    return f"{sentence}; {settled_by(rule.settlement, factor=rule.to_settle)}"


class Settling(Protocol):
    """What would settle a rule; as ``metricgate.stats.power.Settlement`` explains it."""

    @property
    def more_examples(self) -> int | None: ...  # noqa: D102 - described there
    @property
    def seeds(self) -> int | None: ...  # noqa: D102
    @property
    def examples_suffice(self) -> bool | None: ...  # noqa: D102
    @property
    def seeds_suffice(self) -> bool | None: ...  # noqa: D102


def settled_by(what: Settling, *, factor: float) -> str:
    """``about 2,400 more examples, or 5 seeds a side, would settle it``."""
    examples = f"about {_rounded(what.more_examples):,} more examples" if what.more_examples is not None else ""
    seeds = f"{what.seeds} seeds a side" if what.seeds is not None else ""
    if examples and seeds:
        return f"{examples}, or {seeds}, would settle it"
    if seeds:
        never = "; more examples never would, since the training noise alone is too large" if not what.examples_suffice else ""
        return f"{seeds} would settle it{never if what.examples_suffice is not None else ''}"
    if examples:
        never = "; more seeds never would, since the test set alone is too small" if what.seeds_suffice is False else ""
        return f"{examples} would settle it{never}"
    return f"neither more examples nor more seeds alone would settle it, but about {max(factor, 1.1):.2g} times of both would"


def flips(rule: RuleResult, found: Flips, column: str) -> str:
    """How many protected examples turned."""
    if not found.worse:
        return f"{where(rule)}: none of {found.n} examples with `{column}` turned from right to wrong"
    count = len(found.worse) + found.unnamed_worse
    return f"{where(rule)}: {count} of {found.n} examples with `{column}` turned from right to wrong"


def _rounded(count: int) -> int:
    """Two digits: the plan rests on estimates."""
    step = int(10 ** max(len(str(count)) - 2, 0))
    return -(-count // step) * step


def _moved(rule: RuleResult) -> str:
    difference = rule.difference or 0.0
    if difference == 0:
        return "did not change"
    verb = "rose" if difference > 0 else "fell"
    return f"{verb} by {amount(abs(difference), rule=rule)}"


def _certainty(rule: RuleResult) -> str:
    if rule.mde is None or rule.p_adjusted is None:
        return ""
    p = "p < 0.0001" if rule.p_adjusted < 0.0001 else f"p = {rule.p_adjusted:.2g}"
    corrected = ", corrected for all rules" if rule.p_value != rule.p_adjusted else ""
    return f" ({p}{corrected})"

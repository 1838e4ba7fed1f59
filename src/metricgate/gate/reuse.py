"""How often a test set has been asked, and what happens when it has been asked too often.

Every verdict tells the team something about the examples of the test set. After enough of them, models fit the test set, and
passing says less and less about other data. So verdicts are counted by the fingerprint of the test set.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from metricgate.config import Outcome
from metricgate.config import Reuse as Settings
from metricgate.errors import ExitCode
from metricgate.gate.verdict import Verdict
from metricgate.stats import adaptive

if TYPE_CHECKING:
    from metricgate.comparison import Comparison

NEAR = 0.9
"""The share of the budget from which on the report warns."""

_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")
_DIFFERENCE: dict[adaptive.Variable, float] = {"n": 1.0, "o": -1.0}


@dataclass(frozen=True, kw_only=True)
class Reuse:
    """The place of a verdict among those on the same test set.

    Attributes:
        test_set: The fingerprint.
        count: Which verdict this is, from 1; None where nobody knows how many there were.
        budget: How many there may be; None for any number.
        adaptivity: What the budget was computed for; None where it was given.
        on_exhausted: What a spent budget means.
    """

    test_set: str
    count: int | None
    budget: int | None = None
    adaptivity: Literal["none", "full"] | None = None
    on_exhausted: Outcome = "fail"

    @property
    def spent(self) -> bool:
        """Whether this verdict is one too many."""
        return self.budget is not None and self.count is not None and self.count > self.budget

    @property
    def near(self) -> bool:
        """Whether little is left."""
        if self.budget is None or self.count is None:
            return False
        return NEAR * self.budget <= self.count <= self.budget


def test_set(comparison: Comparison) -> str | None:
    """The fingerprint of what both sides were evaluated on; None where the runs name none, or several.

    The baseline's comes first: the candidate could claim another test set, so as to be counted there.
    """
    for side in (comparison.baseline, comparison.candidate):
        found = {run.record.fingerprints.test_set or "" for run in side.runs}
        if len(found) == 1 and _FINGERPRINT.fullmatch(only := next(iter(found))):
            return only
    return None


def found(comparison: Comparison, verdicts: Mapping[str, int] | None) -> tuple[Reuse | None, tuple[str, ...]]:
    """The place of a comparison's verdict, and a warning where there is a budget and nobody knows what is left of it."""
    settings = comparison.config.gate.reuse
    fingerprint = test_set(comparison)
    place = None
    if fingerprint is not None:
        tables = comparison.candidate.tables
        before = verdicts.get(fingerprint, 0) if verdicts is not None else None
        place = of(settings, test_set=fingerprint, before=before, examples=tables[0].n if tables else None)
    counts = settings.on_exhausted != "pass" and (settings.budget is not None or settings.tolerance is not None)
    if not counts or (place is not None and place.count is not None):
        return place, ()
    why = "the runs name no test set" if place is None else "the ledger was not read"
    return place, (f"How many verdicts this test set has given is not known: {why}.",)


def of(settings: Settings, *, test_set: str, before: int | None, examples: int | None) -> Reuse:
    """The place of the next verdict.

    Args:
        settings: The budget, or what it is to be computed from.
        test_set: The fingerprint.
        before: How many verdicts there were; None where nobody knows.
        examples: How many examples the test set has.
    """
    budget = settings.budget
    computed = settings.tolerance is not None and examples is not None
    if computed and settings.tolerance is not None and examples is not None:
        budget = lasts(examples, tolerance=settings.tolerance, reliability=settings.reliability, adaptivity=settings.adaptivity)
    return Reuse(
        test_set=test_set,
        count=None if before is None else before + 1,
        budget=budget,
        adaptivity=settings.adaptivity if computed else None,
        on_exhausted=settings.on_exhausted,
    )


def lasts(examples: int, *, tolerance: float, reliability: float, adaptivity: Literal["none", "full"]) -> int | None:
    """How many verdicts a test set lasts if every difference of two shares is to be within the tolerance; None for any number.

    >>> lasts(100_000, tolerance=0.02, reliability=0.99, adaptivity="full")
    22
    """
    clause = adaptive.Clause(weights=_DIFFERENCE, greater=True, threshold=0.0, tolerance=tolerance)
    found = adaptive.joint(clause, delta=1 - reliability).verdicts(examples=examples, adaptivity=adaptivity)
    return int(found) if math.isfinite(found) else None


def applied(verdict: Verdict, reuse: Reuse | None) -> Verdict:
    """The verdict, with what a budget that is spent or nearly so makes of it.

    A spent budget fails closed: where nothing failed otherwise, the verdict is inconclusive with its exit code, whatever the
    policy says about rules that are. A regression stays one.
    """
    if reuse is None or reuse.on_exhausted == "pass" or not (reuse.spent or reuse.near):
        return verdict
    if reuse.near:
        told = f"This is verdict {reuse.count} of {reuse.budget} on this test set: have new examples ready before the last one."
        return replace(verdict, warnings=(*verdict.warnings, told))
    reason = (
        f"this is verdict {reuse.count} on a test set whose budget is {reuse.budget}: what it says about a change is no longer "
        "evidence; evaluate on new examples, or decide on a larger `gate: {reuse: {budget: …}}`"
    )
    if reuse.on_exhausted == "warn":
        return replace(verdict, warnings=(*verdict.warnings, f"{reason[0].upper()}{reason[1:]}."))
    if verdict.exit_code != ExitCode.PASSED:
        return replace(verdict, reasons=(*verdict.reasons, reason))
    return replace(verdict, verdict="inconclusive", exit_code=ExitCode.INCONCLUSIVE, reasons=(reason, *verdict.reasons))

"""How many labelled examples a condition needs, and how many verdicts a test set lasts: ease.ml/ci beside this gate's tests."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import tabulate

from metricgate.errors import UsageError
from metricgate.planning import condition
from metricgate.stats import adaptive, power
from metricgate.stats.adaptive import Adaptivity, Bound, Clause

ASSUMED_DISCORDANCE = 0.1

_WORDS: Mapping[Adaptivity, str] = {
    "none": "nobody sees a verdict before the last change is written",
    "first-change": "the test set is replaced when a change passes",
    "full": "every change is written after all verdicts before it",
}


@dataclass(frozen=True, kw_only=True)
class Life:
    """What a condition needs over the life of a test set.

    Attributes:
        text: The condition.
        reliability: 1 − δ, over all verdicts together.
        adaptivity: Who learns what from a verdict.
        verdicts: How many verdicts; None where ``examples`` are given.
        examples: How many labelled examples there are; None where verdicts are given.
        discordance: The share of answers that two models give differently, at most.
        alpha: The error rate of one verdict of this gate.
        power: The probability to see an effect of the tolerance's size.
    """

    text: str
    reliability: float = 0.99
    adaptivity: Adaptivity = "full"
    verdicts: int | None = 32
    examples: int | None = None
    discordance: float | None = None
    alpha: float = 0.05
    power: float = 0.8


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to keep a promise.

    Attributes:
        key: Its name in JSON.
        name: Its name for people.
        number: Labelled examples, or verdicts where the examples are given; None where it is neither.
        unit: ``a commit`` for labels of each commit.
    """

    key: str
    name: str
    number: float | None
    unit: str = ""


def ways(life: Life) -> tuple[Way, ...]:
    """Every way to keep the promise of a condition, that of ease.ml/ci first.

    Raises:
        UsageError: The condition is none, or no clause of it needs labels.
    """
    clauses = [clause for clause in condition.parse(life.text) if clause.tolerance is not None]
    labelled = [clause for clause in clauses if clause.labelled]
    if not labelled:
        raise UsageError(
            "no clause needs labels: how often two models differ shows without",
            where="the condition",
            expected="a clause on n or o",
            fix=condition.EXAMPLE,
        )
    delta = 1 - life.reliability
    k = len(clauses)

    def over(name: Callable[[Clause], Bound]) -> float:
        return _number(life, [name(clause) for clause in labelled])

    found = [
        Way(
            key="split",
            name="ease.ml/ci: Hoeffding, the tolerance split over the variables",
            number=over(lambda c: adaptive.split(c, delta=delta, clauses=k)),
        ),
        Way(
            key="joint",
            name="Hoeffding, one number an example, nothing split",
            number=over(lambda c: adaptive.joint(c, delta=delta, clauses=k)),
        ),
    ]
    parsed = condition.parse(life.text)
    differing = life.discordance or adaptive.known_difference(parsed)
    if differing is not None and len(labelled) == 1 and labelled[0].is_difference:
        clause = labelled[0]
        share = f"at most {differing * 100:g}% of the answers differ"
        left = delta / 2 if any(c.tolerance is not None for c in parsed if not c.labelled) else delta
        published = adaptive.published_bennett(clause, differing=differing, delta=delta)
        found += [
            Way(key="bennett", name=f"ease.ml/ci: Bennett, {share}", number=_number(life, [published])),
            Way(
                key="bennett_one_sided",
                name="Bennett, one side, with all that the bound on d leaves of δ",
                number=_number(life, [adaptive.bennett(clause, differing=differing, delta=left)]),
            ),
        ]
        if life.examples is None:
            a_commit = adaptive.labels_a_commit(clause, differing=differing, delta=delta)
            name = "ease.ml/ci: new examples each commit, only different answers labelled"
            found.append(Way(key="bennett_a_commit", name=name, number=a_commit, unit="a commit"))
    return (*found, *_tests(life, labelled, clauses=k, differing=differing))


def _tests(life: Life, labelled: Sequence[Clause], *, clauses: int, differing: float | None) -> list[Way]:
    assumed = ASSUMED_DISCORDANCE if differing is None else differing
    variances = [adaptive.variance(clause, differing=assumed) for clause in labelled]
    tolerances = [clause.tolerance or math.inf for clause in labelled]
    each = f"this gate: paired test, {life.alpha * 100:g}% and power {life.power:g} for each verdict"
    if life.examples is not None:
        return []
    verdicts = life.verdicts or 1
    log_error = (
        math.log(1 - life.reliability) - adaptive.log_hypotheses(verdicts, adaptivity=life.adaptivity) - math.log(clauses)
    )
    same = max(
        adaptive.examples_of_test(variance=variance, tolerance=tolerance, log_error=log_error)
        for variance, tolerance in zip(variances, tolerances, strict=True)
    )
    own = max(
        power.examples_needed(variance=variance, effect=tolerance, alpha=life.alpha, power=life.power)
        for variance, tolerance in zip(variances, tolerances, strict=True)
    )
    return [
        Way(key="test_same_promise", name="this gate: paired test, the same promise over all verdicts", number=same),
        Way(key="test_each_verdict", name=each, number=own),
    ]


def told(life: Life, *, as_json: bool) -> str:
    """What a condition needs, as text or JSON.

    Raises:
        UsageError: As ``ways``.
    """
    found = ways(life)
    parsed = condition.parse(life.text)
    unlabelled = [c for c in parsed if c.tolerance is not None and not c.labelled]
    differing = life.discordance or adaptive.known_difference(parsed)
    delta = 1 - life.reliability
    counted = sum(clause.tolerance is not None for clause in parsed)
    own = None
    if unlabelled and life.examples is None:
        own = int(_number(life, [adaptive.joint(c, delta=delta, clauses=counted) for c in unlabelled]))
    if as_json:
        document = {
            "condition": life.text,
            "reliability": life.reliability,
            "adaptivity": life.adaptivity,
            "discordance": differing,
            **({"verdicts": life.verdicts} if life.examples is None else {"examples": life.examples}),
            ("labels" if life.examples is None else "verdicts"): {way.key: _json(way.number) for way in found},
            **({"unlabelled": own} if own is not None else {}),
        }
        return json.dumps(document, indent=2, sort_keys=True) + "\n"
    what = f"{life.verdicts:,} verdicts" if life.examples is None else f"{life.examples:,} labelled examples"
    head = f"{life.text}\n{what}, reliability {life.reliability:g}, adaptivity {life.adaptivity}: {_WORDS[life.adaptivity]}\n"
    rows = [(way.name, f"{shown(way.number)}{f' {way.unit}' if way.unit else ''}") for way in found]
    header = "labelled examples" if life.examples is None else "verdicts"
    table = tabulate.tabulate(rows, headers=["", header], tablefmt="simple", disable_numparse=True, colalign=("left", "right"))
    notes = []
    if own is not None:
        notes.append(f"The clause on d needs {own:,} examples without labels.")
    if life.examples is None and differing is None and any(clause.is_difference for clause in parsed):
        share = f"{ASSUMED_DISCORDANCE:.0%} of the answers"
        notes.append(f"For the paired tests {share} are assumed to differ; --discordance says how many do.")
    return "\n".join([head, table, *([""] if notes else []), *notes]) + "\n"


def _number(life: Life, bounds: Sequence[Bound]) -> float:
    if life.examples is not None:
        return min(bound.verdicts(examples=life.examples, adaptivity=life.adaptivity) for bound in bounds)
    verdicts = life.verdicts or 1
    return max(bound.examples(verdicts=verdicts, adaptivity=life.adaptivity) for bound in bounds)


def shown(number: float | None) -> str:
    """A count for people; ``never`` for None."""
    if number is None:
        return "never"
    if math.isinf(number) or number >= 1e15:
        return "more than anybody counts"
    return f"{int(number):,}"


def _json(number: float | None) -> int | None:
    return int(number) if number is not None and math.isfinite(number) else None

"""Which method answers for what is there, and why. The only place that chooses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

Method = Literal[
    "identical",
    "score test",
    "sign flips",
    "paired t",
    "crossed",
    "Welch t",
    "binomial test",
    "t",
    "t over runs",
    "exact",
    "influence values",
    "DeLong",
    "bootstrap",
]
Level = Literal["mean", "sums", "roc_auc", "ranking", "function"]

MOST_RESAMPLED = 20_000
"""Examples of a metric of ranks, each resample of which looks at all of them; above, skewness no longer matters."""


class Choice(NamedTuple):
    """A method and why it is the one, in words."""

    method: Method
    reason: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is there.

    Attributes:
        sides: Two sides whose examples are paired, two that are apart, or one alone.
        examples: How many there are; 0 for values without a standard error.
        level: What the metric is: the mean of one score per example, a smooth function of sums over them (F1), the area under
            the ROC curve, another metric of ranks, or a function of the whole test set.
        binary: Whether all scores are 0 or 1.
        identical: Whether both sides have the same score on every example.
        varied: Whether there are several examples, and these have different scores: constants alike say nothing.
        symmetric: Whether there are fewer than 30 differences, and these not lopsided.
        several: Whether a side has several runs.
        noise: Whether the training noise is known.
        clustered: Whether examples come in clusters.
        weighted: Whether examples count differently.
        ordered: Whether the runs of each side have their examples in one order.
        relative: Whether the limit is a share of the baseline.
    """

    sides: Literal["paired", "apart", "alone"]
    examples: int
    level: Level = "mean"
    binary: bool = False
    identical: bool = False
    varied: bool = True
    symmetric: bool = False
    several: bool = False
    noise: bool = False
    clustered: bool = False
    weighted: bool = False
    ordered: bool = True
    relative: bool = False


def choose(facts: Facts) -> Choice:
    """The method for a comparison or a bound; it depends only on what is there, never on what the numbers say.

    >>> choose(Facts(sides="paired", examples=1000, binary=True))
    Choice(method='score test', reason='0/1 scores, one run a side')
    >>> choose(Facts(sides="paired", examples=1000, binary=True, several=True, noise=True)).method
    'crossed'
    >>> choose(Facts(sides="paired", examples=500, level="roc_auc")).method
    'DeLong'
    """
    if not facts.examples:
        return _of_values(facts)
    if facts.level != "mean":
        return _of_a_set(facts)
    if facts.sides == "alone":
        return _alone(facts)
    if facts.sides == "apart":
        return Choice("Welch t", "the examples can't be paired")
    return _paired(facts)


def _of_values(facts: Facts) -> Choice:
    if facts.noise:
        return Choice("t over runs", "values without a standard error, whose training noise is known")
    return Choice("exact", "values without a standard error, several runs or a history")


def _paired(facts: Facts) -> Choice:
    plain = not facts.clustered and not facts.relative
    if plain and facts.binary and facts.identical:
        return Choice("score test", "0/1 scores, the same on every example")
    if plain and facts.binary and not facts.several and not facts.noise:
        return Choice("score test", "0/1 scores, one run a side")
    if facts.identical and facts.varied and not facts.relative:
        return Choice("identical", "every example has the score it had before")
    if facts.noise:
        return Choice("crossed", "several runs a side" if facts.several else "one run a side, and the training noise is known")
    if facts.symmetric and not facts.clustered:
        return Choice("sign flips", "fewer than 30 examples, whose differences are not lopsided")
    kind = (
        "clusters of examples"
        if facts.clustered
        else "a relative limit"
        if facts.relative and facts.binary
        else "numeric scores"
    )
    return Choice("paired t", f"{kind}, no known training noise")


def _alone(facts: Facts) -> Choice:
    if facts.binary and not facts.clustered and not facts.noise:
        return Choice("binomial test", "0/1 scores, one run")
    if facts.noise:
        return Choice("crossed", "several runs" if facts.several else "one run, and the training noise is known")
    return Choice("t", "clusters of examples" if facts.clustered else "numeric scores")


def _of_a_set(facts: Facts) -> Choice:
    if facts.noise or facts.several or not facts.ordered:
        return Choice("influence values", "several runs" if facts.several else "training noise is known")
    if facts.level == "roc_auc":
        if not facts.weighted and not facts.clustered:
            return Choice("DeLong", "the area under the ROC curve, one run a side")
        return Choice(
            "influence values", "an area under the ROC curve of " + ("clusters" if facts.clustered else "weighted examples")
        )
    if facts.level == "ranking" and facts.examples > MOST_RESAMPLED:
        return Choice("influence values", f"a metric of ranks, more than {MOST_RESAMPLED:,} examples")
    return Choice("bootstrap", "a metric of the whole test set, one run a side")

"""How many labelled examples a condition on a model needs when the same test set answers many verdicts: ease.ml/ci.

A condition such as ``n - o > 0.02 +/- 0.01`` is about the accuracy of the new model (n), of the old one (o), and the share of
examples that the two answer differently (d, which needs no labels). Every one of its estimates has to be within its tolerance
at once, with probability 1 − δ, over all H verdicts: a promise about the whole life of a test set, where the tests of the gate
promise something about each verdict.

References:
    Renggli, Karlaš, Ding, Liu, Schawinski, Wu, Zhang, "Continuous Integration of Machine Learning Models with ease.ml/ci",
    SysML 2019. Hoeffding, JASA 58 (1963) 13. Bennett, JASA 57 (1962) 33.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from scipy import special

Adaptivity = Literal["none", "first-change", "full"]
Variable = Literal["n", "o", "d"]

_OUTCOMES = [(n, o, d) for n, o, d in itertools.product((0, 1), repeat=3) if d or n == o]
"""What one example can show: two models that are right and wrong about it answer differently."""


@dataclass(frozen=True, kw_only=True)
class Clause:
    """``n - o > 0.02 +/- 0.01``.

    Attributes:
        weights: By variable: {"n": 1.0, "o": -1.0}.
        greater: Whether the sum has to lie above the threshold.
        threshold: 0.02.
        tolerance: 0.01; None for a bound on d that is known and need not be tested.
    """

    weights: Mapping[Variable, float]
    greater: bool
    threshold: float
    tolerance: float | None

    @property
    def labelled(self) -> bool:
        """Whether labels are needed: how often two models differ shows without."""
        return any(weight for variable, weight in self.weights.items() if variable != "d")

    @property
    def spread(self) -> float:
        """The distance between the largest and the smallest value that one example can give to the sum."""
        values = [sum(self._weight(v) * x for v, x in zip(("n", "o", "d"), outcome, strict=True)) for outcome in _OUTCOMES]
        return max(values) - min(values)

    @property
    def is_difference(self) -> bool:
        """Whether it is a multiple of n − o: 0 wherever the two models answer alike."""
        return self._weight("n") == -self._weight("o") != 0 and not self._weight("d")

    def _weight(self, variable: str) -> float:
        return next((weight for name, weight in self.weights.items() if name == variable), 0.0)


@dataclass(frozen=True, kw_only=True)
class Bound:
    """A bound P(an estimate is wrong) <= pieces · exp(−n · rate), to be kept for every verdict.

    Attributes:
        rate: Per example.
        log_pieces: ln(k / δ), k the number of bounds that share δ within one verdict.
    """

    rate: float
    log_pieces: float

    def examples(self, *, verdicts: int, adaptivity: Adaptivity) -> int:
        """The least n for so many verdicts."""
        return _ceil((log_hypotheses(verdicts, adaptivity=adaptivity) + self.log_pieces) / self.rate)

    def verdicts(self, *, examples: int, adaptivity: Adaptivity) -> float:
        """How many verdicts so many examples last: a whole number, or infinity where it is beyond every count."""
        left = examples * self.rate - self.log_pieces
        if left < 0:
            return 0.0
        if adaptivity == "full":
            return float(math.floor(left / math.log(2)))
        return float(math.floor(math.exp(left))) if left < 700 else math.inf


def log_hypotheses(verdicts: int, *, adaptivity: Adaptivity) -> float:
    """ln of how many models the bound has to hold for.

    ``none``: H, as nobody sees a verdict before the last model is written. ``first-change``: H as well, since the test set is
    replaced when a change passes, so that until then everybody has seen the same answer. ``full``: 2^H, one for every
    sequence of verdicts that the next model may have been written after.
    """
    return verdicts * math.log(2) if adaptivity == "full" else math.log(verdicts)


def split(clause: Clause, *, delta: float, clauses: int = 1) -> Bound:
    """Hoeffding's bound for every variable, its share of the tolerance proportional to its weight, as in ease.ml/ci.

    With Σ |w_j| ε_j = ε and as many examples for each variable, the largest of w_j² / ε_j² is smallest for ε_j = ε / Σ |w|: n =
    (Σ |w|)² · ln(k H / δ) / (2 ε²), k the number of variables times that of clauses.
    """
    weights = [abs(weight) for weight in clause.weights.values() if weight]
    return Bound(
        rate=2 * (_tolerance(clause) / math.fsum(weights)) ** 2, log_pieces=math.log(len(weights) * clauses) - math.log(delta)
    )


def joint(clause: Clause, *, delta: float, clauses: int = 1) -> Bound:
    """The same without a split: the sum is one number an example, between bounds that not every combination can reach."""
    return Bound(rate=2 * (_tolerance(clause) / clause.spread) ** 2, log_pieces=math.log(clauses) - math.log(delta))


def published_bennett(clause: Clause, *, differing: float, delta: float) -> Bound:
    """Bennett's bound on a difference where at most a share p of the answers differ, as ease.ml/ci has it.

    n = ln(4 H / δ) / (p · h(ε / p)), h(u) = (1 + u) ln(1 + u) − u: half of δ is for the bound on p, and both sides count.
    """
    return bennett(clause, differing=differing, delta=delta / 4)


def bennett(clause: Clause, *, differing: float, delta: float) -> Bound:
    """Bennett's bound on one side of a difference, with all of δ.

    Raises:
        ValueError: The clause is no difference: its variance is not bounded by how often answers differ.
    """
    if not clause.is_difference:
        message = "Bennett's bound is for a multiple of n - o"
        raise ValueError(message)
    u = _tolerance(clause) / abs(clause.weights["n"]) / differing
    return Bound(rate=differing * (_log1p_excess(u)), log_pieces=-math.log(delta))


def labels_a_commit(clause: Clause, *, differing: float, delta: float) -> int:
    """Labels that each commit needs if it gets examples of its own, and only those are labelled that the models differ on."""
    return _ceil(
        differing * published_bennett(clause, differing=differing, delta=delta).examples(verdicts=1, adaptivity="none")
    )


def known_difference(clauses: Sequence[Clause]) -> float | None:
    """The share of answers that can differ at most, from a clause ``d < p``; None where there is none.

    Where that itself is tested, ``d < A +/- B``, a passed test shows d < A + 2B.
    """
    bounds = [
        (clause.threshold + 2 * (clause.tolerance or 0.0)) / clause.weights["d"]
        for clause in clauses
        if set(clause.weights) == {"d"} and clause.greater == (clause.weights["d"] < 0)
    ]
    return min((bound for bound in bounds if 0 < bound <= 1), default=None)


def variance(clause: Clause, *, differing: float) -> float:
    """The largest variance of one example's number when the truth lies at the threshold.

    A difference that is not 0 for a share p of the examples: p − t². One accuracy: t (1 − t). Else a quarter of the squared
    spread (Popoviciu).
    """
    used = {variable: weight for variable, weight in clause.weights.items() if weight}
    if clause.is_difference:
        scale = abs(clause.weights["n"])
        return max(scale**2 * differing - clause.threshold**2, 0.0)
    if len(used) == 1:
        (weight,) = used.values()
        share = min(max(clause.threshold / weight, 0.0), 1.0)
        return weight**2 * share * (1 - share)
    return clause.spread**2 / 4


def examples_of_test(*, variance: float, tolerance: float, log_error: float) -> int:
    """What a test on the scores themselves needs for the same promise, by the normal distribution.

    The estimate is within the tolerance, on the side that matters, except with probability e^log_error: n = z² · variance / ε².
    """
    z = -float(special.ndtri_exp(log_error))
    return _ceil(z * z * variance / tolerance**2)


def _tolerance(clause: Clause) -> float:
    if clause.tolerance is None:
        message = "a clause that is known needs no examples"
        raise ValueError(message)
    return clause.tolerance


def _log1p_excess(u: float) -> float:
    return (1 + u) * math.log1p(u) - u


def _ceil(number: float) -> int:
    return math.ceil(number * (1 - 1e-12))  # what rounding put just above a whole number is that number

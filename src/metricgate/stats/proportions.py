"""Proportions of 0/1 scores: tests whose tails are right with few examples, and when nothing, or everything, is correct."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from metricgate.stats import roots
from metricgate.stats.inference import Alternative, Interval, UndecidableError

FEW_DISCORDANT = 25
"""With fewer discordant pairs no normal approximation is trusted, and McNemar's test is its mid-p version."""

_SKEWED = 0.05
"""The largest skewness of better − worse under the null up to which its normal tail is within 5% at alpha 0.05."""

Counts = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PairedProportions:
    """The difference of two paired proportions, by Tango's score test; McNemar's test where the null is 0.

    T(δ) = (b − c − nδ) / sqrt(n (2 q̃ + δ(1 − δ))), q̃ the constrained estimate of the probability of getting worse. The
    interval holds every δ that the test doesn't reject.

    The tail of T is the normal one where that is right. With fewer than 25 discordant pairs, or where nearly all of them go
    one way, it is up to twice what it should be; there the tail is summed over all tables (b, c) whose T is as extreme, under
    the trinomial distribution of δ and q̃ (Lloyd's estimated p-value). At δ = 0 with fewer than 25 discordant pairs it is
    McNemar's mid-p value.

    Attributes:
        better: b, the pairs that turned from 0 to 1.
        worse: c, the pairs that turned from 1 to 0.
        n: All pairs.
        covers: What the interval covers.

    Raises:
        UndecidableError: Fewer than two pairs.

    References:
        Tango, Statistics in Medicine 17 (1998) 891-908; Lloyd, Australian & New Zealand Journal of Statistics 50 (2008)
        329-345; Fagerland, Lydersen, Laake, BMC Medical Research Methodology 13 (2013) 91.

    >>> result = PairedProportions(better=121, worse=59, n=314, covers="the test set only")
    >>> [round(bound, 4) for bound in result.interval(0.95)[:2]]
    [0.1152, 0.2768]
    >>> few = PairedProportions(better=1, worse=7, n=200, covers="the test set only")
    >>> round(few.p_value(null=0.0, alternative="less"), 4)
    0.0195
    """

    better: int
    worse: int
    n: int
    covers: str
    df: float = math.inf

    def __post_init__(self) -> None:
        if self.n < 2:
            raise UndecidableError(f"there is {self.n} example; two are the least that can be judged by")

    @classmethod
    def of(cls, candidate: NDArray[np.float64], baseline: NDArray[np.float64], *, covers: str) -> PairedProportions:
        """From 0/1 scores of shape (n,), paired."""
        difference = candidate - baseline
        return cls(better=int((difference > 0).sum()), worse=int((difference < 0).sum()), n=len(difference), covers=covers)

    @property
    def estimate(self) -> float:
        """(b − c) / n."""
        return (self.better - self.worse) / self.n

    @property
    def method(self) -> str:
        """Tango's score test, or its exact tail where discordant pairs are few."""
        return "Tango score test, paired" + (", exact tail" if self._few else "")

    def interval(self, level: float) -> Interval:
        """All differences that the test doesn't reject at 1 − level, two-sided."""
        tail = (1 - level) / 2
        return Interval(self._bound(tail, alternative="greater"), self._bound(tail, alternative="less"), level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """The one-sided p-value of Tango's score statistic.

        Args:
            null: δ; at or beyond −1 and 1 the answer is certain.
            alternative: ``greater`` than the null, or ``less``.
        """
        if null == 0 and self._few:
            fewer = self.worse if alternative == "greater" else self.better
            return _mid_p(fewer, self.better + self.worse)
        return self._score_test(null, alternative=alternative)

    def _score_test(self, null: float, *, alternative: Alternative) -> float:
        if abs(null) >= 1:
            return 0.0 if (null <= -1) == (alternative == "greater") else 1.0
        better, worse = self.better, self.worse
        if alternative == "greater":
            # Turned around: candidate and baseline change places.
            better, worse, null = worse, better, -null
        scored = _score(np.array([float(better)]), np.array([float(worse)]), self.n, null)
        statistic, nuisance = float(scored[0][0]), float(scored[1][0])
        changing = self.n * (2 * nuisance + null)
        if not self._few and self.n * abs(null) <= _SKEWED * changing**1.5:
            return float(special.ndtr(statistic))
        return _exact_tail(statistic, nuisance, n=self.n, delta=null)

    @property
    def _few(self) -> bool:
        return self.better + self.worse < FEW_DISCORDANT

    def _bound(self, tail: float, *, alternative: Alternative) -> float:
        return _bound_of(self, tail, alternative)

    def find_bound(self, tail: float, *, alternative: Alternative) -> float:
        """The end of the one-sided interval at 1 − ``tail``; ``interval`` remembers those that were found."""
        end = -1.0 if alternative == "greater" else 1.0

        def excess(delta: float) -> float:
            return self._score_test(delta, alternative=alternative) - tail

        if self.estimate == end or excess(self.estimate) <= 0:
            return self.estimate
        found = roots.between(excess, self.estimate, end, xtol=1e-15)
        # What McNemar's mid-p value doesn't reject is never outside.
        return 0.0 if found * end < 0 and self.p_value(null=0.0, alternative=alternative) > tail else found


@functools.lru_cache(maxsize=4096)
def _bound_of(result: PairedProportions, tail: float, alternative: Alternative) -> float:
    # A report asks for the same bound several times, and small slices have the same few counts.
    return result.find_bound(tail, alternative=alternative)


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """One proportion, by the exact binomial test and the interval of Clopper and Pearson.

    The null hypothesis has no unknown beside the proportion, so that nothing has to be approximated. Wilson's score test
    passes a model that exactly misses its bound up to twice as often as alpha says where errors are rare, and a mid-p value
    does too.

    Attributes:
        successes: The number of ones.
        n: The number of examples.
        covers: What the interval covers.

    Raises:
        UndecidableError: Fewer than two examples.

    References:
        Clopper, Pearson, Biometrika 26 (1934) 404-413.

    >>> result = Proportion(successes=95, n=100, covers="the test set only")
    >>> [round(bound, 4) for bound in result.interval(0.95)[:2]]
    [0.8872, 0.9836]
    >>> round(result.p_value(null=0.9, alternative="greater"), 4)
    0.0576
    """

    successes: int
    n: int
    covers: str
    method: str = "exact binomial test"
    df: float = math.inf

    def __post_init__(self) -> None:
        if self.n < 2:
            raise UndecidableError(f"there is {self.n} example; two are the least that can be judged by")

    @classmethod
    def of(cls, scores: NDArray[np.float64], *, covers: str) -> Proportion:
        """From 0/1 scores of shape (n,)."""
        return cls(successes=int(scores.sum()), n=len(scores), covers=covers)

    @property
    def estimate(self) -> float:
        """The share of ones."""
        return self.successes / self.n

    def interval(self, level: float) -> Interval:
        """Clopper's and Pearson's interval: quantiles of beta distributions."""
        tail, right, wrong = (1 - level) / 2, self.successes, self.n - self.successes
        low = float(special.betaincinv(right, wrong + 1, tail)) if right else 0.0
        high = float(special.betainccinv(right + 1, wrong, tail)) if wrong else 1.0
        return Interval(low, high, level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """P(X >= successes) or P(X <= successes) under the null; a bound that no proportion can cross is decided exactly."""
        if not 0 < null < 1:
            return 0.0 if (self.estimate >= null if alternative == "greater" else self.estimate <= null) else 1.0
        if alternative == "greater":
            return float(special.betainc(self.successes, self.n - self.successes + 1, null)) if self.successes else 1.0
        return float(special.betaincc(self.successes + 1, self.n - self.successes, null)) if self.successes < self.n else 1.0


def _score(better: Counts, worse: Counts, n: int, delta: float) -> tuple[Counts, Counts]:
    """Tango's statistic and the constrained estimate q̃ of the probability of getting worse, table by table; |δ| < 1."""
    # q̃ solves A q² + B q + C = 0 (Tango 1998, equation 6).
    linear = -better - worse + (2 * n - better + worse) * delta
    constant = -worse * delta * (1 - delta)
    # Neither way squares B, whose square would be 0 for a tiny δ.
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        shrunk = np.abs(linear) * np.sqrt(np.maximum(1 - 8 * n * constant / linear / linear, 0.0))
    root = np.where(constant <= 0, np.hypot(linear, np.sqrt(np.maximum(-8 * n * constant, 0.0))), shrunk)
    nuisance = np.clip((root - linear) / (4 * n), max(0.0, -delta), (1 - delta) / 2)
    variance = n * (2 * nuisance + delta * (1 - delta))
    numerator = better - worse - n * delta
    with np.errstate(divide="ignore", invalid="ignore"):
        statistic = np.where(numerator == 0, 0.0, numerator / np.sqrt(np.maximum(variance, 0.0)))
    return statistic, nuisance


def _exact_tail(statistic: float, nuisance: float, *, n: int, delta: float) -> float:
    """P(T <= statistic) over all tables, under the trinomial distribution of δ and q̃.

    T grows with the number that got better, so for each number that got worse one binomial tail is the whole sum.
    """
    p_worse = nuisance
    p_better = min(max(nuisance + delta, 0.0), 1 - p_worse)
    worse = _likely(n, p_worse)
    better = _likely(n, p_better)
    bound = statistic + 1e-9 * max(1.0, abs(statistic))  # as extreme as it, whatever the rounding
    # The largest number of better ones whose T is no more than the bound, by bisection for all numbers of worse ones at once.
    low = np.full(len(worse), better[0] - 1)
    high = np.minimum(better[-1], n - worse)
    while bool((low < high).any()):
        middle = np.ceil((low + high) / 2)
        below = _score(np.maximum(middle, 0.0), worse, n, delta)[0] <= bound
        low, high = np.where(below, middle, low), np.where(below, high, np.maximum(middle - 1, low))
    rest = n - worse
    share = min(p_better / (1 - p_worse), 1.0) if p_worse < 1 else 0.0
    inside = (low >= 0) & (low < rest)
    at_most = np.where(low < 0, 0.0, 1.0)
    at_most[inside] = special.betaincc(low[inside] + 1, rest[inside] - low[inside], share)
    # Not np.dot, whose last digit depends on where in memory the arrays lie.
    return min(1.0, float(np.sum(_binomial(worse, n, p_worse) * at_most)))


def _likely(n: int, probability: float) -> Counts:
    """The counts that a binomial distribution gives all but 1e-15 of its weight."""
    mean = n * probability
    reach = 9 * math.sqrt(mean) + 30
    return np.arange(max(0.0, math.floor(mean - reach)), min(float(n), math.ceil(mean + reach)) + 1)


def _binomial(count: Counts, n: int, probability: float) -> Counts:
    logarithm = special.gammaln(n + 1) - special.gammaln(count + 1) - special.gammaln(n - count + 1)
    return np.asarray(np.exp(logarithm + special.xlogy(count, probability) + special.xlog1py(n - count, -probability)))


def _mid_p(count: int, n: int) -> float:
    """P(X < count) + P(X = count) / 2 of X heads in n tosses; a half for none."""
    return (2 * sum(math.comb(n, k) for k in range(count)) + math.comb(n, count)) / (1 << (n + 1))

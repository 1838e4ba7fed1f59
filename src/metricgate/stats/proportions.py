"""Proportions of 0/1 scores by score tests, which stay right when nothing, or everything, is correct."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from metricgate.stats.inference import Alternative, Interval, UndecidableError

_BISECTIONS = 60
"""Halves the interval [-1, 1] down to the spacing of floating-point numbers."""


@dataclass(frozen=True, kw_only=True)
class PairedProportions:
    """The difference of two paired proportions, by Tango's score test; McNemar's test where the null is 0.

    T(δ) = (b − c − nδ) / sqrt(n (2 q̃ + δ(1 − δ))), q̃ the constrained estimate of the probability of getting worse. The
    interval holds every δ that the test doesn't reject.

    Attributes:
        better: b, the pairs that turned from 0 to 1.
        worse: c, the pairs that turned from 1 to 0.
        n: All pairs.

    References:
        Tango, Statistics in Medicine 17 (1998) 891-908. The example is table II of Fagerland, Lydersen, Laake, BMC Medical
        Research Methodology 13 (2013) 91.

    >>> result = PairedProportions(better=1, worse=7, n=21, covers="the test set only")
    >>> [round(bound, 3) for bound in result.interval(0.95)[:2]]
    [-0.517, -0.026]
    """

    better: int
    worse: int
    n: int
    covers: str
    method: str = "Tango score test, paired"
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

    def interval(self, level: float) -> Interval:
        """All differences that the score test doesn't reject at 1 − level, two-sided."""
        critical = float(special.ndtri(0.5 + level / 2))
        low = self._root(critical, inside=self.estimate, outside=-1.0)
        high = self._root(-critical, inside=self.estimate, outside=1.0)
        return Interval(low, high, level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """One-sided p-value of Tango's score statistic."""
        statistic = self._statistic(null)
        return float(special.ndtr(-statistic if alternative == "greater" else statistic))

    def _statistic(self, delta: float) -> float:
        n, b, c = self.n, self.better, self.worse
        if abs(delta) >= 1:
            return -math.copysign(math.inf, delta)
        # q̃ solves A q² + B q + C = 0 (Tango 1998, equation 6).
        linear = -b - c + (2 * n - b + c) * delta
        constant = -c * delta * (1 - delta)
        # Neither way squares B, whose square would be 0 for a tiny δ.
        if constant <= 0:
            root = math.hypot(linear, math.sqrt(-8 * n * constant))
        else:
            root = abs(linear) * math.sqrt(max(1 - 8 * n * constant / linear / linear, 0.0))
        q = (root - linear) / (4 * n)
        variance = n * (2 * q + delta * (1 - delta))
        numerator = b - c - n * delta
        if variance <= 0:
            return 0.0 if numerator == 0 else math.copysign(math.inf, numerator)
        return numerator / math.sqrt(variance)

    def _root(self, target: float, *, inside: float, outside: float) -> float:
        for _ in range(_BISECTIONS):
            middle = (inside + outside) / 2
            if (self._statistic(middle) < target) == (target > 0):
                inside = middle
            else:
                outside = middle
        return inside


@dataclass(frozen=True, kw_only=True)
class Proportion:
    """One proportion, by Wilson's score test: z = (p̂ − p₀) / sqrt(p₀ (1 − p₀) / n).

    References:
        Wilson, Journal of the American Statistical Association 22 (1927) 209-212.
    """

    successes: int
    n: int
    covers: str
    method: str = "Wilson score test"
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
        """Wilson's interval."""
        z2 = float(special.ndtri(0.5 + level / 2)) ** 2
        p, n = self.estimate, self.n
        centre = (p + z2 / (2 * n)) / (1 + z2 / n)
        half = math.sqrt(z2) / (1 + z2 / n) * math.sqrt(p * (1 - p) / n + z2 / (4 * n**2))
        return Interval(max(0.0, centre - half), min(1.0, centre + half), level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """One-sided p-value of the score statistic; a bound that no proportion can cross is decided exactly."""
        if not 0 < null < 1:
            return 0.0 if (self.estimate >= null if alternative == "greater" else self.estimate <= null) else 1.0
        z = (self.estimate - null) / math.sqrt(null * (1 - null) / self.n)
        return float(special.ndtr(-z if alternative == "greater" else z))

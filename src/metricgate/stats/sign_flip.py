"""The sign-flip permutation test of paired differences, exact, for samples too small for any approximation."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from metricgate.stats.inference import ROUNDING, Alternative, Interval, UndecidableError

MOST = 40
"""The largest number of differences: two halves of 2²⁰ sums each are the most that is held in memory."""

_BISECTIONS = 60


@dataclass(frozen=True, kw_only=True)
class SignFlip:
    """The mean of paired differences, by what would come out if each of them had the other sign as well.

    If the differences are symmetric around δ, all 2ⁿ ways to turn the signs of d_i − δ are equally likely, and the p-value is
    the share of those whose sum is at least as large as the one seen. Turning the set S changes the sum by −2 Σ_S (d_i − δ), so
    that is the share of sets (the empty one among them) with Σ_S (d_i − δ) <= 0. They are counted, not sampled: the sums of
    either half of the differences are sorted and matched. The interval holds every δ that isn't rejected.

    Attributes:
        differences: d_i, candidate − baseline, at least two and at most 40.
        covers: What the interval covers.

    Raises:
        UndecidableError: Fewer than two differences, or one that is not finite.
        ValueError: More than 40 differences.

    References:
        Fisher, The Design of Experiments (1935), 21; Hartigan, Journal of the American Statistical Association 64 (1969)
        1303-1317; Horowitz, Sahni, Journal of the ACM 21 (1974) 277-292 (matching of halves).

    >>> a, b = (3.67, 1.72, 3.46, 2.60, 2.03, 2.10, 3.01), (2.11, 1.79, 2.71, 1.89, 1.69, 1.71, 2.01)
    >>> result = SignFlip(differences=tuple(x - y for x, y in zip(a, b)), covers="the test set only")
    >>> result.p_value(null=0.0, alternative="greater") * 128
    2.0
    >>> [round(bound, 4) for bound in result.interval(0.9)[:2]]
    [0.3267, 1.09]
    """

    differences: tuple[float, ...]
    covers: str
    method: str = "sign-flip permutation, paired"
    df: float = math.inf

    def __post_init__(self) -> None:
        if len(self.differences) < 2:
            raise UndecidableError(f"there is {len(self.differences)} example; two are the least that can be judged by")
        if len(self.differences) > MOST:
            message = f"{len(self.differences)} differences; the exact test takes at most {MOST}"
            raise ValueError(message)
        if not math.isfinite(sum(map(abs, self.differences))):
            raise UndecidableError("the scores are too large to compute with")

    @property
    def n(self) -> int:
        """The number of differences."""
        return len(self.differences)

    @property
    def estimate(self) -> float:
        """The mean difference."""
        return math.fsum(self.differences) / self.n

    def interval(self, level: float) -> Interval:
        """All δ that aren't rejected at 1 − level, two-sided; infinite where so few differences reject nothing at all."""
        tail = (1 - level) / 2
        return Interval(self._bound(tail, alternative="greater"), self._bound(tail, alternative="less"), level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """The share of sign changes whose sum is at least as large, or as small, as that of the differences from the null."""
        sign = 1.0 if alternative == "greater" else -1.0
        distances = sign * (np.asarray(self.differences) - null)
        largest = float(np.abs(self.differences).max())
        return _share_not_positive(distances, rounding=ROUNDING * self.n * max(largest, abs(null)))

    def _bound(self, tail: float, *, alternative: Alternative) -> float:
        end = min(self.differences) if alternative == "greater" else max(self.differences)
        # Beyond the most extreme difference only the set of no sign changes is as extreme.
        if tail < 0.5**self.n:
            return -math.inf if alternative == "greater" else math.inf
        kept, rejected = self.estimate, end
        for _ in range(_BISECTIONS):
            middle = (kept + rejected) / 2
            if self.p_value(null=middle, alternative=alternative) > tail:
                kept = middle
            else:
                rejected = middle
        return kept


def _share_not_positive(values: NDArray[np.float64], *, rounding: float) -> float:
    """The share of all subsets, the empty one included, whose sum is not positive."""
    half = len(values) // 2
    one, other = _subset_sums(values[:half]), np.sort(_subset_sums(values[half:]))
    return int(np.searchsorted(other, rounding - one, side="right").sum()) / (1 << len(values))


def _subset_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums, sums + value])
    return sums

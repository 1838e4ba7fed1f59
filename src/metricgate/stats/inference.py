"""What every method of this package returns, and the t distribution that most of them end in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

import numpy as np
from scipy import special

from metricgate.stats import roots, tails

Alternative = Literal["greater", "less"]

ROUNDING = 1e-12
"""Relative to the size of the numbers: what differs by no more is equal."""

LARGEST = 1e140
"""Of a standard error, and its inverse the smallest: beyond, squares and their ratios leave the range of numbers."""


class UndecidableError(ValueError):
    """The numbers allow no inference, and the message says why: too few, or no variance where there has to be some."""


class Interval(NamedTuple):
    """A two-sided confidence interval."""

    low: float
    high: float
    level: float


class Inference(Protocol):
    """An estimate and how sure it is.

    Attributes:
        estimate: In the unit of the scores.
        n: The number of test examples (or runs, where there are no examples) behind it.
        df: Degrees of freedom; infinite where the method uses the normal distribution.
        method: The method's name, as the report shows it.
        covers: What the interval covers: the test set, the training noise, or both.
    """

    @property
    def estimate(self) -> float: ...  # noqa: D102 - described by the class
    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def df(self) -> float: ...  # noqa: D102
    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def covers(self) -> str: ...  # noqa: D102

    def interval(self, level: float) -> Interval:
        """The two-sided interval that covers the truth with probability ``level``."""
        ...

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """One-sided p-value of "the truth is ``null``" against "it is greater" or "it is less"."""
        ...


class Component(NamedTuple):
    """One independent part of a variance: an estimate and its degrees of freedom. Subtracted parts are negative.

    Attributes:
        variance: In the unit of the scores, squared.
        df: Its degrees of freedom.
        third: The third central moment of the same part of the estimate, for a mean Σ (x_i − x̄)³ / n³; 0 where it is unknown.
    """

    variance: float
    df: float
    third: float = 0.0


class Parts(NamedTuple):
    """Where a variance comes from, for planning: what more examples would shrink, and what more runs would.

    Attributes:
        examples: The parts over test examples, one a side where the sides are independent.
        training: The part that comes from training, a · s².
        counted_twice: The residual that both of them hold.
    """

    examples: tuple[Component, ...]
    training: Component | None
    counted_twice: Component | None


@dataclass(frozen=True, kw_only=True)
class Student:
    """An estimate whose error, divided by its standard error, follows Student's t.

    The mean of skewed scores doesn't: with 30 exponential ones t rejects at the lower end twice as often as it says. There the
    larger of two p-values counts, that of t and that of t straightened by Hall's transformation, so that nothing is rejected
    that t would not reject.

    Attributes:
        estimate: In the unit of the scores.
        stderr: Its standard error.
        df: Degrees of freedom.
        n: The number of test examples, or of runs where there are none.
        method: The method's name.
        covers: What the interval covers.
        parts: Where the variance comes from.
        skewness: Of the estimate, not of the scores: that of scores over √n.

    Raises:
        UndecidableError: A number is not finite, or the standard error not positive.

    >>> result = Student(estimate=-0.02, stderr=0.005, df=40.0, n=1000, method="paired t", covers="test set")
    >>> [round(bound, 4) for bound in result.interval(0.95)[:2]]
    [-0.0301, -0.0099]
    >>> round(result.p_value(null=-0.01, alternative="less"), 4)
    0.0262
    """

    estimate: float
    stderr: float
    df: float
    n: int
    method: str
    covers: str
    parts: Parts | None = None
    skewness: float = 0.0

    def __post_init__(self) -> None:
        if not (math.isfinite(self.estimate) and 1 / LARGEST < self.stderr < LARGEST and self.df > 0):
            raise UndecidableError("the scores are too large or too small to compute with")

    def interval(self, level: float) -> Interval:
        """estimate ± t · standard error, wider on the side where skewness makes t reject too easily."""
        quantile = self._quantile((1 - level) / 2)
        below = max(quantile, tails.bent(quantile, skewness=self.skewness))
        above = max(quantile, tails.bent(quantile, skewness=-self.skewness))
        return Interval(self.estimate - below * self.stderr, self.estimate + above * self.stderr, level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """P(T > t) or P(T < t), t = (estimate − null) / standard error; the larger of that and the straightened one."""
        sign = 1.0 if alternative == "greater" else -1.0
        t = sign * (self.estimate - null) / self.stderr
        if self.skewness == 0:
            return self._upper_tail(t)
        return max(self._upper_tail(t), self._upper_tail(tails.straightened(t, skewness=sign * self.skewness)))

    def _upper_tail(self, t: float) -> float:
        return t_cdf(-t, df=self.df)

    def _quantile(self, tail: float) -> float:
        return -t_quantile(tail, df=self.df)


@dataclass(frozen=True, kw_only=True)
class Crossed(Student):
    """An estimate whose variance holds a part of few degrees of freedom: the training noise of two or three seeds.

    Student's t with Satterthwaite's degrees of freedom is too light far out in the tails, where Holm's correction looks: with
    two seeds a side and 100 slices it blocks 14% of healthy changes at 5%. Here the tail is averaged over what the true
    training noise may be, given its estimate a·s² with k degrees of freedom and the variance E of the examples::

        p_j(t) = ∫ T_df(σ)( −t / sqrt(E + max(σ² − r, 0)) ) dF_j(σ²),    σ² = a·s² · k / χ²_j,    r = a · MS_res/n
        p(t) = (1 − w) · p_k(t) + w · p_(k+2)(t)

    p_k is Behrens' and Fisher's answer, which never rejects too often (Robinson 1976) but far too rarely. The mixture with
    w = A / (A + a·s²), A = E − r, is the posterior of the prior that makes such an answer exact to second order (Ghosh, Kim
    2001). With few degrees of freedom that overshoots in the far tail, so that w is raised to the power
    1 + 2t² / ((A + a·s²)·k), and is 0 for k < 2. E has its own degrees of freedom,
    by Satterthwaite for each σ².

    Attributes:
        examples: E: its estimate and degrees of freedom.
        training: a · s² and its degrees of freedom, finite.
        counted_twice: r, which both of them hold.

    References:
        Robinson, Annals of Statistics 4 (1976) 963-971; Ghosh, Kim, Canadian Journal of Statistics 29 (2001) 5-17.

    >>> few = combined(
    ...     estimate=-0.02, examples=[Component(1e-5, 9999)], training=Component(4e-5, 2), n=10000, method="examples × seeds",
    ...     covers="the test set and the training noise",
    ... )
    >>> round(few.p_value(null=0.0, alternative="less"), 4)
    0.0461
    """

    examples: Component
    training: Component
    counted_twice: float = 0.0

    def _quantile(self, tail: float) -> float:
        if tail >= 0.5:
            return 0.0
        widest = 2.0
        while self._upper_tail(widest) > tail:
            widest *= 2
        return roots.between(lambda t: self._upper_tail(t) - tail, 0.0, widest, xtol=1e-12)

    def _upper_tail(self, t: float) -> float:
        if t < 0:
            return 1 - self._upper_tail(-t)
        distance = t * self.stderr
        seeds, k = self.training.variance, self.training.df
        known = max(self.examples.variance - self.counted_twice, 0.0)
        tail = self._averaged(distance, chi2_df=k)
        if k < 2 or known == 0:
            return tail
        share = known / (known + seeds)
        weight = float(share ** (1 + 2 * distance / (known + seeds) * distance / k))
        return (1 - weight) * tail + weight * self._averaged(distance, chi2_df=k + 2)

    def _averaged(self, distance: float, *, chi2_df: float) -> float:
        chi2, weights = tails.chi_square(chi2_df)
        beyond = np.maximum(self.training.variance * self.training.df / chi2 - self.counted_twice, 0.0)
        total = self.examples.variance + beyond
        df = self.examples.df * np.square(total / self.examples.variance)
        # Not np.dot, whose last digit depends on where in memory the arrays lie.
        return float(np.sum(weights * tails.t_upper(distance / np.sqrt(total), df=df)))


@dataclass(frozen=True, kw_only=True)
class Exact:
    """A number without any uncertainty that could be known, such as a parameter count; compared as it is.

    Meeting a limit within rounding is meeting it: 0.94 − 0.93 is no more than 0.01.

    Attributes:
        scale: The size of the numbers whose difference ``estimate`` is, which decides how much of it is rounding.
    """

    estimate: float
    scale: float = 0.0
    n: int = 1
    method: str = "exact comparison"
    covers: str = "nothing, since single values have no standard error, seeds or history"
    df: float = math.inf

    def __post_init__(self) -> None:
        if not math.isfinite(self.estimate):  # infinity would be within rounding of every limit
            raise UndecidableError("the numbers are too large to compute with")

    def interval(self, level: float) -> Interval:
        """The value itself."""
        return Interval(self.estimate, self.estimate, level)

    def p_value(self, *, null: float, alternative: Alternative) -> float:
        """0 where the value is on the side of the alternative, else 1; the null itself counts as greater and as less."""
        if abs(self.estimate - null) <= ROUNDING * max(self.scale, abs(self.estimate), abs(null)):
            return 0.0
        return 0.0 if (self.estimate > null) == (alternative == "greater") else 1.0


def satterthwaite(components: Sequence[Component], *, floor: float = 0.0) -> Component:
    """The sum of independent variance estimates, and its approximate degrees of freedom.

    df = (Σ v_j)² / Σ (v_j² / df_j), Satterthwaite, Biometrics Bulletin 2 (1946) 110-114. For a plain sum that lies between the
    smallest df_j and their sum; where parts were subtracted or the floor holds it could fall below, and is kept from it.

    Args:
        components: The parts; subtracted parts have a negative variance and count in the denominator as they are.
        floor: The sum is never smaller than this.
    """
    if not all(math.isfinite(part.variance) for part in components):
        raise UndecidableError("the scores are too large to compute with")
    if len(components) == 1 and 0 < components[0].variance >= floor:
        return components[0]
    total = max(math.fsum(part.variance for part in components), floor)
    if total <= 0:
        raise UndecidableError("the variance is zero")
    # Relative to the total, since the square of a tiny variance would be 0.
    spread = math.fsum((part.variance / total) * (part.variance / total) / part.df for part in components)
    if spread == 0:
        return Component(total, math.inf)
    return Component(total, max(1 / spread, min(part.df for part in components)))


def combined(
    *,
    estimate: float,
    examples: Sequence[Component] = (),
    training: Component | None = None,
    counted_twice: Component | None = None,
    n: int,
    method: str,
    covers: str,
) -> Inference:
    """An estimate whose variance is that over examples, plus that over training, less what both of them hold.

    Alone, each of the two is Student's t; together they are ``Crossed``, unless the training noise is known for certain.

    Args:
        estimate: In the unit of the scores.
        examples: The variance over test examples, one part a side where the sides are independent; together never undercut.
        training: The part that comes from training, a · s².
        counted_twice: a · MS_res/n, the residual that both other parts hold; positive, it is subtracted.
        n: The number of test examples.
        method: The method's name.
        covers: What the interval covers.

    Raises:
        UndecidableError: The variance is zero or not finite.
    """
    parts = [*examples, *([training] if training else [])]
    if counted_twice is not None and counted_twice.variance:
        parts.append(Component(-counted_twice.variance, counted_twice.df))
    if any(abs(part.variance) >= LARGEST**2 for part in parts):
        raise UndecidableError("the scores are too large to compute with")
    sources = Parts(tuple(examples), training, counted_twice)
    total = satterthwaite(parts, floor=math.fsum(part.variance for part in examples))
    stderr = math.sqrt(total.variance)
    third = math.fsum(part.third for part in examples)
    # No mean is more skewed than one outlier makes it.
    skewness = min(max(third / total.variance / stderr, -1.0), 1.0) if third else 0.0
    of_examples = satterthwaite(examples) if any(part.variance > 0 for part in examples) else None
    if of_examples is not None and training is not None and training.variance > 0 and math.isfinite(training.df):
        return Crossed(
            estimate=estimate,
            stderr=stderr,
            df=total.df,
            n=n,
            method=method,
            covers=covers,
            parts=sources,
            skewness=skewness,
            examples=of_examples,
            training=training,
            counted_twice=counted_twice.variance if counted_twice is not None else 0.0,
        )
    return Student(
        estimate=estimate, stderr=stderr, df=total.df, n=n, method=method, covers=covers, parts=sources, skewness=skewness
    )


def t_cdf(t: float, *, df: float) -> float:
    """P(T <= t) of Student's t; the normal distribution for infinite ``df``."""
    return float(special.ndtr(t) if math.isinf(df) else special.stdtr(df, t))


def t_quantile(probability: float, *, df: float) -> float:
    """The quantile of Student's t; of the normal distribution for infinite ``df``."""
    return float(special.ndtri(probability) if math.isinf(df) else special.stdtrit(df, probability))

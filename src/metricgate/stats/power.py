"""What a comparison could not have seen, and what would settle it: more examples, or more training runs."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from metricgate.stats.inference import Alternative, Component, Exact, Inference, Parts, satterthwaite, t_quantile

MOST_EVIDENCE = 100.0
"""Times today's evidence: beyond that nothing is advised."""


def minimum_detectable_effect(
    result: Inference, *, alpha: float, power: float, alternative: Alternative = "less"
) -> float | None:
    """The distance from a limit that a comparison as sure as this one detects with probability ``power``.

    By inversion, so that it is right for every method: (U − θ) + (θ − L), U the one-sided bound at 1 − ``alpha`` on the side of
    the limit, L the one at ``power`` on the other. For Student's t that is (q_(1−alpha) + q_power) · standard error.

    Args:
        result: What is known.
        alpha: The level of the test, one-sided.
        power: At least 0.5.
        alternative: Which way the truth would differ from the limit.

    Returns:
        None where there is no uncertainty; infinity where no effect would be seen, as with five pairs for a sign-flip test.
    """
    if isinstance(result, Exact):
        return None
    test = result.interval(1 - 2 * alpha)
    seen = result.interval(2 * power - 1) if power > 0.5 else None
    if alternative == "less":
        return test.high - (seen.low if seen else result.estimate)
    return (seen.high if seen else result.estimate) - test.low


@dataclass(frozen=True, kw_only=True)
class Runs:
    """How many training runs an inference rests on.

    Attributes:
        candidate: K_c.
        baseline: K_b; 0 for an inference about the candidate alone.
        baseline_weight: w; the variance of training is multiplied by 1/K_c + w²/K_b.
    """

    candidate: int
    baseline: int = 0
    baseline_weight: float = 1.0

    def at_least(self, runs: int) -> Runs:
        """The same with so many runs a side, or more where there are more."""
        return Runs(
            candidate=max(runs, self.candidate),
            baseline=max(runs, self.baseline) if self.baseline else 0,
            baseline_weight=self.baseline_weight,
        )

    @property
    def share(self) -> float:
        """1/K_c + w²/K_b."""
        return 1 / self.candidate + (self.baseline_weight**2 / self.baseline if self.baseline else 0.0)

    @property
    def total(self) -> int:
        """The runs of both sides."""
        return self.candidate + self.baseline


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """What would settle a rule if the truth lies where the estimate does.

    Attributes:
        more_examples: Examples to add, with as many runs as now; None where that is not known or never enough.
        seeds: Runs a side, with as many examples as now; None where that is not known or never enough.
        examples_suffice: Whether more examples alone would ever do; None where there are none.
        seeds_suffice: Whether more runs alone would ever do; None where the training noise is not known.
    """

    more_examples: int | None = None
    seeds: int | None = None
    examples_suffice: bool | None = None
    seeds_suffice: bool | None = None


def factor_to_settle(distance: float, effect: float) -> float | None:
    """By how much the evidence has to grow so that a truth at ``distance`` from the limit is seen, given today's minimum
    detectable effect: examples and runs alike. None for a distance of 0.
    """
    if distance == 0 or not math.isfinite(distance):
        return None
    ratio = effect / distance
    return max(1.0, ratio * ratio)


def settle(result: Inference, *, distance: float, effect: float, runs: Runs, alpha: float, power: float) -> Settlement | None:
    """How many more examples, or how many runs a side, would make ``distance`` the minimum detectable effect.

    Var(D) = E/n + T·a with a = 1/K_c + 1/K_b: E/n, and the residual within it, shrinks with examples, T only with runs. Today's
    ``effect`` is scaled by how the sum of both quantiles times the standard error changes, degrees of freedom included.

    Args:
        result: What is known now.
        distance: How far the estimate is from the limit.
        effect: Today's minimum detectable effect.
        runs: How many runs ``result`` rests on.
        alpha: The level of the test.
        power: The power to plan for.

    Returns:
        None where not even ``MOST_EVIDENCE`` times the evidence would do, or the distance is 0.
    """
    factor = factor_to_settle(distance, effect)
    if factor is None or not factor <= MOST_EVIDENCE:
        return None
    parts = getattr(result, "parts", None)
    if not isinstance(parts, Parts):  # a score test, a permutation, a bootstrap: all of it is over examples
        return Settlement(more_examples=_more(result.n, factor), examples_suffice=True)
    today = _effect(parts, alpha=alpha, power=power)

    def seen(examples: float, planned: Runs) -> bool:
        return effect * _effect(_planned(parts, examples, runs, planned), alpha=alpha, power=power) <= distance * today

    has_examples = any(part.variance > 0 for part in parts.examples)
    factor_needed = _least(lambda f: seen(f, runs)) if has_examples else None
    noisy = parts.training is not None
    most_runs = max(runs.candidate, runs.baseline)
    times = _least(lambda f: seen(1.0, runs.at_least(math.ceil(most_runs * f)))) if noisy else None
    return Settlement(
        more_examples=None if factor_needed is None else _more(result.n, factor_needed),
        seeds=None if times is None else _fewest(runs, seen, most=math.ceil(most_runs * times)),
        examples_suffice=(factor_needed is not None) if has_examples else None,
        seeds_suffice=(times is not None) if noisy else None,
    )


def examples_needed(*, variance: float, effect: float, alpha: float, power: float, two_sided: bool = False) -> int:
    """The sample size of a paired comparison: n = (z_(1−alpha) + z_power)² · variance / effect².

    Args:
        variance: Of one example's difference; for 0/1 scores the share of examples that change, at most.
        effect: The distance from the limit that is to be seen.
        alpha: The level; split in two halves where ``two_sided``.
        power: The probability to see it.
        two_sided: Whether differences in both directions count.

    >>> examples_needed(variance=1 / 9, effect=0.03, alpha=0.05, power=0.8, two_sided=True)
    969
    """
    return _ceil(variance / _allowed_variance(effect=effect, alpha=alpha, power=power, two_sided=two_sided))


def examples_with_noise(*, variance: float, noise: float, runs: int, effect: float, alpha: float, power: float) -> int | None:
    """The same with training noise of standard deviation ``noise`` and so many runs a side: n = v / (V − 2 · noise² / K).

    Returns:
        None where no number of examples is enough: the training noise alone is too large.
    """
    left = _allowed_variance(effect=effect, alpha=alpha, power=power) - 2 * noise**2 / runs
    return _ceil(variance / left) if left > 0 else None


def runs_needed(*, variance: float, noise: float, examples: int, effect: float, alpha: float, power: float) -> int | None:
    """Runs a side with so many examples: K = 2 · noise² / (V − v / n).

    Returns:
        None where no number of runs is enough: the test set alone is too small.
    """
    left = _allowed_variance(effect=effect, alpha=alpha, power=power) - variance / examples
    return max(1, _ceil(2 * noise**2 / left)) if left > 0 else None


def effect_of(*, variance: float, noise: float, runs: int, examples: int, alpha: float, power: float) -> float:
    """The minimum detectable effect of a plan."""
    unit = _allowed_variance(effect=1.0, alpha=alpha, power=power)
    return math.sqrt((variance / examples + 2 * noise**2 / runs) / unit)


def _allowed_variance(*, effect: float, alpha: float, power: float, two_sided: bool = False) -> float:
    z = t_quantile(1 - (alpha / 2 if two_sided else alpha), df=math.inf) + t_quantile(power, df=math.inf)
    return (effect / z) ** 2


def _planned(parts: Parts, examples: float, now: Runs, planned: Runs) -> Parts:
    """The parts with so many times the examples, and other runs."""
    ratio = planned.share / now.share
    more = planned.total - now.total
    twice = parts.counted_twice.variance if parts.counted_twice is not None else 0.0
    whole = math.fsum(part.variance for part in parts.examples)
    # What the examples' part holds of the runs' residual becomes less with more runs.
    kept = max(whole - twice * (1 - ratio), 0.0) / whole if whole else 1.0
    scaled = tuple(Component(part.variance * kept / examples, part.df * examples) for part in parts.examples)
    if parts.training is None:
        return Parts(scaled, None, None)
    own = max(parts.training.variance - twice, 0.0)
    training = Component((own + min(twice, parts.training.variance) / examples) * ratio, parts.training.df + more)
    again = parts.counted_twice
    return Parts(
        scaled,
        training,
        None if again is None else Component(again.variance * ratio / examples, (again.df + more) * examples),
    )


def _effect(parts: Parts, *, alpha: float, power: float) -> float:
    components = [part for part in [*parts.examples, *([parts.training] if parts.training else [])] if part.variance > 0]
    if not components:
        return 0.0
    floor = math.fsum(part.variance for part in parts.examples)
    if parts.counted_twice is not None and parts.counted_twice.variance > 0:
        components.append(Component(-parts.counted_twice.variance, parts.counted_twice.df))
    if max(math.fsum(part.variance for part in components), floor) <= 0:
        return 0.0  # all that was left is what both parts hold
    total = satterthwaite(components, floor=floor)
    return math.sqrt(total.variance) * (t_quantile(1 - alpha, df=total.df) + t_quantile(power, df=total.df))


def _least(enough: Callable[[float], bool]) -> float | None:
    """The smallest factor up to ``MOST_EVIDENCE`` that is enough, to a thousandth of it."""
    if not enough(MOST_EVIDENCE):
        return None
    low, high = 1.0, MOST_EVIDENCE
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _fewest(runs: Runs, seen: Callable[[float, Runs], bool], *, most: int) -> int:
    """The fewest runs a side that are enough, given a number that is."""
    low, high = min(runs.candidate, runs.baseline or runs.candidate), most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if seen(1.0, runs.at_least(middle)) else (middle, high)
    return high


def _more(n: int, factor: float) -> int:
    return max(1, _ceil(n * (factor - 1)))


def _ceil(number: float) -> int:
    return math.ceil(number * (1 - 1e-12))  # what rounding put just above a whole number is that number

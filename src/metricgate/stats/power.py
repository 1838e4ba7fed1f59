"""What a comparison could not have seen, and what would settle it."""

from __future__ import annotations

import math

from metricgate.stats.inference import Exact, Inference, t_quantile


def minimum_detectable_effect(result: Inference, *, alpha: float, power: float) -> float | None:
    """The distance from a limit that a comparison as sure as this one detects with probability ``power``.

    (q_(1−alpha) + q_power) · standard error, q the quantiles of the result's distribution; the standard error is that of the
    one-sided interval at ``alpha``. None where there is no uncertainty.
    """
    if isinstance(result, Exact):
        return None
    interval = result.interval(1 - 2 * alpha)
    critical = t_quantile(1 - alpha, df=result.df)
    half = (interval.high - interval.low) / 2
    return half * (1 + t_quantile(power, df=result.df) / critical)


def factor_to_settle(distance: float, effect: float) -> float | None:
    """By how much the evidence has to grow so that a truth at ``distance`` from the limit is seen, given today's minimum
    detectable effect: examples (or seeds, for the part that comes from training) times this. None for a distance of 0.
    """
    if distance == 0 or not math.isfinite(distance):
        return None
    ratio = effect / distance
    return max(1.0, ratio * ratio)

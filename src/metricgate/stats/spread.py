"""How well a standard deviation is known from a few values."""

from __future__ import annotations

import math

from scipy import special

from metricgate.stats.inference import Interval


def sd_interval(sd: float, *, df: float, level: float) -> Interval:
    """The interval of a standard deviation of normal values: s · sqrt(df / χ²).

    From five values it is wide: a factor of 0.6 down and almost 3 up.

    >>> [round(bound, 2) for bound in sd_interval(1.0, df=4, level=0.95)[:2]]
    [0.6, 2.87]
    """
    tail = (1 - level) / 2
    most, least = special.chdtri(df, tail), special.chdtri(df, 1 - tail)
    return Interval(sd * math.sqrt(df / most), sd * math.sqrt(df / least), level)

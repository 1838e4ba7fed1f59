"""Training noise: how much a metric moves when nothing but the seed changes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from metricgate.stats.inference import ROUNDING, UndecidableError
from metricgate.stats.scatter import Sample, Scores

GROSS = 0.001
"""Pooled variances may not differ at this level of Bartlett's test: only gross differences count."""

_MEDIAN_CHI2_1 = 0.454936423119572
_EFFICIENCY = 0.37 * 2 / 3
"""Of the median of squared successive differences, against the sample variance of as many independent values: 0.37 for the
median absolute deviation (Rousseeuw, Croux 1993), 2/3 for successive differences (von Neumann 1941)."""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The variance of a metric over runs of one commit.

    Attributes:
        variance: s², the variance of the run means (unit of the score, squared).
        df: Its degrees of freedom; infinite where it was given.
        residual: MS_res, the two-way residual mean square of examples × runs; 0 where there are no examples.
        residual_df: Its degrees of freedom.
        source: Where it comes from, in words.
        groups: How many commits it was pooled over.
    """

    variance: float
    df: float
    residual: float = 0.0
    residual_df: float = math.inf
    source: str = ""
    groups: int = 1

    @property
    def sd(self) -> float:
        """The standard deviation of a run's metric."""
        return math.sqrt(self.variance)


def of_scores(scores: Scores | Sample) -> Noise | None:
    """The noise among the runs of one commit, from a matrix of shape (runs, examples) or the same summed up; None for one run.

    MS_res = Σ (x_ki − x̄_k. − x̄_.i + x̄_..)² / ((n − 1)(K − 1)).
    """
    sample = scores if isinstance(scores, Sample) else Sample.of(scores)
    runs, n = sample.runs, sample.n
    if runs < 2 or n < 2:
        return None
    df = (n - 1) * (runs - 1)
    variance = _variance(sample.offsets, scale=abs(sample.mean))
    return Noise(variance=variance, df=runs - 1, residual=sample.residual / df, residual_df=df)


def of_values(values: Sequence[float]) -> Noise | None:
    """The noise among single values, one a run of the same commit; None for fewer than two."""
    if len(values) < 2:
        return None
    return Noise(variance=_variance(np.asarray(values, dtype=np.float64)), df=len(values) - 1)


def of_successive(values: Sequence[float]) -> Noise | None:
    """The noise from single runs of successive commits: robust, since some of those commits really changed the model.

    s² = median(Δ²) / (2 · 0.455), Δ the differences of neighbours; None for fewer than five values.
    """
    if len(values) < 5:
        return None
    differences = np.diff(np.asarray(values, dtype=np.float64))
    variance = float(np.median(np.square(differences))) / (2 * _MEDIAN_CHI2_1)
    df = max(1.0, _EFFICIENCY * len(differences))
    return Noise(variance=variance, df=df, source=f"of {len(values)} successive single runs", groups=len(values))


def given(sd: float) -> Noise:
    """Noise that was measured elsewhere and is taken as known."""
    return Noise(variance=sd * sd, df=math.inf, source="given in the configuration")


def pool(noises: Sequence[Noise], *, source: str) -> Noise:
    """Pool the noise of several commits, weighted by degrees of freedom.

    Raises:
        UndecidableError: Their variances differ grossly by Bartlett's test, so that no single number describes them.
    """
    if not noises:
        raise UndecidableError("there is no noise to pool")
    df = math.fsum(noise.df for noise in noises)
    variance = math.fsum(noise.variance * noise.df for noise in noises) / df
    residual_df = math.fsum(noise.residual_df for noise in noises if math.isfinite(noise.residual_df))
    residual = math.fsum(n.residual * n.residual_df for n in noises if math.isfinite(n.residual_df))
    if (p := bartlett(noises)) < GROSS:
        raise UndecidableError(f"the training noise differs grossly between commits (Bartlett's test, p = {p:.2g})")
    return Noise(
        variance=variance,
        df=df,
        residual=residual / residual_df if residual_df else 0.0,
        residual_df=residual_df or math.inf,
        source=source,
        groups=len(noises),
    )


def bartlett(noises: Sequence[Noise]) -> float:
    """The p-value of Bartlett's test that all variances are equal; groups without variance are left out.

    A group whose runs are all alike (a deterministic training) says nothing about the noise of the others.
    """
    parts = [noise for noise in noises if noise.variance > 0]
    if len(parts) < 2:
        return 1.0
    df = math.fsum(part.df for part in parts)
    pooled = math.fsum(part.variance * part.df for part in parts) / df
    statistic = df * math.log(pooled) - math.fsum(part.df * math.log(part.variance) for part in parts)
    correction = 1 + (math.fsum(1 / part.df for part in parts) - 1 / df) / (3 * (len(parts) - 1))
    return float(special.chdtrc(len(parts) - 1, max(statistic, 0.0) / correction))


def _variance(values: Scores, *, scale: float = 0.0) -> float:
    # The mean of three equal numbers need not be that number: what differs by rounding has no variance.
    if float(np.ptp(values)) <= ROUNDING * max(scale, float(np.abs(values).max())):
        return 0.0
    return float(values.var(ddof=1))

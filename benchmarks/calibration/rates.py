"""Error rates and power from many inferences, with the error of the simulation itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from metricgate.stats.inference import Inference

ALPHA = 0.05
NOMINAL = 2.4865
"""Standard errors beyond the limit at which a normal test of known variance has power 0.8."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One regime.

    Attributes:
        method: What the gate uses there.
        regime: The scores.
        n: Test examples (or clusters, or seeds a side, as the regime says).
        fails: The false-fail rate, family-wise where there are several rules.
        passes: The false-pass rate.
        power: The rate of fails at a truth 2.49 standard errors beyond the limit, where a test of known variance has 0.8.
        repetitions: How many were simulated; 0 where all outcomes were summed up instead.
        refused: The share that got no answer.
    """

    method: str
    regime: str
    n: str
    fails: float
    passes: float | None
    power: float | None
    repetitions: int
    large: bool
    refused: float = 0.0

    def error(self, rate: float) -> float:
        """1.96 standard errors of a simulated rate."""
        return 1.96 * math.sqrt(max(rate * (1 - rate), ALPHA * 0.05) / self.repetitions) if self.repetitions else 0.0

    @property
    def missed(self) -> str:
        """Which goal is missed by more than the error of the simulation: above 1.3 alpha anywhere, 0.5 to 1.1 from 200 on."""
        found = []
        for name, rate in (("fails", self.fails), ("passes", self.passes)):
            if rate is None:
                continue
            if rate - self.error(rate) > (1.1 if self.large else 1.3) * ALPHA:
                found.append(f"too many {name}")
            elif self.large and rate + self.error(rate) < 0.5 * ALPHA:
                found.append(f"few {name}")
        return ", ".join(found)


def row(  # the words of one line
    results: Sequence[Inference], *, truth: float, method: str, regime: str, n: int | str, large: bool, refused: int = 0
) -> Row:
    """The rates of inferences about a truth that lies exactly on the limit."""
    total = len(results) + refused
    sd = float(np.std([result.estimate for result in results]))
    return Row(
        method=method,
        regime=regime,
        n=str(n),
        fails=sum(r.p_value(null=truth, alternative="less") <= ALPHA for r in results) / total,
        passes=sum(r.p_value(null=truth, alternative="greater") <= ALPHA for r in results) / total,
        power=sum(r.p_value(null=truth + NOMINAL * sd, alternative="less") <= ALPHA for r in results) / total,
        repetitions=total,
        large=large,
        refused=refused / total,
    )


def table(rows: Sequence[Row]) -> str:
    """Rates as multiples of alpha, in Markdown."""
    lines = [
        "| method | scores | n | false fails / alpha | false passes / alpha | power | |",
        "|---|---|---|---|---|---|---|",
    ]
    for one in rows:
        note = "; ".join(text for text in (one.missed, f"{one.refused:.0%} refused" if one.refused else "") if text)
        cells = [one.method, one.regime, one.n, _multiple(one, one.fails), _multiple(one, one.passes)]
        lines.append(f"| {' | '.join(cells)} | {'' if one.power is None else f'{one.power:.2f}'} | {note} |")
    return "\n".join(lines)


def _multiple(one: Row, rate: float | None) -> str:
    if rate is None:
        return ""
    error = f" ± {one.error(rate) / ALPHA:.2f}" if one.repetitions else ""
    return f"{rate / ALPHA:.2f}{error}"

"""The regimes: what is drawn, and which functions of the library judge it.

Sums over examples are drawn or computed for many repetitions at once; everything after that is the library's own code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.calibration import exact
from benchmarks.calibration.rates import ALPHA, Row, row
from metricgate.stats import means, multiplicity, quantiles
from metricgate.stats.inference import Component, Inference, UndecidableError, combined
from metricgate.stats.scatter import Spread

Array = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]

SCORES: dict[str, tuple[Draw, float]] = {
    "normal": (lambda rng, shape: rng.standard_normal(shape), 0.0),
    "t with 3 df": (lambda rng, shape: rng.standard_t(3, size=shape), 0.0),
    "log-normal less log-normal": (lambda rng, shape: np.exp(rng.normal(size=shape)) - np.exp(rng.normal(size=shape)), 0.0),
    "exponential": (lambda rng, shape: rng.exponential(size=shape), 1.0),
    "log-normal, sd of log 0.8": (lambda rng, shape: np.exp(0.8 * rng.standard_normal(shape)), math.exp(0.32)),
    "log-normal, sd of log 1.5": (lambda rng, shape: np.exp(1.5 * rng.standard_normal(shape)), math.exp(1.125)),
    "3% lose 8 standard deviations": (lambda rng, shape: rng.standard_normal(shape) - 8.0 * (rng.random(shape) < 0.03), -0.24),
}
CLUSTERS: dict[str, Callable[[int], Array]] = {
    "equal": lambda count: np.full(count, 20.0),
    "5 to 50 examples": lambda count: np.round(np.linspace(5, 50, count)),
    "one with half of all": lambda count: np.r_[np.full(count - 1, 10.0), 10.0 * (count - 1)],
}


@dataclass(frozen=True)
class Regime:
    """Rows of one method."""

    method: str
    rows: Callable[[], list[Row]]


def everything(*, effort: float = 1.0) -> Iterator[Regime]:
    """All regimes; ``effort`` scales the number of repetitions."""
    yield Regime("Tango", lambda: [*exact.paired_rows(), *exact.family_rows()])
    yield Regime("binomial", exact.single_rows)
    yield Regime(
        "paired t", lambda: [paired_t(name, n, effort=effort) for name in SCORES for n in (30, 100, 200, 1000, 10_000)]
    )
    yield Regime("paired t, 100,000", lambda: [normal_sums(100_000, effort=effort)])
    yield Regime("sign flip", lambda: [sign_flip(name, n, effort=effort) for name in list(SCORES)[:4] for n in (10, 15, 29)])
    yield Regime(
        "clusters", lambda: [clustered(kind, count, effort=effort) for kind in CLUSTERS for count in (2, 3, 5, 10, 30, 200)]
    )
    yield Regime(
        "seeds",
        lambda: [
            seeds(runs, history, share, effort=effort)
            for runs, history in ((2, 0), (3, 0), (8, 0), (1, 24), (3, 24))
            for share in (0.2, 0.5, 0.9)
        ],
    )
    yield Regime(
        "seeds, slices",
        lambda: [
            family(runs, history, rules, effort=effort)
            for runs, history in ((2, 0), (3, 0), (8, 0), (3, 24))
            for rules in (11, 100)
        ],
    )
    yield Regime("skewed slices", lambda: [skewed_family(name, effort=effort) for name in ("t with 3 df", "exponential")])
    yield Regime("quantiles", lambda: [quantile(0.5, 50, effort=effort), quantile(0.5, 1000, effort=effort)])
    yield Regime("quantiles, p95", lambda: [quantile(0.95, 500, effort=effort), quantile(0.95, 2000, effort=effort)])
    yield Regime("Welch", lambda: [welch(name, effort=effort) for name in ("normal", "exponential")])


def paired_t(name: str, n: int, *, effort: float = 1.0) -> Row:
    """Differences drawn one by one, their sums taken for all repetitions at once."""
    draw, truth = SCORES[name]
    repetitions = int(effort * min(10_000, 1.5e7 / n))
    results = [_paired(spread) for spread in _spreads(draw(_rng(n), (repetitions, n)))]
    return row(results, truth=truth, method="paired t", regime=name, n=n, large=n >= 200)


def normal_sums(n: int, *, effort: float = 1.0) -> Row:
    """Of so many normal differences only the sums are drawn: the mean is normal, the sum of squares a chi-square."""
    rng, repetitions = _rng(n), int(10_000 * effort)
    means_, squares = rng.standard_normal(repetitions) / math.sqrt(n), rng.chisquare(n - 1, size=repetitions)
    results = [_paired(Spread(n=n, mean=float(m), squares=float(s))) for m, s in zip(means_, squares, strict=True)]
    return row(results, truth=0.0, method="paired t", regime="normal", n=n, large=True)


def sign_flip(name: str, n: int, *, effort: float = 1.0) -> Row:
    """Fewer than 30 differences."""
    draw, truth = SCORES[name]
    drawn = draw(_rng(n), (int(3000 * effort), n))
    results = [means.paired_difference(one[None], np.zeros((1, n))) for one in drawn]
    return row(results, truth=truth, method="sign flip, or t where lopsided", regime=name, n=n, large=False)


def clustered(kind: str, count: int, *, effort: float = 1.0) -> Row:
    """Clusters that differ, with examples that differ within them; half of the variance of an example is its cluster's."""
    sizes = CLUSTERS[kind](count)
    total, repetitions = float(sizes.sum()), int(10_000 * effort)
    rng = _rng(count)
    of_clusters = rng.standard_normal((repetitions, count)) * np.sqrt(0.5 + 0.5 / sizes)
    estimates = of_clusters @ sizes / total
    sums = sizes * (of_clusters - estimates[:, None])
    results: list[Inference] = []
    refused = 0
    for estimate, one in zip(estimates, sums, strict=True):
        spread = Spread(n=int(total), mean=float(estimate), squares=1.0, sizes=sizes.astype(np.int64), sums=one)
        try:
            results.append(_paired(spread))
        except UndecidableError:
            refused += 1
    regime = f"clusters, {kind}"
    if not results:
        return Row(
            method="clustered t",
            regime=regime,
            n=str(count),
            fails=0.0,
            passes=0.0,
            power=0.0,
            repetitions=repetitions,
            large=False,
            refused=1.0,
        )
    return row(results, truth=0.0, method="clustered t", regime=regime, n=count, large=count >= 200, refused=refused)


def seeds(runs: int, history: int, share: float, *, effort: float = 1.0) -> Row:
    """Examples crossed with seeds, ``share`` of the variance from training, known with few degrees of freedom."""
    results = crossed(_rng(runs), int(10_000 * effort), runs=runs, history=history, share=share)
    regime = f"{share:.0%} of the variance from training, {_noise(runs, history)}"
    return row(results, truth=0.0, method="examples × seeds", regime=regime, n=f"{runs} a side", large=True)


def family(runs: int, history: int, rules: int, *, effort: float = 1.0) -> Row:
    """Any false fail among many slices at once, half of the variance of each from training, by Holm."""
    repetitions = int(effort * (4000 if rules < 20 else 600))
    drawn = crossed(_rng(rules), repetitions * rules, runs=runs, history=history, share=0.5)
    p = np.array([r.p_value(null=0.0, alternative="less") for r in drawn]).reshape(repetitions, rules)
    regime = f"{rules} slices, half of the variance from training, {_noise(runs, history)}"
    return _family_row(p, method="examples × seeds, Holm", regime=regime, n=f"{runs} a side")


def skewed_family(name: str, *, effort: float = 1.0) -> Row:
    """Any false fail among 20 slices of 200 numeric scores each."""
    draw, truth = SCORES[name]
    rules, n, repetitions = 20, 200, int(1500 * effort)
    p = [_paired(one).p_value(null=truth, alternative="less") for one in _spreads(draw(_rng(n), (repetitions * rules, n)))]
    return _family_row(
        np.array(p).reshape(repetitions, rules), method="paired t, Holm", regime=f"20 slices of 200, {name}", n="200"
    )


def quantile(probability: float, n: int, *, effort: float = 1.0) -> Row:
    """Two log-normal latencies of the same examples, with as few beyond the quantile as are allowed, or more."""
    rng, results = _rng(n), []
    for _ in range(int(2000 * effort)):
        shared = np.exp(rng.normal(2.0, 0.8, size=n))
        one, other = (shared + rng.gamma(2.0, 1.0, size=n) for _ in range(2))
        results.append(
            means.paired_difference(quantiles.linearise(one[None], probability), quantiles.linearise(other[None], probability))
        )
    beyond = round(n * min(probability, 1 - probability))
    regime = f"p{100 * probability:.0f} of log-normal latencies, {beyond} beyond it"
    return row(results, truth=0.0, method="quantile", regime=regime, n=n, large=n >= 200)


def welch(name: str, *, effort: float = 1.0) -> Row:
    """Sides that can't be paired: 200 and 300 examples."""
    draw, _ = SCORES[name]
    rng, repetitions = _rng(5), int(5000 * effort)
    results = []
    for one, other in zip(draw(rng, (repetitions, 200)), 2 * draw(rng, (repetitions, 300)), strict=True):
        results.append(means.unpaired_difference(one[None], other[None]))
    truth = -SCORES[name][1]
    return row(results, truth=truth, method="Welch t", regime=name, n="200 and 300", large=True)


def _paired(spread: Spread) -> Inference:
    part = means.mean_variance(spread)
    return combined(estimate=spread.mean, examples=[part], n=spread.n, method="paired t", covers="")


def _spreads(drawn: Array) -> Iterator[Spread]:
    average = drawn.mean(axis=1)
    drawn -= average[:, None]
    squares = np.einsum("ij,ij->i", drawn, drawn)
    cubes = np.einsum("ij,ij,ij->i", drawn, drawn, drawn)
    for mean, square, cube in zip(average, squares, cubes, strict=True):
        yield Spread(n=drawn.shape[1], mean=float(mean), squares=float(square), cubes=float(cube))


def crossed(rng: np.random.Generator, repetitions: int, *, runs: int, history: int, share: float) -> list[Inference]:
    """1,000 examples; a tenth of what seeds move is the residual that both parts of the variance hold."""
    n, df = 1000, 2 * (runs - 1) + history
    twice = 0.1 * share
    of_examples = (1 - share + twice) * rng.chisquare(n - 1, size=repetitions) / (n - 1)
    of_training = share * rng.chisquare(df, size=repetitions) / df
    estimates = rng.standard_normal(repetitions)
    return [
        combined(
            estimate=float(estimate),
            examples=[Component(float(examples), n - 1)],
            training=Component(float(training), df),
            counted_twice=Component(twice, (n - 1) * df),
            n=n,
            method="examples × seeds",
            covers="",
        )
        for estimate, examples, training in zip(estimates, of_examples, of_training, strict=True)
    ]


def _family_row(p: Array, *, method: str, regime: str, n: str) -> Row:
    any_fails = [min(multiplicity.holm([float(value) for value in one])) <= ALPHA for one in p]
    return Row(
        method=method,
        regime=regime,
        n=n,
        fails=float(np.mean(any_fails)),
        passes=None,
        power=None,
        repetitions=len(p),
        large=True,
    )


def _noise(runs: int, history: int) -> str:
    return f"{2 * (runs - 1) + history} degrees of freedom" + (", most from recorded commits" if history else "")


def _rng(seed: int) -> np.random.Generator:
    return np.random.default_rng([2026, seed])

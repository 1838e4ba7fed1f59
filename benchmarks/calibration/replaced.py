"""The usual tests in the regimes where the study showed them to be wrong, for comparison with what took their place."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from benchmarks.calibration import regimes
from benchmarks.calibration.rates import ALPHA
from metricgate.stats.inference import Inference, Student

HEADER = ("| the usual test | where | false fails / alpha | false passes / alpha |", "|---|---|---|---|")


def table() -> str:
    """Rates as multiples of alpha, in Markdown."""
    return "\n".join([*HEADER, *_plain_t(), *_few_degrees(), *_satterthwaite(), *_normal_tail()])


def _plain_t() -> Iterator[str]:
    for name in ("exponential", "log-normal, sd of log 0.8", "log-normal, sd of log 1.5"):
        draw, truth = regimes.SCORES[name]
        for n in (30, 200, 1000):
            drawn = draw(np.random.default_rng(n), (10_000, n))
            t = np.asarray(stats.ttest_1samp(drawn, truth, axis=1).statistic)
            yield _line("paired t", f"{name}, n = {n}", *_both(t, df=n - 1))


def _few_degrees() -> Iterator[str]:
    for count in (3, 10, 30):
        sizes = regimes.CLUSTERS["one with half of all"](count)
        drawn = np.random.default_rng(count).standard_normal((10_000, count)) * np.sqrt(0.5 + 0.5 / sizes)
        share = sizes / sizes.sum()
        mean = drawn @ share
        variance = count / (count - 1) * np.square(share * (drawn - mean[:, None])).sum(axis=1)
        rates = _both(mean / np.sqrt(variance), df=count - 1)
        yield _line("clustered t, C − 1 degrees of freedom", f"{count} clusters, one with half of all", *rates)


def _satterthwaite() -> Iterator[str]:
    for runs, rules in ((2, 11), (2, 100), (3, 11), (3, 100)):
        repetitions = 40_000 // rules
        drawn = regimes.crossed(np.random.default_rng(rules), repetitions * rules, runs=runs, history=0, share=0.5)
        p = np.array([_as_student(one).p_value(null=0.0, alternative="less") for one in drawn]).reshape(repetitions, rules)
        any_fails = float((p.min(axis=1) * rules <= ALPHA).mean())
        where = f"{rules} slices with Holm, {runs} seeds a side, half of the variance from training"
        yield _line("t, Satterthwaite", where, any_fails, None)


def _normal_tail() -> Iterator[str]:
    critical = float(special.ndtri(1 - ALPHA))
    for n, margin, better in ((100, 0.03, 0.5), (200, 0.03, 0.25), (200, 0.05, 0.5)):
        fails = passes = 0.0
        for worse in range(n + 1):
            weight = float(stats.binom(n, better / n + margin).pmf(worse))
            if weight < 1e-9:
                continue
            rest = stats.binom(n - worse, better / n / (1 - better / n - margin))
            for b in range(min(n - worse, 30) + 1):
                score = _tango(b, worse, n=n, delta=-margin)
                fails += weight * float(rest.pmf(b)) * (score <= -critical)
                passes += weight * float(rest.pmf(b)) * (score >= critical)
        where = f"n = {n}, m = {margin:g}, {better:g} better and {better + n * margin:g} worse expected"
        yield _line("Tango, normal tail", where, fails, passes)


def _tango(better: int, worse: int, *, n: int, delta: float) -> float:
    linear = -better - worse + (2 * n - better + worse) * delta
    q = (math.sqrt(linear * linear + 8 * n * worse * delta * (1 - delta)) - linear) / (4 * n)
    return (better - worse - n * delta) / math.sqrt(n * (2 * max(q, -delta) + delta * (1 - delta)))


def _as_student(result: Inference) -> Student:
    assert isinstance(result, Student)
    return Student(estimate=result.estimate, stderr=result.stderr, df=result.df, n=result.n, method="t", covers="")


def _both(t: NDArray[np.float64], *, df: float) -> tuple[float, float]:
    critical = float(special.stdtrit(df, 1 - ALPHA))
    return float((t <= -critical).mean()), float((t >= critical).mean())


def _line(method: str, where: str, fails: float, passes: float | None) -> str:
    return f"| {method} | {where} | {fails / ALPHA:.2f} | {'' if passes is None else f'{passes / ALPHA:.2f}'} |"

"""Error rates of metrics of labels and predictions, beside those of the plain BCa bootstrap and of Wald's interval.

``python -m benchmarks.calibration.set_level`` prints the table of docs/calibration.md; it takes two minutes of one core.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import special

from benchmarks import measure
from benchmarks.calibration.rates import Row, row, table
from metricgate.stats import auc, bootstrap, jackknife, means, noise, set_metrics
from metricgate.stats.bootstrap import Bootstrapped
from metricgate.stats.inference import Inference, Student, UndecidableError
from metricgate.stats.set_metrics import Sample

Array = NDArray[np.float64]
Trial = Callable[[np.random.Generator], Inference]

REPETITIONS, RESAMPLES = 2_000, 2_000
KNOWN = set_metrics.by_name()


def main() -> None:
    """Print the table."""
    print(table(list(everything())))
    print(f"\n{REPETITIONS:,} repetitions a row. {measure.machine()}")


def everything() -> Iterator[Row]:
    """All regimes."""
    for n, positive, turned in ((100, 0.5, 0.1), (200, 0.1, 0.1), (500, 0.05, 0.05), (1_000, 0.3, 0.02)):
        regime = f"{positive:.0%} positive, each model turns {turned:.0%} of shared predictions"

        def f1(rng: np.random.Generator, n: int = n, positive: float = positive, turned: float = turned) -> Inference:
            return bootstrap.paired(KNOWN["f1"], *_classes(rng, n, positive, turned), resamples=RESAMPLES).difference()

        found, refused = _found(f1)
        yield row(found, truth=0.0, method="F1, bootstrap", regime=regime, n=n, large=n >= 200, refused=refused)
        plain = [replace(one, cautious=False, df=math.inf, stretch=1.0) for one in found if isinstance(one, Bootstrapped)]
        yield row(plain, truth=0.0, method="F1, plain BCa", regime=regime, n=n, large=n >= 200, refused=refused)
    for n, clusters in ((300, 15), (300, 30), (1_000, 100)):

        def in_clusters(rng: np.random.Generator, n: int = n, clusters: int = clusters) -> Inference:
            codes = np.repeat(np.arange(clusters, dtype=np.int32), n // clusters)
            sides = _clustered(rng, codes)
            return bootstrap.paired(KNOWN["f1"], *sides, clusters=codes, resamples=RESAMPLES).difference()

        found, refused = _found(in_clusters)
        yield row(
            found,
            truth=0.0,
            method="F1, bootstrap of clusters",
            regime=f"{clusters} clusters",
            n=n,
            large=True,
            refused=refused,
        )
    for name in ("f1", "roc_auc"):
        for runs, luck in ((2, 0.1), (3, 0.1), (3, 0.3)):

            def over_seeds(rng: np.random.Generator, name: str = name, runs: int = runs, luck: float = luck) -> Inference:
                sides = _trainings(rng, name, runs, luck)
                known = noise.pool([one for side in sides if (one := noise.of_scores(side))], source="")
                return means.paired_difference(*sides, noise=known)

            found, refused = _found(over_seeds)
            regime = f"{runs} seeds a side, sd of luck {luck:g}"
            yield row(found, truth=0.0, method=f"{name}, influence × seeds", regime=regime, n=500, large=True, refused=refused)
    for n, positive, apart in ((200, 0.5, 1.0), (200, 0.1, 1.0), (1_000, 0.05, 2.0)):

        def areas(rng: np.random.Generator, n: int = n, positive: float = positive, apart: float = apart) -> Inference:
            label = _label(n, positive)
            shared = apart * label + rng.standard_normal(n)
            return auc.paired_difference(label, *(shared + 0.5 * rng.standard_normal((2, n))))

        found, refused = _found(areas)
        regime = f"{positive:.0%} positive, area about {special.ndtr(apart / 1.58):.2f}"
        yield row(found, truth=0.0, method="difference of areas, DeLong", regime=regime, n=n, large=n >= 200, refused=refused)
    for n, positive, apart in ((50, 0.5, 2.0), (200, 0.5, 3.0), (200, 0.1, 3.0), (1_000, 0.05, 3.0)):
        truth = float(special.ndtr(apart / math.sqrt(2)))

        def one_area(rng: np.random.Generator, n: int = n, positive: float = positive, apart: float = apart) -> Inference:
            label = _label(n, positive)
            return auc.area(Sample(label=label, prediction=apart * label + rng.standard_normal(n)))

        found, refused = _found(one_area)
        regime = f"{positive:.0%} positive, area {truth:.3f}"
        yield row(
            found, truth=truth, method="one area, DeLong of the logit", regime=regime, n=n, large=n >= 200, refused=refused
        )
        wald = [_wald(one) for one in found if isinstance(one, auc.Logit)]
        yield row(wald, truth=truth, method="one area, DeLong by Wald", regime=regime, n=n, large=n >= 200, refused=refused)


def _found(trial: Trial) -> tuple[list[Inference], int]:
    """What the trials gave, and how many gave nothing."""
    rng = np.random.default_rng(1)
    found: list[Inference] = []
    for _ in range(REPETITIONS):
        with contextlib.suppress(UndecidableError):
            found.append(trial(rng))
    return found, REPETITIONS - len(found)


def _label(n: int, positive: float) -> Array:
    label = np.zeros(n)
    label[: round(positive * n)] = 1
    return label


def _classes(rng: np.random.Generator, n: int, positive: float, turned: float) -> tuple[Sample, Sample]:
    label = (rng.random(n) < positive).astype(np.float64)
    shared = np.where(rng.random(n) < 0.85, label, 1 - label)
    one, other = (np.where(rng.random(n) < turned, 1 - shared, shared) for _ in range(2))
    return Sample(label=label, prediction=one), Sample(label=label, prediction=other)


def _clustered(rng: np.random.Generator, codes: NDArray[np.int32]) -> tuple[Sample, Sample]:
    n, count = len(codes), int(codes.max()) + 1
    label = (rng.random(n) < 0.4).astype(np.float64)
    of_clusters = rng.standard_normal((3, count))[:, codes]
    shared = 1.2 * label + 0.7 * rng.standard_normal(n) + 0.7 * of_clusters[0]
    one, other = (shared + 0.4 * rng.standard_normal(n) + 0.5 * of_clusters[side] > 0.6 for side in (1, 2))
    return Sample(label=label, prediction=one.astype(np.float64)), Sample(label=label, prediction=other.astype(np.float64))


def _trainings(rng: np.random.Generator, name: str, runs: int, luck: float, n: int = 500) -> list[Array]:
    """Scores of both sides whose means are the metric of each run."""
    label = (rng.random(n) < 0.3).astype(np.float64)
    shared = 1.5 * label + rng.standard_normal(n)
    sides = []
    for _ in range(2):
        rows = []
        for _ in range(runs):
            score = shared + 0.4 * rng.standard_normal(n) + luck * rng.standard_normal() * (label - 0.3)
            prediction = score if name == "roc_auc" else (score > 0.75).astype(np.float64)
            rows.append(jackknife.pseudo_scores(KNOWN[name], Sample(label=label, prediction=prediction))[0])
        sides.append(np.stack(rows))
    return sides


def _wald(found: auc.Logit) -> Student:
    area = found.estimate
    return replace(found.on_scale, estimate=area, stderr=found.on_scale.stderr * area * (1 - area), df=math.inf)


if __name__ == "__main__":
    main()

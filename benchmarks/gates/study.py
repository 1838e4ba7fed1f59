"""The trainings of the study as pairs, what a gate makes of each, and how sure the shares are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from benchmarks.gates.trainings import VARIANTS, file_of

Scores = NDArray[np.float64]

EARLIER = 12
SEEDS = 3
MANY = 9


@dataclass(frozen=True)
class Pair:
    """What one verdict may rest on: rows of ``Trainings.right``, the same healthy run never twice."""

    variant: str
    baseline: NDArray[np.intp]
    earlier: NDArray[np.intp]
    candidate: NDArray[np.intp]


@dataclass(frozen=True)
class Given:
    """The evidence of one pair.

    Attributes:
        candidate: 0/1 scores of shape (runs, examples); the others too, column by column the same examples.
        baseline: The runs that the candidate is compared with.
        earlier: Runs from before.
        labels: (n,), the class of each example, numbered in alphabetical order.
        random: For what draws at random.
    """

    candidate: Scores
    baseline: Scores
    earlier: Scores
    labels: NDArray[np.intp]
    random: np.random.Generator


@dataclass(frozen=True)
class Trainings:
    """All runs: for each variant a matrix of 0/1 scores, (runs, examples), and its files; the class of each example."""

    right: Mapping[str, Scores]
    files: Mapping[str, Sequence[Path]]
    labels: NDArray[np.intp]

    def given(self, pair: Pair, random: np.random.Generator) -> Given:
        """A pair's scores."""
        healthy = self.right["healthy"]
        candidate = self.right[pair.variant][pair.candidate]
        return Given(candidate, healthy[pair.baseline], healthy[pair.earlier], self.labels, random)


def load(runs: Path) -> Trainings:
    """Read every finished training; all were evaluated on the same examples in the same order."""
    right: dict[str, Scores] = {}
    files: dict[str, list[Path]] = {}
    labels = np.empty(0, dtype=np.intp)
    for variant in VARIANTS:
        files[variant] = sorted(file_of(runs, variant, 0).parent.parent.glob("seed-*/scores.parquet"))
        rows = []
        for file in files[variant]:
            table = pq.read_table(file)
            rows.append(table.column("accuracy").to_numpy(zero_copy_only=False).astype(np.float64))
            labels = np.unique(table.column("label").to_pylist(), return_inverse=True)[1]
        right[variant] = np.stack(rows)
    return Trainings(right, files, labels)


def pairs(trainings: Trainings, variant: str, *, seeds: int, count: int, seed: int) -> list[Pair]:
    """Random pairs; a healthy candidate is none of its baseline's runs."""
    random = np.random.default_rng([seed, seeds, list(VARIANTS).index(variant)])
    earlier = 0 if seeds > SEEDS else EARLIER
    drawn = []
    for _ in range(count):
        healthy = random.permutation(len(trainings.right["healthy"]))
        rest = healthy[seeds + earlier :] if variant == "healthy" else random.permutation(len(trainings.right[variant]))
        drawn.append(Pair(variant, healthy[:seeds], healthy[seeds : seeds + earlier], rest[:seeds]))
    return drawn


def decide(blocks: Callable[[Given], bool], drawn: Sequence[Pair], trainings: Trainings, *, seed: int) -> NDArray[np.bool_]:
    """Whether each pair's candidate is blocked."""
    random = np.random.default_rng([seed, 1])
    return np.array([blocks(trainings.given(pair, random)) for pair in drawn])


def error(blocked: NDArray[np.bool_], drawn: Sequence[Pair], trainings: Trainings, *, earlier: bool) -> float:
    """The standard error of a share of blocked pairs as an estimate for all trainings of that kind.

    The pairs share their trainings, so that more pairs do not make up for few trainings. To first order (Hájek's projection) a
    training moves the share by Σ_r (K_r / N) · (share among the pairs where it has role r − share), K_r of the N trainings
    having that role; what the random choice of pairs adds to that is subtracted and counted once.
    """
    share, count = float(blocked.mean()), len(drawn)
    sampled = share * (1 - share) / count
    moves: dict[tuple[str, int], float] = {}
    inflated = 0.0
    for role in ("baseline", "earlier", "candidate"):
        if role == "earlier" and not earlier:
            continue
        variant = drawn[0].variant if role == "candidate" else "healthy"
        total = len(trainings.right[variant])
        held = np.zeros((count, total), dtype=bool)
        for row, pair in zip(held, drawn, strict=True):
            row[getattr(pair, role)] = True
        weight = held[0].sum() / total
        for run in range(total):
            among = held[:, run]
            if among.any():
                key = (variant, run)
                moves[key] = moves.get(key, 0.0) + weight * (float(blocked[among].mean()) - share)
        inflated += total * weight * sampled
    between = sum(move**2 for move in moves.values()) - inflated
    return float(np.sqrt(max(between, 0.0) + sampled))

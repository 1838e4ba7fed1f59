"""Every way to decide that the study compares: the rows of its table."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.gates import peers
from benchmarks.gates.study import MANY, SEEDS, Given, Pair, Scores, Trainings
from metricgate.comparison import Comparison
from metricgate.config import Config
from metricgate.evidence import Evidence
from metricgate.examples import Examples
from metricgate.gate import estimates
from metricgate.gate.judge import judge
from metricgate.gate.verdict import Verdict
from metricgate.run import Fingerprints, Run, RunRecord, Times
from metricgate.score_table import ScoreTable
from metricgate.stats import multiplicity, scatter
from metricgate.stats.scatter import Scatter
from metricgate.training_noise import NoiseSources

ALPHA = 0.05
CHECKED = 3


@dataclass(frozen=True)
class Setup:
    """How this gate gets its evidence.

    Attributes:
        history: How the earlier runs are recorded: not at all, as one commit, as successive commits, or as the same training.
        sliced: Whether the policy has a rule for each class beside the one for all examples.
    """

    history: str = "none"
    sliced: bool = False

    def blocks(self, given: Given) -> bool:
        """As ``judge`` would decide, without reading files."""
        return min(multiplicity.holm(self.p_values(given))) <= ALPHA

    def p_values(self, given: Given) -> list[float]:
        """Of every rule, before Holm."""
        found = self._p_values(given, codes=None, groups=1)
        if self.sliced:
            found += self._p_values(given, codes=given.labels, groups=int(given.labels.max()) + 1)
        return found

    def _p_values(self, given: Given, *, codes: scatter.Codes | None, groups: int) -> list[float]:
        baseline, history = given.baseline, list[Scores]()
        if self.history == "one commit":
            history = [given.earlier]
        elif self.history == "successive commits":
            history = list(given.earlier[:, None])
        elif self.history == "same training":
            baseline = np.vstack([baseline, given.earlier])
        both = Scatter.of([given.candidate, baseline], codes=codes, groups=groups)
        recorded = [Scatter.of([scores], codes=codes, groups=groups) for scores in history]
        found = []
        for group in range(groups):
            evidence = Evidence(
                metric="accuracy",
                slice=None,
                candidate=_examples(both, group, side=0),
                baseline=_examples(both, group, side=1),
                pair=functools.partial(both.pair, group),
                noise=NoiseSources(history=tuple(_examples(one, group, side=0) for one in recorded)),
            )
            measured = estimates.measure(evidence, aggregate="mean")
            found.append(measured.difference().p_value(null=0.0, alternative="less"))
        return found


def _examples(summed: Scatter, group: int, *, side: int) -> Examples:
    def scores() -> Scores:
        message = "a mean needs no more than the sums"
        raise NotImplementedError(message)

    samples = (summed.sample(group, side=side),)
    return Examples(n=int(summed.n[group]), runs=summed.runs[side], samples=lambda: samples, scores=scores)


@dataclass(frozen=True)
class Gate:
    """A way to decide.

    Attributes:
        name: What the table calls it.
        blocks: Whether it blocks the candidate.
        seeds: How many runs a side it looks at.
        earlier: Whether it looks at the earlier runs.
        ours: How `metricgate compare` is set up to decide the same; None for another tool.
    """

    name: str
    blocks: Callable[[Given], bool]
    seeds: int = 1
    earlier: bool = False
    ours: Setup | None = None


def _ours(name: str, setup: Setup, *, seeds: int) -> Gate:
    return Gate(f"**metricgate, {name}**", setup.blocks, seeds=seeds, earlier=setup.history != "none", ours=setup)


GATES = (
    Gate("any drop, one seed a side", lambda g: peers.drop(g.candidate, g.baseline)),
    Gate("any drop, means of 3 seeds a side", lambda g: peers.drop(g.candidate, g.baseline), seeds=SEEDS),
    Gate("a drop of more than 1 point, one seed a side", lambda g: peers.drop(g.candidate, g.baseline, by=0.01)),
    Gate("a drop of more than 1 point, 3 seeds a side", lambda g: peers.drop(g.candidate, g.baseline, by=0.01), seeds=SEEDS),
    Gate("unpaired z (lm-evaluation-harness), two-sided 5%", lambda g: peers.unpaired_z(g.candidate, g.baseline, level=0.025)),
    Gate("unpaired z, one-sided 5%", lambda g: peers.unpaired_z(g.candidate, g.baseline, level=0.05)),
    Gate("20-sample jackknife (TensorFlow Model Analysis)", lambda g: peers.jackknife(g.candidate, g.baseline, g.random)),
    Gate("ease.ml/ci, Hoeffding, one verdict", lambda g: peers.ease_ml(g.candidate, g.baseline)),
    Gate("factor 1.1 (asv), one seed a side", lambda g: peers.asv(g.candidate, g.baseline)),
    Gate("factor 1.1, 99% intervals (asv), 3 seeds a side", lambda g: peers.asv(g.candidate, g.baseline), seeds=SEEDS),
    Gate(f"factor 1.1, Mann-Whitney (asv), {MANY} seeds a side", lambda g: peers.asv(g.candidate, g.baseline), seeds=MANY),
    Gate("t threshold 0.99, 12 earlier runs (Bencher)", lambda g: peers.bencher(g.candidate, g.earlier, 0.99), earlier=True),
    Gate("the same, 0.977", lambda g: peers.bencher(g.candidate, g.earlier, 0.977), earlier=True),
    Gate(
        "t prediction interval 0.99 over 12 earlier runs",
        lambda g: peers.prediction_interval(g.candidate, g.earlier, 0.99),
        earlier=True,
    ),
    Gate("the same, 0.977", lambda g: peers.prediction_interval(g.candidate, g.earlier, 0.977), earlier=True),
    Gate("the same, 0.95", lambda g: peers.prediction_interval(g.candidate, g.earlier, 0.95), earlier=True),
    Gate("Welch's t over runs, 3 seeds a side", lambda g: peers.welch(g.candidate, g.baseline), seeds=SEEDS),
    Gate(
        "Student's t over runs, 3 seeds against 3 and 12 earlier",
        lambda g: peers.student(g.candidate, np.vstack([g.baseline, g.earlier])),
        seeds=SEEDS,
        earlier=True,
    ),
    _ours("one seed a side, nothing known of the training noise", Setup(), seeds=1),
    _ours("one seed a side, noise from 12 runs of an earlier commit", Setup("one commit"), seeds=1),
    _ours("one seed a side, noise from 12 successive commits", Setup("successive commits"), seeds=1),
    _ours("one seed a side, 12 earlier runs of the same training", Setup("same training"), seeds=1),
    _ours("3 seeds a side", Setup(), seeds=SEEDS),
    _ours("3 seeds a side, noise from 12 runs of an earlier commit", Setup("one commit"), seeds=SEEDS),
    _ours("3 seeds a side, 12 earlier runs of the same training", Setup("same training"), seeds=SEEDS),
    _ours("3 seeds a side, a rule for each class", Setup(sliced=True), seeds=SEEDS),
    _ours("3 seeds a side, noise from 12 runs, a rule for each class", Setup("one commit", sliced=True), seeds=SEEDS),
    _ours("3 seeds a side, 12 of the same training, a rule for each class", Setup("same training", sliced=True), seeds=SEEDS),
)
"""Every row of the table."""


def verdict(setup: Setup, pair: Pair, trainings: Trainings) -> Verdict:
    """What `metricgate compare` says about a pair, from the files."""

    def runs(variant: str, rows: NDArray[np.intp], commit: str, *, each: bool = False) -> list[Run]:
        found = []
        for age, row in enumerate(rows):
            file = trainings.files[variant][row]
            prints = {"training": "sha256:1", "evaluation": "sha256:2", "test_set": "sha256:3", "reference_columns": ("label",)}
            record = RunRecord(
                commit=f"{commit}-{row:02d}" if each else commit,
                seed=int(row),
                times=Times(started=f"2026-01-01T00:00:{age:02d}Z"),
                fingerprints=Fingerprints(**prints) if setup.history == "same training" else Fingerprints(),
            )
            found.append(Run(file.parent, {}, ScoreTable.open(file, id="example_id"), record))
        return found

    slices = ({"metric": "accuracy", "slices": ("label",), "max_regression": 0},) if setup.sliced else ()
    config = Config.model_validate(
        {
            "metrics": {"accuracy": {"direction": "higher"}},
            "gate": {"alpha": ALPHA, "rules": ({"metric": "accuracy", "max_regression": 0}, *slices)},
        }
    )
    candidate = runs(pair.variant, pair.candidate, "candidate")
    earlier = runs("healthy", pair.earlier, "earlier", each=setup.history == "successive commits")
    history = earlier if setup.history != "none" else []
    return judge(Comparison(candidate, runs("healthy", pair.baseline, "baseline"), history=history, config=config))


def check(gate: Gate, drawn: Sequence[Pair], trainings: Trainings) -> int:
    """That the short way used for thousands of pairs is the one that users get, on some pairs.

    Raises:
        AssertionError: It is not.
    """
    assert gate.ours is not None
    for pair in drawn[:CHECKED]:
        short = gate.ours.p_values(trainings.given(pair, np.random.default_rng(0)))
        said = verdict(gate.ours, pair, trainings)
        assert len(said.rules) == len(short)
        assert all(math.isclose(rule.p_value or 0.0, p, rel_tol=1e-9) for rule, p in zip(said.rules, short, strict=True))
        assert (said.verdict == "fail") == (min(multiplicity.holm(short)) <= ALPHA)
    return min(CHECKED, len(drawn))

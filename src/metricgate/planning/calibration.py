"""What the gate would have said about a commit compared with itself: the training noise, and the rate of false blocks."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from metricgate.comparison import Comparison
from metricgate.config import Config
from metricgate.custom_metrics import Functions
from metricgate.errors import UsageError
from metricgate.gate import estimates, judge
from metricgate.gate.verdict import RuleResult, Verdict
from metricgate.run import Run
from metricgate.stats.inference import ROUNDING, Interval
from metricgate.stats.proportions import Proportion
from metricgate.stats.spread import sd_interval

LEVEL = 0.95
MOST_PAIRS = 200
"""Comparisons that are made; with many runs there are more, and more of them say no more."""
MIN_N = 50

Progress = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much a metric moves when only the seed changes.

    Attributes:
        metric: Its name.
        slice: ``label=8``, or None for all examples.
        mean: Its mean over runs.
        sd: Its standard deviation over runs.
        interval: Of the standard deviation.
        n: The number of examples; None where there are no scores.
    """

    metric: str
    slice: str | None
    mean: float
    sd: float
    interval: Interval
    n: int | None


@dataclass(frozen=True, kw_only=True)
class Blocked:
    """How often something would have blocked a commit that was compared with itself.

    Attributes:
        key: Its name in JSON.
        name: Its name for people.
        count: How often.
        pairs: Of how many.
    """

    key: str
    name: str
    count: int
    pairs: int

    @property
    def interval(self) -> Interval:
        """Wilson's interval of the rate, as if the pairs were independent."""
        if self.pairs < 2:
            return Interval(0.0, 1.0, LEVEL)
        return Proportion(successes=self.count, n=self.pairs, covers="").interval(LEVEL)


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What the runs of one commit say about training and about the policy.

    Attributes:
        name: The model.
        commit: The commit, where all runs name the same one.
        seeds: The seeds, where they are known.
        runs: How many runs.
        a_side: How many of them made a side.
        noise: Of every metric, then of its slices.
        blocked: This policy's rate first, then those of simpler ones.
        disjoint: How many pairs share no run.
        warnings: What else the comparisons said.
    """

    name: str
    commit: str | None
    seeds: tuple[int, ...]
    runs: int
    a_side: int
    noise: tuple[Noise, ...]
    blocked: tuple[Blocked, ...]
    disjoint: int
    warnings: tuple[str, ...] = ()


def calibrate(
    runs: Sequence[Run],
    *,
    config: Config,
    progress: Progress = lambda _done, _all: None,
    functions: Functions | None = None,
) -> Calibration:
    """Compare the runs of one commit with each other, as the policy would.

    Args:
        runs: Runs of one commit that differ in nothing but their seed.
        config: The policy, and how many seeds it trains.
        progress: Is told how many comparisons are done, and of how many.
        functions: The user's functions that metrics name, by reference.

    Raises:
        UsageError: There are fewer than two runs, or they are of several commits.
        InputError: A score table is malformed, or the runs have different test sets.
    """
    commits = sorted({run.record.commit for run in runs if run.record.commit})
    if len(commits) > 1:
        raise UsageError(
            f"the runs are of {len(commits)} commits: {', '.join(commit[:12] for commit in commits[:5])}",
            expected="runs of one commit: what differs between commits is no noise",
            fix="metricgate calibrate --runs .metricgate/runs/a1b2c3d",
        )
    if len(runs) < 2:
        raise UsageError(
            f"there is {len(runs)} run",
            expected="two at least, and better five or more",
            fix="metricgate calibrate --seeds 0-4",
        )
    whole = Comparison(runs, runs[:0], config=config, functions=functions)
    wanted = len(config.train.seeds) if config.train else 1
    a_side = min(wanted, len(runs) // 2)
    pairs = list(splits(len(runs), a_side))
    policy, recorded, drop, beyond = [], [], [], []
    for done, (one, other) in enumerate(pairs):
        progress(done, len(pairs))
        rest = [runs[i] for i in range(len(runs)) if i not in {*one, *other}]
        sides = [runs[i] for i in one], [runs[i] for i in other]
        alone = judge.judge(Comparison(*sides, config=config, functions=functions))
        policy.append(_blocks(alone))
        known = Comparison(*sides, history=rest, config=config, functions=functions)
        recorded.append(_blocks(judge.judge(known)) if len(rest) > 1 else None)
        drop.append(any(_gain(rule) < 0 for rule in alone.rules if rule.slice is None))
        beyond.append(any(_gain(rule) < -_limit(rule) for rule in alone.rules))
    progress(len(pairs), len(pairs))
    ways: list[tuple[str, str, Sequence[bool | None]]] = [
        ("policy", "this policy", policy),
        ("policy_with_history", "this policy, the other runs being recorded ones", recorded),
        ("any_drop", "any drop", drop),
        ("beyond_limit", "a drop beyond a limit, without statistics", beyond),
    ]
    return Calibration(
        name=config.name,
        commit=commits[0] if commits else None,
        seeds=tuple(sorted(run.record.seed for run in runs if run.record.seed is not None)),
        runs=len(runs),
        a_side=a_side,
        noise=tuple(noise_of(runs, config=config, functions=functions)),
        blocked=tuple(
            Blocked(key=key, name=name, count=sum(bool(blocks) for blocks in found), pairs=len(found))
            for key, name, found in ways
            if None not in found
        ),
        disjoint=len(runs) // (2 * a_side),
        warnings=tuple(whole.warnings),
    )


def noise_of(runs: Sequence[Run], *, config: Config, functions: Functions | None = None) -> Iterator[Noise]:
    """The noise of every metric over runs, each followed by its slices of ``MIN_N`` examples and more."""
    single = [Comparison([run], (), config=config, functions=functions) for run in runs]
    for metric, settings in config.metrics.items():
        found = [[one.evidence(metric) for one in single]]
        for column in config.slice_columns:
            if all(one.candidate.has_column(name) for one in single for name in (*(settings.columns or (metric,)), column)):
                by_name = [{evidence.slice: evidence for evidence in one.slices(metric, column)} for one in single]
                found += [[names[name] for names in by_name if name in names] for name in by_name[0]]
        for evidence in found:
            n = evidence[0].candidate_n
            values = [estimates.value(one.candidate, aggregate=settings.aggregate) for one in evidence]
            known = [value for value in values if value is not None]
            if len(known) < 2 or (evidence[0].slice is not None and (n or 0) < MIN_N):
                continue
            alike = max(known) - min(known) <= ROUNDING * max(abs(value) for value in known)
            sd = 0.0 if alike else float(np.std(known, ddof=1))
            yield Noise(
                metric=metric,
                slice=evidence[0].slice,
                mean=float(np.mean(known)),
                sd=sd,
                interval=sd_interval(sd, df=len(known) - 1, level=LEVEL),
                n=n,
            )


def splits(runs: int, a_side: int) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Ordered pairs of sides that share no run: all of them, or ``MOST_PAIRS`` chosen always alike.

    >>> list(splits(2, 1))
    [((0,), (1,)), ((1,), (0,))]
    """
    every = math.comb(runs, a_side) * math.comb(runs - a_side, a_side)
    if every <= MOST_PAIRS:
        for one in itertools.combinations(range(runs), a_side):
            rest = [index for index in range(runs) if index not in one]
            yield from ((one, other) for other in itertools.combinations(rest, a_side))
        return
    rng = np.random.default_rng(0)
    seen: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    while len(seen) < MOST_PAIRS:
        order = [int(index) for index in rng.permutation(runs)[: 2 * a_side]]
        pair = tuple(sorted(order[:a_side])), tuple(sorted(order[a_side:]))
        if pair not in seen:
            seen.add(pair)
            yield pair


def _blocks(verdict: Verdict) -> bool:
    return bool(verdict.exit_code)


def _gain(rule: RuleResult) -> float:
    if rule.kind != "max_regression" or rule.difference is None:
        return 0.0
    return rule.difference if rule.direction == "higher" else -rule.difference


def _limit(rule: RuleResult) -> float:
    return rule.limit.value * abs(rule.baseline or 0.0) if rule.limit.relative else rule.limit.value

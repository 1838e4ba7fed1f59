"""What became of a task, from the files that its nodes left and the engine's word. The files decide; pure but for reading them.

A node that was told to end by the engine has a result, too, and perhaps the engine starts it again: then the result goes away.
"""

from __future__ import annotations

import functools
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from metricgate.train import diagnosis
from metricgate.train.command import CommandError, Usage
from metricgate.train.diagnosis import Cause, Ended, Facts, Reason
from metricgate.train.gpu.usage import GpuUsage
from metricgate.train.host_memory import Kills
from metricgate.train.launchers.job import Job, State, TaskState
from metricgate.train.progress import Progress

QUOTED_LINES = 15
_RETRYABLE = frozenset({"node_failure", "preempted"})
_REASONS: Mapping[str, Reason] = {"timeout": "timeout", "stall": "stall", "nan": "nan"}
"""Why a worker ends its training."""
_MOST = 1e12
_NONE = Usage(0.0, 0.0, 0)
_File = TypeVar("_File")


@dataclass(frozen=True)
class Result:
    """What a node wrote when its part had ended: see ``worker``."""

    node: int
    host: str
    status: int
    reason: str
    detail: str
    ended: float
    usage: Usage
    kills: Kills


@dataclass(frozen=True)
class Files:
    """What the nodes of a task have left so far.

    Attributes:
        hosts: The machines that have begun.
        attempt: How often the first one has begun.
        started: When it did so last, in seconds since the epoch, by its own clock.
        spent_s: How long its earlier attempts took, in seconds.
        results: Of the nodes that have ended, in order.
    """

    hosts: tuple[str, ...] = ()
    attempt: int = 0
    started: float = 0.0
    spent_s: float = 0.0
    results: tuple[Result, ...] = ()

    @property
    def usage(self) -> Usage:
        """What all nodes used: the time of the first, the processor time and GPUs of all, the largest memory."""
        if not self.results:
            return _NONE
        first = self.results[0].usage.wall_s
        return Usage(
            self.spent_s + first,
            math.fsum(result.usage.cpu_s for result in self.results),
            max(result.usage.peak_memory_bytes for result in self.results),
            functools.reduce(GpuUsage.beside, (result.usage.gpu for result in self.results)),
        )


def read(job: Job, seed: int) -> Files:
    """Read what the nodes of a task have left."""
    try:
        # Asking for a name that was not there a moment ago may be answered from memory; a network file system lists afresh.
        names = set(os.listdir(job.folder))  # noqa: PTH208 - names are enough
    except OSError:
        return Files()
    of_nodes = [(f"{seed}-{node}.start.json", f"{seed}-{node}.result.json") for node in range(job.nodes)]
    begun = [start for name, _ in of_nodes if name in names and (start := _read(job.folder / name, _start))]
    results = [result for _, name in of_nodes if name in names and (result := _read(job.folder / name, _result))]
    if not begun:
        return Files(results=tuple(results))
    hosts = tuple(dict.fromkeys(start.host for start in begun))
    return Files(hosts, begun[0].attempt, begun[0].started, begun[0].spent_s, tuple(results))


@dataclass(frozen=True)
class Seen:
    """All that is known about a task at a moment.

    Attributes:
        files: What its nodes left.
        state: The engine's word; None before it was asked.
        over_s: For how long the engine has been saying that it is over, in seconds.
        shared_s: How long a file may take from a node to the runner, in seconds.
        cancelled: The signal for which metricgate itself cancelled it, if it did.
        lines: The last lines of a node's output, by its number.
        engine_lines: The last lines of what the engine says about it.
        progress: What it said about its progress last.
    """

    files: Files
    state: TaskState | None = None
    over_s: float = 0.0
    shared_s: float = 60.0
    cancelled: str = ""
    lines: Callable[[int], tuple[str, ...]] = lambda _: ()
    engine_lines: tuple[str, ...] = ()
    progress: Progress | None = None


def of(job: Job, seed: int, seen: Seen, *, engine: str) -> Usage | CommandError | None:
    """What became of a task; None while that is not certain."""
    results = seen.files.results
    is_over = seen.state is not None and seen.state.state.is_over
    is_whole = len(results) == job.nodes
    late = is_over and seen.over_s >= seen.shared_s
    if is_whole and all(not result.status and not result.reason for result in results):
        return seen.files.usage
    own = [result for result in results if result.reason not in ("signal", "other_node") and (result.status or result.reason)]
    if own and (is_whole or is_over):
        first = min(own, key=lambda result: result.ended)
        return _error(job, seed, seen, _own(job, first, seen), status=first.status, node=first.node)
    if is_over and (is_whole or late):
        return _error(job, seed, seen, _by_engine(job, seen, engine), status=results[0].status if results else 0)
    return None


def cancelled(job: Job, seed: int, seen: Seen) -> CommandError:
    """The error of a task that metricgate cancelled and that has left nothing else."""
    cause = Cause("cancelled", f"was stopped by {seen.cancelled}", _log(job, seed))
    return _error(job, seed, seen, cause)


def _own(job: Job, result: Result, seen: Seen) -> Cause:
    """Why the training ended by itself, or by the worker."""
    where = f" on node {result.node} ({result.host})" if job.nodes > 1 else ""
    if result.reason == "not_started":
        advice = "the runner and the nodes need the same folders at the same places (docs/clusters.md)"
        return Cause("not_shared", f"could not begin on {result.host}: {result.detail}", advice)
    reason = _REASONS.get(result.reason)
    ended = Ended(reason, killed=result.status == -9) if reason else None
    facts = Facts(
        ended=ended,
        ran_s=result.usage.wall_s,
        timeout_s=job.timeout_s,
        stall_s=job.stall_s or 0.0,
        grace_s=job.grace_s,
        kills=result.kills,
        progress=seen.progress,
    )
    if result.status == -9 and not ended and seen.state and seen.state.kind == "host_memory":
        return Cause("host_memory", seen.state.why + where, seen.state.advice)
    cause = diagnosis.of(result.status, seen.lines(result.node), facts)
    advice = "" if cause.advice.startswith("all of its output is in") else cause.advice
    return Cause(cause.kind, cause.sentence + where, advice, cause.retryable)


def _by_engine(job: Job, seen: Seen, engine: str) -> Cause:
    """Why the engine ended it, or why nobody knows."""
    assert seen.state  # noqa: S101 - it is over
    state, results = seen.state, seen.files.results
    told = next((result for result in results if result.reason == "signal"), None)
    if seen.cancelled:
        return Cause("cancelled", f"was stopped by {seen.cancelled}")
    if not seen.files.hosts and state.state in (State.DONE, State.FAILED):
        found = f"has left nothing in {job.folder}, though {engine} says that it {state.why or 'has ended'}"
        advice = "the file system is not shared between the runner and the nodes, or a node has no python3 (3.8 or newer):\n"
        advice += "the workspace and `train.checkpoints.folder` must lie where all of them find them, at the same place"
        return Cause("not_shared", found, advice)
    if state.state is State.LOST:
        return Cause(state.kind, state.why, state.advice, retryable=state.kind in _RETRYABLE)
    if told:
        advice = f"metricgate did not send it: {engine} does, when it wants the node back, and so does an administrator"
        return Cause("preempted", f"was told to end by {told.detail}, on {told.host}", advice, retryable=True)
    where = f" on {', '.join(seen.files.hosts)}" if seen.files.hosts else ""
    advice = state.advice or "a node that dies, or a worker that is killed, ends like this"
    return Cause(
        "node_failure", f"has begun{where} and never said how it ended; {engine} says that it {state.why}", advice, True
    )


def _error(job: Job, seed: int, seen: Seen, cause: Cause, *, status: int = 0, node: int = 0) -> CommandError:
    lines = seen.lines(node) or seen.engine_lines
    return CommandError(
        f"the training of seed {seed} {cause.sentence}",
        status=status,
        last_lines=lines[-QUOTED_LINES:],
        usage=seen.files.usage,
        kind=cause.kind,
        retryable=cause.retryable,
        fix=cause.advice or _log(job, seed),
    )


def _log(job: Job, seed: int) -> str:
    return f"all of its output is in {job.log(seed)}"


class _Start(NamedTuple):
    host: str
    attempt: int
    started: float
    spent_s: float


def _start(document: Mapping[str, Any]) -> _Start:
    numbers = int(document["attempt"]), float(document["started"]), float(document["spent_s"])
    return _Start(str(document["host"]), *numbers)


def _result(document: Mapping[str, Any]) -> Result:
    kills = document["kills"]
    return Result(
        node=int(document["node"]),
        host=str(document["host"]),
        status=int(document["status"]),
        reason=str(document["reason"]),
        detail=str(document["detail"]),
        ended=float(document["ended"]),
        usage=Usage(
            _amount(document["wall_s"]),
            _amount(document["cpu_s"]),
            int(_amount(document["peak_memory_bytes"])),
            _gpu(document["gpu"]),
        ),
        kills=Kills(group=int(kills["group"]), machine=int(kills["machine"])),
    )


def _gpu(attempts: Sequence[Mapping[str, Any] | None]) -> GpuUsage:
    used = [_gpu_of_attempt(dict(one)) for one in attempts if one is not None]
    return functools.reduce(GpuUsage.__add__, used, GpuUsage())


def _gpu_of_attempt(told: Mapping[str, Any]) -> GpuUsage:
    peak, busy, energy = (told.get(name) for name in ("peak_memory_bytes", "utilisation", "energy_wh"))
    return GpuUsage(
        devices=tuple(map(str, told.get("devices", ()))),
        peak_memory_bytes=None if peak is None else int(_amount(peak)),
        utilisation=None if busy is None else min(1.0, _amount(busy)),
        energy_wh=None if energy is None else _amount(energy),
        gpu_s=_amount(told["gpu_s"]),
    )


def _amount(told: Any) -> float:
    """What can be kept in a run; a training may have written anything over it."""
    number = float(told)
    if not 0 <= number <= _MOST:
        message = f"{number} is no measurement"
        raise ValueError(message)
    return number


def _read(path: Path, of: Callable[[Mapping[str, Any]], _File]) -> _File | None:
    try:
        return of(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None  # between two looks, a node may begin again; and what a training writes over it is no result

"""What is handed to an engine that trains on other machines, and what the engine says about it.

The runner and the nodes share a file system. In the job's folder there, ``job.json`` says what to run, and each node leaves
files for each task: ``<seed>-<node>.start.json`` when it begins and ``<seed>-<node>.result.json`` when it has ended. Those
decide what became of a training; the engine's word is asked for when they are missing.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from metricgate import run as runs
from metricgate.errors import StageError
from metricgate.train import nan_watch
from metricgate.train.launchers import cluster, node_group, node_log, node_meter, worker

JOB_FILE = "job.json"
WORKER_FILE = "worker.py"
_FILES = tuple(Path(str(module.__file__)) for module in (worker, cluster, node_group, node_log, node_meter, nan_watch))
PYTHON = "python3"
"""The node's own interpreter, found on its PATH; 3.8 or newer."""
_KEY = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,50}[a-z0-9])?")


@dataclass(frozen=True)
class Task:
    """One training: that of one seed.

    Attributes:
        seed: The seed.
        environ: What it needs beyond the node's own environment: METRICGATE_RUN_DIR and the like, all on the shared file
            system. No secrets: it is written into a file.
        log: Where the output of its first node goes, on the shared file system.
    """

    seed: int
    environ: Mapping[str, str]
    log: Path


@dataclass(frozen=True)
class Job:
    """All trainings that are handed over at once.

    Attributes:
        key: How a runner that restarted finds it again: the same for the same work, and another one for each time that it is
            handed over. At most 52 small letters, digits and hyphens, so that it is a name in every engine.
        name: What it is, for people.
        folder: Its own folder on the shared file system, absolute.
        line: What bash runs.
        cwd: The folder that it runs in, on the shared file system.
        tasks: One for each seed; an engine that numbers tasks counts them in this order.
        nodes: How many machines each task gets.
        gpus: How many GPUs a task gets on each; None leaves it to the engine.
        timeout_s: How long a task may run, in seconds, together with earlier attempts. The worker keeps to it; the engine's own
            limit should be a little longer.
        grace_s: Seconds from SIGTERM to SIGKILL.
        stall_s: Seconds without output and without a step until a task is ended; None for ever.
    """

    key: str
    name: str
    folder: Path
    line: str
    cwd: Path
    tasks: tuple[Task, ...]
    nodes: int
    gpus: int | None
    timeout_s: float
    grace_s: float
    stall_s: float | None = None

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            message = f"{self.key!r} is no name in every engine"
            raise ValueError(message)
        if not self.tasks or len({task.seed for task in self.tasks}) != len(self.tasks):
            message = "a job has tasks of different seeds, at least one"
            raise ValueError(message)

    def task(self, seed: int) -> Task:
        """The task of a seed."""
        return next(task for task in self.tasks if task.seed == seed)

    def command(self, seed: int) -> tuple[str, ...]:
        """What each node of a task runs. Its exit code is that of the user's line, or 128 + a signal's number.

        Where there are several, the worker must learn which one it is: from Slurm's own variables, or from
        METRICGATE_CLUSTER_HOSTS (the names of all, by comma, in order) and METRICGATE_CLUSTER_RANK or JOB_COMPLETION_INDEX.
        """
        return (PYTHON, str(self.folder / WORKER_FILE), str(self.folder / JOB_FILE), str(seed))

    def engine_log(self, seed: int) -> Path:
        """Where the engine puts what it says itself, if it can: why a worker did not even begin."""
        return self.folder / f"engine-{seed}.log"

    def log(self, seed: int, *, node: int = 0) -> Path:
        """Where the output of a node goes."""
        log = self.task(seed).log
        return log if node == 0 else log.with_name(f"{log.stem}.node-{node}{log.suffix}")

    def prepare(self) -> None:
        """Write what the nodes read: ``job.json`` and the worker. An engine gets the job after that.

        Raises:
            StageError: The folder can't be written.
        """
        document = {
            "schema": worker.SCHEMA,
            "key": self.key,
            "line": self.line,
            "cwd": str(self.cwd),
            "nodes": self.nodes,
            "gpus": self.gpus,
            "timeout_s": self.timeout_s,
            "grace_s": self.grace_s,
            "stall_s": self.stall_s,
            "tasks": [
                {
                    "seed": task.seed,
                    "environ": dict(task.environ),
                    "logs": [str(self.log(task.seed, node=node)) for node in range(self.nodes)],
                }
                for task in self.tasks
            ],
        }
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for file in _FILES:
                shutil.copyfile(file, self.folder / file.name)
            runs.write_text(self.folder / JOB_FILE, json.dumps(document, indent=2, sort_keys=True) + "\n")
        except OSError as error:
            raise StageError(
                f"the folder of the job can't be written: {error.strerror}",
                where=str(self.folder),
                expected="a folder on a file system that the runner and the nodes share",
                fix="train:\n  checkpoints: {folder: /a/shared/folder}",
            ) from None


class State(Enum):
    """Where a task is, in the engine's word."""

    WAITING = "waiting"
    """Not begun, or queued again after a preemption."""
    RUNNING = "running"
    DONE = "done"
    """Ended by itself, with exit code 0."""
    FAILED = "failed"
    """Ended by itself, with another one, or could not begin."""
    LOST = "lost"
    """The engine ended it, or lost its node."""
    GONE = "gone"
    """The engine does not know it, or no longer."""

    @property
    def is_over(self) -> bool:
        """Whether the engine will do nothing more for it."""
        return self not in (State.WAITING, State.RUNNING)


@dataclass(frozen=True)
class TaskState:
    """What the engine says about a task.

    Attributes:
        state: Where it is.
        why: In words that go on after "the training of seed 0 ": ``waits in the queue of partition gpu, 3 before it``,
            ``lost its node n17``, ``ran out of memory (Slurm: OUT_OF_MEMORY)``; empty where there is nothing to say.
        kind: Of a lost or failed one, as of ``CommandError``: node_failure, host_memory, timeout, preempted, cancelled, exit, …
        advice: What to do, where the engine knows.
        nodes: The names of its machines, where known.
    """

    state: State
    why: str = ""
    kind: str = ""
    advice: str = ""
    nodes: tuple[str, ...] = ()


class EngineUnreachableError(StageError):
    """The engine does not answer now; what it runs may well go on."""


class Launcher(Protocol):
    """An engine. Its calls take seconds at most, and none waits for a training.

    Every method raises ``EngineUnreachableError`` where the engine does not answer, which may pass, and another ``StageError``
    where it will not do what it is asked.
    """

    @property
    def name(self) -> str:
        """What people call it: ``Slurm``."""
        ...

    def submit(self, job: Job) -> str:
        """Hand over a job that is prepared; the engine's id of it.

        Called again with the same key, it hands over nothing twice: an engine that takes names gets ``job.key`` as one.
        """
        ...

    def find(self, job: Job) -> str | None:
        """The engine's id of the job of this key, whether it waits, runs or has ended; None where it knows none."""
        ...

    def states(self, job_id: str, job: Job) -> Mapping[int, TaskState]:
        """Where each task is, by seed."""
        ...

    def cancel(self, job_id: str, job: Job, *, now: bool = False) -> None:
        """End all tasks: SIGTERM, and SIGKILL after the job's grace period. No error where they have ended.

        Args:
            job_id: The engine's id.
            job: The job.
            now: SIGKILL at once; asked for when the grace period has passed and something is still there.
        """
        ...

"""An engine of the tests for what can't be brought about in a real one: it runs workers here, and says what it is told to say.

Real engines are in ``slurm_cluster``, ``ray_cluster`` and ``kubernetes_server``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from metricgate.train.launchers.job import EngineUnreachableError, Job, State, TaskState


@dataclass
class LocalEngine:
    """Runs workers as processes of the tests.

    Attributes:
        says: What it says about a task whatever is true, by the job's number and seed.
        away: How many of the next calls it does not answer.
        runs: Whether workers are started at all.
        submitted: The keys of all jobs that it got.
        cancelled: The ids that it was told to end, and how.
    """

    says: dict[tuple[str, int], TaskState] = field(default_factory=dict)
    away: int = 0
    runs: bool = True
    submitted: list[str] = field(default_factory=list)
    cancelled: list[tuple[str, bool]] = field(default_factory=list)
    _processes: dict[tuple[str, int], subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return "Local"

    def submit(self, job: Job) -> str:
        self._answer()
        self.submitted.append(job.key)
        number = str(len(self.submitted))
        for task in job.tasks if self.runs else ():
            with job.engine_log(task.seed).open("ab") as log:
                self._processes[number, task.seed] = subprocess.Popen(
                    [sys.executable, *job.command(task.seed)[1:]], stdin=subprocess.DEVNULL, stdout=log, stderr=log
                )
        return number

    def find(self, job: Job) -> str | None:
        self._answer()
        return str(self.submitted.index(job.key) + 1) if job.key in self.submitted else None

    def states(self, job_id: str, job: Job) -> Mapping[int, TaskState]:
        self._answer()
        return {task.seed: self.says.get((job_id, task.seed)) or self._state(job_id, task.seed) for task in job.tasks}

    def cancel(self, job_id: str, job: Job, *, now: bool = False) -> None:
        self._answer()
        self.cancelled.append((job_id, now))
        for task in job.tasks:
            process = self._processes.get((job_id, task.seed))
            if process and process.poll() is None:
                process.send_signal(signal.SIGKILL if now else signal.SIGTERM)

    def _answer(self) -> None:
        if self.away:
            self.away -= 1
            raise EngineUnreachableError("connection refused")

    def _state(self, job_id: str, seed: int) -> TaskState:
        process = self._processes.get((job_id, seed))
        if process is None:
            return TaskState(State.GONE, "is not known to it")
        status = process.poll()
        if status is None:
            return TaskState(State.RUNNING, "runs here", nodes=(os.uname().nodename,))
        return TaskState(State.DONE, "ended well") if status == 0 else TaskState(State.FAILED, f"ended with {status}", "exit")


@contextlib.contextmanager
def started() -> Iterator[LocalEngine]:
    """An engine whose processes are gone afterwards."""
    engine = LocalEngine()
    try:
        yield engine
    finally:
        for process in engine._processes.values():
            process.kill()
            process.wait()

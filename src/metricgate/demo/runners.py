"""Trains and evaluates commits with ``metricgate run``, a few at a time, as several runners would."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from metricgate import run as run_files
from metricgate.config import FILE_NAME
from metricgate.demo.scratch import Commit, Scratch
from metricgate.errors import StageError
from metricgate.run import RunRecord

MAX_RUNNERS = 3
_LAST_LINES = 12


@dataclass(frozen=True)
class Job:
    """One training and evaluation: a commit and a seed."""

    commit: Commit
    seed: int


@dataclass
class Runners:
    """A few checkouts of the repository, each of which does one job at a time.

    Attributes:
        scratch: The repository.
        checkouts: One working tree a runner.
        runs: The folder for the runs: ``<branch>/seed-<seed>``.
        logs: The folder for what the commands print.
        environ: The environment of the commands.
    """

    scratch: Scratch
    checkouts: Sequence[Path]
    runs: Path
    logs: Path
    environ: Mapping[str, str]
    _free: queue.SimpleQueue[Path] = field(default_factory=queue.SimpleQueue, init=False)
    _running: set[subprocess.Popen[str]] = field(default_factory=set, init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _stopped: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.logs.mkdir(parents=True, exist_ok=True)
        for checkout in self.checkouts:
            self._free.put(checkout)

    def work(self, jobs: Sequence[Job], *, idle: Callable[[int], None]) -> Iterator[tuple[Job, RunRecord]]:
        """Do all jobs and yield each as it is done, in whatever order that is.

        Args:
            jobs: What to do, first things first.
            idle: Called about once a second with the number of jobs done, to show that time passes.

        Raises:
            StageError: A job failed; the others were stopped.
        """
        pool = ThreadPoolExecutor(max_workers=len(self.checkouts))
        waiting: dict[Future[RunRecord], Job] = {pool.submit(self._do, job): job for job in jobs}
        try:
            while waiting:
                done, _ = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in sorted(done, key=lambda future: waiting[future].seed):
                    yield waiting.pop(future), future.result()
                idle(len(jobs) - len(waiting))
        finally:
            # After a failure or Ctrl-C nothing goes on in the background; `metricgate run` ends its commands on SIGTERM.
            with self._lock:
                self._stopped = True
                for process in self._running:
                    process.terminate()
            pool.shutdown(wait=True, cancel_futures=True)

    def _do(self, job: Job) -> RunRecord:
        checkout = self._free.get()
        try:
            self.scratch.git("checkout", "--quiet", "--detach", job.commit.id, at=checkout)
            made = self._run(job, checkout) / f"seed-{job.seed}"
        finally:
            self._free.put(checkout)
        kept = self.runs / job.commit.branch / made.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        made.rename(kept)
        record = run_files.read_record(kept)
        assert record is not None, "metricgate run ended well and left no run.json"  # noqa: S101
        return record

    def _run(self, job: Job, checkout: Path) -> Path:
        log = self.logs / f"{job.commit.branch}-seed-{job.seed}.log"
        command = [sys.executable, "-m", "metricgate", "run", "--config", str(checkout / FILE_NAME), "--seeds", str(job.seed)]
        with log.open("w") as progress:
            with self._lock:
                if self._stopped:
                    raise StageError("stopped")
                process = subprocess.Popen(  # noqa: S603 - this package's own command
                    command, cwd=self.runs.parent, env=dict(self.environ), stdout=subprocess.PIPE, stderr=progress, text=True
                )
                self._running.add(process)
            made, _ = process.communicate()
            with self._lock:
                self._running.discard(process)
        if process.returncode:
            last = "".join(f"\n  | {line}" for line in log.read_text(errors="replace").splitlines()[-_LAST_LINES:])
            raise StageError(f"{job.commit.branch}, seed {job.seed}: exit code {process.returncode}{last}", where=str(log))
        return Path(made.strip())


def count() -> int:
    """How many runners this machine has room for."""
    # What the process may use, where the system tells; a container may allow fewer processors than there are.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, MAX_RUNNERS))


def environment(environ: Mapping[str, str], *, tools: Path) -> dict[str, str]:
    """The environment of the commands: `python` is this interpreter, one core each, no accelerator.

    Args:
        environ: What to start from.
        tools: A folder for the `python` of the commands and for what Keras writes.
    """
    tools.mkdir(parents=True, exist_ok=True)
    # The scripts call `python`, which on PATH may be another one, without TensorFlow, or missing. A link would lose the
    # virtual environment.
    python = tools / "python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    kept = {name: value for name, value in environ.items() if not name.startswith("METRICGATE_")}
    with contextlib.suppress(KeyError):
        del kept["PYTHONSAFEPATH"]  # the scripts import each other
    return {
        **kept,
        "PATH": os.pathsep.join([str(tools.absolute()), environ.get("PATH", os.defpath)]),
        # The same numbers everywhere, as far as that goes, and runners that do not fight for cores.
        "CUDA_VISIBLE_DEVICES": "-1",
        "KERAS_BACKEND": "tensorflow",
        "OMP_NUM_THREADS": "1",
        "TF_NUM_INTRAOP_THREADS": "1",
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "KERAS_HOME": str(tools.absolute()),  # or Keras writes into the user's home folder
    }

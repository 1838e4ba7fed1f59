"""Runs one task of a job on a node, by the node's own Python: ``python3 worker.py job.json SEED`` (or ``@INDEX``).

This file and those that it imports are copied into the job's folder and need the standard library of Python 3.8, nothing else.
It says that it has begun, tells the training which of the nodes this is, keeps its output, its time limit and its signals,
leaves none of its processes behind, and writes what became of it.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import queue
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

if __package__:
    from metricgate.train import nan_watch
    from metricgate.train.launchers import cluster, node_group, node_log, node_meter
else:  # on a node, beside this file, also where PYTHONSAFEPATH is set; a metricgate that is installed there has no say
    sys.path.insert(0, str(Path(__file__).absolute().parent))
    import cluster  # type: ignore[import-not-found,no-redef]
    import nan_watch  # type: ignore[import-not-found,no-redef]
    import node_group  # type: ignore[import-not-found,no-redef]
    import node_log  # type: ignore[import-not-found,no-redef]
    import node_meter  # type: ignore[import-not-found,no-redef]

SCHEMA = "metricgate.job/1"
BASH_OPTIONS = ("--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
_ENDED_BY_SIGNAL = frozenset(code for number in node_group.PASSED_ON for code in (-number, 128 + number))
TICK_S, FLUSH_S, LOOK_S = 0.5, 1.0, 2.0
# Secrets of metricgate's actions; an engine that brings the runner's environment along must not bring them to the training.
NOT_PASSED_ON = "METRICGATE_INPUT_"
# Only the first node's model, metrics and progress count; the others' go where they overwrite nothing.
OF_FIRST_NODE = ("METRICGATE_RUN_DIR", "METRICGATE_MODEL", "METRICGATE_PROGRESS")


class Worker:
    """One node of one task."""

    def __init__(self, job: Mapping[str, Any], task: Mapping[str, Any], folder: Path) -> None:
        self.job = job
        self.task = task
        self.folder = folder
        self.events: queue.SimpleQueue[tuple[str, Any]] = queue.SimpleQueue()
        self.reason, self.detail = "", ""  # why the training was ended, if it did not end by itself
        self.engine_told_all = "SLURM_STEP_ID" in os.environ or "METRICGATE_ENGINE_TELLS_ALL" in os.environ  # as Ray does
        self.continued = 0.0
        self.kill_at = float("inf")
        self.attempt, self.spent_s = 1, 0.0
        self.gpu: list[Any] = []  # what each attempt used of its GPUs
        self.kills = _kernel_kills()
        self.here = cluster.Place(0, ("",), 0)

    def run(self) -> int:
        """Run the training to its end; the exit code for the engine."""
        for number in node_group.PASSED_ON:
            signal.signal(number, lambda received, _: self.events.put(("signal", received)))
        signal.signal(signal.SIGCONT, self._on_continue)
        try:
            self.here = cluster.place(os.environ, nodes=self.job["nodes"], name=f"{self.job['key']}:{self.task['seed']}")
        except cluster.ClusterError as error:
            return self._not_started(str(error))
        self._begin()
        bash = shutil.which("bash")
        if bash is None:
            return self._not_started("there is no bash on this machine")
        if not Path(self.job["cwd"]).is_dir():
            return self._not_started(f"this machine has no folder {self.job['cwd']}: it does not share it with the runner")
        try:
            log = node_log.Log(Path(self.task["logs"][self.here.rank]))
        except OSError as error:
            return self._not_started(f"its log can't be written: {error}")
        environ = self._environ()
        meter = node_meter.Meter(environ.get("CUDA_VISIBLE_DEVICES"), self.job["gpus"])
        began = time.monotonic()
        if self.attempt > 1:
            log.write(f"[metricgate: attempt {self.attempt}, on {socket.gethostname()}]\n".encode())
        try:
            process = subprocess.Popen(  # noqa: S603 - running the user's command is what this is for
                [bash, *BASH_OPTIONS, self.job["line"]],
                cwd=self.job["cwd"],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            return self._not_started(f"it can't be started: {error}")
        lifeline = node_group.guard(process.pid, self.job["grace_s"])
        pump = threading.Thread(target=_pump, args=(process, log), daemon=True)
        pump.start()
        threading.Thread(target=_wait, args=(process.pid, self.events), daemon=True).start()
        status, used = self._until_exit(process.pid, log, began)
        node_group.end(process.pid, told=bool(self.reason), grace_s=self.job["grace_s"])
        self.gpu.append(meter.stop())
        os.write(lifeline, b"x")
        pump.join(timeout=node_group.KILL_S)
        log.close()
        unit = 1 if sys.platform == "darwin" else 1024
        return self._ended(
            status, wall_s=time.monotonic() - began, cpu_s=used.ru_utime + used.ru_stime, peak=used.ru_maxrss * unit
        )

    def _on_continue(self, _number: int, _frame: object) -> None:
        self.continued = time.monotonic()

    def _file(self, kind: str, rank: int) -> Path:
        return self.folder / f"{self.task['seed']}-{rank}.{kind}.json"

    def _begin(self) -> None:
        start, result = self._file("start", self.here.rank), self._file("result", self.here.rank)
        if (before := _read(start)) is not None:
            ran_s = start.stat().st_mtime - before["started"]  # the file is touched while the training runs
            self.spent_s = before["spent_s"] + max(0.0, ran_s)
            self.attempt = before["attempt"] + 1
            ended = _read(result)
            # Of an attempt whose node died it is known how long it took, and nothing else.
            lost = {"gpu_s": (self.job["gpus"] or 0) * max(0.0, ran_s)}
            told = ended.get("gpu") if ended else [*before["gpu"], lost]
            self.gpu = told if isinstance(told, list) else [lost]  # a training may have written anything over it
            with contextlib.suppress(FileNotFoundError):
                result.unlink()
        _write(start, self._facts(started=time.time(), engine_job=os.environ.get("SLURM_JOB_ID", "")))

    def _facts(self, **more: Any) -> dict[str, Any]:
        return {
            "schema": SCHEMA,
            "seed": self.task["seed"],
            "node": self.here.rank,
            "host": os.environ.get("SLURMD_NODENAME") or socket.gethostname(),
            "attempt": self.attempt,
            "spent_s": round(self.spent_s, 3),
            "gpu": self.gpu,
            **more,
        }

    def _environ(self) -> dict[str, str]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith(NOT_PASSED_ON)}
        environ.setdefault("PYTHONUNBUFFERED", "1")
        environ.update(self.task["environ"])
        if self.job["gpus"] == 0:
            environ["CUDA_VISIBLE_DEVICES"] = ""
        if self.here.rank:
            scratch = self.folder / "scratch" / f"{self.task['seed']}-{self.here.rank}"
            moved = {name: scratch / name.lower() / Path(environ[name]).name for name in OF_FIRST_NODE if name in environ}
            for name, path in moved.items():
                (path if name == "METRICGATE_RUN_DIR" else path.parent).mkdir(parents=True, exist_ok=True)
            environ.update({name: str(path) for name, path in moved.items()})
        environ.update(self.here.environ())
        return environ

    def _until_exit(self, group: int, log: node_log.Log, began: float) -> tuple[int, Any]:
        limit = began + self.job["timeout_s"] - self.spent_s
        flush_at = look_at = began
        stepped, progress = began, self._progress()
        nan = nan_watch.NanWatch()
        while True:
            try:
                kind, value = self.events.get(timeout=TICK_S)
            except queue.Empty:
                kind, value = "", None
            now = time.monotonic()
            if kind == "exit":
                status, used = value
                self._hear_out(status, now)
                return status, used
            if kind == "signal":
                self._on_signal(group, value, now)
            if now >= self.kill_at:
                node_group.send(group, signal.SIGKILL)
            if now >= limit:
                self._stop(group, "timeout", "", now)
            if now >= flush_at:
                flush_at = now + FLUSH_S
                log.flush()
            if now >= look_at:
                look_at = now + LOOK_S
                os.utime(self._file("start", self.here.rank))
                before, progress = progress, self._progress()
                if progress[:2] != before[:2]:
                    stepped = now
                if progress != before and nan.stays(progress[2], epoch=progress[0], now=now):
                    self._stop(group, "nan", "", now)
                stall_s = self.job["stall_s"] if self.here.rank == 0 else None  # the others may have nothing to say
                if stall_s is not None and now - max(stepped, log.written) > stall_s:
                    self._stop(group, "stall", "", now)
                if (other := self._failed_node()) is not None:
                    self._stop(group, "other_node", str(other), now)

    def _hear_out(self, status: int, now: float) -> None:
        """Whoever ended the training may be about to tell this process too: an engine signals one process after another."""
        if self.reason:
            return
        suspicious = status in _ENDED_BY_SIGNAL or now - self.continued < 1.0
        with contextlib.suppress(queue.Empty):
            kind, number = self.events.get(timeout=1.0 if suspicious else node_group.POLL_S)
            if kind == "signal":
                self.reason, self.detail = "signal", signal.Signals(number).name

    def _on_signal(self, group: int, number: int, now: float) -> None:
        if self.reason:  # told twice: whoever asks again does not want to wait
            if self.reason != "signal" or not self.engine_told_all:
                node_group.send(group, signal.SIGKILL)
            return
        # Slurm ends a job by SIGCONT and SIGTERM to every process, and signals every process of a step. Whoever has been told
        # needs no second signal, which would cut short what it still saves.
        self.engine_told_all = self.engine_told_all or now - self.continued < 1.0
        self._stop(group, "signal", signal.Signals(number).name, now, how=0 if self.engine_told_all else number)

    def _stop(self, group: int, reason: str, detail: str, now: float, *, how: int = signal.SIGTERM) -> None:
        if not self.reason:
            self.reason, self.detail = reason, detail
            self.kill_at = now + self.job["grace_s"]
            node_group.send(group, how)

    def _progress(self) -> tuple[Any, Any, Any]:
        """Epoch, step and loss, as the training told them last."""
        told = _read(Path(self.task["environ"].get("METRICGATE_PROGRESS", "/"))) if self.here.rank == 0 else None
        return (told.get("epoch"), told.get("step"), _nan(told.get("loss"))) if told else (None, None, None)

    def _failed_node(self) -> int | None:
        """Another node of this task that failed: this one would wait for it for ever."""
        for rank in range(self.job["nodes"]):
            result = _read(self._file("result", rank)) if rank != self.here.rank else None
            if result and result["attempt"] >= self.attempt and (result["status"] or result["reason"]):
                return rank
        return None

    def _not_started(self, why: str) -> int:
        sys.stderr.write(f"metricgate: {why}\n")
        self.reason, self.detail = "not_started", why
        return self._ended(1, wall_s=0.0, cpu_s=0.0, peak=0)

    def _ended(self, status: int, *, wall_s: float, cpu_s: float, peak: int) -> int:
        facts = {"status": status, "reason": self.reason, "detail": self.detail, "ended": time.time()}
        group, machine = _kernel_kills()
        kills = {"group": group - self.kills[0], "machine": machine - self.kills[1]}
        with contextlib.suppress(OSError):
            os.utime(self._file("start", self.here.rank))
        used = {"wall_s": round(wall_s, 3), "cpu_s": round(cpu_s, 3), "peak_memory_bytes": peak, "kills": kills}
        _write(self._file("result", self.here.rank), self._facts(**facts, **used))
        # The engine must not call a training done that was told to end and did so with exit code 0.
        return 128 - status if status < 0 else status or (143 if self.reason else 0)


def _pump(process: subprocess.Popen[bytes], log: node_log.Log) -> None:
    assert process.stdout  # noqa: S101 - it was asked for
    while data := os.read(process.stdout.fileno(), 1 << 16):
        log.write(data)


def _wait(pid: int, events: queue.SimpleQueue[tuple[str, Any]]) -> None:
    _, status, used = os.wait4(pid, 0)
    events.put(("exit", (-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), used)))


def _kernel_kills() -> tuple[int, int]:
    """How often the kernel has killed for want of memory: in this control group (cgroups(7), version 2), and on the machine."""
    group = ""
    with contextlib.suppress(OSError, IndexError):
        group = Path("/proc/self/cgroup").read_text(encoding="utf-8").split("0::/", 1)[1].split("\n", 1)[0]
    counts = []
    for path in (Path("/sys/fs/cgroup", group, "memory.events"), Path("/proc/vmstat")):
        try:
            fields = dict(line.split() for line in path.read_text(encoding="utf-8").splitlines())
        except OSError:
            fields = {}
        counts.append(int(fields.get("oom_kill", 0)))
    return counts[0], counts[1]


def _read(path: Path) -> dict[str, Any] | None:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return document if isinstance(document, dict) else None


def _nan(loss: Any) -> float | None:
    """NaN, always the same one so that equal reports are equal, where that is what was told."""
    try:
        return math.nan if math.isnan(float(loss)) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _write(path: Path, document: Mapping[str, Any]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with aside.open("w", encoding="utf-8") as file:
        json.dump(document, file, indent=2, sort_keys=True)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def main(arguments: Sequence[str]) -> int:
    """Run the task; its exit code."""
    path, which = Path(arguments[0]).absolute(), arguments[1]
    job = json.loads(path.read_text(encoding="utf-8"))
    if which.startswith("@"):
        task = job["tasks"][int(which[1:])]
    else:
        task = next(task for task in job["tasks"] if task["seed"] == int(which))
    return Worker(job, task, path.parent).run()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

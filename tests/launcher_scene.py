"""Jobs for the engines of the tests, and a runner that follows one in a process of its own, so that it can be killed."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from metricgate.train.console import Console
from metricgate.train.launchers import following
from metricgate.train.launchers.contact import Pace
from metricgate.train.launchers.job import Job, Launcher, Task

LIMIT_S = 150.0
QUICK = Pace(look_s=0.1, ask_s=0.3, ask_most_s=0.5, shared_s=1.0, patience_s=30.0, end_s=10.0)


def job(
    folder: Path, line: str, *, seeds: Sequence[int] = (0,), nodes: int = 1, timeout_s: float = 120.0, grace_s: float = 5.0
) -> Job:
    """A job whose folders all lie below one."""
    (folder / "workspace").mkdir(parents=True, exist_ok=True)
    tasks = []
    for seed in seeds:
        variables = {
            name: folder / place / str(seed)
            for name, place in (
                ("METRICGATE_RUN_DIR", "runs"),
                ("METRICGATE_CHECKPOINT_DIR", "checkpoints"),
                ("METRICGATE_MODEL", "models"),
                ("METRICGATE_PROGRESS", "progress"),
            )
        }
        for variable in ("METRICGATE_RUN_DIR", "METRICGATE_CHECKPOINT_DIR"):
            variables[variable].mkdir(parents=True, exist_ok=True)
        (folder / "models").mkdir(exist_ok=True)
        (folder / "progress").mkdir(exist_ok=True)
        environ = {"METRICGATE_SEED": str(seed), **{name: str(path) for name, path in variables.items()}}
        tasks.append(Task(seed, environ, folder / "runs" / str(seed) / "train.log"))
    return Job(
        key=f"digits-{folder.name.lower()[-20:].strip('-_').replace('_', '-')}",
        name="digits-cnn at 1a2b3c4",
        folder=folder / "job",
        line=line,
        cwd=folder / "workspace",
        tasks=tuple(tasks),
        nodes=nodes,
        gpus=None,
        timeout_s=timeout_s,
        grace_s=grace_s,
    )


class Shown:
    """What a person sees: both streams in one, and something that happens when a text has come."""

    def __init__(self) -> None:
        self._text = ""
        self._lock = threading.Lock()
        self._reactions: list[tuple[str, Callable[[], object]]] = []
        shown = self

        class Output(io.BytesIO):
            def write(self, data: object) -> int:
                assert isinstance(data, bytes)
                shown._add(data.decode())
                return len(data)

        class Progress(io.StringIO):
            def write(self, text: str) -> int:
                shown._add(text)
                return len(text)

        self.console = Console(output=Output(), progress=Progress(), heartbeat_s=1.0)

    @property
    def text(self) -> str:
        return self._text

    def when(self, text: str, react: Callable[[], object]) -> Shown:
        """Do something once a text has been shown."""
        self._reactions.append((text, react))
        return self

    def _add(self, text: str) -> None:
        with self._lock:
            self._text += text
            due = [react for awaited, react in self._reactions if awaited in self._text]
            self._reactions = [(awaited, react) for awaited, react in self._reactions if awaited not in self._text]
        for react in due:
            react()


def train(work: Job, launcher: Launcher, shown: Shown | None = None, *, retries: int = 0) -> following.Outcomes:
    """Follow a job to its end, in a hurry; one that does not end is cancelled after a while."""
    limit = threading.Timer(LIMIT_S, os.kill, (os.getpid(), signal.SIGTERM))
    limit.daemon = True
    limit.start()
    try:
        return following.train(work, launcher, console=(shown or Shown()).console, retries=retries, backoff_s=0.1, pace=QUICK)
    finally:
        limit.cancel()


class Runner:
    """A runner in a process of its own: runs Python code that makes ``work`` and ``launcher`` and follows."""

    def __init__(self, code: str, out: Path) -> None:
        self.out = out
        with out.open("wb") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code], stdout=stream, stderr=stream, stdin=subprocess.DEVNULL, env=dict(os.environ)
            )

    def wait_until(self, text: str, within_s: float = 60.0) -> None:
        deadline = time.monotonic() + within_s
        while text not in (said := self.out.read_text(errors="replace")):
            assert time.monotonic() < deadline, f"{text!r} never came: {said}"
            assert self.process.poll() is None, f"it has ended: {said}"
            time.sleep(0.05)

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

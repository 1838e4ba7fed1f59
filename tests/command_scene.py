"""What the tests of commands share: streams that react, a console, a metricgate in a process of its own."""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

from metricgate.train.console import Console


class Reaction(io.BytesIO):
    """A stream that does something once it has received some bytes."""

    def __init__(self, awaited: bytes, react: Callable[[], object]) -> None:
        super().__init__()
        self._awaited = awaited
        self._react: Callable[[], object] | None = react

    def write(self, data: object) -> int:
        assert isinstance(data, bytes)
        size = super().write(data)
        if self._react and self._awaited in self.getvalue():
            self._react()
            self._react = None
        return size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def console(
    output: io.BytesIO | None = None, *, progress: io.StringIO | None = None, heartbeat_s: float = 60.0, grace_s: float = 10.0
) -> Console:
    return Console(output=output or io.BytesIO(), progress=progress or io.StringIO(), heartbeat_s=heartbeat_s, grace_s=grace_s)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in "ZX"


def wait_until(condition: Callable[[], bool], *, within_s: float = 60.0) -> None:
    """Wait for something to become true."""
    deadline = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


PARENT = """
import os, signal, sys
from pathlib import Path
from metricgate.train import command
from metricgate.train.console import Console
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, signal.SIG_DFL)  # whatever started the tests may ignore some: nohup does, a shell's & does
try:
    command.run(
        command.Command(sys.argv[1], label="training", cwd=Path(), environ=os.environ, log=Path("log"), timeout_s=60),
        console=Console(output=sys.stdout.buffer, progress=sys.stderr, grace_s=5),
    )
except command.CommandError as error:
    print(error.summary, error.kind, error.retryable)
"""

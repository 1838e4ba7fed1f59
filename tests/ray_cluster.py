"""A Ray cluster of this machine: a head node that has processors, its job API on localhost, and nothing of it left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import requests

HOST = "127.0.0.1"
WITHIN_S = 120.0
# The least that Ray takes, nearly, for objects: no test keeps any. Ports of workers are whichever are free.
_SMALL = ("--num-gpus=0", "--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0")


@dataclass
class Cluster:
    """A Ray that runs.

    Attributes:
        folder: Where its state lies.
        address: Of its job API.
        gcs: The port by which nodes join it.
    """

    folder: Path
    address: str
    gcs: int

    @contextlib.contextmanager
    def joined(self, *, cpus: int) -> Iterator[subprocess.Popen[bytes]]:
        """One more node, of which the processes are in the group of the one that is given."""
        alive = self._alive()
        process = _start(self.folder, ["--block", f"--address={HOST}:{self.gcs}", f"--num-cpus={cpus}", *_SMALL])
        try:
            _wait(process, lambda: self._alive() == alive + 1)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)

    def _alive(self) -> int:
        answer = requests.get(f"{self.address}/api/v0/nodes", timeout=10).json()
        return sum(node["state"] == "ALIVE" for node in answer["data"]["result"]["result"])


@contextlib.contextmanager
def started(*, cpus: int) -> Iterator[Cluster]:
    """A head node with so many processors as Ray is to believe that there are."""
    # Sockets lie below this folder, and a socket's name has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="mgr", dir="/tmp"))
    dashboard, agent, client, gcs = _ports(4)
    ports = [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
    own = [f"--port={gcs}", f"--dashboard-host={HOST}", f"--temp-dir={folder}", f"--num-cpus={cpus}"]
    process = _start(folder, ["--head", "--block", "--include-dashboard=true", "--disable-usage-stats", *ports, *own, *_SMALL])
    try:
        cluster = Cluster(folder, f"http://{HOST}:{dashboard}", gcs)
        _wait(process, lambda: cluster._alive() == 1)
        yield cluster
    finally:
        _end(process, folder)


def _start(folder: Path, options: Sequence[str]) -> subprocess.Popen[bytes]:
    here = Path(sys.executable).parent
    # Jobs run by the python3 that is first on the PATH of the node.
    environ = {"PATH": f"{here}{os.pathsep}{os.environ['PATH']}", "HOME": str(folder), "PYTHONWARNINGS": "ignore"}
    with (folder / "start.log").open("ab") as output:
        return subprocess.Popen(
            [str(here / "ray"), "start", *options], env=environ, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )


def _wait(process: subprocess.Popen[bytes], true: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while True:
        with contextlib.suppress(requests.RequestException, KeyError, ValueError, TypeError):
            if true():
                return
        assert process.poll() is None, "ray start has ended"
        assert time.monotonic() < end
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes], folder: Path) -> None:
    """End the head node, and whatever of it went into sessions of its own: all of them name its folder."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(10)
    end = time.monotonic() + 10
    while (left := list(_processes(folder))) and time.monotonic() < end:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


def _processes(folder: Path) -> Iterator[int]:
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if str(folder).encode() in (place / "environ").read_bytes() + (place / "cmdline").read_bytes():
                yield int(place.name)


def _ports(count: int) -> list[int]:
    """Ports that are free now, and all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]

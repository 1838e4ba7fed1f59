"""A Ray cluster of this machine: a head node that has processors, its job API on localhost, and nothing of it left behind."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import requests

from tests.free_ports import free_ports

HOST = "127.0.0.1"
WITHIN_S = 120.0
TOKEN = "0f3a" * 16
"""What a client has to bring."""
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
    def joined(self, *, cpus: int) -> Iterator[Callable[[], None]]:
        """One more node, and what lets it die as a machine does: all of its processes at once, whatever they are."""
        alive, mark = self._alive(), f"METRICGATE_TEST_NODE={uuid.uuid4()}"
        process = _start(self.folder, ["--block", f"--address={HOST}:{self.gcs}", f"--num-cpus={cpus}", *_SMALL], mark)
        try:
            _wait(process, lambda: self._alive() == alive + 1)
            yield lambda: _kill(mark)
        finally:
            _kill(mark)
            process.wait(10)

    def _alive(self) -> int:
        return sum(node["state"] == "ALIVE" for node in self.ask("GET", "/api/v0/nodes")["data"]["result"]["result"])

    def ask(self, method: str, path: str) -> Any:
        """What its API answers."""
        return requests.request(
            method, f"{self.address}{path}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10
        ).json()


@contextlib.contextmanager
def started(*, cpus: int) -> Iterator[Cluster]:
    """A head node with so many processors as Ray is to believe that there are."""
    # Sockets lie below this folder, and a socket's name has at most 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="mgr", dir="/tmp"))
    dashboard, agent, client, gcs = free_ports(4)
    ports = [f"--dashboard-port={dashboard}", f"--dashboard-agent-listen-port={agent}", f"--ray-client-server-port={client}"]
    own = [f"--port={gcs}", f"--dashboard-host={HOST}", f"--temp-dir={folder}", f"--num-cpus={cpus}"]
    process = _start(folder, ["--head", "--block", "--include-dashboard=true", "--disable-usage-stats", *ports, *own, *_SMALL])
    try:
        cluster = Cluster(folder, f"http://{HOST}:{dashboard}", gcs)
        _wait(process, lambda: cluster._alive() == 1)
        yield cluster
    finally:
        _end(process, folder)


def _start(folder: Path, options: Sequence[str], mark: str = "") -> subprocess.Popen[bytes]:
    here = Path(sys.executable).parent
    # Jobs run by the python3 that is first on the PATH of the node.
    environ = {
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": TOKEN,
    }
    if mark:
        name, _, value = mark.partition("=")
        environ[name] = value
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
    """End the head node at once, and whatever of it went into sessions of its own: all of them name its folder."""
    _kill(str(folder))
    process.wait(10)
    shutil.rmtree(folder, ignore_errors=True)


def _kill(mark: str) -> None:
    """SIGKILL to all processes that name something and to their descendants, until there is none.

    First they are stopped, so that none can react. Ray's agents name nothing any more: their title lies where their arguments
    and their environment lay. They would notice only after a minute, in which they keep a processor busy.
    """
    end = time.monotonic() + 10
    while (left := list(_processes(mark))) and time.monotonic() < end:
        family = {*left, *(child for process in left for child in _descendants(process))}
        for number in (signal.SIGSTOP, signal.SIGKILL):
            for process in family:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.send_signal(number)
        time.sleep(0.05)


def _processes(mark: str) -> Iterator[psutil.Process]:
    for place in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            if mark.encode() in (place / "environ").read_bytes() + (place / "cmdline").read_bytes():
                yield psutil.Process(int(place.name))


def _descendants(process: psutil.Process) -> Sequence[psutil.Process]:
    with contextlib.suppress(psutil.NoSuchProcess):
        return list(process.children(recursive=True))
    return ()

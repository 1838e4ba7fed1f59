"""Runs the container of a pod as a process of this machine, and everything in it ends with it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

_MARK = "METRICGATE_TEST_POD"


class Container:
    """A container that runs.

    Args:
        pod: The pod that it is of.
        ended: Called with its exit code, or minus a signal's number, in a thread of its own.
    """

    def __init__(self, pod: dict[str, Any], ended: Callable[[int], None]) -> None:
        self._uid = pod["metadata"]["uid"]
        [spec] = pod["spec"]["containers"]
        # Its environment is that of the image, which is this machine here, and its own: nothing of the runner's.
        environ = {
            "PATH": os.environ["PATH"],
            _MARK: self._uid,
            **{item["name"]: item["value"] for item in spec.get("env", ())},
        }
        # What it says itself would go into the cluster's log, which nobody reads here.
        self._process = subprocess.Popen(
            spec["command"],
            cwd=spec["workingDir"],
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.stopped = threading.Event()
        self._ended = ended
        threading.Thread(target=self._wait, daemon=True).start()

    def stop(self, grace_s: float) -> None:
        """SIGTERM to its first process, and SIGKILL to all of them after the grace period."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signal.SIGTERM if grace_s else signal.SIGKILL)
        if grace_s:
            timer = threading.Timer(grace_s, self.kill)
            timer.daemon = True
            timer.start()
        else:
            self.kill()

    def kill(self) -> None:
        """SIGKILL to all of its processes, as the kernel does when their namespace ends, or for want of memory."""
        for place in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError, ValueError):
                if f"{_MARK}={self._uid}".encode() in (place / "environ").read_bytes().split(b"\0"):
                    os.kill(int(place.name), signal.SIGKILL)

    def _wait(self) -> None:
        status = self._process.wait()
        self.kill()
        self.stopped.set()
        self._ended(status)


def now() -> str:
    """A time as Kubernetes writes it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

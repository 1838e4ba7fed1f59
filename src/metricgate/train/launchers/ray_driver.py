"""Runs one task of a job on several nodes of a Ray cluster, inside it: ``ray_driver.py drive FOLDER SEED … COMMAND…``.

This file is copied into the job's folder and stands alone: the standard library of Python 3.8 and Ray. It asks Ray for the
nodes, tells each of them the addresses of all, runs a worker on each, and ends all of them when one fails or a signal comes.
"""

from __future__ import annotations

import argparse
import ctypes
import importlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

FILE = "ray_driver.py"
NODE_LOST = 75  # EX_TEMPFAIL of sysexits.h
NO_RAY = 78  # EX_CONFIG
BEAT_S = 0.5
SAID_BYTES = 10_000
_PR_SET_PDEATHSIG = 1
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


def placement(folder: pathlib.Path, seed: int) -> str:
    """What a driver said last about its nodes: that it waits for them, and "" once they are there."""
    try:
        return _placement_file(folder, seed).read_text("utf-8")
    except OSError:
        return "waits for its driver to start"


def _placement_file(folder: pathlib.Path, seed: int) -> pathlib.Path:
    return folder / f"ray-{seed}.placement"


def _say(folder: pathlib.Path, seed: int, text: str) -> None:
    path = _placement_file(folder, seed)
    part = path.with_suffix(".part")
    part.write_text(text, "utf-8")
    part.replace(path)
    if text:
        _log(text)


def _log(text: str) -> None:
    sys.stdout.write(f"metricgate: {text}\n")  # into the log that Ray keeps
    sys.stdout.flush()


def tied(parent: int, command: Sequence[str]) -> None:
    """Become a command that gets SIGTERM when its parent dies: prctl(2), PR_SET_PDEATHSIG."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            sys.exit(128 + signal.SIGTERM)
    os.execvp(command[0], list(command))  # noqa: S606 - the job's own worker


class Node:
    """One of the nodes, as an actor: it lives where the training runs, and has its processors and GPUs."""

    def __init__(self, driver: str) -> None:
        self._driver = driver
        self._process: subprocess.Popen[bytes] | None = None
        self._stopped = False

    def address(self) -> str:
        """Where the other nodes find this one."""
        return str(importlib.import_module("ray").util.get_node_ip_address())

    def run(self, command: list[str], environ: dict[str, str]) -> tuple[int, str]:
        """Run a worker to its end; its exit code, and what it said itself: nothing, if it could do its work."""
        if self._stopped:
            return 128 + signal.SIGTERM, ""
        # The kernel takes the thread that started a process for its parent; this one stays until the worker has ended.
        words = [sys.executable, self._driver, "tied", str(os.getpid()), *command]
        with tempfile.TemporaryFile() as output:
            self._process = subprocess.Popen(  # noqa: S603 - the job's own worker
                words, env={**os.environ, **environ}, start_new_session=True, stdout=output, stderr=subprocess.STDOUT
            )
            status = self._process.wait()
            output.seek(0)
            said = output.read(SAID_BYTES).decode("utf-8", "replace")
        return status if status >= 0 else 128 - status, said

    def stop(self) -> None:
        """Ask the worker to end."""
        self._stopped = True
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()


def strategy(nodes: Sequence[dict[str, Any]], asked: dict[str, float], count: int) -> str:
    """How the nodes are to be found: apart, but for a cluster of one machine that holds all of them.

    Args:
        nodes: What each node of the cluster has: ``ray.nodes()``.
        asked: What each of the training's nodes needs.
        count: How many.
    """
    alive = [node.get("Resources", {}) for node in nodes if node.get("Alive")]
    alone = len(alive) == 1 and all(alive[0].get(name, 0) >= count * much for name, much in asked.items())
    return "PACK" if alone else "STRICT_SPREAD"


def drive(arguments: argparse.Namespace) -> int:
    """Run a worker on each of the nodes; the exit code of the first that failed, or 0."""
    told = threading.Event()
    _say(arguments.folder, arguments.seed, "waits for Ray to answer its driver")
    try:
        ray: Any = importlib.import_module("ray")
        groups: Any = importlib.import_module("ray.util.placement_group")
        strategies: Any = importlib.import_module("ray.util.scheduling_strategies")
    except ImportError as error:
        _say(arguments.folder, arguments.seed, f"has no Ray in the python3 of the cluster's jobs: {error}")
        return NO_RAY
    ray.init(address="auto", log_to_driver=False, logging_level="warning")
    for number in _SIGNALS:  # after Ray, which sets its own
        signal.signal(number, lambda *_: told.set())
    asked = {"CPU": arguments.cpus, **({"GPU": float(arguments.gpus)} if arguments.gpus else {})}
    how = strategy(ray.nodes(), asked, arguments.nodes)
    if how == "PACK":
        _log(f"this cluster is one machine: all {arguments.nodes} nodes are on it")
    group = groups.placement_group([asked] * arguments.nodes, strategy=how)
    needs = ", ".join(f"{much:g} {name}" for name, much in asked.items())
    _say(arguments.folder, arguments.seed, f"waits for {arguments.nodes} nodes of the cluster with {needs} each")
    while not group.wait(timeout_seconds=BEAT_S):
        if told.is_set():
            return 128 + signal.SIGTERM
    actor = ray.remote(max_concurrency=2, max_restarts=0, num_cpus=arguments.cpus, num_gpus=arguments.gpus)(Node)
    here = str(pathlib.Path(__file__).absolute())
    nodes = []
    for index in range(arguments.nodes):
        place = strategies.PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=index)
        nodes.append(actor.options(scheduling_strategy=place).remote(here))
    try:
        hosts = ",".join(ray.get([node.address.remote() for node in nodes]))
        _say(arguments.folder, arguments.seed, "")
        runs = {
            node.run.remote(arguments.command, {"METRICGATE_CLUSTER_HOSTS": hosts, "METRICGATE_CLUSTER_RANK": str(rank)}): rank
            for rank, node in enumerate(nodes)
        }
        return _wait(ray, nodes, runs, told, grace_s=arguments.grace)
    except ray.exceptions.RayActorError as error:
        _log(f"a node was lost: {error}")
        return NODE_LOST


def _wait(ray: Any, nodes: Sequence[Any], runs: dict[Any, int], told: threading.Event, *, grace_s: float) -> int:
    """Wait for all of them; where one fails or a signal comes, ask the others to end."""
    status = 0
    until = float("inf")
    left = dict(runs)
    while left and time.monotonic() < until:
        ended, _ = ray.wait(list(left), timeout=BEAT_S)
        for one in ended:
            rank = left.pop(one)
            try:
                code, said = ray.get(one)
                if said:
                    _log(f"the worker of node {rank} says: {said}")
            except ray.exceptions.RayError as error:
                _log(f"node {rank} was lost: {error}")
                code = NODE_LOST
            status = status or code
        if until == float("inf") and (told.is_set() or status):
            status = status or 128 + signal.SIGTERM
            until = time.monotonic() + grace_s + 5.0
            for node in nodes:
                node.stop.remote()
    return status


def main(words: Sequence[str]) -> int:
    """What the Ray job runs."""
    if words[0] == "tied":
        tied(int(words[1]), words[2:])
    parser = argparse.ArgumentParser()
    parser.add_argument("action", choices=["drive"])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("seed", type=int)
    parser.add_argument("--nodes", type=int, required=True)
    parser.add_argument("--cpus", type=float, required=True)
    parser.add_argument("--gpus", type=int, required=True)
    parser.add_argument("--grace", type=float, required=True)
    parser.add_argument("command", nargs="+")
    return drive(parser.parse_args(words))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

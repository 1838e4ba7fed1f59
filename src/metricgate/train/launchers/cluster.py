"""Which of a task's nodes this is, for data-parallel trainings. It goes where the worker goes: Python 3.8, nothing else."""

from __future__ import annotations

import json
import re
import socket
import zlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

FIRST_PORT, PORTS = 20_000, 10_000


class ClusterError(Exception):
    """The engine's variables don't say which of the nodes this is."""


class Place(NamedTuple):
    """Which of a task's nodes this is.

    Attributes:
        rank: Its number, from 0.
        hosts: The names of all, in order.
        port: The first of one more free ports than there are nodes, the same on all of them.
    """

    rank: int
    hosts: tuple[str, ...]
    port: int

    def environ(self) -> dict[str, str]:
        """What data-parallel trainings read: TF_CONFIG of TensorFlow, the rest of torch.distributed and torchrun.

        Each node has one worker; torchrun starts more of them on each, and gives them ranks of its own. The ports differ even
        where several nodes are one machine. Nothing for a single node: RANK would make a plain training wait for others.
        """
        if len(self.hosts) == 1:
            return {}
        workers = [f"{host}:{self.port + 1 + number}" for number, host in enumerate(self.hosts)]
        return {
            "TF_CONFIG": json.dumps({"cluster": {"worker": workers}, "task": {"type": "worker", "index": self.rank}}),
            "MASTER_ADDR": self.hosts[0],
            "MASTER_PORT": str(self.port),
            "NNODES": str(len(self.hosts)),
            "NODE_RANK": str(self.rank),
            "WORLD_SIZE": str(len(self.hosts)),
            "RANK": str(self.rank),
            "LOCAL_RANK": "0",
        }


def place(environ: Mapping[str, str], *, nodes: int, name: str) -> Place:
    """Which of ``nodes`` nodes this is, from Slurm's variables or from those that metricgate's other launchers set.

    Args:
        environ: The node's environment.
        nodes: How many the task should have.
        name: Of the task, unique; the ports come from it where the engine gives no number.

    Raises:
        ClusterError: The variables are missing or don't fit.
    """
    job = environ.get("SLURM_JOB_ID", "")
    number = int(job) if job.isdigit() else zlib.crc32(name.encode())
    # Jobs with numbers that follow each other never share a port.
    width = nodes + 1
    port = FIRST_PORT + number % max(1, PORTS // width) * width
    if nodes == 1:
        return Place(0, (environ.get("SLURMD_NODENAME") or socket.gethostname(),), port)
    listed = environ.get("METRICGATE_CLUSTER_HOSTS", "")
    slurm = environ.get("SLURM_STEP_NODELIST") or environ.get("SLURM_JOB_NODELIST") or ""
    hosts = tuple(listed.split(",")) if listed else tuple(hostnames(slurm)) if slurm else ()
    ranks = ("METRICGATE_CLUSTER_RANK", "JOB_COMPLETION_INDEX") if listed else ("SLURM_PROCID", "SLURM_NODEID")
    rank = next((environ[variable] for variable in ranks if environ.get(variable, "").isdigit()), "")
    if len(hosts) != nodes or not rank or int(rank) >= nodes:
        raise ClusterError(
            f"the job has {nodes} nodes, and the engine named {len(hosts)} ({', '.join(hosts)}), this one {rank or 'none'}"
        )
    return Place(int(rank), hosts, port)


def hostnames(expression: str) -> Iterator[str]:
    """The names in a host list of Slurm, as ``scontrol show hostnames`` gives them: n01, n02, x of ``n[01-02],x``."""
    for item in re.findall(r"(?:[^,\[\]]|\[[^\]]*\])+", expression):
        yield from _expanded(item)


def _expanded(item: str) -> Iterator[str]:
    head, bracket, rest = item.partition("[")
    if not bracket:
        yield head
        return
    ranges, _, tail = rest.partition("]")
    tails = list(_expanded(tail))
    for part in ranges.split(","):
        first, _, last = part.partition("-")
        for number in range(int(first), int(last or first) + 1):
            for end in tails:
                yield f"{head}{number:0{len(first)}d}{end}"

"""What Slurm's squeue and sacct say, in plain words. Pure: text in, states out.

States and reasons are those of squeue(1), "JOB STATE CODES" and "JOB REASON CODES".
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from metricgate.train.launchers.job import State, TaskState

SQUEUE_FORMAT = "%F|%K|%A|%T|%P|%Q|%N|%j|%r"
SACCT_FORMAT = "JobID,State,Partition,NodeList,JobName"
_NO_INDEX = re.compile(r"N/A|4294967294|")
_QUEUED = frozenset({"PENDING"})
_WAITING = frozenset(
    {
        "PENDING",
        "REQUEUED",
        "REQUEUE_HOLD",
        "REQUEUE_FED",
        "SPECIAL_EXIT",
        "RESV_DEL_HOLD",
        "SUSPENDED",
        "STOPPED",
        "CONFIGURING",
    }
)
_RUNNING = frozenset({"RUNNING", "COMPLETING", "SIGNALING", "STAGE_OUT", "RESIZING", "POWER_UP_NODE"})
_LOST: Mapping[str, tuple[str, str, str]] = {
    "NODE_FAIL": (
        "node_failure",
        "lost its node{nodes}",
        "`requeue: true` under `train.slurm` queues it again, `retries` under `train` hands it over again",
    ),
    "BOOT_FAIL": ("node_failure", "got a node that did not boot{nodes}", "`retries` under `train` hands it over again"),
    "OUT_OF_MEMORY": (
        "host_memory",
        "ran out of memory{nodes}",
        "ask for more (train.slurm.options: [--mem=64G]), or use a smaller batch or fewer data workers",
    ),
    "TIMEOUT": (
        "timeout",
        "took longer than Slurm's time limit",
        "raise `timeout` under `train`, or make the training shorter",
    ),
    "DEADLINE": ("timeout", "passed its deadline in Slurm", "leave out --deadline in train.slurm.options"),
    "PREEMPTED": (
        "preempted",
        "was preempted{nodes} and not queued again",
        "`requeue: true` under `train.slurm` queues it again, and it goes on from its checkpoint",
    ),
    "CANCELLED": (
        "cancelled",
        "was cancelled in Slurm, not by metricgate",
        "somebody called scancel, or an administrator ended it; run the job again, and it goes on from its checkpoint",
    ),
    "REVOKED": ("cancelled", "was given to another cluster", ""),
}
_REASONS: Mapping[str, tuple[str, str]] = {
    "Priority": ("waits in the queue of partition {partition}", ""),
    "None": ("waits in the queue of partition {partition}", ""),
    "Resources": ("waits for free nodes in partition {partition}", ""),
    "BeginTime": ("waits a moment, as Slurm wants it before it starts a job again", ""),
    "Dependency": ("waits for the jobs that it depends on", ""),
    "JobHeldUser": ("is held by its user", "scontrol release lets it start"),
    "JobHeldAdmin": ("is held by an administrator", "ask them why; scontrol release lets it start"),
    "PartitionDown": ("waits for partition {partition}, which is down", ""),
    "PartitionInactive": ("waits for partition {partition}, which is inactive", ""),
    "PartitionTimeLimit": (
        "cannot start: its time is longer than partition {partition} allows",
        "lower `timeout` under `train`, or name another partition",
    ),
    "PartitionNodeLimit": ("cannot start: partition {partition} has or allows fewer nodes", "lower `nodes` under `train`"),
    "PartitionConfig": (
        "cannot start: partition {partition} has not what it asks for",
        "ask for less (`nodes`, `gpus`, `timeout` under `train`), or name another partition",
    ),
    "BadConstraints": ("cannot start: no node has what it asks for", "ask for less in train.slurm.options"),
    "JobArrayTaskLimit": ("waits for other seeds", ""),
    "ReqNodeNotAvail": ("waits for nodes that are down or reserved", ""),
    "launch": (
        "is held by Slurm, because its node could not start it",
        "an administrator finds out why in slurmd's log; scontrol release lets it start",
    ),
    "JobLaunchFailure": ("could not be started by its node", "an administrator finds out why in slurmd's log"),
}
_NOT_YET: Mapping[str, str] = {
    "CONFIGURING": "waits for its nodes to boot",
    "SUSPENDED": "is suspended by Slurm",
    "STOPPED": "is suspended by Slurm",
}
_LIMIT = re.compile(r"(QOS|Assoc|Max).*")


@dataclass(frozen=True)
class Row:
    """One task, as Slurm lists it.

    Attributes:
        state: Slurm's word.
        partition: Its partition.
        nodes: Its nodes, as Slurm writes them.
        reason: Why it waits or ended.
        priority: Larger is sooner.
        number: Its own number.
        array: That of the whole job.
        name: The name of the job.
    """

    state: str
    partition: str = ""
    nodes: str = ""
    reason: str = ""
    priority: int = 0
    number: int = 0
    array: int = 0
    name: str = ""

    @property
    def is_queued(self) -> bool:
        """Whether its place in the queue says something."""
        return self.state in _QUEUED and self.reason in ("Priority", "Resources", "None")


def rows(text: str) -> Mapping[int, Row]:
    """Read what squeue prints in ``SQUEUE_FORMAT``, one line a task; by index in the array."""
    found = {}
    for line in text.splitlines():
        fields = line.strip().split("|", 8)
        if len(fields) < 9:
            continue
        array, index, number, state, partition, priority, nodes, name, reason = (field.strip() for field in fields)
        row = Row(state, partition, nodes, reason.strip("()"), int(priority or 0), int(number), int(array), name)
        found[0 if _NO_INDEX.fullmatch(index) else int(index)] = row
    return found


def accounted(text: str) -> Mapping[int, Row]:
    """Read what sacct prints in ``SACCT_FORMAT``: ``12_3|CANCELLED by 1000|gpu|n1|name``."""
    found = {}
    for line in text.splitlines():
        fields = line.strip().split("|")
        if len(fields) == 5 and (match := re.fullmatch(r"(\d+)(?:_(\d+))?", fields[0])):
            nodes = "" if fields[3] in ("None assigned", "Unknown") else fields[3]
            found[int(match[2] or 0)] = Row(
                fields[1].split(" ")[0].rstrip("+"), fields[2], nodes, array=int(match[1]), name=fields[4]
            )
    return found


def before(text: str, row: Row) -> int:
    """How many of the waiting tasks, listed as priority, number and array, come before one; its own array does not count."""
    count = 0
    for line in text.splitlines():
        priority, _, rest = line.strip().partition("|")
        number, _, array = rest.partition("|")
        if not (priority.isdigit() and number.isdigit() and array.isdigit()) or int(array) == row.array:
            continue
        count += int(priority) > row.priority or (int(priority) == row.priority and int(number) < row.number)
    return count


def of(row: Row, *, before: int | None = None) -> TaskState:
    """What a row says, for people."""
    nodes = (row.nodes,) if row.nodes and row.nodes != "(null)" else ()
    if row.state in _WAITING:
        return _waiting(row, before)
    if row.state in _RUNNING:
        ending = row.state == "COMPLETING"
        return TaskState(State.RUNNING, "is ending" if ending else f"runs on {row.nodes}" if nodes else "runs", nodes=nodes)
    if row.state == "COMPLETED":
        return TaskState(State.DONE, "ended well", nodes=nodes)
    if row.state in _LOST:
        kind, why, advice = _LOST[row.state]
        where = f" {row.nodes}" if row.state in ("NODE_FAIL", "BOOT_FAIL") and nodes else f" on {row.nodes}" if nodes else ""
        return TaskState(State.LOST, f"{why.format(nodes=where)} (Slurm: {row.state})", kind, advice, nodes)
    return TaskState(State.FAILED, f"failed (Slurm: {row.state}{_because(row.reason)})", "exit", nodes=nodes)


def _waiting(row: Row, before: int | None) -> TaskState:
    advice = ""
    reason = row.reason.split(",")[0].split(" ")[0]
    if row.state != "PENDING":
        why = _NOT_YET.get(row.state, f"was taken off its node, to start again (Slurm: {row.state})")
    elif row.is_queued and before:
        why = f"waits in the queue of partition {row.partition}, {before} before it"
    elif reason in _REASONS:
        why, advice = _REASONS[reason]
    elif _LIMIT.fullmatch(reason):
        why = f"waits for a limit of its account or quality of service ({reason})"
    else:
        why = f"waits ({row.reason})"
    return TaskState(State.WAITING, why.format(partition=row.partition), advice=advice)


def _because(reason: str) -> str:
    return f", {reason}" if reason not in ("None", "") else ""

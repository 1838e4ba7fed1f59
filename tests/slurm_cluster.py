"""A real Slurm of two nodes on this machine: Debian's munged, slurmctld and slurmd, as root, without an init system or cgroups.

with slurm_cluster.started() as cluster:
    ...  # Slurm's own commands find it with cluster.environ

The nodes are two slurmd on two addresses of the loopback network, so that they have names that everybody can resolve.
Partition ``main`` is the default one; jobs of ``urgent`` push those of ``main`` off their nodes, and Slurm queues those again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.free_ports import free_ports

NODES = ("127.0.0.11", "127.0.0.12")
CPUS = 4
_START_S = 60.0
_STOP_S = 15.0
_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])


@dataclass
class Cluster:
    """A Slurm that runs.

    Attributes:
        folder: Where its state lies.
        environ: What Slurm's commands need to find it.
    """

    folder: Path
    environ: Mapping[str, str]
    _processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def run(self, *call: str) -> str:
        """What one of Slurm's commands prints."""
        done = subprocess.run(call, env=self.environ, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{' '.join(call)}: {done.stderr}"
        return done.stdout.strip()

    def jobs(self) -> Sequence[str]:
        """The names of all jobs that Slurm remembers, one for each."""
        return [
            line.partition("|")[2] for line in dict.fromkeys(self.run("squeue", "-h", "-t", "all", "-o", "%F|%j").splitlines())
        ]

    def wait_until(self, condition: str, *call: str, within_s: float = 60.0) -> None:
        """Wait until a command prints something."""
        deadline = time.monotonic() + within_s
        while condition not in (said := self.run(*call)):
            assert time.monotonic() < deadline, f"{call} says {said!r}, not {condition!r}; {self.words()}"
            time.sleep(0.1)

    def start(self, name: str) -> None:
        """Start one of ``slurmctld`` and the nodes."""
        call = ("slurmctld", "-D") if name == "slurmctld" else ("slurmd", "-D", "-N", name)
        self._processes[name] = self._process(*call)

    def kill(self, name: str) -> None:
        """End one of them; a node with what runs on it, as if its machine had lost its power."""
        process = self._processes.pop(name)
        # A controller that is killed forgets the latest jobs, and is no engine that was away for a while.
        process.terminate() if name == "slurmctld" else process.kill()
        process.wait()
        if name in NODES:
            jobs = _of(f"SLURMD_NODENAME={name}", f"SLURM_CONF={self.environ['SLURM_CONF']}")
            # Those who would tell the controller of the others' end go first.
            for pid in (*{step for job in jobs if (step := _step(job))}, *jobs):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def words(self) -> str:
        """The last words of all daemons, for a failing test."""
        return "\n".join(f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in sorted(self.folder.glob("*.log")))

    def _process(self, *call: str) -> subprocess.Popen[bytes]:
        program = shutil.which(call[0], path=_PATH)
        if program is None:
            pytest.fail(f"there is no {call[0]}: apt-get install slurm-wlm munge", pytrace=False)
        with (self.folder / f"{call[-1] if call[0] == 'slurmd' else call[0]}.out").open("ab") as out:
            return subprocess.Popen(
                [program, *call[1:]], env=self.environ, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
            )


@contextlib.contextmanager
def started() -> Iterator[Cluster]:
    """A cluster of its own, which is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="slurm-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        conf = folder / "slurm.conf"
        conf.write_text(_configuration(folder, free_ports(2 + len(NODES))))
        cluster = Cluster(folder, {**os.environ, "SLURM_CONF": str(conf), "PATH": _PATH})
        key = folder / "munge.key"
        key.write_bytes(secrets.token_bytes(128))
        key.chmod(0o600)
        munge = cluster._process(
            "munged",
            "--foreground",
            "--force",  # the temporary folder is everybody's
            f"--key-file={key}",
            f"--socket={folder}/munge.sock",
            f"--pid-file={folder}/munged.pid",
            f"--log-file={folder}/munged.log",
            f"--seed-file={folder}/munge.seed",
        )
        try:
            _until((folder / "munge.sock").exists, "munged listens", cluster)
            for process in ("slurmctld", *NODES):
                cluster.start(process)
            _until(lambda: _idle(cluster) == len(NODES), "all nodes are idle", cluster)
            yield cluster
        finally:
            _end([*cluster._processes.values(), munge], conf)


def _configuration(folder: Path, ports: Sequence[int]) -> str:
    control, *nodes, _ = ports
    host = socket.gethostname().partition(".")[0]
    lines = [
        "ClusterName=test",
        f"SlurmctldHost={host}(127.0.0.1)",
        f"SlurmctldPort={control}",
        # A job that was taken off its node starts again when its credential has expired.
        f"AuthInfo=socket={folder}/munge.sock,cred_expire=5",
        "SlurmUser=root",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool-%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/%n.pid",
        f"SlurmctldLogFile={folder}/slurmctld.log",
        f"SlurmdLogFile={folder}/%n.log",
        "SlurmdParameters=config_overrides",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "MpiDefault=none",
        "JobAcctGatherType=jobacct_gather/none",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_Core",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        "ReturnToService=2",
        "KillWait=5",
        "MessageTimeout=5",
        "SchedulerParameters=sched_interval=2,bf_interval=2",
        *(
            f"NodeName={node} NodeHostname={host} NodeAddr={node} Port={port} CPUs={CPUS}"
            for node, port in zip(NODES, nodes, strict=True)
        ),
        "PartitionName=main Nodes=ALL Default=YES PriorityTier=1",
        "PartitionName=urgent Nodes=ALL PriorityTier=10",
        "PartitionName=closed Nodes=ALL State=DOWN",
    ]
    (folder / "state").mkdir()
    return "\n".join(lines) + "\n"


def _idle(cluster: Cluster) -> int:
    call = ["sinfo", "--noheader", "--Node", "--partition=main", "--states=idle", "--format=%N"]
    done = subprocess.run(call, env=cluster.environ, capture_output=True, text=True, check=False)
    return len(done.stdout.split())


def _until(condition: object, what: str, cluster: Cluster) -> None:
    assert callable(condition)
    deadline = time.monotonic() + _START_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"it never came that {what}; {cluster.words()}", pytrace=False)
        time.sleep(0.1)


def _of(*variables: str) -> list[int]:
    """The processes whose environment says so."""
    found = []
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and int(process.name) != os.getpid():
                environ = (process / "environ").read_bytes().split(b"\0")
                if all(variable.encode() in environ for variable in variables):
                    found.append(int(process.name))
    return found


def _step(pid: int) -> int | None:
    """The slurmstepd above a process of a job."""
    while pid > 1:
        try:
            # A process as proc(5) writes it: pid, name in parentheses, state, parent.
            name, _, rest = Path(f"/proc/{pid}/stat").read_text().partition("(")[2].rpartition(")")
        except FileNotFoundError:
            return None
        if name.startswith("slurmstepd"):
            return pid
        pid = int(rest.split()[1])
    return None


def _end(daemons: Sequence[subprocess.Popen[bytes]], conf: Path) -> None:
    for daemon in daemons:
        daemon.terminate()
    deadline = time.monotonic() + _STOP_S
    for daemon in daemons:
        with contextlib.suppress(subprocess.TimeoutExpired):
            daemon.wait(timeout=max(0.1, deadline - time.monotonic()))
        daemon.kill()
        daemon.wait()
    for pid in _of(f"SLURM_CONF={conf}"):  # what a test left running
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)

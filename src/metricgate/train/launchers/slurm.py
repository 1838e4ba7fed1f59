"""Slurm, through its own commands: sbatch, squeue, sacct where there is accounting, scontrol and scancel.

A job is one array of tasks, its name the job's key. Everything that a person wrote reaches Slurm as an argument or in a file,
and none of it a shell. Facts about Slurm that this relies on are in its manual pages of the same names (version 22.05).
"""

from __future__ import annotations

import math
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from functools import cached_property

from metricgate.errors import ConfigError, StageError
from metricgate.run import write_text
from metricgate.train.launchers import slurm_states
from metricgate.train.launchers.job import JOB_FILE, PYTHON, WORKER_FILE, EngineUnreachableError, Job, State, TaskState
from metricgate.train.launchers.slurm_states import Row
from metricgate.train_config import Slurm as Options

# What it costs a worker to begin and to end, beyond the time that it gives the training: Slurm's limit is the last resort.
_SLACK_S = 120.0
_COMMAND_S = 60.0
_SBATCH_S = 300.0
_ONE = "--one"
# One node: Slurm's own batch step is the worker, and its signals reach it directly. Several: one worker on each. srun would
# take neither the environment (--export) nor the processors (since 22.05) from sbatch by itself.
_SCRIPT = f"""#!/bin/sh
task="@${{SLURM_ARRAY_TASK_ID:-0}}"
if [ "$3" = {_ONE} ]; then
  exec {PYTHON} "$1" "$2" "$task"
fi
if [ -n "${{SLURM_CPUS_PER_TASK:-}}" ]; then
  export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"
fi
exec srun --export=ALL --ntasks-per-node=1 --kill-on-bad-exit=1 -- {PYTHON} "$1" "$2" "$task"
"""
_SCRIPT_FILE = "batch.sh"
# What metricgate says itself, and what would make sbatch do something else. sbatch understands any beginning of a name.
_OURS: Mapping[str, str] = {
    "partition": "train.slurm.partition",
    "account": "train.slurm.account",
    "qos": "train.slurm.qos",
    "requeue": "train.slurm.requeue",
    "no-requeue": "train.slurm.requeue",
    "time": "train.timeout",
    "nodes": "train.nodes",
    "gpus": "train.gpus",
    "gpus-per-node": "train.gpus",
    "gpus-per-task": "train.gpus",
    "array": "train.seeds",
    "chdir": "",
    "clusters": "",
    "comment": "",
    "error": "",
    "help": "",
    "input": "",
    "job-name": "",
    "kill-on-invalid-dep": "",
    "ntasks": "",
    "ntasks-per-node": "",
    "open-mode": "",
    "output": "",
    "parsable": "",
    "quiet": "",
    "signal": "",
    "test-only": "",
    "usage": "",
    "version": "",
    "wait": "",
    "wrap": "",
}
_EXPORT = "--export"
# A runner that is itself a job of Slurm has variables that describe that job, and defaults for sbatch may be of an admin.
_NOT_PASSED_ON = re.compile(r"METRICGATE_INPUT_.*|SBATCH_(ARRAY_INX|OUTPUT|ERROR|INPUT|WAIT)|SLURM_(?!CONF$|JWT$).*")
_UNREACHABLE = re.compile(
    r"Unable to contact slurm controller|Socket timed out|Connection refused|Connection timed out|temporarily unable"
    r"|slurm_persist_conn_open|Zero Bytes were transmitted|Communication connection failure|Invalid authentication credential"
    r"|Slurm backup controller in standby|Resource temporarily unavailable|munge",
    re.IGNORECASE,
)
_UNKNOWN_JOB = re.compile(r"Invalid job id")
_REFUSALS: Sequence[tuple[str, str]] = (
    ("Invalid partition", "train.slurm.partition: a partition that `sinfo --summarize` lists"),
    ("account or account/partition", "train.slurm.account: an account of yours: sacctmgr show associations user=$USER"),
    ("Invalid qos", "train.slurm.qos: one that your account may use: sacctmgr show associations user=$USER format=qos"),
    (
        "node configuration is not available",
        "ask for less: train.nodes, train.gpus and train.slurm.options (sinfo --Node --long)",
    ),
    ("generic resource", "train.gpus: 0, or a partition whose nodes have GPUs (sinfo --format='%P %G')"),
    ("time limit", "train.timeout: what the partition allows at most (sinfo --format='%P %l')"),
    ("Invalid job array", "train.seeds: fewer at once; scontrol show config says MaxArraySize"),
    ("option", "train.slurm.options: only what `sbatch --help` lists here"),
)


class SlurmJobs:
    """Hands jobs to Slurm.

    Args:
        options: What the configuration says about it.
        environ: The environment that Slurm's commands run in.

    Raises:
        ConfigError: An option of sbatch is one that is metricgate's to give.
    """

    def __init__(self, options: Options, *, environ: Mapping[str, str]) -> None:
        for option in options.options:
            _check(option)
        self._options = options
        self._environ = environ

    @property
    def name(self) -> str:
        """What people call it."""
        return "Slurm"

    def submit(self, job: Job) -> str:
        """Queue all tasks as one array; one task is no array.

        Raises:
            ConfigError: Slurm has no such partition, account or hardware.
        """
        write_text(job.folder / _SCRIPT_FILE, _SCRIPT)
        done = self._run(self._sbatch(job), timeout_s=_SBATCH_S)
        if done.returncode:
            raise _refusal(done.stderr)
        number = done.stdout.strip().partition(";")[0]
        if not number.isdigit():
            raise StageError(
                f"sbatch said {done.stdout.strip()!r}", expected="the number of a job", fix="try `sbatch --parsable` by hand"
            )
        return number

    def find(self, job: Job) -> str | None:
        """The number of the newest job of this name."""
        listed = self._run(("squeue", "--me", "--states=all", "--noheader", f"--name={job.key}", "--format=%F"))
        numbers = [line.strip() for line in listed.stdout.splitlines()] if not listed.returncode else []
        if not any(number.isdigit() for number in numbers) and self._has_accounting:
            past = ("sacct", "--allocations", "--noheader", "--parsable2", "--starttime=now-7days", "--format=JobID")
            found = self._run((*past, f"--name={job.key}"))
            numbers = [re.split(r"[_.]", line.strip())[0] for line in found.stdout.splitlines()]
        return max((number for number in numbers if number.isdigit()), key=int, default=None)

    def states(self, job_id: str, job: Job) -> Mapping[int, TaskState]:
        """Where each seed is, by squeue, and by sacct for what has ended so long ago that squeue has forgotten it."""
        listed = self._run(
            ("squeue", "--states=all", "--noheader", "--array", f"--jobs={job_id}", f"--format={slurm_states.SQUEUE_FORMAT}")
        )
        if listed.returncode and not _UNKNOWN_JOB.search(listed.stderr):
            raise _refusal(listed.stderr)
        rows = slurm_states.rows(listed.stdout) if not listed.returncode else {}
        if len(rows) < len(job.tasks) and self._has_accounting:
            past = ("sacct", "--allocations", "--noheader", "--parsable2", "--array", f"--jobs={job_id}")
            accounted = self._run((*past, f"--format={slurm_states.SACCT_FORMAT}"))
            rows = {**slurm_states.accounted(accounted.stdout), **rows}
        # A controller that lost its state gives numbers out again.
        rows = {index: row for index, row in rows.items() if row.name == job.key}
        waiting = [row for row in rows.values() if row.is_queued]
        before = self._before(waiting[0]) if waiting else None
        gone = TaskState(State.GONE, "is not known to Slurm any more")
        return {
            task.seed: slurm_states.of(row, before=before) if (row := rows.get(index)) else gone
            for index, task in enumerate(job.tasks)
        }

    def cancel(self, job_id: str, job: Job, *, now: bool = False) -> None:
        """Take off the queue what waits, and tell the workers of what runs, which keep to the grace period.

        Slurm's own way to end a job would kill it after KillWait, a setting of the cluster, however long the job's grace is.
        """
        which = ("--quiet", f"--name={job.key}", job_id)
        if now:
            calls: tuple[tuple[str, ...], ...] = (("scancel", *which),)
        else:
            waiting = ("scancel", "--state=PENDING", *which)
            batch = ("--batch",) if job.nodes == 1 else ()
            calls = (waiting, ("scancel", "--state=RUNNING", "--signal=TERM", *batch, *which))
        for call in calls:
            done = self._run(call)
            if done.returncode and _UNREACHABLE.search(done.stderr):
                raise EngineUnreachableError(_said(done.stderr))

    def _sbatch(self, job: Job) -> tuple[str, ...]:
        limit = math.ceil((job.timeout_s + job.grace_s + _SLACK_S) / 60)
        logs = str(job.folder).replace("%", "%%")
        is_array = len(job.tasks) > 1
        before_end = f"TERM@{math.ceil(job.grace_s) + 30}"
        given = {"--partition": self._options.partition, "--account": self._options.account, "--qos": self._options.qos}
        return (
            "sbatch",
            "--parsable",
            # Not the runner's environment, which holds its secrets, but that of a login on the node.
            *(() if any(option.startswith(_EXPORT) for option in self._options.options) else (f"{_EXPORT}=NONE",)),
            f"--job-name={job.key}",
            f"--comment={job.name}",
            *((f"--array=0-{len(job.tasks) - 1}",) if is_array else ()),
            f"--nodes={job.nodes}",
            "--ntasks-per-node=1",
            *((f"--gpus-per-node={job.gpus}",) if job.gpus else ()),
            f"--time={limit}",
            f"--signal={'B:' if job.nodes == 1 else ''}{before_end}",
            "--requeue" if self._options.requeue else "--no-requeue",
            "--open-mode=append",
            f"--chdir={job.folder}",
            f"--output={logs}/engine-{'%a' if is_array else 0}.log",
            *(f"{option}={value}" for option, value in given.items() if value is not None),
            *self._options.options,
            str(job.folder / _SCRIPT_FILE),
            str(job.folder / WORKER_FILE),
            str(job.folder / JOB_FILE),
            *((_ONE,) if job.nodes == 1 else ()),
        )

    def _before(self, row: Row) -> int | None:
        """How many waiting tasks in the partition come before one, as far as Slurm shows them to this user."""
        listed = self._run(
            ("squeue", "--states=PENDING", "--noheader", "--array", f"--partition={row.partition}", "--format=%Q|%A|%F")
        )
        return None if listed.returncode else slurm_states.before(listed.stdout, row)

    @cached_property
    def _has_accounting(self) -> bool:
        try:
            done = self._run(("sacct", "--noheader", "--starttime=now"))
        except StageError:
            return False
        return done.returncode == 0

    def _run(self, call: Sequence[str], *, timeout_s: float = _COMMAND_S) -> subprocess.CompletedProcess[str]:
        program = shutil.which(call[0], path=self._environ.get("PATH"))
        if program is None:
            raise StageError(
                f"there is no {call[0]} on this machine",
                expected="Slurm's commands, on a runner from which jobs can be submitted",
                fix="let the job run on such a runner (`runs-on`), or install Slurm's client commands (Debian's slurm-client)",
            )
        environ = {name: value for name, value in self._environ.items() if not _NOT_PASSED_ON.fullmatch(name)}
        try:
            done = subprocess.run(  # noqa: S603 - Slurm's own command, without a shell
                [program, *call[1:]],
                env={**environ, "LC_ALL": "C"},
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise EngineUnreachableError(f"{call[0]} did not answer within {timeout_s:.0f}s") from None
        if done.returncode and call[0] != "sacct" and _UNREACHABLE.search(done.stderr):
            raise EngineUnreachableError(_said(done.stderr))
        return done


def _check(option: str) -> None:
    name = option.removeprefix("--").partition("=")[0]
    for ours, key in _OURS.items():
        if ours.startswith(name):
            raise ConfigError(
                f"{option} is not for train.slurm.options: metricgate gives sbatch --{ours} itself",
                where="metricgate.yaml: train.slurm.options",
                expected="options such as --mem=64G, --gres=gpu:a100:2 or --constraint=a100",
                fix=f"say it as `{key}`" if key else "leave it out",
            )
    if "\n" in option or "\0" in option:
        raise ConfigError(f"{option!r} is no option of sbatch", where="metricgate.yaml: train.slurm.options")


def _refusal(said: str) -> StageError | ConfigError:
    found = _said(said)
    for words, fix in _REFUSALS:
        if words.lower() in found.lower():
            return ConfigError(f"Slurm does not take the job: {found}", where="metricgate.yaml", fix=fix)
    return StageError(
        f"Slurm does not do what it is asked: {found}", fix="try the same by hand on this machine: sbatch --wrap hostname"
    )


def _said(text: str) -> str:
    lines = [re.sub(r"^\w+: (error: )?", "", line).strip() for line in text.splitlines() if line.strip()]
    return "; ".join(dict.fromkeys(lines)) or "nothing"

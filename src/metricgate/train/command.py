"""Runs one of the user's commands: bash, its own session, live output, limits, nothing left behind.

In a pool, where commands run in several threads, the main thread enters ``signals()`` around it, so that SIGINT, SIGTERM and
SIGHUP reach all of them; a command that runs in the main thread does so itself.
"""

from __future__ import annotations

import contextlib
import os
import queue
import secrets
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from metricgate.errors import StageError
from metricgate.train import adoption, diagnosis, process_group, progress
from metricgate.train import signals as received
from metricgate.train.console import Console
from metricgate.train.diagnosis import Cause, Facts
from metricgate.train.gpu.usage import GpuUsage
from metricgate.train.guard import Guard
from metricgate.train.last_words import LINES
from metricgate.train.output import Output
from metricgate.train.process_group import Tree
from metricgate.train.signals import passed_on as signals
from metricgate.train.watch import Exited, Limits, Meter, Objection, Watch

__all__ = ["Command", "CommandError", "Meter", "Objection", "Usage", "inherited", "run", "signals"]

# As GitHub runs a `run:` step: the first command that fails ends it.
BASH_OPTIONS = ("--noprofile", "--norc", "-e", "-o", "pipefail", "-c")
QUOTED_LINES = 15

# Secrets of the actions (a token) come in variables with this prefix; the user's code has no use for them.
_NOT_PASSED_ON = "METRICGATE_INPUT_"
_FOLDERS_DEEP = 3

_Started = TypeVar("_Started")


@dataclass(frozen=True)
class Command:
    """A command of the user.

    Attributes:
        line: What bash runs.
        label: What it is, for people: ``training of seed 0``.
        cwd: The folder that it runs in, the repository root.
        environ: Its whole environment.
        log: The file that keeps its output.
        timeout_s: How long it may run, in seconds, together with earlier attempts.
        spent_s: How long those took.
        stall_s: How long it may print nothing and make no step; None for ever.
        grace_s: How long it may go on after SIGTERM; None for what the console says.
        progress: The file METRICGATE_PROGRESS, if it has one.
        attempt: How often it has been started, this time included.
    """

    line: str
    label: str
    cwd: Path
    environ: Mapping[str, str]
    log: Path
    timeout_s: float
    spent_s: float = 0.0
    stall_s: float | None = None
    grace_s: float | None = None
    progress: Path | None = None
    attempt: int = 1


@dataclass(frozen=True)
class Usage:
    """What a command used.

    Attributes:
        wall_s: Seconds from start to end.
        cpu_s: Processor seconds of the command and of the processes that it waited for.
        peak_memory_bytes: The largest resident memory of one of them.
        gpu: What it used of GPUs on other machines; on this one, a meter reads them.
    """

    wall_s: float
    cpu_s: float
    peak_memory_bytes: int
    gpu: GpuUsage = field(default_factory=GpuUsage)

    def __add__(self, other: Usage) -> Usage:
        peak = max(self.peak_memory_bytes, other.peak_memory_bytes)
        return Usage(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, peak, self.gpu + other.gpu)


class CommandError(StageError):
    """A command of the user failed.

    Attributes:
        summary: What happened, without the output.
        kind: Why, for programs: the kinds of ``diagnosis.Cause``.
        retryable: Whether starting it again can help.
        status: Its exit code, or minus the number of the signal that ended it.
        last_lines: The end of its output.
        usage: What it used until then.
    """

    def __init__(
        self,
        found: str,
        *,
        status: int,
        last_lines: tuple[str, ...],
        usage: Usage,
        kind: str = "exit",
        retryable: bool = False,
        where: str = "",
        fix: str = "",
    ) -> None:
        quoted = "".join(f"\n  | {line}" for line in last_lines)
        super().__init__(f"{found}; its last lines:{quoted}" if quoted else f"{found}; it wrote nothing", where=where, fix=fix)
        self.summary = found
        self.kind = kind
        self.retryable = retryable
        self.status = status
        self.last_lines = last_lines
        self.usage = usage


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that a command of the user starts from: everything but the inputs of metricgate's own actions."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_NOT_PASSED_ON)}
    # A pipe makes Python hold its output back; live output is worth the flushes.
    return {"PYTHONUNBUFFERED": "1", **kept}


def run(command: Command, *, console: Console, meter: Meter | None = None, watch: Objection | None = None) -> Usage:
    """Run a command to its end.

    SIGINT, SIGTERM and SIGHUP are passed on to the command, see ``process_group.ask`` and ``watch``. What does not end within
    the grace period, or is still there when the command has ended, is killed, also what has left its process group; and if
    metricgate itself is killed, a guard does that. It may be called in several threads at once.

    Args:
        command: What to run.
        console: Where it is shown.
        meter: Measures the hardware meanwhile.
        watch: Asked for a reason to end the command: when it tells its progress, four times a second at most, and once a second
            without.

    Returns:
        What it used.

    Raises:
        CommandError: It ended with another exit code than 0, by a signal, or was ended.
        StageError: There is no bash, or it can't be started.
    """
    bash = shutil.which("bash", path=command.environ.get("PATH"))
    if bash is None:
        raise StageError("there is no bash", expected="bash, which runs train.run and evaluate.run", fix="install bash")
    if stopped := received.first():
        raise cancelled(command, f"was not started, because metricgate was stopped by {stopped.name}")
    if command.progress:
        with contextlib.suppress(OSError):
            command.progress.unlink(missing_ok=True)  # of an earlier attempt
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    grace_s = console.grace_s if command.grace_s is None else command.grace_s
    title = command.label if command.attempt == 1 else f"{command.label}, attempt {command.attempt}"
    with (
        received.into(events),
        adoption.of_orphans(),
        console.group(title),
        Output(command.log, console=console) as output,
        _guard(bash, command, output, grace_s) as guard,
    ):
        started = time.monotonic()
        process, tree = _start(bash, command, output, guard)
        output.begin()
        watching = Watch(
            Limits(command.label, command.timeout_s, command.stall_s, grace_s),
            tree,
            began=started - command.spent_s,
            console=console,
            output=output,
            guard=guard,
            read=lambda: progress.read(command.progress) if command.progress else None,
            show=meter.now if meter else lambda: "",
            objection=watch,
        )
        threading.Thread(target=_wait, args=(process, events), daemon=True).start()
        try:
            if meter:
                meter.start(process.pid)
            exited = watching.until_exit(events)
            process_group.end(tree, grace_s=watching.grace_left_s)
        except BaseException:
            process_group.kill(tree)
            raise
        finally:
            adoption.forget(process)
            if meter:
                meter.stop()
    usage = Usage(time.monotonic() - started, exited.cpu_s, exited.peak_memory_bytes)
    if watching.ended or exited.status:
        raise _failure(command, watching, output, status=exited.status, usage=usage, grace_s=grace_s)
    return usage


def cancelled(command: Command, sentence: str, *, usage: Usage | None = None) -> CommandError:
    """The error of a command that is not started, because metricgate is to end."""
    usage = usage or Usage(0.0, 0.0, 0)
    return CommandError(f"the {command.label} {sentence}", status=0, last_lines=(), usage=usage, kind="cancelled")


def _guard(bash: str, command: Command, output: Output, grace_s: float) -> Guard:
    return _unless_refused(
        command,
        lambda: Guard(
            f"{os.getpid()}-{secrets.token_hex(8)}",
            environ=os.environ,
            grace_s=grace_s,
            output=output.read_end,
            log=command.log,
            shell=bash,
        ),
    )


def _start(bash: str, command: Command, output: Output, guard: Guard) -> tuple[subprocess.Popen[bytes], Tree]:
    outer = os.environ.get(process_group.MARKER)
    marker = f"{outer}/{guard.id}" if outer else guard.id
    process = _unless_refused(
        command,
        lambda: adoption.start(
            lambda: subprocess.Popen(  # noqa: S603 - running the user's command is what this is for
                [bash, *BASH_OPTIONS, command.line],
                cwd=command.cwd,
                env={**command.environ, process_group.MARKER: marker},
                stdin=subprocess.DEVNULL,
                stdout=output.write_end,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        ),
    )
    guard.watch(process.pid)
    leader = process_group.process(process.pid)
    return process, Tree(process.pid, guard.id, since=leader.started if leader else 0, adopts=adoption.is_sure)


def _wait(process: subprocess.Popen[bytes], events: queue.SimpleQueue[Any]) -> None:
    try:
        _, status, used = os.wait4(process.pid, 0)
    except ChildProcessError as error:
        process.poll()  # which takes that as its end
        events.put(error)
        return
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    events.put(Exited(process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * unit))


def _failure(command: Command, watch: Watch, output: Output, *, status: int, usage: Usage, grace_s: float) -> CommandError:
    lines = output.last_lines(LINES)
    log = str(_shown(command.log, command.cwd))
    facts = Facts(
        ended=watch.ended,
        ran_s=usage.wall_s,
        timeout_s=command.timeout_s,
        stall_s=command.stall_s or 0.0,
        grace_s=grace_s,
        kills=watch.kills,
        memory_limit_bytes=watch.memory_limit_bytes,
        gpus=_gpus(command.environ),
        progress=watch.progress,
        log=f"{log} (but for what did not fit: {output.why_lost})" if output.why_lost else log,
        module_file=lambda module: _module_file(module, command.cwd),
    )
    cause = diagnosis.of(status, lines, facts)
    return _error(command, cause, status=status, last_lines=lines[-QUOTED_LINES:], usage=usage)


def _error(command: Command, cause: Cause, *, status: int, last_lines: tuple[str, ...], usage: Usage) -> CommandError:
    return CommandError(
        f"the {command.label} {cause.sentence}",
        status=status,
        last_lines=last_lines,
        usage=usage,
        kind=cause.kind,
        retryable=cause.retryable,
        fix=cause.advice,
    )


def _gpus(environ: Mapping[str, str]) -> int | None:
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    return None if visible is None else len([device for device in visible.split(",") if device.strip() not in ("", "-1")])


def _module_file(module: str, root: Path) -> str | None:
    """The file or folder of a module in the repository, relative to its root; not further down than a few folders."""
    name = module.partition(".")[0]
    for depth in range(_FOLDERS_DEEP + 1):
        for pattern in (f"{name}.py", f"{name}/__init__.py"):
            for found in root.glob("*/" * depth + pattern):
                relative = found.relative_to(root)
                if not any(part.startswith(".") or part == "site-packages" for part in relative.parts):
                    return str(relative if found.stem == name else relative.parent)
    return None


def _shown(path: Path, cwd: Path) -> Path:
    return path.relative_to(cwd) if path.is_relative_to(cwd) else path


def _unless_refused(command: Command, start: Callable[[], _Started]) -> _Started:
    try:
        return start()
    except (OSError, ValueError) as error:  # no such folder, a command of megabytes, a NUL character, too many processes
        raise StageError(f"the {command.label} can't be started: {error}", where=str(command.cwd)) from None

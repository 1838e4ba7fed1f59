"""Runs one of the user's commands: bash, its own process group, live output, a time limit, nothing left behind."""

from __future__ import annotations

import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from metricgate.errors import StageError
from metricgate.train import process_group
from metricgate.train.console import Console, duration
from metricgate.train.output import Output

# As GitHub runs a `run:` step: the first command that fails ends it.
BASH_OPTIONS = ("--noprofile", "--norc", "-e", "-o", "pipefail", "-c")

# What bash makes of a child that died by a signal is 128 + its number.
_CRASHES = frozenset(
    {signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE}
)
_PASSED_ON = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Secrets of the actions (a token) come in variables with this prefix; the user's code has no use for them.
_NOT_PASSED_ON = "METRICGATE_INPUT_"


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
    """

    line: str
    label: str
    cwd: Path
    environ: Mapping[str, str]
    log: Path
    timeout_s: float
    spent_s: float = 0.0


@dataclass(frozen=True)
class Usage:
    """What a command used.

    Attributes:
        wall_s: Seconds from start to end.
        cpu_s: Processor seconds of the command and of the processes that it waited for.
        peak_memory_bytes: The largest resident memory of one of them.
    """

    wall_s: float
    cpu_s: float
    peak_memory_bytes: int

    def __add__(self, other: Usage) -> Usage:
        return Usage(self.wall_s + other.wall_s, self.cpu_s + other.cpu_s, max(self.peak_memory_bytes, other.peak_memory_bytes))


class CommandError(StageError):
    """A command of the user failed.

    Attributes:
        summary: What happened, without the output.
        status: Its exit code, or minus the number of the signal that ended it.
        last_lines: The end of its output.
        usage: What it used until then.
        crashed: Whether it died by a signal that metricgate did not send: a crash, a preemption, no memory left.
    """

    def __init__(
        self,
        found: str,
        *,
        status: int,
        last_lines: tuple[str, ...],
        usage: Usage,
        crashed: bool = False,
        where: str = "",
        fix: str = "",
    ) -> None:
        quoted = "".join(f"\n  | {line}" for line in last_lines)
        super().__init__(f"{found}; its last lines:{quoted}" if quoted else f"{found}; it wrote nothing", where=where, fix=fix)
        self.summary = found
        self.status = status
        self.last_lines = last_lines
        self.usage = usage
        self.crashed = crashed


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment that a command of the user starts from: everything but the inputs of metricgate's own actions."""
    kept = {name: value for name, value in environ.items() if not name.startswith(_NOT_PASSED_ON)}
    # A pipe makes Python hold its output back; live output is worth the flushes.
    return {"PYTHONUNBUFFERED": "1", **kept}


def run(command: Command, *, console: Console) -> Usage:
    """Run a command to its end.

    SIGINT, SIGTERM and SIGHUP are passed on to the command's process group; what does not end within the console's grace
    period, or is still there when the command has ended, is killed.

    Returns:
        What it used.

    Raises:
        CommandError: It ended with another exit code than 0, by a signal, or took too long.
        StageError: There is no bash.
    """
    bash = shutil.which("bash", path=command.environ.get("PATH"))
    if bash is None:
        raise StageError("there is no bash", expected="bash, which runs train.run and evaluate.run", fix="install bash")
    events: queue.SimpleQueue[_Event] = queue.SimpleQueue()
    with _signals_into(events), Output(command.log, console=console) as output:
        started = time.monotonic()
        process = _start(bash, command, output)
        output.begin()
        threading.Thread(target=_wait, args=(process, events), daemon=True).start()
        watch = _Watch(command, console, process.pid, started - command.spent_s)
        try:
            exited = watch.until_exit(events)
            process_group.end(process.pid, told=bool(watch.reason), grace_s=console.grace_s)
        except BaseException:
            process_group.send(process.pid, signal.SIGKILL)
            raise
    usage = Usage(time.monotonic() - started, exited.cpu_s, exited.peak_memory_bytes)
    if watch.reason or exited.status:
        raise _failure(command, exited, usage, reason=watch.reason, last_lines=output.last_lines)
    return usage


@dataclass(frozen=True)
class _Exited:
    status: int
    cpu_s: float
    peak_memory_bytes: int


_Event = _Exited | signal.Signals


class _Watch:
    """Waits for the end of a command: passes signals on, keeps the time limit, shows that time passes."""

    def __init__(self, command: Command, console: Console, group: int, began: float) -> None:
        self.reason = ""  # why metricgate ended the command
        self._command = command
        self._console = console
        self._group = group
        self._began = began
        self._kill_at: float | None = None

    def until_exit(self, events: queue.SimpleQueue[_Event]) -> _Exited:
        next_beat = time.monotonic() + self._console.beat_s
        while True:
            now = time.monotonic()
            end = self._kill_at if self._kill_at is not None else self._began + self._command.timeout_s
            try:
                event = events.get(timeout=max(0.0, min(next_beat, end) - now))
            except queue.Empty:
                now = time.monotonic()
                if now >= end:
                    self._out_of_time(now)
                if now >= next_beat:
                    next_beat = now + self._console.beat_s
                    self._console.beat(self._command.label, elapsed_s=now - self._began, limit_s=self._command.timeout_s)
                continue
            if isinstance(event, _Exited):
                return event
            self._pass_on(event)

    def _out_of_time(self, now: float) -> None:
        if self._kill_at is None:
            self.reason = f"took longer than {duration(self._command.timeout_s)}"
            self._stop(signal.SIGTERM, now)
        else:
            process_group.send(self._group, signal.SIGKILL)
            self._kill_at = float("inf")

    def _pass_on(self, received: signal.Signals) -> None:
        again = bool(self.reason)
        self.reason = self.reason or f"was stopped by {received.name}"
        if again:  # whoever asks twice does not want to wait
            process_group.send(self._group, signal.SIGKILL)
        else:
            self._stop(received, time.monotonic())

    def _stop(self, how: signal.Signals, now: float) -> None:
        process_group.send(self._group, how)
        self._kill_at = now + self._console.grace_s


def _start(bash: str, command: Command, output: Output) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(  # noqa: S603 - running the user's command is what this is for
            [bash, *BASH_OPTIONS, command.line],
            cwd=command.cwd,
            env=dict(command.environ),
            stdin=subprocess.DEVNULL,
            stdout=output.write_end,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:  # no such folder, a command of megabytes, a NUL character
        raise StageError(f"the {command.label} can't be started: {error}", where=str(command.cwd)) from None


def _wait(process: subprocess.Popen[bytes], events: queue.SimpleQueue[_Event]) -> None:
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if os.uname().sysname == "Darwin" else 1024
    events.put(_Exited(process.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss * unit))


@contextmanager
def _signals_into(events: queue.SimpleQueue[_Event]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread may handle signals
        return
    before = {
        number: signal.signal(number, lambda received, _: events.put(signal.Signals(received)))
        for number in _PASSED_ON
        if signal.getsignal(number) is not signal.SIG_IGN  # under nohup, a hang-up is to be ignored
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _failure(command: Command, exited: _Exited, usage: Usage, *, reason: str, last_lines: tuple[str, ...]) -> CommandError:
    status = exited.status
    number = -status if status < 0 else status - 128
    died = number in (_CRASHES if status > 0 else set(signal.valid_signals()))
    fix = ""
    if reason:
        found = reason
        if "longer" in reason:
            fix = "raise `timeout` in metricgate.yaml, or make the command shorter"
    elif died:
        found = f"was killed by {signal.Signals(number).name} (exit code {128 + number})"
        if number == signal.SIGKILL:
            fix = "most often the machine ran out of memory: use a smaller batch or a larger runner\n"
            fix += "`retries` under `train` starts it again after a crash"
    else:
        found = f"ended with exit code {status}"
    return CommandError(
        f"the {command.label} {found}",
        status=status,
        last_lines=last_lines,
        usage=usage,
        crashed=died and not reason,
        fix=fix or f"all of its output is in {_shown(command.log, command.cwd)}",
    )


def _shown(path: Path, cwd: Path) -> Path:
    return path.relative_to(cwd) if path.is_relative_to(cwd) else path

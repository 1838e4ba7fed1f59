"""Compares runs that somebody hostile may have made, in a process that has nothing to lose.

A score table of a few hundred bytes can claim billions of rows, nest a thousand levels deep, or find a fault in the code that
decodes it. What reads such files here is a child process: without the token, without the parent's environment, with limits on
its memory, processor time, files and life. Its answer is a report, or why there is none; if it dies, that is the answer.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Literal

import pydantic

from metricgate import run as runs
from metricgate.errors import ConfigError, MetricgateError, StageError
from metricgate.github import foreign_runs
from metricgate.github.archive import ArtifactError
from metricgate.github.foreign_runs import Limits, Task
from metricgate.report import plain
from metricgate.report.document import Report

# Without it, an interpreter with a shared library of its own may not start.
_INHERITED = ("LD_LIBRARY_PATH",)
_GRACE = 5
_PR_SET_DUMPABLE = 4
_MEGABYTE = 1_000_000


class _Refusal(pydantic.BaseModel):
    kind: Literal["hostile", "other"]
    found: str
    expected: str = ""
    where: str = ""
    fix: str = ""


class _Answer(pydantic.BaseModel):
    report: Report | None = None
    refusal: _Refusal | None = None


def compare(task: Task) -> Report:
    """Compare in a child process.

    Raises:
        ArtifactError: The runs are malformed, too large, or took the child down.
        StageError: The child could not do its work for a reason of its own.
    """
    with tempfile.TemporaryDirectory(prefix="metricgate-quarantine-", ignore_cleanup_errors=True) as folder:
        scratch = Path(folder)
        ended = _run_child(task, scratch)
        answer = _read(scratch / "answer.json", most=task.limits.report_bytes)
        if answer is None:
            raise _explained(ended, task.limits, log=_tail(scratch / "log.txt"))
    return _report_of(answer)


def compare_here(task: Task) -> Report:
    """Compare in this process, without its limits and without what the child would be spared: for runs that are no danger.

    Raises:
        ArtifactError: As ``compare``.
        StageError: As ``compare``.
    """
    return _report_of(_answer(task))


def _report_of(answer: _Answer) -> Report:
    if answer.report is not None:
        return answer.report
    refusal = answer.refusal or _Refusal(kind="other", found="the comparison gave no answer")
    kind = ArtifactError if refusal.kind == "hostile" else StageError
    # What it found may quote what it read.
    raise kind(
        plain.text(refusal.found, limit=500),
        expected=plain.text(refusal.expected, limit=500),
        where=plain.text(refusal.where),
        fix=plain.text(refusal.fix, limit=500),
    )


def _run_child(task: Task, scratch: Path) -> int | None:
    """Its exit code; None where it had to be stopped."""
    # -I: neither variables nor files of the working folder lead to other modules.
    command = [sys.executable, "-I", "-X", "utf8", "-m", __name__, str(scratch / "answer.json")]
    _hide()
    with (scratch / "log.txt").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=scratch,
            env=environ_of(scratch),
            start_new_session=True,
        )
        try:
            child.communicate(task.model_dump_json().encode(), timeout=task.limits.seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(child)
    return child.returncode


def _hide() -> None:
    """Keep this process's environment, where the token is, from other processes of the same user.

    A process that may not be dumped has a /proc/<pid>/environ that only root reads (prctl(2), PR_SET_DUMPABLE).
    """
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


def environ_of(scratch: Path) -> dict[str, str]:
    """The child's environment: nothing of the parent's that could be a secret."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {"PATH": os.defpath, "TMPDIR": str(scratch), "OPENBLAS_NUM_THREADS": "1", **inherited}


def _end(child: subprocess.Popen[bytes]) -> None:
    """Leave nothing behind that it started."""
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        child.kill()
    child.wait()


def _read(file: Path, *, most: int) -> _Answer | None:
    try:
        with file.open("rb") as stream:
            text = stream.read(most + 1)
    except OSError:
        return None
    if len(text) > most:
        return _Answer(refusal=_Refusal(kind="hostile", found=f"the report would have more than {most // _MEGABYTE} MB"))
    try:
        return _Answer.model_validate_json(text)
    except pydantic.ValidationError:
        return None


def _explained(ended: int | None, limits: Limits, *, log: str) -> MetricgateError:
    fix = "compare the runs on your own machine: metricgate compare BASELINE CANDIDATE"
    if ended is None:
        return ArtifactError(f"comparing the runs took longer than {limits.seconds:g} seconds", fix=fix)
    if ended == -signal.SIGXCPU:
        return ArtifactError(f"comparing the runs took more than {limits.cpu_seconds} seconds of processor time", fix=fix)
    if ended < 0:
        return ArtifactError(f"the process that compared the runs was ended by {_signal(-ended)}", fix=fix)
    return StageError(f"the process that compares the runs ended with code {ended}: {log}", fix="report it with the log")


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _tail(file: Path) -> str:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, os.SEEK_END) - 2_000))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return plain.text(lines[-1] if lines else "it said nothing", limit=300)


def main(arguments: Sequence[str], source: IO[bytes]) -> int:
    """The child: read a task, write an answer."""
    task = Task.model_validate_json(source.read())
    _confine(task.limits)
    runs.write_text(Path(arguments[0]), _answer(task).model_dump_json(by_alias=True))
    return 0


def _answer(task: Task) -> _Answer:
    try:
        return _Answer(report=foreign_runs.compare(task))
    except MetricgateError as error:
        folder = str(task.candidate.parent)
        said = {key: getattr(error, key).replace(folder + os.sep, "") for key in ("found", "expected", "where", "fix")}
        return _Answer(refusal=_Refusal(kind="other" if isinstance(error, ConfigError) else "hostile", **said))
    except MemoryError:
        return _Answer(refusal=_Refusal(kind="hostile", found="comparing the runs takes more memory than there is for it"))
    except Exception as error:  # noqa: BLE001 - whatever hostile data makes our code stumble over is the data's fault
        return _Answer(refusal=_Refusal(kind="hostile", found=f"the runs can't be compared ({type(error).__name__})"))


def _confine(limits: Limits) -> None:
    # It outlives nobody: should the parent be killed, the alarm ends the child.
    signal.setitimer(signal.ITIMER_REAL, limits.seconds + 10)
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_CPU: limits.cpu_seconds,
        resource.RLIMIT_FSIZE: limits.file_bytes,
        resource.RLIMIT_CORE: 0,
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        highest = sys.maxsize if hard == resource.RLIM_INFINITY else hard
        # The signal at the soft limit says which one it was; who survives it meets the hard one.
        grace = _GRACE if kind == resource.RLIMIT_CPU else 0
        try:
            resource.setrlimit(kind, (min(most, highest), min(most + grace, highest)))
        except (ValueError, OSError):  # macOS knows no limit of the address space
            continue


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], sys.stdin.buffer))

"""Compares runs that somebody hostile may have made, in a process that has nothing to lose.

A score table of a few hundred bytes can claim billions of rows, nest a thousand levels deep, or find a fault in the code that
decodes it. What reads such files here is a child process: without the token, without the parent's environment, with limits on
its memory, processor time, files and life. Its answer is a report, or why there is none; if it dies, that is the answer.
"""

from __future__ import annotations

import itertools
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

import pydantic

from metricgate import config_file, pipeline
from metricgate import run as runs
from metricgate.config import FILE_NAME, Config
from metricgate.errors import ConfigError, MetricgateError, StageError
from metricgate.formats import scores
from metricgate.github.archive import ArtifactError
from metricgate.report import document, plain
from metricgate.report.document import Origin, Report

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_POLICY_LENGTH = 100_000
_MOST_CHANGES = 100
_CHANGE_LENGTH = 300
_MOST_METRICS = 1_000
_LARGEST_SEED = 2**63 - 1
# Without it, an interpreter with a shared library of its own may not start.
_INHERITED = ("LD_LIBRARY_PATH",)
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the child may use; far more than a real comparison needs.

    Attributes:
        rows: The examples of one score table.
        columns: The columns of one score table.
        row_groups: The pieces of one Parquet file.
        memory_bytes: Its address space.
        cpu_seconds: Processor time of all its threads together.
        seconds: From its start to its answer.
        file_bytes: Any file that it writes.
        report_bytes: Its answer.
    """

    rows: int = 5_000_000
    columns: int = 1_000
    row_groups: int = 100_000
    memory_bytes: int = 4_000_000_000
    cpu_seconds: int = 600
    seconds: float = 300.0
    file_bytes: int = 4_000_000_000
    report_bytes: int = 64_000_000


class Task(pydantic.BaseModel):
    """What the child has to do.

    Attributes:
        candidate: The folder with the candidate's runs.
        baseline: The folder with the baseline's; None where there is none.
        baseline_recorded: Whether those come from the store, and are not hostile.
        history: Recorded runs of the main branch, for the training noise; None without.
        origin: Where a recorded baseline comes from; None for another one.
        policy: The text of the base commit's configuration, which judges; None where that commit has none.
        change: The text of the change's own configuration; None where it has none.
        path: What the configuration is called in messages.
        default_name: The model's name where the configuration gives none.
        warnings: What else the report has to tell.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    candidate: Path
    baseline: Path | None = None
    baseline_recorded: bool = False
    history: Path | None = None
    origin: Origin | None = None
    policy: str | None
    change: str | None
    path: str = FILE_NAME
    default_name: str = "model"
    warnings: tuple[str, ...] = ()
    limits: Limits = Limits()


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
    environ = {"PATH": os.defpath, "TMPDIR": str(scratch), "OPENBLAS_NUM_THREADS": "1"}
    environ |= {name: os.environ[name] for name in _INHERITED if name in os.environ}
    with (scratch / "log.txt").open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=scratch,
            env=environ,
            start_new_session=True,
        )
        try:
            child.communicate(task.model_dump_json().encode(), timeout=task.limits.seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end(child)
    return child.returncode


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
        return _Answer(report=_compare(task))
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
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        try:
            resource.setrlimit(kind, (allowed, allowed))
        except (ValueError, OSError):  # macOS knows no limit of the address space
            continue


def _compare(task: Task) -> Report:
    for folder in [task.candidate, *([] if task.baseline is None or task.baseline_recorded else [task.baseline])]:
        _inspect(folder, task.limits)
    config, changes, warnings = _policy(task)
    report = pipeline.compare(
        task.candidate,
        task.baseline,
        config=config,
        history=task.history,
        policy_changes=changes,
        warnings=(*warnings, *task.warnings),
        origin=task.origin,
    )
    document.to_json(report)  # all its numbers can be written
    return report


def _policy(task: Task) -> tuple[Config, Sequence[str], Sequence[str]]:
    """What judges, how the change's own policy differs from it, and what else the reader should know."""
    if task.policy is None:
        if task.change is None:
            raise ConfigError("neither the change nor the commit that it goes into has one", where=task.path)
        _check_unfolded(task.change, task.path)
        own = config_file.loads(task.change, source=task.path, default_name=task.default_name)
        return own, (), (f"There is no {task.path} at the base commit: this change is judged by its own policy.",)
    config = config_file.loads(task.policy, source=f"{task.path} at the base commit", default_name=task.default_name)
    if task.change is None:
        return config, (), (f"This change has no {task.path}; it is judged by that of its base commit.",)
    if task.change == task.policy:
        return config, (), ()
    try:
        _check_unfolded(task.change, task.path)
        own = config_file.loads(task.change, source=task.path, default_name=task.default_name)
    except ConfigError as error:
        reason = plain.text(str(error).splitlines()[0], limit=_CHANGE_LENGTH)
        return config, (), (f"This change's own policy can't be read: {reason}",)
    changes = [plain.text(change, limit=_CHANGE_LENGTH) for change in own.policy_changes(config)]
    more = [f"… and {len(changes) - _MOST_CHANGES:,} more"] if len(changes) > _MOST_CHANGES else []
    return config, (*changes[:_MOST_CHANGES], *more), ()


def _check_unfolded(text: str, path: str) -> None:
    """Refuse YAML of a few lines whose aliases stand for more than there is memory.

    Raises:
        ConfigError: It is too large, folded or not.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    if len(text) > _POLICY_LENGTH:
        raise ConfigError(f"the file has {len(text):,} characters", where=path, expected="a short YAML file")
    try:
        waiting = [YAML(typ="safe", pure=True).load(text)]
    except (YAMLError, ValueError, RecursionError):
        return  # whoever reads it next says what is wrong
    for count in itertools.count():
        if not waiting:
            return
        if count > _POLICY_LENGTH:
            raise ConfigError("its aliases stand for too much", where=path, expected="a short YAML file")
        value = waiting.pop()
        waiting.extend(value.values() if isinstance(value, dict) else value if isinstance(value, list) else ())


def _inspect(folder: Path, limits: Limits) -> None:
    """Refuse what no run of ours says, before any of it is believed.

    Raises:
        ArtifactError: A document or a table is beyond its limits.
    """
    for place in [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]:
        record = runs.read_record(place)
        if record is not None:
            _check_record(record, where=place / runs.RUN_FILE)
        for table in scores.all_in(place):
            _check_table(table, limits)


def _check_record(record: runs.RunRecord, *, where: Path) -> None:
    wrong: Mapping[str, bool] = {
        "commit": record.commit is not None and not _COMMIT.fullmatch(record.commit),
        "seed": record.seed is not None and not 0 <= record.seed <= _LARGEST_SEED,
        "name": len(record.name) > _CHANGE_LENGTH,
        "metrics": len(record.metrics) > _MOST_METRICS,
        "fingerprints": any(
            len(str(value)) > _MOST_METRICS for value in record.fingerprints.model_dump().values() if value is not None
        ),
    }
    for key, is_wrong in wrong.items():
        if is_wrong:
            raise ArtifactError(f"`{key}` is not what metricgate writes there", where=str(where), fix="run the check again")


def _check_table(table: Path, limits: Limits) -> None:
    """The size that a Parquet file claims: its rows cost nothing on disk, and eight bytes each in memory."""
    if table.suffix != ".parquet":
        return
    from metricgate.tables import engine

    # The footer says it three times, and a reader may believe any of them.
    values = "SELECT sum(greatest(num_values, row_group_num_rows)) AS n FROM parquet_metadata(?) GROUP BY column_id"
    for what, asked, most in (
        ("rows", "max(num_rows) FROM parquet_file_metadata(?)", limits.rows),
        ("row groups", "max(num_row_groups) FROM parquet_file_metadata(?)", limits.row_groups),
        ("columns", "count(*) FROM parquet_schema(?)", limits.columns),
        ("values in a column", f"max(n) FROM ({values})", limits.rows),
    ):
        claimed = int(engine.shared().rows(f"SELECT {asked}", [str(table)])[0][0] or 0)
        if not 0 <= claimed <= most:
            raise ArtifactError(f"the table claims {claimed:,} {what}", where=str(table), expected=f"at most {most:,}")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:], sys.stdin.buffer))

"""What is kept of a run: exactly what reads it again. Models and logs stay where they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metricgate import formats, golden
from metricgate.config import Config
from metricgate.errors import InputError, UsageError
from metricgate.formats import metrics_json
from metricgate.formats import scores as score_tables
from metricgate.run import RUN_FILE, Run
from metricgate.train import digest


@dataclass(frozen=True)
class PackedRun:
    """A run as it is recorded.

    Attributes:
        folder: Its folder's name.
        files: Content by file name, without the scores.
        scores: The name and content of its score table; None where it has none.
    """

    folder: str
    files: Mapping[str, bytes] = field(repr=False)
    scores: tuple[str, bytes] | None = field(default=None, repr=False)


def pack(folder: Path, *, commit: str, config: Config) -> tuple[PackedRun, ...]:
    """Read the runs of one commit and pack each.

    Args:
        folder: A run folder, a folder of run folders, or one file in any known format.
        commit: The commit that they are recorded for.
        config: Names the columns with a role.

    Raises:
        UsageError: There is no run, a run belongs to another commit, or two have one seed.
        InputError: A file is malformed.
    """
    found = formats.read_runs(folder, id=config.scores.id)
    if not found:
        raise UsageError(
            "there are no runs",
            where=str(folder),
            expected="the runs to record: a run folder or a folder of run folders",
            fix="metricgate run        # trains and evaluates, and says where the runs are",
        )
    for run in found:
        _check_commit(run, commit)
    packed = [_pack(run, commit=commit, config=config) for run in found]
    _check_different(packed, where=folder)
    return tuple(packed)


def _pack(run: Run, *, commit: str, config: Config) -> PackedRun:
    home = run.where if run.where.is_dir() else run.where.parent
    files = {}
    if (home / RUN_FILE).is_file():
        if run.record.commit:
            files[RUN_FILE] = (home / RUN_FILE).read_bytes()
        else:
            record = run.record.model_copy(update={"commit": commit})
            files[RUN_FILE] = _json(record.model_dump(mode="json", by_alias=True))
    if set(run.metrics) - (set(run.record.metrics) if files else set()):
        # What run.json says once is not said twice: reading a file costs a request.
        stated = {
            name: {
                key: value
                for key, value in (("value", metric.value), ("stderr", metric.stderr), ("n", metric.n))
                if value is not None
            }
            for name, metric in run.metrics.items()
        }
        files[metrics_json.FILE] = _json(stated)
    if run.record.golden_digest is not None and (home / golden.FILE).is_file():
        files[golden.FILE] = _golden(home / golden.FILE, run.record.golden_digest)
    table = None
    if run.scores is not None:
        texts = {config.scores.id, *config.slice_columns, *(run.record.fingerprints.reference_columns or ())}
        texts |= {config.scores.cluster} if config.scores.cluster else set()
        predicted = {column for metric in config.metrics.values() for column in metric.columns}
        from metricgate.baseline import parquet_copy  # a training that may be reused looks here, and needs no tables

        copy = parquet_copy.of(run.scores.path, numbers={*config.metrics, *run.metrics, *predicted}, texts=texts)
        table = (f"{score_tables.STEM}{copy.suffix.lower()}", copy.read_bytes())
        if copy != run.scores.path:
            copy.unlink()
    return PackedRun(folder=_folder(run, files, table), files=files, scores=table)


def _golden(file: Path, expected: str) -> bytes:
    """The golden requests, as the evaluation left them: an image is asked no others."""
    content = file.read_bytes()
    found = digest.PREFIX + hashlib.sha256(content).hexdigest()
    if found != expected:
        raise InputError(
            f"the golden requests have the digest {found}",
            where=str(file),
            expected=f"what the evaluation wrote, {expected}",
            fix="metricgate evaluate        # writes them again",
        )
    return content


def _folder(run: Run, files: Mapping[str, bytes], table: tuple[str, bytes] | None) -> str:
    if run.record.seed is not None:
        return f"seed-{run.record.seed}"
    # Without a seed a run is told by what is in it: recorded twice it is the same, and two never meet.
    digest = hashlib.sha256()
    for name, content in sorted([*files.items(), *([table] if table else [])]):
        digest.update(f"{name}:{len(content)}:".encode() + content)
    return f"run-{digest.hexdigest()[:12]}"


def _check_commit(run: Run, commit: str) -> None:
    if run.record.commit is not None and run.record.commit != commit:
        raise UsageError(
            f"this is a run of commit {run.record.commit[:12]}, and {commit[:12]} is to be recorded",
            where=str(run.where),
            expected="runs of the one commit that they are recorded for",
            fix=f"metricgate run        # with {commit[:12]} checked out",
        )


def _check_different(packed: Sequence[PackedRun], *, where: Path) -> None:
    names = [run.folder for run in packed]
    if again := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(
            f"two runs are {again}" if again.startswith("seed-") else "two runs are the same, byte for byte",
            where=str(where),
            expected="one run a seed: one training must not count as two",
            fix="delete one of them",
        )


def _json(document: object) -> bytes:
    return (json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()

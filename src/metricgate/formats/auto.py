"""Finds the runs under a path, whoever wrote them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metricgate import run as runs
from metricgate.errors import InputError, UsageError
from metricgate.formats import dvclive, json_file, keras_history, metrics_json, mlflow, scores, sklearn_report
from metricgate.run import Metric, Run, RunRecord

UNDERSTOOD = (
    metrics_json.NAME,
    scores.NAME,
    keras_history.NAME,
    sklearn_report.NAME,
    dvclive.NAME,
    mlflow.NAME,
)

_DATA_SUFFIXES = (".json", *scores.SUFFIXES)
_LOGS = ("train.log", "evaluate.log")
_SEED_FOLDER = re.compile(r"seed-(\d{1,9})")
_MAX_DEPTH = 6


def read_runs(path: Path, *, id: str) -> tuple[Run, ...]:  # noqa: A002  # the configuration's word for the column
    """Read every run under a path: a run folder, a folder of run folders, or one file, in any format.

    Args:
        path: What ``metricgate compare`` was given. Symbolic links that lead out of it are refused.
        id: The column of a score table that names its examples; a table without it is read all the same, and knows.

    Returns:
        The runs by seed, then by folder; none for an empty folder, which says that a baseline is missing.

    Raises:
        UsageError: There is nothing at ``path``.
        InputError: What is there is not understood, malformed, unfinished, or says two things.
    """
    if not path.exists():
        raise UsageError(
            "there is no such file or folder",
            where=str(path),
            expected="a run folder, a folder of run folders, or a file with metrics or scores",
            fix="metricgate run        # trains and evaluates, and says where the runs are",
        )
    reader = _Reader(root=path.resolve(), id=id)
    try:
        found = [reader.file(path)] if path.is_file() else reader.folder(path, depth=0)
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(error.filename or path)) from None
    if not found and (files := _some_files(path)):
        raise _not_understood(path, f"no run in this folder (it has {', '.join(files)})")
    return tuple(sorted(found, key=_order))


@dataclass(frozen=True)
class _Reader:
    root: Path
    id: str

    def folder(self, path: Path, *, depth: int) -> list[Run]:
        """The runs of a folder, none where nothing in it looks like one."""
        entries = sorted(entry for entry in path.iterdir() if not entry.name.startswith((".", "__")))
        files = [entry for entry in entries if entry.suffix.lower() in _DATA_SUFFIXES and entry.is_file()]
        for file in files:
            self._inside(file)
        children = [entry for entry in entries if entry.is_dir()]
        if run := self._run(path):
            if nested := [child.name for child in children if (child / runs.RUN_FILE).is_file()]:
                raise InputError(
                    f"the folder is a run and has runs in it ({', '.join(nested)})",
                    where=str(path),
                    expected="a run folder, or a folder of run folders",
                    fix="remove the files of the one or the folders of the others",
                )
            return [run]
        found: list[Run] = []
        barren = []
        for child in children if depth < _MAX_DEPTH else ():
            self._inside(child)
            inside = self.folder(child, depth=depth + 1)
            found += inside
            if not inside and _should_hold_a_run(child):
                barren.append(child)
        if found and barren:
            raise InputError(
                "there is no run in this folder, and there are runs beside it",
                where=str(barren[0]),
                expected="every seed's run: one that failed must not be left out of the mean silently",
                fix="train and evaluate it again, or delete the folder",
            )
        if found:
            return found
        if len(files) > 1:
            raise _not_understood(path, f"several files and no run ({', '.join(file.name for file in files[:5])})")
        return [self.file(file) for file in files]

    def file(self, path: Path) -> Run:
        """The run that one file holds."""
        suffix = path.suffix.lower()
        record = RunRecord(seed=_seed_of(path.parent))
        if suffix == ".csv" and not scores.detect(path) and keras_history.detect_csv(path):
            return Run(where=path, metrics=keras_history.read(path), record=record)
        if suffix in scores.SUFFIXES:
            return Run(where=path, metrics={}, scores=scores.read(path, id=self.id), record=record)
        if suffix != ".json":
            raise _not_understood(path, f"files that end in {suffix or 'nothing'} are not understood")
        return self._json(path, record)

    def _json(self, path: Path, record: RunRecord) -> Run:
        document = json_file.load(path)
        schema = document.get("schema") if isinstance(document, dict) else None
        if schema == runs.RUN_SCHEMA and path.name == runs.RUN_FILE:
            record = _finished(path.parent)
            return Run(where=path, metrics=_recorded(record, where=path), record=record)
        if isinstance(schema, str) and schema.startswith("metricgate."):
            raise _not_understood(path, f"this is a {schema} document")
        for module in (sklearn_report, keras_history, metrics_json, dvclive):
            if module.detect(document):
                return Run(where=path, metrics=module.read(path), record=record)
        if path.name == metrics_json.FILE:
            metrics_json.read(path)  # says which key is wrong
        raise _not_understood(path, f"the file holds {json_file.kind(document)} that no format explains")

    def _run(self, path: Path) -> Run | None:
        """The run whose files lie in this very folder."""
        if mlflow.detect_folder(path):
            for folder, _, files in os.walk(path / mlflow.METRICS):
                for file in files:
                    self._inside(Path(folder) / file)
            for file in (mlflow.SEED, mlflow.COMMIT):
                self._inside(path / file)
            return Run(where=path, metrics=mlflow.read(path), record=mlflow.record(path))
        has_record = (path / runs.RUN_FILE).is_file()
        has_metrics = (path / metrics_json.FILE).is_file()
        table = scores.find(path)
        if not (has_record or has_metrics or table):
            return None
        if not (has_record or table) and dvclive.detect_folder(path):
            return Run(where=path, metrics=dvclive.read(path), record=RunRecord(seed=_seed_of(path)))
        record = _finished(path) if has_record else RunRecord(seed=_seed_of(path))
        recorded = _recorded(record, where=path / runs.RUN_FILE)
        if record.fingerprints.test_set and table is None:
            raise InputError(
                "the run was recorded with a score per example, and its scores are gone",
                where=str(path),
                expected=" or ".join(f"scores{suffix}" for suffix in scores.SUFFIXES),
                fix=f"metricgate evaluate --run-dir {path.parent}",
            )
        stated = self._stated(path / metrics_json.FILE, strict=has_record or table is not None) if has_metrics else {}
        if has_record:
            _agree(stated, recorded, where=path)
        return Run(
            where=path,
            metrics={**recorded, **stated},
            scores=None if table is None else scores.read(table, id=self.id),
            record=record,
        )

    def _stated(self, file: Path, *, strict: bool) -> Mapping[str, Metric]:
        if strict or metrics_json.detect(json_file.load(file)):
            return metrics_json.read(file)
        return self.file(file).metrics

    def _inside(self, path: Path) -> None:
        if not path.resolve().is_relative_to(self.root):
            raise InputError(
                "the symbolic link leads out of the folder",
                where=str(path),
                expected="files that lie in the folder that was given",
                fix="copy the file into the folder",
            )


def _finished(folder: Path) -> RunRecord:
    record = runs.read_record(folder)
    if record is None or record.stage == "evaluated":
        return record or RunRecord()
    raise InputError(
        "the run was trained and not evaluated",
        where=str(folder / runs.RUN_FILE),
        expected="a run with metrics",
        fix=f"metricgate evaluate --run-dir {folder.parent}",
    )


def _recorded(record: RunRecord, *, where: Path) -> dict[str, Metric]:
    try:
        return {name: Metric(value=metric.value, stderr=metric.stderr, n=metric.n) for name, metric in record.metrics.items()}
    except InputError as error:
        raise InputError(error.found, expected=error.expected, where=str(where)) from None


def _agree(stated: Mapping[str, Metric], recorded: Mapping[str, Metric], *, where: Path) -> None:
    """A file that was changed after the run was recorded, or is left from another one, is not evidence."""
    for name, metric in stated.items():
        other = recorded.get(name)
        if other is None or metric.value == other.value:
            continue
        raise InputError(
            f"`{name}` is {metric.value:g} in {metrics_json.FILE} and {other.value:g} in {runs.RUN_FILE}",
            where=str(where),
            expected="the same value in both",
            fix="evaluate the run again: metricgate evaluate",
        )


def _order(run: Run) -> tuple[float, list[tuple[int, str]]]:
    seed = run.record.seed
    # Numbers in names count as numbers: seed-10 comes after seed-9.
    parts = re.findall(r"(\d{1,18})|(\D+|\d)", run.where.as_posix())
    return (float("inf") if seed is None else seed, [(int(number or 0), text) for number, text in parts])


def _seed_of(folder: Path) -> int | None:
    match = _SEED_FOLDER.fullmatch(folder.name)
    return int(match[1]) if match else None


def _should_hold_a_run(folder: Path) -> bool:
    return (
        _SEED_FOLDER.fullmatch(folder.name) is not None
        or any((folder / log).is_file() for log in _LOGS)
        or not any(folder.iterdir())
    )


def _some_files(folder: Path) -> list[str]:
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [str((Path(place) / name).relative_to(folder)) for name in sorted(files) if not name.startswith(".")]
        if len(found) > 3:
            return [*found[:3], "…"]
    return found


def _not_understood(path: Path, found: str) -> InputError:
    return InputError(found, where=str(path), expected="one of\n" + "\n".join(f"    {name}" for name in UNDERSTOOD))

"""MLflow: a run folder of its file store, ``mlruns/<experiment>/<run>``: ``meta.yaml`` and one file per metric.

A line of a metric's file is ``timestamp value step``; as in MLflow, the value at the highest step counts, of several the
latest.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metricgate.errors import InputError
from metricgate.formats import json_file
from metricgate.run import Metric, RunRecord

NAME = "MLflow: a run folder of the file store (meta.yaml and metrics/)"
META = "meta.yaml"
METRICS = "metrics"
SEED = "params/seed"
COMMIT = "tags/mlflow.source.git.commit"
FINISHED = (3, "3", "FINISHED")
MAX_BYTES = 256_000_000


def detect_folder(path: Path) -> bool:
    """Whether a folder is a run of MLflow's file store."""
    return (path / META).is_file() and (path / METRICS).is_dir()


def read(path: Path) -> dict[str, Metric]:
    """Read the last value of every metric; a metric in a subfolder is named ``train/loss``.

    Raises:
        InputError: The run did not finish, was deleted, has no metric, or a line is malformed.
    """
    meta = _meta(path)
    if meta.get("status") not in FINISHED:
        raise InputError(
            f"the run has the status {meta.get('status')!r}",
            where=str(path / META),
            expected="3 (FINISHED)",
            fix="train it to its end; a run that failed or was killed is not evidence",
        )
    if meta.get("lifecycle_stage", "active") != "active":
        raise InputError(
            "the run was deleted in MLflow", where=str(path / META), fix="restore it, or remove it for good: mlflow gc"
        )
    metrics: dict[str, Metric] = {}
    for folder, _, files in sorted(os.walk(path / METRICS)):
        for file in sorted(files):
            name = (Path(folder) / file).relative_to(path / METRICS).as_posix()
            metrics[name] = Metric(value=_last_value(path / METRICS / name, name=name))
    if not metrics:
        raise InputError("the run has no metric", where=str(path / METRICS), expected="one file per metric")
    return metrics


def record(path: Path) -> RunRecord:
    """What MLflow knows about the run: name, commit (the tag ``mlflow.source.git.commit``), seed (the parameter ``seed``)."""
    seed = _text(path / SEED)
    return RunRecord(
        name=str(_meta(path).get("run_name") or ""),
        commit=_text(path / COMMIT) or None,
        seed=int(seed) if seed.isascii() and seed.isdigit() else None,
    )


def _last_value(file: Path, *, name: str) -> float:
    if file.stat().st_size > MAX_BYTES:
        raise InputError(f"the file has {file.stat().st_size:,} bytes", where=str(file), expected="one line per step")
    points = [
        _point(line, where=f"{file}, line {number}") for number, line in enumerate(file.read_bytes().splitlines(), start=1)
    ]
    if not points:
        raise InputError("the file is empty", where=str(file), expected="timestamp value step")
    _, _, value_at_last_step = max(points, key=lambda point: point[:2])
    return json_file.number(value_at_last_step, key=name, where=file)


def _point(line: bytes, *, where: str) -> tuple[int, int, float]:
    # Three fields since MLflow 1.0; since 3.0 a data set's name and digest may follow.
    try:
        timestamp, value, step = line.split(b" ")[:3]
        return int(step), int(timestamp), float(value)
    except ValueError:
        shown = line[:60].decode("utf-8", "replace")
        raise InputError(f"{shown!r} is not a point of a metric", where=where, expected="timestamp value step") from None


def _meta(path: Path) -> Mapping[str, Any]:
    import ruamel.yaml
    from ruamel.yaml.error import YAMLError

    file = path / META
    try:
        document = ruamel.yaml.YAML(typ="safe", pure=True).load(file.read_text(encoding="utf-8"))
    except (YAMLError, ValueError, RecursionError) as error:
        raise InputError(f"not valid YAML: {str(error).splitlines()[0]}", where=str(file), expected=NAME) from None
    if not isinstance(document, Mapping):
        raise InputError("the file is no mapping", where=str(file), expected=NAME)
    return document


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()[:1000] if file.is_file() else ""
    except UnicodeDecodeError:
        return ""

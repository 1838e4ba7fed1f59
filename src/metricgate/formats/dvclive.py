"""DVCLive: the folder that ``dvclive.Live`` writes, or its ``metrics.json``: ``{"step": 9, "train": {"accuracy": 0.9}}``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metricgate.errors import InputError
from metricgate.formats import json_file
from metricgate.run import Metric

NAME = "DVCLive: the folder of dvclive.Live (with its metrics.json)"
FILE = "metrics.json"
STEP = "step"


def detect(document: object) -> bool:
    """Whether a JSON document counts steps, or nests metrics by name."""
    return isinstance(document, dict) and (
        (isinstance(document.get(STEP), int) and not isinstance(document[STEP], bool))
        or any(isinstance(value, dict) and "value" not in value for value in document.values())
    )


def detect_folder(path: Path) -> bool:
    """Whether a folder is one of DVCLive's: a ``metrics.json`` beside ``plots/metrics`` or ``params.yaml``."""
    return (path / FILE).is_file() and ((path / "plots" / "metrics").is_dir() or (path / "params.yaml").is_file())


def read(path: Path) -> dict[str, Metric]:
    """Read the metrics of a folder or of its ``metrics.json``; nested names are joined with ``/``.

    Texts, which DVCLive allows, are not metrics and left out; the text that it writes for NaN is an error.

    Raises:
        InputError: A value is neither text nor a finite number, or two metrics have the same joined name.
    """
    file = path / FILE if path.is_dir() else path
    metrics: dict[str, Metric] = {}
    for name, value in _flat(json_file.table(file), where=file):
        if name == STEP or (isinstance(value, str) and not _is_nan_text(value)):
            continue
        if name in metrics:
            raise InputError(f"`{name}` stands there twice", where=str(file), expected="every metric once")
        number = math.nan if isinstance(value, str) else value
        metrics[name] = Metric(value=json_file.number(number, key=name, where=file))
    if not metrics:
        raise InputError("the file holds no metric", where=str(file), expected="at least one live.log_metric(…)")
    return metrics


def _flat(document: Mapping[str, Any], *, where: Path, prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in document.items():
        if isinstance(value, Mapping):
            yield from _flat(value, where=where, prefix=f"{prefix}{key}/")
        else:
            yield f"{prefix}{key}", value


def _is_nan_text(text: str) -> bool:
    try:
        return not math.isfinite(float(text))
    except ValueError:
        return False

"""``metrics.json``, metricgate's own.

Either ``{"accuracy": 0.93}`` or ``{"accuracy": {"value": 0.93, "stderr": 0.002, "n": 10000}}``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metricgate.errors import InputError
from metricgate.formats import json_file
from metricgate.run import Metric

NAME = 'metrics.json: {"accuracy": 0.93} or {"accuracy": {"value": 0.93, "stderr": 0.002, "n": 10000}}'
FILE = "metrics.json"
KEYS = ("value", "stderr", "n")


def detect(document: object) -> bool:
    """Whether every value of a JSON document is a number or an object with ``value``."""
    return isinstance(document, dict) and all(
        "value" in value if isinstance(value, dict) else isinstance(value, int | float) for value in document.values()
    )


def read(path: Path) -> dict[str, Metric]:
    """Read the metrics of a file.

    Raises:
        InputError: The file is not what the format says; the message names file and key.
    """
    return {name: _metric(value, name=name, where=path) for name, value in json_file.table(path).items()}


def _metric(value: object, *, name: str, where: Path) -> Metric:
    if not name.strip():
        raise InputError("a metric has an empty name", where=str(where), expected="a name for every metric")
    if not isinstance(value, Mapping):
        return Metric(value=json_file.number(value, key=name, where=where))
    if unknown := [key for key in value if key not in KEYS]:
        raise InputError(
            f"`{name}.{unknown[0]}` is not known here",
            where=str(where),
            expected=f"a number, or an object with {', '.join(KEYS)}",
            fix=f'"{name}": {{"value": 0.93, "stderr": 0.002, "n": 10000}}',
        )
    if "value" not in value:
        raise InputError(f"`{name}` has no `value`", where=str(where), expected="a number, or an object with `value`")
    stderr = value.get("stderr")
    return Metric(
        value=json_file.number(value["value"], key=f"{name}.value", where=where),
        stderr=None if stderr is None else _stderr(stderr, name=name, where=where),
        n=None if value.get("n") is None else _count(value["n"], name=name, where=where),
    )


def _stderr(value: object, *, name: str, where: Path) -> float:
    stderr = json_file.number(value, key=f"{name}.stderr", where=where)
    if stderr < 0:
        raise InputError(f"`{name}.stderr` is {stderr:g}", where=str(where), expected="0 or more")
    return stderr


def _count(value: object, *, name: str, where: Path) -> int:
    count = json_file.number(value, key=f"{name}.n", where=where)
    if count < 1 or count != int(count):
        raise InputError(f"`{name}.n` is {count:g}", where=str(where), expected="how many examples: 1 or more")
    return int(count)

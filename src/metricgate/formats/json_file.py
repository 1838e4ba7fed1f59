"""JSON that people's scripts write, read without trust: no NaN, no duplicate keys, no surprise in size or depth."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metricgate.errors import InputError

MAX_BYTES = 32_000_000


def load(path: Path) -> Any:
    """Read a JSON file.

    ``NaN`` and ``Infinity``, which Python's own writer emits, are let through here so that ``number`` can say under
    which key they stand.

    Raises:
        InputError: The file is too large, not UTF-8, not JSON, nested too deeply, or has a key twice.
    """
    size = path.stat().st_size
    if size > MAX_BYTES:
        raise InputError(
            f"the file has {size:,} bytes",
            where=str(path),
            expected=f"at most {MAX_BYTES:,} bytes",
            fix="write one number per metric here, and one row per example to scores.parquet",
        )
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"byte {error.start} is not UTF-8", where=str(path), expected="JSON in UTF-8") from None
    if not text.strip():
        raise InputError("the file is empty", where=str(path), expected="a JSON object")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except _DuplicateKeyError as error:
        raise InputError(
            f"the key {error.args[0]!r} stands there twice",
            where=str(path),
            expected="every key once",
            fix="write each metric once; of two values a reader would silently take one",
        ) from None
    except json.JSONDecodeError as error:
        raise InputError(
            f"not valid JSON: {error.msg}",
            where=f"{path}, line {error.lineno}, column {error.colno}",
            expected="a JSON document that was written to its end",
        ) from None
    except RecursionError:
        raise InputError("the document is nested too deeply", where=str(path), expected="metrics, not a tree") from None
    except ValueError as error:  # an integer with thousands of digits
        raise InputError(f"not valid JSON: {error}", where=str(path)) from None


def table(path: Path) -> Mapping[str, Any]:
    """Read a JSON file that holds an object.

    Raises:
        InputError: As ``load``, and for anything but an object with at least one key.
    """
    document = load(path)
    if not isinstance(document, dict):
        raise InputError(f"the file holds {kind(document)}", where=str(path), expected='an object: {"accuracy": 0.93}')
    if not document:
        raise InputError("the file holds no metric", where=str(path), expected='{"accuracy": 0.93}')
    return document


def number(value: object, *, key: str, where: Path) -> float:
    """Check that a JSON value is a finite number.

    Raises:
        InputError: It is something else; the message names file and key.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InputError(f"`{key}` is {kind(value)}", where=str(where), expected="a finite number", fix=_advice(key, value))
    try:
        result = float(value)
    except OverflowError:
        result = math.inf
    if not math.isfinite(result):
        raise InputError(
            f"`{key}` is {value if isinstance(value, float) else 'too large for a number'}",
            where=str(where),
            expected="a finite number",
            fix="find out why the metric has no value: a division by zero, an empty test set, or a model that diverged",
        )
    return result


def kind(value: object) -> str:
    """What a JSON value is, for a message: ``a string ('0.93')``."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"the boolean {str(value).lower()}"
    if isinstance(value, str):
        return f"a string ({value[:40]!r})"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    return "a number"


def _advice(key: str, value: object) -> str:
    if isinstance(value, str):
        return f"write the number without quotes: float({key})" if key.isidentifier() else "write it without quotes"
    if isinstance(value, list):
        return "write one number per run here, and one row per example to scores.parquet"
    return ""


class _DuplicateKeyError(Exception):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _DuplicateKeyError(key)
            seen.add(key)
    return document

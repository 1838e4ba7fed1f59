"""JSON Lines files: one object per line; a key that is absent from a line is a value that is missing."""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb

from metricgate.errors import InputError
from metricgate.tables import columns, engine
from metricgate.tables.columns import Scan


def scan(path: Path, link: Path) -> Scan:
    """Convert a JSON Lines file.

    Args:
        path: What the user calls it.
        link: Where the engine finds it.

    Raises:
        InputError: A line is not an object, or has a key twice.
        duckdb.Error: It is not JSON Lines in another way.
    """
    lines = f"read_ndjson_objects({engine.literal(link)})"
    try:
        shapes = engine.shared().rows(f"SELECT DISTINCT json_type(json), json_keys(json) FROM {lines}")
        if any(type_ != "OBJECT" or columns.duplicate(keys) is not None for type_, keys in shapes):
            raise duckdb.InvalidInputException("not one JSON object per line")
        (first,) = engine.shared().rows(f"SELECT json_keys(json) FROM {lines} LIMIT 1")[0]
        names = [*first, *sorted({key for _, keys in shapes for key in keys} - set(first))]
        if not names:
            raise InputError("the objects are empty", expected="an id and scores in every line", where=str(path))
        columns.check_names(path, names)
        pointers = "[" + ", ".join(engine.literal(_pointer(name)) for name in names) + "]"
        picked = ", ".join(
            f"{_as_in_parquet(f'v[{i + 1}]', f't[{i + 1}]')} AS c{i}, t[{i + 1}] AS t{i}" for i in range(len(names))
        )
        parquet = columns.convert(
            f"SELECT {picked} FROM "
            f"(SELECT json_extract_string(json, {pointers}) AS v, json_type(json, {pointers}) AS t FROM {lines})"
        )
    except duckdb.Error as error:
        raise _mistake(path) or error from None
    # JSON has types: a number in quotes is a text.
    numbers = [
        f"CASE t{i} WHEN 'BOOLEAN' THEN CAST(c{i} = 'true' AS DOUBLE) WHEN 'VARCHAR' THEN NULL "
        f"ELSE TRY_CAST(c{i} AS DOUBLE) END"
        for i in range(len(names))
    ]
    booleans = [f"t{i} = 'BOOLEAN'" for i in range(len(names))]
    return columns.untyped(parquet, names, numbers=numbers, booleans=booleans)


def line(path: Path, row: int) -> int | None:
    """The line of a data row."""
    return next((first for number, (first, _) in enumerate(_lines(path)) if number == row), None)


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _as_in_parquet(text: str, type_: str) -> str:
    # 1e16 comes out of the JSON reader with all its digits and out of a column of doubles as 1e+16. Integers stay exact.
    double = f"TRY_CAST({text} AS DOUBLE)"
    is_float = f"{type_} = 'DOUBLE' AND (contains({text}, '.') OR contains({text}, 'e')) AND isfinite({double})"
    return f"CASE WHEN {is_float} THEN CAST({double} AS VARCHAR) ELSE {text} END"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number of the line, its text), without blank lines."""
    with path.open(encoding="utf-8", errors="replace", newline="\n") as stream:
        for number, text in enumerate(stream, start=1):
            if text.strip():
                yield number, text


def _mistake(path: Path) -> InputError | None:
    for number, text in _lines(path):
        try:
            pairs = json.loads(text, object_pairs_hook=_Pairs)
        except json.JSONDecodeError as error:
            found = f"{error.msg} at column {error.colno}"
        except (ValueError, RecursionError):
            continue  # too long a number, too deep an object: nothing that JSON forbids
        else:
            if not isinstance(pairs, _Pairs):
                found = f"{text.strip()[:40]!r} is not an object"
            elif (key := columns.duplicate([name for name, _ in pairs])) is not None:
                found = f"the key {key!r} appears twice"
            else:
                continue
        return InputError(found, expected="one JSON object per line", where=f"{path}:{number}")
    return None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object that keeps its duplicate keys."""

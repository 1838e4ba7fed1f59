"""Parquet files, scanned where they are."""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

from pathlib import Path

from metricgate.tables import columns, engine
from metricgate.tables.columns import Column, Kind, Scan

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_FLOATS = ("FLOAT", "DOUBLE")
_NUMBERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "DECIMAL", *_FLOATS)


def scan(path: Path, link: Path) -> Scan:
    """Read the columns of a Parquet file.

    Args:
        path: What the user calls it.
        link: Where the engine finds it.

    Raises:
        InputError: Two columns have one name.
        duckdb.Error: It is not a whole Parquet file.
    """
    schema = engine.shared().rows("SELECT name, num_children FROM parquet_schema(?)", [str(link)])
    names = _top_level([(name, children or 0) for name, children in schema])
    columns.check_names(path, names)
    # DuckDB ignores case in column names and renames what would collide; the order stays that of the file.
    described = engine.shared().rows(f"DESCRIBE SELECT * FROM {columns.source(link)}")
    stored = [engine.identifier(name) for name, *_ in described]
    parquet = link
    if any(name.lower() == columns.POSITION for name in names):
        renamed = ", ".join(f"{name} AS c{i}" for i, name in enumerate(stored))
        parquet = columns.convert(f"SELECT {renamed} FROM {columns.source(link)}")
        stored = [f"c{i}" for i in range(len(names))]
    return Scan(
        parquet,
        {name: _typed(name, own, type_) for name, own, (_, type_, *_) in zip(names, stored, described, strict=True)},
    )


def _top_level(schema: list[tuple[str, int]]) -> list[str]:
    """Names of the root's children in a depth-first list of (name, number of children)."""
    names, position = [], 1
    for _ in range(schema[0][1]):
        names.append(schema[position][0])
        open_nodes = 1
        while open_nodes:
            open_nodes += schema[position][1] - 1
            position += 1
    return names


def _typed(name: str, stored: str, type_: str) -> Column:
    kind: Kind = "text"
    if type_ == "BOOLEAN":
        kind = "boolean"
    elif type_.removeprefix("U").split("(")[0] in _NUMBERS and not type_.endswith("]"):
        kind = "number"
    text = f"CAST({stored} AS VARCHAR)"
    # Of 0.0 and -0.0, equal and yet not the same text, neither may stand for the other; nor may lists that hold them.
    value = stored if kind != "text" and type_ not in _FLOATS else text
    if type_ in _FLOATS:
        text = f"CASE WHEN isnan({stored}) THEN NULL ELSE {text} END"
    number = f"CAST({stored} AS DOUBLE)" if kind != "text" else "CAST(NULL AS DOUBLE)"
    return Column(name, kind, value, text, number, whole=type_ in _WHOLE, logical=kind == "boolean")

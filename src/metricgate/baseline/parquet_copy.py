"""A score table as Parquet, such that nothing that is ever asked of it comes out otherwise."""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from metricgate.tables import engine, score_file
from metricgate.tables.columns import Column

_SUFFIX = ".parquet"


def of(table: Path, *, numbers: Collection[str], texts: Collection[str]) -> Path:
    """A Parquet file with the rows of a score table.

    CSV keeps every value as it was written, and a column of Parquet has a type: 0.50 becomes 0.5. Where the text of a value may
    matter (an id, the name of a slice), the column stays text unless the type gives the same text back.

    Args:
        table: A ``.parquet``, ``.csv`` or ``.jsonl`` file.
        numbers: Columns whose values count as numbers: the scores.
        texts: Columns whose values count as texts as well.

    Returns:
        The file itself where it is Parquet, or where a column is needed as number and as text and no type gives both; otherwise
        a new file, for the caller to delete.

    Raises:
        InputError: The file is not what its name says.
    """
    if table.suffix.lower() == _SUFFIX:
        return table
    file = score_file.read(table)
    names = [name.lower() for name in file.columns]
    if len(set(names)) < len(names):  # to the engine these would be one column
        return table
    picked = []
    for column in file.columns.values():
        expression = _expression(file, column, number=column.name in numbers, text=column.name in texts)
        if expression is None:
            return table
        picked.append(f"{expression} AS {engine.identifier(column.name)}")
    target = engine.shared().scratch(_SUFFIX)
    file.rows(
        f"COPY (SELECT {', '.join(picked)} FROM {file.source}) TO {engine.literal(target)} (FORMAT parquet, COMPRESSION zstd)"
    )
    return target


def _expression(file: score_file.ScoreFile, column: Column, *, number: bool, text: bool) -> str | None:
    """SQL of the column's values in the type that keeps them; None where no type does."""
    if column.kind == "boolean":
        return f"CAST({column.number} AS BOOLEAN)"
    if column.kind == "text":
        return column.text
    whole = f"TRY_CAST({column.text} AS BIGINT)"
    same_as_whole, same_as_double = file.rows(
        f"SELECT coalesce(bool_and({column.text} IS NOT DISTINCT FROM CAST({whole} AS VARCHAR)), true), "
        f"coalesce(bool_and({column.text} IS NOT DISTINCT FROM CAST({column.number} AS VARCHAR)), true) FROM {file.source}"
    )[0]
    if same_as_whole:
        return whole
    if same_as_double:
        return column.number
    if number:
        return None if text else column.number
    return column.text

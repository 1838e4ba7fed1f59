"""What a table's columns are, and what SQL reads them, whatever the format of the file."""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from metricgate.errors import InputError
from metricgate.tables import engine

Kind = Literal["number", "boolean", "text"]

POSITION = "file_row_number"
"""The engine's name for the position of a row in a Parquet file, from 0: ranges of it are read without reading the rest."""


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: As in the file.
        kind: What its values are.
        value: SQL of the value, cheap to compare: equal where the text is equal; null where there is none.
        text: SQL of the value as text; null where there is none. NaN in a floating-point column counts as none.
        number: SQL of the value as a DOUBLE, true as 1; null where there is none or it is not a number.
        whole: Whether the values are stored as whole numbers of at most eight bytes.
        logical: Whether the values are stored as booleans: an eighth of the bytes of numbers to fetch.
    """

    name: str
    kind: Kind
    value: str
    text: str
    number: str
    whole: bool = False
    logical: bool = False


@dataclass(frozen=True)
class Scan:
    """A Parquet file that holds a table's rows in the order of the user's file, and how to read its columns.

    The position of a row is ``POSITION`` in statements about ``source``; no column of the file has that name.
    """

    parquet: Path
    columns: Mapping[str, Column]

    @property
    def source(self) -> str:
        """SQL of the table."""
        return source(self.parquet)


def source(parquet: Path) -> str:
    """SQL of a Parquet file."""
    return f"read_parquet({engine.literal(parquet)}, hive_partitioning = false, union_by_name = false)"


def check_names(path: Path, names: Sequence[str]) -> None:
    """Raise InputError when a column can't be told from another by its name."""
    if (name := duplicate(names)) is not None:
        raise InputError(f"two columns are named {name!r}", where=str(path), fix="give every column a name of its own")
    if broken := next((name for name in names if "\0" in name), None):
        raise InputError(f"the column name {broken!r} holds a NUL character", where=str(path))


def duplicate(names: Sequence[str]) -> str | None:
    """The first name that appears a second time."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def convert(query: str) -> Path:
    """Write the rows of a query, in order, into a Parquet file in the engine's scratch folder."""
    target = engine.shared().scratch(".parquet")
    engine.shared().rows(f"COPY ({query}) TO {engine.literal(target)} (FORMAT parquet, COMPRESSION snappy)")
    return target


def untyped(parquet: Path, names: Sequence[str], *, numbers: Sequence[str], booleans: Sequence[str]) -> Scan:
    """The scan of a converted text file, whose columns ``c0``, ``c1``, … are text: a column is what all its values are.

    Args:
        parquet: The converted file.
        names: Of the columns, as in the user's file.
        numbers: For each column SQL of its value as a DOUBLE, null where it is not a number.
        booleans: For each column SQL that says whether a value is a boolean.
    """
    values = [f"c{i}" for i in range(len(names))]
    asked = ", ".join(
        f"bool_and({boolean}) FILTER ({value} IS NOT NULL), bool_and(({number}) IS NOT NULL) FILTER ({value} IS NOT NULL)"
        for value, number, boolean in zip(values, numbers, booleans, strict=True)
    )
    answers = engine.shared().rows(f"SELECT {asked} FROM {source(parquet)}")[0]
    kinds: list[Kind] = [
        "boolean" if boolean else "number" if number else "text"
        for boolean, number in zip(answers[::2], answers[1::2], strict=True)
    ]
    columns = [Column(*column) for column in zip(names, kinds, values, values, numbers, strict=True)]
    return Scan(parquet, {column.name: column for column in columns})

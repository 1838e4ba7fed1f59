"""CSV files: commas, double quotes, UTF-8, names in the first line, nothing guessed from the values."""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

import contextlib
import csv
import mmap
import re
from collections.abc import Iterator
from pathlib import Path

import duckdb

from metricgate.errors import InputError
from metricgate.tables import columns, engine
from metricgate.tables.columns import Scan


def scan(path: Path, link: Path) -> Scan:
    """Convert a CSV file.

    Args:
        path: What the user calls it.
        link: Where the engine finds it.

    Raises:
        InputError: The header or the number of values in a row is wrong.
        duckdb.Error: It is not CSV in another way.
    """
    names = _header(path)
    columns.check_names(path, names)
    types = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names)))
    try:
        parquet = columns.convert(
            f"SELECT * FROM read_csv({engine.literal(link)}, columns = {{{types}}}, auto_detect = false, header = true, "
            """delim = ',', quote = '"', escape = '"', nullstr = '', allow_quoted_nulls = false, """
            "null_padding = false, strict_mode = true)"
        )
    except duckdb.Error as error:
        raise _mistake(path, len(names)) or error from None
    # The engine overlooks empty values beyond the last column.
    if _a_line_ends_with_a_comma(path) and (mistake := _mistake(path, len(names))):
        raise mistake
    # DuckDB reads 1_000 as a thousand, which is no number in a CSV file to anyone else.
    numbers = [
        f"CASE WHEN contains(c{i}, '_') THEN NULL ELSE coalesce(TRY_CAST(c{i} AS DOUBLE), "
        f"CASE lower(c{i}) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END) END"
        for i in range(len(names))
    ]
    booleans = [f"lower(c{i}) IN ('true', 'false')" for i in range(len(names))]
    return columns.untyped(parquet, names, numbers=numbers, booleans=booleans)


def line(path: Path, row: int) -> int | None:
    """The line where a data row begins; None when Python's reader gives up."""
    with contextlib.suppress(csv.Error):
        for number, (first, _) in enumerate(_rows(path)):
            if number == row + 1:
                return first
    return None


def _a_line_ends_with_a_comma(path: Path) -> bool:
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as content:
        return re.search(rb",\r?(?:\n|\Z)", content) is not None


def _rows(path: Path, *, strict: bool = False) -> Iterator[tuple[int, list[str]]]:
    """(first line of the row, its values), without blank lines."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream, strict=strict)
        first = 1
        for row in reader:
            if row:
                yield first, row
            first = reader.line_num + 1


def _header(path: Path) -> list[str]:
    try:
        first, names = next(_rows(path))
    except csv.Error as error:
        raise InputError(
            f"the first line is not CSV: {error}", expected="the names of the columns", where=f"{path}:1"
        ) from None
    if first != 1:
        raise InputError("the first line is empty", expected="the names of the columns", where=f"{path}:1")
    separator = next((character for character in ";\t|" if character in names[0]), None)
    if len(names) == 1 and separator:
        raise InputError(f"the columns are separated by {separator!r}", expected="commas", where=f"{path}:1")
    return names


def _mistake(path: Path, width: int) -> InputError | None:
    """What is wrong with a file that the engine refused, found by a stricter reader that can say where."""
    first = 1
    try:
        for number, (first, row) in enumerate(_rows(path, strict=True)):
            if len(row) != width:
                return InputError(
                    f"{len(row)} values",
                    expected=f"{width}, as in the header",
                    where=f"{path}:{first}, row {number}",
                    fix="put values that contain commas, quotes or line breaks in double quotes",
                )
    except csv.Error as error:
        return InputError(
            f"after this line comes a row that is not CSV: {error}",
            expected='values in double quotes with every quote inside doubled, like "a ""b"" c"',
            where=f"{path}:{first}",
        )
    with path.open("rb") as stream:
        ends = {line.endswith(b"\r\n") for line in stream if line.endswith(b"\n")}
    if len(ends) > 1:
        return InputError("some lines end with CR LF and others with LF", where=str(path), fix="write all lines alike")
    return None

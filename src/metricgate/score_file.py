"""Score tables on disk: Parquet, CSV and JSON Lines, checked to be what their names say.

Whatever the format, what comes out is a Parquet file that the engine scans column by column (CSV and JSON Lines are converted
once, into the engine's scratch folder) and two expressions per column: its value as text and its value as a number. The two
text formats have no types, so a column of theirs is a number when all its values are.
"""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

import contextlib
import csv
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import duckdb
from numpy.typing import NDArray

from metricgate import engine
from metricgate.errors import InputError

Kind = Literal["number", "boolean", "text"]

SUFFIXES = (".parquet", ".csv", ".jsonl")

_PARQUET_MAGIC = b"PAR1"
_HEAD = 64 * 1024
_NUMBER_TYPES = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "FLOAT", "DOUBLE", "DECIMAL")


@dataclass(frozen=True)
class Column:
    """A column of a score file.

    Attributes:
        name: As in the file.
        kind: What its values are.
        value: SQL of the value as it is stored; null where there is none.
        text: SQL of the value as text; null where there is none. NaN in a floating-point column counts as none.
        number: SQL of the value as a DOUBLE, true as 1; null where there is none or it is not a number.
    """

    name: str
    kind: Kind
    value: str
    text: str
    number: str


class ScoreFile:
    """A readable score file.

    Attributes:
        path: What the user calls it.
        columns: By name, in the order of the file.
        source: SQL of the table; its rows come in the order of the file.
    """

    def __init__(self, path: Path, columns: Mapping[str, Column], scanned: Path) -> None:
        self.path = path
        self.columns = columns
        self.source = _parquet(scanned)
        # The engine's folder goes with the process; a long-lived process should not have to wait for that.
        weakref.finalize(self, scanned.unlink, missing_ok=True)

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[engine.Row]:
        """Rows of a statement about this file."""
        with _as_input_error(self.path):
            return engine.shared().rows(statement, parameters)

    def arrays(self, statement: str) -> dict[str, NDArray[Any]]:
        """Columns of a statement about this file."""
        with _as_input_error(self.path):
            return engine.shared().arrays(statement)

    def batches(self, statement: str) -> Iterator[list[engine.Row]]:
        """Rows of a statement about this file, some at a time."""
        with _as_input_error(self.path):
            yield from engine.shared().batches(statement)

    def place(self, row: int, column: str | None = None) -> str:
        """Where a person finds a value: file, line (where there are lines), data row from 1, column."""
        line = _line(self.path, row)
        parts = [f"{self.path}:{line}" if line else str(self.path), f"row {row + 1}"]
        return ", ".join(parts if column is None else [*parts, f"column {column!r}"])


def read(path: Path) -> ScoreFile:
    """Check a score file and make it ready to be scanned.

    Raises:
        InputError: It is not there, is not what its name says, or has duplicate column names.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(
            f"{suffix or 'no ending'} is not a score table's ending", expected=" or ".join(SUFFIXES), where=str(path)
        )
    _check_magic(path, suffix)
    with _as_input_error(path):
        if suffix == ".parquet":
            return _read_parquet(path)
        return _read_csv(path) if suffix == ".csv" else _read_json_lines(path)


def _parquet(file: Path) -> str:
    return f"read_parquet({engine.literal(file)}, hive_partitioning = false, union_by_name = false)"


def _link(path: Path, suffix: str) -> Path:
    # Under a name of our own, characters like * and ? in the user's path are no patterns, and seed=0 is no column.
    link = engine.shared().scratch(suffix)
    link.symlink_to(path.resolve())
    return link


# What the name promises


def _check_magic(path: Path, suffix: str) -> None:
    try:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
            stream.seek(max(0, stream.seek(0, 2) - len(_PARQUET_MAGIC)))
            tail = stream.read()
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(path)) from None
    content = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if not content:
        raise InputError("the file is empty", expected="one row per test example", where=str(path))
    looks_like = _looks_like(content)
    if looks_like != suffix and not (looks_like == ".csv" and suffix == ".jsonl"):
        found = f"looks like {looks_like}" if looks_like else "holds binary data"
        raise InputError(
            f"the file is named {suffix} but {found}",
            where=str(path),
            fix=f"rename it to {path.with_suffix(looks_like).name}" if looks_like in SUFFIXES else f"write it as {suffix}",
        )
    if suffix == ".parquet" and tail != _PARQUET_MAGIC:
        raise InputError(
            "the Parquet file is cut off: its footer is missing",
            where=str(path),
            fix="write it again; close the writer before the command ends",
        )
    if suffix == ".jsonl" and not content.startswith(b"{"):
        raise InputError(
            "a JSON array" if content.startswith(b"[") else f"the file starts with {content[:20]!r}",
            where=str(path),
            expected='one JSON object per line, like {"example_id": "a", "accuracy": 1}',
        )


def _looks_like(content: bytes) -> str | None:
    if content.startswith(_PARQUET_MAGIC):
        return ".parquet"
    if b"\0" in content or content.startswith(b"\x1f\x8b"):
        return None
    if content.startswith(b"{"):
        with contextlib.suppress(ValueError):
            json.loads(content.splitlines()[0])
            return ".jsonl"
    return ".csv"


# Parquet


def _read_parquet(path: Path) -> ScoreFile:
    link = _link(path, ".parquet")
    schema = engine.shared().rows("SELECT name, num_children FROM parquet_schema(?)", [str(link)])
    names = _top_level([(name, children or 0) for name, children in schema])
    _check_names(path, names)
    # DuckDB ignores case in column names and renames what would collide; the order stays that of the file.
    described = engine.shared().rows(f"DESCRIBE SELECT * FROM {_parquet(link)}")
    columns = {}
    for name, (stored, type_, *_) in zip(names, described, strict=True):
        columns[name] = _typed_column(name, engine.identifier(stored), type_)
    return ScoreFile(path, columns, link)


def _top_level(schema: list[tuple[str, int]]) -> list[str]:
    """Names of the root's children in a depth-first list of (name, number of children)."""

    def after(position: int) -> int:
        following = position + 1
        for _ in range(schema[position][1]):
            following = after(following)
        return following

    names, position = [], 1
    for _ in range(schema[0][1]):
        names.append(schema[position][0])
        position = after(position)
    return names


def _typed_column(name: str, value: str, type_: str) -> Column:
    kind: Kind = "text"
    if type_ == "BOOLEAN":
        kind = "boolean"
    elif type_.removeprefix("U").split("(")[0] in _NUMBER_TYPES and "[" not in type_:
        kind = "number"
    text = f"CAST({value} AS VARCHAR)"
    if type_ in ("FLOAT", "DOUBLE"):
        text = f"CASE WHEN isnan({value}) THEN NULL ELSE {text} END"
    number = f"CAST({value} AS DOUBLE)" if kind != "text" else "CAST(NULL AS DOUBLE)"
    return Column(name, kind, value, text, number)


# CSV


def _read_csv(path: Path) -> ScoreFile:
    names = _csv_header(path)
    _check_names(path, names)
    types = ", ".join(f"'c{i}': 'VARCHAR'" for i in range(len(names)))
    source = (
        f"SELECT * FROM read_csv({engine.literal(_link(path, '.csv'))}, columns = {{{types}}}, auto_detect = false, "
        """header = true, delim = ',', quote = '"', escape = '"', nullstr = '', allow_quoted_nulls = false, """
        "null_padding = false, strict_mode = true)"
    )
    try:
        scanned = _convert(source)
    except duckdb.Error as error:
        raise _csv_mistake(path, len(names)) or error from None
    values = [f"c{i}" for i in range(len(names))]
    # DuckDB reads 1_000 as a thousand, which no other tool does.
    numbers = [
        f"CASE WHEN contains({v}, '_') THEN NULL ELSE coalesce(TRY_CAST({v} AS DOUBLE), "
        f"CASE lower({v}) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END) END"
        for v in values
    ]
    kinds = _kinds(scanned, values, numbers, [f"lower({v}) IN ('true', 'false')" for v in values])
    columns = [Column(*column) for column in zip(names, kinds, values, values, numbers, strict=True)]
    return ScoreFile(path, {column.name: column for column in columns}, scanned)


def _csv_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """(first line of the row, its values), without blank lines."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        reader = csv.reader(stream)
        line = 1
        for row in reader:
            if row:
                yield line, row
            line = reader.line_num + 1


def _csv_header(path: Path) -> list[str]:
    line, names = next(_csv_rows(path))
    if line != 1:
        raise InputError("the first line is empty", expected="the names of the columns", where=f"{path}:1")
    if len(names) == 1 and (other := next((c for c in ";\t|" if c in names[0]), None)):
        raise InputError(f"the columns are separated by {other!r}", expected="commas", where=f"{path}:1")
    return names


def _csv_mistake(path: Path, width: int) -> InputError | None:
    with contextlib.suppress(csv.Error):
        for number, (line, row) in enumerate(_csv_rows(path)):
            if len(row) != width:
                return InputError(
                    f"{len(row)} values", expected=f"{width}, as in the header", where=f"{path}:{line}, row {number}"
                )
    return None


# JSON Lines


def _read_json_lines(path: Path) -> ScoreFile:
    source = f"read_ndjson_objects({engine.literal(_link(path, '.jsonl'))})"
    try:
        shapes = engine.shared().rows(f"SELECT DISTINCT json_type(json), json_keys(json) FROM {source}")
        first = engine.shared().rows(f"SELECT json_keys(json) FROM {source} LIMIT 1")[0][0]
        if any(type_ != "OBJECT" or len(set(keys)) < len(keys) for type_, keys in shapes):
            raise duckdb.InvalidInputException("not one JSON object per line")
        names = [*first, *sorted({key for _, keys in shapes for key in keys} - set(first))]
        _check_names(path, names)
        pointers = "[" + ", ".join(engine.literal(_pointer(name)) for name in names) + "]"
        picked = ", ".join(f"v[{i}] AS c{i - 1}, t[{i}] AS t{i - 1}" for i in range(1, len(names) + 1))
        scanned = _convert(
            f"SELECT {picked} FROM "
            f"(SELECT json_extract_string(json, {pointers}) AS v, json_type(json, {pointers}) AS t FROM {source})"
        )
    except duckdb.Error as error:
        raise _json_mistake(path) or error from None
    values = [f"c{i}" for i in range(len(names))]
    # A number in quotes is a text: JSON has types.
    numbers = [
        f"CASE t{i} WHEN 'BOOLEAN' THEN CAST(c{i} = 'true' AS DOUBLE) WHEN 'VARCHAR' THEN NULL "
        f"ELSE TRY_CAST(c{i} AS DOUBLE) END"
        for i in range(len(names))
    ]
    kinds = _kinds(scanned, values, numbers, [f"t{i} = 'BOOLEAN'" for i in range(len(names))])
    columns = [Column(*column) for column in zip(names, kinds, values, values, numbers, strict=True)]
    return ScoreFile(path, {column.name: column for column in columns}, scanned)


def _pointer(key: str) -> str:
    return "/" + key.replace("~", "~0").replace("/", "~1")


def _json_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number of the line, its text), without blank lines."""
    with path.open(encoding="utf-8", errors="replace") as stream:
        for number, line in enumerate(stream, start=1):
            if line.strip():
                yield number, line


def _json_mistake(path: Path) -> InputError | None:
    for number, text in _json_lines(path):
        try:
            pairs = json.loads(text, object_pairs_hook=_Pairs)
        except ValueError as error:
            found = str(error)
        else:
            if not isinstance(pairs, _Pairs):
                found = f"{text.strip()[:40]!r} is not an object"
            elif duplicate := _duplicate([name for name, _ in pairs]):
                found = f"the key {duplicate!r} appears twice"
            else:
                continue
        return InputError(found, expected="one JSON object per line", where=f"{path}:{number}")
    return None


class _Pairs(list[tuple[str, Any]]):
    """A JSON object that keeps its duplicate keys."""


# Both text formats


def _convert(query: str) -> Path:
    target = engine.shared().scratch(".parquet")
    engine.shared().rows(f"COPY ({query}) TO {engine.literal(target)} (FORMAT parquet, COMPRESSION snappy)")
    return target


def _kinds(scanned: Path, values: list[str], numbers: list[str], booleans: list[str]) -> list[Kind]:
    asked = ", ".join(
        f"bool_and({boolean}), bool_and(({number}) IS NOT NULL OR {value} IS NULL) AND count({value}) > 0"
        for value, number, boolean in zip(values, numbers, booleans, strict=True)
    )
    answers = iter(engine.shared().rows(f"SELECT {asked} FROM {_parquet(scanned)}")[0])
    return ["boolean" if boolean else "number" if next(answers) else "text" for boolean in answers]


def _check_names(path: Path, names: Sequence[str]) -> None:
    if duplicate := _duplicate(names):
        raise InputError(f"two columns are named {duplicate!r}", where=str(path), fix="give every column a name of its own")
    if broken := next((name for name in names if "\0" in name), None):
        raise InputError(f"the column name {broken!r} holds a NUL character", where=str(path))


def _duplicate(names: Sequence[str]) -> str | None:
    return next((name for position, name in enumerate(names) if name in names[:position]), None)


def _line(path: Path, row: int) -> int | None:
    numbered: Iterator[tuple[int, object]]
    if path.suffix.lower() == ".csv":
        numbered, position = _csv_rows(path), row + 1
    elif path.suffix.lower() == ".jsonl":
        numbered, position = _json_lines(path), row
    else:
        return None
    with contextlib.suppress(csv.Error):
        for number, (line, _) in enumerate(numbered):
            if number == position:
                return line
    return None


@contextlib.contextmanager
def _as_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        said = next(line for line in str(error).splitlines() if line.strip())
        raise InputError(
            f"can't be read as {path.suffix.lower()}: {said}", where=str(path), fix="write the file again, and whole"
        ) from None

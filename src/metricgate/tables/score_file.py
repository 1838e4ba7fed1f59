"""Score tables on disk: Parquet, CSV and JSON Lines, checked to be what their names say.

Whatever the format, what comes out is a Parquet file that the engine scans column by column: Parquet where it is, CSV and JSON
Lines converted once, into the engine's scratch folder.
"""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

import contextlib
import json
import weakref
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
from numpy.typing import NDArray

from metricgate.errors import InputError
from metricgate.tables import columns, csv_file, engine, json_lines, parquet
from metricgate.tables.columns import Column, Scan

FORMATS = {".parquet": parquet.scan, ".csv": csv_file.scan, ".jsonl": json_lines.scan}

_PARQUET_MAGIC = b"PAR1"
_GZIP_MAGIC = b"\x1f\x8b"
_HEAD = 64 * 1024


class ScoreFile:
    """A readable score file.

    Attributes:
        path: What the user calls it.
        columns: By name, in the order of the file.
        source: SQL of the table; its rows come in the order of the file.
    """

    def __init__(self, path: Path, scan: Scan) -> None:
        self.path = path
        self.columns: Mapping[str, Column] = scan.columns
        self.source = scan.source
        # The engine's folder goes with the process; a long-lived process should not have to wait for that.
        weakref.finalize(self, scan.parquet.unlink, missing_ok=True)

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[engine.Row]:
        """Rows of a statement about this file."""
        with _as_input_error(self.path):
            return engine.shared().rows(statement, parameters)

    def batches(self, statement: str) -> Iterator[list[engine.Row]]:
        """Rows of a statement about this file, some at a time."""
        with _as_input_error(self.path):
            yield from engine.shared().batches(statement)

    def arrays(self, statement: str) -> dict[str, NDArray[Any]]:
        """Columns of a statement about this file."""
        with _as_input_error(self.path):
            return engine.shared().arrays(statement)

    def spooled(self, statement: str, *, size: int) -> Iterator[dict[str, NDArray[Any]]]:
        """Columns of a statement about this file, some rows at a time, however much memory it takes as a whole."""
        with _as_input_error(self.path):
            spool = columns.convert(statement)
            try:
                count = engine.shared().rows(f"SELECT count(*) FROM {columns.source(spool)}")[0][0]
                for start in range(0, count, size):
                    rows = f"{columns.POSITION} >= {start} AND {columns.POSITION} < {start + size}"
                    yield engine.shared().arrays(f"SELECT * FROM {columns.source(spool)} WHERE {rows}")
            finally:
                spool.unlink(missing_ok=True)

    def place(self, row: int, column: str) -> str:
        """Where a person finds a value: file, line where there are lines, data row (from 1), column."""
        finders = {".csv": csv_file.line, ".jsonl": json_lines.line}
        finder = finders.get(self.path.suffix.lower())
        line = finder(self.path, row) if finder else None
        return f"{self.path}{f':{line}' if line else ''}, row {row + 1}, column {column!r}"


def read(path: Path) -> ScoreFile:
    """Check a score file and make it ready to be scanned.

    Raises:
        InputError: It is not there, is not what its name says, or has columns of one name.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"the ending {suffix!r} is not a score table's", expected=" or ".join(FORMATS), where=str(path))
    _check_content(path, suffix)
    # Under a name of our own, * and ? in the user's path are no patterns to the engine, and a folder seed=0 is no column.
    link = engine.shared().scratch(suffix)
    link.symlink_to(path.resolve())
    with _as_input_error(path):
        scan = FORMATS[suffix](path, link)
    if scan.parquet != link:
        link.unlink()
    return ScoreFile(path, scan)


def _check_content(path: Path, suffix: str) -> None:
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
    if suffix == ".jsonl" and looks_like == ".csv":
        raise InputError(
            "a JSON array" if content.startswith(b"[") else f"the file starts with {content.splitlines()[0][:20]!r}",
            where=str(path),
            expected='one JSON object per line, like {"example_id": "a", "accuracy": 1}',
        )
    if looks_like != suffix:
        raise InputError(
            f"the file is named {suffix} but " + (f"looks like {looks_like}" if looks_like else "holds other binary data"),
            where=str(path),
            fix=f"rename it to {path.with_suffix(looks_like).name}" if looks_like else f"write it as {suffix}, not compressed",
        )
    if suffix == ".parquet" and tail != _PARQUET_MAGIC:
        raise InputError(
            "the file is cut off: a Parquet file ends with a footer",
            where=str(path),
            fix="write it again, and close the writer before the command ends",
        )
    if suffix == ".jsonl" and head.startswith(b"\xef\xbb\xbf"):
        raise InputError("the file starts with a byte order mark", where=str(path), fix="write it as UTF-8 without one")


def _looks_like(content: bytes) -> str | None:
    if content.startswith(_PARQUET_MAGIC):
        return ".parquet"
    if b"\0" in content or content.startswith(_GZIP_MAGIC):
        return None
    # A CSV file may begin with a brace too, in a name.
    return ".jsonl" if content.startswith((b'{"', b"{ ", b"{}")) or _is_json(content.splitlines()[0]) else ".csv"


def _is_json(line: bytes) -> bool:
    with contextlib.suppress(ValueError):
        return isinstance(json.loads(line), dict)
    return False


@contextlib.contextmanager
def _as_input_error(path: Path) -> Iterator[None]:
    try:
        yield
    except duckdb.Error as error:
        said = engine.shared().without_scratch(next(line for line in str(error).splitlines() if line.strip()), path)
        raise InputError(
            f"can't be read as {path.suffix.lower()}: {said}", where=str(path), fix="write the file again, whole, in UTF-8"
        ) from None

"""The table engine: one DuckDB inside this process, told to keep to itself.

DuckDB scans, converts, joins and sorts; it is never asked for a sum or a mean, because sums of floating-point numbers depend
on how its threads share the work, and reports must be the same byte for byte. ``docs/table-engine.md`` has the measurements
behind the choice.
"""

from __future__ import annotations

import atexit
import functools
import itertools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
from numpy.typing import NDArray

from metricgate.errors import StageError

# Enough for a million rows without touching the disk; beyond it DuckDB spills into the scratch folder.
MEMORY_LIMIT = "512MB"
# Every thread holds its own buffers, and the work here stops getting faster long before a big runner's last core.
MOST_THREADS = 8

Row = tuple[Any, ...]


class Engine:
    """A DuckDB connection and the scratch folder that it may fill. The folder goes when the process ends."""

    def __init__(self, *, memory_limit: str = MEMORY_LIMIT) -> None:
        self._scratch = Path(tempfile.mkdtemp(prefix="metricgate-"))
        atexit.register(shutil.rmtree, self._scratch, ignore_errors=True)
        self._numbers = itertools.count()
        self._connection = duckdb.connect(
            config={
                "threads": min(os.cpu_count() or 1, MOST_THREADS),
                "memory_limit": memory_limit,
                "temp_directory": str(self._scratch / "spill"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
                # Without these, a name in a statement may turn into a Python variable.
                "python_enable_replacements": False,
                "python_scan_all_frames": False,
            }
        )
        self._connection.execute("SET enable_progress_bar = false")
        self._connection.execute("SET preserve_insertion_order = true")
        self._connection.execute("SET lock_configuration = true")

    def scratch(self, suffix: str) -> Path:
        """A path in the scratch folder where nothing is yet."""
        return self._scratch / f"{next(self._numbers)}{suffix}"

    def rows(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Run a statement and return all its rows."""
        return [row for rows in self.batches(statement, parameters) for row in rows]

    def batches(self, statement: str, parameters: Sequence[object] = (), *, size: int = 20_000) -> Iterator[list[Row]]:
        """Run a statement and return its rows in lists of ``size``, so that the result is never in memory at once."""
        try:
            result = self._connection.execute(statement, list(parameters))
            while rows := result.fetchmany(size):
                yield rows
        except duckdb.OutOfMemoryException as error:
            raise self._out_of_memory(error) from None

    def arrays(self, statement: str) -> dict[str, NDArray[Any]]:
        """Run a statement and return its columns; masked arrays where there are nulls.

        In a connection of its own, so that another thread may read at the same time; it sees no temporary tables.
        """
        try:
            with self._connection.cursor() as own:
                columns: dict[str, NDArray[Any]] = own.execute(statement).fetchnumpy()
        except duckdb.OutOfMemoryException as error:
            raise self._out_of_memory(error) from None
        return columns

    def without_scratch(self, message: str, path: Path) -> str:
        """A message of DuckDB's in which a file of the scratch folder has the name that the user knows."""
        said = re.sub(rf"{re.escape(str(self._scratch))}/\d+\.\w+", lambda _: str(path), message)
        return re.sub(r"^(\w+ )+Error: ", "", said)

    def _out_of_memory(self, error: duckdb.Error) -> StageError:
        return StageError(
            f"the score tables do not fit: {str(error).splitlines()[0]}",
            fix=f"free space in {self._scratch.parent} (or set TMPDIR to a larger disk), where large tables are spilled",
        )


@functools.cache
def shared() -> Engine:
    """The engine of this process, started when the first table is opened."""
    return Engine()


def identifier(name: str) -> str:
    """Quote a name for a statement."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str | Path) -> str:
    """Quote a text for a statement."""
    return "'" + str(text).replace("'", "''") + "'"

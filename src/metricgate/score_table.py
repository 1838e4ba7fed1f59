"""A score table: one row per test example, one column per score.

The order of rows is that of the file, and every array that comes out has it. Nothing is read before it is asked for, a range of
rows is read without the rest, and nothing that was read is kept but the codes of slices: one byte per example for each column.
"""

# ruff: noqa: S608 - statements are made of column expressions that `engine.identifier` and `engine.literal` quoted

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricgate.errors import InputError
from metricgate.groups import RANGE, Groups, natural_order
from metricgate.tables import ahead, score_file
from metricgate.tables.columns import POSITION, Column, Kind

FINGERPRINT_LAYOUT = b"metricgate.test_set/1\n"
EXAMPLES = 5


@dataclass(frozen=True)
class Alignment:
    """How the rows of one table find their examples in another.

    Attributes:
        order: (n,), for each row of the first table its position in the other; None where the rows of both are the same
            examples one after another, and where the ids are not the same set.
        missing: How many ids of the first table the other lacks.
        extra: How many ids only the other has.
        examples: A few of them, the missing ones first.
    """

    order: NDArray[np.unsignedinteger[Any]] | None = None
    missing: int = 0
    extra: int = 0
    examples: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the ids are the same set."""
        return not (self.missing or self.extra)


@dataclass(frozen=True)
class _Ids:
    column: Column
    values: str  # SQL: the ids as ``id``, in file order
    numbered: str  # SQL: the same with their positions as ``p``


class ScoreTable:
    """One row per test example: ids, scores, and columns that name slices.

    Ids and slice names are compared as text, so the integer 7 in a Parquet file is the 7 of a CSV file.

    Attributes:
        path: The file.
        n: The number of examples, at least one.
    """

    def __init__(self, file: score_file.ScoreFile, *, id: str | None) -> None:  # noqa: A002 - as in metricgate.yaml
        self.path = file.path
        self._file = file
        self._groups: dict[str, Groups] = {}
        self.n = int(file.rows(f"SELECT count(*) FROM {file.source}")[0][0])
        if self.n == 0:
            raise InputError("the table has no rows", expected="one row per test example", where=str(self.path))
        self._ids = self._read_ids(self._column(id)) if id is not None else None

    @classmethod
    def open(cls, path: Path, *, id: str | None, require_id: bool = True) -> ScoreTable:  # noqa: A002
        """Open a score table and check its ids.

        Args:
            path: A ``.parquet``, ``.csv`` or ``.jsonl`` file.
            id: The name of the id column; None for a table without.
            require_id: Whether a table that lacks the id column is an error.

        Raises:
            InputError: The file is not what its name says, has no rows, two columns of one name, or no id column; or an id
                is missing or appears twice.
        """
        file = score_file.read(path)
        return cls(file, id=id if require_id or id in file.columns else None)

    @property
    def has_ids(self) -> bool:
        """Whether there is an id column."""
        return self._ids is not None

    @property
    def columns(self) -> Mapping[str, Kind]:
        """What the values of each column are, in the order of the file."""
        return {name: column.kind for name, column in self._file.columns.items()}

    def scores(self, column: str, *, start: int = 0, stop: int | None = None) -> NDArray[np.float64]:
        """A score column, (n,), or the rows of it from ``start`` up to ``stop``; every value finite, true is 1 and false is 0.

        Raises:
            InputError: The column is not there, or a value is missing, NaN, infinite or not a number.
        """
        found = self._column(column)
        stop = self.n if stop is None else stop
        scores = np.empty(stop - start if stop - start > RANGE else 0, dtype=np.float64)
        for place, read in self._ranges(f"{found.value if found.logical else found.number} AS v", start, stop):
            values = np.asarray(np.ma.getdata(read["v"]), dtype=np.float64)
            if np.ma.is_masked(read["v"]) or not np.isfinite(values).all():
                raise self._unusable_score(found)
            if not len(scores):
                return values
            scores[place - start : place - start + len(values)] = values
        return scores

    def groups(self, column: str) -> Groups:
        """The values of a column as groups.

        Values are compared as text in a way that does not depend on the file's format: when all values of a column are whole
        numbers, 3.0 is 3; when all are true or false, True is true.

        Raises:
            InputError: The column is not there or a value is missing.
        """
        if column not in self._groups:
            self._groups[column] = self._read_groups(self._column(column))
        return self._groups[column]

    def ids_at(self, positions: NDArray[np.int64] | Sequence[int]) -> list[str]:
        """The ids in these rows, in the order asked for."""
        numbered = self._needed_ids().numbered
        wanted = [int(position) for position in positions]
        asked = f"SELECT p, id FROM ({numbered}) WHERE p IN (SELECT unnest(?::BIGINT[]))"
        found: dict[int, str] = dict(self._file.rows(asked, [wanted]))
        return [found[position] for position in wanted]

    def align(self, other: ScoreTable) -> Alignment:
        """Find each example of this table in another one.

        Tables with the same ids in the same order, the usual case, are compared side by side; others are joined.

        Raises:
            InputError: One of the tables has no ids.
        """
        mine, theirs = self._needed_ids(), other._needed_ids()
        if self is other or (self.n == other.n and self._side_by_side(other)):
            return Alignment()
        # The last value of the type says that there is none.
        smallest = np.min_scalar_type(other.n)
        nowhere = np.iinfo(smallest).max
        order = np.full(self.n, nowhere, dtype=smallest)
        joined = f"SELECT a.p AS a, b.p AS b FROM ({mine.numbered}) a JOIN ({theirs.numbered}) b ON a.id = b.id"
        for pairs in self._file.spooled(joined, size=RANGE):
            order[pairs["a"]] = pairs["b"]
        missing = np.flatnonzero(order == nowhere)
        if len(missing) == 0 and other.n == self.n:
            return Alignment(_frozen(order))
        extra = np.setdiff1d(np.arange(other.n), order)
        examples = [*self.ids_at(missing[:EXAMPLES]), *other.ids_at(extra[:EXAMPLES])]
        return Alignment(None, len(missing), len(extra), tuple(examples[:EXAMPLES]))

    def fingerprint(self, reference_columns: Sequence[str]) -> str:
        """The digest of the test set: ``sha256:`` over the ids and reference columns.

        It does not depend on the order of rows or columns, on the file's format or on the process. What is hashed is
        ``metricgate.test_set/1``, a line feed, the sorted names of the reference columns, a line feed, then for each example,
        in the byte order of the ids in UTF-8, its id and its values in the order of those names. Names, ids and values are
        netstrings (``3:abc,``: length in bytes, colon, UTF-8, comma), of the texts that ``groups`` compares; a missing value
        is ``~,``.

        Raises:
            InputError: There are no ids, or a column is not there.
        """
        names = sorted(set(reference_columns))
        columns = [self._column(name) for name in names]
        texts = [self._needed_ids().column.text, *(self._in_all_formats(column) for column in columns)]
        values = ", ".join(f"{text} AS v{i}" for i, text in enumerate(texts))
        netstrings = " || ".join(f"coalesce(strlen(v{i}) || ':' || v{i}, '~') || ','" for i in range(len(texts)))
        digest = hashlib.sha256(FINGERPRINT_LAYOUT)
        digest.update("".join(f"{len(name.encode())}:{name}," for name in names).encode() + b"\n")
        statement = f"SELECT {netstrings} FROM (SELECT {values} FROM {self._file.source}) ORDER BY v0"
        for batch in self._file.batches(statement):
            digest.update("".join(text for (text,) in batch).encode())
        return f"sha256:{digest.hexdigest()}"

    def _column(self, name: str) -> Column:
        if name in self._file.columns:
            return self._file.columns[name]
        near = difflib.get_close_matches(name, self._file.columns, n=1)
        raise InputError(
            f"there is no column {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""),
            expected="one of " + ", ".join(repr(column) for column in self._file.columns),
            where=str(self.path),
        )

    def _needed_ids(self) -> _Ids:
        if self._ids is None:
            raise InputError(
                "the table has no id column, so its examples can't be found in another table",
                where=str(self.path),
                fix="write a column of ids and name it in metricgate.yaml:\nscores: {id: example_id}",
            )
        return self._ids

    def _ranges(self, expressions: str, start: int, stop: int) -> Iterator[tuple[int, dict[str, NDArray[Any]]]]:
        """The position of the first row and the values of the expressions, for some rows at a time."""

        def read(place: int) -> dict[str, NDArray[Any]]:
            where = f"{POSITION} >= {place} AND {POSITION} < {min(place + RANGE, stop)}"
            return self._file.arrays(f"SELECT {expressions} FROM {self._file.source} WHERE {where}")

        yield from ahead.read(read, range(start, stop, RANGE))

    def _whole(self, column: Column) -> Iterator[NDArray[np.int64]]:
        """A column of whole numbers, some rows at a time; masked where there are nulls."""
        for _, read in self._ranges(f"CAST({column.value} AS BIGINT) AS v", 0, self.n):
            yield read["v"]

    def _ascend(self, column: Column) -> bool:
        """Whether each number is larger than the one before: then none is there twice, and nothing has to be kept to know."""
        last = None
        for values in self._whole(column):
            if np.ma.is_masked(values) or not (values[1:] > values[:-1]).all() or (last is not None and values[0] <= last):
                return False
            last = values[-1]
        return True

    def _side_by_side(self, other: ScoreTable) -> bool:
        """Whether both tables have the same ids in the same order."""
        one, two = self._needed_ids(), other._needed_ids()
        if one.column.whole and two.column.whole:
            ranges = zip(self._whole(one.column), other._whole(two.column), strict=True)
            return all(np.array_equal(mine, theirs) for mine, theirs in ranges)
        both = f"({one.values}) a POSITIONAL JOIN ({two.values}) b"
        return not self._file.rows(f"SELECT 1 FROM {both} WHERE a.id IS DISTINCT FROM b.id LIMIT 1")

    def _read_ids(self, column: Column) -> _Ids:
        values = f"SELECT {column.text} AS id FROM {self._file.source}"
        numbered = f"SELECT {POSITION} AS p, {column.text} AS id FROM {self._file.source}"
        if column.whole and self._ascend(column):
            return _Ids(column, values, numbered)
        hashes = np.empty(self.n, dtype=np.uint64)
        for place, read in self._ranges(f"hash({column.text}) AS hashes, {column.text} IS NULL AS missing", 0, self.n):
            if read["missing"].any():
                raise InputError(
                    "the example has no id",
                    where=self._file.place(place + int(np.argmax(read["missing"])), column.name),
                    fix="give every test example an id of its own",
                )
            hashes[place : place + len(read["hashes"])] = read["hashes"]
        # Equal ids have equal hashes, so only equal hashes need a look at the ids.
        hashes.sort()
        if any(
            (hashes[at + 1 : at + RANGE + 1] == hashes[at : at + RANGE][: self.n - at - 1]).any()
            for at in range(0, self.n, RANGE)
        ):
            self._check_unique(column, numbered)
        return _Ids(column, values, numbered)

    def _check_unique(self, column: Column, numbered: str) -> None:
        repeated = self._file.rows(
            f"SELECT id, min(p), list_sort(list(p))[2] AS again, count(*) OVER () FROM ({numbered}) "
            "GROUP BY id HAVING count(*) > 1 ORDER BY again LIMIT 1"
        )
        for text, first, again, count in repeated:
            raise InputError(
                f"the id {text!r} appears again, it was in row {first + 1}" + (f" ({count} ids do)" if count > 1 else ""),
                expected="one row per test example, each with an id of its own",
                where=self._file.place(again, column.name),
                fix="write several scores of one example into several columns, or average them",
            )

    def _unusable_score(self, column: Column) -> InputError:
        unusable = f"SELECT {POSITION} AS p FROM {self._file.source} WHERE coalesce(NOT isfinite({column.number}), true)"
        count, row = self._file.rows(f"SELECT count(*), min(p) FROM ({unusable})")[0]
        shown = f"SELECT {column.number}, CAST({column.value} AS VARCHAR) FROM {self._file.source} WHERE {POSITION} = {row}"
        number, text = self._file.rows(shown)[0]
        found = "no value" if text is None else repr(text[:40]) if number is None else text[:40]
        return InputError(
            f"{found} in a score column" + (f" ({count} rows have no usable score)" if count > 1 else ""),
            expected="a finite number, or true or false",
            where=self._file.place(row, column.name),
            fix="decide what an example without a score means: leave it out of every run, or score it as wrong",
        )

    def _in_all_formats(self, column: Column) -> str:
        """The column's text (SQL) on which CSV, JSON Lines and Parquet agree."""
        return self._same_in_all_formats(f"SELECT DISTINCT {column.text} AS text FROM {self._file.source}")(column.text)

    def _same_in_all_formats(self, texts: str) -> Callable[[str], str]:
        """What to do with a ``text`` (SQL to SQL) so that CSV, JSON Lines and Parquet agree on it, by all that there are."""
        all_booleans, all_whole = self._file.rows(
            r"SELECT bool_and(lower(text) IN ('true', 'false')), bool_and(regexp_full_match(text, '-?[0-9]+(\.0+)?')) "
            f"FROM ({texts})"
        )[0]
        if all_booleans:
            return lambda text: f"lower({text})"
        if all_whole:
            return lambda text: rf"regexp_replace({text}, '\.0+$', '')"
        return lambda text: text

    def _read_groups(self, column: Column) -> Groups:
        distinct = f"SELECT DISTINCT {column.value} AS value, {column.text} AS text FROM {self._file.source}"
        self._file.rows(f"CREATE OR REPLACE TABLE named AS SELECT value, text, row_number() OVER () - 1 AS k FROM ({distinct})")
        name = self._same_in_all_formats("SELECT text FROM named")("text")
        named = [name for (name,) in self._file.rows(f"SELECT {name} FROM named ORDER BY k")]
        if None in named:
            row = self._file.rows(f"SELECT min({POSITION}) FROM {self._file.source} WHERE {column.text} IS NULL")[0][0]
            raise InputError(
                "no value in a column that names slices",
                where=self._file.place(row, column.name),
                fix="give every test example a value, such as 'other'",
            )
        names = tuple(sorted(set(named), key=natural_order))
        code_of = {name: code for code, name in enumerate(names)}
        smallest = np.min_scalar_type(len(names) - 1)
        code_of_k = np.array([code_of[name] for name in named], dtype=smallest)
        codes = np.empty(self.n, dtype=smallest)
        numbered = f"SELECT {POSITION} AS p, {column.value} AS value FROM {self._file.source}"

        def read(start: int) -> dict[str, NDArray[Any]]:
            within = f"SELECT * FROM ({numbered}) WHERE p >= {start} AND p < {start + RANGE}"
            return self._file.arrays(f"SELECT p, k FROM ({within}) JOIN named USING (value)")

        for _, pairs in ahead.read(read, range(0, self.n, RANGE)):
            codes[pairs["p"]] = code_of_k[pairs["k"]]
        return Groups(_frozen(codes), names)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    array.flags.writeable = False
    return array

"""One side of a comparison: its runs, with their score tables brought into one order."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricgate.errors import InputError
from metricgate.groups import RANGE, Groups
from metricgate.run import Run
from metricgate.score_table import ScoreTable
from metricgate.stats.means import Value
from metricgate.stats.scatter import Scores
from metricgate.tables import ahead


class Side:
    """The runs of one side, their score tables brought into one order.

    Attributes:
        runs: The runs.
        label: What to call the side.
        tables: Their score tables; none where one of the runs has none.
        mismatch: How its test set differs from that of the reference; empty where it doesn't.
        aligned: Whether the common order is that of the reference.
    """

    def __init__(self, runs: Sequence[Run], *, label: str, reference: ScoreTable | None = None) -> None:
        self.runs = tuple(runs)
        self.label = label
        self.tables: tuple[ScoreTable, ...] = ()
        self.orders: tuple[NDArray[np.unsignedinteger[Any]] | None, ...] = ()
        self.mismatch = ""
        self.aligned = False
        self._matrices: dict[str, Scores] = {}
        tables = [run.scores for run in self.runs if run.scores is not None]
        if not tables or len(tables) != len(self.runs):
            return
        self.tables = tuple(tables)
        first = reference if reference is not None else tables[0]
        if not all(table.has_ids for table in (first, *tables)):
            self.orders = tuple(None for _ in tables)
            return
        orders = []
        for table in tables:
            alignment = first.align(table)
            if not alignment.complete:
                if reference is None:
                    raise InputError(
                        f"its test set is not that of {first.path}: {_difference(alignment.missing, alignment.extra)}",
                        where=str(table.path),
                        expected=f"the same example ids in every run of the {label}",
                        fix="evaluate every run on the same test set, or compare the runs separately",
                    )
                # Seen from the candidate, whose table is the reference: what only the baseline has is missing.
                self.mismatch = _difference(alignment.extra, alignment.missing, alignment.examples)
                self.orders = ()
                return
            orders.append(alignment.order)
        self.orders = tuple(orders)
        self.aligned = reference is not None

    @property
    def has_scores(self) -> bool:
        """Whether every run has a score table."""
        return bool(self.tables)

    @property
    def has_ids(self) -> bool:
        """Whether every run's examples have ids."""
        return self.has_scores and all(table.has_ids for table in self.tables)

    def has_column(self, column: str) -> bool:
        """Whether every run has scores in that column."""
        return self.has_scores and all(column in table.columns for table in self.tables)

    def only(self, indices: Sequence[int]) -> Side:
        """The same side with some of its runs."""
        side = copy.copy(self)
        side.runs = tuple(self.runs[index] for index in indices)
        side.tables = tuple(self.tables[index] for index in indices) if self.tables else ()
        side.orders = tuple(self.orders[index] for index in indices) if self.orders else ()
        side.forget()
        return side

    def forget(self) -> None:
        """Free the scores that were read."""
        self._matrices = {}

    def matrix(self, column: str) -> Scores:
        """The scores of a column, shape (runs, n), in the common order: for what can't be summed up batch by batch."""
        if column not in self._matrices:
            # One column at a time: the matrices of a large test set are the largest thing in memory.
            self._matrices = {}
            result = np.empty((len(self.tables), self.tables[0].n), dtype=np.float64)
            start = 0
            for batch in self.batches(column):
                result[:, start : start + batch.shape[1]] = batch
                start += batch.shape[1]
            self._matrices = {column: result}
        return self._matrices[column]

    def batches(self, column: str, *, first: int = RANGE) -> Iterator[Scores]:
        """The scores of a column, some examples at a time: shape (runs, at most ``RANGE``), in the common order.

        Tables in another order than the first are read in full, since their rows are needed here and there. While somebody
        works on one batch, threads read the next ones.

        Args:
            column: The scores.
            first: The size of the first batch, for those who may need no second.
        """
        n = self.tables[0].n
        for table in self.tables:
            if table.n != n:
                raise InputError(
                    f"{table.n:,} examples, and {self.tables[0].path} has {n:,}",
                    where=str(table.path),
                    expected="the same test set in every run",
                )
        orders = self.orders or tuple(None for _ in self.tables)
        full = [None if order is None else table.scores(column) for table, order in zip(self.tables, orders, strict=True)]

        def read(start: int, size: int = RANGE) -> Scores:
            stop = min(n, start + size)
            batch = np.empty((len(self.tables), stop - start), dtype=np.float64)
            for row, table, order, scores in zip(batch, self.tables, orders, full, strict=True):
                if order is None or scores is None:
                    row[:] = table.scores(column, start=start, stop=stop)
                else:
                    row[:] = scores[order[start:stop]]
            return batch

        yield read(0, first)
        for _, batch in ahead.read(read, range(first, n, RANGE)):
            yield batch

    def groups(self, column: str) -> Groups:
        """The values of a slice or cluster column, in the common order.

        Raises:
            InputError: There are no ids, and the rows of the runs are not in one order.
        """
        groups = self.tables[0].groups(column)
        if not self.has_ids:
            for table in self.tables[1:]:
                other = table.groups(column)
                if other.names != groups.names or not np.array_equal(other.codes, groups.codes):
                    raise InputError(
                        f"`{column}` has other values, row by row, than in {self.tables[0].path}",
                        where=str(table.path),
                        expected="the same examples in the same order in every run, since they have no ids",
                        fix="write a column of ids and name it in metricgate.yaml:\nscores: {id: example_id}",
                    )
        order = self.orders[0] if self.orders else None
        return groups if order is None else Groups(groups.codes[order], groups.names)

    def size(self, column: str, name: str) -> int | None:
        """How many examples have that value in a column; None where none has."""
        groups = self.groups(column)
        if name not in groups.names:
            return None
        return int(groups.sizes[groups.names.index(name)])

    def disagreements(self, other: Side, column: str) -> int:
        """How many examples have another value of a column on the other side; both are in one order."""
        one, two = self.groups(column), other.groups(column)
        if one.names == two.names:
            return int((one.codes != two.codes).sum())
        names = {name: index for index, name in enumerate(dict.fromkeys([*one.names, *two.names]))}
        codes = [np.array([names[name] for name in g.names], dtype=np.int64)[g.codes] for g in (one, two)]
        return int((codes[0] != codes[1]).sum())

    def value(self, metric: str) -> Value | None:
        """The metric as the runs state it; None where one of them doesn't."""
        metrics = [run.metrics.get(metric) for run in self.runs]
        known = [metric for metric in metrics if metric is not None]
        if not known or len(known) != len(metrics):
            return None
        stderrs = [metric.stderr for metric in known if metric.stderr is not None]
        sizes = [metric.n for metric in known if metric.n is not None]
        return Value(
            value=float(np.mean([metric.value for metric in known])),
            runs=len(known),
            stderr=float(np.sqrt(np.mean(np.square(stderrs)))) if len(stderrs) == len(known) else None,
            n=min(sizes) if len(sizes) == len(known) else None,
        )


def _difference(missing: int, extra: int, examples: Iterable[str] = ()) -> str:
    names = ", ".join(itertools.islice(examples, 3))
    return f"{missing:,} ids are missing and {extra:,} are new" + (f" (such as {names})" if names else "")

"""Labels and predictions of score tables, made ready for a metric of the whole test set, and checked against what it needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from metricgate import aggregates
from metricgate.config import MetricConfig
from metricgate.custom_metrics import Functions
from metricgate.errors import ConfigError, InputError
from metricgate.score_table import ScoreTable
from metricgate.stats import set_metrics
from metricgate.stats.set_metrics import Custom, Sample, SetMetric, Vector

MOST_CLASSES = 10_000
_TRUE = {"true": "1", "false": "0"}


@dataclass(frozen=True)
class Reader:
    """Reads what one metric is computed from.

    Attributes:
        name: The metric's name in the configuration.
        config: Which columns, and what they hold.
        metric: What is computed of them.
    """

    name: str
    config: MetricConfig
    metric: SetMetric
    _codes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, config: MetricConfig, functions: Functions) -> Reader:
        """The reader of a metric.

        Args:
            name: Its name.
            config: Its configuration.
            functions: The user's functions, by reference.

        Raises:
            ConfigError: The function is not among them.
        """
        known: Mapping[str, SetMetric] = set_metrics.by_name()
        if config.aggregate in known:
            return cls(name, config, known[config.aggregate])
        if config.aggregate not in functions:
            raise ConfigError(
                "functions of your own are not called here", where=f"metrics.{name}.aggregate: {config.aggregate}"
            )
        return cls(name, config, Custom(config.aggregate, functions[config.aggregate]))

    @property
    def truth(self) -> tuple[str, ...]:
        """The columns that belong to the test set, whatever is predicted: labels and weights."""
        label, _, *weight = self.config.columns
        return (label, *weight)

    def changed_truth(self, one: Sample, other: Sample) -> str:
        """How the labels or weights of the same examples differ between two sides; empty where they don't."""
        count = differences(one, other)
        named = " or ".join(f"`{column}`" for column in self.truth)
        return f"the test set changed: {named} differs for {count:,} examples" if count else ""

    def read(self, table: ScoreTable) -> Sample:
        """Labels, predictions and weights, in the order of the file.

        Raises:
            InputError: A column is missing, or holds what this metric can't be computed from.
        """
        label, prediction, *weight = self.config.columns
        for column in self.config.columns:
            if column not in table.columns:
                table.scores(column)  # says which there are
        inputs = self.metric.inputs
        if inputs == "numbers":
            truth, predicted = table.scores(label), table.scores(prediction)
        elif inputs == "anything":
            truth, predicted = _as_they_are(table, label), _as_they_are(table, prediction)
        elif inputs == "classes":
            truth, predicted = self._classes(table, label), self._predicted(table, prediction, positive=False)
        else:
            truth = self._positives(table, label)
            predicted = (
                self._predicted(table, prediction, positive=True) if inputs == "two classes" else table.scores(prediction)
            )
        if inputs == "probabilities":
            self._check_probabilities(table, predicted)
        return Sample(label=truth, prediction=predicted, weight=self._weights(table, weight[0]) if weight else None)

    def _predicted(self, table: ScoreTable, column: str, *, positive: bool) -> Vector:
        if self.config.threshold is not None:
            chosen = (table.scores(column) >= self.config.threshold).astype(np.float64)
            return (
                chosen if positive else np.array([self._code("0"), self._code("1")], dtype=np.float64)[chosen.astype(np.intp)]
            )
        return self._positives(table, column) if positive else self._classes(table, column)

    def _classes(self, table: ScoreTable, column: str) -> Vector:
        """A number for each class, the same one in every table."""
        codes, names = _groups(table, column)
        if len(names) > MOST_CLASSES:
            raise InputError(
                f"the column {column!r} has {len(names):,} different values",
                where=str(table.path),
                expected=f"a class, for `{self.config.aggregate}`",
                fix=f"name the column of classes (`metrics: {{{self.name}: {{prediction: …}}}}`), or give a `threshold`",
            )
        return np.take(np.array([self._code(name) for name in names], dtype=np.float64), codes)

    def _code(self, name: str) -> int:
        return self._codes.setdefault(name, len(self._codes))

    def _positives(self, table: ScoreTable, column: str) -> Vector:
        """1 where the class is the positive one."""
        wanted = self.config.positive
        if table.columns[column] != "text" and wanted is None:
            values = table.scores(column)
            other = (values != 0) & (values != 1)
            if not other.any():
                return values
            example = f"{values[np.argmax(other)]:g}"
            raise self._not_two_classes(table, column, f"{example} in row {int(np.argmax(other)) + 1}")
        codes, names = _groups(table, column)
        positive = _name(wanted) if wanted is not None else "1"
        if wanted is None and not set(names) <= {"0", "1"}:
            raise self._not_two_classes(table, column, ", ".join(names[:3]))
        return np.take(np.array([float(name == positive) for name in names]), codes)

    def _not_two_classes(self, table: ScoreTable, column: str, found: str) -> InputError:
        fix = f"say which class is the positive one in metricgate.yaml (`metrics: {{{self.name}: {{positive: …}}}}`)"
        if column == self.config.columns[1] and self.metric.inputs == "two classes":
            fix = f"give a threshold for numbers (`metrics: {{{self.name}: {{threshold: 0.5}}}}`), or {fix}"
        averaged = f"{self.config.aggregate}_macro"
        if averaged in aggregates.OF_TEST_SETS:
            fix += f", or average over classes with `aggregate: {averaged}`"
        return InputError(
            f"the column {column!r} has other values than 0 and 1: {found}",
            where=str(table.path),
            expected=f"two classes, for `{self.config.aggregate}`",
            fix=fix,
        )

    def _check_probabilities(self, table: ScoreTable, predicted: NDArray[Any]) -> None:
        outside = (predicted < 0) | (predicted > 1)
        if outside.any():
            row = int(np.argmax(outside))
            raise InputError(
                f"{predicted[row]:g} in the column {self.config.columns[1]!r}, row {row + 1}, is no probability",
                where=str(table.path),
                expected=f"numbers from 0 to 1, for `{self.config.aggregate}`",
                fix="write the probability of the positive class, not a score or a logit",
            )

    def _weights(self, table: ScoreTable, column: str) -> Vector:
        weights = table.scores(column)
        if (negative := weights < 0).any() or not weights.any():
            row = int(np.argmax(negative))
            found = f"{weights[row]:g} in row {row + 1}" if negative.any() else "nothing but 0"
            raise InputError(
                f"the column of weights {column!r} has {found}",
                where=str(table.path),
                expected="weights of 0 or more, not all of them 0",
            )
        return weights


def differences(one: Sample, other: Sample) -> int:
    """How many examples have another label or weight; both are in one order."""
    changed = one.label != other.label
    if one.weight is not None and other.weight is not None:
        changed = changed | (one.weight != other.weight)
    return int(np.sum(changed))


def check_alike(samples: Sequence[Sample], paths: Sequence[object], *, columns: Sequence[str]) -> None:
    """Raise InputError when the runs of one side, over the same examples, have different labels."""
    for sample, path in zip(samples[1:], paths[1:], strict=True):
        if count := differences(samples[0], sample):
            raise InputError(
                f"{' or '.join(f'`{column}`' for column in columns)} differs for {count:,} examples from {paths[0]}",
                where=str(path),
                expected="one truth for each example, in every run",
                fix="evaluate every run on the same test set",
            )


def _groups(table: ScoreTable, column: str) -> tuple[NDArray[Any], Sequence[str]]:
    """The values of a column as codes and names; 1, 1.0 and true have one name."""
    if table.columns[column] == "text":
        groups = table.groups(column)
        return groups.codes, [_TRUE.get(name, name) for name in groups.names]
    values, codes = np.unique(table.scores(column), return_inverse=True)
    return codes, [_name(float(value)) for value in values]


def _name(value: object) -> str:
    """The name of a class as ``_groups`` has it."""
    if isinstance(value, bool | int | float):
        number = float(value)
        return str(int(number)) if number.is_integer() else repr(number)
    return str(value)


def _as_they_are(table: ScoreTable, column: str) -> NDArray[Any]:
    """Numbers as numbers, other values as text."""
    if table.columns[column] != "text":
        return table.scores(column)
    groups = table.groups(column)
    return np.array(groups.names)[groups.codes]

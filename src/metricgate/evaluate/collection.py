"""Reads what the user's commands wrote into a run folder, and checks it against the configuration."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate import aggregates, golden
from metricgate.config import Config, MetricConfig
from metricgate.custom_metrics import Functions
from metricgate.errors import InputError
from metricgate.formats import metrics_json, scores
from metricgate.run import Metric, MetricRecord
from metricgate.train import digest

if TYPE_CHECKING:  # a training should not wait for numpy
    import numpy as np
    from numpy.typing import NDArray

    from metricgate.score_table import ScoreTable

# What float32 arithmetic of a framework and ours may differ by.
_RELATIVE = 1e-4
_ABSOLUTE = 1e-6
_ROUNDED_FROM = 2  # decimals: 0.93 may stand for 0.9312, 0.9 says too little to be a rounded value


@dataclass(frozen=True)
class Collected:
    """What a run's files say.

    Attributes:
        metrics: Every metric of the configuration, and what else ``metrics.json`` has.
        test_set: The fingerprint of the test set; None without scores.
        reference_columns: The columns that it covers beside the ids.
        golden: The digest of the golden requests; None where there are none.
    """

    metrics: Mapping[str, MetricRecord]
    test_set: str | None
    reference_columns: tuple[str, ...]
    golden: str | None = None


def collect(folder: Path, config: Config, *, functions: Callable[[], Functions] = dict) -> Collected:
    """Read ``metrics.json``, ``scores.*`` and ``golden.jsonl`` of a run folder.

    A metric comes from ``metrics.json``, or else is the aggregate of the score column of its name, or of columns of labels and
    predictions. Where both are there, they have to agree, up to rounding.

    Args:
        folder: The run folder.
        config: Which metrics and columns there have to be.
        functions: Finds the user's functions, for metrics that ``metrics.json`` lacks.

    Raises:
        InputError: A file is malformed, or lacks a metric, id, cluster, slice, label or prediction column of the configuration.
        ConfigError: A function of the user's can't be found.
    """
    stated_in = folder / metrics_json.FILE
    stated = metrics_json.read(stated_in) if stated_in.is_file() else {}
    table_file = scores.find(folder)
    table = scores.read(table_file, id=config.scores.id) if table_file else None
    if table is not None:
        _check_columns(table, config)
    metrics = {
        name: _of_test_set(name, metric, stated=stated.get(name), table=table, functions=functions)
        if metric.set_level and table is not None
        else _metric(name, metric, stated=stated.get(name), table=table, config=config, folder=folder)
        for name, metric in config.metrics.items()
    }
    others = {name: _recorded(metric, direction=None) for name, metric in stated.items() if name not in metrics}
    columns = _reference_columns(config)
    return Collected(
        metrics={**others, **metrics},
        test_set=None if table is None else table.fingerprint(columns),
        reference_columns=tuple(sorted(columns)),
        golden=_golden(folder / golden.FILE),
    )


def aggregate(values: NDArray[np.float64], how: str) -> float:
    """A score column as one number.

    Args:
        values: (n,), finite.
        how: ``mean``, ``median``, or a percentile such as ``p95`` (linear between the two nearest values).
    """
    if how == "mean":
        return math.fsum(values) / len(values)
    import numpy as np

    return float(np.percentile(values, 50.0 if how == "median" else float(how[1:])))


def _golden(file: Path) -> str | None:
    if not file.is_file():
        return None
    golden.read(file)  # a mistake is told here, and not when the model is released
    return digest.of_file(file)


def _check_columns(table: ScoreTable, config: Config) -> None:
    columns = ", ".join(repr(name) for name in table.columns)
    if not table.has_ids:
        raise InputError(
            f"there is no id column {config.scores.id!r}; the columns are {columns}",
            where=str(table.path),
            expected="a column that names each test example, the same in every run",
            fix="write one, or name the one that is there in metricgate.yaml:\n"
            f"scores: {{id: {next(iter(table.columns), 'example_id')}}}",
        )
    roles = [("slices", name) for name in config.slice_columns]
    roles += [("scores.cluster", config.scores.cluster)] if config.scores.cluster else []
    roles += [("must_not_flip", rule.must_not_flip) for rule in config.rules if rule.must_not_flip]
    roles += [(f"metrics.{name}", column) for name, metric in config.metrics.items() for column in metric.columns]
    for role, name in roles:
        if name not in table.columns:
            raise InputError(
                f"there is no column {name!r} ({role} in metricgate.yaml); the columns are {columns}",
                where=str(table.path),
                expected="every column that the configuration names",
                fix="write it from the evaluation, or correct the name in metricgate.yaml",
            )
        if not role.startswith("metrics."):  # numbers are read as numbers, where they are used
            table.groups(name)  # every example has a value


def _metric(
    name: str,
    metric: MetricConfig,
    *,
    stated: Metric | None,
    table: ScoreTable | None,
    config: Config,
    folder: Path,
) -> MetricRecord:
    if table is None or name not in table.columns:
        if stated is None:
            raise _missing(name, table=table, folder=folder)
        return _recorded(stated, direction=metric)
    values = table.scores(name)
    value = aggregate(values, metric.aggregate)
    if stated is not None and not _agree(stated.value, value):
        raise InputError(
            f"`{name}` is {stated.value:g} in {metrics_json.FILE}, and the {metric.aggregate} of the column is {value:g}",
            where=str(table.path),
            expected="one value of a metric",
            fix=f"name the column or the metric otherwise, or say how scores become the metric in metricgate.yaml:\n"
            f"metrics: {{{name}: {{direction: {metric.direction}, aggregate: median}}}}",
        )
    # The standard error of clustered scores is a matter of the comparison, which partitions them.
    is_simple_mean = metric.aggregate == "mean" and config.scores.cluster is None
    computed = Metric(value=value, stderr=_stderr(values) if is_simple_mean else None, n=len(values))
    if stated is None:
        return _recorded(computed, direction=metric)
    return _recorded(
        Metric(
            value=stated.value,
            stderr=computed.stderr if stated.stderr is None else stated.stderr,
            n=computed.n if stated.n is None else stated.n,
        ),
        direction=metric,
    )


def _of_test_set(
    name: str, metric: MetricConfig, *, stated: Metric | None, table: ScoreTable, functions: Callable[[], Functions]
) -> MetricRecord:
    """A metric of labels and predictions."""
    from metricgate.predictions import Reader
    from metricgate.stats.inference import UndecidableError

    own = aggregates.is_function(metric.aggregate)
    if own and stated is not None:
        return _recorded(stated, direction=metric)
    reader = Reader.of(name, metric, functions() if own else {})
    sample = reader.read(table)
    try:
        value = reader.metric.value(sample)
    except UndecidableError as error:
        raise InputError(
            f"`{name}`: {error}",
            where=str(table.path),
            expected=f"labels (`{metric.columns[0]}`) and predictions (`{metric.columns[1]}`) that have a {metric.aggregate}",
            fix="look at what the model predicts, or at the columns that metricgate.yaml names",
        ) from error
    if stated is not None and not _agree(stated.value, value):
        raise InputError(
            f"`{name}` is {stated.value:g} in {metrics_json.FILE}, and the {metric.aggregate} of the columns is {value:g}",
            where=str(table.path),
            expected="one value of a metric",
            fix=f"leave `{name}` out of {metrics_json.FILE}, or name it otherwise there",
        )
    return _recorded(Metric(value=value if stated is None else stated.value, n=sample.n), direction=metric)


def _missing(name: str, *, table: ScoreTable | None, folder: Path) -> InputError:
    found = f"there is no metric `{name}`: {metrics_json.FILE} does not have it, and "
    found += "there is no score table" if table is None else f"{table.path.name} has no such column"
    return InputError(
        found,
        where=str(folder),
        expected="every metric of metricgate.yaml",
        fix=f'write it to os.environ["METRICGATE_RUN_DIR"] + "/{metrics_json.FILE}": {{"{name}": 0.93}}\n'
        f"or better, a column `{name}` with one score per test example to scores.parquet, .csv or .jsonl",
    )


def _agree(stated: float, computed: float) -> bool:
    if math.isclose(stated, computed, rel_tol=_RELATIVE, abs_tol=_ABSOLUTE):
        return True
    decimals = len(repr(stated).partition(".")[2])
    return decimals >= _ROUNDED_FROM and round(computed, decimals) == stated


def _stderr(values: NDArray[np.float64]) -> float | None:
    n = len(values)
    if n < 2:
        return None
    return float(values.std(ddof=1)) / math.sqrt(n)


def _recorded(metric: Metric, *, direction: MetricConfig | None) -> MetricRecord:
    return MetricRecord(
        value=metric.value, stderr=metric.stderr, n=metric.n, direction=direction.direction if direction else None
    )


def _reference_columns(config: Config) -> list[str]:
    columns: Iterable[str | None] = (*config.slice_columns, config.scores.cluster)
    return sorted({column for column in columns if column is not None})

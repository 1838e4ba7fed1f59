"""scikit-learn: ``classification_report(…, output_dict=True)`` written as JSON.

``accuracy`` stays as it is, the averages and classes become ``macro avg/f1-score`` and ``8/recall``; the support is n.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from metricgate.errors import InputError
from metricgate.formats import json_file
from metricgate.run import Metric

NAME = "scikit-learn: json.dump(classification_report(…, output_dict=True), file)"
COLUMNS = ("precision", "recall", "f1-score")
SUPPORT = "support"
TOTAL = "weighted avg"


def detect(document: object) -> bool:
    """Whether a JSON document has the averages that every report has."""
    return isinstance(document, dict) and all(
        isinstance(row := document.get(name), dict) and {*COLUMNS, SUPPORT} <= row.keys() for name in ("macro avg", TOTAL)
    )


def read(path: Path) -> dict[str, Metric]:
    """Read all numbers of a report.

    Raises:
        InputError: A row lacks a column, a value is no finite number, or a support is no count.
    """
    report = json_file.table(path)
    if not detect(report):
        raise InputError("the averages of a classification report are missing", where=str(path), expected=NAME)
    total = _support(report[TOTAL], row=TOTAL, where=path)
    metrics: dict[str, Metric] = {}
    for row, values in report.items():
        if not isinstance(values, Mapping):
            metrics[row] = Metric(value=json_file.number(values, key=row, where=path), n=total or None)
            continue
        support = _support(values, row=row, where=path)
        for column in COLUMNS:
            if column not in values:
                raise InputError(f"`{row}` has no `{column}`", where=str(path), expected=NAME)
            key = f"{row}/{column}"
            metrics[key] = Metric(value=json_file.number(values[column], key=key, where=path), n=support or None)
    return metrics


def _support(values: Mapping[str, object], *, row: str, where: Path) -> int:
    support = json_file.number(values.get(SUPPORT), key=f"{row}/{SUPPORT}", where=where)
    if support < 0 or support != int(support):
        raise InputError(f"`{row}/{SUPPORT}` is {support:g}", where=str(where), expected="how many examples")
    return int(support)

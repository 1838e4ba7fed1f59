"""Keras: ``History.history`` written as JSON, and the CSV file of ``CSVLogger``. The metrics are those of the last epoch."""

from __future__ import annotations

import csv
from pathlib import Path

from metricgate.errors import InputError
from metricgate.formats import json_file
from metricgate.run import Metric

NAME = "Keras: json.dump(model.fit(…).history, file), or the file of keras.callbacks.CSVLogger"
EPOCH = "epoch"
MAX_LINE = 1_000_000


def detect(document: object) -> bool:
    """Whether every value of a JSON document is a list: one number per epoch."""
    return isinstance(document, dict) and bool(document) and all(isinstance(value, list) for value in document.values())


def detect_csv(path: Path) -> bool:
    """Whether a CSV file's first column is ``epoch``, as ``CSVLogger`` writes it."""
    with path.open(encoding="utf-8", errors="replace", newline="") as stream:
        return _delimiter(stream.readline(MAX_LINE)) is not None


def read(path: Path) -> dict[str, Metric]:
    """Read the last epoch of a history.

    Raises:
        InputError: No epochs, metrics with unequal numbers of epochs, or a last value that is no finite number.
    """
    if path.suffix.lower() == ".csv":
        return _read_csv(path)
    history = json_file.table(path)
    lengths = {}
    for name, values in history.items():
        if not isinstance(values, list):
            raise InputError(f"`{name}` is {json_file.kind(values)}", where=str(path), expected="a list: one number per epoch")
        lengths[name] = len(values)
    if not all(lengths.values()):
        empty = next(name for name, length in lengths.items() if not length)
        raise InputError(f"`{empty}` has no epoch", where=str(path), expected="at least one epoch")
    if len(set(lengths.values())) > 1:
        counts = ", ".join(f"{name}: {length}" for name, length in lengths.items())
        raise InputError(
            f"the metrics have unequal numbers of epochs ({counts})",
            where=str(path),
            expected="one value per metric and epoch",
            fix="validate in every epoch (validation_freq=1), or write what counts to metrics.json",
        )
    return {
        name: Metric(value=json_file.number(values[-1], key=f"{name}[{len(values) - 1}]", where=path))
        for name, values in history.items()
    }


def _read_csv(path: Path) -> dict[str, Metric]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            delimiter = _delimiter(stream.readline(MAX_LINE)) or ","
            stream.seek(0)
            rows = [row for row in csv.reader(stream, delimiter=delimiter, strict=True) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"not valid CSV: {error}", where=str(path), expected=NAME) from None
    header, epochs = rows[0], rows[1:]
    if not epochs:
        raise InputError("there is no epoch below the header", where=str(path), expected="one row per epoch")
    if len(set(header)) != len(header):
        raise InputError("a column stands there twice", where=f"{path}, line 1", expected="every column once")
    last = epochs[-1]
    if len(last) != len(header):
        raise InputError(
            f"the last row has {len(last)} values for {len(header)} columns",
            where=f"{path}, last row",
            expected="as many values as columns: a file that was written to its end",
        )
    return {
        name: Metric(value=_csv_number(value, key=name, where=path))
        for name, value in zip(header, last, strict=True)
        if name != EPOCH
    }


def _csv_number(text: str, *, key: str, where: Path) -> float:
    try:
        value: object = float(text)
    except ValueError:  # CSVLogger writes NA where an epoch was not validated
        value = text
    return json_file.number(value, key=f"{key} (last epoch)", where=where)


def _delimiter(header: str) -> str | None:
    first = header.lstrip("\ufeff").lstrip('"')
    if not first.startswith(EPOCH):
        return None
    rest = first[len(EPOCH) :].lstrip('"')
    return rest[0] if rest[:1] in {",", ";", "\t", "|"} else None

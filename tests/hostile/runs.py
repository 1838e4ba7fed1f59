"""Runs whose files are what their names say, and are made to harm: huge numbers, NaN, deep JSON, tables of nothing but size."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping

import pyarrow as pa
from pyarrow import parquet

from tests.hostile import texts

POLICY = """\
name: digits
metrics: {accuracy: {direction: higher}}
slices: [label]
gate: {rules: [{metric: accuracy, max_regression: 0.02}, {metric: accuracy, slices: [label], max_regression: 0.1, min_n: 10}]}
"""

N = 120
HEADER = "example_id,label,accuracy\n"
Files = Mapping[str, bytes]


def record(**changes: object) -> bytes:
    """A run.json with keys replaced."""
    return json.dumps({"schema": "metricgate.run/1", "stage": "evaluated", "commit": "a" * 40, "seed": 0, **changes}).encode()


def table(*, level: int = 9, header: str = HEADER, row: str = "e{i},{label},{score}") -> bytes:
    """A CSV table of an accuracy of so many tenths."""
    rows = (row.format(i=i, label="ab"[i % 2], score=int(i % 10 < level)) for i in range(N))
    return (header + "\n".join(rows) + "\n").encode()


def columns(**values: object) -> bytes:
    """A Parquet table."""
    stream = io.BytesIO()
    parquet.write_table(pa.table(values), stream)
    return stream.getvalue()


def honest(level: int = 9) -> Files:
    """One run as metricgate writes it."""
    return {"seed-0/run.json": record(), "seed-0/scores.csv": table(level=level)}


def constant(rows: int, *, groups: int) -> bytes:
    """A Parquet table that repeats one row: a few hundred bytes for each million."""
    stream = io.BytesIO()
    ids = pa.DictionaryArray.from_arrays(pa.array([0] * (rows // groups), pa.int32()), pa.array(["e"]))
    piece = pa.table({"example_id": ids, "accuracy": pa.array([1] * (rows // groups), pa.int8())})
    with parquet.ParquetWriter(stream, piece.schema, compression="zstd") as writer:
        for _ in range(groups):
            writer.write_table(piece)
    return stream.getvalue()


def deep(levels: int) -> bytes:
    """A Parquet column of lists of lists of lists."""
    value: object = 1
    for _ in range(levels):
        value = [value]
    return columns(example_id=["a"], accuracy=[1], deep=pa.array([value]))


def nested(depth: int) -> bytes:
    """JSON nested so deeply."""
    return b'{"accuracy": ' + b"[" * depth + b"]" * depth + b"}"


def _with(**files: bytes) -> Files:
    names = {"metrics": "metrics.json", "csv": "scores.csv", "jsonl": "scores.jsonl", "parquet": "scores.parquet"}
    return {"seed-0/run.json": record(), **{f"seed-0/{names[name]}": content for name, content in files.items()}}


def _quoted(text: str) -> str:
    return text.replace('"', '""').replace("{", "{{").replace("}", "}}")


UNUSABLE: Mapping[str, Files] = {
    "NaN score": _with(csv=table().replace(b"e7,b,1", b"e7,b,nan")),
    "infinite score": _with(csv=table().replace(b"e7,b,1", b"e7,b,-inf")),
    "a score of 400 digits": _with(csv=table().replace(b"e7,b,1", b"e7,b," + b"9" * 400)),
    "NaN in a Parquet file": _with(parquet=columns(example_id=["a", "b"], label=["x", "x"], accuracy=[1.0, float("nan")])),
    "an id twice": _with(csv=table().replace(b"e7,", b"e6,")),
    "ids without end": _with(csv=HEADER.encode() + b"e" * 3_000_000 + b",a,1\n"),
    "columns without end": _with(csv=(",".join(f"c{i}" for i in range(50_000)) + "\n").encode()),
    "a header of one line": _with(csv=b"x" * 300_000),
    "NUL": _with(csv=HEADER.encode() + b"\0" * 1000),
    "binary": _with(csv=bytes(range(256)) * 100),
    "no rows": _with(csv=HEADER.encode()),
    "NaN metric": _with(metrics=b'{"accuracy": NaN}'),
    "infinite metric": _with(metrics=b'{"accuracy": 1e999}'),
    "a metric of 5000 digits": _with(metrics=b'{"accuracy": ' + b"9" * 5000 + b"}"),
    "deep JSON": _with(metrics=nested(100_000)),
    "deep run.json": {"seed-0/run.json": nested(100_000), "seed-0/scores.csv": table()},
    "a key twice": _with(metrics=b'{"accuracy": 0.9, "accuracy": 0.1}'),
    "another schema": {"seed-0/run.json": b'{"schema": "metricgate.report/1", "verdict": "pass"}'},
    "a list": {"seed-0/run.json": b"[]"},
    "not UTF-8": {"seed-0/run.json": b'{"name": "\xff"}'},
    "a commit that is none": {"seed-0/run.json": record(commit="@everyone"), "seed-0/scores.csv": table()},
    "a seed below zero": {"seed-0/run.json": record(seed=-1), "seed-0/scores.csv": table()},
    "a seed of 4000 digits": {"seed-0/run.json": record(seed=10**4000), "seed-0/scores.csv": table()},
    "a name without end": {"seed-0/run.json": record(name="x" * 500_000), "seed-0/scores.csv": table()},
    "energy below zero": {"seed-0/run.json": record(resources={"energy_wh": -1}), "seed-0/scores.csv": table()},
    "GPU time beyond all numbers": {"seed-0/run.json": record(resources={"gpu_s": 1e300}), "seed-0/scores.csv": table()},
    "GPUs without end": {"seed-0/run.json": record(resources={"gpu": ["x"] * 100_000}), "seed-0/scores.csv": table()},
    "an empty Parquet file": _with(parquet=b"PAR1PAR1"),
    "a Parquet footer of 2 GB": _with(parquet=b"PAR1" + bytes(100) + b"\xff\xff\xff\x7fPAR1"),
    "a Parquet footer cut off": _with(parquet=columns(example_id=["a"], accuracy=[1])[:-40] + b"\x20\x00\x00\x00PAR1"),
    "JSON Lines that are not": _with(jsonl=b'{"example_id": 1}\n[[[[[['),
    "JSON Lines, a deep one": _with(jsonl=nested(100_000) + b"\n"),
    "keys without end": _with(jsonl=b"".join(b'{"k%d": 1}\n' % i for i in range(5_000))),
    "two tables": _with(csv=table(), jsonl=b'{"example_id": "a", "accuracy": 1}\n'),
    "trained only": {"seed-0/run.json": record(stage="trained"), "seed-0/scores.csv": table()},
}
"""What is refused."""

SPEAKING: Mapping[str, Files] = {
    name: _with(csv=table(row=f'"e{{i}} {_quoted(text)}","{_quoted(text)}",{{score}}'))
    for name, text in texts.HARMFUL.items()
    if name not in {"nul", "surrogate"}  # which no CSV file can hold
}
"""What is judged, with ids and slices that want to be seen as something else."""

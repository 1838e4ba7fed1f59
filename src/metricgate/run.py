"""A run: one training and evaluation of one commit with one seed. What is read and written between stages."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pydantic

from metricgate.errors import InputError

if TYPE_CHECKING:
    from metricgate.score_table import ScoreTable

RUN_FILE = "run.json"
RUN_SCHEMA: Literal["metricgate.run/1"] = "metricgate.run/1"

FiniteFloat = Annotated[float, pydantic.Field(allow_inf_nan=False)]
# What is measured: not negative, and far from where sums overflow, whoever wrote it.
Amount = Annotated[float, pydantic.Field(allow_inf_nan=False, ge=0, le=1e15)]
Bytes = Annotated[int, pydantic.Field(ge=0, le=2**63 - 1)]


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a run.

    Attributes:
        value: The metric, finite.
        stderr: Its standard error over test examples, in the metric's own unit, where known.
        n: The number of test examples behind it, where known.
    """

    value: float
    stderr: float | None = None
    n: int | None = None

    def __post_init__(self) -> None:
        if not math.isfinite(self.value):
            raise InputError(f"a metric has the value {self.value}", expected="a finite number")
        if self.stderr is not None and not (math.isfinite(self.stderr) and self.stderr >= 0):
            raise InputError(f"a metric has the standard error {self.stderr}", expected="a finite number, 0 or more")
        if self.n is not None and self.n < 1:
            raise InputError(f"a metric has n = {self.n}", expected="at least one example")


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid")


class MetricRecord(_Document):
    """A metric as ``run.json`` keeps it."""

    value: FiniteFloat
    n: int | None = None
    stderr: FiniteFloat | None = None
    direction: Literal["higher", "lower"] | None = None


class Times(_Document):
    """When the stages of a run began (RFC 3339, UTC) and how long they took, in seconds."""

    started: str | None = None
    train_s: FiniteFloat | None = None
    evaluate_s: FiniteFloat | None = None


class Resources(_Document):
    """What a run used, where it could be read; of GPUs, the training alone.

    Attributes:
        gpu: The models of its GPUs, one for each.
        gpu_peak_memory_bytes: The most memory that it had on one of them.
        gpu_utilisation: The part of the time in which they computed, 0 to 1.
        energy_wh: What they consumed, all together, in watt-hours.
        gpu_s: For how long it had them, all together, in seconds: two GPUs for an hour are 7200.
        cpu_s: Processor seconds of the training.
        peak_memory_bytes: The largest resident memory of one of its processes.
    """

    gpu: Annotated[tuple[Annotated[str, pydantic.Field(max_length=200)], ...], pydantic.Field(max_length=1024)] = ()
    gpu_peak_memory_bytes: Bytes | None = None
    gpu_utilisation: Annotated[float, pydantic.Field(allow_inf_nan=False, ge=0, le=1)] | None = None
    energy_wh: Amount | None = None
    gpu_s: Amount | None = None
    cpu_s: Amount | None = None
    peak_memory_bytes: Bytes | None = None


class Fingerprints(_Document):
    """Digests that say whether two runs can be compared. Each is ``sha256:<hex>``.

    Attributes:
        test_set: Over the sorted ids and reference columns of the score table.
        reference_columns: Which columns those were; two digests over different columns say nothing about each other.
        evaluation: Over the evaluation command and the files that it names.
        data: Over the training data, where it was declared.
        training: Over everything that training depends on, where ``train.inputs`` declares it: command, inputs, data, packages.
        environment: Over the installed packages.
    """

    test_set: str | None = None
    reference_columns: tuple[str, ...] | None = None
    evaluation: str | None = None
    data: str | None = None
    training: str | None = None
    environment: str | None = None


class ReusedFrom(_Document):
    """The recorded run that another one is: the training was the same, so nothing was trained again.

    Times, resources and environment of the run are those of that training, so it cost nothing now.

    Attributes:
        commit: Of the run that was trained, its full hash; never one that was reused itself.
        evaluated: Whether its scores are those of that run too; otherwise its model was evaluated again.
    """

    commit: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{7,64}$")]
    evaluated: bool = True


class RunRecord(_Document):
    """``run.json``: everything about a run except its per-example scores."""

    schema_: Literal["metricgate.run/1"] = pydantic.Field(default=RUN_SCHEMA, alias="schema")
    stage: Literal["trained", "evaluated"] = "evaluated"
    name: str = ""
    commit: str | None = None
    seed: int | None = None
    reused_from: ReusedFrom | None = None
    times: Times = Times()
    metrics: dict[str, MetricRecord] = {}
    resources: Resources = Resources()
    fingerprints: Fingerprints = Fingerprints()
    model_digest: str | None = None
    golden_digest: str | None = None  # of golden.jsonl, where the evaluation wrote one
    environment: dict[str, Any] = {}

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


@dataclass(frozen=True)
class Run:
    """A run as the comparison sees it.

    Attributes:
        where: Its folder, or the file it was read from.
        metrics: One number per metric that the run itself states.
        scores: One row per test example, where the run has them.
        record: Its ``run.json``; an empty one for a run that was made elsewhere.
    """

    where: Path
    metrics: Mapping[str, Metric]
    scores: ScoreTable | None = None
    record: RunRecord = field(default_factory=RunRecord)


def read_record(folder: Path) -> RunRecord | None:
    """Read ``run.json`` from a run folder; None where there is none.

    Raises:
        InputError: The file is there and is not a ``metricgate.run/1`` document.
    """
    file = folder / RUN_FILE
    if not file.is_file():
        return None
    return parse_record(file.read_bytes(), where=str(file))


def parse_record(content: bytes, *, where: str) -> RunRecord:
    """Read the content of ``run.json``.

    Raises:
        InputError: It is not a ``metricgate.run/1`` document.
    """
    try:
        return RunRecord.model_validate_json(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{place + ': ' if place else ''}{first['msg']}",
            where=where,
            expected=f"a {RUN_SCHEMA} document",
            fix="run `metricgate train` and `metricgate evaluate` again, or delete the file to use the folder as it is",
        ) from None


def write_record(folder: Path, record: RunRecord) -> None:
    """Write ``run.json`` into ``folder``, whole or not at all."""
    document = record.model_dump(mode="json", by_alias=True)
    write_text(folder / RUN_FILE, json.dumps(document, indent=2, sort_keys=True, allow_nan=False) + "\n")


def write_text(file: Path, text: str) -> None:
    """Write a file aside and rename it into place, so that nobody ever reads half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(text)
        Path(aside).chmod(0o644)
        Path(aside).replace(file)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise

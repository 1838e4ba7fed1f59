"""``tuning.json``: what a search found, from which everything shown to people is rendered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from metricgate.errors import InputError, UsageError
from metricgate.report.document import Report
from metricgate.tune_config import Value

SCHEMA: Literal["metricgate.tuning/1"] = "metricgate.tuning/1"

Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]
State = Literal["complete", "pruned", "failed", "running", "waiting"]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class TrialInfo(_Part):
    """One trial.

    Attributes:
        number: Its number in the study; numbers of trials that had to be done again are missing.
        state: How it ended.
        value: The metric; of a pruned one, what it had reported last.
        values: Its parameters.
        step: The last step that it reported.
        seconds: How long it took.
        why: Why it failed.
    """

    number: int
    state: State
    value: Number | None = None
    values: dict[str, Value] = {}
    step: int | None = None
    seconds: Number | None = None
    why: str = ""


class ParameterInfo(_Part):
    """One parameter: where it was searched, what it is, what it was best, and how much it mattered (shares of 1)."""

    name: str
    space: str
    current: Value = None
    known: bool = False
    best: Value = None
    importance: Number | None = None


class RetrainedInfo(_Part):
    """The metric of the search in new trainings: what the best parameters and the present ones are really worth."""

    seeds: tuple[int, ...]
    best: Number | None = None
    current: Number | None = None


class Tuning(_Part):
    """What a search found.

    Attributes:
        name: The model's name.
        study: The study's name in its storage.
        storage: What kind that is, such as ``postgresql``; where it is concerns nobody who reads a report.
        metric: What was searched for, ``direction`` which way is better.
        budget: How many trials were asked for.
        lost: How many had to be done again because their machine was gone.
        best: The best trial.
        current: The trial with the parameters of the repository, if there is one.
        trials: All that count, in the order in which they were begun.
        retrained: What the new trainings gave; None where there were none.
        verdict: How the gate judges the best parameters against the present ones; None where that was not asked.
        changed: Whether the best parameters are others than the present ones.
        warnings: What to know before believing it.
    """

    schema_: Literal["metricgate.tuning/1"] = pydantic.Field(default=SCHEMA, alias="schema")
    name: str = "model"
    study: str
    storage: str = ""
    commit: str | None = None
    metric: str
    direction: Literal["higher", "lower"]
    budget: int
    lost: int = 0
    best: TrialInfo
    current: TrialInfo | None = None
    parameters: tuple[ParameterInfo, ...]
    trials: tuple[TrialInfo, ...]
    retrained: RetrainedInfo | None = None
    verdict: Report | None = None
    changed: bool = True
    warnings: tuple[str, ...] = ()

    def count(self, state: State) -> int:
        """How many trials ended so."""
        return sum(trial.state == state for trial in self.trials)

    def better(self, one: float, other: float) -> bool:
        """Whether one value is better than another."""
        return one > other if self.direction == "higher" else one < other

    @property
    def best_so_far(self) -> tuple[tuple[int, float], ...]:
        """The best value after each trial that got to its end: how many had ended, and the value."""
        found: list[tuple[int, float]] = []
        for trial in self.trials:
            if trial.state != "complete" or trial.value is None:
                continue
            best = trial.value if not found or self.better(trial.value, found[-1][1]) else found[-1][1]
            found.append((len(found) + 1, best))
        return tuple(found)

    @property
    def exit_code(self) -> int:
        """That of the verdict; 0 without one."""
        return self.verdict.exit_code if self.verdict else 0


def to_json(tuning: Tuning) -> str:
    """The document as text: sorted keys, finite numbers, the same bytes for the same search."""
    return json.dumps(tuning.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read(path: Path) -> Tuning:
    """Read a document.

    Raises:
        UsageError: There is no such file.
        InputError: It is not a ``metricgate.tuning/1`` document.
    """
    try:
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(f"the file can't be read: {error.strerror}", where=str(path), expected="a tuning.json") from None
    try:
        return Tuning.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{where}: {first['msg']}", where=str(path), expected=f"a {SCHEMA} document") from None

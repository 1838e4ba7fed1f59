"""``tune:`` of ``metricgate.yaml``: which parameters are searched, for what, and how long."""

from __future__ import annotations

import itertools
import math
import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import pydantic

from metricgate.config_fields import Duration, Section, Seeds, Text, not_empty

Value = int | float | str | bool | None
Name = Annotated[str, pydantic.Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}(\.[A-Za-z_][A-Za-z0-9_-]{0,63}){0,7}$")]
Sampler = Literal["tpe", "random", "grid"]
Pruner = Literal["median", "hyperband", "none"]

GRID_LIMIT = 1000
PARAMETER_FILES = (".json", ".yaml", ".yml")


def _number(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return value
    message = "should be a finite number"
    raise ValueError(message)


Number = Annotated[int | float, pydantic.PlainValidator(_number), pydantic.WithJsonSchema({"type": "number"})]


class Parameter(Section):
    """The values that one parameter may have: `low` and `high`, or `choices`."""

    model_config = pydantic.ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["choices"]}, {"required": ["low", "high"]}]},
    )

    low: Number | None = None
    """The least. Two whole numbers make a parameter of whole numbers."""
    high: Number | None = None
    """The greatest; it is one of the values."""
    log: bool = False
    """Whether 0.001 is as far from 0.01 as 0.01 is from 0.1: for learning rates and the like."""
    step: Number | None = None
    """The distance of neighbouring values; by default any value, or any whole number."""
    choices: (
        Annotated[tuple[Value, ...], pydantic.AfterValidator(not_empty), pydantic.Field(json_schema_extra={"minItems": 1})]
        | None
    ) = None
    """The values themselves, which have no order: numbers, texts, true and false, null."""

    @pydantic.model_validator(mode="after")
    def _one_kind(self) -> Parameter:
        if self.choices is not None:
            self._check_choices(self.choices)
        elif self.low is None or self.high is None:
            message = "should have `low` and `high`, or `choices`"
            raise ValueError(message)
        else:
            self._check_range(self.low, self.high)
        return self

    def _check_choices(self, choices: tuple[Value, ...]) -> None:
        if self.low is not None or self.high is not None or self.step is not None or self.log:
            message = "`choices` stand alone; `low`, `high`, `step` and `log` make a range"
            raise ValueError(message)
        if len({(type(value), value) for value in choices}) != len(choices):
            message = "the same choice twice"
            raise ValueError(message)
        if any(isinstance(value, float) and not math.isfinite(value) for value in choices):
            message = "a choice that is no finite number"
            raise ValueError(message)

    def _check_range(self, low: float, high: float) -> None:
        if low > high:
            message = f"low {low:g} is more than high {high:g}"
            raise ValueError(message)
        if self.log and low <= 0:
            message = f"`log: true` needs a `low` above 0, such as 1e-5, not {low:g}"
            raise ValueError(message)
        if self.step is not None and self.step <= 0:
            message = f"`step` should be above 0, not {self.step:g}"
            raise ValueError(message)
        if self.log and self.step is not None:
            message = "`log` and `step` exclude each other"
            raise ValueError(message)

    @property
    def whole(self) -> bool:
        """Whether it is a range of whole numbers."""
        return all(isinstance(end, int) for end in (self.low, self.high)) and isinstance(self.step or 1, int)

    @property
    def values(self) -> tuple[Value, ...] | None:
        """All its values, where they can be counted."""
        if self.choices is not None:
            return self.choices
        if self.low is None or self.high is None or (self.step is None and not self.whole) or self.log:
            return None
        step = self.step or 1
        count = int((self.high - self.low) / step + 1e-9) + 1
        # As decimal steps read: 0.30000000000000004 would be another text in the parameters' file.
        return tuple(self.low + index * step if self.whole else round(self.low + index * step, 12) for index in range(count))

    def allows(self, value: object) -> bool:
        """Whether it may have this value."""
        if self.choices is not None:
            return any(type(choice) is type(value) and choice == value for choice in self.choices)
        if isinstance(value, bool) or not isinstance(value, int if self.whole else int | float):
            return False
        if self.low is None or self.high is None or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-8


class Tune(Section):
    """A search for better parameters of the training."""

    metric: Text
    """The number that a trial reports, in metrics.json or in METRICGATE_PROGRESS: measured on validation data, not on the
    test set that the gate judges with."""
    direction: Literal["higher", "lower"] | None = None
    """Which way is better; by default as `metrics` says for a metric of that name."""
    space: Annotated[dict[Name, Parameter], pydantic.Field(min_length=1)]
    """The parameters. A name with dots, such as optimizer.lr, is a value inside of another one in the parameters' file."""
    params: Text | None = None
    """The file in the repository that the training reads its parameters from, JSON or YAML; METRICGATE_PARAMS stands for it."""
    run: Text | None = None
    """The command of a trial; by default that of `train`."""
    trials: Annotated[int, pydantic.Field(ge=1, le=100_000)] = 50
    """How many there are in all, on all machines and in all calls together."""
    timeout: Annotated[Duration, pydantic.Field(json_schema_extra={"default": None})] | None = None
    """How long one call may search, such as 8h; by default until all trials are there."""
    trial_timeout: Annotated[Duration, pydantic.Field(json_schema_extra={"default": None})] | None = None
    """How long one trial may take; by default as long as one training."""
    workers: Annotated[int, pydantic.Field(ge=1, le=64)] = 1
    """How many trials run at once on this machine."""
    sampler: Sampler = "tpe"
    """How parameters are chosen: by what earlier trials showed (tpe), at random, or every combination once (grid)."""
    pruner: Pruner = "median"
    """Which trials are ended early, by the numbers that they report on the way in METRICGATE_PROGRESS."""
    warmup_trials: Annotated[int, pydantic.Field(ge=0)] = 5
    """How many trials end by themselves before any is pruned."""
    warmup_steps: Annotated[int, pydantic.Field(ge=0)] = 0
    """Up to which step no trial is pruned."""
    seed: Annotated[int, pydantic.Field(ge=0, le=2**31 - 1)] = 0
    """The seed of the search, and METRICGATE_SEED of every trial."""
    seeds: Seeds = (0, 1, 2)
    """With which seeds the best parameters are trained again, and the present ones, to be compared."""
    storage: Text | None = None
    """Where trials are kept: a file, by default in .metricgate/tune, or a database's URL without a password, such as
    postgresql://tuner@db/tuning, on which several machines work at once."""
    storage_env: Annotated[str, pydantic.Field(pattern=r"^[A-Z_][A-Z0-9_]{0,63}$")] = "METRICGATE_TUNE_STORAGE"
    """The environment variable that holds the URL with its password, and goes before `storage`. Trials do not see it."""
    retries: Annotated[int, pydantic.Field(ge=0, le=20)] = 3
    """How often a trial whose machine vanished is done again."""

    @pydantic.field_validator("params")
    @classmethod
    def _inside(cls, params: str | None) -> str | None:
        path = PurePosixPath(params or "params.json")
        if path.is_absolute() or ".." in path.parts or path.suffix.lower() not in PARAMETER_FILES:
            message = "should be a .json or .yaml file inside the repository, relative to its root"
            raise ValueError(message)
        return params

    # Of the whole section, because what a validator of one value refuses is quoted in the message.
    @pydantic.model_validator(mode="after")
    def _no_password(self) -> Tune:
        if self.storage and has_password(self.storage):
            message = f"`storage`: a password in a file is no secret; put the URL into the variable {self.storage_env}"
            raise ValueError(message)
        return self

    @pydantic.model_validator(mode="after")
    def _names_are_distinct(self) -> Tune:
        seen: dict[str, str] = {}
        for name in self.space:
            other = seen.setdefault(variable(name), name)
            if other != name:
                message = f"`{other}` and `{name}` would both be {variable(name)}"
                raise ValueError(message)
            if any(longer.startswith(f"{name}.") for longer in self.space):
                message = f"`{name}` would be a value and a group of values at once"
                raise ValueError(message)
        return self

    @pydantic.model_validator(mode="after")
    def _grid_is_finite(self) -> Tune:
        if self.sampler != "grid":
            return self
        size = 1
        for name, parameter in self.space.items():
            if parameter.values is None:
                message = f"`sampler: grid` needs values that can be counted; give `{name}` a `step` or `choices`"
                raise ValueError(message)
            size *= len(parameter.values)
        if size > GRID_LIMIT:
            message = f"the grid has {size:,} combinations, and {GRID_LIMIT:,} are the most; use `sampler: tpe`"
            raise ValueError(message)
        return self

    @property
    def grid(self) -> tuple[dict[str, Value], ...]:
        """Every combination of values, for ``sampler: grid``."""
        columns = [parameter.values or () for parameter in self.space.values()]
        return tuple(dict(zip(self.space, row, strict=True)) for row in itertools.product(*columns))

    @property
    def identity(self) -> dict[str, Any]:
        """What makes trials comparable: those of another space, metric, seed or command belong to another study."""
        return self.model_dump(mode="json", include={"metric", "direction", "space", "run", "seed"}, exclude_defaults=True)


def variable(name: str) -> str:
    """The environment variable that carries a parameter."""
    return "METRICGATE_PARAM_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


def has_password(storage: str) -> bool:
    """Whether a storage is a URL with a password in it."""
    try:
        parts = urlsplit(storage)
        return bool(parts.password) or "password=" in parts.query.lower()
    except ValueError:
        return True

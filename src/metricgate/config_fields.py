"""What the sections of ``metricgate.yaml`` are made of: limits, durations, texts."""

from __future__ import annotations

import re
from typing import Annotated, Any, NamedTuple

import pydantic

_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_DURATION_PATTERN = r"^(\d+d)?(\d+h)?(\d+m)?(\d+s)?$"
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class Limit(NamedTuple):
    """How much is allowed: in the metric's own unit, or as a fraction of the baseline.

    Attributes:
        value: 0.01 for ``0.01``, 0.1 for ``10%``.
        relative: Whether ``value`` is a fraction of the baseline.
    """

    value: float
    relative: bool = False

    def __str__(self) -> str:
        return f"{self.value * 100:g}%" if self.relative else f"{self.value:g}"


def _parse_limit(value: object) -> object:
    if isinstance(value, Limit):
        return value
    if isinstance(value, str) and (match := _PERCENT.fullmatch(value.strip())):
        return Limit(float(match[1]) / 100, relative=True)
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < float("inf"):
        return Limit(float(value))
    message = "should be 0 or more, such as 0.01 (in the metric's unit) or 10% (of the baseline)"
    raise ValueError(message)


def _parse_duration(value: object) -> object:
    if isinstance(value, str) and value and (match := _DURATION.fullmatch(value.strip())):
        days, hours, minutes, seconds = (int(part or 0) for part in match.groups())
        if total := ((days * 24 + hours) * 60 + minutes) * 60 + seconds:
            return float(total)
    message = "should be a duration such as 90s, 30m, 6h or 1h30m"
    raise ValueError(message)


def not_empty(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """A list with something in it; an empty one is a mistake."""
    # Not `min_length`: pydantic checks that before the items, and a mistake in the only item would be reported twice.
    if not values:
        message = "should have at least one entry; leave the line out for the default"
        raise ValueError(message)
    return values


def different(values: tuple[int, ...]) -> tuple[int, ...]:
    """Seeds of which none stands there twice."""
    if len(set(values)) != len(values):
        message = "the same seed twice would count one training as two"
        raise ValueError(message)
    return values


LimitField = Annotated[
    Limit,
    pydantic.PlainValidator(_parse_limit),
    pydantic.PlainSerializer(list, return_type=list[float | bool]),
    pydantic.WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": r"^\d+(\.\d+)?\s*%$"}]}),
]
Duration = Annotated[
    float,
    pydantic.PlainValidator(_parse_duration),
    pydantic.WithJsonSchema({"type": "string", "pattern": _DURATION_PATTERN, "minLength": 2}),
]
Seeds = Annotated[
    tuple[Annotated[int, pydantic.Field(ge=0)], ...],
    pydantic.AfterValidator(not_empty),
    pydantic.AfterValidator(different),
    pydantic.Field(json_schema_extra={"minItems": 1}),
]
Finite = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Text = Annotated[str, pydantic.Field(min_length=1)]


class Section(pydantic.BaseModel):
    """A part of ``metricgate.yaml``."""

    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True)

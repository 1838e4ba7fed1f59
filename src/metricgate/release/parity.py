"""How far the answers of an image are from those that the trained model gave."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass

from metricgate.tensors import Tensor, Value

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a number may be from the expected one: ``atol + rtol · |expected|``, as in ``numpy.isclose``.

    The same model on another processor, or with another version of a framework, rounds otherwise: float32 has seven digits, the
    TF32 of a GPU three. Texts, booleans and whole numbers have to be the same.

    Attributes:
        rtol: As a fraction of the expected number.
        atol: In the number's own unit; what counts near zero.
    """

    rtol: float = 1e-4
    atol: float = 1e-5


@dataclass(frozen=True, slots=True)
class Difference:
    """Between answers, over all their numbers.

    Attributes:
        sum_squared: The sum of the squared differences.
        max_squared: The largest of them.
        max_absolute: The largest difference.
        max_relative: The largest difference as a fraction of the expected number, where that is not 0.
        wrong: What is wrong, in words; empty where everything is within tolerance.
    """

    sum_squared: float = 0.0
    max_squared: float = 0.0
    max_absolute: float = 0.0
    max_relative: float = 0.0
    wrong: str = ""

    def __add__(self, other: Difference) -> Difference:
        return Difference(
            sum_squared=min(self.sum_squared + other.sum_squared, sys.float_info.max),
            max_squared=max(self.max_squared, other.max_squared),
            max_absolute=max(self.max_absolute, other.max_absolute),
            max_relative=max(self.max_relative, other.max_relative),
            wrong=self.wrong or other.wrong,
        )


def compare(expected: Sequence[Tensor], found: Sequence[Tensor], tolerance: Tolerance) -> Difference:
    """Compare an answer with the right one. Outputs that are not expected do not count."""
    total = Difference()
    for tensor in expected:
        partner = _partner(tensor, expected, found)
        if partner is None:
            names = ", ".join(repr(other.name) for other in found)
            missing = f"the output {tensor.name!r}" if tensor.name else "one output without a name"
            total += Difference(wrong=f"expected {missing}, found {names}")
        else:
            total += _compare(tensor, partner, tolerance)
    return total


def _partner(tensor: Tensor, expected: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor | None:
    # v1 does not name a single output.
    if len(expected) == len(found) == 1 and not (tensor.name and found[0].name):
        return found[0]
    return next((other for other in found if other.name == tensor.name), None)


def _compare(expected: Tensor, found: Tensor, tolerance: Tolerance) -> Difference:
    label = f"output {expected.name!r}: " if expected.name else ""
    if expected.shape != found.shape:
        return Difference(wrong=f"{label}expected the shape {list(expected.shape)}, found {list(found.shape)}")
    numbers = {"int", "float"}
    if expected.kind != found.kind and not (
        {expected.kind, found.kind} <= numbers and not (expected.datatype and found.datatype)
    ):
        return Difference(wrong=f"{label}expected {_type(expected)}, found {_type(found)}")
    if expected.kind not in numbers:
        wrong = [index for index, pair in enumerate(zip(expected.values, found.values, strict=True)) if not _same(*pair)]
        return Difference(wrong=_words(label, expected, found, wrong))
    # In v1 a whole number may stand for a float that happens to be one.
    exact = expected.kind == "int" and (bool(expected.datatype) or found.kind == "int")
    return _numbers(label, expected, found, Tolerance(rtol=0.0, atol=0.0) if exact else tolerance)


def _numbers(label: str, expected: Tensor, found: Tensor, tolerance: Tolerance) -> Difference:
    absolute, relative, squares, wrong = 0.0, 0.0, 0.0, []
    for index, (right, answer) in enumerate(zip(expected.values, found.values, strict=True)):
        assert isinstance(right, int | float)  # noqa: S101 - what `kind` says
        assert isinstance(answer, int | float)  # noqa: S101
        distance = _finite(abs(right - answer))
        absolute = max(absolute, distance)
        squares = _finite(squares + _finite(distance * distance))
        if right:
            relative = max(relative, _finite(distance / abs(right)))
        if distance > tolerance.atol + tolerance.rtol * abs(right):
            wrong.append(index)
    return Difference(squares, _finite(absolute * absolute), absolute, relative, _words(label, expected, found, wrong))


def _words(label: str, expected: Tensor, found: Tensor, wrong: Sequence[int]) -> str:
    if not wrong:
        return ""
    first = [f"expected {_value(expected, index)}, found {_value(found, index)}" for index in wrong[:_SHOWN]]
    more = f"; and {len(wrong) - _SHOWN:,} more" if len(wrong) > _SHOWN else ""
    return f"{label}{len(wrong):,} of {len(expected.values):,} values are wrong: {'; '.join(first)}{more}"


def _value(tensor: Tensor, index: int) -> str:
    place, rest = [], index
    for size in reversed(tensor.shape):
        rest, at = divmod(rest, size)
        place.append(at)
    value = tensor.values[index]
    shown = f"{value:.7g}" if isinstance(value, float) else repr(value)[:60]
    return f"{shown} at {place[::-1]}" if place else shown


def _same(expected: Value, found: Value) -> bool:
    return _bytes(expected) == _bytes(found)


def _bytes(value: Value) -> Value:
    return value.encode(errors="surrogatepass") if isinstance(value, str) else value


def _type(tensor: Tensor) -> str:
    return f"values of the type {tensor.datatype or tensor.kind}"


def _finite(value: float) -> float:
    """The number, or the largest one: a report holds no infinity."""
    return float(min(value, sys.float_info.max))

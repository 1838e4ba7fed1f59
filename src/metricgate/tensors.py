"""Tensors as the two inference protocols write them in JSON, read without trust: finite numbers, shapes that match.

- Open Inference Protocol v2 (kserve/open-inference-protocol, ``required_api.md``): a tensor has name, datatype and shape.
- TensorFlow Serving's REST form (``tensorflow.org/tfx/serving/api_rest``, v1 here): nested lists, by row (``instances``,
  ``predictions``) or by column (``inputs``, ``outputs``); names only where there are several.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

import pydantic

Value = bool | int | float | str | bytes
Kind = Literal["bool", "int", "float", "text"]
Datatype = Literal[
    "BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64", "FP16", "BF16", "FP32", "FP64", "BYTES"
]
DATATYPES: tuple[str, ...] = get_args(Datatype)

_MOST_DIMENSIONS = 32  # numpy's and TensorFlow's own limits are near
_UNDECLARED: Mapping[Kind, Datatype] = {"bool": "BOOL", "int": "INT64", "float": "FP32", "text": "BYTES"}


class MalformedError(Exception):
    """A document is none that the protocol allows.

    Args:
        place: Where in the document: ``request.inputs.0.data``.
        found: What stands there.
        expected: What should.
    """

    def __init__(self, place: str, found: str, expected: str = "") -> None:
        super().__init__(f"{place}: {found}")
        self.place = place
        self.found = found
        self.expected = expected


@dataclass(frozen=True, slots=True)
class Tensor:
    """One input or output.

    Attributes:
        name: Empty where the document names none.
        datatype: As in v2; empty where the protocol does not say it.
        shape: Its dimensions.
        values: All values, the last dimension running fastest.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: tuple[Value, ...]

    @property
    def kind(self) -> Kind:
        """What the values are; integers among floats are floats."""
        if self.datatype:
            return kind_of(self.datatype)
        kinds = {_kind(value) for value in self.values}
        return "float" if kinds == {"int", "float"} else next(iter(kinds), "float")

    @property
    def nested(self) -> Any:
        """The values as nested lists, as v1 writes them."""
        flat: Sequence[Any] = [_plain(value) for value in self.values]
        for size in reversed(self.shape[1:]):
            flat = [flat[at : at + size] for at in range(0, len(flat), size)] if size else []
        return list(flat) if self.shape else flat[0]

    def document(self, *, name: str = "", datatype: str = "") -> dict[str, object]:
        """The tensor as v2 writes it.

        Args:
            name: Instead of none.
            datatype: Instead of none.

        Raises:
            MalformedError: It holds bytes that are no text, which JSON can't carry in v2.
        """
        declared = self.datatype or datatype or _UNDECLARED[self.kind]
        values = [_text(value, self.name or name) for value in self.values]
        if kind_of(declared) == "float":
            values = [float(value) if isinstance(value, int) and not isinstance(value, bool) else value for value in values]
        return {"name": self.name or name, "datatype": declared, "shape": list(self.shape), "data": values}


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


Parameters = dict[str, bool | int | float | str]


class _V2Tensor(_Document):
    name: Annotated[str, pydantic.Field(min_length=1)]
    datatype: Datatype
    shape: list[Annotated[int, pydantic.Field(ge=0)]]
    data: list[Any]
    parameters: Parameters | None = None


class _V2Tensors(_Document):
    tensors: Annotated[list[_V2Tensor], pydantic.Field(min_length=1)]


def of_v2(document: object, *, place: str) -> tuple[Tensor, ...]:
    """Read the ``inputs`` or ``outputs`` of a v2 document.

    Raises:
        MalformedError: They are not what the protocol says.
    """
    try:
        read = _V2Tensors.model_validate({"tensors": document}).tensors
    except pydantic.ValidationError as error:
        raise malformed(error, place=place, drop=1) from None
    tensors = tuple(_of_v2(tensor, place=f"{place}.{index}") for index, tensor in enumerate(read))
    names = [tensor.name for tensor in tensors]
    if twice := [name for name in names if names.count(name) > 1]:
        raise MalformedError(place, f"the name {twice[0]!r} stands there twice", "every tensor once")
    return tensors


def of_rows(rows: object, *, place: str) -> tuple[Tensor, ...]:
    """Read ``instances`` or ``predictions`` of a v1 document: one entry an example.

    Raises:
        MalformedError: They are not what the protocol says.
    """
    if not isinstance(rows, list) or not rows:
        raise MalformedError(place, _shown(rows), "a list with at least one entry")
    if not _is_named(rows[0]):
        return (_of_nested(rows, name="", place=place),)
    names = list(rows[0])
    for index, row in enumerate(rows):
        if not _is_named(row) or set(row) != set(names):
            raise MalformedError(
                f"{place}.{index}", _shown(row), f"an object with the keys {', '.join(names)}, as in the first"
            )
    return tuple(_of_nested([row[name] for row in rows], name=name, place=f"{place}.*.{name}") for name in names)


def of_columns(columns: object, *, place: str) -> tuple[Tensor, ...]:
    """Read ``inputs`` or ``outputs`` of a v1 document: one entry a tensor.

    Raises:
        MalformedError: They are not what the protocol says.
    """
    if not _is_named(columns):
        return (_of_nested(columns, name="", place=place),)
    assert isinstance(columns, dict)  # noqa: S101 - what `_is_named` says
    return tuple(_of_nested(value, name=name, place=f"{place}.{name}") for name, value in columns.items())


def looks_like_v2(document: object) -> bool:
    """Whether ``inputs`` or ``outputs`` are meant as v2 tensors: a list of objects, which v1 has only by row."""
    return isinstance(document, list) and bool(document) and all(_is_named(item) for item in document)


def rows(tensors: Sequence[Tensor]) -> dict[str, object]:
    """A v1 request: by row where all tensors have the same first dimension, as every v1 server reads it, else by column."""
    first = {tensor.shape[:1] for tensor in tensors}
    if len(tensors) == 1:
        return {"instances" if tensors[0].shape else "inputs": tensors[0].nested}
    if len(first) > 1 or first == {()}:
        return {"inputs": {tensor.name: tensor.nested for tensor in tensors}}
    columns = [(tensor.name, tensor.nested) for tensor in tensors]
    return {"instances": [{name: nested[row] for name, nested in columns} for row in range(tensors[0].shape[0])]}


def kind_of(datatype: str) -> Kind:
    """What the values of a v2 datatype are."""
    if datatype == "BOOL":
        return "bool"
    if datatype == "BYTES":
        return "text"
    return "float" if datatype.startswith(("FP", "BF")) else "int"


def malformed(error: pydantic.ValidationError, *, place: str, drop: int = 0) -> MalformedError:
    """The first mistake that pydantic found, as one of ours; ``drop`` leaves out that many steps of its location."""
    first = error.errors(include_url=False)[0]
    steps = [place, *(str(step) for step in first["loc"][drop:])]
    return MalformedError(".".join(step for step in steps if step), first["msg"][:1].lower() + first["msg"][1:300])


def _of_v2(tensor: _V2Tensor, *, place: str) -> Tensor:
    shape, values = _flat(tensor.data, place=f"{place}.data")
    count = math.prod(tensor.shape)
    # The protocol allows both: all values in one list, or nested as the shape says.
    if len(values) != count or (len(shape) > 1 and shape != tuple(tensor.shape)):
        raise MalformedError(
            f"{place}.data",
            f"{tensor.name!r} has {len(values)} values, {_by(shape)}, and the shape {tensor.shape}",
            f"{count} values",
        )
    kind = kind_of(tensor.datatype)
    for index, value in enumerate(values):
        found = _kind(value)
        if found != kind and not (kind == "float" and found == "int"):
            raise MalformedError(
                f"{place}.data.{index}",
                f"{_shown(_plain(value))} among values of the datatype {tensor.datatype}",
                {"float": "numbers", "int": "whole numbers without a point", "bool": "true or false", "text": "strings"}[kind],
            )
    return Tensor(name=tensor.name, datatype=tensor.datatype, shape=tuple(tensor.shape), values=values)


def _of_nested(value: object, *, name: str, place: str) -> Tensor:
    shape, values = _flat(value, place=place)
    kinds = {_kind(value) for value in values}
    if len(kinds) > 1 and kinds != {"int", "float"}:
        raise MalformedError(place, f"one tensor holds {' and '.join(sorted(kinds))} values", "values of one kind")
    return Tensor(name=name, datatype="", shape=shape, values=values)


def _flat(value: object, *, place: str, depth: int = 0) -> tuple[tuple[int, ...], tuple[Value, ...]]:
    """(shape, values) of nested lists."""
    if not isinstance(value, list):
        return (), (_leaf(value, place=place),)
    if depth == _MOST_DIMENSIONS:
        raise MalformedError(place, "lists are nested too deeply", f"at most {_MOST_DIMENSIONS} dimensions")
    if {type(item) for item in value} == {float} and all(map(math.isfinite, value)):
        return (len(value),), tuple(value)
    if not any(isinstance(item, list) for item in value):
        return (len(value),), tuple(_leaf(item, place=f"{place}.{index}") for index, item in enumerate(value))
    shapes: set[tuple[int, ...]] = set()
    values: list[Value] = []
    for index, item in enumerate(value):
        shape, inside = _flat(item, place=f"{place}.{index}", depth=depth + 1)
        shapes.add(shape)
        values.extend(inside)
        if len(shapes) > 1:
            raise MalformedError(f"{place}.{index}", "it has another shape than the entries before it", "a full grid of values")
    return (len(value), *shapes.pop()), tuple(values)


def _leaf(value: object, *, place: str) -> Value:
    if isinstance(value, bool | str):
        return value
    if isinstance(value, int | float):
        if not _is_finite(value):
            raise MalformedError(place, f"{value if isinstance(value, float) else 'a number too large'}", "a finite number")
        return value
    if isinstance(value, dict) and set(value) == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise MalformedError(place, "the value of `b64` is not Base64", '{"b64": "aGVsbG8="}') from None
    raise MalformedError(place, _shown(value), "a number, a boolean, a string, or a list of them")


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(float(value))
    except OverflowError:
        return False


def _is_named(value: object) -> bool:
    return isinstance(value, dict) and bool(value) and set(value) != {"b64"}


def _kind(value: Value) -> Kind:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int"
    return "float" if isinstance(value, float) else "text"


def _plain(value: Value) -> object:
    return {"b64": base64.b64encode(value).decode()} if isinstance(value, bytes) else value


def _text(value: Value, name: str) -> Value:
    if not isinstance(value, bytes):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise MalformedError(name, "bytes that are no text can't be asked for in this protocol's JSON", "text") from None


def _by(shape: Iterable[int]) -> str:
    return "×".join(map(str, shape)) or "no list"


def _shown(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return f"an object with the keys {', '.join(map(repr, value))}"[:200] if value else "an empty object"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    return repr(value)[:80]

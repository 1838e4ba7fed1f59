"""What a model takes and gives, and how JSON and bytes become arrays of exactly that."""

from __future__ import annotations

import base64
import binascii
import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from .errors import Refused

Array = npt.NDArray[Any]

# The Open Inference Protocol's names ("Tensor Data Types"); BF16 as Triton has it.
NUMPY: dict[str, type[np.generic]] = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "UINT16": np.uint16,
    "UINT32": np.uint32,
    "UINT64": np.uint64,
    "INT8": np.int8,
    "INT16": np.int16,
    "INT32": np.int32,
    "INT64": np.int64,
    "FP16": np.float16,
    "FP32": np.float32,
    "FP64": np.float64,
    "BYTES": np.object_,
}
BFLOAT16 = "BF16"
# JSON has no such numbers; these words stand for them in Protocol Buffers' JSON, and numpy reads them as well.
NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Tensor:
    """One named input or output.

    Attributes:
        name: What the model calls it.
        datatype: As the Open Inference Protocol calls it.
        shape: -1 where any size will do; None where any number of dimensions will.
    """

    name: str
    datatype: str
    shape: tuple[int, ...] | None

    @property
    def numpy(self) -> np.dtype[Any]:
        """Its element type."""
        if self.datatype == BFLOAT16:
            import ml_dtypes  # only TensorFlow has such tensors, and brings it

            return cast("np.dtype[Any]", np.dtype(ml_dtypes.bfloat16))
        return np.dtype(NUMPY[self.datatype])

    def __str__(self) -> str:
        shape = "any shape" if self.shape is None else f"the shape {list(self.shape)}"
        return f"`{self.name}`: {self.datatype} of {shape}"

    def zeros(self) -> Array:
        """The smallest tensor of that kind: 1 where any size will do."""
        shape = [max(size, 1) if size < 0 else size for size in self.shape or ()]
        return np.full(shape, b"", dtype=np.object_) if self.datatype == "BYTES" else np.zeros(shape, dtype=self.numpy)

    def check_shape(self, shape: Sequence[int]) -> None:
        """Refuse another shape.

        Raises:
            Refused: A number of dimensions or a size differs.
        """
        wanted = self.shape
        if wanted is None:
            return
        if len(shape) != len(wanted) or any(w not in {-1, found} for found, w in zip(shape, wanted, strict=True)):
            raise Refused(f"input `{self.name}` has the shape {list(shape)}; expected {list(wanted)} (-1 is any size)")


def from_json(data: object, tensor: Tensor) -> Array:
    """Lists of JSON as an array of the tensor's type. Nothing is rounded, wrapped or guessed to make it fit.

    Raises:
        Refused: The values are of another kind or out of range, or rows differ in length.
    """
    if tensor.datatype == "BYTES":
        return _texts(data, tensor)
    try:
        found = np.array(data)
    except (ValueError, TypeError, OverflowError):
        raise Refused(f"input `{tensor.name}`: the rows differ in length; expected {tensor}") from None
    target = tensor.numpy
    if not found.size and found.dtype.kind == "f":
        return found.astype(target)
    if tensor.datatype == "BOOL":
        if found.dtype.kind != "b":
            raise _of_another_kind(tensor, "true and false")
        return found
    if target.kind in "iu":
        return _whole(found, data, tensor)
    if found.dtype.kind in "OU":
        found = _with_words(data, tensor)
    if found.dtype.kind not in "iuf":
        raise _of_another_kind(tensor, "numbers")
    try:
        with np.errstate(over="raise"):
            return found.astype(target, copy=False)
    except FloatingPointError:
        raise Refused(f"input `{tensor.name}` holds a number that is too large for {tensor.datatype}") from None


def from_bytes(raw: memoryview, tensor: Tensor, shape: Sequence[int]) -> Array:
    """The binary form of a tensor, little-endian and row by row, without copying it.

    Raises:
        Refused: There are more or fewer bytes than the shape needs.
    """
    count = math.prod(shape)
    if tensor.datatype == "BYTES":
        values = _split(raw, tensor)
        _check_count(len(values), count, tensor, shape)
        return _shaped(values, shape)
    if len(raw) != count * tensor.numpy.itemsize:
        needed = count * tensor.numpy.itemsize
        raise Refused(f"input `{tensor.name}` has {len(raw):,} bytes; the shape {list(shape)} needs {needed:,}")
    array = np.frombuffer(raw, dtype=tensor.numpy.newbyteorder("<") if tensor.datatype != BFLOAT16 else tensor.numpy)
    return (array if array.flags.aligned else array.copy()).reshape(shape)


def shaped(array: Array, tensor: Tensor, shape: Sequence[int]) -> Array:
    """Give an array, flat or nested, the shape that the request says.

    Raises:
        Refused: It can't have that shape.
    """
    _check_count(array.size, math.prod(shape), tensor, shape)
    if array.ndim != 1 and array.shape != tuple(shape):
        raise Refused(f"input `{tensor.name}` has data of the shape {list(array.shape)}, but says {list(shape)}")
    return array.reshape(shape)


def to_bytes(array: Array, tensor: Tensor) -> bytes:
    """The binary form of a tensor, as ``from_bytes`` reads it."""
    if tensor.datatype != "BYTES":
        return np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()
    values = [_encoded(value) for value in array.ravel()]
    return b"".join(part for value in values for part in (_LENGTH.pack(len(value)), value))


def to_json(array: Array, tensor: Tensor, *, base64_too: bool = False) -> object:
    """What JSON shows for an array: lists of numbers, ``NOT_FINITE``'s words, true and false, or texts.

    Args:
        array: What the model gave.
        tensor: What it says it gives.
        base64_too: Show bytes that are no UTF-8 as ``{"b64": …}``.

    Returns:
        Something that orjson writes with ``OPT_SERIALIZE_NUMPY``.

    Raises:
        Refused: The bytes are no text.
    """
    if tensor.datatype == "BYTES":
        return _shaped([_text(value, tensor, base64_too=base64_too) for value in array.ravel()], array.shape).tolist()
    if tensor.datatype == BFLOAT16:
        array = array.astype(np.float32)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        return _shaped([_word(value) for value in array.ravel().tolist()], array.shape).tolist()
    return np.ascontiguousarray(array) if array.ndim and array.size else array.tolist()


def _whole(found: Array, data: object, tensor: Tensor) -> Array:
    """Whole numbers that fit. numpy makes other types of those above 63 bits: they are looked at one by one."""
    if found.dtype.kind in "fO" and all(type(value) is int for value in np.array(data, dtype=np.object_).ravel()):
        found = np.array(data, dtype=np.object_)
    elif found.dtype.kind not in "iu":
        raise _of_another_kind(tensor, "whole numbers")
    limits = np.iinfo(tensor.numpy)
    if found.size and not (limits.min <= found.min() and found.max() <= limits.max):
        raise Refused(
            f"input `{tensor.name}` holds a number outside {limits.min} to {limits.max}, the range of {tensor.datatype}"
        )
    return found.astype(tensor.numpy, copy=False)


def _with_words(data: object, tensor: Tensor) -> Array:
    values = np.array(data, dtype=np.object_)
    if not all(type(value) in {int, float} or (type(value) is str and value in NOT_FINITE) for value in values.ravel()):
        raise _of_another_kind(tensor, "numbers")
    try:
        return values.astype(np.float64)
    except OverflowError:
        raise Refused(f"input `{tensor.name}` holds a number that is too large for {tensor.datatype}") from None


def _of_another_kind(tensor: Tensor, wanted: str) -> Refused:
    words = f", or the words {', '.join(NOT_FINITE)}" if wanted == "numbers" else ""
    return Refused(f"input `{tensor.name}` holds other values than {wanted}{words}; expected {tensor}")


def _check_count(found: int, wanted: int, tensor: Tensor, shape: Sequence[int]) -> None:
    if found != wanted:
        raise Refused(f"input `{tensor.name}` has {found:,} values; the shape {list(shape)} needs {wanted:,}")


def _texts(data: object, tensor: Tensor) -> Array:
    try:
        array = np.array(data, dtype=np.object_)
    except ValueError:
        raise Refused(f"input `{tensor.name}`: the rows differ in length; expected {tensor}") from None
    return _shaped([_from_text(value, tensor) for value in array.ravel()], array.shape)


def _shaped(values: Sequence[object], shape: Sequence[int]) -> Array:
    """An array of objects, whatever they are."""
    array = np.empty(len(values), dtype=np.object_)
    array[:] = values
    return array.reshape(shape)


def _from_text(value: object, tensor: Tensor) -> bytes:
    if isinstance(value, str):
        return value.encode("utf-8", errors="surrogatepass")
    if isinstance(value, Mapping) and value.keys() == {"b64"} and isinstance(value["b64"], str):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (binascii.Error, ValueError):
            raise Refused(f'input `{tensor.name}`: what stands in {{"b64": …}} is no base64') from None
    raise _of_another_kind(tensor, 'texts or {"b64": …}')


def _split(raw: memoryview, tensor: Tensor) -> list[bytes]:
    values, at = [], 0
    while at < len(raw):
        end = at + _LENGTH.size
        if end <= len(raw):
            (length,) = _LENGTH.unpack_from(raw, at)
            end += length
        if end > len(raw):
            raise Refused(
                f"input `{tensor.name}`: its bytes end within a value; expected a length of 4 bytes before each value"
            )
        values.append(bytes(raw[at + _LENGTH.size : end]))
        at = end
    return values


def _encoded(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()


def _text(value: object, tensor: Tensor, *, base64_too: bool) -> object:
    raw = _encoded(value)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        if base64_too:
            return {"b64": base64.b64encode(raw).decode()}
        raise Refused(f"output `{tensor.name}` is no text; ask for its binary form with binary_data") from None


def _word(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"

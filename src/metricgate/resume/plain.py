"""Plain values and arrays, to files and back, bit for bit and without pickle: what is read can't run code.

Values are None, booleans, numbers, text, bytes, tuples, lists and dictionaries of those, numpy scalars and arrays, and the
random generators of numpy and Python. They become JSON; what is in arrays becomes one file of raw bytes, which the JSON
points into.
"""

from __future__ import annotations

import base64
import json
import math
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from metricgate.resume.direct import DirectFile

VALUES = "values.json"
ARRAYS = "arrays.bin"
_ALIGN = 64
_TAG = "$"


class NotPlainError(TypeError):
    """A value is of a kind that can't be kept."""


def write(folder: Path, value: Any) -> dict[Path, str]:
    """Write ``values.json`` and ``arrays.bin``.

    Returns:
        The SHA-256 of files that need not be read for it.

    Raises:
        NotPlainError: Something in ``value`` is of another kind.
    """
    arrays: list[np.ndarray[Any, Any]] = []
    encoded = encode(value, arrays)
    index: list[dict[str, Any]] = []
    with DirectFile(folder / ARRAYS) as file:
        end = 0
        for array in arrays:
            index.append({"at": end, "dtype": array.dtype.name, "shape": list(array.shape)})
            data = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
            file.write(data.data)
            padding = -data.size % _ALIGN
            file.write(memoryview(bytes(padding)))
            end += data.size + padding
        digest = file.digest()
    (folder / VALUES).write_text(json.dumps({"value": encoded, "arrays": index}), encoding="utf-8")
    return {folder / ARRAYS: digest}


def read(folder: Path, *, writable: bool = True) -> Any:
    """What `write` wrote.

    Args:
        folder: Where it is.
        writable: Whether the arrays are copies in memory; otherwise they are read from disk when they are looked at.
    """
    content = json.loads((folder / VALUES).read_text(encoding="utf-8"))
    file = folder / ARRAYS
    empty = file.stat().st_size == 0
    data = np.empty(0, np.uint8) if empty else np.fromfile(file, np.uint8) if writable else np.memmap(file, np.uint8, "r")
    arrays = []
    for entry in content["arrays"]:
        dtype = np.dtype(_dtype(entry["dtype"]))
        size = math.prod(entry["shape"]) * dtype.itemsize
        arrays.append(np.asarray(data[entry["at"] : entry["at"] + size]).view(dtype).reshape(entry["shape"]))
    return decode(content["value"], arrays)


def encode(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """The value as JSON has it; arrays are appended to ``arrays``.

    Raises:
        NotPlainError: It is of another kind.
    """
    kind = type(value)
    if value is None or kind in (bool, int, float, str):
        return value
    if kind is list:
        return [encode(item, arrays) for item in value]
    if kind is dict and all(type(key) is str and not key.startswith(_TAG) for key in value):
        return {key: encode(item, arrays) for key, item in value.items()}
    for name, (types, unmake, _) in _KINDS.items():
        if kind in types:
            return {_TAG + name: encode(unmake(value), arrays)}
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind not in "OSUMm" and value.dtype.names is None:
        arrays.append(np.asarray(value))
        return {_TAG + ("array" if isinstance(value, np.ndarray) else "scalar"): len(arrays) - 1}
    raise NotPlainError(f"{kind.__module__}.{kind.__qualname__} can't be kept")


def decode(value: Any, arrays: list[np.ndarray[Any, Any]]) -> Any:
    """The value that `encode` was given."""
    if isinstance(value, list):
        return [decode(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    tags = [key for key in value if key.startswith(_TAG)]
    if not tags:
        return {key: decode(item, arrays) for key, item in value.items()}
    (tag,) = tags
    if tag == _TAG + "array":
        return arrays[value[tag]]
    if tag == _TAG + "scalar":
        return arrays[value[tag]][()]
    return _KINDS[tag[1:]][2](decode(value[tag], arrays))


def _dtype(name: str) -> Any:
    try:
        return np.dtype(name)
    except TypeError:
        import ml_dtypes  # comes with every framework that has bfloat16

        return getattr(ml_dtypes, name)


def _bit_generator(state: Mapping[str, Any]) -> Any:
    names = ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    generator = {name: getattr(np.random, name) for name in names}[state["bit_generator"]]()
    generator.state = state
    return generator


def _python_random(state: Any) -> random.Random:
    generator = random.Random()  # noqa: S311 - a training's
    generator.setstate(state)
    return generator


def _random_state(state: Mapping[str, Any]) -> np.random.RandomState:
    generator = np.random.RandomState()
    generator.set_state(state)  # type: ignore[arg-type]  # as its get_state returned it
    return generator


_KINDS: dict[str, tuple[tuple[type, ...], Callable[[Any], Any], Callable[[Any], Any]]] = {
    "tuple": ((tuple,), list, tuple),
    "dict": ((dict,), lambda value: [list(pair) for pair in value.items()], lambda pairs: dict(map(tuple, pairs))),
    "bytes": ((bytes,), lambda value: base64.b64encode(value).decode(), base64.b64decode),
    "set": ((set,), list, set),
    "random": ((random.Random,), lambda value: value.getstate(), _python_random),
    "random_state": ((np.random.RandomState,), lambda value: value.get_state(legacy=False), _random_state),
    "generator": (
        (np.random.Generator,),
        lambda value: value.bit_generator.state,
        lambda state: np.random.Generator(_bit_generator(state)),
    ),
}

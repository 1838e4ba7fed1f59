"""Plain values come back bit for bit, and nothing else is kept."""

from __future__ import annotations

import math
import random
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from metricgate.resume import plain

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.binary()
    | arrays.arrays(
        st.sampled_from(["float32", "float64", "int64", "uint8", "bool", "complex64", "float16"]),
        arrays.array_shapes(min_dims=0, min_side=0),
    ),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=3) | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        return bool(one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, float) and math.isnan(one):
        return bool(math.isnan(other))
    return bool(one == other)


@given(plain_values)
def test_plain_values_come_back_as_they_were(value: Any) -> None:
    with tempfile.TemporaryDirectory() as name:
        plain.write(Path(name), value)
        assert same(plain.read(Path(name)), value)
        assert same(plain.decode(*_without_maps(Path(name))), value)


def _without_maps(folder: Path) -> tuple[Any, list[Any]]:
    arrays_: list[Any] = []
    encoded = plain.encode(plain.read(folder, writable=False), arrays_)
    return encoded, [np.array(array) for array in arrays_]


def test_random_generators_go_on_where_they_were(tmp_path: Path) -> None:
    generators: list[Any] = [
        np.random.default_rng(3),
        np.random.Generator(np.random.MT19937(3)),
        np.random.RandomState(3),
        random.Random(3),
    ]
    for generator in generators:
        generator.random()
    plain.write(tmp_path, generators)
    again = plain.read(tmp_path)
    assert [type(value) for value in again] == [type(value) for value in generators]
    assert [value.random() for value in again] == [value.random() for value in generators]


def test_bfloat16_comes_back(tmp_path: Path) -> None:
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="comes with TensorFlow")
    value = np.arange(5).astype(ml_dtypes.bfloat16)
    plain.write(tmp_path, [value])
    assert plain.read(tmp_path)[0].dtype == value.dtype
    assert plain.read(tmp_path)[0].tobytes() == value.tobytes()


@pytest.mark.parametrize("value", [object(), print, np.array([object()]), {"a": [1, open]}])
def test_what_is_not_plain_is_refused(value: Any) -> None:
    with pytest.raises(plain.NotPlainError):
        plain.encode(value, [])

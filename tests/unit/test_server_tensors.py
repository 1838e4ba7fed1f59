"""JSON and bytes become arrays of exactly the model's type, or are refused in words."""

import base64
import json
import math
import struct

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from metricgate.server import tensors
from metricgate.server.errors import Refused
from metricgate.server.tensors import NUMPY, Tensor

NUMBERS = [name for name in NUMPY if name not in {"BOOL", "BYTES"}]
SHAPES = npst.array_shapes(max_dims=4, max_side=4, min_side=0)


def _as_json(array: tensors.Array, tensor: Tensor) -> object:
    return json.loads(orjson.dumps(tensors.to_json(array, tensor), option=orjson.OPT_SERIALIZE_NUMPY))


@st.composite
def _arrays(draw: st.DrawFn) -> tuple[Tensor, tensors.Array]:
    datatype = draw(st.sampled_from(sorted(NUMPY)))
    shape = draw(SHAPES)
    if datatype == "BYTES":
        values = draw(st.lists(st.text(), min_size=math.prod(shape), max_size=math.prod(shape)))
        array = np.empty(len(values), dtype=np.object_)
        array[:] = [value.encode() for value in values]
        return Tensor("x", datatype, None), array.reshape(shape)
    return Tensor("x", datatype, None), draw(npst.arrays(NUMPY[datatype], shape))


@given(_arrays())
def test_what_is_shown_as_json_is_read_back_as_it_was(made: tuple[Tensor, tensors.Array]) -> None:
    tensor, array = made
    flat = tensors.from_json(_as_json(array.ravel(), tensor), tensor)
    back = tensors.shaped(flat, tensor, array.shape)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


@given(_arrays())
def test_the_binary_form_is_read_back_as_it_was(made: tuple[Tensor, tensors.Array]) -> None:
    tensor, array = made
    back = tensors.from_bytes(memoryview(tensors.to_bytes(array, tensor)), tensor, array.shape)
    np.testing.assert_array_equal(back, array)


def test_binary_numbers_are_little_endian_and_texts_have_their_length_before_them() -> None:
    assert tensors.to_bytes(np.array([1], dtype=">i4"), Tensor("x", "INT32", None)) == b"\x01\0\0\0"
    texts = np.array([b"ab", b""], dtype=np.object_)
    assert tensors.to_bytes(texts, Tensor("x", "BYTES", None)) == struct.pack("<I", 2) + b"ab" + struct.pack("<I", 0)


def test_a_binary_tensor_that_starts_at_an_odd_byte_is_read() -> None:
    raw = memoryview(b"x" + np.array([1.5, 2.5], dtype="<f4").tobytes())[1:]
    array = tensors.from_bytes(raw, Tensor("x", "FP32", None), [2])
    assert array.flags.aligned
    assert array.tolist() == [1.5, 2.5]


@pytest.mark.parametrize("datatype", [name for name in NUMBERS if name.startswith(("INT", "UINT"))])
def test_whole_numbers_keep_every_digit_and_never_wrap(datatype: str) -> None:
    tensor = Tensor("x", datatype, None)
    limits = np.iinfo(NUMPY[datatype])  # type: ignore[type-var]
    ends = [int(limits.min), int(limits.max)]
    assert tensors.from_json(ends, tensor).tolist() == ends
    for beyond in (ends[0] - 1, ends[1] + 1):
        with pytest.raises(Refused, match=f"the range of {datatype}"):
            tensors.from_json([0, beyond], tensor)
    with pytest.raises(Refused, match="whole numbers"):
        tensors.from_json([1.5], tensor)


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_numbers_that_are_not_finite_have_words_in_json(datatype: str) -> None:
    tensor = Tensor("x", datatype, None)
    array = np.array([[math.nan, math.inf], [-math.inf, 0.5]], dtype=NUMPY[datatype])
    assert _as_json(array, tensor) == [["NaN", "Infinity"], ["-Infinity", 0.5]]
    np.testing.assert_array_equal(tensors.from_json(_as_json(array, tensor), tensor), array)


def test_a_number_too_large_for_its_type_is_refused_instead_of_becoming_infinite() -> None:
    with pytest.raises(Refused, match="too large for FP32"):
        tensors.from_json([1e300], Tensor("x", "FP32", None))
    with pytest.raises(Refused, match="too large for FP64"):
        tensors.from_json(["NaN", 10**400], Tensor("x", "FP64", None))


@pytest.mark.parametrize(
    ("datatype", "data"),
    [
        ("FP32", ["1.5"]),
        ("FP32", ["nan"]),
        ("FP32", [None]),
        ("FP32", [True]),
        ("FP32", [{"b64": ""}]),
        ("FP32", [[1], [1, 2]]),
        ("FP32", [["NaN"], [1, 2]]),
        ("FP32", [["NaN", []]]),
        ("INT64", [True]),
        ("INT64", ["1"]),
        ("INT64", [None]),
        ("BOOL", [1]),
        ("BOOL", ["true"]),
        ("BYTES", [1]),
        ("BYTES", [None]),
        ("BYTES", [["a"], ["b", "c"]]),
        ("BYTES", [{"b64": "?"}]),
        ("BYTES", [{"b64": 1}]),
        ("BYTES", [{"c64": "aaaa"}]),
    ],
)
def test_values_of_another_kind_are_refused_by_the_input_s_name(datatype: str, data: object) -> None:
    with pytest.raises(Refused, match="input `x`") as refusal:
        tensors.from_json(data, Tensor("x", datatype, (-1,)))
    assert refusal.value.status == 400


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
_ANY_JSON = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


@given(st.sampled_from(sorted(NUMPY)), st.lists(_ANY_JSON, max_size=4))
def test_no_json_at_all_makes_anything_but_an_array_or_a_refusal(datatype: str, data: object) -> None:
    tensor = Tensor("x", datatype, None)
    try:
        array = tensors.from_json(data, tensor)
    except Refused:
        return
    assert array.dtype == tensor.numpy


def test_bytes_that_are_no_text_are_base64_for_tensorflow_serving_and_need_the_binary_form_elsewhere() -> None:
    tensor, array = Tensor("x", "BYTES", None), np.array([b"\xff", b"a"], dtype=np.object_)
    shown = tensors.to_json(array, tensor, base64_too=True)
    assert shown == [{"b64": base64.b64encode(b"\xff").decode()}, "a"]
    np.testing.assert_array_equal(tensors.from_json(shown, tensor), array)
    with pytest.raises(Refused, match="binary_data"):
        tensors.to_json(array, tensor)


@pytest.mark.parametrize("shape", [[3], [2, 4], [2, 3, 1], []])
def test_another_shape_than_the_model_s_is_refused(shape: list[int]) -> None:
    with pytest.raises(Refused, match=r"expected \[-1, 3\]"):
        Tensor("x", "FP32", (-1, 3)).check_shape(shape)
    Tensor("x", "FP32", None).check_shape(shape)


def test_a_tensor_knows_its_smallest_zeros() -> None:
    assert Tensor("x", "INT8", (-1, 3)).zeros().tolist() == [[0, 0, 0]]
    assert Tensor("x", "BYTES", (-1,)).zeros().tolist() == [b""]
    assert Tensor("x", "FP32", None).zeros().shape == ()


@pytest.mark.parametrize("raw", [b"\x02\0\0\0a", b"\x01\0", b"\xff\xff\xff\xffa"])
def test_texts_cut_short_are_refused(raw: bytes) -> None:
    with pytest.raises(Refused, match="end within a value"):
        tensors.from_bytes(memoryview(raw), Tensor("x", "BYTES", None), [1])

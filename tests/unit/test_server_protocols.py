"""Requests of both protocols are read, and refused with what was expected."""

import contextlib
import json
from collections.abc import Callable
from typing import Any

import kserve
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.server import open_inference, tensorflow_serving
from metricgate.server.errors import Refused
from metricgate.server.tensors import Tensor

ONE = (Tensor("x", "FP32", (-1, 2)),)
TWO = (Tensor("a", "FP32", (-1, 2)), Tensor("b", "INT64", (-1,)))
TEXT = (Tensor("t", "BYTES", (-1,)),)
GOOD = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}


def _v2(document: object, inputs: tuple[Tensor, ...] = ONE, **headers: str) -> kserve.InferRequest:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    return open_inference.read(
        body, {key.replace("_", "-"): value for key, value in headers.items()}, model_name="m", inputs=inputs
    )


def _v1(document: object, inputs: tuple[Tensor, ...] = ONE) -> dict[str, Any]:
    request, _ = tensorflow_serving.read(json.dumps(document).encode(), model_name="m", inputs=inputs)
    return {given.name: given.data.tolist() for given in request.inputs}


def _answer(*outputs: kserve.InferOutput) -> kserve.InferResponse:
    return kserve.InferResponse(None, "m", list(outputs), model_version="1")


def test_the_data_of_a_tensor_may_be_flat_or_nested() -> None:
    for data in ([1, 2, 3, 4], [[1, 2], [3, 4]]):
        request = _v2({"inputs": [{**GOOD, "shape": [2, 2], "data": data}]})
        assert request.inputs[0].data.tolist() == [[1, 2], [3, 4]]


def test_the_inputs_come_in_any_order_and_by_name() -> None:
    a = {"name": "a", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}
    b = {"name": "b", "shape": [1], "datatype": "INT64", "data": [7]}
    assert [given.name for given in _v2({"inputs": [b, a]}, TWO).inputs] == ["a", "b"]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        ([1], "no object"),
        ({}, 'no list "inputs"'),
        ({"inputs": {}}, 'no list "inputs"'),
        ({"inputs": []}, r"missing: input `x`: FP32 of the shape \[-1, 2\]"),
        ({"inputs": [1]}, r"inputs\[0\] has no name"),
        ({"inputs": [{**GOOD, "name": "z"}]}, "`z` is not known; expected `x`: FP32"),
        ({"inputs": [GOOD, GOOD]}, "there twice"),
        ({"inputs": [{**GOOD, "datatype": "FP64"}]}, "datatype 'FP64'; expected `x`: FP32"),
        ({"inputs": [{**GOOD, "datatype": None}]}, "datatype 'None'"),
        ({"inputs": [{**GOOD, "shape": [2, 1]}]}, r"shape \[2, 1\]; expected \[-1, 2\]"),
        ({"inputs": [{**GOOD, "shape": [-1, 2]}]}, "no shape"),
        ({"inputs": [{**GOOD, "shape": "12"}]}, "no shape"),
        ({"inputs": [{**GOOD, "shape": [True, 2]}]}, "no shape"),
        ({"inputs": [{**GOOD, "shape": [10**12, 2]}]}, "2 values; the shape"),
        ({"inputs": [{**GOOD, "shape": [10**30, 2]}]}, "no shape"),
        ({"inputs": [{**GOOD, "data": [1]}]}, r"1 values; the shape \[1, 2\] needs 2"),
        ({"inputs": [{**GOOD, "data": [[1], [2]]}]}, r"of the shape \[2, 1\], but says \[1, 2\]"),
        ({"inputs": [{**GOOD, "data": ["a", "b"]}]}, "other values than numbers"),
        ({"inputs": [{**GOOD, "data": 1}]}, "has no data"),
        ({"inputs": [{**GOOD, "parameters": 1}]}, "no object"),
        ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 8}}]}, "both data and binary_data_size"),
        ({"inputs": [GOOD], "outputs": [1]}, r"outputs\[0\] has no name"),
        ({"inputs": [GOOD], "outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "neither true nor false"),
        ({"inputs": [GOOD], "id": 1}, '"id" is no text'),
        ({"inputs": [GOOD], "parameters": []}, "no object"),
    ],
)
def test_a_malformed_open_inference_request_is_told_what_was_expected(document: object, message: str) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        _v2(document)
    assert refusal.value.status == 400


def test_binary_tensors_follow_the_json_in_order() -> None:
    blobs = np.array([[1, 2]], dtype="<f4").tobytes() + np.array([7], dtype="<i8").tobytes()
    text = json.dumps(
        {
            "inputs": [
                {"name": "a", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}},
                {"name": "b", "shape": [1], "datatype": "INT64", "parameters": {"binary_data_size": 8}},
            ]
        }
    ).encode()
    request = _v2(text + blobs, TWO, inference_header_content_length=str(len(text)))
    assert [given.data.tolist() for given in request.inputs] == [[[1.0, 2.0]], [7]]
    for body, length, message in (
        (text + blobs[:-1], len(text), "8, and 7 bytes are left"),
        (text + blobs + b"x", len(text), "1 bytes follow"),
        (text + blobs, 10**9, "length of the JSON"),
        (text + blobs, -1, "length of the JSON"),
        (text + blobs, len(text) - 1, "no JSON"),
    ):
        with pytest.raises(Refused, match=message):
            _v2(body, TWO, inference_header_content_length=str(length))


def test_outputs_are_sent_as_asked() -> None:
    response = _answer(
        kserve.InferOutput("y", [1, 2], "FP32", data=np.array([[0.1, 2]], dtype=np.float32)),
        kserve.InferOutput("z", [1], "INT64", data=np.array([3])),
    )
    outputs = (Tensor("y", "FP32", (-1, 2)), Tensor("z", "INT64", (-1,)))
    everything, length = open_inference.write(response, _v2({"inputs": [GOOD], "id": "7"}), outputs=outputs)
    assert length is None
    assert json.loads(everything)["outputs"] == [
        {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 2.0]},
        {"name": "z", "datatype": "INT64", "shape": [1], "data": [3]},
    ]
    asked = _v2({"inputs": [GOOD], "outputs": [{"name": "z"}, {"name": "y", "parameters": {"binary_data": True}}]})
    body, length = open_inference.write(response, asked, outputs=outputs)
    assert length is not None
    assert [item["name"] for item in json.loads(body[:length])["outputs"]] == ["z", "y"]
    assert np.frombuffer(body[length:], dtype="<f4").tolist() == pytest.approx([0.1, 2])
    with pytest.raises(Refused, match="output `q` is not known; expected `y`"):
        open_inference.write(response, _v2({"inputs": [GOOD], "outputs": [{"name": "q"}]}), outputs=outputs)


def test_rows_and_columns_are_read_with_and_without_names() -> None:
    rows = {"x": [[1.0, 2.0], [3.0, 4.0]]}
    assert _v1({"instances": [[1, 2], [3, 4]]}) == rows
    assert _v1({"instances": [{"x": [1, 2]}, {"x": [3, 4]}]}) == rows
    assert _v1({"inputs": [[1, 2], [3, 4]]}) == rows
    assert _v1({"inputs": {"x": [[1, 2], [3, 4]]}, "signature_name": "serving_default"}) == rows
    both = {"a": [[1.0, 2.0]], "b": [7]}
    assert _v1({"instances": [{"b": 7, "a": [1, 2]}]}, TWO) == both
    assert _v1({"inputs": {"b": [7], "a": [[1, 2]]}}, TWO) == both


def test_bytes_come_as_text_or_base64() -> None:
    assert _v1({"instances": ["a", {"b64": "/w=="}]}, TEXT) == {"t": [b"a", b"\xff"]}
    assert _v1({"instances": [{"t": {"b64": "/w=="}}]}, TEXT) == {"t": [b"\xff"]}
    assert _v1({"inputs": {"t": [{"b64": "/w=="}]}}, TEXT) == {"t": [b"\xff"]}


@pytest.mark.parametrize(
    ("document", "inputs", "message"),
    [
        ({}, ONE, r'expected \{"instances": \[…\]\} or \{"inputs": …\}'),
        ({"instances": [[1, 2]], "inputs": [[1, 2]]}, ONE, "not both"),
        ({"instances": []}, ONE, "an empty one"),
        ({"instances": 1}, ONE, "no list"),
        ({"instances": [1, 2]}, ONE, r"shape \[2\]; expected \[-1, 2\]"),
        ({"instances": [[1, 2], [3]]}, ONE, "rows differ in length"),
        ({"instances": [["a", "b"]]}, ONE, "other values than numbers"),
        ({"instances": [{"z": [1, 2]}]}, ONE, "missing: input `x`"),
        ({"instances": [{"x": [1, 2], "z": 1}]}, ONE, "`z` is not known"),
        ({"instances": [{"x": [1, 2]}, [1, 2]]}, ONE, "do not all name the same"),
        ({"instances": [{"x": [1, 2]}, {}]}, ONE, "do not all name the same"),
        ({"instances": [[1, 2]]}, TWO, "have no names, and the model has 2 inputs"),
        ({"inputs": {"a": [[1, 2]]}}, TWO, "missing: input `b`: INT64"),
        ({"inputs": 1}, ONE, "shape"),
        ({"inputs": None}, ONE, "other values than numbers"),
        ({"inputs": [[1, 2]], "signature_name": "other"}, ONE, "'other' is not served"),
        ([], ONE, "no object"),
    ],
)
def test_a_malformed_tensorflow_serving_request_is_told_what_was_expected(
    document: object, inputs: tuple[Tensor, ...], message: str
) -> None:
    with pytest.raises(Refused, match=message) as refusal:
        _v1(document, inputs)
    assert refusal.value.status == 400


def test_the_answer_has_the_form_of_the_question() -> None:
    y = kserve.InferOutput("y", [2, 1], "FP32", data=np.array([[1], [2]], dtype=np.float32))
    z = kserve.InferOutput("z", [2], "FP32", data=np.array([3, np.nan], dtype=np.float32))
    one, two = (Tensor("y", "FP32", (-1, 1)),), (Tensor("y", "FP32", (-1, 1)), Tensor("z", "FP32", (-1,)))

    def written(rows: int | None, outputs: tuple[Tensor, ...]) -> object:
        return json.loads(tensorflow_serving.write(_answer(y, z), rows=rows, outputs=outputs))

    assert written(2, one) == {"predictions": [[1.0], [2.0]]}
    assert written(None, one) == {"outputs": [[1.0], [2.0]]}
    assert written(2, two) == {"predictions": [{"y": [1.0], "z": 3.0}, {"y": [2.0], "z": "NaN"}]}
    assert written(None, two) == {"outputs": {"y": [[1.0], [2.0]], "z": [3.0, "NaN"]}}
    with pytest.raises(Refused, match=r"`y` has the shape \[2, 1\] for 3 instances"):
        written(3, two)


_LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
_KEYS = st.sampled_from(
    ["inputs", "instances", "name", "shape", "datatype", "data", "x", "a", "b", "b64", "parameters", "outputs"]
)
_ANY_JSON = st.recursive(
    _LEAVES | st.sampled_from(["x", "FP32", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(_ANY_JSON, st.sampled_from([ONE, TWO, TEXT]), st.sampled_from([_v1, _v2]))
def test_no_json_at_all_makes_anything_but_a_request_or_a_refusal(
    document: object, inputs: tuple[Tensor, ...], read: Callable[..., object]
) -> None:
    with contextlib.suppress(Refused):
        read(document, inputs)


def test_the_status_is_that_of_tensorflow_serving() -> None:
    ok = {"error_code": "OK", "error_message": ""}
    assert tensorflow_serving.status("1", ready=True) == {
        "model_version_status": [{"version": "1", "state": "AVAILABLE", "status": ok}]
    }

"""The Open Inference Protocol v2 over HTTP: requests and answers, as JSON or with binary tensors behind the JSON.

Sources: https://github.com/kserve/open-inference-protocol (inference_rest.md) and Triton's binary tensor data extension.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from kserve import InferInput, InferRequest, InferResponse
from kserve.protocol.infer_type import RequestedOutput

from . import tensors
from .errors import Refused
from .tensors import Array, Tensor

HEADER = "inference-header-content-length"


def read(body: bytes, headers: Mapping[str, str], *, model_name: str, inputs: Sequence[Tensor]) -> InferRequest:
    """A request whose tensors are exactly what the model takes, as arrays.

    Args:
        body: JSON; with the header, JSON of that length and the binary tensors behind it.
        headers: Names in lower case.
        model_name: Whom it was sent to.
        inputs: What the model takes.

    Raises:
        Refused: It is none; the text says what was expected.
    """
    length = _length(headers, len(body))
    document = as_object(body[:length] if length is not None else body)
    given: dict[str, Array] = {}
    wanted = {tensor.name: tensor for tensor in inputs}
    rest = memoryview(body)[length:] if length is not None else memoryview(b"")
    for at, item in enumerate(_list(document, "inputs")):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Refused(f"inputs[{at}] has no name; expected an object with name, shape, datatype and data")
        name = item["name"]
        if name not in wanted or name in given:
            what = "is there twice" if name in given else "is not known"
            raise Refused(f"input `{name[:80]}` {what}; expected {describe(inputs)}")
        given[name], rest = _array(item, wanted[name], rest)
    if missing := [str(tensor) for tensor in inputs if tensor.name not in given]:
        raise Refused(f"missing: input {', '.join(missing)}")
    if len(rest):
        raise Refused(f"{len(rest):,} bytes follow the last binary tensor; expected none")
    return InferRequest(
        model_name=model_name,
        request_id=_text_or_none(document, "id"),
        parameters=_parameters(document, "the request"),
        infer_inputs=[
            InferInput(
                name=tensor.name, shape=list(given[tensor.name].shape), datatype=tensor.datatype, data=given[tensor.name]
            )
            for tensor in inputs
        ],
        request_outputs=_requested(document),
    )


def write(response: InferResponse, request: InferRequest, *, outputs: Sequence[Tensor]) -> tuple[bytes, int | None]:
    """The answer.

    Args:
        response: What the model gave, as arrays.
        request: Says which outputs to send, and which of them in binary form.
        outputs: What the model says it gives.

    Returns:
        The body, and the length of its JSON if binary tensors follow it.

    Raises:
        Refused: An output is asked for that is not there.
    """
    known = {tensor.name: tensor for tensor in outputs}
    requested = request.request_outputs or [RequestedOutput(name, {}) for name in known]
    if unknown := [output.name for output in requested if output.name not in known]:
        raise Refused(f"output `{unknown[0][:80]}` is not known; expected {describe(outputs)}")
    binary_too = bool((request.parameters or {}).get("binary_data_output"))
    arrays = {output.name: output.data for output in response.outputs}
    items: list[dict[str, object]] = []
    blobs: list[bytes] = []
    for output in requested:
        tensor, array = known[output.name], arrays[output.name]
        item: dict[str, object] = {"name": tensor.name, "datatype": tensor.datatype, "shape": list(array.shape)}
        if binary_too if output.binary_data is None else output.binary_data:
            blobs.append(tensors.to_bytes(array, tensor))
            item["parameters"] = {"binary_data_size": len(blobs[-1])}
        else:
            item["data"] = tensors.to_json(array.ravel(), tensor)
        items.append(item)
    document = {"model_name": response.model_name, "model_version": response.model_version, "outputs": items}
    if response.id:
        document["id"] = response.id
    text = orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join([text, *blobs]), len(text)) if blobs else (text, None)


def as_object(body: bytes) -> dict[str, Any]:
    """JSON's object in a body.

    Raises:
        Refused: It is no JSON, or no object.
    """
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Refused(f"the request is no JSON: {error}") from None
    if not isinstance(document, dict):
        raise Refused("the request is no object of JSON")
    return document


def describe(tensor_list: Sequence[Tensor]) -> str:
    """Inputs or outputs in words."""
    return ", ".join(str(tensor) for tensor in tensor_list)


def _length(headers: Mapping[str, str], most: int) -> int | None:
    text = headers.get(HEADER)
    if text is None:
        return None
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= most):
        raise Refused(f"Inference-Header-Content-Length is {text[:40]!r}; expected the length of the JSON, at most {most}")
    return int(text)


def _array(item: Mapping[str, Any], tensor: Tensor, rest: memoryview) -> tuple[Array, memoryview]:
    if item.get("datatype") != tensor.datatype:
        raise Refused(f"input `{tensor.name}` has the datatype {str(item.get('datatype'))[:40]!r}; expected {tensor}")
    shape = item.get("shape")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size < 1 << 62 for size in shape):
        raise Refused(f"input `{tensor.name}` has no shape; expected a list of sizes for {tensor}")
    tensor.check_shape(shape)
    size = (_parameters(item, f"input `{tensor.name}`") or {}).get("binary_data_size")
    if size is not None:
        if "data" in item:
            raise Refused(f"input `{tensor.name}` has both data and binary_data_size; expected one of them")
        if type(size) is not int or not 0 <= size <= len(rest):
            raise Refused(f"input `{tensor.name}`: binary_data_size is {str(size)[:40]}, and {len(rest):,} bytes are left")
        return tensors.from_bytes(rest[:size], tensor, shape), rest[size:]
    if not isinstance(item.get("data"), list):
        raise Refused(f"input `{tensor.name}` has no data; expected a list, or parameters.binary_data_size")
    return tensors.shaped(tensors.from_json(item["data"], tensor), tensor, shape), rest


def _list(document: Mapping[str, Any], key: str) -> list[Any]:
    found = document.get(key)
    if not isinstance(found, list):
        raise Refused(
            f'the request has no list "{key}"; expected {{"{key}": [{{"name": …, "shape": …, "datatype": …, "data": …}}]}}'
        )
    return found


def _parameters(item: Mapping[str, Any], where: str) -> dict[str, Any] | None:
    found = item.get("parameters")
    if found is not None and not isinstance(found, dict):
        raise Refused(f"parameters of {where} are no object")
    return found


def _requested(document: Mapping[str, Any]) -> list[RequestedOutput] | None:
    if document.get("outputs") is None:
        return None
    requested = []
    for at, item in enumerate(_list(document, "outputs")):
        if not isinstance(item, dict) or not isinstance(item.get("name"), str):
            raise Refused(f"outputs[{at}] has no name")
        parameters = _parameters(item, f"output `{item['name'][:80]}`") or {}
        if type(parameters.get("binary_data", False)) is not bool:
            raise Refused(f"output `{item['name'][:80]}`: binary_data is neither true nor false")
        requested.append(RequestedOutput(item["name"], parameters))
    return requested


def _text_or_none(document: Mapping[str, Any], key: str) -> str | None:
    found = document.get(key)
    if found is not None and not isinstance(found, str):
        raise Refused(f'"{key}" is no text')
    return found

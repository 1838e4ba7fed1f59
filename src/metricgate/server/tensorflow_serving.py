"""TensorFlow Serving's REST form: ``POST …:predict`` in rows or columns, and what ``GET`` says of a model.

Source: https://www.tensorflow.org/tfx/serving/api_rest
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from kserve import InferInput, InferRequest, InferResponse

from . import tensors
from .errors import Refused
from .open_inference import as_object, describe
from .tensors import Array, Tensor

SIGNATURE = "serving_default"
_SHAPE = '{"instances": […]} or {"inputs": …}'
# tensorflow/core/framework/types.proto
_DTYPES = {
    "BOOL": "DT_BOOL",
    "FP16": "DT_HALF",
    "FP32": "DT_FLOAT",
    "FP64": "DT_DOUBLE",
    "BF16": "DT_BFLOAT16",
    "BYTES": "DT_STRING",
}


def read(body: bytes, *, model_name: str, inputs: Sequence[Tensor]) -> tuple[InferRequest, bool]:
    """A request whose tensors are exactly what the model takes, as arrays.

    Args:
        body: JSON.
        model_name: Whom it was sent to.
        inputs: What the model takes.

    Returns:
        The request, and whether it was in rows.

    Raises:
        Refused: It is none; the text says what was expected.
    """
    document = as_object(body)
    signature = document.get("signature_name") or SIGNATURE
    if signature != SIGNATURE:
        raise Refused(f"the signature {str(signature)[:80]!r} is not served; expected {SIGNATURE}")
    if ("instances" in document) == ("inputs" in document):
        raise Refused(f"expected {_SHAPE}, and not both")
    rows = "instances" in document
    columns = _columns_of_rows(document["instances"], inputs) if rows else _columns(document["inputs"], inputs)
    if missing := [str(tensor) for tensor in inputs if tensor.name not in columns]:
        raise Refused(f"missing: input {', '.join(missing)}")
    if unknown := [name for name in columns if name not in {tensor.name for tensor in inputs}]:
        raise Refused(f"input `{str(unknown[0])[:80]}` is not known; expected {describe(inputs)}")
    return (
        InferRequest(
            model_name=model_name,
            infer_inputs=[_input(tensor, columns[tensor.name]) for tensor in inputs],
        ),
        rows,
    )


def write(response: InferResponse, *, rows: int | None, outputs: Sequence[Tensor]) -> bytes:
    """The answer, in the form of the question.

    Args:
        response: What the model gave, as arrays.
        rows: How many instances there were; None for columns.
        outputs: What the model says it gives.

    Raises:
        Refused: Rows were asked, and an output is not one value for every row.
    """
    arrays = {output.name: output.data for output in response.outputs}
    if rows is None:
        columns = {tensor.name: _shown(arrays[tensor.name], tensor) for tensor in outputs}
        return _dumps({"outputs": next(iter(columns.values())) if len(outputs) == 1 else columns})
    for tensor in outputs:
        if not arrays[tensor.name].ndim or arrays[tensor.name].shape[0] != rows:
            shape = list(arrays[tensor.name].shape)
            raise Refused(f'output `{tensor.name}` has the shape {shape} for {rows} instances; ask with {{"inputs": …}}')
    if len(outputs) == 1:
        return _dumps({"predictions": _shown(arrays[outputs[0].name], outputs[0])})
    return _dumps({"predictions": [{t.name: _shown(arrays[t.name][at], t) for t in outputs} for at in range(rows)]})


def status(version: str, *, ready: bool) -> dict[str, object]:
    """What ``GET /v1/models/<name>`` answers: tensorflow_serving/apis/get_model_status.proto as JSON."""
    state = "AVAILABLE" if ready else "UNLOADING"
    return {"model_version_status": [{"version": version, "state": state, "status": {"error_code": "OK", "error_message": ""}}]}


def metadata(name: str, version: str, *, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> dict[str, object]:
    """What ``GET /v1/models/<name>/metadata`` answers."""
    signature = {
        "inputs": {tensor.name: _info(tensor) for tensor in inputs},
        "outputs": {tensor.name: _info(tensor) for tensor in outputs},
        "method_name": "tensorflow/serving/predict",
    }
    return {
        "model_spec": {"name": name, "signature_name": "", "version": version},
        "metadata": {"signature_def": {"signature_def": {SIGNATURE: signature}}},
    }


def _columns_of_rows(instances: object, inputs: Sequence[Tensor]) -> Mapping[str, Any]:
    if not isinstance(instances, list) or not instances:
        raise Refused(f"instances are no list, or an empty one; expected one entry a row for {describe(inputs)}")
    named = [isinstance(row, dict) and not _is_base64(row, inputs) for row in instances]
    if not any(named):
        return _unnamed(instances, inputs)
    names = instances[0].keys() if named[0] else ()
    if not all(named) or any(row.keys() != names for row in instances):
        raise Refused(f"the instances do not all name the same inputs; expected {describe(inputs)}")
    return {name: [row[name] for row in instances] for name in names}


def _columns(given: object, inputs: Sequence[Tensor]) -> Mapping[str, Any]:
    return given if isinstance(given, dict) and not _is_base64(given, inputs) else _unnamed(given, inputs)


def _unnamed(values: object, inputs: Sequence[Tensor]) -> Mapping[str, Any]:
    if len(inputs) != 1:
        raise Refused(f"the values have no names, and the model has {len(inputs)} inputs; expected {describe(inputs)}")
    return {inputs[0].name: values}


def _is_base64(value: Mapping[str, Any], inputs: Sequence[Tensor]) -> bool:
    return value.keys() == {"b64"} and all(tensor.name != "b64" for tensor in inputs)


def _input(tensor: Tensor, values: object) -> InferInput:
    array: Array = tensors.from_json(values, tensor)
    tensor.check_shape(array.shape)
    return InferInput(name=tensor.name, shape=list(array.shape), datatype=tensor.datatype, data=array)


def _shown(array: Array, tensor: Tensor) -> object:
    return tensors.to_json(array, tensor, base64_too=True)


def _info(tensor: Tensor) -> dict[str, object]:
    sizes = [{"size": str(size), "name": ""} for size in tensor.shape or ()]
    return {
        "dtype": _DTYPES.get(tensor.datatype, f"DT_{tensor.datatype}"),
        "tensor_shape": {"dim": sizes, "unknown_rank": tensor.shape is None},
        "name": tensor.name,
    }


def _dumps(document: object) -> bytes:
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)

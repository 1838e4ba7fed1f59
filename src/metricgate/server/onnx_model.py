"""ONNX models by ONNX Runtime, on processors."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import CannotServeError, Refused, first_line
from .tensors import Array, Tensor

# onnx.proto's TensorProto.DataType, as ONNX Runtime writes it
_DATATYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}


@dataclass(frozen=True)
class OnnxModel:
    """A session of ONNX Runtime.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.
        session: ``onnxruntime.InferenceSession``.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    session: Any

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Answer; see ``model.Predictor``."""
        from onnxruntime.capi import onnxruntime_pybind11_state as states

        texts = {tensor.name for tensor in self.inputs if tensor.datatype == "BYTES"}
        feeds = {name: _decoded(array, name) if name in texts else array for name, array in arrays.items()}
        try:
            values = self.session.run([tensor.name for tensor in self.outputs], feeds)
        except (states.InvalidArgument, states.Fail, states.RuntimeException) as error:
            raise Refused(f"the model refused the values: {first_line(str(error))}") from None
        return dict(zip((tensor.name for tensor in self.outputs), values, strict=True))


def load(path: Path, *, threads: int) -> OnnxModel:
    """Load a model.

    Args:
        path: An ``.onnx`` file.
        threads: How many threads one prediction may use.

    Raises:
        CannotServeError: ONNX Runtime does not take it, or it has inputs or outputs that no protocol can carry.
    """
    # It reports to its makers otherwise, and keeps a number for this machine on the disk.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Threads that wait for work by spinning take the processors from those that read and write requests.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - a dozen classes without a base of their own
        raise CannotServeError(f"{path} can't be loaded by ONNX Runtime: {first_line(str(error))}") from None
    return OnnxModel(
        inputs=tuple(_tensor(value, path) for value in session.get_inputs()),
        outputs=tuple(_tensor(value, path) for value in session.get_outputs()),
        session=session,
    )


def _tensor(value: Any, path: Path) -> Tensor:
    datatype = _DATATYPES.get(value.type)
    if datatype is None:
        raise CannotServeError(
            f"{path}: `{value.name}` is of the type {value.type}, which the Open Inference Protocol does not have; "
            "models made by skl2onnx have tensors only, if converted with options={'zipmap': False}"
        )
    # Sizes that are not fixed have names there, or none.
    return Tensor(value.name, datatype, tuple(size if isinstance(size, int) and size >= 0 else -1 for size in value.shape))


def _decoded(array: Array, name: str) -> Array:
    try:
        return np.array([value.decode() for value in array.ravel()], dtype=np.object_).reshape(array.shape)
    except UnicodeDecodeError:
        raise Refused(f"input `{name}` holds bytes that are no UTF-8 text; this model takes texts") from None

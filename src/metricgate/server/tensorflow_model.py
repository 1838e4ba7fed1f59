"""SavedModels by their signature, Keras models by the graph of their call."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import CannotServeError, Refused, first_line
from .tensors import NUMPY, Array, Tensor

SIGNATURE = "serving_default"

log = logging.getLogger("metricgate.server")


@dataclass(frozen=True)
class TensorFlowModel:
    """A concrete function with named inputs and outputs.

    Attributes:
        inputs: What it takes.
        outputs: What it gives.
        call: Takes tensors by name, and gives tensors by name.
        dtypes: TensorFlow's types of the inputs, by name.
        keep: Holds the variables that ``call`` only refers to.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    call: Callable[..., Mapping[str, Any]]
    dtypes: Mapping[str, Any]
    keep: object

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Answer; see ``model.Predictor``."""
        import tensorflow as tf

        try:
            tensors = {name: tf.convert_to_tensor(array, dtype=self.dtypes[name]) for name, array in arrays.items()}
            return {name: tensor.numpy() for name, tensor in self.call(**tensors).items()}
        except (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError, tf.errors.UnimplementedError) as error:
            raise Refused(f"the model refused the values: {first_line(error.message)}") from None
        except tf.errors.ResourceExhaustedError:
            raise Refused("the request needs more memory than there is; send fewer rows at a time", status=413) from None


def load(path: Path, *, keras: bool, threads: int) -> TensorFlowModel:
    """Load a model.

    Args:
        path: A SavedModel's folder or a ``.keras`` file.
        keras: Which of them.
        threads: How many threads TensorFlow may use.

    Raises:
        CannotServeError: The model can't be loaded, or has inputs or outputs that no protocol can carry.
    """
    # A warning for each bad request would let anyone fill the log.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    return _keras(path) if keras else _saved_model(path)


def _saved_model(path: Path) -> TensorFlowModel:
    import tensorflow as tf

    try:
        loaded = tf.saved_model.load(str(path))
    except Exception as error:  # noqa: BLE001 - whatever a damaged file makes TensorFlow raise
        raise CannotServeError(f"{path} can't be loaded as a SavedModel: {first_line(str(error))}") from None
    signatures = dict(loaded.signatures)
    call = signatures.get(SIGNATURE) or (next(iter(signatures.values())) if len(signatures) == 1 else None)
    if call is None:
        names = ", ".join(sorted(signatures)) or "none"
        raise CannotServeError(
            f"{path} has no signature `{SIGNATURE}` (its signatures: {names}); save it with model.export(path), "
            f"or with tf.saved_model.save(module, path, signatures={{'{SIGNATURE}': …}})"
        )
    specs = dict(sorted(call.structured_input_signature[1].items()))  # stored without an order
    return _model(path, call=call, inputs=specs, outputs=dict(call.structured_outputs), keep=loaded)


def _keras(path: Path) -> TensorFlowModel:
    import keras
    import tensorflow as tf

    try:
        # safe_mode refuses layers that hold Python code; without compile there is no optimizer to load.
        loaded = keras.models.load_model(path, safe_mode=True, compile=False)
    except Exception as error:  # noqa: BLE001 - whatever an unknown layer makes Keras raise
        raise CannotServeError(
            f"{path} can't be loaded without code of its own: {first_line(str(error))}; "
            "save it with model.export(path), which stores the computation instead of the code"
        ) from None
    if not getattr(loaded, "inputs", None):
        raise CannotServeError(f"{path} does not say what it takes: its inputs have no shape; save it with model.export(path)")
    specs = {tensor.name: tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name) for tensor in loaded.inputs}
    # What it takes may be a list or a dictionary; a Sequential takes one tensor.
    structure = loaded.inputs[0] if isinstance(loaded, keras.Sequential) else loaded.input

    def serve(*tensors: Any) -> dict[str, Any]:
        return _named(loaded(tf.nest.pack_sequence_as(structure, tensors), training=False), loaded)

    function = tf.function(serve, input_signature=list(specs.values()), autograph=False).get_concrete_function()
    order = list(specs)
    return _model(
        path,
        call=lambda **tensors: function(*[tensors[name] for name in order]),
        inputs=specs,
        outputs=dict(function.structured_outputs),
        keep=loaded,
    )


def _named(given: Any, loaded: Any) -> dict[str, Any]:
    """The keys of a dictionary of outputs, otherwise what Keras calls them."""
    import tensorflow as tf

    flat = tf.nest.flatten(given)
    names = sorted(given) if isinstance(given, Mapping) else getattr(loaded, "output_names", ())
    # Two outputs of one layer have one name.
    names = names if len(set(names)) == len(flat) else [f"output_{at}" for at, _ in enumerate(flat)]
    return dict(zip(map(str, names), flat, strict=True))


def _model(
    path: Path, *, call: Callable[..., Mapping[str, Any]], inputs: Mapping[str, Any], outputs: Mapping[str, Any], keep: object
) -> TensorFlowModel:
    return TensorFlowModel(
        inputs=tuple(_tensor(name, spec, path) for name, spec in inputs.items()),
        outputs=tuple(_tensor(name, spec, path) for name, spec in sorted(outputs.items())),
        call=call,
        dtypes={name: spec.dtype for name, spec in inputs.items()},
        keep=keep,
    )


def _tensor(name: str, spec: Any, path: Path) -> Tensor:
    dtype = getattr(getattr(spec, "dtype", None), "name", type(spec).__name__)
    datatype = _datatype(dtype)
    if datatype is None or not hasattr(spec, "shape"):
        raise CannotServeError(f"{path}: `{name}` is of the type {dtype}, which the Open Inference Protocol does not have")
    shape: Sequence[int | None] | None = None if spec.shape.rank is None else spec.shape.as_list()
    return Tensor(name, datatype, None if shape is None else tuple(-1 if size is None else size for size in shape))


def _datatype(dtype: str) -> str | None:
    for name, numpy in NUMPY.items():
        if numpy.__name__ == dtype:
            return name
    return {"string": "BYTES", "bfloat16": "BF16", "bool": "BOOL"}.get(dtype)

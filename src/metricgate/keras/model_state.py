"""The variables of a training: weights, random seeds of layers, optimizer, metrics; as arrays and back."""

# ruff: noqa: SLF001 - Keras has no public way to build all variables before the first step; a test holds it to what is used here

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import tree


def build(model: Any, batches: Any) -> None:
    """Make the variables that Keras would make in the first step, so that they can be restored before it.

    Args:
        model: What is trained.
        batches: Keras' EpochIterator over its training data.
    """
    if keras.backend.backend() == "tensorflow" and not _is_built(model):
        model._symbolic_build(data_batch=_example(batches))  # as Keras does under a distribution strategy
    if model.optimizer is not None and not model.optimizer.built:
        model.optimizer.build(model.trainable_variables)


def get(model: Any, *, into: list[np.ndarray[Any, Any]] | None = None) -> tuple[list[str], list[np.ndarray[Any, Any]]]:
    """Paths and values of all variables; the values are copies that no later step changes.

    Args:
        model: What is trained.
        into: Arrays that an earlier call returned and nobody needs any more: fresh memory costs as much as the copy.
    """
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    found = _variables(model)
    old: list[np.ndarray[Any, Any] | None] = [*into] if into and len(into) == len(found) else [None] * len(found)
    return [variable.path for variable in found], [_copy(variable, array) for variable, array in zip(found, old, strict=True)]


def set(model: Any, paths: list[str], values: list[np.ndarray[Any, Any]]) -> None:  # noqa: A001 - model_state.set reads well
    """Restore what `get` returned.

    Raises:
        ValueError: The model has other variables.
    """
    found = _variables(model)
    here = [(variable.path, tuple(variable.shape)) for variable in found]
    saved = [(path, tuple(value.shape)) for path, value in zip(paths, values, strict=True)]
    # Names of layers count up within a process, so one that built another model before has other ones.
    if [shape for _, shape in here] != [shape for _, shape in saved]:
        others = [f"{path} {shape}" for path, shape in saved if (path, shape) not in here] or ["another order"]
        message = (
            f"the checkpoint is of another model: it has {len(saved)} variables and this one {len(here)}; only there: "
            f"{', '.join(others[:3])}; build the same model, or remove METRICGATE_CHECKPOINT_DIR to begin anew"
        )
        raise ValueError(message)
    for variable, value in zip(found, values, strict=True):
        variable.assign(value)


def _variables(model: Any) -> list[Any]:
    optimizer = model.optimizer.variables if model.optimizer is not None else []
    every = [*model.variables, *optimizer, *model.metrics_variables]
    return list({id(variable): variable for variable in every}.values())


def _copy(variable: Any, into: np.ndarray[Any, Any] | None) -> np.ndarray[Any, Any]:
    value = keras.ops.convert_to_numpy(variable.value)
    if into is None or (into.shape, into.dtype) != (value.shape, value.dtype):
        return np.array(value)
    np.copyto(into, value)
    return into


def _is_built(model: Any) -> bool:
    metrics, loss = model._compile_metrics, model._compile_loss
    parts = [*model._flatten_layers(), *(part for part in (metrics, loss) if part is not None)]
    return all(part.built for part in parts)


def _example(batches: Any) -> Any:
    import tensorflow as tf

    spec = batches._distributed_dataset.element_spec
    if all(isinstance(part, tf.TensorSpec) for part in tree.flatten(spec)):
        return spec
    return next(iter(batches._distributed_dataset))

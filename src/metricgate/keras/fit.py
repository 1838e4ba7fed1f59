"""The call of ``fit`` that runs: its iterator over the data and its list of callbacks.

Keras gives callbacks neither, and without the one a position in the data can't be had, without the other no moment after all
other callbacks. Both are local variables of ``fit``, of the same names for every backend since Keras 3.0; they are looked up
once, when ``fit`` makes its list of callbacks. A test holds Keras to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
from keras import tree

_DEPTH = 12


@dataclass(frozen=True)
class Fit:
    """What is looked up.

    Attributes:
        model: What is trained.
        batches: Keras' EpochIterator over the training data.
        callbacks: Keras' CallbackList.
        shapes: What data it gets, in words that are equal where TensorFlow would trace the same functions.
    """

    model: Any
    batches: Any
    callbacks: Any
    shapes: str


def running() -> Fit | None:
    """The innermost ``fit`` that makes its callbacks right now."""
    callbacks = None
    frame: Any = sys._getframe(1)  # noqa: SLF001 - the one way to the variables of fit
    for _ in range(_DEPTH):
        if frame is None:
            return None
        names = frame.f_locals
        if callbacks is None and type(names.get("self")).__name__ == "CallbackList":
            callbacks = names["self"]
        if frame.f_code.co_name == "fit" and callbacks is not None and "epoch_iterator" in names:
            return Fit(names["self"], names["epoch_iterator"], callbacks, _shapes(names))
        frame = frame.f_back
    return None


def _shapes(names: Mapping[str, Any]) -> str:
    def shape(value: Any) -> str:
        return str(getattr(value, "element_spec", None) or getattr(value, "shape", type(value)))

    train = getattr(names["epoch_iterator"], "_distributed_dataset", None)
    validation = [
        tree.map_structure(shape, names.get(name)) for name in ("validation_data", "validation_batch_size", "batch_size")
    ]
    return f"{shape(train)} {validation}"


def trace_afresh(running: Fit) -> None:
    """Let TensorFlow trace the functions of this ``fit`` as if it were the first one of its model.

    A function that was traced for other shapes before is used for these too, in a general form that rounds differently. So a
    ``fit`` would give other bits after a finished one that was skipped. Where the shapes are the same ones, nothing is lost.
    """
    model = running.model
    if keras.backend.backend() != "tensorflow":
        return
    if getattr(model, "_metricgate_shapes", running.shapes) != running.shapes:
        model.train_function = model.test_function = None
    model._metricgate_shapes = running.shapes  # noqa: SLF001 - ours


def after(callbacks: Any, event: str, then: Callable[..., None]) -> None:
    """Call ``then`` when all callbacks have had an event.

    Where Keras hands an event to threads, it is waited for: ``then`` sees what the callbacks made of it.
    """
    before = getattr(callbacks, event)

    def both(*arguments: Any, **named: Any) -> None:
        before(*arguments, **named)
        then(*arguments, **named)

    setattr(callbacks, event, both)


def settle(callbacks: Any) -> None:
    """Wait until the callbacks have had all events that were handed to threads."""
    flush = getattr(callbacks, "_flush_futures", None)
    if flush is not None:
        flush()

"""The call of ``fit`` that runs: its iterator over the data and its list of callbacks.

Keras gives callbacks neither, and without the one a position in the data can't be had, without the other no moment after all
other callbacks. Both are local variables of ``fit``, of the same names for every backend since Keras 3.0; they are looked up
once, when ``fit`` makes its list of callbacks. A test holds Keras to it.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

_DEPTH = 12


@dataclass(frozen=True)
class Fit:
    """What is looked up.

    Attributes:
        model: What is trained.
        batches: Keras' EpochIterator over the training data.
        callbacks: Keras' CallbackList.
    """

    model: Any
    batches: Any
    callbacks: Any


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
            return Fit(model=names["self"], batches=names["epoch_iterator"], callbacks=callbacks)
        frame = frame.f_back
    return None


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

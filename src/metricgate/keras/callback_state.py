"""What the other callbacks know: the attributes that are plain values, random generators or arrays.

That covers what Keras' own callbacks remember (the best value, the wait, best weights, the history, counters). Attributes that
are functions, open files or other objects stay as the script made them. A callback that keeps something in such an object can
have ``get_state()``, which returns plain values, and ``set_state(state)``; these are used instead.
"""

from __future__ import annotations

import hashlib
from typing import Any

import keras
import numpy as np

from metricgate.resume import plain

_NOT_STATE = frozenset({"params", "model", "_model", "validation_data"})
# A large attribute is often the data, which the script makes again: it is kept only if it has changed.
_LARGE = 1 << 20


class CallbackStates:
    """Keeps and restores the state of callbacks.

    Args:
        callbacks: In their order; the state that is restored belongs to the same ones.
    """

    def __init__(self, callbacks: list[Any]) -> None:
        self._callbacks = [callback for callback in callbacks if not isinstance(callback, keras.callbacks.ProgbarLogger)]
        self._begun = [
            {name: digest for name, value in _attributes(callback).items() if (digest := _digest_if_large(value))}
            for callback in self._callbacks
        ]

    @property
    def left_out(self) -> list[str]:
        """Attributes of the user's callbacks that are not kept, such as ``Plot.figure``."""
        return [
            f"{type(callback).__name__}.{name}"
            for callback in self._callbacks
            if not type(callback).__module__.startswith("keras.") and not hasattr(callback, "get_state")
            for name, value in vars(callback).items()
            if name not in _NOT_STATE and not callable(value) and not _is_plain(value)
        ]

    def get(self) -> list[Any]:
        """All states, as plain values that no later step changes."""
        return [
            {"class": type(callback).__qualname__, "state": _get(callback, begun)}
            for callback, begun in zip(self._callbacks, self._begun, strict=True)
        ]

    def set(self, states: list[Any]) -> None:
        """Restore what `get` returned.

        Raises:
            ValueError: These are other callbacks.
        """
        found = [type(callback).__qualname__ for callback in self._callbacks]
        saved = [state["class"] for state in states]
        if found != saved:
            message = (
                f"the checkpoint was written with the callbacks {', '.join(saved)}, and these are {', '.join(found)}; "
                "use the same ones in the same order, or remove METRICGATE_CHECKPOINT_DIR to begin anew"
            )
            raise ValueError(message)
        for callback, state in zip(self._callbacks, states, strict=True):
            if hasattr(callback, "set_state"):
                callback.set_state(state["state"])
            else:
                vars(callback).update(state["state"])


def _get(callback: Any, begun: dict[str, str]) -> Any:
    if hasattr(callback, "get_state"):
        return _copy(callback.get_state())
    kept = {
        name: value
        for name, value in _attributes(callback).items()
        if name not in begun or begun[name] != _digest_if_large(value)
    }
    return _copy(kept)


def _attributes(callback: Any) -> dict[str, Any]:
    left_out = set(_NOT_STATE)
    if hasattr(callback, "monitor_op"):
        left_out.add("min_delta")  # Keras turns its sign when it finds out, once in each process, what is better
    return {name: value for name, value in vars(callback).items() if name not in left_out and _is_plain(value)}


def _copy(value: Any) -> Any:
    arrays: list[np.ndarray[Any, Any]] = []
    encoded = plain.encode(value, arrays)
    return plain.decode(encoded, [array.copy() for array in arrays])


def _is_plain(value: Any) -> bool:
    try:
        plain.encode(value, [])
    except plain.NotPlainError:
        return False
    return True


def _digest_if_large(value: Any) -> str:
    arrays: list[np.ndarray[Any, Any]] = []
    encoded = plain.encode(value, arrays)
    if sum(array.nbytes for array in arrays) < _LARGE:
        return ""
    digest = hashlib.sha256(repr(encoded).encode())
    for array in arrays:
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()

"""The callback that makes a Keras training survive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras

from metricgate.keras import fit
from metricgate.keras.session import Schedule, Session
from metricgate.resume import checkpoints, stopping

_fits: dict[Path | None, int] = {}


class Resume(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Lets ``fit`` go on where it was when its process was killed, at any moment and bit for bit.

    Kept are the weights, the optimizer, the metrics of the epoch so far, the random state (Python, numpy, Keras, each layer),
    the position in the data, the history, and what the other callbacks know (`metricgate.keras.callback_state`). On hardware
    and with settings where the same seed gives the same numbers, the finished model has the same bits as one whose training
    was never interrupted.

    Give it to every ``fit`` of a script. Calls of ``fit`` are counted; one that was finished is skipped: the model, the
    history and the random state are as they were at its end. Without METRICGATE_CHECKPOINT_DIR nothing is kept.

    Arrays are shuffled here instead of by Keras, so that the order of an epoch follows from the seed and its number. A
    ``PyDataset`` must return the same batch for the same index in the same epoch. Where a position within an epoch can't be
    had again (`metricgate.keras.positions`), a line says so and an interrupted epoch begins again.

    It reports progress to metricgate, and after SIGTERM it saves, and ends the process with exit code 143.

    Args:
        folder: Where checkpoints are kept; by default METRICGATE_CHECKPOINT_DIR.
        name: What this ``fit`` is called in there; by default its number. Name it where not every start of the script makes
            the same calls.
        steps: Save after so many steps. By default the clock decides.
        seconds: By the clock: how much may be lost, unless saving takes so long that it is more.
        share: By the clock: the share of the training's time that saving may take.
        keep: How many checkpoints stay, at least 1. Of a ``fit`` that is finished one stays.

    Raises:
        ValueError: It is used in something else than ``fit``, or the checkpoint is of another model.

    Example:
        >>> import keras, numpy as np
        >>> from metricgate.keras import Resume
        >>> keras.utils.set_random_seed(0)
        >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        >>> model.compile("adam", "mse")
        >>> history = model.fit(np.ones((8, 4)), np.ones(8), epochs=2, verbose=0, callbacks=[Resume()])
        >>> len(history.history["loss"])
        2
    """

    is_resume = True

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        name: str | None = None,
        steps: int | None = None,
        seconds: float = 30.0,
        share: float = 0.02,
        keep: int = 2,
    ) -> None:
        super().__init__()
        self._folder, self._name, self._keep = folder, name, keep
        self._schedule = Schedule(steps=steps, seconds=seconds, share=share)
        self._session: Session | None = None

    def set_params(self, params: Any) -> None:
        """Called by Keras when ``fit`` makes its list of callbacks."""
        super().set_params(params)
        found = fit.running()
        if found is None:
            return
        root = Path(self._folder) if self._folder is not None else checkpoints.folder_from_environment()
        number = _fits[root] = _fits.get(root, 0) + 1
        name = self._name or f"fit-{number}"
        self._session = Session(
            found, root / name if root else None, schedule=self._schedule, keep=self._keep, label=f"training {name}"
        )

    def on_train_begin(self, logs: Any = None) -> None:
        """Called by Keras."""
        del logs
        if self._session is None:
            message = "metricgate.keras.Resume works in model.fit(callbacks=[…]); a loop of your own can use metricgate.resume"
            raise ValueError(message)
        self._listening = stopping.listening()
        self._listening.__enter__()

    def on_train_end(self, logs: Any = None) -> None:
        """Called by Keras."""
        del logs
        self._session = None
        self._listening.__exit__(None, None, None)

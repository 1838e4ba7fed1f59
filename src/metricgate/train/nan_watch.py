"""When a loss that is not a number is there to stay. It goes where the worker goes: Python 3.8, nothing else."""

from __future__ import annotations

import math

_UPDATES = 3
_NO_EPOCHS_S = 60.0
_EPOCH_S = 600.0


class NanWatch:
    """Says when a loss that is NaN is there to stay.

    A single one is not: scaled losses of float16 overflow now and then and that step is skipped, and a mean over an epoch stays
    NaN until the epoch is over. So it takes three reports in a row and a new epoch, or ten minutes; one minute where no epochs
    are told. Ending the training is right then: its weights are no numbers any more, and the GPU may be free hours earlier.
    """

    def __init__(self) -> None:
        self._first: tuple[float, int | None] | None = None
        self._updates = 0

    def stays(self, loss: float | None, *, epoch: int | None, now: float) -> bool:
        """Take in a new report at a time in seconds; whether the loss has been NaN for too long."""
        if loss is None or not math.isnan(loss):
            self._first, self._updates = None, 0
            return False
        if self._first is None:
            self._first = now, epoch
        self._updates += 1
        began, first = self._first
        if self._updates < _UPDATES:
            return False
        if epoch is None:
            return now - began >= _NO_EPOCHS_S
        return epoch != first or now - began >= _EPOCH_S

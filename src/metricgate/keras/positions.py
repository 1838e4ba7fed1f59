"""Where a training is in its data, for every kind of data that Keras takes, and how to get there again.

A *pass* is one iteration over the data. Without ``steps_per_epoch`` it is an epoch; with it, a pass may last several. What a
pass looks like has to follow from its number alone; then skipping the batches that were used leads to the same next one.

========================  =====================================================================================
data                      how its order follows from the number of the pass
========================  =====================================================================================
arrays                    the order is drawn here, from the seed and the number; skipped batches cost nothing
``PyDataset``             likewise; what ``on_epoch_begin`` and ``on_epoch_end`` draw comes from the seed too
``tf.data.Dataset``       a shuffle goes on with each iterator: as many are made as there were passes, then ``skip``
generator                 what was used is drawn again and dropped
anything else             not: an epoch that was interrupted begins again
========================  =====================================================================================
"""

# ruff: noqa: SLF001 - Keras has no public way to a position in its data; a test holds it to what is used here

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from metricgate.keras import sources


class Position:
    """Steps through the data of one ``fit`` in place of Keras' EpochIterator, and knows where it is.

    Args:
        batches: The EpochIterator of ``fit``; its way of enumerating an epoch is replaced.
        seed: What the order of all passes is drawn from.
        replicas: Into how many parts a distribution strategy splits each batch.

    Attributes:
        exact: Whether the position within an epoch can be had again.
        why: If not, the reason, as a sentence.
    """

    def __init__(self, batches: Any, *, seed: int, replicas: int = 1) -> None:
        self._batches = batches
        self._pass = -1
        self._used = 0
        self._epochs = 0
        self._first_step = 0
        self._again = False
        self._source = sources.source(batches, seed=seed, replicas=replicas)
        self.exact, self.why = self._source.exact, self._source.why
        batches._enumerate_iterator = self._enumerate

    @property
    def steps(self) -> int | None:
        """How many steps an epoch has, if that is known."""
        count = self._batches.num_batches
        return None if count is None else int(count)

    def state(self, *, step: int) -> dict[str, Any]:
        """Where it is, as plain numbers; ``step`` batches of the epoch are used (0: it has not begun)."""
        over = self._batches._current_iterator is None or self._batches.steps_per_epoch is None
        return {
            "pass": self._pass,
            "used": self._used,
            "over": over and step == 0,
            "epochs": self._epochs - bool(step),
            "step": step,
        }

    def go_to(self, state: dict[str, Any]) -> None:
        """Begin the next epoch where ``state`` was taken."""
        self._pass, self._used, self._again = state["pass"], state["used"], not state["over"]
        self._first_step, self._epochs = state["step"], state["epochs"]
        self._batches._current_iterator = None
        for number in range(self._epochs):
            self._source.replay_epoch(number)
        self._source.replay_passes(self._pass if self._again else self._pass + 1)

    def _enumerate(self) -> Iterator[tuple[int, int, Any]]:
        # What Keras 3's EpochIterator._enumerate_iterator does, from any step on and without the iterator that it makes
        # at the end of an epoch and drops.
        it = self._batches
        number = self._epochs
        self._epochs += 1
        stride, per_epoch = it.steps_per_execution, it.steps_per_epoch
        begins = it._current_iterator is None or per_epoch is None
        if begins and not self._again:
            self._pass, self._used = self._pass + 1, 0
        self._again = False
        place = (self._pass, self._used)
        self._source.epoch_begins(number, place if begins else None)
        if begins:
            it._current_iterator = self._source.begin(*place)
        steps = per_epoch or it._num_batches
        step, self._first_step = self._first_step, 0
        while steps is None or step < steps:
            if per_epoch and it._num_batches and self._used >= it._num_batches:
                it._interrupted_warning()
                break
            self._used += stride
            it._steps_seen = step + stride
            yield step, step + stride - 1, it._current_iterator
            step += stride
        if it._num_batches and self._used >= it._num_batches:
            it._current_iterator = None
        self._source.epoch_ends(number)

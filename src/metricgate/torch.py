"""Trainings of PyTorch that go on where they were: a plain hook for a loop of your own, of one process.

Example:
    A loop that survives being killed at any moment::

        batches = Batches(len(data), batch_size=32, seed=seed)
        loader = torch.utils.data.DataLoader(data, batch_sampler=batches)
        resume = Resume(model, optimizer, scheduler=scheduler, sampler=batches)
        for epoch in resume.epochs(10):
            for x, y in loader:
                loss = train(x, y)  # forward, backward, optimizer.step()
                resume.step(loss=loss)
            scheduler.step()

Checkpoints go to METRICGATE_CHECKPOINT_DIR; without it nothing is saved or found. They are read without pickle.
"""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, SupportsFloat

import numpy as np
import torch

from metricgate.errors import InputError, UsageError
from metricgate.resume import plain, progress, stop, stop_requested
from metricgate.resume.checkpoints import Checkpoints, folder_from_environment, say

_TENSORS = "tensors.pt"


class Stateful(Protocol):
    """A model, an optimizer, a schedule of learning rates, a scaler of gradients."""

    def state_dict(self) -> Any:
        """All that it is."""

    def load_state_dict(self, state_dict: Any) -> Any:
        """Become what `state_dict` gave."""


@dataclass(frozen=True)
class Position:
    """How far a training is.

    Attributes:
        epoch: The epoch that runs, from 0 on.
        batch: Batches of it that are done; all of them where only what ends an epoch is left to do.
        step: Batches of all epochs that are done.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0


class Batches:
    """Which examples make which batch: an order that depends on seed and epoch alone, so that it can be entered anywhere.

    For ``DataLoader(data, batch_sampler=…)``, with or without workers.

    Args:
        examples: How many there are.
        batch_size: Of each batch but the last one, which may be smaller.
        seed: Of the order.
        shuffle: Whether each epoch has an order of its own; otherwise all go through the examples as they are.
        drop_last: Whether a smaller last batch is left out.

    Example:
        >>> batches = Batches(5, batch_size=2, shuffle=False)
        >>> batches.begin(epoch=0, batch=1)
        >>> list(batches)
        [[2, 3], [4]]
    """

    def __init__(self, examples: int, *, batch_size: int, seed: int = 0, shuffle: bool = True, drop_last: bool = False) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}, and a batch has at least 1 example")
        self.examples = examples
        self.batch_size = batch_size
        self.seed = seed
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.epoch = 0
        self._first = 0
        self._randomness: Mapping[str, Any] | None = None

    @property
    def in_epoch(self) -> int:
        """How many batches a whole epoch has."""
        return self.examples // self.batch_size if self.drop_last else -(-self.examples // self.batch_size)

    def begin(self, *, epoch: int, batch: int = 0, randomness: Mapping[str, Any] | None = None) -> None:
        """The next pass is of this epoch, and starts after so many batches of it.

        Args:
            epoch: From 0 on.
            batch: How many to leave out.
            randomness: A state of `randomness` that holds from the first batch on. A DataLoader draws a random number when a
                pass begins, which a training that goes on within an epoch has behind it.
        """
        self.epoch, self._first, self._randomness = epoch, batch, randomness

    def __len__(self) -> int:
        return max(0, self.in_epoch - self._first)

    def __iter__(self) -> Iterator[list[int]]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.examples) if self.shuffle else None
        first, randomness = self._first, self._randomness
        if randomness is not None:
            self._randomness = None
            set_randomness(randomness)
        for batch in range(first, self.in_epoch):
            place = range(batch * self.batch_size, min((batch + 1) * self.batch_size, self.examples))
            yield list(place) if order is None else [int(example) for example in order[place.start : place.stop]]


class Resume:
    """What a loop calls, so that the training goes on where it was.

    Kept are the model, optimizer, schedule and scaler, the position in the data, the random state of Python, numpy and PyTorch
    (each GPU's too), and `extras`. With deterministic operations the model is, bit for bit, that of a training that was never
    interrupted. Random changes that workers of a DataLoader make are not restored within an epoch.

    Args:
        model: The module that is trained.
        optimizer: Its optimizer.
        scheduler: Of learning rates.
        scaler: ``torch.amp.GradScaler``.
        sampler: The data's; without it, start with the batch that `load` tells.
        name: Where a training consists of parts that are saved apart, which one.
        seconds: How much time may be lost, unless saving takes so long that more is.
        share: How much of the training's time saving may take.
        keep: How many checkpoints stay.
    """

    def __init__(
        self,
        model: Stateful,
        optimizer: Stateful,
        *,
        scheduler: Stateful | None = None,
        scaler: Stateful | None = None,
        sampler: Batches | None = None,
        name: str = "",
        seconds: float = 30.0,
        share: float = 0.02,
        keep: int = 2,
    ) -> None:
        parts = {"model": model, "optimizer": optimizer, "scheduler": scheduler, "scaler": scaler}
        self._parts = {part: value for part, value in parts.items() if value is not None}
        self._sampler = sampler
        root = folder_from_environment()
        self.checkpoints = Checkpoints(root / name if root else None, keep=keep)
        self._seconds, self._share = seconds, share
        self._epochs: int | None = None
        self._loaded = self._checked = False
        self.position = Position()
        self.extras: dict[str, Any] = {}
        """Plain values and arrays of your own, such as the best accuracy so far: saved, and there again after `load`."""

    def load(self) -> Position:
        """Become what the newest whole checkpoint holds, if there is one, and say where the training goes on.

        Raises:
            InputError: It is of another model, optimizer or schedule.
        """
        self._loaded = True
        found = self.checkpoints.latest()
        if found is None:
            return self.position
        try:
            # Nothing in it can run code; tensors go to the devices of what they are loaded into.
            tensors = torch.load(found.path / _TENSORS, map_location="cpu", weights_only=True)
            values = plain.read(found.path)
            if tensors["parts"].keys() != self._parts.keys():
                raise ValueError(f"it has {', '.join(tensors['parts'])}; the training has {', '.join(self._parts)}")  # noqa: TRY301
            for part, value in self._parts.items():
                value.load_state_dict(tensors["parts"][part])
        except (RuntimeError, ValueError, KeyError, TypeError, AttributeError, pickle.UnpicklingError) as error:
            raise InputError(
                f"the checkpoint can't be loaded into this training: {error}",
                expected="a checkpoint of the same model, optimizer and schedule",
                where=str(found.path),
                fix="remove the folder to start anew, or go back to the code that it was made by",
            ) from error
        self.position = Position(**values["position"])
        self.extras = values["extras"]
        randomness = {**values["randomness"], **tensors["randomness"]}
        set_randomness(randomness)
        if self._sampler is not None:
            begun = self.position.batch > 0
            self._sampler.begin(epoch=self.position.epoch, batch=self.position.batch, randomness=randomness if begun else None)
        say(f"goes on after step {self.position.step}, in epoch {self.position.epoch + 1}")
        return self.position

    def epochs(self, count: int) -> Iterator[int]:
        """The epochs that are left, from 0 on, with the data set to each; the first one may be half done.

        What follows the loop over batches (a schedule's step, an evaluation) is done once for each epoch.

        Args:
            count: How many there are in all.
        """
        if not self._loaded:
            self.load()
        self._epochs = count
        while self.position.epoch < count:
            epoch = self.position.epoch
            if self._sampler is not None and self._sampler.epoch != epoch:
                self._sampler.begin(epoch=epoch)
            yield epoch
            self.position = Position(epoch + 1, 0, self.position.step)
            if epoch + 1 < count:  # the finished model is the training's to write
                self._save_or_stop()

    def step(
        self,
        *,
        loss: SupportsFloat | None = None,
        metrics: Mapping[str, SupportsFloat] | None = None,
        accumulating: bool = False,
    ) -> None:
        """One batch is done: report it, and save if it is time. After SIGTERM, save and end the process.

        Call it once each batch, after the optimizer's step.

        Args:
            loss: Of this batch; read at most once a second, so a tensor on a GPU may be passed.
            metrics: More numbers to report.
            accumulating: The gradients of this batch are not applied yet. They are not saved, so nothing is.

        Raises:
            SystemExit: SIGTERM came, with code 143.
        """
        self.position = Position(self.position.epoch, self.position.batch + 1, self.position.step + 1)
        steps = self._epochs * self._sampler.in_epoch if self._sampler is not None and self._epochs else None
        detached = loss.detach() if isinstance(loss, torch.Tensor) else loss
        epoch = self.position.epoch + 1
        progress(step=self.position.step, steps=steps, epoch=epoch, epochs=self._epochs, loss=detached, metrics=metrics)
        if not accumulating:
            self._save_or_stop()

    def save(self) -> None:
        """Save now. Within the loop over batches: what was done of an epoch's end would be done again."""
        with self.checkpoints.saving(self.position.step) as folder:
            self._write(folder)

    def _save_or_stop(self) -> None:
        if self.checkpoints.due(seconds=self._seconds, share=self._share):
            self.save()
        if stop_requested():
            stop()

    def _write(self, folder: Path) -> None:
        values, tensors = _divided(randomness())
        parts = {part: value.state_dict() for part, value in self._parts.items()}
        torch.save({"parts": parts, "randomness": tensors}, folder / _TENSORS)
        position = {"epoch": self.position.epoch, "batch": self.position.batch, "step": self.position.step}
        plain.write(folder, {"position": position, "extras": self.extras, "randomness": values})
        if not self._checked:
            _be_readable(folder / _TENSORS)
            self._checked = True


def randomness() -> dict[str, Any]:
    """The random state of Python, numpy and PyTorch, and of each GPU that was used."""
    state: dict[str, Any] = {
        "python": random.getstate(),
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
    }
    cuda: Any = torch.cuda
    if cuda.is_available() and cuda.is_initialized():
        state["cuda"] = cuda.get_rng_state_all()
    return state


def set_randomness(state: Mapping[str, Any]) -> None:
    """Set what `randomness` gave; a GPU that isn't there any more is passed over."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available():
        for device, one in enumerate(state.get("cuda", [])[: torch.cuda.device_count()]):
            torch.cuda.set_rng_state(one, device)


def _divided(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    tensors = {name: state[name] for name in ("torch", "cuda") if name in state}
    return {name: value for name, value in state.items() if name not in tensors}, tensors


def _be_readable(file: Path) -> None:
    """Find out at the first checkpoint, not when it is needed, that one can't be read without pickle."""
    try:
        torch.load(file, map_location="meta", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UsageError(
            f"the state of model, optimizer, scheduler or scaler holds an object that PyTorch reads only with pickle: {error}",
            expected="tensors, numbers, text, lists and dictionaries in state_dict()",
            fix="turn it into a number in state_dict(), or allow its class by torch.serialization.add_safe_globals",
        ) from error

"""How far a training is, as it says itself in the JSON file that METRICGATE_PROGRESS names.

``{"step": 1200, "steps": 7810, "epoch": 3, "epochs": 10, "loss": 0.41, "examples_per_s": 5120.0, "eta_s": 312.0,
"metrics": {"accuracy": 0.83}}``, each key optional; a loss that is no number is "nan", "inf" or "-inf". A training replaces the
file as a whole, as often as it likes.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from metricgate.train.console import duration

_MAX_BYTES = 1 << 16
_MAX_COUNT = 10**15
_NOT_FINITE = {"nan", "inf", "-inf", "infinity", "-infinity"}


@dataclass(frozen=True)
class Progress:
    """What a training said last; None for what it did not say.

    Attributes:
        step: Steps done, over all epochs.
        steps: Steps in all.
        epoch: The current epoch, or the number of those done.
        epochs: Epochs in all.
        loss: Maybe NaN or infinite.
        examples_per_s: Training examples a second.
        eta_s: Seconds left.
        metrics: Other numbers, by name.
    """

    step: int | None = None
    steps: int | None = None
    epoch: int | None = None
    epochs: int | None = None
    loss: float | None = None
    examples_per_s: float | None = None
    eta_s: float | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def place(self) -> tuple[int | None, int | None]:
        """What changes when the training gets on."""
        return self.epoch, self.step

    @property
    def has_nan_loss(self) -> bool:
        """Whether the loss is not a number; an infinite one may still come down."""
        return self.loss is not None and math.isnan(self.loss)


def read(path: Path) -> Progress | None:
    """What the file says; None where it isn't there or can't be understood. A training may write anything: nothing raises."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe would keep us waiting
    except (OSError, ValueError):
        return None
    try:
        return parse(os.read(handle, _MAX_BYTES + 1)) if stat.S_ISREG(os.fstat(handle).st_mode) else None
    except OSError:
        return None
    finally:
        os.close(handle)


def parse(data: bytes) -> Progress | None:
    """The content of a progress file; None where it is none."""
    if len(data) > _MAX_BYTES:
        return None
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(document, dict):
        return None
    metrics = document.get("metrics")
    numbers = {str(name): _number(value) for name, value in metrics.items()} if isinstance(metrics, dict) else {}
    return Progress(
        step=_count(document.get("step")),
        steps=_count(document.get("steps")),
        epoch=_count(document.get("epoch")),
        epochs=_count(document.get("epochs")),
        loss=_number(document.get("loss")),
        examples_per_s=_positive(document.get("examples_per_s")),
        eta_s=_positive(document.get("eta_s")),
        metrics={name: value for name, value in numbers.items() if value is not None},
    )


def words(progress: Progress, *, left_s: float | None) -> tuple[str, ...]:
    """What people want to know: ``epoch 3/10``, ``step 1,200/7,810``, ``loss 0.4123``, ``5,120 examples/s``, ``41m left``."""
    said = [_of("epoch", progress.epoch, progress.epochs), _of("step", progress.step, progress.steps)]
    if progress.loss is not None:
        said.append(f"loss {progress.loss:.4g}")
    if progress.examples_per_s is not None:
        said.append(
            f"{progress.examples_per_s:,.0f} examples/s"
            if progress.examples_per_s >= 10
            else f"{progress.examples_per_s:.2g} examples/s"
        )
    if left_s is not None:
        said.append(f"{duration(left_s)} left")
    return tuple(part for part in said if part)


def _of(name: str, done: int | None, total: int | None) -> str:
    if done is None:
        return ""
    return f"{name} {done:,}/{total:,}" if total is not None else f"{name} {done:,}"


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if isinstance(value, str) and value.strip().lower() not in _NOT_FINITE:
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    return math.nan if math.isnan(number) else number  # always the same one, so that equal reports are equal


def _positive(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0 <= number < _MAX_COUNT else None


def _count(value: object) -> int | None:
    number = _positive(value)
    return int(number) if number is not None and number == int(number) else None

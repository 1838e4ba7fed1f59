"""How far a training is, for metricgate's heartbeat, its watch over stalls and its search for NaN."""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsFloat

PROGRESS_VARIABLE = "METRICGATE_PROGRESS"
_EVERY_S = 1.0


@dataclass
class _Reporter:
    written: float = -math.inf
    first: tuple[float, int] | None = None


_reporter = _Reporter()


def progress(
    *,
    step: int | None = None,
    steps: int | None = None,
    epoch: int | None = None,
    epochs: int | None = None,
    loss: SupportsFloat | None = None,
    examples_per_s: float | None = None,
    eta_s: float | None = None,
    metrics: Mapping[str, SupportsFloat] | None = None,
    now: bool = False,
) -> None:
    """Tell how far the training is; free to be called in every step.

    Writes the file METRICGATE_PROGRESS, whole or not at all, at most once a second, and does nothing where that variable is
    not set. Numbers are turned into Python's only when they are written, so a loss on a GPU may be passed as it is.

    Args:
        step: Steps done.
        steps: Steps there will be.
        epoch: The epoch that runs, from 1 on.
        epochs: How many there will be.
        loss: Of the last step, or the mean of the epoch so far. NaN and infinity are passed on: they are to be found.
        examples_per_s: How fast it is.
        eta_s: Seconds left. Where it is left out, it follows from the steps since the first call.
        metrics: More numbers by name.
        now: Write even if the last one was just written.

    Example:
        >>> progress(step=10, steps=100, loss=0.5, metrics={"accuracy": 0.8})
    """
    path = os.environ.get(PROGRESS_VARIABLE)
    if not path:
        return
    clock = time.monotonic()
    if not now and clock - _reporter.written < _EVERY_S:
        return
    _reporter.written = clock
    if eta_s is None and step is not None and steps is not None:
        eta_s = _time_left(clock, step, steps)
    content: dict[str, Any] = {
        "step": step,
        "steps": steps,
        "epoch": epoch,
        "epochs": epochs,
        "loss": None if loss is None else _number(loss),
        "examples_per_s": examples_per_s,
        "eta_s": eta_s,
        "metrics": {name: _number(value) for name, value in (metrics or {}).items()} or None,
    }
    _write(Path(path), json.dumps({key: value for key, value in content.items() if value is not None}))


def forget() -> None:
    """Begin anew: the next call is written, and the time left is counted from it."""
    _reporter.written, _reporter.first = -math.inf, None


def _time_left(clock: float, step: int, steps: int) -> float | None:
    if _reporter.first is None or step < _reporter.first[1]:
        _reporter.first = clock, step
    began, first = _reporter.first
    return round((clock - began) / (step - first) * max(0, steps - step), 1) if step > first else None


def _number(value: SupportsFloat) -> float | str:
    number = float(value)
    return number if math.isfinite(number) else str(number)


def _write(path: Path, text: str) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    # What is only shown must not end a training: not a full disk, not a folder that went.
    with contextlib.suppress(OSError):
        aside.write_text(text, encoding="utf-8")
        aside.replace(path)

"""Runs the user's training and keeps what it made: one run folder per seed."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from metricgate.train.command import Command, CommandError
    from metricgate.train.console import Console
    from metricgate.train.training import Trainer, train

__all__ = ["Command", "CommandError", "Console", "Trainer", "train"]

_HOMES = {"Command": "command", "CommandError": "command", "Console": "console", "Trainer": "training", "train": "training"}


def __getattr__(name: str) -> object:
    """Each is imported when it is asked for: who only needs a digest or a run folder waits for no training."""
    if name not in _HOMES:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)

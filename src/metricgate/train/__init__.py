"""Runs the user's training and keeps what it made: one run folder per seed."""

from metricgate.train.command import Command, CommandError
from metricgate.train.console import Console
from metricgate.train.training import Trainer, train

__all__ = ["Command", "CommandError", "Console", "Trainer", "train"]

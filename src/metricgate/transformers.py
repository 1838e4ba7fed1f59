"""Trainings of Hugging Face's Trainer that go on where they were: where its checkpoints go, and a callback.

Example:
    ::

        place = metricgate.transformers.place()
        arguments = TrainingArguments(output_dir=place.output_dir, …)
        trainer = Trainer(model, arguments, train_dataset=data, callbacks=[metricgate.transformers.Resume()])
        trainer.train(resume_from_checkpoint=place.resume_from_checkpoint)

The Trainer writes its checkpoints in place, so one that was being written when the process was killed looks like any other.
The callback seals each with the digests of its files when it is whole, and only sealed ones are taken up.
"""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import transformers

from metricgate.errors import InputError, UsageError
from metricgate.resume import manifest, progress, stop, stop_requested
from metricgate.resume.checkpoints import folder_from_environment, say

_NAME = re.compile(r"(?:tmp-)?checkpoint-(\d+)")
_LEAST = 2
_Callback: Any = transformers.TrainerCallback


@dataclass(frozen=True)
class Place:
    """Where the Trainer's checkpoints are.

    Attributes:
        output_dir: For TrainingArguments.
        resume_from_checkpoint: For ``train``: the newest whole checkpoint, or None where the training starts anew.
    """

    output_dir: str
    resume_from_checkpoint: str | None


def place(default: str = "outputs/checkpoints", *, name: str = "") -> Place:
    """A folder in METRICGATE_CHECKPOINT_DIR, and the newest checkpoint there of which each byte is as it was written.

    What a killed or broken writer left is told and removed. Call it once, before the Trainer is made.

    Args:
        default: Where checkpoints go without METRICGATE_CHECKPOINT_DIR; nothing there is looked at or removed.
        name: Where a training consists of several calls of ``train``, which one.
    """
    root = folder_from_environment()
    if root is None:
        return Place(default, None)
    folder = root / (name or "trainer")
    newest: Path | None = None
    for path in _checkpoints(folder):
        if why := _broken(path):
            say(f"the checkpoint {path.name} is not used, and removed: {why}")
            shutil.rmtree(path, ignore_errors=True)
            continue
        newest = newest or path
    return Place(str(folder), str(newest) if newest else None)


class Resume(_Callback):  # type: ignore[misc]
    """Saves by the clock and after SIGTERM, seals what was saved, and reports progress.

    Beside what ``save_strategy`` asks for; ``save_strategy="no"`` is enough. At least two checkpoints are kept, and two where
    ``save_total_limit`` says nothing. For one process: with several the Trainer's ranks would have to agree when to save.

    Args:
        seconds: How much time may be lost, unless saving takes so long that more is.
        share: How much of the training's time saving may take.
    """

    def __init__(self, *, seconds: float = 30.0, share: float = 0.02) -> None:
        self._seconds, self._share = seconds, share
        self._cost_s = 0.0
        self._asked: float | None = None
        self._last = time.monotonic()
        self._saves = folder_from_environment() is not None
        self._loss: float | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the Trainer.

        Raises:
            UsageError: Several processes train together, or checkpoints would lack what is needed to go on.
        """
        del state, control
        self._last = time.monotonic()
        if not self._saves:
            return
        if args.world_size > 1:
            raise UsageError(
                f"{args.world_size} processes train together, and metricgate.transformers.Resume is for one",
                fix="leave the callback out, and save by save_strategy",
            )
        if args.save_only_model:
            raise UsageError(
                "save_only_model leaves out what a training needs to go on", fix="TrainingArguments(save_only_model=False)"
            )
        # The Trainer removes an old checkpoint before the new one is sealed: with one, there would be none for a moment.
        args.save_total_limit = max(_LEAST, args.save_total_limit or 0)

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the Trainer."""
        del args
        epochs = state.num_train_epochs or None
        epoch = min(int(state.epoch) + 1, epochs) if epochs and state.epoch is not None else None
        progress(step=state.global_step, steps=state.max_steps, epoch=epoch, epochs=epochs, loss=self._loss)
        # At the last step of an epoch the evaluation comes first, or it would be left out by a training that goes on.
        if not float(state.epoch or 0.5).is_integer():
            self._decide(control)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the Trainer."""
        del args, state
        self._decide(control)

    def on_log(self, args: Any, state: Any, control: Any, **options: Any) -> None:
        """Called by the Trainer."""
        del args, control
        logs = options.get("logs") or {}
        self._loss = logs.get("loss", self._loss)
        metrics = {key: value for key, value in logs.items() if key.startswith("eval_") and isinstance(value, (int, float))}
        if metrics:
            progress(step=state.global_step, steps=state.max_steps, loss=self._loss, metrics=metrics)

    def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the Trainer, when all files of a checkpoint are written."""
        del control
        folder = Path(args.output_dir, f"checkpoint-{state.global_step}")
        if self._saves and folder.is_dir():
            manifest.seal(folder, step=state.global_step)
        now = time.monotonic()
        self._cost_s = now - self._asked if self._asked is not None else 0.0
        self._last, self._asked = now, None

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Called by the Trainer.

        Raises:
            SystemExit: SIGTERM ended the training before its time: what follows must not take the model for a finished one.
        """
        del args, control
        if stop_requested() and state.global_step < state.max_steps:
            stop()

    def _decide(self, control: Any) -> None:
        stopping = stop_requested()
        control.should_training_stop = control.should_training_stop or stopping
        due = time.monotonic() - self._last >= max(self._seconds, self._cost_s / self._share)
        if self._saves and (stopping or due):
            control.should_save = True
            self._asked = time.monotonic()


def _checkpoints(folder: Path) -> list[Path]:
    """Newest first."""
    names = [match for match in map(_NAME.fullmatch, (path.name for path in folder.glob("*"))) if match]
    return [folder / match[0] for match in sorted(names, key=lambda match: int(match[1]), reverse=True)]


def _broken(path: Path) -> str:
    try:
        step = manifest.step(path)
    except InputError as error:
        return error.found
    return "" if path.name == f"checkpoint-{step}" else f"its manifest is of step {step}"

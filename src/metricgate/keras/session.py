"""One call of ``fit``: restored when it begins, saved while it runs, kept when it is over."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from metricgate.keras import fit, model_state, randomness
from metricgate.keras.callback_state import CallbackStates
from metricgate.keras.positions import Position
from metricgate.resume import nodes, plain, stopping
from metricgate.resume.checkpoints import Checkpoint, Checkpoints, say
from metricgate.resume.reporting import progress

_PROGRESS_S = 1.0


@dataclass(frozen=True)
class Schedule:
    """When to save.

    Attributes:
        steps: After so many steps, exactly; None: by the clock.
        seconds: By the clock, after so many seconds at the earliest.
        share: By the clock, so rarely that saving takes at most this share of the time.
    """

    steps: int | None
    seconds: float
    share: float


class Session:
    """Ties a `fit.Fit` to a folder of checkpoints.

    Args:
        running: The call of fit, before it has called any callback.
        folder: Its own folder, or None to keep nothing.
        schedule: When to save.
        keep: How many checkpoints stay while it runs; afterwards it is one.
        label: What it is called in what is said.
    """

    def __init__(self, running: fit.Fit, folder: Path | None, *, schedule: Schedule, keep: int, label: str) -> None:
        self._model, self._callbacks, self._batches = running.model, running.callbacks, running.batches
        strategy = getattr(self._model, "distribute_strategy", None)
        leads = nodes.leads() and (strategy is None or strategy.extended.should_checkpoint)
        self._checkpoints = Checkpoints(folder, keep=keep, writes=leads)
        self._schedule, self._label = schedule, label
        self._writer: threading.Thread | None = None
        self._failed: list[BaseException] = []
        self._values: list[Any] = []  # of the last checkpoint
        self._states: CallbackStates | None = None
        self._epoch = self._total = self._saved_total = 0
        self._told = self._began = time.monotonic()
        self._told_total = 0

        fit.trace_afresh(running)
        model_state.build(self._model, self._batches)
        found = self._checkpoints.latest()
        self._restored: dict[str, Any] | None = plain.read(found.path / "rest") if found else None
        self._seed = self._restored["seed"] if self._restored else randomness.seed_here()
        replicas = 1 if strategy is None else strategy.num_replicas_in_sync
        self._position = Position(self._batches, seed=self._seed, replicas=replicas)
        if found:
            self._restore_model(found)
        self._introduce()
        self._install(found)

    def _introduce(self) -> None:
        if self._checkpoints.folder is None:
            return
        if not self._position.exact:
            say(f"{self._label}: {self._position.why}, so after an interruption its epoch begins again")
        if not randomness.is_seeded():
            say(f"{self._label}: no seed is set, so no two trainings are the same; call metricgate.keras.setup() first")
        if (state := self._restored) is None:
            return
        epochs = self._callbacks.params["epochs"]
        if state["finished"]:
            say(f"{self._label} was finished before, and is skipped")
        elif state["position"]["step"]:
            say(f"{self._label} goes on in epoch {state['epoch'] + 1} of {epochs} after {state['position']['step']} steps")
        else:
            say(f"{self._label} goes on with epoch {state['epoch'] + 1} of {epochs}")

    def _install(self, found: Checkpoint | None) -> None:
        callbacks = self._callbacks
        on_train_begin, on_epoch_begin, on_train_end = (
            callbacks.on_train_begin,
            callbacks.on_epoch_begin,
            callbacks.on_train_end,
        )

        def train_begins(logs: Any = None) -> None:
            if self._restored:
                self._reopen_logs()
            on_train_begin(logs)
            self._states = CallbackStates([callback for callback in callbacks.callbacks if not hasattr(callback, "is_resume")])
            if self._states.left_out and self._checkpoints.folder:
                say(f"{self._label}: not kept are {', '.join(self._states.left_out)}")

        def epoch_begins(epoch: int, logs: Any = None) -> None:
            self._epoch = epoch
            before, self._restored = self._restored, None
            if before is None:
                on_epoch_begin(epoch, logs)
            elif before["position"]["step"]:  # in that epoch they had it already
                on_epoch_begin(epoch, logs)
                self._restore(found, before)
            else:
                self._restore(found, before)
                self._model.reset_metrics()  # those that were kept are of the epoch before
                on_epoch_begin(epoch, logs)

        def train_ends(logs: Any = None) -> None:
            on_train_end(logs)
            if self._restored:  # it was finished: what the callbacks did at its end is in what was kept
                self._restore(found, self._restored)
            elif self._checkpoints.folder is not None:
                self._save(finished=True)
            self._join()

        callbacks.on_train_begin, callbacks.on_epoch_begin, callbacks.on_train_end = train_begins, epoch_begins, train_ends
        fit.after(callbacks, "on_train_batch_end", self._step_ended)
        fit.after(callbacks, "on_epoch_end", self._epoch_ended)
        if self._restored:
            finished = self._restored["finished"]
            self._total = self._saved_total = self._told_total = self._restored["total"]
            self._model._initial_epoch = callbacks.params["epochs"] if finished else self._restored["epoch"]  # noqa: SLF001
            self._position.go_to(self._restored["position"])
        else:
            self._model._initial_epoch = None  # noqa: SLF001 - what another fit of this model was restored to

    def _step_ended(self, step: int, logs: Any = None) -> None:
        step += 1
        self._total += self._batches.steps_per_execution
        self._tell(logs)
        steps = self._position.steps
        if self._model.stop_training or (steps is not None and step >= steps):
            return  # the epoch's end comes at once; there, nothing has to be skipped
        stop = stopping.stop_requested()
        if self._position.exact and (stop or self._is_due()):
            self._save(step=step)
        if stop:
            self._leave()

    def _epoch_ended(self, epoch: int, logs: Any = None) -> None:
        self._epoch = epoch + 1
        self._tell(logs, now=True)
        if self._model.stop_training:
            return
        stop = stopping.stop_requested()
        if stop or self._is_due():
            self._save()
        if stop:
            self._leave()

    def _is_due(self) -> bool:
        if self._schedule.steps is not None:
            return self._total - self._saved_total >= self._schedule.steps
        if self._writer is not None and self._writer.is_alive():
            return False
        return self._checkpoints.due(seconds=self._schedule.seconds, share=self._schedule.share)

    def _save(self, *, step: int = 0, finished: bool = False) -> None:
        if not self._checkpoints.writes or self._states is None:
            return
        fit.settle(self._callbacks)
        self._join()
        self._saved_total = self._total
        paths, self._values = model_state.get(self._model, into=self._values)
        rest = {
            "epoch": self._epoch,
            "total": self._total,
            "finished": finished,
            "seed": self._seed,
            "position": self._position.state(step=step),
            "random": randomness.state(),
            "paths": paths,
            "callbacks": self._states.get(),
            "logs": self._log_sizes(),
        }
        self._writer = threading.Thread(target=self._write, args=(self._values, rest), name="metricgate-checkpoint")
        self._writer.start()
        if finished:  # whoever deletes the folder after fit must not meet a writer there
            self._join()
            self._checkpoints.clear(keep=1)

    def _write(self, values: list[Any], rest: dict[str, Any]) -> None:
        try:
            with self._checkpoints.saving(rest["total"]) as folder:
                for name, content in (("model", values), ("rest", rest)):
                    (folder / name).mkdir()
                    self._checkpoints.digests |= plain.write(folder / name, content)
        except BaseException as error:  # noqa: BLE001 - raised again where the training sees it
            self._failed.append(error)

    def _join(self) -> None:
        if self._writer is not None:
            self._writer.join()
            self._writer = None
        if self._failed:
            raise self._failed.pop()

    def _leave(self) -> None:
        self._join()
        say(f"{self._label} stops in epoch {self._epoch + 1} because it was asked to, and can go on from there")
        stopping.stop()

    def _restore_model(self, found: Checkpoint) -> None:
        state = self._restored or {}
        model_state.set(self._model, state["paths"], plain.read(found.path / "model", writable=False))

    def _restore(self, found: Checkpoint | None, state: dict[str, Any]) -> None:
        if found is None or self._states is None:
            return
        model_state.set(self._model, state["paths"], plain.read(found.path / "model", writable=False))
        self._states.set(state["callbacks"])
        randomness.restore(state["random"])

    def _log_sizes(self) -> dict[str, int]:
        sizes = {}
        for callback in self._callbacks.callbacks:
            if isinstance(callback, keras.callbacks.CSVLogger) and callback.csv_file and not callback.csv_file.closed:
                callback.csv_file.flush()
                sizes[callback.filename] = Path(callback.filename).stat().st_size
        return sizes

    def _reopen_logs(self) -> None:
        # A CSV log begins anew with each fit; what was written before the checkpoint belongs to this one.
        for callback in self._callbacks.callbacks:
            if not isinstance(callback, keras.callbacks.CSVLogger) or self._restored is None:
                continue
            path, size = Path(callback.filename), self._restored["logs"].get(callback.filename)
            if size is not None and path.is_file() and path.stat().st_size >= size:
                with path.open("r+b") as stream:
                    stream.truncate(size)
                callback.append = True

    def _tell(self, logs: Any, *, now: bool = False) -> None:
        clock = time.monotonic()
        if not now and clock - self._told < _PROGRESS_S:
            return
        rate = (self._total - self._told_total) / max(clock - self._told, 1e-9)
        self._told, self._told_total = clock, self._total
        params, size = self._callbacks.params, self._batches.data_adapter.batch_size
        steps = self._position.steps
        numbers = {name: value for name, value in dict(logs or {}).items() if name != "loss"}
        progress(
            step=self._total,
            steps=steps * params["epochs"] if steps else None,
            epoch=min(self._epoch + 1, params["epochs"]),
            epochs=params["epochs"],
            loss=(logs or {}).get("loss"),
            examples_per_s=round(rate * size, 1) if size and not now else None,
            metrics=numbers,
            now=now,
        )

"""One trial: the training with other parameters, in a folder of its own, ended early where it leads nowhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from metricgate.errors import InputError, MetricgateError
from metricgate.formats import json_file, metrics_json
from metricgate.train import command, model, run_folder
from metricgate.train.command import Command, CommandError
from metricgate.train.console import Console
from metricgate.train.progress import Progress
from metricgate.tune import parameters
from metricgate.tune.parameters import ParameterFile
from metricgate.tune_config import Value

Report = Callable[[int, float], bool]
"""Told of a value on the way, by step; says whether the trial is to be ended."""

PROGRESS_FILE = "progress.json"


class PrunedError(Exception):
    """The trial leads nowhere: others were better at the same step, or it diverged; the text says which."""


class InterruptedTrialError(Exception):
    """The trial was ended because the search was."""


class FailedError(Exception):
    """The trial did not get to a value; the text says why, in a sentence without its subject."""


@dataclass(frozen=True)
class Bench:
    """What all trials have in common.

    Attributes:
        line: What bash runs.
        root: The repository root, where it runs.
        folder: Where trials get folders.
        metric: The number that counts.
        seed: METRICGATE_SEED of all of them.
        timeout_s: How long one may take.
        grace_s: How long one may save after SIGTERM.
        model: What the model's file or folder is called; None where the configuration names none.
        file: The repository's parameters.
        environ: What they inherit.
    """

    line: str
    root: Path
    folder: Path
    metric: str
    seed: int
    timeout_s: float
    grace_s: float
    model: str | None
    file: ParameterFile
    environ: Mapping[str, str]

    def run(
        self,
        number: int,
        values: Mapping[str, Value],
        *,
        report: Report,
        stopped: Callable[[], str],
        console: Console,
        environ: Mapping[str, str],
    ) -> float:
        """Run a trial.

        Args:
            number: Its number in the study.
            values: Its parameters.
            report: Told of values on the way.
            stopped: Says why the search is to end, and nothing as long as it goes on.
            console: Where its output goes, beside its log.
            environ: More variables, for this trial alone.

        Returns:
            The metric, finite.

        Raises:
            PrunedError: ``report`` said so, or its numbers are none any more. A sampler learns from that; from a failure it
                learns nothing.
            InterruptedTrialError: The search ends.
            FailedError: It failed, or reported no number.
        """
        place = self.folder / f"trial-{number}"
        model.remove(place)
        run_dir, checkpoints = place / "run", place / "checkpoints"
        for made in (run_dir, checkpoints):
            made.mkdir(parents=True)
        progress = place / PROGRESS_FILE
        variables = {
            **self.environ,
            **environ,
            "METRICGATE_RUN_DIR": str(run_dir),
            "METRICGATE_SEED": str(self.seed),
            "METRICGATE_CHECKPOINT_DIR": str(checkpoints),
            "METRICGATE_PROGRESS": str(progress),
            **parameters.variables(self.file, values, folder=place),
        }
        if self.model is not None:  # trials at the same time must not write to the same place
            variables["METRICGATE_MODEL"] = str(place / "model" / Path(self.model).name)
            (place / "model").mkdir()
        watch = _Watch(self.metric, report, stopped)
        work = Command(
            line=self.line,
            label=f"trial {number}",
            cwd=self.root,
            environ=variables,
            log=place / run_folder.TRAIN_LOG,
            timeout_s=self.timeout_s,
            grace_s=self.grace_s,
            progress=progress,
        )
        try:
            command.run(work, console=console, watch=watch.look)
        except CommandError as error:
            # The last report of a training that ended by itself may have been one to prune for.
            if watch.pruned and not (error.status == 0 and self._final(run_dir) is not None):
                raise PrunedError(f"pruned at step {watch.step}") from None
            if error.kind == "nan":
                raise PrunedError("ended: its loss is NaN") from None
            if not watch.pruned and (why := stopped()):
                raise InterruptedTrialError(why) from None
            if not watch.pruned:
                raise FailedError(error.summary.removeprefix(f"the {work.label} ")) from None
        except MetricgateError as error:
            raise FailedError(error.found) from None
        finally:
            for heavy in (place / "model", checkpoints):
                model.remove(heavy)
        return self._value(run_dir, watch)

    def _value(self, run_dir: Path, watch: _Watch) -> float:
        """What the trial ended with: metrics.json goes before what was reported last on the way."""
        final = self._final(run_dir)
        value = watch.last if final is None else final
        if value is None:
            raise FailedError(f"reported no `{self.metric}`, neither in {metrics_json.FILE} nor in METRICGATE_PROGRESS")
        if not math.isfinite(value):
            raise PrunedError(f"ended: its {self.metric} is {value}")
        return value

    def _final(self, run_dir: Path) -> float | None:
        """The metric in metrics.json; None where that says nothing about it."""
        file = run_dir / metrics_json.FILE
        if not file.is_file():
            return None
        try:
            found = json_file.table(file).get(self.metric)
        except InputError as error:
            raise FailedError(f"wrote a {metrics_json.FILE} that is none: {error.found}") from None
        value = found.get("value") if isinstance(found, Mapping) else found
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise FailedError(f"wrote no number for `{self.metric}` into {metrics_json.FILE}")
        return float(value)


class _Watch:
    """Looks at what a trial reports on the way."""

    def __init__(self, metric: str, report: Report, stopped: Callable[[], str]) -> None:
        self.last: float | None = None
        self.pruned = False
        self._metric = metric
        self._report = report
        self._stopped = stopped
        self.step = -1
        self._seen: Progress | None = None

    def look(self, progress: Progress | None) -> str | None:
        """Whether the trial is to be ended, and why."""
        if why := self._stopped():
            return f"was ended: {why}"
        if progress is self._seen:  # shown again, so that a search that was stopped is noticed
            return None
        self._seen = progress
        value = None if progress is None else value_of(progress, self._metric)
        if progress is None or value is None:
            return None
        self.last = value
        step = step_of(progress)
        step = self.step + 1 if step is None else step
        if step <= self.step:  # a step's first value counts: what others are compared with at that step
            return None
        self.step = step
        self.pruned = self._report(step, value)
        return f"was pruned at step {step}" if self.pruned else None


def value_of(progress: Progress, metric: str) -> float | None:
    """The metric in what a trial reports on the way; ``loss`` is one of its own."""
    found = progress.metrics.get(metric)
    return progress.loss if found is None and metric == "loss" else found


def step_of(progress: Progress) -> int | None:
    """How far a trial is: its epoch, because a step is less of a way with smaller batches; otherwise its step."""
    return progress.epoch if progress.epoch is not None else progress.step

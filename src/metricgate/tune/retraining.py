"""The best parameters in trainings that nobody chose for their value, judged like a pull request against the present ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metricgate import formats, pipeline
from metricgate.config import Config
from metricgate.report.document import Report
from metricgate.train.console import Console
from metricgate.tune import parameters
from metricgate.tune.document import RetrainedInfo
from metricgate.tune.parameters import ParameterFile
from metricgate.tune_config import Tune, Value


@dataclass(frozen=True)
class Retraining:
    """Trainings of two sets of parameters.

    Attributes:
        root: The repository root.
        config_name: The configuration file, relative to it.
        config: What is in it.
        tune: Its section.
        folder: Where the runs go, below names of their own.
        file: The repository's parameters.
        environ: What the commands inherit.
        console: Where their output goes.
        recorded: Folders of recorded runs that may take the place of a training; None for those of this checkout.
    """

    root: Path
    config_name: Path
    config: Config
    tune: Tune
    folder: Path
    file: ParameterFile
    environ: Mapping[str, str]
    console: Console
    recorded: Sequence[Path] | None = None

    def judged(
        self, best: Mapping[str, Value], current: Mapping[str, Value] | None, *, baseline: Path | None, warnings: Sequence[str]
    ) -> tuple[RetrainedInfo, Report]:
        """Train the best parameters, and the present ones where their runs are not there, and compare.

        Args:
            best: The best parameters.
            current: Those that the repository has; None where it has none.
            baseline: Runs of the present parameters that are there already.
            warnings: What the report is to say too.

        Raises:
            StageError: A training or evaluation failed.
        """
        seeds = self.tune.seeds
        if baseline is None and current is not None:
            self.console.say(f"training the present parameters with the seeds {', '.join(map(str, seeds))}")
            baseline = self._trained(current, "present")
        self.console.say(f"training the best parameters with the seeds {', '.join(map(str, seeds))}")
        candidate = self._trained(best, "best")
        report = pipeline.compare(candidate, baseline, config=self.config, warnings=warnings)
        made = RetrainedInfo(
            seeds=seeds, best=self._mean(candidate), current=None if baseline is None else self._mean(baseline)
        )
        return made, report

    def _trained(self, values: Mapping[str, Value], name: str) -> Path:
        folder = self.folder / name
        folder.mkdir(parents=True, exist_ok=True)
        variables = parameters.variables(self.file, values, folder=folder)
        return pipeline.produce(
            self.root,
            console=self.console,
            environ={**self.environ, **variables},
            config=self.config_name,
            run_dir=folder / "runs",
            seeds=self.tune.seeds,
            recorded=self.recorded,
        )

    def _mean(self, runs: Path) -> float | None:
        """The metric of the search over the runs; None where they do not all state it."""
        values = [run.metrics.get(self.tune.metric) for run in formats.read_runs(runs, id=self.config.scores.id)]
        stated = [metric.value for metric in values if metric is not None]
        return sum(stated) / len(stated) if stated and len(stated) == len(values) else None

"""Models of recorded commits: kept on a push, and evaluated again where a change is evaluated in another way."""

from __future__ import annotations

import shutil
from pathlib import Path

from metricgate import workspace
from metricgate.baseline import commands
from metricgate.config import Config
from metricgate.errors import MetricgateError
from metricgate.github.job import Job


def keep(job: Job, config: Config, runs: Path) -> None:
    """Keep the models of a push, where a place for them is configured. What goes wrong is told, and nothing else."""
    try:
        kept = commands.keep_models(config, runs, root=job.settings.workspace, clock=workspace.now)
    except MetricgateError as error:
        job.runner.annotate("warning", str(error), title="The models are not kept")
        return
    if kept:
        job.runner.say(f"kept the models of {', '.join(kept)}")


def evaluate_again(job: Job, config: Config, outdated: Path, run_dir: Path) -> Path | None:
    """Put the change's evaluation to the models of recorded runs.

    Args:
        job: The change is checked out in its workspace.
        config: Says where models are kept.
        outdated: The recorded runs, which were evaluated in another way.
        run_dir: Where the new runs go.

    Returns:
        ``run_dir``, with the recorded runs as they were where the new evaluation does not work with their models; None where
        the models can't be had.
    """
    place = commands.models(config, root=job.settings.workspace)
    if place is None:
        return None
    try:
        place.fetch(outdated, run_dir)
    except MetricgateError as error:
        job.runner.say(f"the recorded models can't be evaluated again: {error.found}")
        shutil.rmtree(run_dir, ignore_errors=True)
        return None
    try:
        title = "Evaluate the recorded baseline, as this change is evaluated"
        return job.produce(job.settings.workspace, run_dir, stages=("evaluate",), title=title)
    except MetricgateError as error:
        job.runner.say(f"the new evaluation does not work with the recorded models: {error.found}")
        shutil.rmtree(run_dir)
        shutil.copytree(outdated, run_dir)
        return run_dir

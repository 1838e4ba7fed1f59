"""A baseline that is made for one comparison: the commit that the change goes into, in a checkout beside the workspace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from metricgate import config_file
from metricgate.errors import MetricgateError, StageError
from metricgate.evaluate import fingerprint
from metricgate.github.job import Job
from metricgate.github.policy import Policy


def make(job: Job, base: str, run_dir: Path) -> Path | None:
    """Train and evaluate a commit beside the workspace.

    Where the change is evaluated in another way than that commit was, its models are evaluated in the change's way: only then
    do the two sides have the same yardstick.

    Args:
        job: The change is checked out in its workspace.
        base: The commit.
        run_dir: Where the runs go.

    Returns:
        ``run_dir``; None where the commit has no configuration yet.

    Raises:
        StageError: It could not be trained or evaluated.
    """
    if job.checkout.read(base, job.settings.config) is None:
        job.runner.say(f"{base[:7]} has no {job.settings.config} yet: there is no baseline")
        return None
    title = f"the baseline, {base[:7]}"
    try:
        with job.checkout.at(base) as tree:
            if evaluation(job, tree) == evaluation(job, job.settings.workspace):
                return job.produce(tree, run_dir, stages=("train", "evaluate"), title=f"Train and evaluate {title}")
            job.produce(tree, run_dir, stages=("train",), title=f"Train {title}")
            try:
                return job.produce(
                    job.settings.workspace,
                    run_dir,
                    stages=("evaluate",),
                    title=f"Evaluate {title}, as this change is evaluated",
                )
            except MetricgateError as error:
                job.runner.say(f"the new evaluation does not work with the model of {base[:7]}: {error.found}")
                return job.produce(tree, run_dir, stages=("evaluate",), title=f"Evaluate {title}")
    except StageError as error:
        raise StageError(
            f"the baseline {base[:7]} could not be made: {error.found}",
            expected=error.expected,
            where=error.where,
            fix=error.fix or "run the job again; if that commit is broken, give a folder of runs as the input `baseline`",
        ) from error


def with_evaluation(job: Job, judging: Policy, base: str | None) -> Policy:
    """The policy, with a warning where the change alters its own yardstick: the numbers of both sides are then its to make."""
    if base is None or not _evaluation_changed(job, base):
        return judging
    told = (
        "This change alters how models are evaluated (`evaluate` or a file that it names). Where the two sides are comparable, "
        "both were evaluated in its way: review that as you would a change of the policy."
    )
    return replace(judging, warnings=(*judging.warnings, told))


def _evaluation_changed(job: Job, base: str) -> bool:
    try:
        if job.checkout.read(base, job.settings.config) is None:
            return False
        with job.checkout.at(base) as tree:
            return evaluation(job, tree) != evaluation(job, job.settings.workspace)
    except MetricgateError:
        return False  # a broken configuration is told elsewhere


def evaluation(job: Job, root: Path) -> str | None:
    """The fingerprint of the evaluation that is checked out at ``root``; runs nothing.

    Raises:
        ConfigError: The configuration there is missing or wrong.
    """
    config = config_file.load(root / job.settings.config)
    return fingerprint.of_evaluation(config, root=root, environ=job.foreign_environ)

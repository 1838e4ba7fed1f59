"""The stage that keeps the runs of a push, and counts verdicts."""

from __future__ import annotations

from pathlib import Path

from metricgate import config_file
from metricgate.config import Config
from metricgate.errors import ExitCode, MetricgateError
from metricgate.github import policy, recorded
from metricgate.github.failures import UnansweredError
from metricgate.github.job import Job
from metricgate.report import document
from metricgate.report.document import Report


def record(job: Job) -> int:
    """Keep the runs of a push, and count the verdict of a report; nothing else is recorded."""
    done = False
    if job.settings.report is not None:
        _counted(job, document.read(job.settings.report))
        if job.settings.run_dir is None:
            job.runner.output("recorded", "false")
            return ExitCode.PASSED
    if job.work.kind == "record" and job.settings.run_dir is not None:
        config = config_file.load(job.settings.workspace / job.settings.config, default_name=job.model_name)
        # An outage is nothing that somebody here could mend.
        done = kept(job, config, job.settings.run_dir, despite=UnansweredError)
    else:
        job.runner.say("runs are recorded on a push, a schedule or a manual start: there is nothing to do")
    job.runner.output("recorded", "true" if done else "false")
    return ExitCode.PASSED


def kept(job: Job, config: Config, runs: Path, *, despite: type[MetricgateError]) -> bool:
    """Record runs; what may go wrong without failing the step is told. The next change then has its merge-base trained."""
    try:
        return recorded.record(job, config, runs)
    except despite as error:
        job.runner.annotate("warning", str(error), title="The runs are not recorded")
        return False


def _counted(job: Job, report: Report) -> None:
    """Count a verdict where the policy of the base commit says; an outage is nothing that somebody here could mend."""
    judging = policy.in_force(job.checkout, job.settings.config, base=job.base(), default_name=job.model_name)
    try:
        if not recorded.note(job, judging, report).counted:
            job.runner.say("nothing to count: no rule was judged, the runs name no test set, or the policy is the change's own")
    except UnansweredError as error:
        job.runner.annotate("warning", str(error), title="The verdict is not counted")

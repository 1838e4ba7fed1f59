"""A report on a pull request: whether somebody accepted it, our comment, a check run, a commit status.

None of it decides anything: what GitHub does not let us show is said in the log, and the exit code stays the verdict's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from metricgate import config_file
from metricgate.errors import MetricgateError, UsageError
from metricgate.github import checks, comments, merged, waiver
from metricgate.github.api import Repository
from metricgate.github.comments import Posted
from metricgate.github.failures import UnansweredError
from metricgate.github.job import Job
from metricgate.github.waiver import Evidence
from metricgate.report.comment import Source
from metricgate.report.document import Report

NOT_KNOWN = "Whether the regression was accepted is not known"

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a report is shown.

    Attributes:
        number: The pull request.
        source: Where the report comes from.
        text: The configuration file as the change has it, for annotations.
    """

    number: int
    source: Source
    text: str


def accepted(job: Job, report: Report) -> Report:
    """The report, waived if somebody with write permission accepted its regression.

    A label that does not count adds a warning that says why. What was accepted before it was merged is so when it is pushed.
    """
    repository, number, head = job.repository, job.work.number, job.work.head
    if report.exit_code == 1 and repository is not None and job.work.kind == "record":
        return _accepted_before(job, repository, report)
    if report.exit_code != 1 or repository is None or number is None or head is None:
        return report
    try:
        if job.work.action is None:  # a merge group: its commit is GitHub's, the accepted one is the pull request's
            head = repository.ask(lambda repo: repo.get_pull(number).head.sha, doing=f"read #{number}", needs=comments.READS)
    except MetricgateError as error:
        job.runner.annotate("warning", str(error), title=NOT_KNOWN)
        return report
    evidence = Evidence(action=job.work.action, label=job.work.label, sender=job.work.sender)
    return waived(job, repository, report, number=number, head=head, evidence=evidence)


def _accepted_before(job: Job, repository: Repository, report: Report) -> Report:
    try:
        found = merged.accepted(repository, report.name, job.checkout.head())
    except MetricgateError as error:
        job.runner.annotate("warning", str(error), title=NOT_KNOWN)
        return report
    if not found:
        return report
    job.runner.say(f"the regression of #{found[-1].number} was accepted by {found[-1].waiver.by} before it was merged")
    return report.waived(found[-1].waiver)


def waived(job: Job, repository: Repository, report: Report, *, number: int, head: str, evidence: Evidence) -> Report:
    """The report, waived if the evidence, or what an earlier run granted, shows that its regression was accepted.

    Args:
        job: Told what is found.
        repository: Where the pull request is.
        report: What was judged.
        number: The pull request.
        head: Its commit that was judged.
        evidence: What can show that the label was meant for it.
    """
    if report.exit_code != 1:
        return report
    try:
        # The event alone tells mostly; what an earlier run granted is asked for only where that is not enough.
        decision = waiver.decide(repository, number=number, head=head, evidence=evidence)
        if decision.reason:
            remembered = comments.remembered(repository, report.name, number=number)
            granted = remembered.waiver if remembered else None
            if granted is not None and granted.commit == head:
                decision = waiver.decide(repository, number=number, head=head, evidence=replace(evidence, remembered=granted))
    except MetricgateError as error:
        job.runner.annotate("warning", str(error), title=NOT_KNOWN)
        return report
    if decision.waiver is not None:
        job.runner.say(f"the regression was accepted by {decision.waiver.by}")
        return report.waived(decision.waiver)
    return report.model_copy(update={"warnings": (*report.warnings, decision.reason)}) if decision.reason else report


def post(job: Job, report: Report) -> str | None:
    """Show the report of this job's pull request; the address of the comment, if there is one."""
    work = job.work
    if job.repository is None or work.kind != "compare" or work.action is None or work.number is None or work.head is None:
        return None  # no token, or no pull request of which this is the run
    if work.fork:
        job.runner.say("a fork's run may only read: model-comment.yml shows its report")
        return None
    link = (
        f"{job.settings.server_url}/{job.settings.repository}/actions/runs/{job.settings.run_id}" if job.settings.run_id else ""
    )
    source = Source(head=work.head, run=job.settings.run_id, attempt=job.settings.run_attempt, link=link)
    return show(job, job.repository, report, Place(number=work.number, source=source, text=_text(job)))


def show(job: Job, repository: Repository, report: Report, place: Place) -> str | None:
    """Show a report at a place; the address of the comment, if there is one."""
    source = place.source

    def comment() -> Posted:
        return comments.post(
            repository, report, number=place.number, source=source, when=job.settings.comment, label=waiver.LABEL
        )

    try:
        posted = _try(job, comment, title="The pull request could not be commented on")
    except UnansweredError as error:
        job.runner.annotate("warning", str(error), title="The report could not be shown on the pull request")
        return None  # what does not answer now will not answer the next two questions either
    if posted is not None and posted.known:
        return posted.url  # all of it stands there already, or something newer does
    present = (posted.renamed if posted else None) or repository

    def check() -> None:
        marks = checks.marks_of(report, path=job.settings.config, text=place.text)
        checks.publish(present, report, source=source, marks=marks)

    try:
        _try(job, check, title="The check run could not be made")
        _try(job, lambda: checks.status(present, report, source=source), title="The commit status could not be set")
    except UnansweredError as error:
        job.runner.annotate("warning", str(error), title="The verdict could not be shown beside the commit")
    return posted.url if posted else None


def needed(job: Job) -> Repository:
    """The repository on GitHub.

    Raises:
        UsageError: There is no token.
    """
    if job.repository is None:
        raise UsageError("there is no token for GitHub", where="with: token", fix="with:\n  token: ${{ github.token }}")
    return job.repository


def _try(job: Job, do: Callable[[], T], *, title: str) -> T | None:
    try:
        return do()
    except UnansweredError:
        raise
    except MetricgateError as error:
        job.runner.annotate("warning", str(error), title=title)
        return None


def _text(job: Job) -> str:
    """The change's own configuration file; empty where it can't be read, so that annotations stand at its first line."""
    root = job.settings.workspace.resolve()
    file = (root / job.settings.config).resolve()
    if not file.is_relative_to(root) or not file.is_file() or file.stat().st_size > config_file.MAX_BYTES:
        return ""
    return file.read_text(encoding="utf-8", errors="replace")

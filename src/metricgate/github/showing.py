"""Where a report is shown: its files, the step summary, and, with a token, the pull request."""

from __future__ import annotations

from pathlib import Path

from metricgate import run
from metricgate.errors import ExitCode, UsageError
from metricgate.github.job import Job
from metricgate.report import document, markdown
from metricgate.report.document import Report


def comment(job: Job) -> int:
    """Show a report; in a `workflow_run` workflow, one that is made here from what the other run uploaded."""
    from metricgate.github import posting

    url: str | None = None
    shown = job.settings.report
    if job.work.kind == "post":
        url, shown = _post_for_another(job)
    elif job.work.kind == "nothing":
        job.runner.say(f"there is nothing to show: {job.work.why}")
    elif shown is None:
        raise UsageError("`report` is empty", expected="the output `report` of actions/compare", where="with:")
    else:
        report = document.read(shown)
        told = posting.accepted(job, report)
        if told != report:
            shown = written(job, told)
            job.runner.summary(markdown.render(told))
        url = posting.post(job, told)
    job.runner.output("comment-url", url or "")
    job.runner.output("report", str(shown or ""))
    return ExitCode.PASSED


def _post_for_another(job: Job) -> tuple[str | None, Path | None]:
    """Judge the runs that another workflow run uploaded, and show the report on its pull request."""
    from metricgate.github import fork, posting
    from metricgate.github.waiver import Evidence
    from metricgate.report.comment import Source

    repository = posting.needed(job)
    change = fork.change_of(repository, job.work, say=job.runner.say)
    if change is None:
        return None, None
    judged = fork.judge(
        repository,
        change,
        config=job.settings.config,
        name=job.settings.name,
        default_name=job.model_name,
        folder=job.folder("foreign"),
        say=job.runner.say,
    )
    if judged is None:
        return None, None
    evidence = Evidence(since=change.since)
    report = posting.waived(job, repository, judged.report, number=change.number, head=change.head, evidence=evidence)
    job.runner.summary(markdown.render(report))
    link = f"{job.settings.server_url}/{job.settings.repository}/actions/runs/{change.run_id}"
    source = Source(head=change.head, run=change.run_id, attempt=change.attempt, link=link)
    place = posting.Place(number=change.number, source=source, text=judged.text)
    return posting.show(job, repository, report, place), written(job, report)


def posted(job: Job, report: Report) -> Report:
    """Show a report on the pull request, if there is one and a token; the report, waived if somebody accepted it."""
    if job.repository is None:
        return report
    from metricgate.github import posting

    told = posting.accepted(job, report)
    if told != report:
        job.runner.output("report", str(written(job, told)))
        job.runner.summary(markdown.render(told))
    job.runner.output("comment-url", posting.post(job, told) or "")
    return told


def written(job: Job, report: Report) -> Path:
    """Write a report as JSON and Markdown; the JSON file."""
    folder = job.folder("report")
    run.write_text(folder / "report.json", document.to_json(report))
    run.write_text(folder / "report.md", markdown.render(report))
    return folder / "report.json"

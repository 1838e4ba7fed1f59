"""A report beside the commit: a check run with annotations, and a commit status.

Both only show: what is made here can attach to another workflow of the same commit, so the gate is the job's exit code.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from github.CheckRun import CheckRun
from github.GithubObject import NotSet

from metricgate.github import presentation
from metricgate.github.api import Repository
from metricgate.github.failures import UnansweredError
from metricgate.report import markdown, plain, summary
from metricgate.report.comment import Source
from metricgate.report.document import Report, RuleInfo

READS = "checks: read"
WRITES = "checks: write"

BATCH = 50
"""Annotations that GitHub takes with one request."""
ANNOTATIONS = 200
SUMMARY = 60_000
TITLE = 255
DESCRIPTION = 140

_LEVELS = {"fail": "failure", "inconclusive": "warning", "not_comparable": "warning"}


@dataclass(frozen=True, kw_only=True)
class Annotation:
    """One mark on a line of a file."""

    path: str
    line: int
    level: str
    title: str
    message: str

    def as_json(self) -> dict[str, str | int]:
        """As GitHub takes it."""
        return {
            "path": self.path,
            "start_line": self.line,
            "end_line": self.line,
            "annotation_level": self.level,
            "title": self.title,
            "message": self.message,
        }


def marks_of(report: Report, *, path: PurePosixPath, text: str) -> list[Annotation]:
    """One for each rule that did not pass, on the rule's line of the configuration, worst first.

    Args:
        report: What the rules say.
        path: The configuration file, relative to the root of the repository.
        text: That file as the change has it.
    """
    order = list(_LEVELS)
    rules = [rule for rule in report.rules if rule.outcome != "pass"]
    rules.sort(key=lambda rule: (order.index(rule.outcome), rule.slice is not None, rule.rule))
    lines = {index: presentation.line_of(text, index, report) or 1 for index in {rule.rule for rule in rules}}
    return [_annotation(rule, report, path=path, line=lines[rule.rule]) for rule in rules[:ANNOTATIONS]]


def publish(repository: Repository, report: Report, *, source: Source, marks: list[Annotation]) -> str | None:
    """Show a report as a check run of its commit.

    Args:
        repository: Where the commit is.
        report: What to tell.
        source: Where the report comes from.
        marks: Its annotations.

    Returns:
        The address of the check run.

    Raises:
        GitHubError: It can't be made, and why.
    """
    tries = repository.api.tries()
    made: _Made | None = None
    while made is None:
        try:
            made = _create(repository, report, source=source, marks=marks[:BATCH])
        except UnansweredError as error:  # noqa: PERF203 - a request costs a thousand times more than a `try`
            tries.again(error)
            made = _find(repository, report, source=source)  # it may be there all the same
    while made.marks < len(marks):
        try:
            made = _add(repository, report, made, marks=marks[made.marks : made.marks + BATCH])
        except UnansweredError as error:  # noqa: PERF203 - a request costs a thousand times more than a `try`
            tries.again(error)
            made = _look(repository, made)  # the same marks twice would stand there twice
    return made.url


def status(repository: Repository, report: Report, *, source: Source) -> None:
    """Set the status of a commit, if it is not that already after a lost answer.

    Raises:
        GitHubError: It can't be set, and why.
    """
    wanted = {
        "state": "success" if report.exit_code == 0 else "failure",
        "context": name(report),
        "description": plain.text(summary.headline(report), limit=DESCRIPTION),
        **({"target_url": source.link} if source.link else {}),
    }
    # Not Commit.create_status: it would fetch the whole commit first. The last of two equal ones counts: it may be repeated.
    repository.ask(
        lambda repo: repo.requester.requestJsonAndCheck("POST", f"{repo.url}/statuses/{source.head}", input=wanted),
        doing="set the commit's status",
        needs="statuses: write",
    )


def name(report: Report) -> str:
    """What the check run and the status are called."""
    return f"metricgate: {plain.text(report.name, limit=100)}"


def conclusion(report: Report) -> str:
    """``neutral`` where the policy lets something pass that is not a pass."""
    if report.exit_code != 0:
        return "failure"
    return "success" if report.verdict == "pass" else "neutral"


@dataclass(frozen=True, kw_only=True)
class _Made:
    id: int
    url: str | None
    marks: int


def _create(repository: Repository, report: Report, *, source: Source, marks: list[Annotation]) -> _Made:
    return repository.tell(
        lambda repo: _shape(
            repo.create_check_run(
                name=name(report),
                head_sha=source.head,
                external_id=_identity(source),
                details_url=source.link or NotSet,
                status="completed",
                conclusion=conclusion(report),
                output=_output(report, marks),
            )
        ),
        doing="make a check run",
        needs=WRITES,
    )


def _add(repository: Repository, report: Report, made: _Made, *, marks: list[Annotation]) -> _Made:
    repository.tell(
        lambda repo: repo.get_check_run(made.id).edit(output=_output(report, marks)),
        doing="add annotations to the check run",
        needs=WRITES,
    )
    return _Made(id=made.id, url=made.url, marks=made.marks + len(marks))


def _look(repository: Repository, made: _Made) -> _Made:
    return repository.ask(lambda repo: _shape(repo.get_check_run(made.id)), doing="read the check run", needs=READS)


def _find(repository: Repository, report: Report, *, source: Source) -> _Made | None:
    found = repository.ask(
        lambda repo: [
            _shape(run)
            for run in repo.get_commit(source.head).get_check_runs(check_name=name(report))
            if run.external_id == _identity(source)
        ],
        doing="read the check runs",
        needs=READS,
    )
    return found[0] if found else None


def _identity(source: Source) -> str:
    return f"{source.run}.{source.attempt}"


def _shape(run: CheckRun) -> _Made:
    return _Made(id=run.id, url=run.html_url, marks=run.output.annotations_count)


def _output(report: Report, marks: list[Annotation]) -> dict[str, str | list[dict[str, str | int]]]:
    return {
        "title": plain.text(summary.headline(report), limit=TITLE),
        "summary": markdown.render(report, budget=SUMMARY),
        "annotations": [mark.as_json() for mark in marks],
    }


def _annotation(rule: RuleInfo, report: Report, *, path: PurePosixPath, line: int) -> Annotation:
    where = f" on {rule.slice}" if rule.slice else ""
    return Annotation(
        path=str(path),
        line=line,
        level=_LEVELS[rule.outcome],
        title=plain.text(f"{report.name}: {rule.metric}{where} {presentation.TITLES[rule.outcome]}", limit=TITLE),
        message=plain.text(rule.reason, limit=1000) or presentation.TITLES[rule.outcome],
    )

"""What was accepted before it came in: the waivers of the pull requests that brought a commit."""

from __future__ import annotations

from dataclasses import dataclass

from metricgate.gate.verdict import RuleOutcome
from metricgate.github import comments
from metricgate.github.api import Repository
from metricgate.report.document import Waiver


@dataclass(frozen=True)
class Accepted:
    """An accepted regression that came in with a commit.

    Attributes:
        number: The pull request.
        verdict: What was said about it.
        waiver: Who accepted it, and for which of its commits.
    """

    number: int
    verdict: RuleOutcome
    waiver: Waiver


def accepted(repository: Repository, name: str, commit: str) -> tuple[Accepted, ...]:
    """The regressions of a model that came in with a commit and were accepted; our comments remember who did.

    A waiver counts that was given for the last commit of a pull request, which is what was merged.

    Raises:
        GitHubError: GitHub does not tell.
    """
    merged = repository.ask(
        lambda repo: [
            (pull.number, pull.head.sha) for pull in repo.get_commit(commit).get_pulls() if pull.merge_commit_sha == commit
        ],
        doing=f"ask which pull request brought {commit[:7]}",
        needs=comments.READS,
    )
    found = ((number, head, comments.remembered(repository, name, number=number)) for number, head in merged)
    return tuple(
        Accepted(number, state.verdict, state.waiver)
        for number, head, state in found
        if state is not None and state.waiver is not None and state.waiver.commit == head
    )

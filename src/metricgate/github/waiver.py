"""An accepted regression: a label that somebody with write permission put on this very commit of a pull request.

Who put it there and when comes from GitHub's own record of events, never from a text. A label stays when new commits are
pushed, and nobody has looked at those: it counts for one commit only.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timezone

from github.IssueEvent import IssueEvent
from github.PullRequest import PullRequest

from metricgate.github.api import Repository
from metricgate.github.failures import MissingError
from metricgate.report import plain
from metricgate.report.document import Waiver

LABEL = "accept-regression"

_READS = "pull-requests: read"
# GitHub's API says `write` for the role maintain too; some versions of Enterprise Server say `maintain`.
_MAY_WRITE = frozenset({"write", "maintain", "admin"})


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What can show that the label was put on the commit that is judged.

    Attributes:
        action: What happened to the pull request in the event that started this run: labeled, opened, synchronize, …
        label: The label that it happened with.
        sender: Who did it, as the event says; None if that is not known.
        remembered: A waiver that an earlier run granted, as our own comment remembers it.
        since: When GitHub first knew the commit as this pull request's, such as when the first workflow run for it was
            created. Not a commit's own date: its author chooses that.
    """

    action: str | None = None
    label: str | None = None
    sender: str | None = None
    remembered: Waiver | None = None
    since: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Whether a regression is accepted.

    Attributes:
        waiver: Who accepted it; None if nobody did, or nobody who may.
        reason: Why a label that is there does not count; empty where there is none.
    """

    waiver: Waiver | None = None
    reason: str = ""


@dataclass(frozen=True)
class Labeled:
    """Who put the label on last, and when."""

    login: str
    when: datetime


def decide(repository: Repository, *, number: int, head: str, evidence: Evidence, label: str = LABEL) -> Decision:
    """Find out whether somebody accepted the regression of one commit.

    Args:
        repository: Where the pull request is.
        number: The pull request.
        head: The commit that was judged: the pull request's last one, as the event told it.
        evidence: What can show that the label was meant for it.
        label: The label.

    Raises:
        GitHubError: GitHub does not tell.
    """

    def look(pull: PullRequest) -> tuple[str, bool]:
        return pull.head.sha, any(_same(each.name, label) for each in pull.labels)

    present, is_on = repository.ask(lambda repo: look(repo.get_pull(number)), doing=f"read #{number}", needs=_READS)
    if not is_on:
        return Decision()
    labeled = _last_labeled(repository, number=number, label=label)
    shown = plain.text(label)
    if labeled is None:
        return Decision(reason=f"GitHub has no record of who put the label `{shown}` on; take it off and put it on again.")
    if not meant(evidence, labeled, head=head, present=present, label=label):
        return Decision(
            reason=f"The label `{shown}` was put on for an earlier commit. To accept this one, take it off and put it on again."
        )
    if not _may_write(repository, labeled.login):
        return Decision(
            reason=f"The label `{shown}` was put on by {plain.text(labeled.login)}, who may not write to this repository; "
            "someone who may has to take it off and put it on again."
        )
    moment = labeled.when.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Decision(waiver=Waiver(by=labeled.login, at=moment, commit=head))


def meant(evidence: Evidence, labeled: Labeled, *, head: str, present: str, label: str) -> bool:
    """Whether the label was put on the commit that is judged; pure.

    Args:
        evidence: What can show it.
        labeled: Who put the label on last.
        head: The commit that was judged.
        present: The pull request's last commit by now.
        label: The label.
    """
    remembered = evidence.remembered
    if remembered is not None and remembered.commit == head:
        return True
    if evidence.action == "labeled" and evidence.label is not None and _same(evidence.label, label):
        # The event's own commit is the one that was labeled; another person may have put it on again for a later one.
        return evidence.sender is None or _same(evidence.sender, labeled.login)
    if present != head:
        return False
    if evidence.action == "opened":  # the first commit, and still the last: the label can't be for another one
        return True
    return evidence.since is not None and labeled.when >= evidence.since


def _last_labeled(repository: Repository, *, number: int, label: str) -> Labeled | None:
    def of(event: IssueEvent) -> Labeled | None:
        if event.event != "labeled" or not _same(event.label.name, label):
            return None
        login = getattr(event.actor, "login", None)  # a deleted account may be null
        return Labeled(login, event.created_at) if login else None

    events = repository.ask(
        lambda repo: [of(event) for event in repo.get_issue(number).get_events()],
        doing=f"read who labeled #{number}",
        needs=_READS,
    )
    return max((event for event in events if event is not None), key=lambda event: event.when, default=None)


def _may_write(repository: Repository, login: str) -> bool:
    try:
        permission = repository.ask(
            lambda repo: repo.get_collaborator_permission(login), doing=f"ask what {plain.text(login)} may do"
        )
    except MissingError:  # not a person: an app, or a deleted account
        return False
    return permission in _MAY_WRITE


def _same(one: str, other: str) -> bool:
    return one.casefold() == other.casefold()  # as GitHub compares labels and logins

"""Our comment on a pull request: found by its marker and our own login, written once, kept up to date, healed.

Any number of runs may do this at the same time. Each looks, decides and writes, and looks again where another one may have
done the same meanwhile. GitHub offers no write on condition, so one gap stays: another run that writes between our last look at
the comment and our write right after it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from github.PullRequest import PullRequest
from github.Repository import Repository as Handle

from metricgate.github.api import Repository
from metricgate.github.failures import MissingError, UnansweredError
from metricgate.report import comment
from metricgate.report.comment import Body, Source, State
from metricgate.report.document import Report

When = Literal["always", "on_change", "on_problem", "never"]

READS = "pull-requests: read"
WRITES = "pull-requests: write"

LOOKS = 10
"""How often to look again because the comment changes all the time."""


@dataclass(frozen=True, kw_only=True)
class Ours:
    """One comment that we wrote about one model."""

    id: int
    url: str
    body: Body

    def rank(self, newest: str) -> tuple[bool, tuple[int, int]]:
        """Larger for the comment with the newer report, where ``newest`` is the pull request's last commit."""
        state = self.body.state
        return (state.head == newest, state.order) if state else (False, (-1, -1))


@dataclass(frozen=True, kw_only=True)
class Pull:
    """A pull request as it is now."""

    head: str
    abandoned: bool
    comments: int
    repository: str


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is to be done: at most one text written, at most one comment kept.

    Attributes:
        write: The text; None to leave what there is.
        keep: The comment that holds it afterwards; None to make one, or to have none.
        delete: Duplicates.
        known: As in ``Posted``.
    """

    write: str | None = None
    keep: Ours | None = None
    delete: tuple[Ours, ...] = field(default=())
    known: bool = False


@dataclass(frozen=True, kw_only=True)
class Posted:
    """What has become of a report.

    Attributes:
        url: The address of the comment; None if there is none.
        known: Whether the comment said the same of this very commit before, or what a later run found: then a check run and a
            status of the commit have been there too, and writing them again would change nothing, or for the worse.
        renamed: The repository by its present name, where the one that was asked is an older one.
    """

    url: str | None = None
    known: bool = False
    renamed: Repository | None = None


def publish(
    repository: Repository,
    report: Report,
    *,
    number: int,
    source: Source,
    when: When = "on_change",
    label: str | None = None,
) -> str | None:
    """``post``, for those who only want the comment's address; None if there is none."""
    return post(repository, report, number=number, source=source, when=when, label=label).url


def post(
    repository: Repository,
    report: Report,
    *,
    number: int,
    source: Source,
    when: When = "on_change",
    label: str | None = None,
) -> Posted:
    """Write, update or leave the comment about a report.

    Args:
        repository: Where the pull request is.
        report: What to tell.
        number: The pull request.
        source: Where the report comes from; its commit and run say which of two reports is newer.
        when: ``always`` for every report, ``on_change`` when people would see something new, ``on_problem`` like that but
            without a first comment as long as all is well, ``never``.
        label: The label that accepts a regression, where one does.

    Raises:
        GitHubError: The comment can't be written, and why.
    """
    if when == "never":
        return Posted()
    api, renamed = repository.api, None
    logins = {api.login}
    tries = api.tries()
    made: Ours | None = None
    looks, tried = 0, False
    while True:
        looks += 1
        ours = find(repository, report.name, number=number, logins=logins)
        if made is not None and made.id not in [each.id for each in ours]:
            ours.append(made)  # a list may lag behind; and where another run deleted it, deleting it again does no harm
        if made is not None and len(ours) == 1:
            return Posted(url=made.url, renamed=renamed)
        pull = _pull(repository, number)
        if pull.repository != repository.full_name:  # renamed: GitHub forwards what reads, and nothing that writes
            repository = renamed = api.repository(pull.repository)
        if not ours and pull.comments >= 100:
            # While we turned the pages, a comment on an earlier page may have gone, and ours moved to a page that we had.
            ours = find(repository, report.name, number=number, logins=logins)
        plan = decide(report, ours, source=source, pull=pull, when=when, label=label)
        try:
            tried = tried or plan.write is not None
            if plan.write is not None and plan.keep is None:
                login, made = _create(repository, number, plan.write, name=report.name)
                logins.add(login)  # an app's own token can't ask beforehand
                continue  # another run may have done the same
            if plan.write is not None and plan.keep is not None:
                if looks < LOOKS and _text(repository, number, plan.keep.id) != plan.keep.body.text:
                    continue  # another run has written meanwhile, perhaps something newer
                _edit(repository, number, plan.keep.id, plan.write)
        except (UnansweredError, MissingError) as error:
            # Nobody knows whether it is done, or somebody deleted the comment: look before writing again.
            if isinstance(error, MissingError) and plan.keep is None:
                raise
            tries.again(error)
            continue
        for duplicate in plan.delete:
            _delete(repository, number, duplicate.id)
        return Posted(url=plan.keep.url if plan.keep else None, known=plan.known and not tried, renamed=renamed)


def decide(report: Report, ours: Sequence[Ours], *, source: Source, pull: Pull, when: When, label: str | None = None) -> Plan:
    """What is to be done about a report; pure.

    Args:
        report: What to tell.
        ours: Our comments about the model; more than one if runs made them at the same time.
        source: Where the report comes from.
        pull: The pull request.
        when: When to comment.
        label: The label that accepts a regression.
    """
    states = [each.body.state for each in ours if each.body.state]
    body = comment.compose(report, source, before=states, newest=pull.head, label=label)
    if not ours:
        wanted = when != "on_problem" or report.verdict != "pass"
        told = wanted and source.head == pull.head and not pull.abandoned
        return Plan(write=body.text if told else None)
    keep = min(ours, key=lambda each: each.id)
    newest = max(ours, key=lambda each: (each.rank(pull.head), -each.id))
    delete = tuple(each for each in ours if each is not keep)
    if (source.head == pull.head, source.order) < newest.rank(pull.head):
        later = any(state.head == source.head and state.order > source.order for state in states)
        return Plan(write=None if newest is keep else newest.body.text, keep=keep, delete=delete, known=later)
    state = keep.body.state
    same = state is not None and keep.body.same(body) and (when != "always" or state == body.state)
    return Plan(write=None if same else body.text, keep=keep, delete=delete, known=same)


def remembered(repository: Repository, name: str, *, number: int) -> State | None:
    """What our comment about a model remembers; None if there is none.

    Raises:
        GitHubError: The comments can't be read.
    """
    ours = find(repository, name, number=number, logins={repository.api.login})
    states = [each.body.state for each in ours if each.body.state]
    return max(states, key=lambda state: state.order, default=None)


def find(repository: Repository, name: str, *, number: int, logins: set[str]) -> list[Ours]:
    """Our comments about a model, on all pages. A marker in somebody else's comment makes it nobody's but theirs.

    Raises:
        GitHubError: The comments can't be read.
    """
    found = repository.ask(
        lambda repo: [
            (each.id, each.html_url, each.body)
            for each in repo.get_issue(number).get_comments()
            if getattr(each.user, "login", None) in logins  # a deleted account may be null
        ],
        doing=f"read the comments of #{number}",
        needs=READS,
    )
    bodies = [(id_, url, comment.read(text or "", name)) for id_, url, text in dict.fromkeys(found)]
    return [Ours(id=id_, url=url, body=body) for id_, url, body in bodies if body is not None]


def _pull(repository: Repository, number: int) -> Pull:
    def read(pull: PullRequest) -> Pull:
        return Pull(
            head=pull.head.sha,
            abandoned=pull.state == "closed" and not pull.merged,
            comments=pull.comments,
            repository=pull.base.repo.full_name,
        )

    return repository.ask(lambda repo: read(repo.get_pull(number)), doing=f"read #{number}", needs=READS)


def _create(repository: Repository, number: int, text: str, *, name: str) -> tuple[str, Ours]:
    """Write a new comment; whose it is, and the comment."""

    def create(repo: Handle) -> tuple[str, int, str]:
        made = repo.get_issue(number).create_comment(text)
        return made.user.login, made.id, made.html_url

    login, id_, url = repository.tell(create, doing=f"comment on #{number}", needs=WRITES)
    body = comment.read(text, name) or Body(text=text, shown=text, state=None)
    return login, Ours(id=id_, url=url, body=body)


def _text(repository: Repository, number: int, id_: int) -> str:
    return repository.ask(
        lambda repo: repo.get_issue(number).get_comment(id_).body, doing=f"read our comment on #{number}", needs=READS
    )


def _edit(repository: Repository, number: int, id_: int, text: str) -> None:
    repository.tell(
        lambda repo: repo.get_issue(number).get_comment(id_).edit(text), doing=f"update our comment on #{number}", needs=WRITES
    )


def _delete(repository: Repository, number: int, id_: int) -> None:
    with contextlib.suppress(MissingError):  # another run was faster
        repository.ask(
            lambda repo: repo.get_issue(number).get_comment(id_).delete(),
            doing=f"delete a duplicate of our comment on #{number}",
            needs=WRITES,
        )

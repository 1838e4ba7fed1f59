"""A pull request at a GitHub on localhost, and reports to post there: what the tests of comments, checks and waivers share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from metricgate.github import api
from metricgate.github.api import Api
from metricgate.github.patience import Patience
from metricgate.report.comment import Source
from metricgate.report.document import IntervalInfo, Report, RuleInfo, SideInfo
from tests.github_server import GitHubServer, Repository

NAME = "acme/model"
PERMISSIONS: Mapping[str, str] = {
    "contents": "read",
    "issues": "write",
    "pull_requests": "write",
    "checks": "write",
    "statuses": "write",
    "metadata": "read",
}
QUICK = Patience(attempts=4, backoff=0.001, secondary_wait=0.001, longest=5.0)
EXIT_CODES = {"pass": 0, "fail": 1, "inconclusive": 0, "not_comparable": 4}


@dataclass
class Scene:
    """A repository with one pull request, and whoever wants to write there."""

    github: GitHubServer
    repo: Repository
    number: int
    heads: list[str]
    token: str
    _open: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def session(self, token: str = "", *, login: str | None = None, patience: Patience = QUICK, timeout: int = 5) -> Api:
        """Log in."""
        opened = api.connect(token or self.token, api_url=self.github.url, login=login, patience=patience, timeout=timeout)
        return self._open.enter_context(opened)

    def model(self, token: str = "", *, login: str | None = None, patience: Patience = QUICK) -> api.Repository:
        """The repository, seen through a new session."""
        return self.session(token, login=login, patience=patience).repository(NAME)

    def push(self) -> str:
        """One more commit on the pull request."""
        head = self.repo.commit(parents=[self.heads[-1]], message=f"change {len(self.heads)}")
        self.heads.append(head)
        self.repo.push(self.number, head)
        return head

    @property
    def head(self) -> str:
        """The pull request's last commit."""
        return self.heads[-1]

    def source(self, run: int = 1, *, head: str = "", attempt: int = 1, link: str = "") -> Source:
        """Where a report comes from."""
        return Source(head=head or self.head, run=run, attempt=attempt, link=link)

    def bodies(self) -> list[str]:
        """The texts of all comments."""
        return [kept["body"] for kept in self.repo.comments(self.number)]

    def ours(self) -> list[str]:
        """The texts of all comments with a marker."""
        return [body for body in self.bodies() if body.startswith("<!-- metricgate: ")]

    def calls(self) -> list[str]:
        """The requests so far, such as ``GET issues/1/comments``."""
        return [f"{each.method} {each.path.removeprefix(f'/repos/{NAME}/')}" for each in self.github.requests]


@contextlib.contextmanager
def scene() -> Iterator[Scene]:
    """A new one."""
    with GitHubServer() as github, contextlib.ExitStack() as sessions:
        repo = github.repository(NAME)
        base = repo.commit(message="the model")
        repo.branch("main", base)
        head = repo.commit(parents=[base], message="change 0")
        number = repo.pull(head=head)
        token = github.token(permissions=PERMISSIONS, repository=NAME)
        yield Scene(github=github, repo=repo, number=number, heads=[head], token=token, _open=sessions)


def report(verdict: str = "pass", *, name: str = "digits-cnn", **changes: object) -> Report:
    """A report with one rule."""
    rule = RuleInfo(
        metric="accuracy",
        kind="max_regression",
        limit=0.01,
        direction="higher",
        baseline=0.95,
        candidate=0.93,
        difference=-0.02,
        interval=IntervalInfo(low=-0.03, high=-0.01, level=0.95),
        outcome=verdict,
        reason="accuracy fell by 0.02",
    )
    fields: dict[str, object] = {
        "name": name,
        "verdict": verdict,
        "exit_code": EXIT_CODES[verdict],
        "reasons": ("accuracy fell by 0.02",),
        "baseline": SideInfo(commit="a" * 40, runs=3),
        "candidate": SideInfo(commit="b" * 40, runs=3),
        "rules": (rule,),
    }
    return Report.model_validate({**fields, **changes})

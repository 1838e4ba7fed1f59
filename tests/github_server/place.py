"""The smallest repository worth talking to, and PyGithub without any patience, for tests of the server itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import pytest
from github import Auth, Github, GithubException, GithubRetry
from github.Repository import Repository as Client

from tests.github_server.repository import Repository
from tests.github_server.server import GitHubServer

NAME = "acme/model"
EVERYTHING: Mapping[str, str] = {
    "contents": "write",
    "issues": "write",
    "pull_requests": "write",
    "checks": "write",
    "statuses": "write",
    "actions": "read",
}


@dataclass(frozen=True)
class Place:
    """A server with one private repository of two commits, the second on main."""

    github: GitHubServer
    repo: Repository
    history: tuple[str, ...]

    def token(self, permissions: Mapping[str, str] = EVERYTHING) -> str:
        """A workflow's token, which may do everything unless told otherwise."""
        return self.github.token(permissions=permissions, repository=self.repo.full_name)

    def client(self, token: str = "", *, timeout: int = 5) -> Client:
        """The repository as PyGithub sees it."""
        return session(self.github, token or self.token(), timeout=timeout).get_repo(self.repo.full_name)

    def bearer(self) -> dict[str, str]:
        """What a request without PyGithub carries."""
        return {"Authorization": f"Bearer {self.token()}"}


@contextmanager
def opened() -> Iterator[Place]:
    """A new server."""
    with GitHubServer() as github:
        repo = github.repository(NAME, private=True)
        history = repo.commits(2)
        repo.branch("main", history[-1])
        yield Place(github, repo, tuple(history))


def session(github: GitHubServer, token: str, *, timeout: int = 5, retry: GithubRetry | None = None) -> Github:
    """PyGithub that asks for nothing before it must, waits for nothing and, unless told so, tries nothing twice."""
    return Github(
        auth=Auth.Token(token),
        base_url=github.url,
        per_page=100,
        retry=retry,
        timeout=timeout,
        seconds_between_requests=0,
        seconds_between_writes=0,
        lazy=True,
    )


def refused(call: Callable[[], object]) -> tuple[int, str]:
    """The status and the sentence with which GitHub refuses something."""
    with pytest.raises(GithubException) as caught:
        call()
    return caught.value.status, str(caught.value.data["message"])

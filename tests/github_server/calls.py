"""What every operation is asked with and answers with."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlencode

from tests.github_server.branches import World
from tests.github_server.records import Pull, Token
from tests.github_server.repository import Repository

if TYPE_CHECKING:
    from tests.github_server.server import GitHubServer

T = TypeVar("T")
DOCUMENTATION = "https://docs.github.com/rest"


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer.

    Attributes:
        status: The HTTP status.
        body: What becomes JSON; None: nothing.
        headers: Headers beside the usual ones.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


class Refused(Exception):  # noqa: N818 - GitHub's word for it would be a status
    """The request is refused, in GitHub's words."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        errors: Sequence[Mapping[str, object] | str] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        body: dict[str, object] = {"message": message, "documentation_url": DOCUMENTATION, "status": str(status)}
        if errors:
            body["errors"] = list(errors)
        self.answer = Answer(status=status, body=body, headers=headers or {})


def missing() -> Refused:
    """There is no such thing, or the caller may not know of it."""
    return Refused(404, "Not Found")


def invalid(resource: str, what: str, *, code: str = "invalid", message: str = "") -> Refused:
    """The request can't be obeyed as it stands.

    Args:
        resource: What it was about, such as ``IssueComment``.
        what: The field at fault.
        code: GitHub's word for what is wrong.
        message: A sentence about it.
    """
    error = {"resource": resource, "code": code, "field": what}
    return Refused(422, "Validation Failed", errors=[{**error, "message": message} if message else error])


@dataclass(frozen=True, kw_only=True)
class Call:
    """A request that may be answered: understood, allowed and counted.

    Attributes:
        server: Where everything is.
        url: What was asked, with the root of the API and without the query.
        path: The parameters in its path.
        query: The parameters after the question mark.
        body: What it carries, parsed.
        token: Who asks.
        repo: The repository it is about, where it is about one.
    """

    server: GitHubServer
    url: str
    path: Mapping[str, str]
    query: Mapping[str, str]
    body: Any
    token: Token
    found: Repository | None

    @property
    def world(self) -> World:
        """Everything around the repository."""
        return self.server

    @property
    def repo(self) -> Repository:
        """The repository it is about."""
        if self.found is None:
            raise missing()
        return self.found

    @property
    def pull(self) -> Pull:
        """The pull request it is about."""
        number = int(self.path.get("issue_number") or self.path["pull_number"])
        if number not in self.repo.pulls:
            raise missing()
        return self.repo.pulls[number]

    def page(self, items: Sequence[T], shape: Callable[[T], Any], *, under: str = "") -> Answer:
        """One page of a list.

        Args:
            items: The whole list.
            shape: Makes JSON of one item.
            under: Where the list stands in the answer, beside how long it is; by default it is the answer.
        """
        chosen, headers = self.slice(items)
        body = [shape(item) for item in chosen]
        return Answer(body={"total_count": len(items), under: body} if under else body, headers=headers)

    def slice(self, items: Sequence[T], *, size: int = 30) -> tuple[Sequence[T], dict[str, str]]:
        """The items of one page, and the `Link` header that leads to the others."""
        size = min(100, max(1, int(self.query.get("per_page", size))))
        number, last = max(1, int(self.query.get("page", 1))), max(1, math.ceil(len(items) / size))
        links = {"prev": min(number - 1, last), "next": number + 1, "last": last, "first": 1}
        if number == 1:
            del links["prev"], links["first"]
        if number >= last:
            del links["next"], links["last"]
        shown = ", ".join(f'<{self._at(page)}>; rel="{name}"' for name, page in links.items())
        return items[(number - 1) * size : number * size], {"Link": shown} if shown else {}

    def _at(self, page: int) -> str:
        return f"{self.url}?{urlencode({**self.query, 'page': page})}"

"""GitHub's API: one session, its retries, and every failure of it told in a way that a person can act on.

Nothing else builds a PyGithub session or catches its exceptions. Calls go through ``Repository.ask`` (may be repeated) or
``Repository.tell`` (is sent once, because nobody knows whether a lost answer was a success).
"""

from __future__ import annotations

import time
import urllib.parse
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from types import TracebackType
from typing import TypeVar

from github import Auth, Github
from github.Repository import Repository as Handle

from metricgate import __version__
from metricgate.errors import UsageError
from metricgate.github import failures
from metricgate.github.failures import GitHubError, RefusedError, UnansweredError
from metricgate.github.patience import Patience, Retry
from metricgate.report import plain

PUBLIC_API = "https://api.github.com"
ACTIONS_LOGIN = "github-actions[bot]"

_LOCAL = ("127.0.0.1", "localhost", "::1")
_INSTALLATION = "ghs_"

T = TypeVar("T")


class Api:
    """A session with GitHub. Its text never has the token; close it, or use it in a ``with`` statement.

    Args:
        session: PyGithub's.
        token: To keep it out of what GitHub, or something between us, says.
        login: Who the token belongs to, where it is known.
        patience: How long to go on.
        sleep: Waits.
    """

    def __init__(
        self, session: Github, *, token: str, login: str | None, patience: Patience, sleep: Callable[[float], None]
    ) -> None:
        self._session = session
        self._token = token
        self._login = login
        self._patience = patience
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"Api({self._session.requester.base_url})"

    def __enter__(self) -> Api:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def repository(self, full_name: str) -> Repository:
        """A repository, ``owner/name``. No request: it need not exist.

        Raises:
            UsageError: That is no repository's name.
        """
        if full_name.count("/") != 1 or not all(full_name.split("/")):
            raise UsageError(f"{full_name!r} is not the name of a repository", expected="owner/name")
        path = "/".join(urllib.parse.quote(part, safe="") for part in full_name.split("/"))
        return Repository(api=self, full_name=full_name, handle=self._session.get_repo(path))

    @cached_property
    def login(self) -> str:
        """Who we are to GitHub: what comments of ours carry as their author.

        A job's own token can't ask; it belongs to ``github-actions[bot]`` unless `connect` was told otherwise.
        """
        if self._login:
            return self._login
        if self._token.startswith(_INSTALLATION):
            return ACTIONS_LOGIN
        try:
            return self.ask(lambda: self._session.get_user().login, doing="ask whose token this is")
        except RefusedError as error:
            if error.status == 403:  # an installation's token without the prefix
                return ACTIONS_LOGIN
            raise

    def ask(self, do: Callable[[], T], *, doing: str, needs: str = "") -> T:
        """Do something that may be done twice: read, or write what is the same the second time.

        Args:
            do: Calls PyGithub. Its objects are lazy and fetch what they lack when asked for it: take out plain values here.
            doing: What it does, for the error: "read the comments of #7".
            needs: The permission, as in a workflow: "pull-requests: read".

        Raises:
            GitHubError: What went wrong; the subclass says which way.
        """
        tries = self.tries()
        while True:
            try:
                return self.tell(do, doing=doing, needs=needs)
            except UnansweredError as error:  # noqa: PERF203 - a request costs a thousand times more than a `try`
                tries.again(error)

    def tries(self) -> Tries:
        """For those who ``tell`` something, and look before they tell it again."""
        return Tries(patience=self._patience, sleep=self._sleep)

    def tell(self, do: Callable[[], T], *, doing: str, needs: str = "") -> T:
        """Do something that must not be done twice without looking; the arguments and errors of ``ask``."""
        try:
            return do()
        except failures.RAISED as error:
            attempt = failures.Attempt(
                doing=doing,
                needs=needs,
                api_url=self._session.requester.base_url,
                token=self._token,
                secondary_wait=self._patience.secondary_wait,
            )
            raise attempt.failure(error) from error


class Tries:
    """Counts how often one thing was tried, and waits in between.

    Args:
        patience: How often and how long.
        sleep: Waits.
    """

    def __init__(self, *, patience: Patience, sleep: Callable[[float], None]) -> None:
        self._patience = patience
        self._sleep = sleep
        self._made = 0
        self._ends = time.monotonic() + patience.longest

    def again(self, error: GitHubError) -> None:
        """Wait until it makes sense to try again.

        Raises:
            GitHubError: The given one: there were enough attempts, or there is no time for another one.
        """
        self._made += 1
        pause = error.wait if error.wait is not None else self._patience.backoff * 2 ** (self._made - 1)
        late = time.monotonic() + pause > self._ends
        if self._made >= self._patience.attempts or late or failures.was_repeated(error.__cause__):
            raise error
        self._sleep(pause)


@dataclass(frozen=True, kw_only=True)
class Repository:
    """One repository, through one session.

    Attributes:
        api: The session.
        full_name: ``owner/name``.
        handle: PyGithub's lazy object; use it only inside ``ask`` and ``tell``.
    """

    api: Api
    full_name: str
    handle: Handle = field(repr=False)

    def ask(self, do: Callable[[Handle], T], *, doing: str, needs: str = "") -> T:
        """``Api.ask`` about this repository."""
        return self.api.ask(lambda: do(self.handle), doing=self._at(doing), needs=needs)

    def tell(self, do: Callable[[Handle], T], *, doing: str, needs: str = "") -> T:
        """``Api.tell`` about this repository."""
        return self.api.tell(lambda: do(self.handle), doing=self._at(doing), needs=needs)

    def _at(self, doing: str) -> str:
        return f"{doing} in {plain.text(self.full_name)}"


def connect(
    token: str,
    *,
    api_url: str = PUBLIC_API,
    login: str | None = None,
    timeout: int = 20,
    patience: Patience | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Api:
    """Open a session. No request yet.

    Args:
        token: A job's own, an app's or a person's.
        api_url: ``GITHUB_API_URL``; Enterprise Server has its own.
        login: Who the token belongs to, where it can't be asked: a GitHub App's ``name[bot]``.
        timeout: Seconds without a byte after which an answer counts as lost.
        patience: How long to go on when GitHub does not answer as it should.
        sleep: Waits.

    Raises:
        UsageError: There is no token, or the address would show it to everybody on the way.
    """
    if not token:
        raise UsageError("there is no token for GitHub", where="with: token", fix="with:\n  token: ${{ github.token }}")
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise UsageError(
            "the token has blanks, line ends or other characters that no token has",
            where="with: token",
            fix="save the secret again, without a line end",
        )
    address = urllib.parse.urlsplit(api_url)
    local = address.hostname in _LOCAL
    if not address.hostname or address.scheme not in {"https", "http"} or (address.scheme == "http" and not local):
        raise UsageError(
            f"{plain.text(address.hostname or api_url)} is not an address to send a token to",
            expected="https:// and the API's address",
            where="GITHUB_API_URL",
        )
    if address.username or address.password:
        raise UsageError("the address has a password in it", expected="https:// and the API's address", where="GITHUB_API_URL")
    patience = patience or Patience()
    session = Github(
        auth=Auth.Token(token),
        base_url=api_url.rstrip("/"),
        timeout=timeout,
        user_agent=f"metricgate/{__version__}",
        per_page=100,
        retry=Retry(patience=patience),
        # Its defaults wait a quarter of a second before each request and a second before each write. We send a handful;
        # whoever is limited all the same is told by GitHub and waits then.
        seconds_between_requests=0,
        seconds_between_writes=0,
        lazy=True,
    )
    return Api(session, token=token, login=login, patience=patience, sleep=sleep)

"""How long to go on when GitHub does not answer as it should: PyGithub's retries, with limits kept and an end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any, cast

from github.GithubException import RateLimitExceededExceedsMaxWait
from github.GithubRetry import GithubRetry
from urllib3.exceptions import HTTPError, MaxRetryError, ResponseError

if TYPE_CHECKING:  # older versions of urllib3, which PyGithub takes too, have no such name
    from urllib3.connectionpool import ConnectionPool
    from urllib3.response import BaseHTTPResponse


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on when GitHub does not answer as it should.

    Attributes:
        attempts: How often one request is sent at most.
        backoff: Seconds before the second repetition; twice as long before each further one.
        secondary_wait: Seconds to wait after a secondary limit that names no time, as GitHub asks for.
        longest: Seconds that the waiting for one request may take in all. What would take longer is given up at once.
    """

    attempts: int = 5
    backoff: float = 0.5
    secondary_wait: float = 60.0
    longest: float = 120.0


class Retry(GithubRetry):
    """PyGithub's retries, for requests that may be repeated, with limits kept and an end.

    POST is left out because its lost answer may have been a success, and PATCH because between two attempts a newer run may
    have written what the second attempt would overwrite: their callers look first.
    """

    METHODS = frozenset({"GET", "HEAD", "PUT", "DELETE"})

    def __init__(self, *, patience: Patience, started: float | None = None, **options: Any) -> None:
        self.patience = patience
        self.started = started
        self.pause = 0.0
        defaults: dict[str, Any] = {
            "total": patience.attempts - 1,
            "backoff_factor": patience.backoff,
            "allowed_methods": self.METHODS,
            "status_forcelist": [429, *range(500, 600)],
            "secondary_rate_wait": patience.secondary_wait,
            "max_rate_limit_wait": patience.longest,
        }
        super().__init__(**(defaults | options))

    def new(self, **options: Any) -> Retry:
        """The same for the next attempt; the clock goes on."""
        return super().new(patience=self.patience, started=self.started or time.monotonic(), **options)

    def increment(
        self,
        method: str | None = None,
        url: str | None = None,
        response: BaseHTTPResponse | None = None,
        error: Exception | None = None,
        _pool: ConnectionPool | None = None,
        _stacktrace: TracebackType | None = None,
    ) -> Retry:
        """Count a failure.

        Raises:
            MaxRetryError: It was the last attempt, or there is no time for another one.
            RateLimitExceededExceedsMaxWait: GitHub asks to wait for longer than that.
        """
        if error is not None and method not in self.METHODS and not self._is_connection_error(error):
            raise error  # urllib3 would repeat a POST whose encrypted connection broke after it was sent
        pause = 0.0
        if response is not None:
            headers = {name.lower(): value for name, value in response.headers.items()}
            default = self.patience.secondary_wait if response.status == 429 else 0.0
            if response.status in {403, 429}:
                pause = asked_wait(headers, default=default) or 0.0
            if pause > self.patience.longest:
                said = _body(response)
                raise RateLimitExceededExceedsMaxWait(response.status, said, dict(response.headers), wait=pause)
        grown: Retry = super().increment(method, url, response, error, _pool, _stacktrace)  # type: ignore[arg-type, assignment]
        grown.pause = pause
        if time.monotonic() - (grown.started or 0.0) + grown.get_backoff_time() > self.patience.longest:
            raise MaxRetryError(
                cast("ConnectionPool", _pool), url, error or ResponseError("there is no time left to ask again")
            )
        return grown

    def get_backoff_time(self) -> float:
        """Seconds until the next attempt."""
        return max(self.pause, super().get_backoff_time())


def _body(response: BaseHTTPResponse) -> object:
    """What an answer says. Reading it to its end also hands its connection back."""
    try:
        return json.loads(response.read(decode_content=True))
    except (ValueError, HTTPError):
        return None


def asked_wait(headers: Mapping[str, str], *, default: float | None) -> float | None:
    """How long GitHub asks to wait: ``Retry-After``, else until the limit is reset, else the default.

    Args:
        headers: Of an answer, with their names in lower case.
        default: Where they say nothing.
    """
    after = headers.get("retry-after", "").strip()
    if after.isdigit():
        return float(after)
    reset = headers.get("x-ratelimit-reset", "").strip()
    if headers.get("x-ratelimit-remaining", "").strip() == "0" and reset.isdigit():
        return max(0.0, int(reset) - time.time()) + 1.0  # it is not said when in that second
    return default

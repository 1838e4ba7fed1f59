"""The log of a build while it runs: shown line by line without secrets, and its end told where the build fails."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from metricgate.errors import StageError
from metricgate.release.leaks import Secrets

LINES = 20
_FIX = "correct the Dockerfile, or what it fetches"
_FIXES = {
    "requires buildkit": "leave out what only BuildKit knows",
    "docker buildx": "let a builder be there that can write OCI layouts: docker buildx create --use",
}


class BuildLog:
    """What a build says.

    Args:
        secrets: What nobody is shown.
        show: Is given every line.
    """

    def __init__(self, secrets: Secrets, show: Callable[[str], None]) -> None:
        self._secrets = secrets
        self._show = show
        self._tail: deque[str] = deque(maxlen=LINES)

    def line(self, text: str) -> None:
        """One line more."""
        if line := self._secrets.masked(text).rstrip():
            self._tail.append(line)
            self._show(line)

    def message(self, said: Mapping[str, Any]) -> None:
        """One message of the engine (https://docs.docker.com/reference/api/engine/, POST /build).

        Raises:
            StageError: It says that the build failed.
        """
        # The bars of a download are no lines.
        text = said.get("stream") or ("" if said.get("progressDetail") else said.get("status") or "")
        for line in str(text).splitlines():
            self.line(line)
        if wrong := error_in(said):
            raise self.failed(wrong)

    def failed(self, why: str) -> StageError:
        """The build failed."""
        return StageError(
            f"the image can't be built: {self._secrets.masked(why).strip()[:1000]}",
            where="the build",
            expected="a Dockerfile that builds",
            fix=with_tail(next((fix for words, fix in _FIXES.items() if words in why.lower()), _FIX), self._tail),
        )

    @contextlib.contextmanager
    def in_time(self, seconds: float) -> Iterator[None]:
        """Turn a time-out into an error with the end of the log.

        Raises:
            StageError: It took too long.
        """
        import requests
        import urllib3.exceptions

        try:
            yield
        except (TimeoutError, requests.Timeout, urllib3.exceptions.TimeoutError):
            raise StageError(
                f"the image was not built after {seconds:g} s",
                where="the build",
                expected="a build that ends",
                fix=with_tail("give it more time, or find out what it waits for", self._tail),
            ) from None


def error_in(said: Mapping[str, Any]) -> str | None:
    """What went wrong, by a message of the engine."""
    message = (said.get("errorDetail") or {}).get("message") or said.get("error")
    return str(message) if message else None


def with_tail(fix: str, tail: Iterable[str]) -> str:
    """What to do, and the lines before it became necessary."""
    return "\n".join([f"{fix}; the log ends with", *(f"  {line[:300]}" for line in tail)])

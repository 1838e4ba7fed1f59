"""What can go wrong with GitHub, told in a way that a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import requests
from github.GithubException import (
    BadAttributeException,
    GithubException,
    IncompletableObject,
    RateLimitExceededExceedsMaxWait,
)
from github.Requester import Requester
from urllib3.exceptions import HTTPError, MaxRetryError

from metricgate.errors import ExitCode, MetricgateError
from metricgate.github import patience
from metricgate.report import plain

NOT_AN_ANSWER = (AssertionError, AttributeError, BadAttributeException, IncompletableObject, KeyError, RuntimeError, TypeError)
"""What PyGithub raises when an answer is whole JSON but not what GitHub describes, such as a proxy's own page."""

RAISED = (GithubException, requests.RequestException, HTTPError, ValueError, *NOT_AN_ANSWER)
"""Everything that a call of PyGithub is known to raise."""

_FORKS = "# on a pull request from a fork the token can only read: there model-comment.yml posts the report"


class GitHubError(MetricgateError):
    """GitHub did not do what it was asked for.

    Attributes:
        status: GitHub's answer; None if there was none.
        wait: Seconds after which to ask again, where GitHub said so.
    """

    exit_code = ExitCode.STAGE_FAILED

    def __init__(
        self,
        found: str,
        *,
        expected: str = "",
        where: str = "",
        fix: str = "",
        status: int | None = None,
        wait: float | None = None,
    ) -> None:
        super().__init__(found, expected=expected, where=where, fix=fix)
        self.status = status
        self.wait = wait


class UnansweredError(GitHubError):
    """No answer, a broken one, or "later": after a write, nobody knows whether it was done."""


class RefusedError(GitHubError):
    """The token is no good, or may not do this (401, 403)."""

    exit_code = ExitCode.USAGE


class MissingError(GitHubError):
    """It is not there, or the token may not see it (404, 410)."""

    exit_code = ExitCode.USAGE


class RejectedError(GitHubError):
    """GitHub understood, and will not do it as things are (409, 422 and the like)."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """What was tried, to tell of its failure.

    Attributes:
        doing: What it does: "read the comments of #7".
        needs: The permission, as in a workflow: "pull-requests: read".
        api_url: Where GitHub's API is.
        token: To keep it out of what GitHub, or something between us, says.
        secondary_wait: Seconds to wait after a limit that names no time.
    """

    doing: str
    needs: str
    api_url: str
    token: str = field(repr=False)
    secondary_wait: float

    def failure(self, error: Exception) -> GitHubError:
        """The error that tells a person what one of ``RAISED`` means."""
        if isinstance(error, GithubException):
            return self._answered(error)
        if isinstance(error, requests.Timeout):
            return self._unanswered(f"GitHub did not answer in time, to {self.doing}")
        if isinstance(error, requests.JSONDecodeError) or not isinstance(error, requests.RequestException | HTTPError):
            cut = isinstance(error, ValueError)
            found = "GitHub's answer was cut off" if cut else "the answer is not one of GitHub's API"
            return self._unanswered(f"{found}, to {self.doing}")
        return self._unanswered(f"GitHub could not be reached, or hung up, to {self.doing}")

    def _answered(self, error: GithubException) -> GitHubError:
        status, said = error.status, self._said(error)
        headers = {name.lower(): value for name, value in (error.headers or {}).items()}
        told = f"{status}: {said}" if said else f"{status}"
        limited = status == 429 or Requester.isRateLimitError(said) or isinstance(error, RateLimitExceededExceedsMaxWait)
        if limited or status >= 500:
            wait = patience.asked_wait(headers, default=self.secondary_wait if limited else None)
            return self._unanswered(f"GitHub would not {self.doing} now ({told})", status=status, wait=wait)
        if status == 401:
            return RefusedError(
                f"GitHub does not accept the token ({told})",
                expected="a token that has not expired: a job's own ends with the job, after 24 hours at the latest",
                where="with: token",
                fix="with:\n  token: ${{ github.token }}",
                status=status,
            )
        if status == 403 and "locked" in said.lower():
            return RefusedError(
                f"GitHub would not {self.doing}: the conversation is locked ({told})",
                fix="unlock the conversation, or give the action `comment: never`",
                status=status,
            )
        if status == 403:
            accepted = plain.text(headers.get("x-accepted-github-permissions", ""))
            return RefusedError(
                f"the token may not {self.doing} ({told})",
                expected=f"a token with {accepted or self.needs or 'more permissions'}",
                where="permissions:",
                fix="\n".join([*self._grant(), _FORKS]),
                status=status,
            )
        if status in {404, 410}:
            return MissingError(
                f"GitHub could not {self.doing} ({told}): it is gone, or hidden from this token",
                expected="something of that name in a repository of that name, which the token may read",
                fix="\n".join(self._grant()),
                status=status,
            )
        return RejectedError(f"GitHub would not {self.doing} ({told})", status=status)

    def _unanswered(self, found: str, *, status: int | None = None, wait: float | None = None) -> UnansweredError:
        return UnansweredError(
            found,
            where=self.api_url,
            fix="run the job again; https://www.githubstatus.com tells of outages",
            status=status,
            wait=wait,
        )

    def _grant(self) -> list[str]:
        return ["permissions:", f"  {self.needs}"] if self.needs else []

    def _said(self, error: GithubException) -> str:
        """What GitHub says about a failure, in one harmless line without the token."""
        data = error.data if isinstance(error.data, Mapping) else {}
        details = data.get("errors")
        parts = [data.get("message") or error.message]
        parts += [
            detail.get("message") or detail.get("code") if isinstance(detail, Mapping) else detail
            for detail in (details if isinstance(details, list) else ())
        ]
        text = "; ".join(part for part in parts if isinstance(part, str) and part)
        return plain.text(text.replace(self.token, "***"), limit=300)


def was_repeated(cause: BaseException | None) -> bool:
    """Whether the session has already repeated a request as often as it may."""
    if isinstance(cause, RateLimitExceededExceedsMaxWait | requests.exceptions.RetryError):
        return True
    return isinstance(cause, requests.RequestException) and any(isinstance(part, MaxRetryError) for part in cause.args)

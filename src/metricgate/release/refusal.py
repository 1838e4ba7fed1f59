"""What a registry means when it says no, in words that help."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

import requests
from urllib3.exceptions import HTTPError

from metricgate.errors import StageError
from metricgate.release import credentials
from metricgate.report import plain

AGAIN = "run the same command again: it goes on where it stopped; if it stays so, look at the registry's status"

_MOST_BYTES = 64 << 10
_GHCR_FIX = """let the job write packages, and hand it the token:
permissions: {packages: write}
env: {GITHUB_TOKEN: "${{ github.token }}"}"""
_GHCR_PACKAGE = """
and if the package was made by another repository: its settings, "Manage Actions access", role Write"""
_QUOTA = ("quota", "exceed", "insufficient", "storage limit", "limit reached")


class RegistryError(StageError):
    """A registry did not do what it was asked for.

    Args:
        found: What happened.
        status: HTTP's; 0 where there was no answer.
        where: The repository.
        exists: What there is now, as a sentence.
        fix: What to do.
    """

    def __init__(self, found: str, *, status: int, where: str, exists: str = "", fix: str = "") -> None:
        super().__init__(f"{found}; {exists}" if exists else found, where=where, fix=fix)
        self.status = status

    def saying(self, exists: str) -> RegistryError:
        """The same, with what there is now."""
        return RegistryError(self.found, status=self.status, where=self.where, exists=exists, fix=self.fix)


@dataclass(frozen=True)
class Answer:
    """An answer that is no content.

    Attributes:
        status: HTTP's.
        text: What it says; cut where it is too long to be said.
        kind: Its ``Content-Type``.
        again: Its ``Retry-After``.
    """

    status: int
    text: str
    kind: str = ""
    again: str | None = None

    @property
    def is_full(self) -> bool:
        """Whether the registry has no room: its disk is full. Asking again would not help."""
        # docker-registry answers 500 and hides the system's error number for it in `detail`.
        text = self.text.lower()
        return self.status == 507 or "no space left" in text or '"err":28' in text.replace(" ", "")


def read(answer: requests.Response) -> Answer:
    """Read an answer that is no content; its connection is free then."""
    try:
        content = answer.raw.read(_MOST_BYTES, decode_content=True) or b""
    except (HTTPError, OSError):
        content = b""  # the status is known, and that is what counts
    answer.close()
    text = content.decode(errors="replace")
    return Answer(answer.status_code, text, answer.headers.get("Content-Type", ""), answer.headers.get("Retry-After"))


def said(answer: Answer, secrets: Iterable[str] = ()) -> str:
    """The status and what the registry says about it, on one line: ``403 (DENIED: quota exceeded)``.

    Args:
        answer: The answer.
        secrets: What to leave out.
    """
    words = "; ".join(_errors(answer))
    for secret in secrets:
        words = words.replace(secret, "***")
    words = plain.text(words, limit=300)
    return f"{answer.status} ({words})" if words else str(answer.status)


def explained(
    answer: Answer,
    *,
    host: str,
    repository: str,
    doing: str,
    username: str | None,
    secrets: Iterable[str],
) -> RegistryError:
    """An answer as an error that says what to do.

    Args:
        answer: The answer.
        host: The registry.
        repository: The repository's name in it.
        doing: What was asked for.
        username: Whose login was used; None for nobody's.
        secrets: What to leave out.
    """
    status, words = answer.status, said(answer, secrets)
    who = f"{username!r}" if username else "somebody without a login"
    text = answer.text.lower()
    if answer.is_full or (status in {403, 413, 429} and any(word in text for word in _QUOTA) and "rate limit" not in text):
        found = f"{host} has no room left to {doing}: {words}"
        fix = "make room: delete old images there, or raise the quota; then run the same command again, and it goes on"
    elif status == 401:
        found = f"{host} does not let {who} {doing}: {words}"
        fix = _login(host)
    elif status == 403:
        found = f"{host} does not let {who} {doing}: {words}"
        fix = _GHCR_FIX + _GHCR_PACKAGE if host == credentials.GHCR else f"give {who} the right to write {repository} there"
        fix = fix if username else _login(host)
    elif status == 413:
        found = f"{host} takes no request of that size to {doing}: {words}"
        fix = "raise the limit of the proxy that stands before the registry (nginx: client_max_body_size 0;)"
    elif status == 404:
        found = f"{host} has no such thing to {doing}: {words}"
        fix = "check the image's name; some registries need the repository to be created first"
    else:
        found = f"{host} would not {doing}: it answered {words}"
        fix = AGAIN
    return RegistryError(found, status=status, where=f"{host}/{repository}", fix=fix)


def untrusted(error: requests.exceptions.SSLError, *, host: str, repository: str) -> RegistryError:
    """A certificate that nobody vouches for."""
    reason = str(error).partition("CERTIFICATE_VERIFY_FAILED]")[2].partition("(_ssl")[0]
    return RegistryError(
        f"{host} shows a certificate that is not trusted: {plain.text(reason)}",
        status=0,
        where=f"{host}/{repository}",
        fix="REQUESTS_CA_BUNDLE=/path/to/ca.pem   # the certificate of whoever signed the registry's",
    )


def broken(error: requests.RequestException) -> str:
    """What a broken connection was, without the address."""
    inner = error.args[0] if error.args else error
    reason = getattr(inner, "reason", inner)
    kind = type(reason).__name__
    words = {
        "NewConnectionError": "can't be reached",
        "NameResolutionError": "is a name that can't be resolved",
        "ConnectTimeoutError": "can't be reached in time",
        "ReadTimeoutError": "did not answer in time",
        "ProxyError": "can't be reached through the proxy",
    }
    return words.get(kind, f"broke the connection ({kind})")


def _login(host: str) -> str:
    if host == credentials.GHCR:
        return _GHCR_FIX
    return f"docker login {host}; or set {credentials.USERNAME} and {credentials.PASSWORD}"


def _errors(answer: Answer) -> list[str]:
    """The errors in a body, as the distribution specification wants them; else what it says."""
    try:
        document = json.loads(answer.text)
        found = document.get("errors") or [document]
        return [": ".join(str(one[key]) for key in ("code", "message", "details") if one.get(key)) for one in found[:3]]
    except (ValueError, AttributeError, TypeError, KeyError, RecursionError):
        return [] if "html" in answer.kind else [answer.text]

"""One repository of a registry over HTTP: who asks, where answers come from, and what is asked again.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Credentials go to the registry and to the token server
that it names, and nowhere else: not to the storage that it redirects to.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import requests

import metricgate
from metricgate.errors import UsageError
from metricgate.release import address, credentials, refusal
from metricgate.release.authorization import PULL, PUSH, Authorization, RefusedError
from metricgate.release.patience import Patience
from metricgate.release.refusal import Answer, RegistryError

# Seconds for connecting and for handing over a piece of a body; and until an answer: a registry may read a blob of many GiB
# again before it answers.
TIMEOUT = (60.0, 600.0)
PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})

_HUB_API = "registry-1.docker.io"
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_READING = frozenset({"GET", "HEAD"})


Body = bytes | Iterable[memoryview]


class BrokenError(Exception):
    """A connection broke, or an answer says to try again; the text says what happened.

    Attributes:
        asked: ``Retry-After``.
        answer: The answer, if there was one.
    """

    def __init__(self, why: str, *, answer: Answer | None = None) -> None:
        super().__init__(why)
        self.asked = answer.again if answer else None
        self.answer = answer


@dataclass(frozen=True)
class Connection:
    """One repository of a registry.

    Attributes:
        host: The registry's host and port, as people write it.
        repository: The repository's name in it.
        environ: The environment: credentials, and which certificates to trust.
        patience: How long to go on.
    """

    host: str
    repository: str
    environ: Mapping[str, str]
    patience: Patience

    def __repr__(self) -> str:
        return f"Connection({self.host}/{self.repository})"

    @cached_property
    def authorization(self) -> Authorization:
        """Who we are here."""
        return Authorization(self.repository, lambda: credentials.of(self.host, self.environ))

    @cached_property
    def root(self) -> str:
        """Where the registry is: ``https://host``, and ``http://`` only for this machine.

        Raises:
            RegistryError: It does not answer.
        """
        host = _HUB_API if self.host == credentials.DOCKER_HUB else self.host
        if not self._is_here:
            return f"https://{host}"
        attempt = 0
        while True:
            attempt += 1
            try:
                return f"{self._scheme(host)}://{host}"
            except BrokenError as broken:
                if not self.patience.wait(attempt, asked=broken.asked):
                    raise self.given_up(broken, doing="find the registry") from None

    def url(self, path: str) -> str:
        """The address of something in the repository: ``manifests/latest``."""
        return f"{self.root}/v2/{self.repository}/{path}"

    def ask(
        self,
        method: str,
        url: str,
        *,
        doing: str,
        expected: Iterable[int] = (200,),
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> requests.Response:
        """Send a request that may be repeated, until it is answered.

        Args:
            method: HTTP's.
            url: Where.
            doing: What for, for errors: ``read the tags``.
            expected: Which answers are fine.
            headers: Beside those that every request has.
            body: What to send.

        Returns:
            The answer, with its body not read yet: close it.

        Raises:
            RegistryError: The answer is none of those, or there is none.
        """
        attempt = 0
        while True:
            attempt += 1
            try:
                return self.once(method, url, doing=doing, expected=expected, headers=headers, body=body)
            except BrokenError as broken:
                if not self.patience.wait(attempt, asked=broken.asked):
                    raise self.given_up(broken, doing=doing) from None

    def once(
        self,
        method: str,
        url: str,
        *,
        doing: str,
        expected: Iterable[int] = (200,),
        headers: Mapping[str, str] | None = None,
        body: Body | None = None,
    ) -> requests.Response:
        """Send a request once; a body that is not bytes is not sent again even after a login.

        Raises:
            BrokenError: It may be repeated.
            RegistryError: The answer is none of those that are fine.
        """
        wanted = {"Accept-Encoding": "identity", "User-Agent": f"metricgate/{metricgate.__version__}", **(headers or {})}
        answer = self._authorized(method, url, wanted, body, doing=doing)
        hops = 0
        while method in _READING and answer.status_code in _REDIRECTS and answer.status_code not in expected:
            answer.close()
            hops += 1
            url = self.location(answer, url)
            if hops > _MOST_REDIRECTS:
                raise RegistryError(f"{self.host} redirects again and again", status=0, where=self._where)
            answer = self._authorized(method, url, wanted, body, doing=doing)
        if answer.status_code in expected:
            return answer
        said = refusal.read(answer)
        if said.status in PASSING and not said.is_full:
            raise BrokenError("would not", answer=said)
        raise self.refused(said, doing=doing)

    def location(self, answer: requests.Response, url: str) -> str:
        """Where an answer sends us: its ``Location``, absolute.

        Raises:
            RegistryError: There is none, or it is less safe than where it comes from.
        """
        return self.onward(answer.headers.get("Location", ""), url)

    def onward(self, given: str, url: str) -> str:
        """An address that the registry gives, absolute.

        Args:
            given: The address.
            url: What was asked for.

        Raises:
            RegistryError: It is none, or less safe than where it comes from.
        """
        try:
            return address.onward(given, url)
        except ValueError as error:
            raise RegistryError(f"{self.host} {error}", status=0, where=self._where) from None

    def given_up(self, broken: BrokenError, *, doing: str) -> RegistryError:
        """What was tried again and again did not work.

        Args:
            broken: What happened last.
            doing: What for.
        """
        if broken.answer:
            return self.refused(broken.answer, doing=doing)
        return RegistryError(f"{self.host} could not {doing}: {broken}", status=0, where=self._where, fix=refusal.AGAIN)

    def refused(self, answer: Answer, *, doing: str) -> RegistryError:
        """What an answer means."""
        who = self.authorization
        return refusal.explained(
            answer, host=self.host, repository=self.repository, doing=doing, username=who.username, secrets=who.secrets
        )

    def close(self) -> None:
        """Close what is open."""
        self._session.close()

    @property
    def _where(self) -> str:
        return f"{self.host}/{self.repository}"

    @cached_property
    def _is_here(self) -> bool:
        """Whether the registry is on this machine."""
        return address.is_loopback(urllib.parse.urlsplit(f"//{self.host}").hostname or "")

    @cached_property
    def _trusted(self) -> str | bool:
        """A file with certificates to trust, where one is named."""
        for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
            if path := self.environ.get(variable):
                if not Path(path).exists():
                    raise UsageError(f"{variable} names a file that is not there", where=path, fix=f"unset {variable}")
                return path
        return True

    @cached_property
    def _session(self) -> requests.Session:
        session = _Session()
        session.auth = _nobody
        session.trust_env = not self._is_here  # proxies are for other machines
        return session

    def _scheme(self, host: str) -> str:
        """What a registry on this machine speaks."""
        for scheme in ("http", "https"):
            try:
                answer = self._send("GET", f"{scheme}://{host}/v2/", {})
            except BrokenError:
                if scheme == "https":
                    raise
                continue
            answer.close()
            # Servers that expect TLS answer this way, or not at all.
            if scheme == "https" or answer.status_code != 400:
                return scheme
        raise AssertionError

    def _authorized(
        self, method: str, url: str, headers: Mapping[str, str], body: Body | None, *, doing: str
    ) -> requests.Response:
        """Send a request with what says who we are, to the registry only; log in where it asks for it."""
        if address.origin(url) != address.origin(self.root):
            return self._send(method, url, headers, body)
        # Asking how far an upload got comes before sending the rest of it, which can't be sent twice for a new login.
        actions = PULL if method in _READING and "/blobs/uploads/" not in url else PUSH
        authorization = self.authorization
        for attempt in (1, 2):
            known = authorization.header(actions)
            answer = self._send(method, url, {**headers, **({"Authorization": known} if known else {})}, body)
            if answer.status_code != 401:
                return answer
            challenge, said = answer.headers.get("WWW-Authenticate", ""), refusal.read(answer)
            try:
                if attempt == 2 or not authorization.answer(challenge, actions, self._token, sent=known):
                    raise self.refused(said, doing=doing)
            except RefusedError as refused:
                raise self.refused(refused.answer or said, doing=doing).saying(str(refused)) from None
            if body is not None and not isinstance(body, bytes):
                raise BrokenError("asked for a new login", answer=said)
        raise AssertionError

    def _token(
        self,
        method: str,
        url: str,
        headers: dict[str, str],
        parameters: dict[str, str] | None,
        form: dict[str, str] | None,
    ) -> Answer:
        """Ask a token server."""
        try:
            scheme, name, _ = address.origin(url)
        except ValueError:
            raise RefusedError("it does not say where its token server is") from None
        if scheme == "http" and not (self.root.startswith("http:") and address.is_loopback(name)):
            raise RefusedError("its token server is not encrypted")
        answer = refusal.read(self._send(method, url, headers, form=form, parameters=parameters))
        if answer.status in PASSING:
            raise BrokenError("has a token server that would not", answer=answer)
        return answer

    def _send(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: Body | None = None,
        *,
        form: Mapping[str, str] | None = None,
        parameters: Mapping[str, str] | None = None,
    ) -> requests.Response:
        try:
            return self._session.request(
                method,
                url,
                headers=headers,
                params=parameters,
                data=form or body,  # type: ignore[arg-type]  # an iterator too, whatever typeshed says
                stream=True,
                allow_redirects=False,
                timeout=TIMEOUT,
                verify=self._trusted,
            )
        except requests.exceptions.SSLError as error:
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise refusal.untrusted(error, host=self.host, repository=self.repository) from None
            raise BrokenError("broke the encrypted connection") from None
        except requests.RequestException as error:
            # Its text has the address, and with it perhaps a secret.
            raise BrokenError(refusal.broken(error)) from None


class _Session(requests.Session):
    """One that leaves redirects to us: it would read what stands in them, and stumble over places that are none."""

    def get_redirect_target(self, _: requests.Response) -> None:
        return None


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No credentials: without this, ``requests`` would look for some in ~/.netrc."""
    return request

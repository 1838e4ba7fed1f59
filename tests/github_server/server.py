"""The server: accounts, tokens and repositories, and how a request is judged, allowed, answered and remembered."""

from __future__ import annotations

import json
import secrets
import sys
import threading
import types
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit

from tests.github_server import people, permissions
from tests.github_server.calls import DOCUMENTATION, Answer, Call, Refused, missing
from tests.github_server.contract import Contract, Operation
from tests.github_server.estate import Estate
from tests.github_server.faults import Fault, Faults
from tests.github_server.operations import OPERATIONS
from tests.github_server.records import Artifact, Token
from tests.github_server.wire import Reply, Wire

ROOT = "/api/v3"


@dataclass(frozen=True, slots=True)
class Request:
    """A request that arrived.

    Attributes:
        method: The HTTP method.
        path: Its path below the root of the API, without the query.
        status: What it was answered with; 0 if it got no answer.
        login: Whose token it carried; empty if nobody's.
        operation: GitHub's name for it; empty if there is none.
        query: What stood after the question mark.
    """

    method: str
    path: str
    status: int
    login: str
    operation: str
    query: str


@dataclass(frozen=True, slots=True)
class _Asked:
    method: str
    path: str
    operation: Operation | None
    given: Mapping[str, str]
    query: Mapping[str, str]
    body: object
    token: Token | None
    mistakes: list[str]


class GitHubServer(Estate):
    """GitHub on localhost, at an address like Enterprise Server's.

    Every request and every answer is held against GitHub's own description. What does not fit is kept in ``mistakes`` and
    raised when the server is closed, so that a drift of either side fails the test.

    Attributes:
        url: The root of the API.
        faults: What goes wrong on the way.
        mistakes: What did not fit GitHub's description.
        latency: How many seconds each answer takes at least.
        tree_limit: After how many entries GitHub truncates a tree.
        blob_limit: How large a blob may be.
    """

    def __init__(self) -> None:
        super().__init__()
        self.faults = Faults()
        self.mistakes: list[str] = []
        self.latency = 0.0
        self.tree_limit = 100_000
        self.blob_limit = 100 * 1024 * 1024
        self._storage_keys: dict[str, Artifact] = {}
        self._requests: list[Request] = []
        self._downloads: list[Request] = []
        self._closing = threading.Event()
        self._contract = Contract.read()
        self._api = Wire(self._respond)
        self._storage = Wire(self._download)
        self.url = f"{self._api.url}{ROOT}"

    def __enter__(self) -> GitHubServer:
        self._api.start()
        self._storage.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: types.TracebackType | None
    ) -> None:
        self.close()
        if self.mistakes:
            message = "not as GitHub describes it:\n" + "\n".join(self.mistakes)
            if error is not None:  # the test has failed already: don't hide why
                sys.stderr.write(message + "\n")
                return
            raise AssertionError(message)

    def close(self) -> None:
        """Stop answering."""
        self._closing.set()
        self._api.close()
        self._storage.close()

    # Looking at what happened

    @property
    def requests(self) -> list[Request]:
        """The requests to the API so far."""
        with self.lock:
            return list(self._requests)

    @property
    def downloads(self) -> list[Request]:
        """The requests to the storage of artifacts so far."""
        with self.lock:
            return list(self._downloads)

    @property
    def writes(self) -> list[Request]:
        """The requests that wanted to change something."""
        return [request for request in self.requests if request.method != "GET"]

    def forget_requests(self) -> None:
        """Count from here."""
        with self.lock:
            self._requests.clear()
            self._downloads.clear()

    def stored(self, kept: Artifact) -> str:
        """Where an artifact can be downloaded, once asked for."""
        key = secrets.token_hex(8)
        self._storage_keys[key] = kept
        return f"{self._storage.url}/artifacts/{kept.id}.zip?sig={key}"

    # Answering

    def _respond(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> Reply:
        asked = self._understand(method, target, headers, raw)
        self._blame(f"{method} {asked.path}", asked.mistakes)
        fault = self.faults.meet(method, asked.path)
        if fault and fault.kind == "callback":
            fault.callback()
        self._closing.wait(self.latency)
        if fault and fault.kind in ("status", "drop_before", "slow"):
            answer = _spoilt(fault)
        else:
            with self.lock:
                answer = self._answer(asked)
            wrong = list(self._contract.answer_mistakes(asked.operation, answer.status, answer.body))
            self._blame(f"{method} {asked.path} {answer.status}", wrong)
            if fault and fault.kind == "status_after":
                answer = _spoilt(fault)

        silent = fault is not None and fault.kind in ("drop_before", "drop_after", "slow", "slow_after")
        login = asked.token.account.login if asked.token else ""
        name = asked.operation.id if asked.operation else ""
        with self.lock:
            self._requests.append(
                Request(method, asked.path, 0 if silent else answer.status, login, name, urlsplit(target).query)
            )
        content = b"" if answer.body is None else json.dumps(answer.body).encode()
        return Reply(answer.status, _headers(asked, answer), content, fault)

    def _understand(self, method: str, target: str, headers: Mapping[str, str], raw: bytes) -> _Asked:
        parts = urlsplit(target)
        path = parts.path.removeprefix(ROOT)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        wrong: list[str] = []
        body = None
        try:
            body = json.loads(raw) if raw else None
        except ValueError:
            wrong.append("the body is no JSON")
        found = self._contract.find(method, self.current(path)) if parts.path.startswith(f"{ROOT}/") else None
        operation, given = found or (None, {})
        if operation is None:
            wrong.append("GitHub describes no such operation, or this server does not serve it")
        else:
            wrong += self._contract.request_mistakes(operation, given, query, body)
        if "user-agent" not in headers:
            wrong.append("GitHub refuses requests without a User-Agent")
        if any(secret in target or secret.encode() in raw for secret in self.tokens):
            wrong.append("a token stands where it would be seen")
        token = self.tokens.get(headers.get("authorization", "").partition(" ")[2])
        return _Asked(method, path, operation, given, query, body, token, wrong)

    def _answer(self, asked: _Asked) -> Answer:
        try:
            return self._obey(asked)
        except Refused as refused:
            return refused.answer

    def _obey(self, asked: _Asked) -> Answer:
        token, operation = asked.token, asked.operation
        if token is None or token.expired:
            raise Refused(401, "Bad credentials")
        if operation is None:
            raise missing()
        if operation.id != "rate-limit/get":
            _count(token)
        if (moved := self.moved_to(asked.path)) is not None:
            moved += f"?{urlencode(asked.query)}" if asked.query else ""
            status = 301 if asked.method == "GET" else 307
            location = {"message": "Moved Permanently", "url": moved, "documentation_url": DOCUMENTATION}
            return Answer(status=status, body=location, headers={"Location": moved})
        repo = None
        if "repo" in asked.given:
            repo = self.visible(f"{asked.given['owner']}/{asked.given['repo']}")
            permissions.check(operation.id, token, repo)
        if asked.mistakes:
            raise Refused(422, "Invalid request.")
        url = f"{self.url}{asked.path}"
        return OPERATIONS[operation.id](
            Call(server=self, url=url, path=asked.given, query=asked.query, body=asked.body, token=token, found=repo)
        )

    def _download(self, method: str, target: str, headers: Mapping[str, str], _raw: bytes) -> Reply:
        """The storage of artifacts, which is not GitHub: whoever shows it a token has lost the token."""
        parts = urlsplit(target)
        path = f"/storage{parts.path}"
        fault = self.faults.meet(method, path)
        if fault and fault.kind == "callback":
            fault.callback()
        kept = self._storage_keys.get(dict(parse_qsl(parts.query)).get("sig", ""))
        status, content = (200, kept.content) if kept else (404, b"")
        if "authorization" in headers:
            self._blame(f"{method} {path}", ["the token went to the storage of artifacts"])
            status, content = 400, b"InvalidAuthenticationInfo"
        if fault and fault.kind in ("status", "status_after"):
            status, content = fault.status, fault.text.encode()
        with self.lock:
            self._downloads.append(Request(method, path, status, "", "", ""))
        return Reply(status, {"Content-Type": "application/zip"}, content, fault)

    def _blame(self, what: str, mistakes: list[str]) -> None:
        with self.lock:
            self.mistakes += [f"{what}: {mistake}" for mistake in mistakes]


def _count(token: Token) -> None:
    if token.used >= token.limit:
        reset = str(people.limit(token)["reset"])
        headers = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": reset}
        who = "installation" if token.installation else "user"
        raise Refused(403, f"API rate limit exceeded for {who} ID {token.account.id}.", headers=headers)
    token.used += 1


def _spoilt(fault: Fault) -> Answer:
    body = {"message": fault.text, "documentation_url": DOCUMENTATION, "status": str(fault.status)}
    return Answer(status=fault.status, body=body, headers=fault.headers)


def _headers(asked: _Asked, answer: Answer) -> dict[str, str]:
    headers = {"X-GitHub-Request-Id": secrets.token_hex(8), "X-GitHub-Media-Type": "github.v3; format=json"}
    if answer.body is not None:
        headers["Content-Type"] = "application/json; charset=utf-8"
    if asked.operation and (accepted := permissions.accepted(asked.operation.id)):
        headers["X-Accepted-GitHub-Permissions"] = accepted
    if asked.token:
        for name, value in people.limit(asked.token).items():
            headers[f"X-RateLimit-{name.capitalize()}"] = str(value)
        headers["X-RateLimit-Resource"] = "core"
    return {**headers, **answer.headers}

"""How a registry is told who asks: Basic, or a token that another server gives out (Bearer).

https://distribution.github.io/distribution/spec/auth/token/ and, for identity tokens, …/auth/oauth/.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from requests.auth import _basic_auth_str
from requests.utils import parse_dict_header

from metricgate.release.credentials import Credentials
from metricgate.release.refusal import Answer

PULL = "pull"
PUSH = "pull,push"

# What asks a token server; gives its answer, or raises what a broken connection raises.
Ask = Callable[[str, str, dict[str, str], dict[str, str] | None, dict[str, str] | None], Answer]

_CHALLENGE = re.compile(r"(?:^|,)\s*(?P<scheme>Basic|Bearer)(?:\s+(?P<rest>.*)|$)", re.IGNORECASE)


class RefusedError(Exception):
    """There is no way in; the text says why.

    Attributes:
        answer: What the token server answered, if one was asked.
    """

    def __init__(self, why: str, *, answer: Answer | None = None) -> None:
        super().__init__(why)
        self.answer = answer


@dataclass
class Authorization:
    """What is known about getting into one repository of one registry.

    Args:
        repository: The repository's name in the registry.
        login: Looks for credentials; asked at most once, and only by a registry that wants to know.
    """

    repository: str
    login: Callable[[], Credentials | None]
    _headers: dict[str, str] = field(default_factory=dict, repr=False)
    _found: Credentials | None = field(default=None, repr=False)
    _looked: bool = False

    def header(self, actions: str) -> str | None:
        """The ``Authorization`` header to send, where one is known already.

        Args:
            actions: ``PULL`` or ``PUSH``. Who may push may pull.
        """
        return self._headers.get(PUSH) or self._headers.get(actions)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""
        held = (self._found.password, self._found.identity_token) if self._found else ()
        return tuple(secret for secret in (*held, *(value.partition(" ")[2] for value in self._headers.values())) if secret)

    @property
    def username(self) -> str | None:
        """Whose login it is; None where nobody has logged in."""
        return self._found.username if self._found else None

    def answer(self, challenge: str, actions: str, ask: Ask, *, sent: str | None) -> bool:
        """Do what a 401 asks for.

        Args:
            challenge: Its ``WWW-Authenticate``.
            actions: What is to be done.
            ask: Sends a request to a token server.
            sent: The header that was not accepted.

        Returns:
            Whether there is another header to try now.

        Raises:
            RefusedError: There is no login, or the token server does not take it.
        """
        if not self._looked:
            self._found, self._looked = self.login(), True
        if self._headers.get(PUSH) == sent:
            self._headers.pop(PUSH, None)  # else it would go on hiding a new one that is for reading
        match = _CHALLENGE.search(challenge)
        if match is None:
            raise RefusedError("it does not say how to log in")
        if match["scheme"].lower() == "bearer":
            said: dict[str, str | None] = parse_dict_header(match["rest"] or "")  # type: ignore[no-untyped-call]  # requests has no types
            self._headers[actions] = f"Bearer {self._token(said, actions, ask)}"
        elif self._found is None:
            raise RefusedError("it asks for a login, and there is none")
        else:
            # What a client sends to a registry and to GitHub alike: user and password in UTF-8.
            user, password = self._found.username.encode(), self._found.password.encode()
            self._headers[PUSH] = _basic_auth_str(user, password)
        return self.header(actions) != sent

    def _token(self, said: dict[str, str | None], actions: str, ask: Ask) -> str:
        realm = said.get("realm") or ""
        wanted = {"scope": f"repository:{self.repository}:{actions}"}
        if service := said.get("service"):
            wanted["service"] = service
        if self._found is not None and self._found.identity_token:
            form = {
                **wanted,
                "grant_type": "refresh_token",
                "client_id": "metricgate",
                "refresh_token": self._found.identity_token,
            }
            answer = ask("POST", realm, {}, None, form)
        else:
            login = self._found
            basic = {"Authorization": _basic_auth_str(login.username.encode(), login.password.encode())} if login else {}
            answer = ask("GET", realm, basic, wanted, None)
        if answer.status != 200:
            raise RefusedError("its token server refuses", answer=answer)
        try:
            given = json.loads(answer.text)
            token = given.get("token") or given.get("access_token")
        except (ValueError, AttributeError):
            token = None
        if not isinstance(token, str) or not (token.isascii() and token.isprintable()):
            raise RefusedError("its token server gives no token")
        return token

"""Users, what they may do, and how much they may ask."""

from __future__ import annotations

import time

from tests.github_server import shapes
from tests.github_server.calls import Answer, Call, Refused, missing
from tests.github_server.records import Token
from tests.github_server.repository import ROLES

# Beside the role, GitHub says it in the words that it had before there were more roles.
_OLD_WORDS = {"none": "none", "read": "read", "triage": "read", "write": "write", "maintain": "write", "admin": "admin"}
_LEAST = {"pull": "read", "triage": "triage", "push": "write", "maintain": "maintain", "admin": "admin"}


def authenticated(call: Call) -> Answer:
    """Who asks. An app's installation is nobody."""
    if call.token.installation:
        raise Refused(403, "Resource not accessible by integration")
    return Answer(body=shapes.profile(call.server.url, call.token.account))


def by_username(call: Call) -> Answer:
    """An account."""
    found = call.server.accounts.get(call.path["username"].lower())
    if found is None:
        raise missing()
    return Answer(body=shapes.profile(call.server.url, found))


def permission(call: Call) -> Answer:
    """What a person may do in a repository."""
    login = call.path["username"]
    found = call.server.accounts.get(login.lower())
    if found is None:
        raise Refused(404, f"{login} is not a user")
    role = call.repo.role(found)
    may = {name: ROLES.index(role) >= ROLES.index(least) for name, least in _LEAST.items()}
    user = {**shapes.account(call.server.url, found), "permissions": may, "role_name": role}
    return Answer(body={"permission": _OLD_WORDS[role], "role_name": role, "user": user})


def rate_limit(call: Call) -> Answer:
    """How much may still be asked; asking for it costs nothing."""
    now = limit(call.token)
    return Answer(body={"resources": {"core": now, "search": now}, "rate": now})


def limit(token: Token) -> dict[str, int]:
    """How much of the hour's requests are used."""
    reset = int(time.time()) + 3600
    return {"limit": token.limit, "used": token.used, "remaining": max(0, token.limit - token.used), "reset": reset}

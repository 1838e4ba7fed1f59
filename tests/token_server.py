"""A token server of the tests, whose tokens a real docker-registry takes.

https://distribution.github.io/distribution/spec/auth/jwt/
"""

from __future__ import annotations

import base64
import json
import tempfile
import threading
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from tests import certificates, http_servers

HOST = "127.0.0.1"
SERVICE, ISSUER = "registry of the tests", "token server of the tests"


@dataclass(frozen=True)
class Asked:
    """What somebody asked for.

    Attributes:
        method: HTTP's.
        parameters: Of the address, or of the form.
        authorization: That header; empty where there was none.
        token: What was given.
    """

    method: str
    parameters: Mapping[str, str]
    authorization: str
    token: str


class TokenServer:
    """Gives tokens to whoever asks, and notes who did.

    Attributes:
        asked: The requests so far.
        refuses: A status to answer with in place of a token, and the body.
        answers: What to answer in place of a token.
    """

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.refuses: tuple[int, bytes] | None = None
        self.answers: bytes | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="tokens-")
        certificates.write(Path(self._folder.name))
        owner = self

        class Handler(_Handler):
            server_of_tokens = owner

        self._server = http_servers.Server((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> TokenServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._folder.cleanup()

    @property
    def realm(self) -> str:
        """Where to ask."""
        return f"http://{HOST}:{self._server.server_address[1]}/token"

    @property
    def challenge(self) -> str:
        """What a registry says to whoever has no token, or an old one."""
        return f'Bearer realm="{self.realm}",service="{SERVICE}",error="invalid_token"'

    @property
    def settings(self) -> Mapping[str, str]:
        """What a docker-registry has to know."""
        return {
            "realm": self.realm,
            "service": SERVICE,
            "issuer": ISSUER,
            "rootcertbundle": str(Path(self._folder.name) / "cert.pem"),
        }

    def token(self, scope: str) -> str:
        """A token for what is asked for."""
        kind, _, rest = scope.partition(":")
        name, _, actions = rest.rpartition(":")
        now = int(time.time())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "sub": "robot",
            "aud": SERVICE,
            "iat": now,
            "nbf": now - 10,
            "exp": now + 300,
            "jti": str(len(self.asked)),
            "access": [{"type": kind, "name": name, "actions": actions.split(",")}],
        }
        folder = Path(self._folder.name)
        chain = x509.load_pem_x509_certificate((folder / "cert.pem").read_bytes()).public_bytes(Encoding.DER)
        return jwt.encode(
            claims, (folder / "key.pem").read_text(), algorithm="ES256", headers={"x5c": [base64.b64encode(chain).decode()]}
        )


class _Handler(http_servers.Handler):
    server_of_tokens: TokenServer

    def _serve(self) -> None:
        owner = self.server_of_tokens
        form = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        query = form or urllib.parse.urlsplit(self.path).query
        parameters = dict(urllib.parse.parse_qsl(query))
        token = owner.token(parameters.get("scope", ""))
        owner.asked.append(Asked(self.command, parameters, self.headers.get("Authorization", ""), token))
        status, content = owner.refuses or (200, owner.answers or json.dumps({"token": token}).encode())
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

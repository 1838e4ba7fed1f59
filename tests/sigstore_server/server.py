"""The three services at one address, and the trust configuration that leads a client there."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.sigstore_server import log
from tests.sigstore_server.authority import Authority
from tests.sigstore_server.log import Log

ISSUER = "https://token.actions.githubusercontent.com"
AUDIENCE = "sigstore"
_SINCE = "2020-01-01T00:00:00Z"


class SigstoreServer:
    """Sigstore and the token service of GitHub on localhost.

    Attributes:
        claims: What tokens say about the job.
        authority: Fulcio.
        log: Rekor.
        failing: Paths that are answered with a status instead.
    """

    def __init__(self) -> None:
        self.claims: dict[str, str] = {
            "sub": "repo:acme/model:ref:refs/tags/v1.2.3",
            "job_workflow_ref": "acme/model/.github/workflows/release.yml@refs/tags/v1.2.3",
            "workflow_ref": "acme/model/.github/workflows/release.yml@refs/tags/v1.2.3",
            "repository": "acme/model",
            "ref": "refs/tags/v1.2.3",
            "sha": "860c1904a1ce19322e91ac35af1ab07466440c37",
            "event_name": "push",
        }
        self.authority = Authority()
        self.log = Log()
        self.failing: dict[str, int] = {}
        self._token = secrets.token_hex()
        self._key = rsa.generate_private_key(65537, 2048)
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> SigstoreServer:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def environ(self) -> dict[str, str]:
        """What a job with ``id-token: write`` finds in its environment."""
        return {
            "GITHUB_ACTIONS": "true",
            "GITHUB_SERVER_URL": "https://github.com",
            "ACTIONS_ID_TOKEN_REQUEST_URL": f"{self.url}/token?api-version=2.0",
            "ACTIONS_ID_TOKEN_REQUEST_TOKEN": self._token,
        }

    def trust_config(self) -> str:
        """The trust configuration, as ``sigstore --trust-config`` takes it."""
        since = {"validFor": {"start": _SINCE}}
        service = {"url": self.url, "majorApiVersion": 1, "operator": "localhost", **since}
        chain = [{"rawBytes": _b64(each.public_bytes(serialization.Encoding.DER))} for each in self.authority.chain]
        root = {
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": [_instance(self.url, self.log.key.public_key())],
            "ctlogs": [_instance(f"{self.url}/ct", self.authority.ct_key.public_key())],
            "certificateAuthorities": [
                {
                    "subject": {"organization": "local", "commonName": "fulcio.localhost"},
                    "uri": self.url,
                    "certChain": {"certificates": chain},
                    **since,
                }
            ],
            "timestampAuthorities": [],
        }
        config = {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service],
            "oidcUrls": [service],
            "rekorTlogUrls": [service],
            "rekorTlogConfig": {"selector": "ANY"},
            "tsaUrls": [],
            "tsaConfig": {"selector": "ANY"},
        }
        kind = "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
        return json.dumps({"mediaType": kind, "trustedRoot": root, "signingConfig": config})

    def answer(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> tuple[int, object]:
        """Answer one request: status and document."""
        path, query = urlsplit(target).path, parse_qs(urlsplit(target).query)
        if status := self.failing.get(path):
            return status, {"code": 13, "message": "this fails for a test"}
        services: dict[tuple[str, str], Callable[[], tuple[int, object]]] = {
            ("GET", "/token"): lambda: self._issue_token(headers, query),
            ("GET", "/.well-known/openid-configuration"): self._tell_people,
            ("POST", "/api/v2/signingCert"): lambda: self._issue_certificate(headers, json.loads(body)),
            ("POST", "/api/v1/log/entries"): lambda: self._keep(json.loads(body)),
        }
        try:
            return services.get((method, path), lambda: (404, {"code": 5, "message": "there is no such thing"}))()
        except (log.RefusedError, jwt.InvalidTokenError, InvalidSignature, ValueError, KeyError) as error:
            return 400, {"code": 3, "message": str(error)}

    def _tell_people(self) -> tuple[int, object]:
        """Where people would sign in with a browser; a client asks even if it has a token."""
        return 200, {"authorization_endpoint": f"{self.url}/authorize", "token_endpoint": f"{self.url}/people"}

    def _keep(self, proposed: dict[str, Any]) -> tuple[int, object]:
        with self._lock:
            return 201, self.log.add(proposed)

    def _issue_token(self, headers: Mapping[str, str], query: Mapping[str, list[str]]) -> tuple[int, object]:
        if headers.get("Authorization") != f"bearer {self._token}":
            return 401, {"message": "this is not the token of the job"}
        now = datetime.now(timezone.utc)
        times = {"iat": now, "nbf": now - timedelta(minutes=1), "exp": now + timedelta(minutes=5)}
        claims = {**self.claims, **times, "iss": ISSUER, "aud": query["audience"][0]}
        return 200, {"value": jwt.encode(claims, self._key, algorithm="RS256")}

    def _issue_certificate(self, headers: Mapping[str, str], asked: Mapping[str, Any]) -> tuple[int, object]:
        token = headers.get("Authorization", "").removeprefix("Bearer ")
        claims = jwt.decode(token, self._key.public_key(), algorithms=["RS256"], audience=AUDIENCE, issuer=ISSUER)
        request = x509.load_pem_x509_csr(base64.b64decode(asked["certificateSigningRequest"]))
        return 200, {"signedCertificateEmbeddedSct": {"chain": {"certificates": self.authority.issue(request, claims)}}}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._reply(b"")

            def do_POST(self) -> None:
                self._reply(self.rfile.read(int(self.headers.get("Content-Length", 0))))

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002
                pass

            def _reply(self, body: bytes) -> None:
                status, document = server.answer(self.command, self.path, dict(self.headers), body)
                content = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

        return Handler


def _instance(url: str, key: ec.EllipticCurvePublicKey) -> dict[str, Any]:
    return {
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": _b64(log.public_bytes(key)),
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            "validFor": {"start": _SINCE},
        },
        "logId": {"keyId": _b64(log.key_id(key))},
    }


def _b64(content: bytes) -> str:
    return base64.b64encode(content).decode()

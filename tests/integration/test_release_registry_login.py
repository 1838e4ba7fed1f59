"""Who may write into a registry: real registries with a login, with tokens and with TLS, and who never sees a secret."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests import registry_server
from tests.registry_server import PASSWORD, USER, Fault, Proxy
from tests.spec_registry import SpecRegistry
from tests.token_server import SERVICE, TokenServer

from metricgate.errors import UsageError
from metricgate.release import credentials, oci
from metricgate.release.oci import Descriptor
from metricgate.release.patience import Patience
from metricgate.release.refusal import RegistryError
from metricgate.release.registry import Registry

pytestmark = pytest.mark.registry

NAME = "acme/model"
CONTENT = b"weights " * 300_000
LAYER = Descriptor(media_type=oci.LAYER, digest=oci.digest_of(CONTENT), size=len(CONTENT))
LOGIN = {credentials.USERNAME: USER, credentials.PASSWORD: PASSWORD}
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
WRONG = "wrong horse"
QUICK = Patience(backoff=0.0, settle=0.0)


def pushed(registry: Registry, content: bytes = CONTENT) -> bool:
    layer = Descriptor(media_type=oci.LAYER, digest=oci.digest_of(content), size=len(content))
    return registry.push_blob(layer, lambda: (content[at : at + 100_000] for at in range(0, len(content), 100_000)))


def headers(proxy: Proxy) -> set[str]:
    return {seen.headers.get("Authorization", "") for seen in proxy.seen}


@pytest.fixture(scope="module")
def locked() -> Iterator[registry_server.Registry]:
    """A registry with a login."""
    with registry_server.started(login=True) as registry:
        yield registry


@pytest.fixture
def proxy(locked: registry_server.Registry) -> Iterator[Proxy]:
    with Proxy(locked.name) as proxy:
        yield proxy


def connected(proxy: Proxy, **environ: str) -> Registry:
    return Registry.connect(f"{proxy.name}/{NAME}", environ=environ, patience=QUICK)


def test_a_login_from_the_environment_gets_in_and_is_sent_only_after_it_was_asked_for(proxy: Proxy) -> None:
    registry = connected(proxy, **LOGIN)
    pushed(registry, b"login")
    assert registry.has_blob(oci.digest_of(b"login"))
    assert [seen.headers.get("Authorization", "") for seen in proxy.seen[:3]] == ["", "", f"Basic {BASIC}"]


def test_a_login_that_docker_left_gets_in(proxy: Proxy, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"auths": {proxy.name: {"auth": BASIC}}}))
    assert connected(proxy, DOCKER_CONFIG=str(tmp_path)).tags() == ()


def test_nobody_s_login_is_refused_twice_in_a_row_with_what_to_do_and_nothing_is_there(proxy: Proxy) -> None:
    registry = connected(proxy)
    for _ in range(2):
        with pytest.raises(RegistryError, match="does not let somebody without a login") as error:
            pushed(registry, b"nobody's")
        assert error.value.status == 401
        assert f"docker login {proxy.name}" in error.value.fix
        assert credentials.PASSWORD in error.value.fix
    assert {seen.method for seen in proxy.seen} == {"GET", "HEAD"}
    later = connected(proxy, **LOGIN)
    assert not later.has_blob(oci.digest_of(b"nobody's"))
    assert pushed(later, b"nobody's")


def test_a_wrong_password_is_refused_after_one_try_and_shown_nowhere(proxy: Proxy, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    registry = connected(proxy, **{**LOGIN, credentials.PASSWORD: WRONG})
    for _ in range(2):
        proxy.seen.clear()
        with pytest.raises(RegistryError, match=f"does not let '{USER}'") as error:
            pushed(registry, b"x")
        assert len([seen for seen in proxy.seen if "/blobs/" in seen.path]) <= 2
        shown = f"{error.value}{error.value!r}{registry!r}{registry.connection.authorization!r}{caplog.text}"
        assert WRONG not in shown
        assert base64.b64encode(f"{USER}:{WRONG}".encode()).decode() not in shown


def test_who_may_not_write_is_told_so_and_what_was_there_stays(proxy: Proxy) -> None:
    denied = json.dumps({"errors": [{"code": "DENIED", "message": "requested access to the resource is denied"}]}).encode()
    proxy.faults.append(Fault("POST", "/blobs/uploads/", status=403, body=denied, times=2))
    registry = connected(proxy, **LOGIN)
    for _ in range(2):
        with pytest.raises(RegistryError, match=f"does not let '{USER}' take the blob .*: 403 .DENIED: requested") as error:
            pushed(registry, b"denied")
        assert f"give '{USER}' the right to write {NAME}" in error.value.fix
    assert pushed(registry, b"denied")


@pytest.mark.parametrize(
    "shape", ["{secret}", '{{"errors": [{{"code": "X", "message": "got {secret}"}}]}}', "{filler}{secret}"]
)
def test_a_registry_that_repeats_a_secret_does_not_get_it_shown(proxy: Proxy, shape: str) -> None:
    body = shape.format(secret=PASSWORD, filler="x" * 290).encode()
    proxy.faults.append(Fault("POST", "/blobs/uploads/", status=400, body=body))
    with pytest.raises(RegistryError) as error:
        pushed(connected(proxy, **LOGIN), b"repeated")
    assert "400" in str(error.value)
    assert PASSWORD[:8] not in str(error.value)


def test_a_blob_that_lies_elsewhere_is_fetched_without_the_login(locked: registry_server.Registry, proxy: Proxy) -> None:
    registry = connected(proxy, **LOGIN)
    pushed(registry)
    with registry_server.started(storage=locked.storage) as storage, Proxy(storage.name) as elsewhere:
        place = f"http://{elsewhere.name}/v2/{NAME}/blobs/{LAYER.digest}?signature=theirs"
        proxy.faults.append(Fault("GET", "/blobs/sha256", status=307, headers={"Location": place}, times=2))
        assert b"".join(registry.blob(LAYER.digest)) == CONTENT
        elsewhere.faults.append(Fault("GET", "/blobs/", returned=1_000_000))
        assert b"".join(registry.blob(LAYER.digest)) == CONTENT
        assert headers(elsewhere) == {""}
        assert len(elsewhere.seen) == 2


def test_an_upload_that_goes_elsewhere_goes_without_the_login(proxy: Proxy) -> None:
    with registry_server.started() as other, Proxy(other.name) as elsewhere:
        place = f"http://{elsewhere.name}/v2/{NAME}/blobs/uploads/their-own"
        proxy.faults.append(Fault("POST", "/blobs/uploads/", status=202, headers={"Location": place}, times=100))
        with pytest.raises(RegistryError):
            pushed(connected(proxy, **LOGIN), b"elsewhere")
        assert elsewhere.seen
        assert headers(elsewhere) == {""}


@pytest.mark.parametrize(
    "place",
    ["http://127.0.0.1:99999/x", "http://[::1/x", "//[", "file:///etc/passwd", "ftp://127.0.0.1/x", "http://:80/x", ""],
)
@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/blobs/sha256", 307), ("POST", "/blobs/uploads/", 202)])
def test_a_place_that_is_none_is_an_error_and_no_crash(proxy: Proxy, place: str, method: str, path: str, status: int) -> None:
    proxy.faults.append(Fault(method, path, status=status, headers={"Location": place}, times=100))
    registry = connected(proxy, **LOGIN)
    with pytest.raises(RegistryError):
        b"".join(registry.blob(LAYER.digest)) if method == "GET" else pushed(registry, b"nowhere")


def test_a_registry_that_redirects_in_circles_is_left(proxy: Proxy) -> None:
    here = f"/v2/{NAME}/blobs/{LAYER.digest}"
    proxy.faults.append(Fault("GET", "/blobs/", status=302, headers={"Location": here}, times=100))
    with pytest.raises(RegistryError, match="redirects again and again"):
        b"".join(connected(proxy, **LOGIN).blob(LAYER.digest))
    assert len(proxy.seen) < 15


@dataclass(frozen=True)
class Gate:
    """A registry that wants tokens, what stands before it, and who gives them."""

    registry: registry_server.Registry
    proxy: Proxy
    tokens: TokenServer

    def revoke(self, method: str, path: str, *, skip: int = 0) -> None:
        """From some request on no token counts that was given before it; as often as the registry says so."""

        def now() -> None:
            for asked in self.tokens.asked:
                self.proxy.faults += [
                    Fault(
                        each,
                        status=401,
                        headers={"WWW-Authenticate": self.tokens.challenge},
                        authorization=f"Bearer {asked.token}",
                        times=100,
                    )
                    for each in ("GET", "HEAD", "POST", "PATCH", "PUT")
                ]

        self.proxy.faults.append(Fault(method, path, skip=skip, meanwhile=now))


@pytest.fixture
def gate() -> Iterator[Gate]:
    with TokenServer() as tokens, registry_server.started(tokens=tokens) as registry, Proxy(registry.name) as proxy:
        yield Gate(registry, proxy, tokens)


def test_a_token_is_asked_for_with_what_it_is_for_and_kept(gate: Gate) -> None:
    registry = connected(gate.proxy, **LOGIN)
    assert pushed(registry)
    registry.tags()
    wanted = [f"repository:{NAME}:pull", f"repository:{NAME}:pull,push"]
    assert [asked.parameters for asked in gate.tokens.asked] == [{"service": SERVICE, "scope": scope} for scope in wanted]
    assert {asked.authorization for asked in gate.tokens.asked} == {f"Basic {BASIC}"}
    given = {f"Bearer {asked.token}" for asked in gate.tokens.asked}
    assert headers(gate.proxy) == {"", *given}


def test_without_a_login_a_token_is_asked_for_all_the_same(gate: Gate) -> None:
    assert connected(gate.proxy).tags() == ()
    assert [asked.authorization for asked in gate.tokens.asked] == [""]


def test_an_identity_token_is_changed_for_a_token_and_goes_nowhere_else(
    gate: Gate, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    secret = "identity-0123456789"
    (tmp_path / "config.json").write_text(json.dumps({"auths": {gate.proxy.name: {"auth": "", "identitytoken": secret}}}))
    registry = connected(gate.proxy, DOCKER_CONFIG=str(tmp_path))
    assert pushed(registry)
    assert {asked.method for asked in gate.tokens.asked} == {"POST"}
    first = gate.tokens.asked[0].parameters
    assert (first["grant_type"], first["refresh_token"], first["service"]) == ("refresh_token", secret, SERVICE)
    assert not any(secret in header for header in headers(gate.proxy))
    assert secret not in f"{caplog.text}{registry!r}{registry.connection.authorization!r}"


@pytest.mark.parametrize(
    ("last", "path"), [("HEAD", "/blobs/"), ("POST", "/uploads/"), ("PATCH", "/uploads/"), ("PUT", "/uploads/")]
)
def test_a_token_that_ends_in_the_middle_of_an_upload_is_renewed(gate: Gate, last: str, path: str) -> None:
    long = CONTENT * 10  # more than a socket holds, so that whoever does not listen is not heard either
    gate.revoke(last, path)
    registry = connected(gate.proxy, **LOGIN)
    assert pushed(registry, long)
    assert registry.has_blob(oci.digest_of(long))
    assert gate.proxy.seen[-1].headers["Authorization"] == f"Bearer {gate.tokens.asked[-1].token}"


def test_a_token_that_ends_with_the_connection_is_renewed_before_the_rest_is_sent(gate: Gate) -> None:
    long = CONTENT * 10
    gate.proxy.faults.append(Fault("PATCH", "/uploads/", after=5_000_000))
    gate.revoke("HEAD", "/blobs/", skip=2)
    assert pushed(connected(gate.proxy, **LOGIN), long)
    assert [seen.size for seen in gate.proxy.seen if seen.method == "PATCH"] == [5_000_000, len(long)]


def test_a_token_that_ended_is_renewed_before_the_rest_of_an_upload_is_sent_and_not_after() -> None:
    with TokenServer() as tokens, SpecRegistry() as spec, Proxy(spec.name) as proxy:
        challenge = {"WWW-Authenticate": tokens.challenge}
        for method in ("GET", "HEAD", "POST", "PATCH", "PUT"):
            proxy.faults.append(Fault(method, "/acme/", status=401, headers=challenge, authorization="", times=100))

        def revoked() -> None:
            for method in ("GET", "HEAD", "POST", "PATCH", "PUT"):
                old = f"Bearer {tokens.asked[-1].token}"
                proxy.faults.append(Fault(method, status=401, headers=challenge, authorization=old, times=100))

        def arrived(_: float) -> None:
            deadline = time.monotonic() + 10
            while sum(map(len, spec.uploads.values())) != 1_000_000 and time.monotonic() < deadline:
                threading.Event().wait(0.002)

        proxy.faults.append(Fault("PATCH", after=1_000_000))
        proxy.faults.append(Fault("HEAD", skip=1, meanwhile=revoked))
        registry = Registry.connect(f"{proxy.name}/{NAME}", environ=LOGIN, patience=Patience(sleep=arrived))
        assert pushed(registry)
        assert [seen.size for seen in proxy.seen if seen.method == "PATCH"] == [1_000_000, len(CONTENT) - 1_000_000]


def test_a_token_for_reading_that_ends_is_renewed_as_well_when_there_was_one_for_writing(gate: Gate) -> None:
    registry = connected(gate.proxy, **LOGIN)
    assert pushed(registry)
    gate.revoke("GET", "/tags/")
    registry.tags()
    assert registry.tags() == ()
    assert pushed(registry, b"more")


def test_a_registry_that_takes_no_token_is_left_after_one_try(gate: Gate) -> None:
    challenge = {"WWW-Authenticate": gate.tokens.challenge}
    gate.proxy.faults.append(Fault("POST", "/uploads/", status=401, headers=challenge, times=100))
    with pytest.raises(RegistryError, match=f"does not let '{USER}'") as error:
        pushed(connected(gate.proxy, **LOGIN))
    assert error.value.status == 401
    assert len([seen for seen in gate.proxy.seen if seen.method == "POST"]) == 2


def test_a_token_server_that_refuses_says_why_and_the_secret_is_not_shown(gate: Gate) -> None:
    gate.tokens.refuses = (401, json.dumps({"errors": [{"code": "UNAUTHORIZED", "message": f"not {PASSWORD}"}]}).encode())
    with pytest.raises(RegistryError, match="UNAUTHORIZED") as error:
        connected(gate.proxy, **LOGIN).tags()
    assert PASSWORD not in str(error.value)
    gate.tokens.refuses = None
    assert connected(gate.proxy, **LOGIN).tags() == ()


def test_a_token_server_that_is_broken_is_asked_again(gate: Gate) -> None:
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 2:
            gate.tokens.refuses = None

    gate.tokens.refuses = (503, b"")
    patience = Patience(backoff=1.0, sleep=sleep)
    assert Registry.connect(f"{gate.proxy.name}/{NAME}", environ=LOGIN, patience=patience).tags() == ()
    assert waits == [1.0, 2.0]


@pytest.mark.parametrize(
    "answer", [b"", b"{", b"[]", b"null", b'{"token": 5}', b'{"token": "a\\nb"}', b'{"token": "\xff"}', b"{}"]
)
def test_an_answer_of_a_token_server_that_nobody_can_use_is_an_error(gate: Gate, answer: bytes) -> None:
    gate.tokens.answers = answer or b" "
    with pytest.raises(RegistryError):
        connected(gate.proxy, **LOGIN).tags()


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Negotiate",
        "Bearer",
        'Bearer realm=""',
        'Bearer realm="http://["',
        'Bearer realm="http://127.0.0.1:99999/"',
        'Bearer realm="file:///etc/passwd"',
        'Bearer realm="nowhere"',
    ],
)
def test_a_registry_that_sends_us_nowhere_for_a_token_is_an_error_and_no_crash(proxy: Proxy, challenge: str) -> None:
    proxy.faults.append(Fault("GET", "/tags/", status=401, headers={"WWW-Authenticate": challenge}, times=100))
    with pytest.raises(RegistryError) as error:
        connected(proxy, **LOGIN).tags()
    assert PASSWORD not in str(error.value)


@dataclass
class Waits:
    """Notes how long somebody would have slept."""

    waits: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_a_login_is_not_sent_to_a_token_server_elsewhere_without_encryption(proxy: Proxy) -> None:
    slept = Waits()
    challenge = 'Bearer realm="http://tokens.invalid/token",service="x"'
    proxy.faults.append(Fault("GET", "/tags/", status=401, headers={"WWW-Authenticate": challenge}, times=100))
    patience = Patience(sleep=slept)
    with pytest.raises(RegistryError) as error:
        Registry.connect(f"{proxy.name}/{NAME}", environ=LOGIN, patience=patience).tags()
    assert slept.waits == []  # nobody was asked, so nobody was waited for
    assert "its token server is not encrypted" in str(error.value)


def test_a_registry_with_tls_is_found_and_used(tmp_path: Path) -> None:
    with registry_server.started(login=True, tls=True) as registry:
        trusting = Registry.connect(f"{registry.name}/{NAME}", environ=registry.environ, patience=QUICK)
        assert pushed(trusting)
        assert trusting.connection.root == f"https://{registry.name}"
        assert b"".join(trusting.blob(LAYER.digest)) == CONTENT

        distrusting = Registry.connect(f"{registry.name}/{NAME}", environ=LOGIN, patience=QUICK)
        for _ in range(2):
            with pytest.raises(RegistryError, match=r"shows a certificate that is not trusted: .*self-signed") as error:
                pushed(distrusting)
            assert "REQUESTS_CA_BUNDLE=" in error.value.fix

        nowhere = {**LOGIN, "SSL_CERT_FILE": str(tmp_path / "nowhere.pem")}
        with pytest.raises(UsageError, match="SSL_CERT_FILE names a file that is not there"):
            Registry.connect(f"{registry.name}/{NAME}", environ=nowhere, patience=QUICK).tags()


@pytest.mark.parametrize("host", ["registry.example", "registry.example:5000", "10.0.0.1:5000", "localhost.example", "ghcr.io"])
def test_other_machines_are_spoken_to_with_encryption_only(host: str) -> None:
    assert Registry.connect(f"{host}/{NAME}", environ={}).connection.root == f"https://{host}"

"""Debian's docker-registry as a process of the tests, with a login and TLS where they are wanted; and a proxy with faults.

with registry_server.started() as registry, registry_server.Proxy(registry.name) as proxy:
    proxy.faults.append(Fault("PATCH", status=500))
    ...  # a real client talks to proxy.name
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests import certificates, http_servers
from tests.free_ports import free_ports
from tests.token_server import TokenServer

HOST = "127.0.0.1"
USER, PASSWORD = "robot", "correct horse battery staple"
# What `htpasswd -B -C 4` makes of that password.
_HASHED = "$2y$04$D.ktYVcF/iI44USyPub6me4QDZxnH/j/RkP6RTCB8sa9jgfN0yo5a"
_START_S = 30.0
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Registry:
    """A registry that runs.

    Attributes:
        name: Its host and port.
        storage: Where its files lie.
        environ: What a client's environment needs: the login, and whom to trust.
        process: The process.
    """

    name: str
    storage: Path
    environ: Mapping[str, str]
    process: subprocess.Popen[bytes]

    def blob(self, digest: str) -> Path:
        """The file of a blob."""
        hexadecimal = digest.partition(":")[2]
        return self.storage / "docker/registry/v2/blobs/sha256" / hexadecimal[:2] / hexadecimal / "data"

    def forget(self) -> None:
        """Remove all that it holds: it keeps nothing but files, and is as new."""
        shutil.rmtree(self.storage / "docker", ignore_errors=True)

    def unfinished(self, repository: str) -> list[int]:
        """How many bytes it has of each upload that was begun and is neither ended nor dropped."""
        folder = self.storage / "docker/registry/v2/repositories" / repository / "_uploads"
        return [file.stat().st_size for file in folder.glob("*/data")]


@contextlib.contextmanager
def started(
    *, login: bool = False, tls: bool = False, storage: Path | None = None, tokens: TokenServer | None = None
) -> Iterator[Registry]:
    """A registry of its own, which is gone afterwards.

    Args:
        login: Whether it wants ``USER`` and ``PASSWORD``.
        tls: Whether it speaks HTTPS, with a certificate that only ``environ`` trusts.
        storage: Where its files lie; by default a folder of its own.
        tokens: Whose tokens it wants.
    """
    if shutil.which("docker-registry") is None:
        pytest.fail("there is no docker-registry: apt-get install docker-registry", pytrace=False)
    with tempfile.TemporaryDirectory(prefix="registry-") as name:
        folder = Path(name)
        (port,) = free_ports(1)
        settings: dict[str, object] = {
            "version": 0.1,
            "log": {"level": "error", "accesslog": {"disabled": True}},
            "storage": {
                "filesystem": {"rootdirectory": str(storage or folder / "storage")},
                "delete": {"enabled": True},
            },
            "http": {"addr": f"{HOST}:{port}", "relativeurls": True},
        }
        environ: dict[str, str] = {}
        if login:
            (folder / "htpasswd").write_text(f"{USER}:{_HASHED}\n")
            settings["auth"] = {"htpasswd": {"realm": "tests", "path": str(folder / "htpasswd")}}
            environ |= {"METRICGATE_REGISTRY_USERNAME": USER, "METRICGATE_REGISTRY_PASSWORD": PASSWORD}
        if tokens is not None:
            settings["auth"] = {"token": tokens.settings}
        if tls:
            certificates.write(folder)
            settings["http"] = {
                "addr": f"{HOST}:{port}",
                "relativeurls": True,
                "tls": {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")},
            }
            environ |= {"REQUESTS_CA_BUNDLE": str(folder / "cert.pem")}
        (folder / "config.yml").write_text(json.dumps(settings))  # JSON is YAML
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                ["docker-registry", "serve", folder / "config.yml"],
                env={**os.environ, "GOMAXPROCS": "1"},  # there are fewer processors than who wants one
                stdout=log,
                stderr=log,
            )
        try:
            _until_it_listens(port, process, folder / "log")
            yield Registry(f"{HOST}:{port}", storage or folder / "storage", environ, process)
        finally:
            process.terminate()
            process.wait()


@dataclass
class Fault:
    """Something that goes wrong.

    Attributes:
        method: Of the request that it befalls.
        path: A pattern that is found in its path.
        status: What is answered in the registry's place; None to cut the connection.
        headers: Of the answer.
        body: Of the answer.
        after: Bytes of the request's body that are passed on before it happens; None for all of them.
        skip: How many such requests go well before.
        times: How many it befalls.
        authorization: Befalls only requests with this header; with none where it is empty.
        returned: Bytes of the registry's own answer that are passed back before the connection is cut.
        meanwhile: Is called in place of all that, before the request is passed on unharmed.
    """

    method: str
    path: str = ""
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    after: int | None = 0
    skip: int = 0
    times: int = 1
    authorization: str | None = None
    returned: int | None = None
    meanwhile: Callable[[], None] | None = None

    def befalls(self, method: str, path: str, headers: Mapping[str, str]) -> bool:
        """Whether it does; counts."""
        if self.times == 0 or method != self.method or not re.search(self.path, path):
            return False
        if self.authorization is not None and headers.get("Authorization", "") != self.authorization:
            return False
        if self.skip:
            self.skip -= 1
            return False
        self.times -= 1
        return True


@dataclass(frozen=True)
class Seen:
    """A request that came in, and the bytes of its body that were passed on."""

    method: str
    path: str
    size: int
    headers: Mapping[str, str] = field(default_factory=dict)


class Proxy:
    """Stands before a registry, counts what it is sent, and lets things go wrong.

    Attributes:
        faults: What goes wrong, each as often as it says.
        seen: The requests so far.
    """

    def __init__(self, registry: str) -> None:
        self.faults: list[Fault] = []
        self.seen: list[Seen] = []
        self._registry = registry
        self._lock = threading.Lock()
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = http_servers.Server((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def name(self) -> str:
        """Its host and port."""
        return f"{HOST}:{self._server.server_address[1]}"

    @property
    def received(self) -> int:
        """The bytes of all bodies."""
        return sum(each.size for each in self.seen)

    def fault(self, method: str, path: str, headers: Mapping[str, str]) -> Fault | None:
        """What befalls a request."""
        with self._lock:
            return next((fault for fault in self.faults if fault.befalls(method, path, headers)), None)

    def note(self, seen: Seen) -> None:
        """Count a request."""
        with self._lock:
            self.seen.append(seen)

    def upstream(self) -> http.client.HTTPConnection:
        """A connection to the registry."""
        return http.client.HTTPConnection(self._registry, timeout=60)


class _Handler(http_servers.Handler):
    owner: Proxy

    def _serve(self) -> None:
        sent = dict(self.headers.items())
        fault = self.owner.fault(self.command, self.path, sent)
        if fault is not None and fault.meanwhile is not None:
            fault.meanwhile()
            fault = None
        returned = fault.returned if fault is not None else None
        fault = fault if returned is None else None
        passed = 0
        upstream = self.owner.upstream()
        try:
            if fault is None or fault.after != 0:
                for size in self._passed_on(upstream, sent, None if fault is None else fault.after):
                    passed += size
            self.owner.note(Seen(self.command, self.path, passed, sent))
            if fault is None:
                self._answer(upstream.getresponse(), returned)
                return
            if fault.after is None:
                upstream.getresponse().read()
            self._happens(fault)
        except OSError:
            self.close_connection = True
        finally:
            upstream.close()

    def _passed_on(self, upstream: http.client.HTTPConnection, headers: Mapping[str, str], most: int | None) -> Iterator[int]:
        """Pass the request on, or so many bytes of its body; gives how many at a time."""
        upstream.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in headers.items():
            if name.lower() != "connection":
                upstream.putheader(name, value)
        upstream.endheaders()
        chunked = "chunked" in self.headers.get("Transfer-Encoding", "")
        passed = 0
        for piece in self._body():
            kept = piece if most is None else piece[: most - passed]
            upstream.send(b"%x\r\n%b\r\n" % (len(kept), kept) if chunked and kept else kept)
            passed += len(kept)
            yield len(kept)
            if most is not None and passed >= most:
                return
        if chunked:
            upstream.send(b"0\r\n\r\n")

    def _body(self) -> Iterator[bytes]:
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            while size := int(self.rfile.readline().split(b";")[0], 16):
                yield self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read(min(left, _CHUNK))):
            left -= len(piece)
            yield piece

    def _happens(self, fault: Fault) -> None:
        self.close_connection = True
        if fault.status is None:
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(fault.status)
        for name, value in {"Content-Length": str(len(fault.body)), "Connection": "close", **fault.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(fault.body)

    def _answer(self, answer: http.client.HTTPResponse, most: int | None) -> None:
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in {"connection", "transfer-encoding", "server", "date"}:
                self.send_header(name, value)
        if self.command != "HEAD" and answer.getheader("Content-Length") is None:
            content = answer.read()
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            return
        self.end_headers()
        if most is not None:
            self.close_connection = True
            self.wfile.write(answer.read(most))
            return
        while piece := answer.read(_CHUNK):
            self.wfile.write(piece)


def _until_it_listens(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        threading.Event().wait(0.02)
    pytest.fail(f"docker-registry did not start:\n{log.read_text()}", pytrace=False)


def get(url: str) -> bytes:
    """What a registry without a login answers."""
    with urllib.request.urlopen(url, timeout=10) as answer:
        content: bytes = answer.read()
    return content

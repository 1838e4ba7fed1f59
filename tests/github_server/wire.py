"""HTTP on a port that the system chooses: answers whole, or spoilt as a fault wants it."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.github_server.faults import Fault

# Closing with this set sends a reset instead of a goodbye.
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True)
class Reply:
    """What is to be sent, and what goes wrong with it."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    fault: Fault | None = None


Respond = Callable[[str, str, Mapping[str, str], bytes], Reply]


class Wire:
    """A port on localhost; ``respond`` gets method, target, headers (in small letters) and body of each request."""

    def __init__(self, respond: Respond) -> None:
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler(respond))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def close(self) -> None:
        """Stop answering; whoever still waits for an answer gets none."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def _handler(self, respond: Respond) -> type[BaseHTTPRequestHandler]:
        wire = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                with wire._lock:
                    wire._open.add(self.connection)

            def finish(self) -> None:
                with wire._lock:
                    wire._open.discard(self.connection)
                with contextlib.suppress(OSError):
                    super().finish()

            def handle(self) -> None:
                with contextlib.suppress(ConnectionError):  # the client has gone
                    super().handle()

            def answer(self) -> None:
                raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                self.send(respond(self.command, self.path, {name.lower(): value for name, value in self.headers.items()}, raw))

            do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = do_HEAD = answer  # noqa: N815 - called by name

            def send(self, reply: Reply) -> None:
                kind = reply.fault.kind if reply.fault else ""
                if kind in ("drop_before", "drop_after"):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                    self.close_connection = True
                    return
                if kind in ("slow", "slow_after"):
                    self.connection.recv(1)  # until the client gives up, or the server is closed
                    self.close_connection = True
                    return
                content = reply.content[: len(reply.content) // 2] if kind == "truncate" else reply.content
                headers = dict(reply.headers)
                if reply.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
                    headers["Content-Length"] = str(len(content))
                if kind == "cut":
                    content = content[: len(content) // 2]
                    self.close_connection = True
                phrase = HTTPStatus(reply.status).phrase
                lines = [f"HTTP/1.1 {reply.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
                # In one piece: two small writes would cost the client a delayed acknowledgement.
                self.wfile.write("\r\n".join([*lines, "", ""]).encode("latin-1") + content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

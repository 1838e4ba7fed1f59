"""What the HTTP servers of the tests share."""

from __future__ import annotations

import http.server
import sys
from typing import Any


class Server(http.server.ThreadingHTTPServer):
    """One whose clients may leave whenever they like: that is what is tested."""

    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(http.server.BaseHTTPRequestHandler):
    """One that answers at once and says nothing on the terminal."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def _serve(self) -> None:
        """Answer a request."""
        raise NotImplementedError

    def __getattr__(self, name: str) -> object:
        if name.startswith("do_"):  # whatever the method
            return self._serve
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Nothing."""

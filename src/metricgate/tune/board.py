"""What people see of a search: a line for each trial, and on a terminal one that counts below them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TextIO

from metricgate.report import plain

_ERASE_LINE = "\r\x1b[K"


class Board:
    """Lines of a search, from several threads.

    Args:
        stream: Where they go.
        heartbeat_s: Seconds between two lines about a search in which nothing ends, where ``stream`` is no terminal.
    """

    def __init__(self, stream: TextIO, *, heartbeat_s: float = 60.0) -> None:
        self._stream = stream
        self._terminal = stream.isatty()
        self._heartbeat_s = heartbeat_s
        self._lock = threading.Lock()
        self._shown = ""
        self._said_at = time.monotonic()
        self._counted_at = -float("inf")

    def say(self, text: str) -> None:
        """Write a line."""
        with self._lock:
            self._write(f"metricgate: {plain.text(text, limit=1000)}\n")
            self._said_at = time.monotonic()

    def count(self, text: Callable[[], str]) -> None:
        """Show how far the search is: redrawn each second on a terminal, elsewhere a line when nothing was said for long.

        Args:
            text: Asked only when it is shown: it may cost a query.
        """
        now = time.monotonic()
        last, apart = (self._counted_at, 1.0) if self._terminal else (self._said_at, self._heartbeat_s)
        if now - last < apart:
            return
        self._counted_at = self._said_at = now
        shown = f"metricgate: {text()}"
        with self._lock:
            self._write(shown if self._terminal else f"{shown}\n")
            self._shown = shown if self._terminal else ""

    def end(self) -> None:
        """Take the counting line away."""
        with self._lock:
            self._write("")

    def _write(self, text: str) -> None:
        try:
            if self._shown:
                self._stream.write(_ERASE_LINE)
                self._shown = ""
            self._stream.write(text)
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody looks any more; the search goes on

"""What goes wrong on the way, switched on by a test."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal[
    "status",  # refused with a status, nothing done
    "status_after",  # done, but the answer is a status such as 502
    "drop_before",  # the connection is closed, nothing done
    "drop_after",  # done, but the connection is closed instead of an answer
    "truncate",  # done, but half of the answer is missing and nothing tells so
    "cut",  # done, but the connection ends in the middle of the answer
    "slow",  # no answer until the client gives up, nothing done
    "slow_after",  # done, but no answer until the client gives up
    "callback",  # something else happens first, then the request is answered as always
]

SECONDARY_LIMIT = (
    "You have exceeded a secondary rate limit. Please wait a few minutes before you try again. "
    "If you reach out to GitHub Support for help, please include the request ID 0000:0000:0000."
)
_MESSAGES = {
    401: "Bad credentials",
    403: "Resource not accessible by integration",
    404: "Not Found",
    429: SECONDARY_LIMIT,
    500: "Server Error",
    502: "Server Error",
    503: "Service unavailable",
    504: "We couldn't respond to your request in time. Sorry about that.",
}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something that goes wrong.

    Attributes:
        method: Of which requests; empty: all.
        path: A regular expression found in the path below the root of the API, without the query.
        kind: What goes wrong.
        times: How often.
        after: How many such requests pass before it begins.
        status: For ``status``: which one.
        headers: For ``status``: headers beside the usual ones, such as ``{"Retry-After": "0"}``.
        message: For ``status``: GitHub's sentence; by default the usual one.
        callback: For ``callback``: what happens, while nothing is locked, so that it may use the API itself.
    """

    kind: Kind
    method: str = ""
    path: str = ""
    times: int = 1
    after: int = 0
    status: int = 500
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = ""
    callback: Callable[[], object] = lambda: None

    @property
    def text(self) -> str:
        """What GitHub says with the status."""
        return self.message or _MESSAGES.get(self.status, "Server Error")

    def concerns(self, method: str, path: str) -> bool:
        """Whether a request is one of those."""
        return self.method in ("", method) and re.search(self.path, path) is not None


@dataclass
class Faults:
    """The faults that are switched on."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _active: dict[int, tuple[Fault, int, int]] = field(default_factory=dict)
    _next: int = 0

    def add(self, *faults: Fault) -> None:
        """Switch faults on. Each request meets at most one, the one that was added first."""
        with self._lock:
            for fault in faults:
                self._active[self._next] = (fault, fault.after, fault.times)
                self._next += 1

    def clear(self) -> None:
        """Switch all off."""
        with self._lock:
            self._active.clear()

    @property
    def left(self) -> list[Fault]:
        """Those that did not yet happen as often as they should."""
        with self._lock:
            return [fault for fault, _, _ in self._active.values()]

    def meet(self, method: str, path: str) -> Fault | None:
        """What goes wrong with a request; None if nothing."""
        with self._lock:
            for key, (fault, skip, times) in self._active.items():
                if not fault.concerns(method, path):
                    continue
                if skip:
                    self._active[key] = (fault, skip - 1, times)
                    continue
                if times > 1:
                    self._active[key] = (fault, 0, times - 1)
                else:
                    del self._active[key]
                return fault
        return None

"""A command's output on its way: to the console as it comes, to a log file of bounded size, and its last lines in memory."""

from __future__ import annotations

import itertools
import os
import re
import selectors
import threading
import time
from collections import deque
from pathlib import Path
from types import TracebackType

from metricgate.errors import StageError
from metricgate.train.console import Console

HEAD_BYTES = 8_000_000
TAIL_BYTES = 1_000_000
_CHUNK = 1 << 16
_LINE_LENGTH = 300
_DRAIN_S = 2.0
# A command that prints line by line would wake metricgate for each of them, at the cost of its own processor time.
_SMALL = 4096
_GATHER_S = 0.01
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)")


class Output:
    """A pipe whose write end belongs to a command; a thread reads the other end.

    Used as a context: on leaving it, everything that was written has been passed on, even if some process that escaped
    still holds the pipe open.

    Attributes:
        write_end: Where the command writes.
        read_end: The other end.
        moved: When something came last, of the monotonic clock.

    Raises:
        StageError: The log can't be made.
    """

    def __init__(self, log: Path, *, console: Console) -> None:
        self._log = _Log(log)
        self._console = console
        self.moved = time.monotonic()
        self.read_end, self.write_end = os.pipe()
        self._wake_read, self._wake_write = os.pipe()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Output:
        return self

    def begin(self) -> None:
        """Start to read, once the command has the write end."""
        os.close(self.write_end)
        self.write_end = -1
        self._thread = threading.Thread(target=self._pump, daemon=True)
        self._thread.start()

    def __exit__(self, _1: type[BaseException] | None, _2: BaseException | None, _3: TracebackType | None) -> None:
        if self._thread:
            self._thread.join(timeout=_DRAIN_S)
            os.write(self._wake_write, b"x")
            self._thread.join()
        for end in (self.read_end, self.write_end, self._wake_read, self._wake_write):
            if end >= 0:
                os.close(end)
        self._log.close()
        self._console.end()

    @property
    def why_lost(self) -> str:
        """Why the log is not whole, in the system's words; empty where it is."""
        return self._log.why_lost

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The last lines as a terminal would show them, without colours and control characters, but for blank ones."""
        return last_lines(self._log.tail(), count)

    def _pump(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.read_end, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if self.read_end not in ready:
                    return
                data = os.read(self.read_end, _CHUNK)
                if not data:
                    return
                self.moved = time.monotonic()
                self._log.write(data)
                self._console.write(data)
                if len(data) < _SMALL:
                    time.sleep(_GATHER_S)


class _Log:
    """Keeps the beginning and the end of what is written, and says how much lies between."""

    def __init__(self, path: Path) -> None:
        self.why_lost = ""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise StageError(
                f"the log can't be written: {error.strerror}",
                where=str(path),
                expected="a folder with room, for the output of the command",
                fix="free the disk, or say --run-dir with a folder on a larger one",
            ) from None
        self._room = max(0, HEAD_BYTES - self._file.tell())
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._past_head = 0

    def write(self, data: bytes) -> None:
        head, rest = data[: self._room], data[self._room :]
        if head:
            self._keep(head)
            self._room -= len(head)
        self._past_head += len(rest)
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
            self._tail_bytes -= len(self._tail.popleft())

    def tail(self) -> bytes:
        return b"".join(self._tail)

    def close(self) -> None:
        if self._past_head:
            kept = self.tail()[-min(self._past_head, TAIL_BYTES) :]
            if left_out := self._past_head - len(kept):
                self._keep(f"\n[metricgate: {left_out:,} bytes left out here]\n".encode())
            self._keep(kept)
        self._file.close()

    def _keep(self, data: bytes) -> None:
        # A full disk costs the log, not the training: nobody reading the pipe would stop the command for ever.
        try:
            while data:
                data = data[self._file.write(data) or 0 :]
        except OSError as error:
            self.why_lost = self.why_lost or error.strerror or str(error)


def last_lines(output: bytes, count: int) -> tuple[str, ...]:
    """The last lines as a terminal would show them, without colours and control characters, but for blank ones."""
    lines = (_plain(line) for line in reversed(output.decode("utf-8", "replace").split("\n")))
    return tuple(itertools.islice((line for line in lines if line), count))[::-1]


def _plain(line: str) -> str:
    line = _ESCAPES.sub("", line).rstrip("\r").rsplit("\r", 1)[-1]
    return "".join(char for char in line if char.isprintable() or char == "\t").rstrip()[:_LINE_LENGTH]

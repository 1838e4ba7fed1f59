"""The log of a node, on a shared file system. It goes where the worker goes: Python 3.8, nothing else."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from pathlib import Path

HEAD_BYTES, TAIL_BYTES = 64_000_000, 1_000_000


class Log:
    """A log file on a shared file system: appended to, flushed where the runner can see it, bounded in size."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._room = HEAD_BYTES - os.fstat(self._file).st_size
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self._left_out = 0
        self._flushed = 0.0
        self.written = time.monotonic()

    def write(self, data: bytes) -> None:
        """Append; past the size that is kept, only the last of it, at the end."""
        self.written = time.monotonic()
        if self._room > 0:
            self._room -= len(data)
            self._keep(data)
            if self._room <= 0:
                self._keep(b"\n[metricgate: the log is full; its end will follow]\n")
        else:
            self._tail.append(data)
            self._tail_bytes += len(data)
            while self._tail_bytes - len(self._tail[0]) >= TAIL_BYTES:
                gone = len(self._tail.popleft())
                self._tail_bytes -= gone
                self._left_out += gone

    def flush(self) -> None:
        """Send off what network file systems would hold back for half a minute."""
        with contextlib.suppress(OSError):
            os.fsync(self._file)

    def close(self) -> None:
        """Append what was held back."""
        if self._left_out:
            self._keep(f"[metricgate: {self._left_out:,} bytes left out here]\n".encode())
        self._keep(b"".join(self._tail))
        self.flush()
        os.close(self._file)

    def _keep(self, data: bytes) -> None:
        # A full disk costs the log, not the training: nobody reading the pipe would stop it for ever.
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(self._file, data) :]

"""A log on a shared file system that another machine writes: what is new in it, and its last lines."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from metricgate.train import output

_CHUNK = 1 << 20
_TAIL_BYTES = 1 << 17


class RemoteLog:
    """Reads a log as it grows.

    Args:
        path: The file, which need not be there yet.
        skip: How many bytes at its beginning are of earlier trainings.
    """

    def __init__(self, path: Path, *, skip: int = 0) -> None:
        self._path = path
        self._skip = skip
        self._position = skip

    def news(self) -> Iterator[bytes]:
        """What has come since the last call."""
        try:
            # Opened each time: a network file system then asks for what another machine has written.
            with self._path.open("rb") as file:
                file.seek(self._position)
                while data := file.read(_CHUNK):
                    self._position += len(data)
                    yield data
        except OSError:
            return  # not there yet, or the file system is away for a moment

    def last_lines(self, count: int) -> tuple[str, ...]:
        """The last lines as a terminal would show them, without colours and control characters, but for blank ones."""
        try:
            with self._path.open("rb") as file:
                end = file.seek(0, 2)
                file.seek(max(self._skip, end - _TAIL_BYTES))
                return output.last_lines(file.read(_TAIL_BYTES), count)
        except OSError:
            return ()

"""A file that goes to the disk past the page cache, and whose digest is known when it is there.

A checkpoint has to be on the disk anyway, and is hardly ever read: a way through the page cache costs a training memory and
processor time for nothing (open(2), ``O_DIRECT``). Where a file system has no other way, it takes that one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import mmap
import os
from pathlib import Path
from types import TracebackType

_BUFFER = 1 << 23
_BLOCK = 4096
_DIRECT: int = getattr(os, "O_DIRECT", 0)  # not every system has it


class DirectFile:
    """Written once, from beginning to end.

    Args:
        path: Where; a file that is there is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = _opened(path)
        self._buffer = memoryview(mmap.mmap(-1, _BUFFER))  # begins with a page, as the disk wants it
        self._held = self._size = 0
        self._digest = hashlib.sha256()

    def write(self, data: memoryview) -> None:
        """Write bytes; ``data`` is of one dimension and of bytes."""
        self._size += data.nbytes
        while data.nbytes:
            taken = min(data.nbytes, _BUFFER - self._held)
            self._buffer[self._held : self._held + taken] = data[:taken]
            data = data[taken:]
            self._held += taken
            if self._held == _BUFFER:
                self._flush()

    def digest(self) -> str:
        """Write what is left; the SHA-256 of the whole file, in hexadecimal digits."""
        self._flush()
        os.ftruncate(self._descriptor, self._size)
        return self._digest.hexdigest()

    def __enter__(self) -> DirectFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        os.close(self._descriptor)

    def _flush(self) -> None:
        self._digest.update(self._buffer[: self._held])
        left = self._buffer[: self._held + -self._held % _BLOCK]  # whole blocks; what is too much is cut off at the end
        self._held = 0
        while left.nbytes:
            left = left[self._written(left) :]

    def _written(self, data: memoryview) -> int:
        try:
            return os.write(self._descriptor, data)
        except OSError as error:
            flags = fcntl.fcntl(self._descriptor, fcntl.F_GETFL)
            if error.errno != errno.EINVAL or not flags & _DIRECT:
                raise
            fcntl.fcntl(self._descriptor, fcntl.F_SETFL, flags & ~_DIRECT)  # after a part of a block, say
            return os.write(self._descriptor, data)


def _opened(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        return os.open(path, flags | _DIRECT, 0o666)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, flags, 0o666)

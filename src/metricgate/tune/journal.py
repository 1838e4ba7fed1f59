"""The lock of a journal file: gone with the process that holds it, and what a broken write left is cut off.

Optuna's own lock is a file, which stays when its maker is killed and lets everybody wait for half a minute. And a line that was
not written whole, because the disk was full, would make the journal unreadable once another one follows.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from pathlib import Path
from typing import Any, cast

from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

_BLOCK = 1 << 16


class Lock:
    """What Optuna takes for a lock: two methods. One process's threads hold it one at a time.

    Args:
        journal: The file that is written under it.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._handle: int | None = None

    def acquire(self) -> bool:
        """Wait for the lock, and leave the journal with whole lines only."""
        handle = os.open(self._journal.with_name(f"{self._journal.name}.flock"), os.O_CREAT | os.O_RDWR, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            mend(self._journal)
        except BaseException:
            os.close(handle)
            raise
        self._handle = handle
        return True

    def release(self) -> None:
        """Let the next one write."""
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)


def opened(file: Path) -> JournalStorage:
    """The storage that is kept in a journal file.

    Raises:
        ValueError: The file is there and is something else, which must not be written into.
    """
    if file.exists() and not _is_journal(file):
        message = "its first line is none of Optuna's"
        raise ValueError(message)
    return JournalStorage(JournalFileBackend(str(file), lock_obj=cast("Any", Lock(file))))


def _is_journal(file: Path) -> bool:
    with file.open("rb") as stream:
        line = stream.readline(_BLOCK)
    if not line.endswith(b"\n"):  # nothing yet, or the first line was cut off
        return line[:1] in (b"", b"{")
    try:
        return "op_code" in json.loads(line)
    except (ValueError, TypeError):
        return False


def mend(journal: Path) -> None:
    """Cut off a last line without an end: whoever wrote it was told that it is not there."""
    with contextlib.suppress(FileNotFoundError), journal.open("rb+") as stream:
        end = stream.seek(0, os.SEEK_END)
        if end == 0:
            return
        stream.seek(end - 1)
        if stream.read(1) == b"\n":
            return
        while end > 0:
            start = max(0, end - _BLOCK)
            stream.seek(start)
            found = stream.read(end - start).rfind(b"\n")
            if found >= 0:
                stream.truncate(start + found + 1)
                return
            end = start
        stream.truncate(0)

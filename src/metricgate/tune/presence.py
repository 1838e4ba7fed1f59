"""Which machines still work on the trials of a journal file: a lock for each, which the system lifts when its holder dies."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import uuid
from pathlib import Path


class Presence:
    """A file beside the journal that is locked as long as this process lives, however it ends.

    Args:
        folder: Where these files are; all that share the journal share it.
    """

    def __init__(self, folder: Path) -> None:
        self.id = uuid.uuid4().hex[:16]
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._handle = self._held()
        for file in folder.glob("*.lock"):
            self.alive(file.stem)  # what killed processes left is taken away

    def _held(self) -> int:
        file = self._file(self.id)
        while True:
            handle = os.open(file, os.O_CREAT | os.O_RDWR, 0o644)
            fcntl.flock(handle, fcntl.LOCK_EX)
            # Somebody who tidied up may have taken it for that of a dead one, between those two lines.
            with contextlib.suppress(FileNotFoundError):
                if file.stat().st_ino == os.fstat(handle).st_ino:
                    return handle
            os.close(handle)

    def close(self) -> None:
        """Be gone."""
        self._file(self.id).unlink(missing_ok=True)
        os.close(self._handle)

    def alive(self, other: str) -> bool:
        """Whether the process with this id still works; where that can't be told, it does."""
        if other == self.id:
            return True
        if not other.isalnum():
            return False
        try:
            handle = os.open(self._file(other), os.O_RDWR)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            return error.errno in (errno.EWOULDBLOCK, errno.EACCES, errno.ENOLCK)
        else:
            with contextlib.suppress(OSError):
                self._file(other).unlink()
            return False
        finally:
            os.close(handle)

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.lock"

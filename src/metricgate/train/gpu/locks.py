"""Locks that the jobs of a machine share: files in one folder, each held by at most one process, free once that is dead.

The lock is ``flock``'s: it belongs to the open file, so that the kernel frees it however its owner ends, and it works across
containers that share the folder. The files stay: a lock on a file that somebody else deletes protects nothing.

The folder is everybody's, as ``/tmp`` is: nothing in it is followed, believed or executed. What a lock file says is shown to
people, cleaned and cut.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import time
import weakref
from collections.abc import Iterator, Mapping
from pathlib import Path

from metricgate.errors import StageError

_SHARED = 0o1777  # everybody may add files, and take away only their own
_MOST_BYTES = 4096
_MOMENT_S = 2.0
_POLL_S = 0.02
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK


class Lock:
    """A lock that this process holds."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        _held.add(self)

    def tell(self, words: Mapping[str, str | int | float]) -> None:
        """Write who holds it and for what, for others to show. A full disk leaves it unsaid."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, json.dumps(dict(words)).encode()[:_MOST_BYTES], 0)

    def release(self) -> None:
        """Let others have it."""
        if self._descriptor < 0:
            return
        descriptor, self._descriptor = self._descriptor, -1
        _held.discard(self)
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
        # Not by closing alone: a child that was forked a moment ago, and has not started its program yet, has it open too.
        fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def forget(self) -> None:
        """In a forked child: the lock is the parent's, and must not outlive it here."""
        if self._descriptor >= 0:
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)


_held: weakref.WeakSet[Lock] = weakref.WeakSet()


def _forget_all() -> None:
    for lock in list(_held):
        lock.forget()
    _held.clear()


os.register_at_fork(after_in_child=_forget_all)


class Locks:
    """The locks in a folder.

    Raises:
        StageError: The folder can't be had, or is not what it should be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self._make()
        except OSError as error:
            raise self._unusable(f"the folder of the GPU locks can't be used: {error.strerror}") from None

    def try_lock(self, name: str) -> Lock | None:
        """Take a lock; None if somebody has it.

        Raises:
            StageError: Its file is not one of ours.
        """
        with self._opened(name) as descriptor:
            if not _locked(descriptor):
                return None
            return Lock(os.dup(descriptor))  # the same open file, and so the same lock; not inherited either

    def told(self, name: str) -> dict[str, object]:
        """What the holder of a lock wrote into its file; nothing where that can't be read."""
        try:
            with self._opened(name) as descriptor:
                document = json.loads(os.pread(descriptor, _MOST_BYTES, 0))
        except (OSError, ValueError, RecursionError):
            return {}
        return document if isinstance(document, dict) else {}

    def names(self, prefix: str) -> list[str]:
        """The names of lock files that begin so, sorted."""
        return sorted(
            path.name for path in self.folder.iterdir() if path.name.startswith(prefix) and _NAME.fullmatch(path.name)
        )

    def remove(self, name: str) -> None:
        """Take a lock file away that nobody will lock again; that of another user stays."""
        with contextlib.suppress(OSError):
            (self.folder / name).unlink()

    def _make(self) -> None:
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        try:
            self.folder.mkdir()
        except FileExistsError:
            found = self.folder.lstat()
            if not stat.S_ISDIR(found.st_mode):
                raise self._unusable("the folder of the GPU locks is a file or a link") from None
            writable = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            if writable and not found.st_mode & stat.S_ISVTX:
                # Anybody could take away a lock that somebody holds, and make another.
                raise self._unusable(
                    "others may delete files in the folder of the GPU locks", fix=f"chmod +t {self.folder}"
                ) from None
        else:
            self.folder.chmod(_SHARED)  # whatever the umask says

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[int]:
        if not _NAME.fullmatch(name):
            message = f"{name!r} is no name for a lock"
            raise ValueError(message)
        try:
            descriptor = self._open(name)
        except OSError as error:
            raise self._unusable(f"a GPU lock can't be used: {error.strerror}", where=self.folder / name) from None
        try:
            found = os.fstat(descriptor)
            if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
                # Writing into it would change somebody's file.
                raise self._unusable("a GPU lock is no file of its own", where=self.folder / name)
            yield descriptor
        finally:
            os.close(descriptor)

    def _open(self, name: str) -> int:
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        deadline = time.monotonic() + _MOMENT_S
        try:
            while (descriptor := _found_or_made(name, folder, last=time.monotonic() > deadline)) is None:
                time.sleep(_POLL_S)
        finally:
            os.close(folder)
        return descriptor

    def _unusable(self, found: str, *, where: Path | None = None, fix: str = "") -> StageError:
        return StageError(
            found,
            where=str(where or self.folder),
            expected="a folder that all jobs of this machine may write to",
            fix=fix or f"delete {where or self.folder}, or name another folder in METRICGATE_GPU_LOCKS",
        )


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        raise
    return True


def _found_or_made(name: str, folder: int, *, last: bool) -> int | None:
    """The open file of that name; None if it has to be tried again, which the last try is not."""
    try:
        # Without O_CREAT: Linux refuses that for files of others in such a folder (fs.protected_regular).
        return os.open(name, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        try:
            descriptor = os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, 0o666, dir_fd=folder)
        except FileExistsError:  # since a moment ago
            return None
        os.fchmod(descriptor, 0o666)  # whatever the umask says
        return descriptor
    except PermissionError:
        if last:
            raise
        return None  # another user has made it, and may not have opened it to all yet

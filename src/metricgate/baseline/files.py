"""What a store needs of a place for files, and the simplest such place: a folder."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from metricgate.errors import StageError

Edit = Callable[[Mapping[str, str]], Mapping[str, bytes | None]]
"""Given the paths that are there, what to write (None: delete), in an order of which every beginning is harmless."""

_LOCK = ".lock"
_STAGING = ".staging-"


class Files(Protocol):
    """Files by their relative POSIX path. An object serves one thread; several objects may share one place."""

    @property
    def largest(self) -> int | None:
        """The most bytes that one file may have; None where only the disk limits it."""

    def paths(self) -> Mapping[str, str]:
        """Every path that is there now, with an id that changes when the content does. One cheap listing."""

    def listed(self) -> Mapping[str, str]:
        """What the last listing saw; a new one where there was none or we changed something since."""

    def read(self, path: str) -> bytes:
        """A file as the last listing saw it.

        Raises:
            KeyError: It was not there, or has been changed since.
        """

    def holds(self, path: str, content: bytes) -> bool:
        """Whether the last listing saw this very content at the path."""

    def change(self, edit: Edit, *, message: str) -> bool:
        """Write and delete files, all of them or none, whatever others do at the same time.

        Args:
            edit: Is called with what is there, again after a lost race; what it returns must depend on nothing else.
            message: Why, for places that keep a history.

        Returns:
            Whether anything was changed; nothing is written where everything is so already.
        """


class FolderFiles:
    """A folder, on a disk that several machines may share.

    Changes wait for each other. One that is cut short by a crash leaves its beginning, in the order of the edit.
    """

    largest = None

    def __init__(self, root: Path) -> None:
        self._root = root
        self._last: Mapping[str, str] | None = None

    def __repr__(self) -> str:
        return f"FolderFiles({str(self._root)!r})"

    def paths(self) -> Mapping[str, str]:
        """Every path that is there now."""
        with self._told_plainly(), self._locked(fcntl.LOCK_SH):
            return self._list()

    def listed(self) -> Mapping[str, str]:
        """What the last listing saw; a new one where there was none."""
        return self.paths() if self._last is None else self._last

    def read(self, path: str) -> bytes:
        """A file as the last listing saw it.

        Raises:
            KeyError: It was not there, or has been changed since.
        """
        listed = self.listed()
        with self._told_plainly():
            try:
                with self._place(path).open("rb") as stream:
                    if listed[path] != _identity(os.fstat(stream.fileno())):
                        raise KeyError(path)
                    return stream.read()
            except FileNotFoundError:
                raise KeyError(path) from None

    def holds(self, path: str, content: bytes) -> bool:
        """Whether the last listing saw this very content at the path."""
        with contextlib.suppress(KeyError):
            return self.read(path) == content
        return False

    def change(self, edit: Edit, *, message: str) -> bool:  # noqa: ARG002 - a folder keeps no history
        """Write and delete files while nobody else does."""
        with self._told_plainly():
            self._root.mkdir(parents=True, exist_ok=True)
            with self._locked(fcntl.LOCK_EX, required=True):
                present = self._list()
                wanted = {
                    path: content
                    for path, content in edit(present).items()
                    if (path in present if content is None else not self.holds(path, content))
                }
                if wanted:
                    self._apply(wanted)
                    self._list()
                return bool(wanted)

    def _list(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        for place, folders, names in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in names:
                file = Path(place) / name
                # A link may lead anywhere; what lies behind it was not recorded here.
                if not name.startswith(".") and file.is_file() and not file.is_symlink():
                    found[file.relative_to(self._root).as_posix()] = _identity(file.stat())
        self._last = found
        return found

    def _apply(self, wanted: Mapping[str, bytes | None]) -> None:
        for stale in self._root.glob(f"{_STAGING}*"):  # of a process that died; a living one would hold the lock
            shutil.rmtree(stale, ignore_errors=True)
        # A mistake or a full disk is found out before the first file is touched.
        places = {path: self._place(path) for path in wanted}
        with tempfile.TemporaryDirectory(prefix=_STAGING, dir=self._root, ignore_cleanup_errors=True) as staging:
            staged = {path: Path(staging) / str(i) for i, path in enumerate(wanted)}
            for path, content in wanted.items():
                if content is not None:
                    with staged[path].open("wb") as stream:
                        stream.write(content)
                        stream.flush()
                        os.fsync(stream.fileno())
            for path, content in wanted.items():
                if content is None:
                    self._delete(places[path])
                else:
                    places[path].parent.mkdir(parents=True, exist_ok=True)
                    staged[path].replace(places[path])

    def _delete(self, file: Path) -> None:
        file.unlink(missing_ok=True)
        for parent in file.parents:
            if parent == self._root or any(parent.iterdir()):
                break
            parent.rmdir()

    def _place(self, path: str) -> Path:
        parts = PurePosixPath(path).parts
        place = self._root.joinpath(*parts)
        if (
            not parts
            or any(part.startswith((".", "/")) for part in parts)
            or not place.parent.resolve().is_relative_to(self._root.resolve())
        ):
            message = f"{path!r} is no path in a store"
            raise ValueError(message)
        return place

    @contextlib.contextmanager
    def _locked(self, how: int, *, required: bool = False) -> Iterator[None]:
        # Who only reads may be allowed no more than that, or find no folder at all.
        try:
            handle = os.open(self._root / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError:
            if required:
                raise
            yield
            return
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _told_plainly(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StageError(
                f"the store can't be used: {error.strerror or error}",
                where=str(error.filename or self._root),
                expected="a folder that this user may read and write, with space left",
            ) from None


def _identity(state: os.stat_result) -> str:
    # A file is never written in place, so that another content is another inode, or at least another time.
    return f"{state.st_ino:x}-{state.st_mtime_ns:x}-{state.st_size:x}"

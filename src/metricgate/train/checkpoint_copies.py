"""Copies of an unfinished training in a store, so that another machine goes on from there.

``<store>/checkpoints/<key>/<SHA-256>`` are the files by their content, and ``current.json`` says which of them, under which
names, are one state of the folder. It is written last, so half a state is never seen; files that it no longer names go after.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

import pydantic

from metricgate.errors import MetricgateError
from metricgate.place import Place
from metricgate.train.console import Console

_CURRENT = "current.json"
_ATTEMPTS = 3
_SETTLE_S = 2.0
_CHUNK = 1 << 20

# (relative path, size, modification time in ns, inode)
_Listing = tuple[tuple[str, int, int, int], ...]


class _Entry(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    bytes: Annotated[int, pydantic.Field(ge=0)]
    sha256: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]


class _State(pydantic.BaseModel):
    """``current.json``: the files of one state of the folder, by their relative POSIX path."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["metricgate.checkpoint/1"] = pydantic.Field(default="metricgate.checkpoint/1", alias="schema")
    files: dict[str, _Entry]

    @pydantic.field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, _Entry]) -> dict[str, _Entry]:
        for name in files:
            parts = PurePosixPath(name).parts
            if not parts or name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
                message = f"{name[:100]!r} leads out of the folder"
                raise ValueError(message)
        return files


@dataclass
class Copies:
    """The copies of one training's folder.

    Attributes:
        place: The store.
        key: The training.
    """

    place: Place
    key: str
    _last: _Listing = field(default=(), init=False, repr=False)
    _complained: bool = field(default=False, init=False, repr=False)
    _sent_now: list[str] = field(default_factory=list, init=False, repr=False)

    def restore(self, folder: Path, *, console: Console) -> bool:
        """Copy the last state out of the store; whether there was one that is whole.

        Args:
            folder: Where nothing is.
            console: Told why a state can't be used: a training that begins again beats none.
        """
        system = self.place.system
        try:
            with self.place.told_plainly(self._path(_CURRENT)):
                try:
                    content = system.cat_file(self._path(_CURRENT))
                except FileNotFoundError:
                    return False
                folder.parent.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(prefix=".restored-", dir=folder.parent) as aside:
                    for name, entry in _State.model_validate_json(content).files.items():
                        self._fetch(entry, Path(aside) / "state" / name)
                    if not (Path(aside) / "state").is_dir():
                        return False
                    (Path(aside) / "state").rename(folder)
        except (MetricgateError, pydantic.ValidationError, _DamagedError) as error:
            console.say(f"what another runner left of this training can't be used, so it begins again: {error}")
            return False
        return True

    def keep(self, folder: Path) -> bool:
        """Copy the folder as it is now; False where it did not hold still, or did not change since the last time.

        Raises:
            StageError: The store can't be reached or written.
        """
        for attempt in range(_ATTEMPTS):
            before = _listing(folder)
            if not before or before == self._last:
                return False
            if attempt:
                threading.Event().wait(_SETTLE_S)
            self._sent_now.clear()
            with contextlib.suppress(FileNotFoundError):  # the training replaces its checkpoints while they are read
                state = self._sent(folder, before)
                if _listing(folder) == before:
                    self._settle(state)
                    self._last = before
                    return True
            self._take_back()
        return False

    @contextlib.contextmanager
    def kept(self, folder: Path, *, every_s: float, console: Console) -> Iterator[None]:
        """Keep the folder every so often while the body runs, and once more at its end, if the folder is still there."""
        over = threading.Event()

        def work() -> None:
            while not over.wait(every_s):
                self._try(folder, console)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            if folder.is_dir():
                self._try(folder, console)

    def remove(self, *, console: Console) -> None:
        """Remove everything that the store has of this training."""
        try:
            self.place.remove(f"checkpoints/{self.key}")
        except MetricgateError as error:
            self._complain(error, console)

    def _try(self, folder: Path, console: Console) -> None:
        try:
            self.keep(folder)
        except MetricgateError as error:
            self._complain(error, console)
        except OSError as error:  # the folder was deleted meanwhile, or can't be read
            self._complain(error, console)

    def _complain(self, error: Exception, console: Console) -> None:
        if not self._complained:  # an outage of hours is one message
            self._complained = True
            console.say(f"the unfinished training is not copied to the store, and goes on without: {error}")

    def _take_back(self) -> None:
        """Remove what was just sent: a file that changed meanwhile may not be what its name says."""
        for target in self._sent_now:
            with self.place.told_plainly(target), contextlib.suppress(FileNotFoundError):
                self.place.system.rm_file(target)

    def _sent(self, folder: Path, listing: _Listing) -> _State:
        files = {name: self._send(folder / name) for name, *_ in listing}
        return _State(files=files)

    def _send(self, file: Path) -> _Entry:
        entry = _entry(file)
        target, system = self._path(entry.sha256), self.place.system
        with self.place.told_plainly(target):
            if not (system.exists(target) and system.size(target) == entry.bytes):
                system.makedirs(self._path(""), exist_ok=True)
                self._sent_now.append(target)
                if self.place.is_disk:
                    aside = f"{target}.{uuid.uuid4().hex}"
                    system.put_file(str(file), aside)
                    system.mv(aside, target)
                else:
                    system.put_file(str(file), target)
        return entry

    def _settle(self, state: _State) -> None:
        """Say which files are the state, and remove those of the one before."""
        system, path = self.place.system, self._path(_CURRENT)
        content = json.dumps(state.model_dump(mode="json", by_alias=True), sort_keys=True).encode()
        with self.place.told_plainly(path):
            if self.place.is_disk:
                aside = f"{path}.{uuid.uuid4().hex}"
                system.pipe_file(aside, content)
                system.mv(aside, path)
            else:
                system.pipe_file(path, content)
            needed = {_CURRENT, *(entry.sha256 for entry in state.files.values())}
            for there in system.ls(self._path(""), detail=False):
                if str(there).rstrip("/").rpartition("/")[2] not in needed:
                    with contextlib.suppress(FileNotFoundError):
                        system.rm_file(str(there))

    def _fetch(self, entry: _Entry, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        found, size = hashlib.sha256(), 0
        source_path = self._path(entry.sha256)
        with self.place.told_plainly(source_path), contextlib.ExitStack() as stack:
            try:
                source = stack.enter_context(self.place.system.open(source_path, "rb"))
            except FileNotFoundError:
                raise _DamagedError(f"{target.name} is gone") from None
            writer = stack.enter_context(target.open("wb"))
            while size <= entry.bytes and (chunk := source.read(_CHUNK)):
                found.update(chunk)
                size += len(chunk)
                writer.write(chunk)
        if size != entry.bytes or found.hexdigest() != entry.sha256:
            raise _DamagedError(f"{target.name} is not what was copied")

    def _path(self, name: str) -> str:
        return self.place.path(f"checkpoints/{self.key}/{name}".rstrip("/"))


class _DamagedError(MetricgateError):
    """A file of a state is gone or another one."""


def _entry(file: Path) -> _Entry:
    found, size = hashlib.sha256(), 0
    with file.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            found.update(chunk)
            size += len(chunk)
    return _Entry(bytes=size, sha256=found.hexdigest())


def _listing(folder: Path) -> _Listing:
    found = []
    for where, _, names in os.walk(folder):
        for name in names:
            path = Path(where) / name
            with contextlib.suppress(FileNotFoundError):
                stat = path.stat()
                if path.is_file():
                    found.append((path.relative_to(folder).as_posix(), stat.st_size, stat.st_mtime_ns, stat.st_ino))
    return tuple(sorted(found))

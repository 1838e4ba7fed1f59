"""Score tables kept apart from the runs: in a folder, or behind any URL that fsspec understands (S3, GCS, Azure, …)."""

from __future__ import annotations

import hashlib
import posixpath
import uuid
from pathlib import Path

import pydantic

from metricgate.baseline.layout import Pointer
from metricgate.errors import InputError
from metricgate.place import Place

_CHUNK = 1024 * 1024


class Objects:
    """A place for score tables. What a pointer says is checked: the size and the digest of what comes back.

    Args:
        url: ``baseline.scores`` of the configuration: a folder or a URL. Credentials come from the environment, never from it.

    Raises:
        ConfigError: The URL holds a password.
    """

    def __init__(self, url: str) -> None:
        self._place = Place(url, key="baseline.scores")

    def keep(self, content: bytes, *, folder: str, name: str, file: str) -> Pointer:
        """Keep a score table; the same one twice is one file.

        Args:
            content: What is in it.
            folder: Under which folder, such as that of the commit; it can be removed as a whole.
            name: What it belongs to.
            file: What it is called there: ``scores.parquet``.

        Raises:
            StageError: The place can't be reached or written.
        """
        digest = hashlib.sha256(content).hexdigest()
        path = self._file(folder, name, digest, posixpath.splitext(file)[1])
        with self._place.told_plainly(path):
            if not (self._place.system.exists(path) and self._place.system.size(path) == len(content)):
                self._place.system.makedirs(posixpath.dirname(path), exist_ok=True)
                if self._place.is_disk:
                    # Stores take an object whole or not at all. A disk does not, and a reader must never see half of it.
                    aside = f"{path}.{uuid.uuid4().hex}"
                    self._place.system.pipe_file(aside, content)
                    self._place.system.mv(aside, path)
                else:
                    self._place.system.pipe_file(path, content)
        return Pointer.model_validate({"url": self._place.shown(path), "file": file, "sha256": digest, "bytes": len(content)})

    def fetch(self, pointer: Pointer, *, folder: str, name: str, into: Path) -> None:
        """Copy a score table out, and check that it is the one that was kept.

        The pointer's own URL is never opened: whoever can write a pointer must not choose what is read.

        Raises:
            InputError: There is no such file, or another one.
            StageError: The place can't be reached.
        """
        path = self._file(folder, name, pointer.sha256, posixpath.splitext(pointer.file)[1])
        digest, size = hashlib.sha256(), 0
        with self._place.told_plainly(path):
            try:
                source = self._place.system.open(path, "rb")
            except FileNotFoundError:
                raise InputError(
                    "the score table of a recorded run is gone",
                    where=self._place.shown(path),
                    expected=f"the file that was recorded at {pointer.url[:200]}",
                    fix="if the store moved, copy its files to the new place; else record the commit again",
                ) from None
            with source, (into / pointer.file).open("wb") as target:
                while size <= pointer.bytes and (chunk := source.read(_CHUNK)):
                    size += len(chunk)
                    digest.update(chunk)
                    target.write(chunk)
        if size != pointer.bytes or digest.hexdigest() != pointer.sha256:
            (into / pointer.file).unlink()
            raise InputError(
                "the score table is not the one that was recorded",
                where=self._place.shown(path),
                expected=f"{pointer.bytes:,} bytes with the SHA-256 digest {pointer.sha256}",
                fix="find out who changed it; the recorded commit can't be used until it is back, or recorded again",
            )

    def remove(self, folder: str) -> None:
        """Remove a folder with everything in it; nothing where there is none.

        Raises:
            StageError: The place can't be reached or written.
        """
        self._place.remove(folder)

    def _file(self, folder: str, name: str, digest: str, suffix: str) -> str:
        return self._place.path(f"{folder}/{name}-{digest[:16]}{suffix}")


def read_pointer(content: bytes, *, where: str) -> Pointer:
    """Read ``scores.pointer.json``.

    Raises:
        InputError: It is something else.
    """
    try:
        return Pointer.model_validate_json(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=where, expected="a metricgate.pointer/1 document"
        ) from None

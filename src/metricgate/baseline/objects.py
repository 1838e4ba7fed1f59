"""Score tables kept apart from the runs: in a folder, or behind any URL that fsspec understands (S3, GCS, Azure, …)."""

from __future__ import annotations

import contextlib
import hashlib
import posixpath
import urllib.parse
import uuid
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pydantic

from metricgate.baseline.layout import Pointer
from metricgate.errors import ConfigError, InputError, MetricgateError, StageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

_CHUNK = 1024 * 1024
# What a filesystem of fsspec needs beside it, where its error doesn't say.
_DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}


class Objects:
    """A place for large files. What a pointer says is checked: the size and the digest of what comes back.

    Args:
        url: ``baseline.scores`` of the configuration: a folder or a URL. Credentials come from the environment, never from it.

    Raises:
        ConfigError: The URL holds a password.
    """

    def __init__(self, url: str) -> None:
        if "://" in url and urllib.parse.urlsplit(url).password is not None:
            raise ConfigError(
                "the URL of baseline.scores holds a password",
                expected="a URL without credentials; the driver finds them in the environment",
                fix="baseline: {scores: s3://bucket/path}",
            )
        self.url = url.rstrip("/") or url

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
        path = self._path(folder, name, digest, posixpath.splitext(file)[1])
        with self._told_plainly(path):
            if not (self._system.exists(path) and self._system.size(path) == len(content)):
                self._system.makedirs(posixpath.dirname(path), exist_ok=True)
                if self._is_disk:
                    # Stores take an object whole or not at all. A disk does not, and a reader must never see half of it.
                    aside = f"{path}.{uuid.uuid4().hex}"
                    self._system.pipe_file(aside, content)
                    self._system.mv(aside, path)
                else:
                    self._system.pipe_file(path, content)
        return Pointer.model_validate({"url": self._shown(path), "file": file, "sha256": digest, "bytes": len(content)})

    def fetch(self, pointer: Pointer, *, folder: str, name: str, into: Path) -> None:
        """Copy a score table out, and check that it is the one that was kept.

        The pointer's own URL is never opened: whoever can write a pointer must not choose what is read.

        Raises:
            InputError: There is no such file, or another one.
            StageError: The place can't be reached.
        """
        path = self._path(folder, name, pointer.sha256, posixpath.splitext(pointer.file)[1])
        digest, size = hashlib.sha256(), 0
        with self._told_plainly(path):
            try:
                source = self._system.open(path, "rb")
            except FileNotFoundError:
                raise InputError(
                    "the score table of a recorded run is gone",
                    where=self._shown(path),
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
                where=self._shown(path),
                expected=f"{pointer.bytes:,} bytes with the SHA-256 digest {pointer.sha256}",
                fix="find out who changed it; the recorded commit can't be used until it is back, or recorded again",
            )

    def remove(self, folder: str) -> None:
        """Remove a folder with everything in it; nothing where there is none.

        Raises:
            StageError: The place can't be reached or written.
        """
        path = self._join(folder)
        with self._told_plainly(path), contextlib.suppress(FileNotFoundError):
            self._system.rm(path, recursive=True)

    @cached_property
    def _opened(self) -> tuple[AbstractFileSystem, str]:
        if "://" not in self.url:
            from fsspec.implementations.local import LocalFileSystem

            return LocalFileSystem(), str(Path(self.url).absolute())
        import fsspec

        scheme = self.url.partition("://")[0]
        try:
            system, root = fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            driver = _DRIVERS.get(scheme)
            raise ConfigError(
                f"{scheme}:// is not understood here: {error}",
                where="baseline.scores",
                expected="a folder, or a URL whose driver is installed",
                fix=f"pip install {driver}" if driver else "baseline: {scores: s3://bucket/path}",
            ) from None
        return system, str(root)

    @property
    def _system(self) -> Any:  # fsspec's methods have no types
        return self._opened[0]

    @property
    def _is_disk(self) -> bool:
        protocol = self._system.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def _path(self, folder: str, name: str, digest: str, suffix: str) -> str:
        return self._join(f"{folder}/{name}-{digest[:16]}{suffix}")

    def _join(self, path: str) -> str:
        return f"{self._opened[1].rstrip('/')}/{path}"

    def _shown(self, path: str) -> str:
        return f"{self.url}{path.removeprefix(self._opened[1].rstrip('/'))}"

    @contextlib.contextmanager
    def _told_plainly(self, path: str) -> Iterator[None]:
        try:
            yield
        except MetricgateError:
            raise
        except Exception as error:  # each driver has exceptions of its own, and fsspec no base for them
            raise StageError(
                f"the place for score tables can't be used: {type(error).__name__}: {str(error)[:300]}",
                where=self._shown(path),
                expected="a folder or bucket that this job may read and write",
                fix="check `baseline: {scores: …}` in metricgate.yaml, and the credentials in the job's environment",
            ) from error


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

"""A place for large files: a folder, or any URL that fsspec understands (S3, GCS, Azure, …)."""

from __future__ import annotations

import contextlib
import urllib.parse
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metricgate.errors import ConfigError, MetricgateError, StageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

# What a filesystem of fsspec needs beside it, where its error doesn't say.
_DRIVERS = {"s3": "s3fs", "s3a": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs", "abfss": "adlfs"}


class Place:
    """Where files lie that are too large for the store.

    Args:
        url: A folder or a URL. Credentials come from the environment, never from it.
        key: The line of the configuration that names it: ``baseline.scores``.

    Raises:
        ConfigError: The URL holds a password.
    """

    def __init__(self, url: str, *, key: str) -> None:
        self._key = key
        if "://" in url and urllib.parse.urlsplit(url).password is not None:
            raise ConfigError(
                f"the URL of {key} holds a password",
                expected="a URL without credentials; the driver finds them in the environment",
                fix=_line(key, "s3://bucket/path"),
            )
        self.url = url.rstrip("/") or url

    @property
    def system(self) -> Any:  # fsspec's methods have no types
        """The filesystem.

        Raises:
            ConfigError: The URL is of a kind that is not installed.
        """
        return self._opened[0]

    @property
    def is_disk(self) -> bool:
        """Whether half of a file can be seen while it is written."""
        protocol = self.system.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def path(self, relative: str) -> str:
        """What the filesystem calls a file."""
        return f"{self._opened[1].rstrip('/')}/{relative}"

    def shown(self, path: str) -> str:
        """What people call it."""
        return f"{self.url}{path.removeprefix(self._opened[1].rstrip('/'))}"

    def remove(self, relative: str) -> None:
        """Remove a folder with everything in it; nothing where there is none.

        Raises:
            StageError: The place can't be reached or written.
        """
        path = self.path(relative)
        with self.told_plainly(path), contextlib.suppress(FileNotFoundError):
            self.system.rm(path, recursive=True)

    @contextlib.contextmanager
    def told_plainly(self, path: str) -> Iterator[None]:
        """Turn what a driver raises into one error that says what to check."""
        try:
            yield
        except MetricgateError:
            raise
        except Exception as error:  # each driver has exceptions of its own, and fsspec no base for them
            raise StageError(
                f"the place of {self._key} can't be used: {type(error).__name__}: {str(error)[:300]}",
                where=self.shown(path),
                expected="a folder or bucket that this job may read and write",
                fix=f"check `{_line(self._key, '…')}` in metricgate.yaml, and the credentials in the job's environment",
            ) from error

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
                where=self._key,
                expected="a folder, or a URL whose driver is installed",
                fix=f"pip install {driver}" if driver else _line(self._key, "s3://bucket/path"),
            ) from None
        return system, str(root)


def _line(key: str, value: str) -> str:
    """``baseline.models`` as a line of YAML: ``baseline: {models: …}``."""
    first, *rest = key.split(".")
    return f"{first}: " + "".join(f"{{{part}: " for part in rest) + value + "}" * len(rest)

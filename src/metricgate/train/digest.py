"""Digests of files and folders, as ``sha256:<hex>``, by streaming.

A file's digest is its SHA-256. A folder's is the SHA-256 of one line per file, sorted by the bytes of the relative path::

    <SHA-256 of the file in hex>  ./<relative path>\\0

so that anyone can check one without metricgate::

    cd model && find -L . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum -z | sha256sum

Empty folders, times and permissions do not count; a symbolic link counts as what it leads to.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from metricgate.errors import InputError

PREFIX = "sha256:"
_CHUNK = 1 << 20


def of_path(path: Path) -> str:
    """The digest of a file or a folder.

    Raises:
        InputError: There is nothing, nothing in it, or something in it leads out of it.
    """
    return of_file(path) if path.is_file() else of_files(files_in(path))


def of_file(path: Path) -> str:
    """The digest of one file."""
    return PREFIX + _hash(path).hexdigest()


def of_files(files: Mapping[str, Path]) -> str:
    """The digest of files under the names that they have in a folder."""
    names = sorted(files, key=os.fsencode)
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        digests = pool.map(_hash, (files[name] for name in names))
        total = hashlib.sha256()
        for name, digest in zip(names, digests, strict=True):
            total.update(f"{digest.hexdigest()}  ./".encode() + os.fsencode(name) + b"\0")
    return PREFIX + total.hexdigest()


def of_texts(texts: Iterable[str]) -> str:
    """The digest of texts, each ended by a NUL byte."""
    return PREFIX + hashlib.sha256(b"".join(text.encode(errors="surrogateescape") + b"\0" for text in texts)).hexdigest()


def files_in(folder: Path) -> dict[str, Path]:
    """Every file of a folder by its relative path.

    Raises:
        InputError: The folder holds no file, a link that leads out of it or to a folder, or something that is no file.
    """
    files = {path.relative_to(folder).as_posix(): path for path in _walk(folder, root=folder.resolve())}
    if not files:
        raise InputError("the folder is empty", where=str(folder), expected="at least one file")
    return files


def _walk(folder: Path, *, root: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        if path.is_symlink() and not path.resolve().is_relative_to(root):
            raise _refused(path, "the symbolic link leads out of the folder")
        if path.is_file():
            yield path
        elif path.is_dir() and not path.is_symlink():
            yield from _walk(path, root=root)
        elif path.is_dir():
            raise _refused(path, "the symbolic link leads to a folder")
        else:
            raise _refused(path, "this is neither a file nor a folder")


def _refused(path: Path, found: str) -> InputError:
    return InputError(
        found, where=str(path), expected="files, so that the digest covers what is used", fix="copy it into the folder"
    )


def _hash(path: Path) -> hashlib._Hash:
    result = hashlib.sha256()
    buffer = bytearray(_CHUNK)
    view = memoryview(buffer)
    try:
        with path.open("rb", buffering=0) as stream:
            while size := stream.readinto(buffer):
                result.update(view[:size])
    except OSError as error:
        raise InputError(f"can't be read: {error.strerror}", where=str(path), expected="a readable file") from None
    return result

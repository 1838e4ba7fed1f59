"""Whether the files of a checkpoint are those that were written: their sizes and digests, written last.

A folder without a manifest is half-written. One whose manifest names a file that is missing, of another size or of another
content is broken.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from metricgate.errors import InputError, UsageError

FILE = "checkpoint.json"
SCHEMA = "metricgate.checkpoint/1"
_CHUNK = 1 << 20


def seal(folder: Path, *, step: int, digests: Mapping[Path, str] | None = None) -> None:
    """Bring every file to the disk, then write the manifest and bring that to the disk too.

    Args:
        folder: The checkpoint.
        step: Its step.
        digests: Those of files that were written with an eye on them; the others are read.

    Raises:
        UsageError: There is something else than files and folders, such as a link, whose content may change.
    """
    files = {}
    for path in sorted(_files(folder)):
        with path.open("rb") as stream:
            digest = (digests or {}).get(path) or _digest(stream)
            os.fsync(stream.fileno())
        files[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    for place in [folder, *(path for path in folder.rglob("*") if path.is_dir())]:
        sync(place)
    text = json.dumps({"schema": SCHEMA, "step": step, "files": files}, indent=1)
    with (folder / FILE).open("w", encoding="utf-8") as stream_:
        stream_.write(text)
        stream_.flush()
        os.fsync(stream_.fileno())
    sync(folder)


def step(folder: Path, *, thorough: bool = True) -> int:
    """The step of a whole checkpoint.

    Args:
        folder: The checkpoint.
        thorough: Whether to compare every byte, or only which files there are and how long.

    Raises:
        InputError: It is half-written or broken.
    """
    content = _read(folder)
    expected: Mapping[str, Mapping[str, Any]] = content["files"]
    try:
        found = {path.relative_to(folder).as_posix(): path for path in _files(folder)}
    except UsageError as error:
        raise InputError(error.found, where=error.where) from None
    if found.keys() != expected.keys():
        different = sorted(found.keys() ^ expected.keys())
        raise InputError(f"{different[0]} is {'new' if different[0] in found else 'missing'}", where=str(folder))
    for name, path in found.items():
        _compare(path, expected[name], name, thorough=thorough)
    return int(content["step"])


def _compare(path: Path, expected: Mapping[str, Any], name: str, *, thorough: bool) -> None:
    try:
        same = path.stat().st_size == expected["bytes"]
        if same and thorough:
            with path.open("rb") as stream:
                same = _digest(stream) == expected["sha256"]
    except (OSError, KeyError, TypeError) as error:
        raise InputError(f"{name} can't be checked: {error}", where=str(path)) from None
    if not same:
        raise InputError(f"{name} is not as it was written", where=str(path))


def sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read(folder: Path) -> dict[str, Any]:
    try:
        content = json.loads((folder / FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"its manifest can't be read: {error}", where=str(folder)) from None
    whole = isinstance(content, dict) and content.get("schema") == SCHEMA and type(content.get("step")) is int
    if not whole or not isinstance(content.get("files"), dict):
        raise InputError(f"its manifest is not of {SCHEMA}", where=str(folder))
    return dict(content)


def _files(folder: Path) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(place, name)
            if path.is_symlink() or not (path.is_dir() or path.is_file()):
                raise UsageError("a checkpoint holds files and folders only", where=str(path), fix="write a copy of the file")
            if name in names and path != folder / FILE:
                yield path


def _digest(stream: Any) -> str:
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()

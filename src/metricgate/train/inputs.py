"""The files that a stage declares to depend on, as globs in ``metricgate.yaml``."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from metricgate.errors import InputError


def matches(patterns: Sequence[str], *, root: Path, key: str) -> dict[str, Path]:
    """The files that globs relative to ``root`` match (``**`` for any depth, a folder for all that is in it).

    Raises:
        InputError: A pattern matches no file.
    """
    files: dict[str, Path] = {}
    for pattern in patterns:
        # Unlike Path.glob, this takes absolute patterns too: data sets often lie outside the repository.
        found = {name: root / name for name in glob.glob(pattern, root_dir=root, recursive=True)}  # noqa: PTH207
        inside = {
            f"{name.rstrip('/')}/{inner}": file
            for name, path in found.items()
            if path.is_dir()
            for inner, file in _files(path).items()
        }
        matched = {**{name: path for name, path in found.items() if path.is_file()}, **inside}
        if not matched:
            raise InputError(
                f"{key}: no file matches {pattern!r}",
                where=str(root),
                expected="at least one file, relative to the repository root",
                fix="fetch the data before the training, or correct the pattern in metricgate.yaml",
            )
        files |= matched
    return files


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}

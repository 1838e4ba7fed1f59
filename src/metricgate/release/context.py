"""What an engine is given to build from: the repository without its history, credentials, data and caches.

The copy has the same modes and times on every machine, so the same files give the same layers. ``.dockerignore`` is obeyed;
what is left out beyond it is told, so that nobody searches long for a file that a ``COPY`` does not find.
"""

from __future__ import annotations

import fnmatch
import glob
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from metricgate.errors import InputError, StageError

MOST_DATA = 50_000_000

_TIME = 315_619_200.0  # 2 January 1980: archives such as zip know no earlier times
_HISTORY = {".git", ".hg", ".svn"}
_CACHES = {
    *(".metricgate", "__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".hypothesis", ".cache", ".tox", ".nox"),
    *(".venv", "venv", ".env", "node_modules", ".ipynb_checkpoints", "mlruns", "wandb", ".dvc"),
}
_DATA = {"data", "dataset", "datasets"}
_CREDENTIAL_FOLDERS = {".aws", ".azure", ".docker", ".gnupg", ".kube", ".ssh", ".config/gcloud"}
_CREDENTIALS = (
    *(".env*", ".netrc", "_netrc", ".npmrc", ".pypirc", ".git-credentials", ".htpasswd", ".pgpass", ".s3cfg", ".boto"),
    *("id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*", "*.pem", "*.key", "*.p12", "*.pfx", "*.jks", "*.keystore", "*.kdbx"),
    *("credentials.json", "application_default_credentials.json", "client_secret*.json", "kubeconfig"),
)
_LARGEST_KEY = 100_000
# A private key of any kind, and the key file of a Google service account.
_KEY = re.compile(rb'\A\s*-----BEGIN [A-Z ]*PRIVATE KEY-----|"type"\s*:\s*"service_account"')


@dataclass(frozen=True)
class LeftOut:
    """Something of the repository that the engine is not given.

    Attributes:
        path: Relative to the repository; a folder stands for all that is in it.
        why: In a few words.
    """

    path: str
    why: str


@dataclass(frozen=True)
class Context:
    """A build context.

    Attributes:
        folder: Where it is.
        files: How many files it has.
        size: Their bytes.
        left_out: What it lacks beyond ``.dockerignore``.
    """

    folder: Path
    files: int
    size: int
    left_out: tuple[LeftOut, ...]


def copy(
    root: Path, into: Path, *, dockerfile: str = "Dockerfile", data: Sequence[str] = (), most_data: int = MOST_DATA
) -> Context:
    """Copy what may be built from.

    Args:
        root: The repository.
        into: A folder that is not there yet.
        dockerfile: Its path in the repository; ``<dockerfile>.dockerignore`` comes before ``.dockerignore``.
        data: Files, folders or globs of the training data, relative to the repository.
        most_data: The bytes of a folder called ``data`` from which on it is taken for a data set.

    Raises:
        InputError: ``.dockerignore`` can't be read, or the copy lies in the repository and would copy itself.
        StageError: The disk is full.
    """
    if into.resolve().is_relative_to(root.resolve()):
        raise InputError("the copy would lie in what is copied", where=str(into), expected="a folder outside the repository")
    rules = _Rules(root, data, most_data)
    files = size = 0
    try:
        into.mkdir(parents=True)
        for path in _included(root, dockerfile):
            if not rules.leave(path):
                copied = _copied(root / path, into / path)
                files, size = files + (copied is not None), size + (copied or 0)
        settle(into)
    except OSError as error:
        raise StageError(
            f"the build context can't be copied: {error.strerror}",
            where=str(error.filename or into),
            expected="files that can be read, and room for a copy of them",
            fix="name in .dockerignore what the Dockerfile does not need",
        ) from None
    return Context(into, files, size, rules.left_out)


def settle(folder: Path) -> None:
    """Give everything in a folder the modes and times that it has on every machine."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            # What git keeps of a mode; the rest is the umask of whoever checked it out.
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (_TIME, _TIME), follow_symlinks=False)


def _included(root: Path, dockerfile: str) -> list[str]:
    """The paths that ``.dockerignore`` leaves, parents first."""
    from docker.utils import build

    ignored = next((file for file in (root / f"{dockerfile}.dockerignore", root / ".dockerignore") if file.is_file()), None)
    patterns: list[str] = []
    if ignored:
        try:
            lines = ignored.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            raise InputError("this is not text", where=str(ignored), expected="a pattern a line, in UTF-8") from None
        patterns = [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return sorted(path for path in build.exclude_paths(os.fspath(root), patterns, dockerfile=dockerfile) if path)


class _Rules:
    """What is left out beyond ``.dockerignore``, and why; each thing is told once, by its topmost folder."""

    def __init__(self, root: Path, data: Sequence[str], most_data: int) -> None:
        self._root = root
        found = (name for pattern in data for name in glob.glob(pattern, root_dir=root, recursive=True))  # noqa: PTH207 - Path.glob takes no `..`
        self._data = {os.path.relpath(root / name, root) for name in found}
        self._most_data = most_data
        self._reasons: dict[str, str] = {}

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return tuple(LeftOut(path, why) for path, why in sorted(self._reasons.items()) if why)

    def leave(self, path: str) -> bool:
        """Whether a path, or a folder above it, is left out."""
        parts = PurePosixPath(path).parts
        for depth in range(1, len(parts) + 1):
            above = "/".join(parts[:depth])
            if above not in self._reasons:
                self._reasons[above] = self._why(above)
            if self._reasons[above]:
                return True
        return False

    def _why(self, path: str) -> str:
        file, name = self._root / path, PurePosixPath(path).name
        if path in self._data:
            return "training data (train.data)"
        if name in _HISTORY:  # a file in the checkouts that `git worktree` makes
            return "history"
        if file.is_symlink():
            return ""
        if file.is_dir():
            return self._why_folder(path)
        if not file.is_file():
            return "neither a file nor a folder"
        return "credentials" if _is_credential(file) else ""

    def _why_folder(self, path: str) -> str:
        name = PurePosixPath(path).name
        if name in _CACHES:
            return "made anew by tools"
        if any(path == folder or path.endswith(f"/{folder}") for folder in _CREDENTIAL_FOLDERS):
            return "credentials"
        size = _size(self._root / path) if name.lower() in _DATA else 0
        return f"a data set of {size / 1e6:,.0f} MB" if size > self._most_data else ""


def _is_credential(file: Path) -> bool:
    if any(fnmatch.fnmatchcase(file.name.lower(), pattern) for pattern in _CREDENTIALS):
        return True
    return file.stat().st_size <= _LARGEST_KEY and bool(_KEY.search(file.read_bytes()))


def _size(folder: Path) -> int:
    return sum(file.lstat().st_size for file in folder.rglob("*"))


def _copied(source: Path, target: Path) -> int | None:
    """Copy one thing; the bytes of a file, None for a folder."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_symlink():
        target.symlink_to(source.readlink())
        return 0
    if source.is_dir():
        target.mkdir(exist_ok=True)
        return None
    shutil.copyfile(source, target)
    shutil.copymode(source, target)
    return target.stat().st_size

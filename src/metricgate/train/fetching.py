"""A data set is fetched once a machine: by the first training that needs it, for all that come after it.

``<place>/<key>/data`` is what a command fetched, and beside it ``fetched.json`` says what that is. The key covers the command
and the files of the repository that it names, with what they import, so that another revision is another data set. A lock,
which dies with its owner, lets one job fetch while the others wait; the folder appears whole, by a rename. What is there stays
as it is: files are read-only, and where one was changed all the same, or is new, all is fetched again. A data set that nobody
has used for a month goes when another one is fetched; to fetch one again, delete its folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import shlex
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import pydantic

from metricgate import run as runs
from metricgate.errors import InputError, StageError
from metricgate.train import command, digest, named_files
from metricgate.train.command import Command
from metricgate.train.console import Console

VARIABLE = "METRICGATE_DATA_DIR"
UNUSED_S = 30 * 24 * 3600.0
"""How long a data set stays that nobody uses."""

_LAYOUT = "metricgate.fetch/1"
_DATA = "data"
_MARKER = "fetched.json"
_LOCK = ".lock"
_LOOK_AGAIN_S = 0.5
_ATTEMPTS = 3

Run: TypeAlias = Callable[..., object]
"""``command.run``."""


class _Marker(pydantic.BaseModel):
    """``fetched.json``: what was fetched."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["metricgate.fetched/1"] = pydantic.Field(default="metricgate.fetched/1", alias="schema")
    command: str
    fetched: str
    digest: Annotated[str, pydantic.Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    state: Annotated[str, pydantic.Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    files: Annotated[int, pydantic.Field(ge=1)]


class _Lock:
    """An open file with a lock, which ends when it is closed, nobody refers to it any more, or the process ends."""

    def __init__(self, path: Path) -> None:
        self._file: int | None = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)

    def try_to(self, kind: int) -> bool:
        """Lock it, if nobody else has."""
        try:
            fcntl.flock(self._open, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    @property
    def said(self) -> str:
        """What somebody wrote into the file."""
        text = os.pread(self._open, 200, 0).decode("utf-8", "replace")
        return "".join(character for character in text if character.isprintable()).strip()

    def say(self, text: str) -> None:
        """Write it instead of what is there."""
        os.ftruncate(self._open, 0)
        os.pwrite(self._open, text.encode(), 0)

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            os.close(file)

    def __enter__(self) -> _Lock:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    @property
    def _open(self) -> int:
        if self._file is None:
            message = "the lock is closed"
            raise ValueError(message)
        return self._file


@dataclass(frozen=True)
class DataSet:
    """A data set that is there. Nobody deletes or replaces it until it is closed, or the process ends.

    Attributes:
        folder: What ``METRICGATE_DATA_DIR`` leads to.
        digest: That of its content, computed once, when it was fetched.
    """

    folder: Path
    digest: str
    _lock: _Lock = field(repr=False)

    def close(self) -> None:
        """Let others replace it."""
        self._lock.close()

    def __enter__(self) -> DataSet:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def key(line: str, *, root: Path, environ: Mapping[str, str]) -> str:
    """What a data set is known by: the command, and the files that it names and these import, as they are checked out."""
    named = named_files.named_files(line, root=root, environ=environ)
    files = {name: root / name for name in named_files.with_imports(named, root=root)}
    return digest.of_texts([_LAYOUT, line.strip(), digest.of_files(files)]).removeprefix(digest.PREFIX)[:20]


def fetched(
    line: str,
    *,
    root: Path,
    place: Path,
    log: Path,
    environ: Mapping[str, str],
    console: Console,
    timeout_s: float,
    run: Run = command.run,
    clock: Callable[[], float] = time.time,
) -> DataSet:
    """The data set of a command; fetched now where this machine has not got it, or not as it was.

    Args:
        line: ``train.fetch``.
        root: The repository root, where the command runs.
        place: Where this machine keeps data sets.
        log: The file that keeps the command's output.
        environ: The environment that the command inherits.
        console: Says what is fetched and what is waited for.
        timeout_s: How long the command may take, and how long to wait for another job that is at it.
        run: Runs the command.
        clock: Seconds since the epoch.

    Raises:
        CommandError: The command failed; nothing is left of what it fetched.
        StageError: It fetched nothing, the disk is full, or another job did not get ready in time.
        InputError: What it fetched has links that lead out of the folder.
    """
    known = key(line, root=root, environ=environ)
    home = place / known
    waiting = _Waiting(place / f"{known}{_LOCK}", console=console, timeout_s=timeout_s)
    with _told_plainly(home):
        place.mkdir(parents=True, exist_ok=True)
        for _ in range(_ATTEMPTS):
            lock = _Lock(waiting.path)
            waiting.take(lock, fcntl.LOCK_SH)
            if (marker := _intact(home)) is not None:
                os.utime(home)  # somebody uses it
                return DataSet(home / _DATA, marker.digest, lock)
            found = _version(home)
            lock.close()
            with _Lock(waiting.path) as alone:
                # Whoever fetches it meanwhile uses it then, for as long as a training takes: it is not waited for.
                taken = waiting.take(alone, fcntl.LOCK_EX, unless=functools.partial(_is_another, home, found))
                if not taken or _intact(home) is not None:
                    continue
                alone.say(_who(environ))
                if home.exists():
                    console.say(f"the data set in {home} is no longer what was fetched: fetching it again")
                console.say(f"fetching the data set into {home}: {line.strip().splitlines()[0][:200]}")
                _fetch(line, home, root=root, log=log, environ=environ, console=console, timeout_s=timeout_s, run=run)
                console.say(f"the data set is there, for every later training on this machine; to fetch it anew: rm -rf {home}")
                _tidy(place, spare=known, now=clock())
    raise StageError(
        "the data set is changed again and again while it is fetched",
        where=str(home),
        expected="nobody who writes there but `train.fetch`",
        fix=f"let trainings only read ${VARIABLE}, and write somewhere else",
    )


def of_both(data: str | None, fetched_data: str | None) -> str | None:
    """The fingerprint of the training data: of ``train.data``, of what was fetched, or of both."""
    there = [found for found in (data, fetched_data) if found is not None]
    return digest.of_texts(there) if len(there) > 1 else next(iter(there), None)


@dataclass
class _Waiting:
    """Waits for a lock, and says for whom."""

    path: Path
    console: Console
    timeout_s: float
    told: bool = False

    def take(self, lock: _Lock, kind: int, *, unless: Callable[[], bool] = lambda: False) -> bool:
        """Wait for it, and say whether it was taken: it is not where there is no need for it any more."""
        deadline = time.monotonic() + self.timeout_s
        while not lock.try_to(kind):
            if unless():
                return False
            holder = lock.said or "another job"
            if not self.told:
                self.console.say(f"waiting for the data set, which {holder} has")
                self.told = True
            if time.monotonic() > deadline:
                raise StageError(
                    f"the data set is not ready: {holder} has it",
                    where=str(self.path.with_suffix("")),
                    expected="one job that fetches it while the others wait",
                    fix="look what that job is at, and cancel it; or raise `timeout` under `train`",
                )
            time.sleep(_LOOK_AGAIN_S)
        return True


def _who(environ: Mapping[str, str]) -> str:
    job = "/".join(filter(None, (environ.get("GITHUB_REPOSITORY"), environ.get("GITHUB_JOB"), environ.get("GITHUB_RUN_ID"))))
    return f"process {os.getpid()}{f' of {job}' if job else ''}"


def _fetch(
    line: str, home: Path, *, root: Path, log: Path, environ: Mapping[str, str], console: Console, timeout_s: float, run: Run
) -> None:
    """Fetch into a folder aside, and rename it: half a data set is never there."""
    for stale in (home, *home.parent.glob(f".{home.name}-*")):
        _remove(stale)
    aside = Path(tempfile.mkdtemp(prefix=f".{home.name}-", dir=home.parent))
    try:
        data = aside / _DATA
        data.mkdir()
        log.parent.mkdir(parents=True, exist_ok=True)
        variables = {**command.inherited(environ), VARIABLE: str(data)}
        run(
            Command(line=line, label="fetching of the data set", cwd=root, environ=variables, log=log, timeout_s=timeout_s),
            console=console,
        )
        files = _files(data)
        content = digest.of_files(files)
        _freeze(data)
        moment = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        marker = _Marker(command=line, fetched=moment, digest=content, state=_state(data), files=len(files))
        told = marker.model_dump(mode="json", by_alias=True)
        runs.write_text(aside / _MARKER, json.dumps(told, indent=2, sort_keys=True) + "\n")
        aside.chmod(0o755)
        aside.replace(home)
    except BaseException:
        _remove(aside)
        raise


def _files(data: Path) -> dict[str, Path]:
    if not any(data.iterdir()):
        raise StageError(
            f"the command ended well and left nothing in {VARIABLE}",
            where="train.fetch",
            expected="the data set, in the folder that this variable names",
            fix=f'fetch: curl --fail --output "${VARIABLE}/data.zip" https://…',
        )
    return digest.files_in(data)


def _intact(home: Path) -> _Marker | None:
    """What says that all of a data set is there, and as it was fetched."""
    try:
        marker = _Marker.model_validate_json((home / _MARKER).read_bytes())
        return marker if _state(home / _DATA) == marker.state else None
    except (OSError, pydantic.ValidationError):
        return None


def _version(home: Path) -> tuple[int, int] | None:
    """What is another after a data set was fetched anew; None where there is none."""
    with contextlib.suppress(OSError):
        status = (home / _MARKER).stat()
        return status.st_ino, status.st_mtime_ns
    return None


def _is_another(home: Path, version: tuple[int, int] | None) -> bool:
    return _version(home) not in (None, version)


def _state(data: Path) -> str:
    """The digest of names, sizes and times: different after any write, and quick to tell."""
    found = [(path.relative_to(data).as_posix(), path.lstat()) for path in data.rglob("*") if not path.is_dir()]
    return digest.of_texts(f"{name}\0{status.st_size}\0{status.st_mtime_ns}" for name, status in sorted(found))


def _freeze(data: Path) -> None:
    for path in (data, *data.rglob("*")):
        if not path.is_symlink():
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~0o222)


def _remove(folder: Path) -> None:
    """Remove a folder whose files and folders are read-only."""
    if not folder.exists():
        return
    for path in (folder, *folder.rglob("*")):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
    shutil.rmtree(folder)


def _tidy(place: Path, *, spare: str, now: float) -> None:
    """Remove what nobody has used for long, and what a job that was killed left."""
    for path in place.glob(f"*{_LOCK}"):
        known = path.name.removesuffix(_LOCK)
        home = place / known
        unused = home.is_dir() and now - home.stat().st_mtime > UNUSED_S
        leftovers = list(place.glob(f".{known}-*"))
        if known == spare or not (unused or leftovers):
            continue
        with _Lock(path) as lock, contextlib.suppress(OSError):
            if lock.try_to(fcntl.LOCK_EX):
                for stale in (*leftovers, *([home] if unused else [])):
                    _remove(stale)


@contextlib.contextmanager
def _told_plainly(home: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StageError(
            f"the data set can't be kept: {error.strerror}",
            where=str(home),
            expected="a place with room for it on this machine",
            fix=f"free the disk (rm -rf {shlex.quote(str(home.parent))} removes every data set),\n"
            "or name another place: METRICGATE_STATE_DIR=/large/disk",
        ) from None
    except InputError as error:
        raise InputError(error.found, where=f"train.fetch: {error.where}", expected=error.expected, fix=error.fix) from None

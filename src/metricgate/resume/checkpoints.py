"""Checkpoint folders: written aside, complete or not there, two of them at most."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metricgate.errors import InputError
from metricgate.resume import manifest, nodes, stopping

FOLDER_VARIABLE = "METRICGATE_CHECKPOINT_DIR"

_NAME = re.compile(r"(\d{7,})\.step-(\d+)")
_ASIDE = ".writing-"
_LOCK = ".lock"
# What no code of the training can help. A disk that is full or gone must not end what only wanted to be safe.
_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE, errno.EFBIG})


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint.

    Attributes:
        path: Its folder, to be read only.
        step: What it was saved with.
    """

    path: Path
    step: int


class Checkpoints:
    """The checkpoints of one training in a folder of their own.

    Args:
        folder: Where they are; made when the first one is saved. None: nowhere, so that a training runs without metricgate
            just as well: nothing is saved or found.
        keep: How many stay. While one is written there is one more.
        writes: Whether this process saves, or only reads what another one saved, such as the first of several nodes.

    Example:
        >>> import tempfile
        >>> from pathlib import Path
        >>> checkpoints = Checkpoints(Path(tempfile.mkdtemp()))
        >>> with checkpoints.saving(3) as folder:
        ...     _ = (folder / "weights.txt").write_text("0.5")
        >>> checkpoints.latest().step
        3
    """

    def __init__(self, folder: Path | None, *, keep: int = 2, writes: bool = True) -> None:
        if keep < 1:
            message = f"keep is {keep}, and at least 1 has to stay"
            raise ValueError(message)
        self.folder = folder
        self.keep = keep
        self.writes = writes and folder is not None
        self.cost_s = 0.0
        """What the last one took, in seconds of wall clock."""
        self.last_ended = time.monotonic()
        """When the last one was written, or else when this was made: seconds of the monotonic clock."""
        self.digests: dict[Path, str] = {}
        """Of files in the folder that is being written, where they are known: those need not be read for it."""
        self._broken: set[Path] = set()

    @contextlib.contextmanager
    def saving(self, step: int) -> Iterator[Path]:
        """Give a new folder to write files into; when the block ends, they are a checkpoint, or nothing is.

        An error in the block passes, and leaves no checkpoint. A disk that is full or broken is told on standard error
        instead, and the training goes on with the checkpoints that were there.

        Args:
            step: Any number that tells a person and `latest` how far the training is.
        """
        if self.folder is None or not self.writes:
            with tempfile.TemporaryDirectory(prefix="metricgate-") as nowhere:
                yield Path(nowhere)
            return
        began = time.monotonic()
        aside: Path | None = None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with _alone(self.folder) as alone:
                if alone:
                    self._sweep(self.folder)
                aside = Path(tempfile.mkdtemp(prefix=_ASIDE, dir=self.folder))
                yield aside
                manifest.seal(aside, step=step, digests=self.digests)
                number = max((number for number, _, _ in self._named()), default=0) + 1
                aside.rename(self.folder / f"{number:07d}.step-{step}")
                manifest.sync(self.folder)
                self._prune()
        except Exception as error:
            if not _is_the_disk(error, self.folder):
                raise
            say(f"the checkpoint of step {step} could not be written ({error}); the training goes on without it")
        finally:
            self.digests.clear()
            if aside is not None:
                shutil.rmtree(aside, ignore_errors=True)  # where it was renamed, it isn't there
            self.last_ended = time.monotonic()
            self.cost_s = self.last_ended - began

    def latest(self) -> Checkpoint | None:
        """The newest one that is whole, each byte compared; half-written and broken ones are passed over, and told."""
        for _, step, path in sorted(self._named(), reverse=True):
            why = _broken(path, step)
            if not why:
                return Checkpoint(path, step)
            self._broken.add(path)
            say(f"the checkpoint {path.name} is not used: {why}")
        return None

    def due(self, *, seconds: float = 30.0, share: float = 0.02) -> bool:
        """Whether it is time for the next one.

        Args:
            seconds: What may be lost at most, unless saving takes so long that more is.
            share: How much of the training's time saving may take. One that took 3 s is followed by the next after 150 s.
        """
        if not self.writes:
            return False
        rest = time.monotonic() - self.last_ended
        return stopping.stop_requested() or rest >= max(seconds, self.cost_s / share)

    def clear(self, *, keep: int) -> None:
        """Remove all but the newest ``keep``."""
        for _, _, path in sorted(self._named(), reverse=True)[keep:]:
            shutil.rmtree(path, ignore_errors=True)

    def _named(self) -> list[tuple[int, int, Path]]:
        try:
            names = [path.name for path in self.folder.iterdir()] if self.folder else []
        except OSError:
            names = []
        matches = [match for match in map(_NAME.fullmatch, names) if match]
        return [(int(match[1]), int(match[2]), Path(self.folder or "", match[0])) for match in matches]

    def _prune(self) -> None:
        kept = 0
        for _, _, path in sorted(self._named(), reverse=True):
            whole = path not in self._broken and not _broken(path, None)
            kept += whole
            if not whole or kept > self.keep:
                shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _sweep(folder: Path) -> None:
        for path in folder.glob(f"{_ASIDE}*"):
            shutil.rmtree(path, ignore_errors=True)


def _broken(path: Path, step: int | None) -> str:
    """Why a checkpoint can't be used, or nothing; without ``step`` not every byte is read."""
    try:
        found = manifest.step(path, thorough=step is not None)
    except InputError as error:
        return error.found
    return f"its manifest is of step {found}" if step not in (None, found) else ""


def saving(step: int, *, name: str = "", keep: int = 2) -> contextlib.AbstractContextManager[Path]:
    """Save a checkpoint into METRICGATE_CHECKPOINT_DIR; as `Checkpoints.saving`. Of several nodes, the first one's counts.

    Args:
        step: How far the training is.
        name: Where a training consists of parts that are saved apart, which one.
        keep: How many stay.

    Example:
        >>> with saving(step=1000) as folder:
        ...     _ = (folder / "weights.txt").write_text("0.5")
    """
    return _of_environment(name, keep).saving(step)


def latest(*, name: str = "") -> Checkpoint | None:
    """The newest whole checkpoint in METRICGATE_CHECKPOINT_DIR, or None where the training starts anew.

    Example:
        >>> checkpoint = latest()
        >>> first_step = checkpoint.step + 1 if checkpoint else 0
    """
    return _of_environment(name, 2).latest()


def due(*, name: str = "", seconds: float = 30.0, share: float = 0.02) -> bool:
    """Whether it is time to save, as `Checkpoints.due`; at once after SIGTERM.

    Never without METRICGATE_CHECKPOINT_DIR, and of several nodes only on the first one. A save that all of them take part in
    has to go by the step instead.

    Example:
        >>> if due():
        ...     with saving(step=1000) as folder:
        ...         _ = (folder / "weights.txt").write_text("0.5")
    """
    return _of_environment(name, None).due(seconds=seconds, share=share)


def folder_from_environment() -> Path | None:
    """METRICGATE_CHECKPOINT_DIR, or None if it is missing or empty."""
    value = os.environ.get(FOLDER_VARIABLE)
    return Path(value) if value else None


def say(sentence: str) -> None:
    """Tell the person who reads the log."""
    print(f"metricgate: {sentence}", file=sys.stderr, flush=True)  # noqa: T201 - a training has no other place to say it


_KNOWN: dict[Path | None, Checkpoints] = {}


def _of_environment(name: str, keep: int | None) -> Checkpoints:
    root = folder_from_environment()
    folder = root / name if root else None
    # Remembered, since what the last one cost decides when the next is due.
    known = _KNOWN.setdefault(folder, Checkpoints(folder, writes=nodes.leads()))
    if keep is not None:
        known.keep = keep
    return known


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """Whether nobody else writes here; a lock of a killed writer is free at once."""
    import fcntl

    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def _is_the_disk(error: BaseException, folder: Path) -> bool:
    seen: Any = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _DISK:
            return True
        seen = seen.__cause__ or seen.__context__
    # Writers in other languages (HDF5, PyTorch's) say it in words of their own.
    try:
        room = os.statvfs(folder)
    except OSError:
        return False
    return isinstance(error, (OSError, RuntimeError)) and room.f_bavail * room.f_frsize < 1 << 20

"""Unfinished trainings: a folder for each, which survives a crash, a retry, a cancelled job, and a new job on this machine.

The folder of a training is named by everything that makes it the same training (:func:`key`); what is in it belongs to the
training alone, by ``METRICGATE_CHECKPOINT_DIR``. A lock beside it, which dies with its owner, keeps two jobs out of one folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from metricgate.errors import StageError
from metricgate.place import Place
from metricgate.train import digest, model
from metricgate.train.checkpoint_copies import Copies
from metricgate.train.console import Console
from metricgate.train_config import Checkpoints, Train

FOLDER_VARIABLE = "METRICGATE_CHECKPOINTS"

_LOCK = ".lock"
_LOOK_AGAIN_S = 1.0
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]+")


def key(
    name: str,
    *,
    content: str,
    seed: int,
    identity: Mapping[str, Any],
    data: str | None = None,
    inputs: str | None = None,
    parameters: str | None = None,
) -> str:
    """The name of a training's folder: the same for the same training, and for no other.

    Args:
        name: The model's name.
        content: What is checked out: a commit, or that and what was changed since.
        seed: The seed.
        identity: What of the configuration decides the model.
        data: The digest of the training data, if it is known.
        inputs: The digest of what else training depends on, if it is declared.
        parameters: The digest of the parameters that a search chose, in one of its trainings.
    """
    texts = [name, content, str(seed), repr(sorted(identity.items())), data or "", inputs or "", parameters or ""]
    short = digest.of_texts(texts).removeprefix(digest.PREFIX)[:20]
    return f"{_NOT_IN_A_NAME.sub('-', name)[:40]}-seed-{seed}-{short}"


@dataclass(frozen=True)
class Shelf:
    """Where the unfinished trainings of this machine lie.

    Attributes:
        folder: Holds a folder for each.
        keep_bytes: How much they may take; what nobody came back to for longest goes first.
        copies: Makes the copies of one training in a store, by its key; None where there is no store.
        every_s: How often they are made while it runs.
    """

    folder: Path
    keep_bytes: int
    copies: Callable[[str], Copies] | None = None
    every_s: float = 600.0

    @classmethod
    def of(cls, train: Train | None, *, root: Path, kept: Path, environ: Mapping[str, str]) -> Shelf:
        """The shelf that a configuration asks for.

        Args:
            train: The configuration.
            root: The repository root, to which its folders are relative.
            kept: Where this machine keeps what outlives a job.
            environ: May name the folder, as `actions/train` does.

        Raises:
            ConfigError: The URL of the store holds a password.
        """
        wanted = train.checkpoints if train else Checkpoints()
        folder = root / wanted.folder if wanted.folder else Path(environ.get(FOLDER_VARIABLE) or kept / "checkpoints")
        copies: Callable[[str], Copies] | None = None
        if wanted.store is not None:
            url = wanted.store if "://" in wanted.store else str(root / wanted.store)
            copies = functools.partial(Copies, Place(url, key="train.checkpoints.store"))
        return cls(folder=folder.absolute(), keep_bytes=wanted.keep, copies=copies, every_s=wanted.every)

    @contextlib.contextmanager
    def open(self, key: str, *, console: Console, timeout_s: float, fresh: bool = False) -> Iterator[Unfinished]:
        """The folder of a training, which nobody else has meanwhile.

        Args:
            key: Its name.
            console: Says what is waited for, and what is gone on from.
            timeout_s: How long to wait for another job that is at the same training.
            fresh: Begin with an empty folder, whatever is there.

        Raises:
            StageError: Another job has it for longer than that, or the folder can't be made.
        """
        lock = self._lock(key, console=console, timeout_s=timeout_s)
        try:
            self._make_room(spare=key)
            path = self.folder / key
            if fresh:
                model.remove(path)
            copies = self.copies(key) if self.copies else None
            unfinished = Unfinished(path=path, copies=copies, console=console)
            with _told_plainly(path):
                unfinished.begin()
            with unfinished.copied(every_s=self.every_s):
                yield unfinished
        finally:
            with contextlib.suppress(OSError):
                os.utime(self.folder / f"{key}{_LOCK}")  # somebody came back to it
                if not (self.folder / key).exists():
                    (self.folder / f"{key}{_LOCK}").unlink()
            lock.close()

    def _lock(self, key: str, *, console: Console, timeout_s: float) -> IO[bytes]:
        deadline, told = time.monotonic() + timeout_s, False
        with _told_plainly(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            while (lock := _try_lock(self.folder / f"{key}{_LOCK}")) is None:
                if not told:
                    console.say("another job is at this very training; waiting until it ends")
                    told = True
                if time.monotonic() > deadline:
                    raise StageError(
                        "another job is still at this very training",
                        where=str(self.folder / key),
                        expected="one job at a time for a commit, seed and configuration",
                        fix="cancel one of them; in a workflow: `concurrency: {group: model-${{ github.ref }}}`",
                    )
                time.sleep(_LOOK_AGAIN_S)
        return lock

    def _make_room(self, *, spare: str) -> None:
        """Delete what is too much, oldest first; never what a job has now."""
        locks = [path for path in self.folder.glob(f"*{_LOCK}") if path.name != f"{spare}{_LOCK}"]
        ages = {path: _age(path) for path in locks}
        sizes = {path: _bytes(path.with_name(path.name.removesuffix(_LOCK))) for path in locks}
        total = sum(sizes.values()) + _bytes(self.folder / spare)
        for path in sorted(locks, key=lambda each: ages[each]):
            if total <= self.keep_bytes:
                return
            lock = _try_lock(path)
            if lock is None:
                continue
            with lock, contextlib.suppress(OSError):
                model.remove(path.with_name(path.name.removesuffix(_LOCK)))
                path.unlink(missing_ok=True)
            total -= sizes[path]


@dataclass
class Unfinished:
    """A training that may have been begun before.

    Attributes:
        path: What ``METRICGATE_CHECKPOINT_DIR`` leads to.
        copies: Its copies in a store, if there is one.
        console: Says what is gone on from.
        finished: Whether there is nothing to go on from any more.
    """

    path: Path
    copies: Copies | None
    console: Console
    finished: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Make the folder; where there is nothing in it, from the store."""
        if self.path.is_dir() and any(self.path.iterdir()):
            self.console.say(f"going on from what an earlier job left ({_shown(_bytes(self.path))})")
            return
        model.remove(self.path)
        if self.copies is not None and self.copies.restore(self.path, console=self.console):
            self.console.say(f"going on from what another runner left ({_shown(_bytes(self.path))})")
        self.path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def copied(self, *, every_s: float) -> Iterator[None]:
        """Copy the folder to the store every so often, and once more where the training does not come to its end."""
        if self.copies is None:
            yield
            return
        with self.copies.kept(self.path, every_s=every_s, console=self.console):
            yield
        # Only where nothing was raised: a training that failed has been copied by `kept`.

    def finish(self) -> None:
        """The run is there: free the disk, and the store."""
        self.finished = True
        model.remove(self.path)
        if self.copies is not None:
            self.copies.remove(console=self.console)


def _try_lock(path: Path) -> IO[bytes] | None:
    """The lock of a file, which ends with its holder; None where somebody else has it."""
    while True:
        stream = path.open("ab")
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.close()
            return None
        # Whoever had it may have deleted the file meanwhile; then this is a lock of nothing.
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(stream.fileno()), path.stat()):
                return stream
        stream.close()


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _bytes(folder: Path) -> int:
    total = 0
    for where, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(f"{where}/{name}").st_blocks * 512
    return total


def _shown(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.1f} MB"


@contextlib.contextmanager
def _told_plainly(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StageError(
            f"there is no place for an unfinished training: {error.strerror}",
            where=str(path),
            expected="a folder that this job may write, on a disk with room",
            fix="train: {checkpoints: {folder: /a/larger/disk}}",
        ) from None

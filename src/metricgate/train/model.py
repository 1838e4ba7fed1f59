"""The model that a training writes: whether it was written, its digest, and a copy of it for every run."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from metricgate.errors import ConfigError, StageError
from metricgate.train import digest

KEPT_AS = "model"

# (relative path, size, modification time in ns, inode): cheap, and different after any write.
Snapshot = tuple[tuple[str, int, int, int], ...]

_FICLONE = 0x40049409  # linux/fs.h: share the blocks of another file


@dataclass(frozen=True)
class ModelPath:
    """Where the training writes its model.

    Attributes:
        path: Absolute.
        configured: As ``metricgate.yaml`` has it, relative to the repository root.
    """

    path: Path
    configured: str

    @classmethod
    def of(cls, configured: str, *, root: Path) -> ModelPath:
        """Check a configured path.

        Raises:
            ConfigError: It is absolute, leads out of the repository, or is the repository itself.
        """
        relative = Path(configured)
        if relative.is_absolute() or ".." in relative.parts or not relative.parts:
            raise ConfigError(
                f"model: {configured!r} is not a path inside the repository",
                expected="a file or folder relative to the repository root, such as outputs/model",
                fix="model: outputs/model   # metricgate copies it, and puts it back before an evaluation",
            )
        return cls(path=root / relative, configured=configured)

    def snapshot(self) -> Snapshot:
        """What is there, without reading it; equal before and after a training that wrote nothing."""
        if not self.path.exists():
            return ()
        files = {"": self.path} if self.path.is_file() else _files(self.path)
        stats = {name: file.lstat() for name, file in files.items()}
        return tuple((name, stat.st_size, stat.st_mtime_ns, stat.st_ino) for name, stat in sorted(stats.items()))

    def keep(self, folder: Path, *, before: Snapshot | None) -> str:
        """Copy the model that was just trained into a run folder, since the next training overwrites it.

        Args:
            folder: The run folder.
            before: What was there before the training; None where nothing was trained.

        Returns:
            The model's digest.

        Raises:
            StageError: There is no model, it is the one that was there before the training, or it can't be copied.
            InputError: The model's folder is empty or holds links that lead out of it.
        """
        after = self.snapshot()
        if not after and before is None:
            raise StageError(
                f"there is no model at {self.configured}, and no `train` in metricgate.yaml to make one",
                expected="a model to evaluate",
                fix="fetch it before the evaluation, or add `train: {run: python train.py}`",
            )
        if not after:
            raise StageError(
                f"the training ended well and left no model at {self.configured}",
                expected="the file or folder that `model` in metricgate.yaml names",
                fix='let the training write it: model.save(os.environ["METRICGATE_MODEL"])\n'
                "or name under `model` what it writes",
            )
        if after == before:
            raise StageError(
                f"the training ended well and did not write {self.configured}: what is there was there before",
                expected="a model that this training wrote",
                fix="name under `model` in metricgate.yaml what the training writes",
            )
        result = digest.of_path(self.path)
        copy(self.path, folder / KEPT_AS)
        return result

    def put_back(self, folder: Path, *, expected: str) -> None:
        """Make sure that the model at the configured path is the one of a run.

        Raises:
            StageError: The run's copy is gone or changed.
        """
        if self.path.exists() and digest.of_path(self.path) == expected:
            return
        kept = folder / KEPT_AS
        if not kept.exists():
            raise StageError(
                f"the run's model is gone, and {self.configured} holds another one",
                where=str(kept),
                expected=f"the model with the digest {expected}",
                fix="train the run again: metricgate train",
            )
        if (found := digest.of_path(kept)) != expected:
            raise StageError(
                f"the run's model has changed since it was trained: its digest is {found}",
                where=str(kept),
                expected=expected,
                fix="train the run again: metricgate train",
            )
        remove(self.path)
        copy(kept, self.path)

    def remove(self) -> None:
        """Remove what is at the configured path."""
        remove(self.path)


def copy(source: Path, target: Path) -> None:
    """Copy a file or folder to a path where nothing is, sharing blocks where the filesystem can.

    Raises:
        StageError: The disk is full, or something can't be read or written.
    """
    files = {"": source} if source.is_file() else digest.files_in(source)
    try:
        for name, file in files.items():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            _copy_file(file, target / name)
    except OSError as error:
        raise StageError(
            f"the model can't be copied: {error.strerror}",
            where=str(target),
            expected="room for a copy of the model in every run folder",
            fix="free the disk, or say --run-dir with a folder on a larger one",
        ) from None


def remove(path: Path) -> None:
    """Remove a file, a folder or a link, if it is there; a link's target stays."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _copy_file(source: Path, target: Path) -> None:
    if not _clone(source, target):
        shutil.copyfile(source, target)
    shutil.copymode(source, target)


def _clone(source: Path, target: Path) -> bool:
    try:
        import fcntl

        with source.open("rb") as reader, target.open("wb") as writer:
            fcntl.ioctl(writer.fileno(), _FICLONE, reader.fileno())
    except (ImportError, OSError):
        return False
    return True


def _files(folder: Path) -> dict[str, Path]:
    return {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if not path.is_dir()}

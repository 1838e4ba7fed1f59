"""The folders of a stage's runs: one per seed, made fresh, never mixed with those of another commit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from metricgate import run as runs
from metricgate.errors import UsageError
from metricgate.train import command, model

TRAIN_LOG = "train.log"
EVALUATE_LOG = "evaluate.log"
PROGRESS = ".progress.json"

_OURS = frozenset({runs.RUN_FILE, TRAIN_LOG, EVALUATE_LOG})
_NAME = re.compile(r"seed-(\d{1,9})")
# Hidden, so that neither an upload of the runs nor a comparison takes it along.
_CHECKPOINTS = ".checkpoints"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run.

    Attributes:
        path: ``<run dir>/seed-<seed>``, absolute.
        seed: The seed.
    """

    path: Path
    seed: int

    @classmethod
    def of(cls, run_dir: Path, *, seed: int) -> RunFolder:
        """The folder of a seed."""
        return cls(path=run_dir.absolute() / f"seed-{seed}", seed=seed)

    @property
    def checkpoints(self) -> Path:
        """Where nothing has to survive the stage: that of an evaluation."""
        return self.path.parent / _CHECKPOINTS / self.path.name

    @property
    def progress(self) -> Path:
        """Where a command may say how far it is."""
        return self.path / PROGRESS

    def make(self) -> None:
        """Make the folder, empty; a run that was there before is replaced whole.

        Raises:
            UsageError: What is there is no run.
        """
        if self.path.exists() and not _is_replaceable(self.path):
            raise UsageError(
                "the folder holds something else than a run, and a training replaces the folder",
                where=str(self.path),
                expected="no folder, or one that metricgate made",
                fix="choose another folder with --run-dir, or move away what is there",
            )
        model.remove(self.path)
        self.path.mkdir(parents=True)

    def discard_checkpoints(self) -> None:
        """Free the disk."""
        model.remove(self.checkpoints)
        parent = self.checkpoints.parent
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()

    def variables(self, environ: Mapping[str, str], *, model_path: Path | None, checkpoints: Path) -> dict[str, str]:
        """The environment that the user's commands get."""
        variables = {
            **command.inherited(environ),
            "METRICGATE_RUN_DIR": str(self.path),
            "METRICGATE_SEED": str(self.seed),
            "METRICGATE_CHECKPOINT_DIR": str(checkpoints),
            "METRICGATE_PROGRESS": str(self.progress),
        }
        # One of an outer run would lead to another model.
        variables.pop("METRICGATE_MODEL", None)
        return variables if model_path is None else {**variables, "METRICGATE_MODEL": str(model_path)}


def existing(run_dir: Path) -> tuple[RunFolder, ...]:
    """The run folders in ``run_dir``, by seed."""
    found = [
        RunFolder.of(run_dir, seed=int(match[1]))
        for path in (run_dir.iterdir() if run_dir.is_dir() else ())
        if path.is_dir() and (match := _NAME.fullmatch(path.name))
    ]
    return tuple(sorted(found, key=lambda folder: folder.seed))


def check_unmixed(run_dir: Path, *, seeds: Sequence[int], commit: str | None) -> None:
    """Refuse to put runs beside those of another commit.

    Raises:
        UsageError: A run that would stay has another commit.
    """
    for folder in existing(run_dir):
        if folder.seed in seeds:
            continue
        record = runs.read_record(folder.path)
        if record is not None and record.commit != commit:
            raise UsageError(
                f"the folder holds a run of {_name(record.commit)}, and this is {_name(commit)}",
                where=str(folder.path),
                expected="runs of one commit in a folder",
                fix="choose another folder with --run-dir, or delete this one",
            )


def _is_replaceable(path: Path) -> bool:
    return (
        path.is_dir() and not path.is_symlink() and (not any(path.iterdir()) or any((path / name).exists() for name in _OURS))
    )


def _name(commit: str | None) -> str:
    return f"commit {commit[:12]}" if commit else "no known commit"

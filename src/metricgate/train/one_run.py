"""The training of one seed: what it finds, the command that it is, and the run that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate import run as runs
from metricgate.config import Config
from metricgate.errors import StageError
from metricgate.run import Resources, RunRecord, Times
from metricgate.train import run_folder
from metricgate.train.command import Command, Usage
from metricgate.train.known import Known
from metricgate.train.model import ModelPath, Snapshot
from metricgate.train.run_folder import RunFolder
from metricgate.train_config import Train

if TYPE_CHECKING:
    from metricgate.train.gpu.usage import GpuUsage

# Hidden, so that neither an upload of the runs nor a comparison takes it along.
_MODELS = ".models"


@dataclass(frozen=True)
class OneRun:
    """A training that is about to begin.

    Attributes:
        config: What is trained.
        folder: Its run folder, empty.
        model: Where it writes its model, if the configuration names one.
        private: Whether that is a place of its own, since others train at the same time.
        before: What was there before.
        checkpoints: What ``METRICGATE_CHECKPOINT_DIR`` leads to.
        started: When it begins.
    """

    config: Config
    folder: RunFolder
    model: ModelPath | None
    private: bool
    checkpoints: Path
    started: datetime
    before: Snapshot = field(default=())

    @classmethod
    def begin(
        cls,
        config: Config,
        folder: RunFolder,
        *,
        shared: ModelPath | None,
        private: bool,
        checkpoints: Path,
        started: datetime,
        again: bool = False,
    ) -> OneRun:
        """Make room for what the training writes.

        Args:
            config: What is trained.
            folder: Its run folder.
            shared: Where the configuration says that the model goes.
            private: Give it a place of its own instead.
            checkpoints: What it goes on from.
            started: When it begins.
            again: It has begun, on another machine, and is found again; what it wrote stays.
        """
        model = shared
        if shared is not None and private:
            # Under the same file name: Keras, for one, looks at the suffix.
            place = folder.path.parent / _MODELS / folder.path.name / shared.path.name
            model = ModelPath(path=place, configured=shared.configured)
            if not again:
                model.remove()
        if model is not None:
            model.path.parent.mkdir(parents=True, exist_ok=True)  # nobody wants to learn after hours that a folder is missing
        return cls(
            config=config,
            folder=folder,
            model=model,
            private=private,
            checkpoints=checkpoints,
            started=started,
            before=model.snapshot() if model and not again else (),
        )

    def command(self, train: Train, *, root: Path, environ: Mapping[str, str]) -> Command:
        """The command that trains.

        Args:
            train: What to run.
            root: Where.
            environ: What it inherits: the runner's environment, or that of its GPUs.
        """
        return Command(
            line=train.run,
            label=f"training of seed {self.folder.seed}",
            cwd=root,
            environ={
                **self.folder.variables(
                    environ, model_path=self.model.path if self.model else None, checkpoints=self.checkpoints
                ),
                **keras_variables(train),
            },
            log=self.folder.path / run_folder.TRAIN_LOG,
            timeout_s=train.timeout,
            stall_s=train.stall,
            grace_s=train.grace,
            progress=self.folder.progress,
        )

    def end(self, usage: Usage | None, *, gpu: GpuUsage | None, known: Known, commit: str | None) -> RunFolder:
        """Keep what the training made.

        Args:
            usage: What it used; None where there was nothing to run.
            gpu: What it used of its GPUs.
            known: What it was made of.
            commit: The commit that is checked out, if known.

        Raises:
            StageError: It left no model.
        """
        model_digest = self._keep_model(trained=usage is not None) if self.model else None
        found = known.manifest.result()
        record = RunRecord(
            stage="trained",
            name=self.config.name,
            commit=commit,
            seed=self.folder.seed,
            times=Times(started=_rfc3339(self.started), train_s=round(usage.wall_s, 3) if usage else None),
            resources=Resources(
                gpu=gpu.devices if gpu else (),
                gpu_peak_memory_bytes=gpu.peak_memory_bytes if gpu else None,
                gpu_utilisation=gpu.utilisation if gpu else None,
                energy_wh=gpu.energy_wh if gpu else None,
                gpu_s=round(gpu.gpu_s, 3) if gpu else None,
                cpu_s=round(usage.cpu_s, 3) if usage else None,
                peak_memory_bytes=usage.peak_memory_bytes if usage else None,
            ),
            fingerprints=known.fingerprints(found),
            model_digest=model_digest,
            environment=found,
        )
        runs.write_record(self.folder.path, record)
        self.folder.progress.unlink(missing_ok=True)
        return self.folder

    def _keep_model(self, *, trained: bool) -> str:
        model = self.model
        if model is None:
            raise AssertionError
        if self.private and trained and not model.snapshot():
            raise StageError(
                f"the training of seed {self.folder.seed} ended well and left no model where it was told to",
                where=str(model.path),
                expected="the file or folder that METRICGATE_MODEL names: others train at the same time, each to its own place",
                fix='let the training write it: model.save(os.environ["METRICGATE_MODEL"])\n'
                f"or train one seed after another (`parallel: 1`), which may write {model.configured}",
            )
        result = model.keep(self.folder.path, before=self.before if trained else None)
        if self.private:
            model.remove()
            if not any(model.path.parent.iterdir()):
                model.path.parent.rmdir()
        return result


def tidy(run_dir: Path) -> None:
    """Remove the folder that held the places of trainings at the same time, once all have ended.

    Not before: where one ends, another one may just be making a place there.
    """
    places = run_dir / _MODELS
    if places.exists() and not any(places.iterdir()):  # of one that failed, what it left stays
        places.rmdir()


def keras_variables(train: Train) -> dict[str, str]:
    """What ``metricgate.keras.setup()`` reads."""
    given = train.keras
    flags = {"XLA": given.xla, "DETERMINISTIC": given.deterministic}
    variables = {name: "1" if value else "0" for name, value in flags.items() if value is not None}
    if given.precision is not None:
        variables["PRECISION"] = given.precision
    return {f"METRICGATE_KERAS_{name}": value for name, value in variables.items()}


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

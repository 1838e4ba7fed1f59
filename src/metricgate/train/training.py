"""Trains the model of a configuration, one seed after another, and keeps a run of each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from metricgate import run as runs
from metricgate.config import Config
from metricgate.errors import UsageError
from metricgate.run import Fingerprints, Resources, RunRecord, Times
from metricgate.train import command, digest, environment, inputs, run_folder
from metricgate.train.command import Command, CommandError, Usage
from metricgate.train.console import Console, duration
from metricgate.train.model import ModelPath
from metricgate.train.run_folder import RunFolder
from metricgate.train_config import Train

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Trainer:
    """Trains seeds into run folders.

    A training replaces the folder of its seed as a whole, and leaves those of other seeds, which must be of the same
    commit. A configuration without ``train`` is one whose model is there already: its runs begin without a training.

    Attributes:
        config: What to run.
        root: The repository root, absolute, where the commands run.
        run_dir: The folder that gets one folder per seed.
        seeds: The seeds.
        commit: The commit that is checked out, if known.
        environ: The environment that the commands inherit.
        console: Where output and progress go.
        clock: Says when a run began; times zone aware.
    """

    config: Config
    root: Path
    run_dir: Path
    seeds: tuple[int, ...]
    commit: str | None
    environ: Mapping[str, str]
    console: Console
    clock: Clock

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UsageError("there is no seed", expected="at least one", fix="--seeds 0,1,2")
        run_folder.check_unmixed(self.run_dir, seeds=self.seeds, commit=self.commit)
        self.model  # noqa: B018 - a wrong path should not be found out after hours of training

    def train(self, seed: int) -> RunFolder:
        """Train one seed; its run folder has the model and a ``run.json`` of stage ``trained`` afterwards.

        Raises:
            CommandError: The command failed.
            StageError: It left no model.
            UsageError: The run folder holds something else than a run.
        """
        data, _ = self._data_digest, self._inputs_digest
        folder = RunFolder.of(self.run_dir, seed=seed)
        folder.make()
        if self.model and self._starts_without_model:
            self.model.remove()  # a training must not find the model of another seed where it starts without one
        before = self.model.snapshot() if self.model else ()
        started = self.clock()
        manifest = self._manifest  # read while the training runs
        usage = self._run(folder, self.config.train) if self.config.train else None
        model_digest = self.model.keep(folder.path, before=before if usage else None) if self.model else None
        found = manifest.result()
        record = RunRecord(
            stage="trained",
            name=self.config.name,
            commit=self.commit,
            seed=seed,
            times=Times(started=_rfc3339(started), train_s=round(usage.wall_s, 3) if usage else None),
            resources=Resources(
                gpu=environment.gpu_names(found),
                cpu_s=round(usage.cpu_s, 3) if usage else None,
                peak_memory_bytes=usage.peak_memory_bytes if usage else None,
            ),
            fingerprints=Fingerprints(
                data=data, training=self._training_digest(found), environment=environment.fingerprint(found)
            ),
            model_digest=model_digest,
            environment=found,
        )
        runs.write_record(folder.path, record)
        folder.discard_checkpoints()
        return folder

    @cached_property
    def model(self) -> ModelPath | None:
        """Where the training writes its model, if the configuration names one."""
        return ModelPath.of(self.config.model, root=self.root) if self.config.model else None

    @cached_property
    def _starts_without_model(self) -> bool:
        # Asked before the first training: a checkout that brings a model along wants it to be there each time.
        return self.model is not None and self.config.train is not None and not self.model.path.exists()

    def _training_digest(self, manifest: Mapping[str, Any]) -> str | None:
        train = self.config.train
        if train is None or self._inputs_digest is None:
            return None
        packages = environment.fingerprint(manifest)
        return digest.of_texts([train.run, self._inputs_digest, self._data_digest or "", packages or ""])

    @cached_property
    def _inputs_digest(self) -> str | None:
        # Read before the first training, which may write into the same folders.
        patterns = self.config.train.inputs if self.config.train else ()
        return digest.of_files(inputs.matches(patterns, root=self.root, key="train.inputs")) if patterns else None

    @cached_property
    def _data_digest(self) -> str | None:
        patterns = self.config.train.data if self.config.train else ()
        return digest.of_files(inputs.matches(patterns, root=self.root, key="train.data")) if patterns else None

    @cached_property
    def _manifest(self) -> Future[dict[str, Any]]:
        stage = self.config.train or self.config.evaluate
        line = stage.run if stage else ""
        pool = ThreadPoolExecutor(max_workers=1)
        future = pool.submit(environment.manifest, line, cwd=self.root, environ=command.inherited(self.environ))
        pool.shutdown(wait=False)
        return future

    def _run(self, folder: RunFolder, train: Train) -> Usage:
        total = Usage(0.0, 0.0, 0)
        for attempt in range(train.retries + 1):
            work = Command(
                line=train.run,
                label=f"training of seed {folder.seed}",
                cwd=self.root,
                environ=folder.variables(self.environ, model_path=self.model.path if self.model else None),
                log=folder.path / run_folder.TRAIN_LOG,
                timeout_s=train.timeout,
                spent_s=total.wall_s,
            )
            try:
                return total + command.run(work, console=self.console)
            except CommandError as error:
                total += error.usage
                if not error.crashed or attempt == train.retries or total.wall_s >= train.timeout:
                    raise
                self.console.say(
                    f"{error.summary} after {duration(error.usage.wall_s)}; starting it again "
                    f"(retry {attempt + 1} of {train.retries}, METRICGATE_CHECKPOINT_DIR is kept)"
                )
        raise AssertionError  # the last attempt returned or raised


def train(
    config: Config,
    *,
    root: Path,
    run_dir: Path,
    environ: Mapping[str, str],
    console: Console,
    clock: Clock,
    seeds: Sequence[int] | None = None,
    commit: str | None = None,
) -> tuple[Path, ...]:
    """Train every seed, one after another; the arguments are those of ``Trainer``.

    Returns:
        The run folders.

    Raises:
        CommandError: A training failed; the seeds before it are done.
    """
    trainer = Trainer(
        config=config,
        root=root.absolute(),
        run_dir=run_dir.absolute(),
        seeds=seeds_of(config, seeds),
        commit=commit,
        environ=environ,
        console=console,
        clock=clock,
    )
    return tuple(trainer.train(seed).path for seed in trainer.seeds)


def seeds_of(config: Config, seeds: Sequence[int] | None) -> tuple[int, ...]:
    """The seeds that were asked for, or else those of the configuration; without training there is one run.

    Raises:
        UsageError: A seed is negative or stands there twice.
    """
    if seeds is None:
        return config.train.seeds if config.train else (0,)
    if any(seed < 0 for seed in seeds) or len(set(seeds)) != len(seeds):
        raise UsageError(
            f"the seeds {','.join(map(str, seeds))} are not all different and 0 or more",
            expected="a seed once, or one training would count as two",
            fix="--seeds 0,1,2",
        )
    return tuple(seeds)


def _rfc3339(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")

"""Trains the model of a configuration, a run for each seed: one after another, at the same time, or on other machines."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate.config import Config
from metricgate.errors import MetricgateError, StageError, UsageError
from metricgate.train import checkpoints, command, one_run, retrying, run_folder
from metricgate.train.checkpoints import Shelf, Unfinished
from metricgate.train.console import Console
from metricgate.train.gpu.claims import Claim
from metricgate.train.gpu.meter import GpuMeter
from metricgate.train.known import Known
from metricgate.train.model import KEPT_AS, ModelPath
from metricgate.train.one_run import OneRun
from metricgate.train.run_folder import RunFolder

if TYPE_CHECKING:
    from metricgate.train.reuse import Reused

Clock = Callable[[], datetime]
Reuse = Callable[[str, RunFolder], "Reused | None"]
"""Makes a run of a recorded one, given the fingerprint of its training; None where none is recorded."""


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
        shelf: Where unfinished trainings lie.
        content: What is checked out, for finding them again; None begins each training anew.
        claim: The GPUs that the trainings get.
        reuse: Takes a recorded run of the same training instead; None trains in any case.
        fetched: The digest of the data set that ``train.fetch`` fetched.
    """

    config: Config
    root: Path
    run_dir: Path
    seeds: tuple[int, ...]
    commit: str | None
    environ: Mapping[str, str]
    console: Console
    clock: Clock
    shelf: Shelf
    content: str | None = None
    claim: Claim = field(default_factory=Claim)
    reuse: Reuse | None = None
    fetched: str | None = None

    def __post_init__(self) -> None:
        if not self.seeds:
            raise UsageError("there is no seed", expected="at least one", fix="--seeds 0,1,2")
        run_folder.check_unmixed(self.run_dir, seeds=self.seeds, commit=self.commit)
        self.model  # noqa: B018 - a wrong path should not be found out after hours of training

    def runs(self) -> Iterator[RunFolder]:
        """Train every seed; each run as soon as it is there, where one is trained after another.

        Raises:
            CommandError: A training failed; those before it are done, and so are those at the same time.
            MetricgateError: As ``train``.
        """
        train = self.config.train
        if train is not None and train.launcher != "local":
            from metricgate.train import remote

            yield from whole(remote.runs(self, train))
        elif train is not None and train.parallel > 1 and len(self.seeds) > 1:
            yield from self._at_once(train.parallel)
        else:
            for number, seed in enumerate(self.seeds, start=1):
                self.console.say(f"seed {seed} ({number} of {len(self.seeds)})")
                yield self.train(seed)

    def train(self, seed: int, *, claim: Claim | None = None, private: bool = False) -> RunFolder:
        """Train one seed; its run folder has the model and a ``run.json`` of stage ``trained`` afterwards.

        Args:
            seed: The seed.
            claim: Its GPUs; by default all of them.
            private: Let it write its model to a place of its own, since others train at the same time.

        Raises:
            CommandError: The command failed.
            StageError: It left no model.
            UsageError: The run folder holds something else than a run.
        """
        known, train = self.known, self.config.train
        if reused := self.reused(seed):
            return reused
        with self.unfinished(seed) as unfinished:
            folder = RunFolder.of(self.run_dir, seed=seed)
            folder.make()
            one = self.begin(folder, unfinished, private=private)
            if train is None:
                return one.end(None, gpu=None, known=known, commit=self.commit)
            claim = claim or self.claim
            environ = {**self.environ, **claim.environ()}
            meter = GpuMeter(claim)
            usage = retrying.run(
                one.command(train, root=self.root, environ=environ),
                retries=train.retries,
                backoff_s=train.backoff,
                console=self.console,
                meter=meter,
            )
            made = one.end(usage, gpu=meter.usage, known=known, commit=self.commit)
            unfinished.finish()
            return made

    def reused(self, seed: int) -> RunFolder | None:
        """The run of a seed, made of a recorded one of the same training; None where it has to be trained."""
        if self.reuse is None or self.known.inputs is None:
            return None
        training = self.known.training(self.known.manifest.result())
        folder = RunFolder.of(self.run_dir, seed=seed)
        taken = self.reuse(training, folder) if training else None
        if taken is None:
            return None
        self.console.say(f"seed {seed}: {taken.told}")
        if self.model and taken.record.model_digest and (folder.path / KEPT_AS).exists():
            self.model.put_back(folder.path, expected=taken.record.model_digest)
        return folder

    def unfinished(self, seed: int) -> contextlib.AbstractContextManager[Unfinished]:
        """What an earlier job left of the training of a seed."""
        train = self.config.train
        key = checkpoints.key(
            self.config.name,
            content=self.content or str(self.run_dir),
            seed=seed,
            identity=train.identity if train else {},
            data=self.known.data,
            inputs=self.known.inputs,
            parameters=self.known.parameters,
        )
        timeout_s = train.timeout if train else 0.0
        return self.shelf.open(key, console=self.console, timeout_s=timeout_s, fresh=self.content is None)

    def begin(self, folder: RunFolder, unfinished: Unfinished, *, private: bool, again: bool = False) -> OneRun:
        """Make room for the model of a seed, whose run folder is empty."""
        if self.model and self._starts_without_model and not private:
            self.model.remove()  # a training must not find the model of another seed where it starts without one
        return OneRun.begin(
            self.config,
            folder,
            shared=self.model,
            private=private,
            checkpoints=unfinished.path,
            started=self.clock(),
            again=again,
        )

    @cached_property
    def model(self) -> ModelPath | None:
        """Where the training writes its model, if the configuration names one."""
        return ModelPath.of(self.config.model, root=self.root) if self.config.model else None

    @cached_property
    def known(self) -> Known:
        """What is known of the training."""
        return Known(config=self.config, root=self.root, environ=self.environ, fetched=self.fetched).look()

    @cached_property
    def _starts_without_model(self) -> bool:
        # Asked before the first training: a checkout that brings a model along wants it to be there each time.
        return self.model is not None and self.config.train is not None and not self.model.path.exists()

    def _at_once(self, parallel: int) -> Iterator[RunFolder]:
        """Train several seeds at a time, each with GPUs of its own; then all runs, by the order of the seeds."""
        self.known  # noqa: B018 - read once, before there are threads
        claims = self.claim.split(min(parallel, len(self.seeds)))
        self.console.say(f"{len(self.seeds)} seeds, {len(claims)} at a time")
        free = list(claims)
        with command.signals(), ThreadPoolExecutor(max_workers=len(claims), thread_name_prefix="seed") as pool:

            def one(seed: int) -> RunFolder:
                mine = free.pop()  # there are as many as threads
                try:
                    told = replace(self, console=self.console.lane(f"seed {seed}"))
                    return told.train(seed, claim=mine, private=True)
                finally:
                    free.append(mine)

            futures = {seed: pool.submit(one, seed) for seed in self.seeds}
        one_run.tidy(self.run_dir)
        yield from whole({seed: _outcome(future) for seed, future in futures.items()})


def _outcome(future: Future[RunFolder]) -> RunFolder | MetricgateError:
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, MetricgateError):
        return error
    raise error


def whole(made: Mapping[int, RunFolder | MetricgateError]) -> Sequence[RunFolder]:
    """The runs of all seeds: one that failed is never left out quietly.

    Raises:
        MetricgateError: That of the seed that failed, or one that names all of them.
    """
    errors = {seed: outcome for seed, outcome in made.items() if isinstance(outcome, MetricgateError)}
    if not errors:
        return [outcome for outcome in made.values() if isinstance(outcome, RunFolder)]
    first = next(iter(errors.values()))
    if len(made) == 1:
        raise first
    good = ", ".join(str(seed) for seed in made if seed not in errors)
    missing = ",".join(map(str, errors))
    raise StageError(
        "\n".join([f"{len(errors)} of {len(made)} seeds failed", *map(str, errors.values())]),
        expected="a run of every seed: a mean over those that went well would flatter the change",
        fix=f"the runs of seeds {good} are there; train the others: metricgate train --seeds {missing}" if good else "",
    ) from first


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
    shelf: Shelf | None = None,
    content: str | None = None,
) -> tuple[Path, ...]:
    """Train every seed, with no GPU and nothing recorded; the arguments are those of ``Trainer``.

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
        shelf=shelf or Shelf.of(config.train, root=root.absolute(), kept=run_dir.absolute() / ".unfinished", environ=environ),
        content=content,
    )
    return tuple(folder.path for folder in trainer.runs())


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

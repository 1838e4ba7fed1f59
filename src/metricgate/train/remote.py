"""Seeds that are trained on other machines: handed over together, followed, and their runs fetched from the shared file system.

What a training writes lies in the folder of its job, beside the unfinished trainings, and not in the run folder: a runner that
is restarted begins with an empty run folder, and finds the job again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate.errors import MetricgateError
from metricgate.train import digest, launchers, model, run_folder
from metricgate.train.checkpoints import Unfinished
from metricgate.train.command import CommandError, Usage
from metricgate.train.launchers import following
from metricgate.train.launchers.job import Job, Task
from metricgate.train.one_run import OneRun
from metricgate.train.run_folder import RunFolder
from metricgate.train_config import Train

if TYPE_CHECKING:
    from metricgate.train.training import Trainer

_JOBS = "jobs"
_OURS = "METRICGATE_"


def runs(trainer: Trainer, train: Train) -> dict[int, RunFolder | MetricgateError]:
    """Train every seed of a trainer on an engine; by seed its run, or why there is none.

    Raises:
        ConfigError: The engine has not what the configuration asks for.
        StageError: The engine does not take the job.
    """
    made: dict[int, RunFolder | MetricgateError] = {}
    for seed in trainer.seeds:
        if (reused := trainer.reused(seed)) is not None:
            made[seed] = reused
    todo = [seed for seed in trainer.seeds if seed not in made]
    launcher = launchers.of(train, environ=trainer.environ)
    if not todo or launcher is None:
        return made
    with contextlib.ExitStack() as stack:
        unfinished = {seed: stack.enter_context(trainer.unfinished(seed)) for seed in todo}
        folder = _folder(trainer, train, unfinished)
        begun = {seed: _begun(trainer, seed, unfinished[seed], folder) for seed in todo}
        results = following.train(
            _job(trainer, train, folder, begun),
            launcher,
            console=trainer.console,
            retries=train.retries,
            backoff_s=train.backoff,
        )
        for seed in todo:
            made[seed] = _fetched(trainer, begun[seed], results[seed])
            if isinstance(made[seed], RunFolder):
                unfinished[seed].finish()
        # Of a job that was cancelled the next one asks whether it has ended: what says so stays.
        cancelled = any(isinstance(result, CommandError) and result.kind == "cancelled" for result in results.values())
        for path in [one.folder.path for one in begun.values()] if cancelled else [folder]:
            model.remove(path)
    return {seed: made[seed] for seed in trainer.seeds}


def _folder(trainer: Trainer, train: Train, unfinished: Mapping[int, Unfinished]) -> Path:
    """The folder of a job: the same for the same trainings on the same engine, so that it is found again."""
    names = sorted(one.path.name for one in unfinished.values())
    short = digest.of_texts([train.launcher, *names]).removeprefix(digest.PREFIX)[:16]
    return trainer.shelf.folder / _JOBS / f"metricgate-{short}"


def _begun(trainer: Trainer, seed: int, unfinished: Unfinished, folder: Path) -> OneRun:
    run = RunFolder(path=folder / f"seed-{seed}", seed=seed)
    again = run.path.exists()  # of a runner that was restarted: the training may be writing there now
    if not again:
        run.make()
    return trainer.begin(run, unfinished, private=True, again=again)


def _job(trainer: Trainer, train: Train, folder: Path, begun: Mapping[int, OneRun]) -> Job:
    tasks: Sequence[Task] = [
        Task(
            seed=seed,
            # The nodes have an environment of their own, and the runner's may hold secrets.
            environ={
                name: value
                for name, value in one.command(train, root=trainer.root, environ=trainer.environ).environ.items()
                if name.startswith(_OURS)
            },
            log=one.folder.path / run_folder.TRAIN_LOG,
        )
        for seed, one in begun.items()
    ]
    return Job(
        key=folder.name,
        name=trainer.config.name,
        folder=folder,
        line=train.run,
        cwd=trainer.root,
        tasks=tuple(tasks),
        nodes=train.nodes,
        gpus=train.gpus,
        timeout_s=train.timeout,
        grace_s=train.grace,
        stall_s=train.stall,
    )


def _fetched(trainer: Trainer, one: OneRun, result: Usage | CommandError) -> RunFolder | MetricgateError:
    """Put a run where those of this job belong; of one that failed, its log."""
    try:
        if isinstance(result, Usage):
            one.end(result, gpu=result.gpu, known=trainer.known, commit=trainer.commit)
        target = RunFolder.of(trainer.run_dir, seed=one.folder.seed)
        target.make()
        target.path.rmdir()
        model.copy(one.folder.path, target.path)
    except MetricgateError as error:
        return result if isinstance(result, MetricgateError) else error
    return result if isinstance(result, MetricgateError) else target

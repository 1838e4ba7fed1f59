"""The order of the stages, and nothing else."""

from __future__ import annotations

import contextlib
import functools
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from metricgate.config import FILE_NAME, Config
from metricgate.errors import UsageError

if TYPE_CHECKING:
    from metricgate.custom_metrics import Importing
    from metricgate.evaluate import Evaluator
    from metricgate.report.document import Origin, Report
    from metricgate.train import Console
    from metricgate.train.reuse import Reused
    from metricgate.train.run_folder import RunFolder
    from metricgate.train.training import Reuse

Stage = Literal["train", "evaluate"]


def produce(
    root: Path,
    *,
    console: Console,
    environ: Mapping[str, str],
    config: Path = Path(FILE_NAME),
    stages: Sequence[Stage] = ("train", "evaluate"),
    run_dir: Path | None = None,
    seeds: Sequence[int] | None = None,
    recorded: Sequence[Path] | None = None,
    model: bool | None = None,
) -> Path:
    """Train and evaluate what is checked out at ``root``: one run a seed, each evaluated as soon as it is there.

    Args:
        root: The repository root, where the commands run.
        console: Where their output and the progress go.
        environ: The environment that they inherit.
        config: The configuration file, relative to ``root``.
        stages: Both, or one of them alone.
        run_dir: Where the runs go; by default ``.metricgate/runs/<commit>`` under ``root``.
        seeds: Instead of those of the configuration.
        recorded: Folders of recorded runs, one of which may take the place of a training; by default those of this checkout.
        model: Whether a run that is not trained again needs its model all the same; by default where there is one.

    Returns:
        The folder with one run folder per seed.

    Raises:
        ConfigError: The configuration is missing or wrong, or lacks what the stage needs.
        StageError: A command failed.
        InputError: What it wrote is not what the configuration says.
    """
    from metricgate import config_file, workspace
    from metricgate.evaluate import Evaluator, evaluate
    from metricgate.train import Trainer, equipment
    from metricgate.train.checkpoints import Shelf
    from metricgate.train.training import seeds_of

    root = root.absolute()
    loaded = config_file.load(root / config)
    state = workspace.look(root)
    folder = (run_dir or workspace.runs_folder(root, state)).absolute()
    kept = workspace.kept_folder(root, environ)
    wanted = seeds_of(loaded, seeds)
    trains = "train" in stages
    with equipment.ready(
        loaded, root=root, kept=kept, folder=folder, seeds=len(wanted), environ=environ, console=console, trains=trains
    ) as here:
        environ = here.environ
        on_gpus = {**environ, **here.claim.environ()}
        if not trains:
            evaluate(loaded, root=root, run_dir=folder, environ=on_gpus, console=console, seeds=seeds)
            return folder
        evaluator = Evaluator(config=loaded, root=root, environ=on_gpus, console=console)
        trainer = Trainer(
            config=loaded,
            root=root,
            run_dir=folder,
            seeds=wanted,
            commit=state.commit,
            environ=environ,
            console=console,
            clock=workspace.now,
            shelf=Shelf.of(loaded.train, root=root, kept=kept, environ=environ),
            content=state.content,
            claim=here.claim,
            reuse=_reuse(evaluator, root, recorded=recorded, commit=state.commit, model=model),
            fetched=here.fetched,
        )
        made: Iterable[RunFolder] = trainer.runs()
        with contextlib.ExitStack() as stack:
            if equipment.is_elsewhere(loaded):
                made = list(made)  # takes hours, in which the GPUs of this machine are for others
                if "evaluate" in stages:
                    claim = stack.enter_context(equipment.evaluating(loaded, environ=environ, console=console))
                    evaluator = replace(evaluator, environ={**environ, **claim.environ()})
            for trained in made:
                if "evaluate" in stages or loaded.evaluate is None:  # then the training wrote all there is: only collect it
                    evaluator.evaluate(trained)
    return folder


def _reuse(
    evaluator: Evaluator, root: Path, *, recorded: Sequence[Path] | None, commit: str | None, model: bool | None
) -> Reuse:
    """What takes a recorded run of the same training instead of training again."""
    from metricgate import workspace
    from metricgate.baseline import commands, reusable
    from metricgate.train import reuse

    config = evaluator.config
    folders = (root / workspace.RUNS,) if recorded is None else tuple(recorded)
    needed = config.model is not None if model is None else model
    models = commands.models(config, root=root)

    def take(training: str, into: RunFolder) -> Reused | None:
        wanted = reuse.Wanted(
            name=config.name, training=training, seed=into.seed, evaluation=evaluator.fingerprint, model=needed
        )
        taking = functools.partial(
            reuse.take,
            wanted,
            into=into,
            commit=commit,
            collect=evaluator.collect,
            fetch=models.fetch_model if models else None,
        )
        taken = taking(folders=folders)
        if taken is not None or recorded is not None or config.baseline.store == commands.BRANCH:
            return taken
        store = commands.store(config.baseline, root=root)
        with tempfile.TemporaryDirectory() as copies:
            copied = reusable.copy_out(store, config.name, training=training, seed=into.seed, into=Path(copies))
            return taking(folders=(Path(copies),)) if copied else None

    return take


def compare(
    candidate: Path,
    baseline: Path | None,
    *,
    config: Config,
    history: Path | None = None,
    policy_changes: Sequence[str] = (),
    warnings: Sequence[str] = (),
    origin: Origin | None = None,
    verdicts: Mapping[str, int] | None = None,
    importing: Importing = "installed",
    policy: str | None = None,
    baseline_trained: bool = False,
) -> Report:
    """Compare a candidate with its baseline and judge it.

    Args:
        candidate: A run folder, a folder of run folders, or one file in any format that ``formats`` reads.
        baseline: The same for the baseline; None, or an empty folder, where there is none.
        config: The configuration; its policy judges.
        history: Recorded runs of the main branch, for the training noise.
        policy_changes: How the candidate's own policy differs, for the report.
        warnings: More to tell in the report.
        origin: Where the baseline's runs come from, if they were recorded earlier.
        verdicts: How many verdicts each test set has given, by its fingerprint; None where that is not known.
        importing: Where functions of the user's may come from that metrics name.
        policy: The digest of the policy in force, where the configuration has only what can be judged of it.
        baseline_trained: Whether the baseline was trained for this comparison, so that it is part of the cost.

    Raises:
        UsageError: A path does not exist, or there is no candidate.
        InputError: A file is malformed.
        ConfigError: A metric names a function that can't be had.
    """
    from metricgate import custom_metrics, formats
    from metricgate.comparison import Comparison
    from metricgate.gate import judge, reuse
    from metricgate.report import building

    functions = custom_metrics.resolve(config, importing)
    column = config.scores.id
    candidate_runs = formats.read_runs(candidate, id=column)
    if not candidate_runs:
        raise UsageError(
            "there are no runs",
            where=str(candidate),
            expected="the candidate: a run folder, a folder of run folders, or one file",
            fix="write one with `metricgate run`, or give the folder that holds metrics.json or scores.*",
        )
    baseline_runs = formats.read_runs(baseline, id=column) if baseline is not None else ()
    history_runs = formats.read_runs(history, id=column) if history is not None else ()
    judged = {run.where.resolve() for run in (*candidate_runs, *baseline_runs)}
    earlier = [run for run in history_runs if run.where.resolve() not in judged]
    comparison = Comparison(candidate_runs, baseline_runs, history=earlier, config=config, functions=functions)
    used, uncounted = reuse.found(comparison, verdicts)
    return building.build(
        comparison,
        reuse.applied(judge.judge(comparison), used),
        policy_changes=policy_changes,
        warnings=(*warnings, *uncounted),
        origin=origin,
        reuse=used,
        policy=policy,
        given=(candidate_runs, baseline_runs),
        baseline_trained=baseline_trained,
    )

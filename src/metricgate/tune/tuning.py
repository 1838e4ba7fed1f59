"""``metricgate tune``: search, train the best again, judge it, tell, and write the new parameters where that is asked for."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import optuna

from metricgate import config_file, run, workspace
from metricgate.config import Config
from metricgate.errors import ConfigError, UsageError
from metricgate.train import equipment
from metricgate.train.console import Console
from metricgate.train.gpu import claims
from metricgate.train.gpu.claims import Claim
from metricgate.train.one_run import keras_variables
from metricgate.tune import document, findings, markdown, parameters, search, spaces, storage, studies
from metricgate.tune.board import Board
from metricgate.tune.document import Tuning
from metricgate.tune.parameters import ParameterFile
from metricgate.tune.retraining import Retraining
from metricgate.tune.search import Search
from metricgate.tune.storage import Heartbeat, Place
from metricgate.tune.trial import Bench
from metricgate.tune_config import Tune, Value

TUNING_FILE = "tuning.json"
MARKDOWN_FILE = "tuning.md"

_TRIAL_S = 6 * 3600.0
_GRACE_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is asked for; None means as the configuration says.

    Attributes:
        config: The configuration file.
        root: The repository root, where the commands run; by default the configuration's folder.
        trials: How many trials there are to be in all.
        workers: How many run at once here.
        storage: Where they are kept.
        study: The study's name.
        retrain: Whether the best parameters are trained again and judged.
        baseline: Runs of the present parameters, instead of training those too.
        recorded: Folders of recorded runs that may take the place of a new training; None for those of the checkout.
        apply: Whether the best parameters are written into the repository's file.
        default_name: The model's name where the configuration gives none.
        heartbeat: How a database finds out that a machine is gone.
    """

    config: Path
    root: Path | None = None
    trials: int | None = None
    workers: int | None = None
    storage: str | None = None
    study: str | None = None
    retrain: bool = True
    baseline: Path | None = None
    recorded: tuple[Path, ...] | None = None
    apply: bool = False
    default_name: str | None = None
    heartbeat: Heartbeat = field(default_factory=Heartbeat)


@dataclass(frozen=True)
class Tuned:
    """What came of it.

    Attributes:
        tuning: What was found.
        folder: Where ``tuning.json``, ``tuning.md`` and the trials' logs are.
        best: The best parameters.
        file: The repository's file, with its present ones.
    """

    tuning: Tuning
    folder: Path
    best: Mapping[str, Value]
    file: ParameterFile


def tune(wanted: Wanted, *, environ: Mapping[str, str], console: Console, progress: TextIO) -> Tuned:
    """Search, or go on searching, and say what was found.

    Args:
        wanted: What is asked for.
        environ: The environment; trials inherit it without secrets of ours.
        console: Where the output of new trainings goes.
        progress: Where lines about the search go.

    Raises:
        ConfigError: The configuration has no `tune`, or lacks what it needs.
        UsageError: The storage can't be used, or there is no file to write the parameters into.
        StageError: The search was stopped, no trial works, or a new training failed.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)  # everything that it would say is said here
    root = (wanted.root or wanted.config.parent).absolute()
    config = config_file.load(wanted.config, default_name=wanted.default_name)
    section = _section(config, wanted)
    identity = spaces.identity_of(config, section)
    name = spaces.checked_name(wanted.study) if wanted.study else f"{spaces.prefix_of(config)}{identity}"
    line, direction = spaces.command_of(config, section), spaces.direction_of(config, section)
    if wanted.apply:
        parameters.check_writable(section)
    file = ParameterFile.of(section, root=root)
    present = file.values(section.space)
    current = present if parameters.allowed(present, section.space) else None
    folder = workspace.runs_folder(root, workspace.look(root)).parents[1] / "tune" / name
    board = Board(progress)
    for bias in findings.biases(config, section):
        board.say(f"⚠️ {bias.replace('`', '')}")
    inherited = search.foreign(environ, section)
    commit = workspace.look(root).commit
    where = storage.of(section, wanted.storage, environ, root=root)

    def vanished(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if studies.again(study, trial, retries=section.retries):
            board.say(f"trial {trial.number} gave no sign of life; its machine is gone, and it is done again")

    with storage.opened(where, vanished=vanished, heartbeat=wanted.heartbeat) as place:
        asked = studies.Asked(name=name, prefix=spaces.prefix_of(config), identity=identity, direction=direction)
        found = studies.find(place, asked, tune=section, current=current)
        study = studies.load(place, name, section)
        budget = studies.total(study, section)
        _say_where(board, found, study, section, budget=budget, place=place, present=present, current=current)
        equipped = _equipped(config, section, root=root, folder=folder, console=console, environ=inherited)
        with equipped as (environ_of_trials, claimed):
            Search(
                place=place,
                name=name,
                tune=section,
                bench=_bench(config, section, line, root=root, folder=folder, file=file, environ=environ_of_trials),
                budget=budget,
                claims=claimed,
                board=board,
                commit=commit,
                clock=workspace.now,
            ).run()
        tuning = findings.found(study, place, config=config, tune=section, budget=budget, current=present, commit=commit)
    best = {info.name: info.best for info in tuning.parameters}
    if wanted.retrain and (why := _not_retrained(config, tuning)):
        tuning = tuning.model_copy(update={"warnings": (*tuning.warnings, *why)})
    elif wanted.retrain:
        again = Retraining(
            root=root,
            config_name=wanted.config.absolute().relative_to(root),
            config=config,
            tune=section,
            folder=folder,
            file=file,
            environ=inherited,
            console=console,
            recorded=wanted.recorded,
        )
        retrained, verdict = again.judged(
            best, present if file.text else None, baseline=wanted.baseline, warnings=findings.biases(config, section)
        )
        tuning = tuning.model_copy(update={"retrained": retrained, "verdict": verdict})
    run.write_text(folder / TUNING_FILE, document.to_json(tuning))
    run.write_text(folder / MARKDOWN_FILE, markdown.render(tuning))
    if wanted.apply and tuning.changed:
        run.write_text(root / parameters.check_writable(section), file.with_values(best).text)
        board.say(f"{section.params} has the best parameters now")
    return Tuned(tuning=tuning, folder=folder, best=best, file=file)


def _section(config: Config, wanted: Wanted) -> Tune:
    """`tune` with what was said on the command line."""
    if config.tune is None:
        raise ConfigError(
            "there is nothing to search for",
            where=str(wanted.config),
            expected="the section `tune`",
            fix="add to metricgate.yaml:\ntune:\n  metric: val_accuracy\n  direction: higher\n  space:\n"
            "    learning_rate: {low: 1e-5, high: 1e-1, log: true}\n  params: params.json",
        )
    for name, value in (("--trials", wanted.trials), ("--workers", wanted.workers)):
        if value is not None and value < 1:
            raise UsageError(f"{name} {value}", expected="1 or more")
    given = {"trials": wanted.trials, "workers": wanted.workers}
    return config.tune.model_copy(update={key: value for key, value in given.items() if value is not None})


def _bench(
    config: Config, tune: Tune, line: str, *, root: Path, folder: Path, file: ParameterFile, environ: Mapping[str, str]
) -> Bench:
    train = config.train
    return Bench(
        line=line,
        root=root,
        folder=folder / "trials",
        metric=tune.metric,
        seed=tune.seed,
        timeout_s=tune.trial_timeout or (train.timeout if train else _TRIAL_S),
        grace_s=train.grace if train else _GRACE_S,
        model=config.model,
        file=file,
        environ={**environ, **(keras_variables(train) if train else {})},
    )


@contextlib.contextmanager
def _equipped(
    config: Config, tune: Tune, *, root: Path, folder: Path, console: Console, environ: Mapping[str, str]
) -> Iterator[tuple[Mapping[str, str], tuple[Claim, ...]]]:
    """What trials inherit, the data set among it, and GPUs for every worker: with fewer GPUs there are fewer workers."""
    if config.train is None:
        locks = claims.default_folder(environ)
        with claims.claim(None, folder=locks, console=console, timeout_s=_TRIAL_S, environ=environ, per=tune.workers) as claim:
            yield environ, claim.split(tune.workers)
        return
    at_once = config.train.model_copy(update={"parallel": tune.workers, "launcher": "local", "nodes": 1})
    with equipment.ready(
        config.model_copy(update={"train": at_once}),
        root=root,
        kept=workspace.kept_folder(root, environ),
        folder=folder,
        seeds=tune.workers,
        environ=environ,
        console=console,
    ) as here:
        yield here.environ, here.claim.split(tune.workers)


def _say_where(
    board: Board,
    found: studies.Found,
    study: optuna.Study,
    tune: Tune,
    *,
    budget: int,
    place: Place,
    present: Mapping[str, Value],
    current: Mapping[str, Value] | None,
) -> None:
    """Say which study this is, and whether it goes on or is a new one."""
    done = search.counted(study.get_trials(deepcopy=False), tune)
    if found.fresh:
        board.say(f"a new study, {found.name}, with {budget} trials in {place.shown}")
        if found.others:
            board.say(
                f"the space, the metric, the seed or the command changed since {found.others[-1]}: its trials can't be "
                "compared with these, and stay where they are"
            )
    else:
        board.say(f"the study {found.name} goes on: {done} of {budget} trials are there, in {place.shown}")
    if tune.params and present and current is None:
        outside = [name for name, parameter in tune.space.items() if not parameter.allows(present.get(name, math.nan))]
        board.say(f"the present parameters are no point of the space ({', '.join(outside)}), so they are not tried first")


def _not_retrained(config: Config, tuning: Tuning) -> tuple[str, ...]:
    """Why the best parameters are not trained again, where they are not."""
    if not tuning.changed:
        return ("The best parameters are the present ones: there is nothing to train again.",)
    if config.train is None:
        return ("Nothing was trained again: that needs `train.run`.",)
    return ()

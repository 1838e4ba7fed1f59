"""A study: made once, found again, with exactly as many trials as were asked for and none of them lost."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from random import Random
from typing import Literal

import optuna
from optuna.exceptions import DuplicatedStudyError, UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState

from metricgate.errors import StageError, UsageError
from metricgate.tune import sampling
from metricgate.tune.storage import Place
from metricgate.tune_config import Tune, Value

# What a trial remembers, beside parameters and values.
CURRENT = "current"  # it has the parameters that the repository has
WORKER = "worker"  # the process that runs it
COMMIT = "commit"  # what was checked out
ATTEMPTS = "attempts"  # how often it was begun before
WHY = "why"  # why it failed or was pruned; where a failed one has none, its machine is gone
SURPLUS, INTERRUPTED = "surplus", "interrupted"

_IDENTITY = "metricgate:identity"
_READY = "metricgate:points"  # how many were put in line when the study was made
_READY_AFTER_S = 30.0
# Between the moment in which a trial is there and that in which it names its worker.
_NAMELESS = timedelta(seconds=60)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which study is meant.

    Attributes:
        name: Its name in the storage.
        prefix: How the names of all studies of this model begin, unless somebody chose them.
        identity: A digest of what makes its trials comparable.
        direction: ``higher`` or ``lower``.
    """

    name: str
    prefix: str
    identity: str
    direction: str


@dataclass(frozen=True)
class Found:
    """A study and how it was found.

    Attributes:
        name: Its name in the storage.
        fresh: Whether it was made just now.
        others: Studies of the same model in this storage with another space, metric or command.
    """

    name: str
    fresh: bool
    others: tuple[str, ...] = ()


def find(place: Place, asked: Asked, *, tune: Tune, current: dict[str, Value] | None) -> Found:
    """Make a study or find it; whoever comes first puts in what is to be tried first.

    Args:
        place: The storage.
        asked: Which study is meant.
        tune: What it searches.
        current: The parameters of the repository, which are tried first; None where they are no point of the space.

    Raises:
        UsageError: There is a study of that name whose trials can't be compared with such ones.
    """
    name = asked.name
    others = tuple(
        other for other in optuna.get_all_study_names(place.storage) if other.startswith(asked.prefix) and other != name
    )
    goal: Literal["maximize", "minimize"] = "maximize" if asked.direction == "higher" else "minimize"
    try:
        study = optuna.create_study(study_name=name, storage=place.storage, direction=goal)
    except DuplicatedStudyError:
        study = load(place, name, tune)
        deadline = time.monotonic() + _READY_AFTER_S
        while study.user_attrs.get(_READY) is None:
            if time.monotonic() > deadline:  # whoever made it did not get to the end
                _prepare(study, asked, tune, current)
                break
            time.sleep(0.1)
        if study.user_attrs.get(_IDENTITY) != asked.identity:
            raise UsageError(
                f"the study {name} has trials of another space, metric, seed or command",
                where=place.shown,
                fix="choose another name with --study, or leave it out",
            ) from None
        return Found(name, fresh=False, others=others)
    _prepare(study, asked, tune, current)
    return Found(name, fresh=True, others=others)


def load(place: Place, name: str, tune: Tune) -> optuna.Study:
    """A study for one thread, with a sampler and a pruner of its own."""
    return optuna.load_study(
        study_name=name, storage=place.storage, sampler=sampling.sampler(tune), pruner=sampling.pruner(tune)
    )


def _prepare(study: optuna.Study, asked: Asked, tune: Tune, current: dict[str, Value] | None) -> None:
    study.set_user_attr(_IDENTITY, asked.identity)
    waiting = [] if current is None else [current]
    if tune.sampler == "grid":
        grid = list(tune.grid)
        Random(tune.seed).shuffle(grid)  # noqa: S311 - so that the first of them say something about every parameter
        waiting += [point for point in grid if point != current]
    for number, point in enumerate(waiting):
        attributes = {CURRENT: True} if point is current and number == 0 else None
        study.enqueue_trial(dict(point), user_attrs=attributes, skip_if_exists=True)
    study.set_user_attr(_READY, len(waiting))


def total(study: optuna.Study, tune: Tune) -> int:
    """How many trials there will be: as many as were asked for, and of a grid no more than it has."""
    return min(tune.trials, int(study.user_attrs.get(_READY) or 0)) if tune.sampler == "grid" else tune.trials


def counts(trial: FrozenTrial, tune: Tune) -> bool:
    """Whether a trial is one of those that were asked for, and no copy that was one too many or had to be done again."""
    if trial.state != TrialState.FAIL:
        return True
    why = trial.user_attrs.get(WHY)
    if why is None:
        return int(trial.user_attrs.get(ATTEMPTS, 0)) >= tune.retries
    return why not in (SURPLUS, INTERRUPTED)


def startable(trials: Sequence[FrozenTrial], tune: Tune, *, budget: int) -> bool:
    """Whether there is a trial left to begin."""
    begun = sum(trial.state != TrialState.WAITING and counts(trial, tune) for trial in trials)
    return begun < budget


def is_surplus(number: int, trials: Sequence[FrozenTrial], tune: Tune, *, budget: int) -> bool:
    """Whether a trial was begun although others, at the same moment, began the last ones.

    Numbers are given out one by one, so that of two who were too many both know which they are.
    """
    return sum(trial.number < number and counts(trial, tune) for trial in trials) >= budget


def again(study: optuna.Study, trial: FrozenTrial, *, retries: int, blame: bool = True) -> bool:
    """Put the parameters of a trial that did not get to its end back in line.

    Args:
        study: Its study.
        trial: The trial, which counts as failed by now.
        retries: How often that is done at most.
        blame: Whether the trial may be the cause.

    Returns:
        Whether it was done.
    """
    attempts = int(trial.user_attrs.get(ATTEMPTS, 0))
    if blame and attempts >= retries:
        return False
    kept = {key: value for key, value in trial.user_attrs.items() if key not in (WORKER, WHY)}
    study.add_trial(
        optuna.create_trial(
            state=TrialState.WAITING,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**kept, ATTEMPTS: attempts + 1 if blame else attempts},
            system_attrs={key: value for key, value in trial.system_attrs.items() if key == "fixed_params"},
        )
    )
    return True


def sweep(study: optuna.Study, place: Place, *, retries: int, now: datetime) -> int:
    """Find trials whose machine is gone, and put them back in line.

    Returns:
        How many were found by this call.
    """
    if place.presence is None:
        optuna.storages.fail_stale_trials(study)  # which tells whoever the storage was opened with
        return 0
    found = 0
    for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        worker = trial.user_attrs.get(WORKER)
        if worker is None:
            started = trial.datetime_start
            if started is None or now - started.astimezone(now.tzinfo) < _NAMELESS:
                continue
        elif place.presence.alive(str(worker)):
            continue
        with contextlib.suppress(ValueError, UpdateFinishedTrialError):  # somebody else was faster
            study.tell(trial.number, state=TrialState.FAIL)
            again(study, trial, retries=retries)
            found += 1
    return found


def finished(study: optuna.Study) -> bool:
    """Whether nobody is running a trial, so that the result is final."""
    return not study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))


def best(study: optuna.Study) -> FrozenTrial:
    """The best trial that got to its end.

    Raises:
        StageError: None did.
    """
    try:
        return study.best_trial
    except ValueError:
        pass
    trials = study.get_trials(deepcopy=False, states=(TrialState.FAIL,))
    why = next((str(trial.user_attrs[WHY]) for trial in reversed(trials) if trial.user_attrs.get(WHY)), "")
    raise StageError(
        f"no trial of {study.study_name} got to its end" + (f"; the last one: {why}" if why else ""),
        expected="at least one that reports the metric",
        fix="run the command of a trial by hand; `metricgate tune` goes on with the same study",
    )

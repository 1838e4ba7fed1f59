"""From a study to what it found: which trials count, what mattered, and what to know before believing it."""

from __future__ import annotations

import collections
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import optuna
from optuna.trial import FrozenTrial, TrialState

from metricgate.config import Config
from metricgate.report import numbers
from metricgate.tune import spaces, studies
from metricgate.tune.document import ParameterInfo, State, TrialInfo, Tuning
from metricgate.tune.storage import Place
from metricgate.tune_config import Parameter, Tune, Value

ENOUGH_FOR_IMPORTANCE = 10
"""Trials that got to their end; with fewer, importance is chance."""

_STATES: Mapping[TrialState, State] = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
    TrialState.WAITING: "waiting",
}


def found(
    study: optuna.Study,
    place: Place,
    *,
    config: Config,
    tune: Tune,
    budget: int,
    current: Mapping[str, Any],
    commit: str | None,
) -> Tuning:
    """What a study found.

    Args:
        study: The study.
        place: Its storage.
        config: The configuration.
        tune: Its section, with what was said on the command line.
        budget: How many trials were asked for.
        current: The parameters of the repository, as far as it has them.
        commit: What is checked out.

    Raises:
        StageError: No trial got to its end.
    """
    all_trials = study.get_trials(deepcopy=False)
    trials = [trial for trial in all_trials if studies.counts(trial, tune)]
    best = studies.best(study)
    best_values = spaces.plain({name: best.params[name] for name in tune.space})
    weights = importance(study, trials)
    parameters = tuple(
        ParameterInfo(
            name=name,
            space=described(parameter),
            current=current.get(name),
            known=name in current,
            best=best_values[name],
            importance=weights.get(name),
        )
        for name, parameter in tune.space.items()
    )
    here = next((trial for trial in trials if trial.user_attrs.get(studies.CURRENT)), None)
    tuning = Tuning(
        name=config.name,
        study=study.study_name,
        storage=place.shown.partition("://")[0].partition("+")[0] if "://" in place.shown else "journal",
        commit=commit,
        metric=tune.metric,
        direction=cast("Any", spaces.direction_of(config, tune)),
        budget=budget,
        lost=sum(trial.state == TrialState.FAIL and not trial.user_attrs.get(studies.WHY) for trial in all_trials),
        best=_info(best, tune),
        current=_info(here, tune) if here is not None else None,
        parameters=parameters,
        trials=tuple(_info(trial, tune) for trial in trials if trial.state != TrialState.WAITING),
        changed=any(not info.known or info.current != info.best for info in parameters),
    )
    return tuning.model_copy(update={"warnings": tuple(_warnings(tuning, trials, config, tune, commit))})


def importance(study: optuna.Study, trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """How much each parameter decides whether a trial is among the best tenth, as shares of 1; empty with too few trials.

    References:
        Watanabe, Bansal and Hutter, PED-ANOVA: Efficiently Quantifying Hyperparameter Importance in Arbitrary Subspaces,
        IJCAI 2023, arXiv:2304.10255.
    """
    values = [trial.value for trial in trials if trial.state == TrialState.COMPLETE]
    if len(values) < ENOUGH_FOR_IMPORTANCE or len(set(values)) < 2:
        return {}
    evaluator = optuna.importance.PedAnovaImportanceEvaluator()
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return {name: round(share, 6) for name, share in shares.items() if math.isfinite(share)}


def described(parameter: Parameter) -> str:
    """A parameter's space in a few signs: ``1e-05 … 0.1, log``."""
    if parameter.choices is not None:
        return ", ".join(text(value) for value in parameter.choices)
    more = ", log" if parameter.log else f", step {parameter.step:g}" if parameter.step else ""
    return f"{parameter.low:g} … {parameter.high:g}{more}"


def text(value: Value) -> str:
    """A parameter's value for people."""
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _info(trial: FrozenTrial, tune: Tune) -> TrialInfo:
    value = trial.value if trial.state in (TrialState.COMPLETE, TrialState.PRUNED) else None
    if trial.state == TrialState.FAIL:
        why = str(trial.user_attrs.get(studies.WHY) or "lost its machine, again and again")
    else:
        why = str(trial.user_attrs.get(studies.WHY, "")) if trial.state == TrialState.PRUNED else ""
    return TrialInfo(
        number=trial.number,
        state=_STATES[trial.state],
        value=value if value is not None and math.isfinite(value) else None,
        values=spaces.plain({name: trial.params[name] for name in tune.space if name in trial.params}),
        step=trial.last_step,
        seconds=round(trial.duration.total_seconds(), 3) if trial.duration else None,
        why=why,
    )


def _warnings(tuning: Tuning, trials: Sequence[FrozenTrial], config: Config, tune: Tune, commit: str | None) -> list[str]:
    warnings = list(biases(config, tune))
    complete = tuning.count("complete")
    if complete > 1:
        warnings.append(
            f"`{tune.metric}` {numbers.plain(tuning.best.value)} is the best of {complete} trials, chosen for being so: "
            "part of it is luck. What the new trainings say is what to expect."
        )
    commits = {str(trial.user_attrs[studies.COMMIT]) for trial in trials if studies.COMMIT in trial.user_attrs}
    if len(commits) > 1 or (commit and commits - {commit}):
        warnings.append(
            f"The trials ran at {len(commits)} different commits; what changed between them is not the parameters' doing. "
            "`metricgate tune --study NAME` begins a new study."
            if len(commits) > 1
            else "The trials ran at another commit than this one."
        )
    for why, count in collections.Counter(trial.why for trial in tuning.trials if trial.state == "failed").most_common(3):
        warnings.append(f"{count} trials failed: each {why}" if count > 1 else f"Trial {_failed(tuning)} failed: it {why}")
    missing = tuning.budget - len([trial for trial in tuning.trials if trial.state not in ("running", "waiting")])
    if missing > 0:
        warnings.append(f"{missing} of {tuning.budget} trials are not there yet; `metricgate tune` goes on with this study.")
    edges = [info.name for info in tuning.parameters if _at_an_edge(info, tune.space[info.name])]
    if edges:
        names = " and ".join(f"`{name}`" for name in edges)
        warnings.append(f"The best {names} is at an edge of its space: what lies beyond may be better.")
    return warnings


def biases(config: Config, tune: Tune) -> tuple[str, ...]:
    """What makes the verdict on the best parameters look better than they are."""
    if tune.metric not in config.metrics:
        return ()
    judged = any(rule.metric == tune.metric for rule in config.rules)
    return (
        (
            f"`{tune.metric}` is what the gate judges too. If trials measure it on the same test set, that test set has chosen "
            "the parameters, and neither this report nor the verdict is a fair test of them. Search for a number from "
            "validation data, which the gate does not see."
        )
        if judged
        else f"`{tune.metric}` is one of the model's metrics. Search for a number from validation data, not from the test set.",
    )


def _failed(tuning: Tuning) -> int:
    return next(trial.number for trial in tuning.trials if trial.state == "failed")


def _at_an_edge(info: ParameterInfo, parameter: Parameter) -> bool:
    """Within a fiftieth of the way (by ratio, where the space is logarithmic); whole numbers at the end itself."""
    if parameter.low is None or parameter.high is None or parameter.low == parameter.high:
        return False
    if isinstance(info.best, str | bool) or info.best is None:
        return False
    if parameter.values is not None:
        return info.best in (parameter.low, parameter.high) and len(parameter.values) > 2
    low, high, best = float(parameter.low), float(parameter.high), float(info.best)
    if parameter.log:
        low, high, best = math.log(low), math.log(high), math.log(best)
    return min(best - low, high - best) < (high - low) / 50

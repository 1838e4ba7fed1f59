"""A space of parameters as Optuna's distributions, and the study that it belongs to."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from metricgate.config import Config
from metricgate.errors import ConfigError, UsageError
from metricgate.train import digest
from metricgate.tune_config import Parameter, Tune, Value


def distribution(parameter: Parameter) -> BaseDistribution:
    """What Optuna draws a parameter from."""
    if parameter.choices is not None:
        return CategoricalDistribution(parameter.choices)
    low, high = parameter.low or 0, parameter.high or 0
    if parameter.whole:
        return IntDistribution(int(low), int(high), log=parameter.log, step=int(parameter.step or 1))
    return FloatDistribution(float(low), float(high), log=parameter.log, step=parameter.step)


def suggest(trial: optuna.Trial, space: Mapping[str, Parameter]) -> dict[str, Value]:
    """The parameters of a trial."""
    found: dict[str, Value] = {}
    for name, parameter in space.items():
        if parameter.choices is not None:
            found[name] = trial.suggest_categorical(name, parameter.choices)
        elif parameter.whole:
            low, high = int(parameter.low or 0), int(parameter.high or 0)
            found[name] = trial.suggest_int(name, low, high, step=int(parameter.step or 1), log=parameter.log)
        else:
            low_float, high_float = float(parameter.low or 0), float(parameter.high or 0)
            found[name] = trial.suggest_float(name, low_float, high_float, step=parameter.step, log=parameter.log)
    return plain(found)


def plain(values: Mapping[str, Value]) -> dict[str, Value]:
    """Values as they read in a file: the rest of a division by a decimal step is taken away."""
    return {name: float(f"{value:.12g}") if isinstance(value, float) else value for name, value in values.items()}


def command_of(config: Config, tune: Tune) -> str:
    """What a trial runs.

    Raises:
        ConfigError: The configuration says neither under `tune` nor under `train`.
    """
    line = tune.run or (config.train.run if config.train else None)
    if line is None:
        raise ConfigError(
            "there is nothing to try: neither `train.run` nor `tune.run`",
            where="tune:",
            fix="add the command that trains:\ntrain:\n  run: python train.py",
        )
    return line


def direction_of(config: Config, tune: Tune) -> str:
    """``higher`` or ``lower``.

    Raises:
        ConfigError: Neither `tune` nor `metrics` says which way is better.
    """
    metric = config.metrics.get(tune.metric)
    if tune.direction is None and metric is None:
        raise ConfigError(
            f"which way `{tune.metric}` is better is not known",
            where="tune.direction",
            fix="add `direction: higher` or `direction: lower` under `tune`",
        )
    return tune.direction or (metric.direction if metric else "higher")


def prefix_of(config: Config) -> str:
    """How the names of all studies of a model begin."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", config.name) + "-"


def identity_of(config: Config, tune: Tune) -> str:
    """A digest of what makes trials comparable: space, metric, direction, seed and command.

    Raises:
        ConfigError: As ``command_of`` and ``direction_of``.
    """
    what = {**tune.identity, "run": command_of(config, tune), "direction": direction_of(config, tune)}
    text = json.dumps(what, sort_keys=True, separators=(",", ":"))
    return digest.of_texts([text]).removeprefix(digest.PREFIX)[:10]


def checked_name(name: str) -> str:
    """The name that somebody chose for a study, which becomes that of a folder too.

    Raises:
        UsageError: It can't be one.
    """
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,149}", name):
        return name
    raise UsageError(f"{name[:100]!r} is no name of a study", expected="letters, digits, dots, dashes and underscores")

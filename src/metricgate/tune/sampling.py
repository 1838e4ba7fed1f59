"""How parameters are chosen and trials pruned: Optuna's samplers and pruners, made repeatable.

Optuna's samplers draw from one stream of random numbers, so that a study which was interrupted, or two processes with one seed,
would draw the same numbers again. Here each trial has a stream of its own, by the seed and the trial's number.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from metricgate.tune_config import Tune


class ByTrial(BaseSampler):
    """A sampler that is made anew for each trial: what it chooses depends on seed, number and the trials before.

    Args:
        make: Makes the sampler of a seed.
        seed: The study's.
    """

    def __init__(self, make: Callable[[int], BaseSampler], seed: int) -> None:
        self._make = make
        self._seed = seed
        self._inner = make(seed)

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        """Begin a trial."""
        seed = int(np.random.SeedSequence([self._seed, trial.number]).generate_state(1)[0])
        self._inner = self._make(seed)
        self._inner.before_trial(study, trial)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """The parameters that are chosen together."""
        return self._inner.infer_relative_search_space(study, trial)

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Choose them."""
        return self._inner.sample_relative(study, trial, search_space)

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Choose one by itself."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: optuna.Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """End a trial."""
        self._inner.after_trial(study, trial, state, values)


def sampler(tune: Tune) -> BaseSampler:
    """The sampler of a configuration. A grid's trials all wait in the storage; none is left to be chosen."""
    if tune.sampler == "tpe":
        # Trials that others have running count as bad ones: nobody tries their neighbourhood meanwhile.
        return ByTrial(lambda seed: optuna.samplers.TPESampler(seed=seed, constant_liar=True), tune.seed)
    return ByTrial(lambda seed: optuna.samplers.RandomSampler(seed=seed), tune.seed)


def pruner(tune: Tune) -> BasePruner:
    """The pruner of a configuration; one for each thread, because Hyperband's remembers."""
    if tune.pruner == "none":
        return optuna.pruners.NopPruner()
    if tune.pruner == "hyperband":
        return optuna.pruners.HyperbandPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=tune.warmup_trials, n_warmup_steps=tune.warmup_steps)

"""Numbers in, numbers out: the inference behind the gate. No files, no configuration, no GitHub.

Every method answers with an ``Inference``: ``estimate``, ``interval(level)``, ``p_value(null=, alternative=)``, ``df``,
``method``, ``n`` and what the interval ``covers``. What the numbers cannot decide is an ``UndecidableError`` that says why.

Names are imported when they are first used, since numpy and scipy take longer to load than a report takes to show.

>>> import numpy as np
>>> from metricgate import stats
>>> baseline = np.array([[1.0] * 900 + [0.0] * 100])
>>> candidate = np.array([[1.0] * 860 + [0.0] * 130 + [1.0] * 10])
>>> result = stats.paired_difference(candidate, baseline)
>>> result.method, round(result.estimate, 3)
('Tango score test, paired', -0.03)
>>> round(result.p_value(null=-0.01, alternative="less"), 5)
0.00155
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from metricgate.stats.choice import Choice, Facts, choose
    from metricgate.stats.clusters import degrees_of_freedom
    from metricgate.stats.inference import (
        Component,
        Crossed,
        Exact,
        Inference,
        Interval,
        Student,
        UndecidableError,
        combined,
        satterthwaite,
    )
    from metricgate.stats.labelled import labelled_difference
    from metricgate.stats.means import Value, mean, mean_variance, paired_difference, unpaired_difference
    from metricgate.stats.multiplicity import holm
    from metricgate.stats.noise import Noise
    from metricgate.stats.power import examples_needed, minimum_detectable_effect, runs_needed
    from metricgate.stats.proportions import PairedProportions, Proportion
    from metricgate.stats.quantiles import linearise
    from metricgate.stats.sign_flip import SignFlip

__all__ = [
    "Choice",
    "Component",
    "Crossed",
    "Exact",
    "Facts",
    "Inference",
    "Interval",
    "Noise",
    "PairedProportions",
    "Proportion",
    "SignFlip",
    "Student",
    "UndecidableError",
    "Value",
    "choose",
    "combined",
    "degrees_of_freedom",
    "examples_needed",
    "holm",
    "labelled_difference",
    "linearise",
    "mean",
    "mean_variance",
    "minimum_detectable_effect",
    "paired_difference",
    "runs_needed",
    "satterthwaite",
    "unpaired_difference",
]

_MODULES = {
    "choice": ("Choice", "Facts", "choose"),
    "clusters": ("degrees_of_freedom",),
    "inference": (
        "Component",
        "Crossed",
        "Exact",
        "Inference",
        "Interval",
        "Student",
        "UndecidableError",
        "combined",
        "satterthwaite",
    ),
    "labelled": ("labelled_difference",),
    "means": ("Value", "mean", "mean_variance", "paired_difference", "unpaired_difference"),
    "multiplicity": ("holm",),
    "noise": ("Noise",),
    "power": ("examples_needed", "minimum_detectable_effect", "runs_needed"),
    "proportions": ("PairedProportions", "Proportion"),
    "quantiles": ("linearise",),
    "sign_flip": ("SignFlip",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])

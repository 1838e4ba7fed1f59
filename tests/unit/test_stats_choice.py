"""Which method answers for what is there."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.stats import means
from metricgate.stats.choice import MOST_RESAMPLED, Facts, Level, Method, choose
from metricgate.stats.noise import Noise
from metricgate.stats.scatter import Pair

ONE = {"sides": "paired", "examples": 1000}
FEW = {"sides": "paired", "examples": 20}
NOISE = Noise(variance=1e-4, df=10)


@pytest.mark.parametrize(
    ("facts", "method", "reason"),
    [
        ({**ONE, "binary": True}, "score test", "0/1 scores, one run a side"),
        ({**ONE, "binary": True, "identical": True, "noise": True}, "score test", "0/1 scores, the same on every example"),
        ({**ONE, "binary": True, "relative": True}, "paired t", "a relative limit, no known training noise"),
        ({**ONE, "binary": True, "clustered": True}, "paired t", "clusters of examples, no known training noise"),
        ({**ONE, "binary": True, "noise": True}, "crossed", "one run a side, and the training noise is known"),
        ({**ONE, "binary": True, "several": True, "noise": True}, "crossed", "several runs a side"),
        (ONE, "paired t", "numeric scores, no known training noise"),
        ({**ONE, "identical": True}, "identical", "every example has the score it had before"),
        ({**ONE, "identical": True, "varied": False}, "paired t", "numeric scores, no known training noise"),
        (
            {**ONE, "identical": True, "varied": False, "binary": True, "clustered": True},
            "paired t",
            "clusters of examples, no known training noise",
        ),
        ({**ONE, "identical": True, "relative": True}, "paired t", "numeric scores, no known training noise"),
        ({**FEW, "symmetric": True}, "sign flips", "fewer than 30 examples, whose differences are not lopsided"),
        ({**FEW, "symmetric": True, "clustered": True}, "paired t", "clusters of examples, no known training noise"),
        ({**FEW, "symmetric": True, "noise": True}, "crossed", "one run a side, and the training noise is known"),
        ({"sides": "apart", "examples": 100}, "Welch t", "the examples can't be paired"),
        ({"sides": "apart", "examples": 0}, "exact", "values without a standard error, several runs or a history"),
        (
            {"sides": "apart", "examples": 0, "noise": True},
            "t over runs",
            "values without a standard error, whose training noise is known",
        ),
        ({"sides": "alone", "examples": 100, "binary": True}, "binomial test", "0/1 scores, one run"),
        ({"sides": "alone", "examples": 100, "binary": True, "clustered": True}, "t", "clusters of examples"),
        ({"sides": "alone", "examples": 100}, "t", "numeric scores"),
        ({"sides": "alone", "examples": 100, "noise": True, "several": True}, "crossed", "several runs"),
        ({**ONE, "level": "sums"}, "bootstrap", "a metric of the whole test set, one run a side"),
        ({**ONE, "level": "sums", "clustered": True}, "bootstrap", "a metric of the whole test set, one run a side"),
        ({**ONE, "level": "sums", "noise": True}, "influence values", "training noise is known"),
        ({**ONE, "level": "function", "several": True}, "influence values", "several runs"),
        ({**ONE, "level": "roc_auc"}, "DeLong", "the area under the ROC curve, one run a side"),
        ({**ONE, "level": "roc_auc", "clustered": True}, "influence values", "an area under the ROC curve of clusters"),
        ({**ONE, "level": "roc_auc", "weighted": True}, "influence values", "an area under the ROC curve of weighted examples"),
        ({**ONE, "level": "ranking"}, "bootstrap", "a metric of the whole test set, one run a side"),
        (
            {**ONE, "level": "ranking", "examples": MOST_RESAMPLED + 1},
            "influence values",
            "a metric of ranks, more than 20,000 examples",
        ),
    ],
)
def test_what_is_there_decides(facts: dict[str, Any], method: str, reason: str) -> None:
    assert choose(Facts(**facts)) == (method, reason)


@given(
    st.builds(
        Facts,
        sides=st.sampled_from(["paired", "apart", "alone"]),
        examples=st.integers(0, 10**8),
        level=st.sampled_from(get_args(Level)),
        **dict.fromkeys(
            ["binary", "identical", "symmetric", "several", "noise", "clustered", "weighted", "ordered", "relative"],
            st.booleans(),
        ),
    )
)
def test_there_is_always_a_method_and_known_noise_is_never_left_out(facts: Facts) -> None:
    method, reason = choose(facts)
    assert method in get_args(Method)
    assert reason
    unchanged = facts.identical and facts.sides == "paired"
    if facts.noise and not unchanged:
        assert method in {"crossed", "influence values", "t over runs", "Welch t"}


@pytest.mark.parametrize(
    ("scores", "noise", "expected"),
    [
        (([0, 1, 1, 1] * 20, [1, 1, 1, 0] * 20), None, "score test"),
        (([0, 1, 1, 1] * 20, [1, 1, 1, 0] * 20), NOISE, "crossed"),
        ((list(range(80)), [value * 1.01 for value in range(80)]), None, "paired t"),
        ((list(range(9)), [2, 0, 3, 1, 5, 4, 8, 6, 9]), None, "sign flips"),
        ((list(range(9)), list(range(9))), None, "identical"),
    ],
)
def test_the_methods_name_follows_the_choice(
    scores: tuple[list[float], list[float]], noise: Noise | None, expected: str
) -> None:
    candidate, baseline = (np.array([side], dtype=np.float64) for side in scores)
    pair = Pair.of(candidate, baseline, clusters=None)
    assert choose(means.facts_of_pair(pair, baseline_weight=1.0, noise=noise)).method == expected
    names = {
        "score test": "Tango score test",
        "crossed": "examples × seeds, paired",
        "paired t": "paired t",
        "sign flips": "sign",
        "identical": "identical scores",
    }
    assert names[expected] in means.paired(pair, noise=noise).method

"""``metricgate.stats`` as others use it: what it offers, what it costs to import, and the examples in its documentation."""

import doctest
import importlib
import math
import pkgutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy import stats as scipy_stats

from metricgate import stats
from metricgate.stats import noise

MODULES = sorted(module.name for module in pkgutil.iter_modules(stats.__path__))


@pytest.mark.parametrize("name", ["", *MODULES])
def test_the_examples_in_the_documentation_hold(name: str) -> None:
    module = importlib.import_module(f"metricgate.stats.{name}" if name else "metricgate.stats")
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize("name", stats.__all__)
def test_what_it_offers_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(stats, name)
    assert found.__doc__
    assert name in dir(stats)


def test_what_it_does_not_offer_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'magic'"):
        stats.magic  # noqa: B018


def test_words_about_coverage_need_neither_numpy_nor_scipy() -> None:
    code = "import sys, metricgate.stats.coverage; sys.exit('numpy' in sys.modules or 'scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_inference_answers_the_same_questions() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(2, 1, 50))
    right, wrong = rng.integers(0, 2, size=(2, 1, 50)).astype(float)
    noisy = stats.Noise(variance=0.01, df=4)
    for result in (
        stats.paired_difference(x, y),
        stats.paired_difference(x, y, noise=noisy),
        stats.paired_difference(x[:, :20], y[:, :20]),
        stats.paired_difference(right, wrong),
        stats.unpaired_difference(x, y),
        stats.mean(x),
        stats.mean(right),
        stats.unpaired_difference(stats.Value(value=3.0, runs=1), stats.Value(value=2.0, runs=1)),
        stats.labelled_difference("roc_auc", right[0], x[0], y[0]),
        stats.labelled_difference("f1", right[0], wrong[0], 1 - wrong[0]),
        stats.labelled_difference("accuracy", right[0], wrong[0], 1 - wrong[0]),
        stats.labelled_difference(lambda label, prediction, _: np.cov(label, prediction)[0, 1], right[0], x[0], y[0]),
    ):
        low, high, level = result.interval(0.9)
        assert low <= result.estimate <= high
        assert level == 0.9
        assert 0 <= result.p_value(null=0.0, alternative="less") <= 1
        assert result.method
        assert result.covers
        assert result.n >= 1
        assert result.df > 0


def test_the_prediction_interval_over_a_history_of_single_values() -> None:
    # mean ± t · s · sqrt(1 + 1/n), n = 25, mean 100, s 10: a single new value against the runs before it.
    history = 100 + 10 * np.sqrt(24 / 50) * np.array([1.0, -1.0] * 12 + [0.0]) * np.sqrt(50 / 24)
    history = 100 + (history - 100) * 10 / history.std(ddof=1)
    result = stats.unpaired_difference(
        stats.Value(value=0.0, runs=1),
        stats.Value(value=float(history.mean()), runs=25),
        noise=noise.of_values([float(value) for value in history]),
    )
    low, high, _ = result.interval(2 * 0.977 - 1)
    assert (-high, -low) == pytest.approx((78.539097, 121.460903), abs=5e-7)


def test_benjamini_and_hochberg_reject_as_many_as_holm_in_the_textbook_s_example() -> None:
    # The gate uses Holm, which holds whatever the dependence; scipy has the other.
    p = [0.001, 0.008, 0.039, 0.041, 0.9]
    assert sum(value <= 0.05 for value in stats.holm(p)) == 2
    assert int((scipy_stats.false_discovery_control(p) <= 0.05).sum()) == 2
    assert not math.isnan(stats.holm(p)[0])


@pytest.mark.parametrize("more", [{"clusters": np.arange(400) // 4}, {"weight": np.linspace(1, 2, 400)}])
def test_an_area_of_clusters_or_weights_is_judged_by_influence_values(more: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    label = rng.integers(0, 2, 400)
    good, poor = label + rng.normal(size=(2, 400)) * np.array([[0.5], [2.0]])
    result = stats.labelled_difference("roc_auc", label, poor, good, **more)
    assert result.p_value(null=0.0, alternative="less") < 1e-4


def test_a_metric_that_is_not_known_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"there is no metric 'roc_au'; did you mean 'roc_auc'\?"):
        stats.labelled_difference("roc_au", np.zeros(2), np.zeros(2), np.zeros(2))

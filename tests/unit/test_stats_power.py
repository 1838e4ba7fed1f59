"""What a comparison could not have seen."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metricgate.stats import power
from metricgate.stats.inference import Exact, Student
from metricgate.stats.proportions import PairedProportions


def student(*, stderr: float, df: float) -> Student:
    return Student(estimate=0.0, stderr=stderr, df=df, n=100, method="t", covers="test set")


def test_the_normal_case_is_the_textbook_s() -> None:
    effect = power.minimum_detectable_effect(student(stderr=0.01, df=math.inf), alpha=0.05, power=0.8)
    assert effect == pytest.approx(0.01 * (1.6448536269514722 + 0.8416212335729143), rel=1e-10)


@given(st.floats(0.001, 0.2), st.floats(0.5, 0.99), st.floats(1, 1000), st.floats(1e-6, 1e3))
def test_it_is_the_sum_of_both_quantiles_times_the_standard_error(
    alpha: float, wanted: float, df: float, stderr: float
) -> None:
    expected = stderr * (stats.t.ppf(1 - alpha, df) + stats.t.ppf(wanted, df))
    effect = power.minimum_detectable_effect(student(stderr=stderr, df=df), alpha=alpha, power=wanted)
    assert effect == pytest.approx(expected, rel=1e-8)


def test_an_effect_of_that_size_is_seen_with_that_probability() -> None:
    # 4,000 comparisons whose truth lies one minimum detectable effect beyond the limit: the Monte Carlo error is 0.006.
    rng = np.random.default_rng(7)
    stderr = 0.1
    effect = power.minimum_detectable_effect(student(stderr=stderr, df=math.inf), alpha=0.05, power=0.8)
    assert effect is not None
    seen = [
        Student(estimate=-effect + error, stderr=stderr, df=math.inf, n=9, method="", covers="").p_value(
            null=0, alternative="less"
        )
        <= 0.05
        for error in stderr * rng.standard_normal(4000)
    ]
    assert np.mean(seen) == pytest.approx(0.8, abs=0.025)


def test_without_uncertainty_there_is_nothing_to_miss() -> None:
    assert power.minimum_detectable_effect(Exact(estimate=0.5), alpha=0.05, power=0.8) is None


def test_more_examples_see_smaller_effects() -> None:
    small, large = (
        power.minimum_detectable_effect(
            PairedProportions(better=5 * k, worse=5 * k, n=100 * k, covers=""), alpha=0.05, power=0.8
        )
        for k in (1, 16)
    )
    assert small is not None
    assert large is not None
    assert large == pytest.approx(small / 4, rel=0.15)  # a score interval is a little wider in small tables


class TestFactorToSettle:
    def test_half_the_distance_needs_four_times_the_evidence(self) -> None:
        assert power.factor_to_settle(0.01, 0.02) == pytest.approx(4)

    def test_on_the_limit_no_evidence_settles_anything(self) -> None:
        assert power.factor_to_settle(0.0, 0.02) is None

    def test_a_hair_s_breadth_from_it_no_number_of_examples_is_enough(self) -> None:
        assert power.factor_to_settle(1e-300, 0.02) == math.inf

    def test_it_never_advises_less_evidence(self) -> None:
        assert power.factor_to_settle(0.05, 0.02) == 1.0

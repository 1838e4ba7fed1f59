"""The t distribution behind every verdict, exact values, and the degrees of freedom of a sum of variances."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metricgate.stats import inference
from metricgate.stats.inference import Component, Exact, Student, UndecidableError

degrees = st.one_of(st.just(math.inf), st.floats(1.0, 1e6))


def student(*, estimate: float = 0.0, stderr: float = 1.0, df: float = 10.0) -> Student:
    return Student(estimate=estimate, stderr=stderr, df=df, n=11, method="t", covers="test set")


@given(st.floats(-40, 40), degrees)
def test_p_values_are_those_of_scipy(t: float, df: float) -> None:
    reference = stats.norm if math.isinf(df) else stats.t(df)
    result = student(estimate=t, df=df)
    assert result.p_value(null=0, alternative="less") == pytest.approx(reference.cdf(t), rel=1e-10, abs=1e-300)
    assert result.p_value(null=0, alternative="greater") == pytest.approx(reference.sf(t), rel=1e-10, abs=1e-300)


@given(st.floats(0.01, 0.9999), degrees, st.floats(-1e6, 1e6), st.floats(1e-6, 1e6))
def test_an_interval_is_the_estimate_and_quantiles_of_t(level: float, df: float, estimate: float, stderr: float) -> None:
    reference = stats.norm if math.isinf(df) else stats.t(df)
    low, high, told = student(estimate=estimate, stderr=stderr, df=df).interval(level)
    half = reference.ppf(0.5 + level / 2) * stderr
    scale = abs(estimate) + half
    assert low == pytest.approx(estimate - half, rel=1e-10, abs=1e-10 * scale)
    assert high == pytest.approx(estimate + half, rel=1e-10, abs=1e-10 * scale)
    assert told == level


@given(st.floats(0.001, 0.49), st.floats(-3, 3), st.floats(1, 100))
def test_a_null_is_rejected_exactly_where_the_interval_of_twice_the_level_excludes_it(
    alpha: float, estimate: float, df: float
) -> None:
    result = student(estimate=estimate, df=df)
    low, high, _ = result.interval(1 - 2 * alpha)
    assert result.p_value(null=high, alternative="less") == pytest.approx(alpha, rel=1e-6)
    assert result.p_value(null=low, alternative="greater") == pytest.approx(alpha, rel=1e-6)


@pytest.mark.parametrize(
    ("estimate", "stderr", "df"),
    [
        (math.nan, 1, 1),
        (math.inf, 1, 1),
        (0, 0, 1),
        (0, -1, 1),
        (0, math.nan, 1),
        (0, math.inf, 1),
        (0, 1, 0),
        (0, 1, math.nan),
    ],
)
def test_what_is_no_inference_is_refused(estimate: float, stderr: float, df: float) -> None:
    with pytest.raises(UndecidableError):
        student(estimate=estimate, stderr=stderr, df=df)


class TestExact:
    def test_a_value_on_one_side_of_the_limit_is_there_for_certain(self) -> None:
        better, worse = Exact(estimate=0.1), Exact(estimate=-0.1)
        assert better.p_value(null=0, alternative="greater") == 0
        assert better.p_value(null=0, alternative="less") == 1
        assert worse.p_value(null=0, alternative="greater") == 1
        assert worse.p_value(null=0, alternative="less") == 0

    @pytest.mark.parametrize(
        ("candidate", "baseline", "limit"),
        [(0.93, 0.94, -0.01), (0.3, 0.1, 0.2), (1e9 + 0.1, 1e9, 0.1), (3e-14, 1e-14, 2e-14), (0.0, 0.0, 0.0)],
    )
    def test_rounding_crosses_no_limit(self, candidate: float, baseline: float, limit: float) -> None:
        result = Exact(estimate=candidate - baseline, scale=max(abs(candidate), abs(baseline)))
        assert result.p_value(null=limit, alternative="greater") == 0
        assert result.p_value(null=limit, alternative="less") == 0

    @pytest.mark.parametrize(
        ("candidate", "baseline", "limit"), [(10_000_000_001, 10_000_000_000, 0.0), (5e-14, 1e-14, 1e-14), (1e-300, 0.0, 0.0)]
    )
    def test_small_is_not_rounding(self, candidate: float, baseline: float, limit: float) -> None:
        result = Exact(estimate=candidate - baseline, scale=max(abs(candidate), abs(baseline)))
        assert result.p_value(null=limit, alternative="less") == 1

    def test_its_interval_is_itself(self) -> None:
        assert Exact(estimate=0.5).interval(0.95) == (0.5, 0.5, 0.95)


class TestSatterthwaite:
    def test_one_part_keeps_its_degrees_of_freedom(self) -> None:
        assert inference.satterthwaite([Component(2.0, 7)]) == Component(2.0, 7)

    def test_two_equal_parts_have_the_sum(self) -> None:
        assert inference.satterthwaite([Component(1.0, 5), Component(1.0, 5)]) == Component(2.0, 10)

    @given(st.lists(st.tuples(st.floats(1e-6, 1e6), st.floats(1, 1e4)), min_size=1, max_size=5))
    def test_a_sum_lies_between_its_smallest_part_and_all_parts_together(self, parts: list[tuple[float, float]]) -> None:
        total = inference.satterthwaite([Component(*part) for part in parts])
        assert total.variance == pytest.approx(sum(variance for variance, _ in parts))
        assert min(df for _, df in parts) * (1 - 1e-9) <= total.df <= sum(df for _, df in parts) * (1 + 1e-9)

    def test_a_known_part_adds_no_uncertainty_of_its_own(self) -> None:
        total = inference.satterthwaite([Component(1.0, 4), Component(3.0, math.inf)])
        assert total == Component(4.0, 64)
        assert inference.satterthwaite([Component(3.0, math.inf)]).df == math.inf

    def test_a_subtracted_part_makes_the_sum_smaller_and_not_surer(self) -> None:
        total = inference.satterthwaite([Component(2.0, 10), Component(-1.0, 1000)])
        assert total.variance == 1.0
        assert total.df == 10

    def test_the_floor_holds(self) -> None:
        total = inference.satterthwaite([Component(1.0, 99), Component(0.5, 4), Component(-0.9, 400)], floor=1.0)
        assert total.variance == 1.0

    @pytest.mark.parametrize("scale", [1e-300, 1e-160, 1.0, 1e160, 1e300])
    def test_the_unit_does_not_matter(self, scale: float) -> None:
        total = inference.satterthwaite([Component(3 * scale, 9), Component(scale, 1)])
        assert total.df == pytest.approx(8)

    @pytest.mark.parametrize("parts", [(math.inf,), (math.inf, -math.inf), (math.nan, 1.0)])
    def test_variances_beyond_all_numbers_are_no_inference(self, parts: tuple[float, ...]) -> None:
        with pytest.raises(UndecidableError):
            inference.satterthwaite([Component(part, 5) for part in parts])

    def test_no_variance_at_all_is_no_inference(self) -> None:
        with pytest.raises(UndecidableError):
            inference.satterthwaite([Component(0.0, 5), Component(0.0, 5)])

"""Tails of t statistics: averages over an unknown variance, and skewness."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, special, stats

from metricgate.stats import tails
from metricgate.stats.inference import Alternative, Component, Crossed, Inference, Student, combined

SIDES: tuple[Alternative, Alternative] = ("greater", "less")


def crossed(*, examples: float, training: float, df: float, twice: float = 0.0, df_examples: float = 999) -> Crossed:
    result = combined(
        estimate=0.0,
        examples=[Component(examples, df_examples)],
        training=Component(training, df),
        counted_twice=Component(twice, 1e4),
        n=1000,
        method="examples × seeds",
        covers="both",
    )
    assert isinstance(result, Crossed)
    return result


class TestFewSeeds:
    @settings(max_examples=10)  # a hundred integrals each
    @given(st.sampled_from([1.0, 2.0, 3.5, 8.0]), st.floats(0.05, 0.95), st.floats(0.1, 6))
    def test_the_average_over_the_training_noise_is_its_integral(self, df: float, share: float, t: float) -> None:
        result = crossed(examples=1 - share, training=share, df=df, df_examples=math.inf)

        def tail_at(chi2: float) -> float:
            return float(special.ndtr(-t / math.sqrt(1 - share + share * df / chi2)))

        def over(chi2_df: float) -> float:
            density = stats.chi2(chi2_df).pdf
            pieces = [(0, 1), (1, 10), (10, math.inf)]
            return math.fsum(integrate.quad(lambda x: tail_at(x) * density(x), *piece, epsabs=1e-12)[0] for piece in pieces)

        weight = (1 - share) ** (1 + 2 * t * t / df) if df >= 2 else 0.0
        expected = (1 - weight) * over(df) + weight * over(df + 2)
        assert result.p_value(null=-t, alternative="greater") == pytest.approx(expected, rel=1e-5, abs=1e-9)

    @given(st.floats(1, 40), st.floats(0.02, 0.98), st.floats(0, 1))
    def test_further_from_the_null_is_never_less_significant(self, df: float, share: float, overlap: float) -> None:
        result = crossed(examples=1 - share, training=share, df=df, twice=overlap * min(share, 1 - share))
        p = [result.p_value(null=-float(t), alternative="greater") for t in np.linspace(-5, 25, 200)]
        assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(p))

    @given(st.floats(1, 40), st.floats(0.02, 0.98), st.floats(0.0005, 0.4))
    def test_the_interval_holds_what_is_not_rejected(self, df: float, share: float, tail: float) -> None:
        result = crossed(examples=1 - share, training=share, df=df)
        low, high, _ = result.interval(1 - 2 * tail)
        assert result.p_value(null=low, alternative="greater") == pytest.approx(tail, rel=1e-6)
        assert result.p_value(null=high, alternative="less") == pytest.approx(tail, rel=1e-6)

    def test_hardly_any_training_noise_leaves_the_test_set_s_t(self) -> None:
        result = crossed(examples=1.0, training=1e-9, df=2, df_examples=50)
        assert result.p_value(null=-2.0, alternative="greater") == pytest.approx(stats.t(50).sf(2), rel=1e-4)

    def test_nothing_but_training_noise_leaves_t_over_runs(self) -> None:
        result = crossed(examples=1e-9, training=1.0, df=2, df_examples=50)
        assert result.p_value(null=-2.0, alternative="greater") == pytest.approx(stats.t(2).sf(2), rel=1e-3)

    def test_known_training_noise_needs_no_average(self) -> None:
        result = combined(
            estimate=0.0, examples=[Component(1.0, 99)], training=Component(1.0, math.inf), n=100, method="", covers=""
        )
        assert type(result) is Student

    @pytest.mark.parametrize("df", [1, 2, 4, 14])
    @pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
    def test_far_out_it_never_rejects_more_often_than_it_says(self, df: int, share: float) -> None:
        # By integration, not by chance: the rate at a true difference of nothing, averaged over what s² may come out as.
        # Satterthwaite's t has 15 times alpha here at its worst, at one degree of freedom and alpha 0.0005.
        nodes, weights = tails.chi_square(float(df))
        for alpha in (0.05, 0.005, 0.0005):
            thinned = nodes[::4], weights[::4] / weights[::4].sum()
            critical = [
                crossed(examples=1 - share, training=share * x / df, df=df, df_examples=math.inf).interval(1 - 2 * alpha).high
                for x in thinned[0]
            ]
            rate = float(np.dot(thinned[1], stats.norm.sf(critical)))
            assert rate <= 1.25 * alpha
            if df >= 2 and alpha == 0.05:
                assert rate >= 0.6 * alpha


class TestSkewness:
    @given(st.floats(-5, 5), st.floats(-0.6, 0.6))
    def test_straightening_can_be_undone(self, t: float, skewness: float) -> None:
        straight = tails.straightened(t, skewness=skewness)
        back = tails.bent(straight, skewness=skewness)
        # Where the cubic is level, rounding of 1e-16 is a distance of its cube root.
        assert back == pytest.approx(t, abs=1e-4)
        assert tails.straightened(back, skewness=skewness) == pytest.approx(straight, abs=1e-7)

    @given(st.floats(-5, 5), st.floats(0, 1), st.floats(-1, 1))
    def test_the_order_of_statistics_stays(self, t: float, more: float, skewness: float) -> None:
        low, high = (tails.straightened(value, skewness=skewness) for value in (t, t + more))
        assert low <= high + 1e-12

    def result(self, skewness: float) -> Inference:
        return Student(estimate=0.0, stderr=1.0, df=29, n=30, method="t", covers="", skewness=skewness)

    @given(st.floats(-0.6, 0.6), st.floats(-4, 4))
    def test_nothing_is_rejected_that_t_would_not_reject(self, skewness: float, null: float) -> None:
        for side in SIDES:
            assert self.result(skewness).p_value(null=null, alternative=side) >= self.result(0.0).p_value(
                null=null, alternative=side
            )

    @given(st.floats(-0.6, 0.6), st.floats(0.001, 0.45))
    def test_the_interval_holds_what_is_not_rejected(self, skewness: float, tail: float) -> None:
        low, high, _ = self.result(skewness).interval(1 - 2 * tail)
        assert self.result(skewness).p_value(null=low, alternative="greater") == pytest.approx(tail, rel=1e-6)
        assert self.result(skewness).p_value(null=high, alternative="less") == pytest.approx(tail, rel=1e-6)

    def test_it_comes_from_the_third_moments_of_both_sides(self) -> None:
        parts = [Component(2.0, 50, 0.5), Component(2.0, 50, -0.1)]
        result = combined(estimate=0.0, examples=parts, n=50, method="Welch t", covers="")
        assert isinstance(result, Student)
        assert result.skewness == pytest.approx(0.4 / 8)

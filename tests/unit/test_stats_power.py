"""What a comparison could not have seen."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from metricgate.stats import power
from metricgate.stats.inference import Alternative, Component, Exact, Inference, Student, combined
from metricgate.stats.power import Runs, Settlement
from metricgate.stats.proportions import PairedProportions, Proportion


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


@pytest.mark.parametrize("alternative", ["less", "greater"])
@pytest.mark.parametrize(
    "result",
    [
        PairedProportions(better=3, worse=30, n=1000, covers=""),
        Proportion(successes=990, n=1000, covers=""),
        student(stderr=0.01, df=3.0),
        Student(estimate=0.0, stderr=0.01, df=99.0, n=100, method="skewed", covers="", skewness=0.2),
        combined(
            estimate=0.0, examples=[Component(1e-5, 999)], training=Component(3e-5, 4), n=1000, method="crossed", covers=""
        ),
    ],
    ids=["Tango", "Wilson", "t", "skewed t", "examples × seeds"],
)
def test_the_effect_turns_both_tests_by_inversion(result: Inference, alternative: Alternative) -> None:
    # Moved by the effect beyond a limit, the bound at `power` on the far side lies where the test begins to reject.
    alpha, wanted = 0.05, 0.8
    effect = power.minimum_detectable_effect(result, alpha=alpha, power=wanted, alternative=alternative)
    assert effect is not None
    test, seen = result.interval(1 - 2 * alpha), result.interval(2 * wanted - 1)
    begins, far = (test.high, seen.low) if alternative == "less" else (test.low, seen.high)
    rejects: Alternative = alternative
    assert result.p_value(null=begins, alternative=rejects) == pytest.approx(alpha, rel=1e-6)
    other: Alternative = "greater" if alternative == "less" else "less"
    assert result.p_value(null=far, alternative=other) == pytest.approx(1 - wanted, rel=1e-6)
    assert effect == pytest.approx(abs(begins - far))


def test_a_skewed_score_interval_sees_less_on_its_long_side() -> None:
    nearly_perfect = Proportion(successes=995, n=1000, covers="")
    down, up = (
        power.minimum_detectable_effect(nearly_perfect, alpha=0.05, power=0.8, alternative=side) for side in ("greater", "less")
    )
    assert down is not None
    assert up is not None
    assert down != pytest.approx(up, rel=0.05)


def crossed(*, examples: float, training: float, twice: float = 0.0, k: float = 4.0, n: int = 10_000) -> Inference:
    return combined(
        estimate=0.0,
        examples=[Component(examples, n - 1)],
        training=Component(training, k),
        counted_twice=Component(twice, k * (n - 1)) if twice else None,
        n=n,
        method="examples × seeds",
        covers="both",
    )


def settled(result: Inference, *, times: float, runs: Runs) -> Settlement:
    """What makes an effect visible that is so many times smaller than today's."""
    effect = power.minimum_detectable_effect(result, alpha=0.05, power=0.8)
    assert effect is not None
    found = power.settle(result, distance=effect / times, effect=effect, runs=runs, alpha=0.05, power=0.8)
    assert found is not None
    return found


class TestWhatWouldSettleIt:
    THREE = Runs(candidate=3, baseline=3)

    def test_a_score_test_needs_the_square_of_what_is_missing(self) -> None:
        result = PairedProportions(better=30, worse=30, n=1000, covers="")
        assert settled(result, times=2, runs=Runs(candidate=1, baseline=1)) == Settlement(
            more_examples=3000, examples_suffice=True
        )

    def test_what_training_noise_hides_no_example_shows(self) -> None:
        found = settled(crossed(examples=1e-6, training=4e-5), times=1.5, runs=self.THREE)
        assert found.more_examples is None
        assert found.examples_suffice is False
        assert found.seeds is not None
        assert 3 < found.seeds <= 3 * 1.5**2 + 1  # more degrees of freedom help as well

    def test_what_a_small_test_set_hides_no_seed_shows(self) -> None:
        found = settled(crossed(examples=4e-5, training=1e-6), times=1.5, runs=self.THREE)
        assert found.seeds is None
        assert found.seeds_suffice is False
        assert found.more_examples is not None
        assert found.more_examples == pytest.approx(10_000 * (1.5**2 - 1), rel=0.15)

    def test_where_both_have_a_part_either_can_do(self) -> None:
        found = settled(crossed(examples=2e-5, training=2e-5, k=40), times=1.2, runs=self.THREE)
        assert found.examples_suffice
        assert found.seeds_suffice

    def test_where_neither_can_both_must(self) -> None:
        found = settled(crossed(examples=2e-5, training=2e-5, k=1000), times=2, runs=self.THREE)
        assert found == Settlement(examples_suffice=False, seeds_suffice=False)

    def test_the_residual_in_the_scores_shrinks_with_either(self) -> None:
        # a·s² is all residual here: no noise of its own, so that enough examples always do.
        found = settled(crossed(examples=3e-5, training=2e-5, twice=2e-5, k=1000), times=3, runs=self.THREE)
        assert found.examples_suffice
        assert found.seeds_suffice is False

    def test_where_the_training_noise_is_not_known_seeds_are_not_promised(self) -> None:
        result = combined(estimate=0.0, examples=[Component(1e-5, 999)], n=1000, method="paired t", covers="the test set only")
        found = settled(result, times=2, runs=Runs(candidate=1, baseline=1))
        assert found.more_examples == pytest.approx(3000, rel=0.01)
        assert found.seeds is None
        assert found.seeds_suffice is None

    def test_without_examples_there_are_only_runs(self) -> None:
        result = combined(estimate=0.0, training=Component(1e-4, 10), n=3, method="t over runs", covers="the training noise")
        found = settled(result, times=2, runs=self.THREE)
        assert found.more_examples is None
        assert found.examples_suffice is None
        assert found.seeds is not None
        assert found.seeds in range(9, 13)

    def test_a_baseline_with_many_runs_leaves_the_candidate_s_to_be_made(self) -> None:
        few, many = (
            settled(crossed(examples=1e-6, training=4e-5, k=50), times=1.2, runs=Runs(candidate=3, baseline=baseline))
            for baseline in (3, 12)
        )
        assert few.seeds is not None
        assert many.seeds is not None
        assert many.seeds >= few.seeds  # as much has to be gained, and only from one side

    def test_for_a_hair_s_breadth_nothing_is_advised(self) -> None:
        result = crossed(examples=1e-5, training=1e-5)
        assert power.settle(result, distance=1e-6, effect=0.1, runs=self.THREE, alpha=0.05, power=0.8) is None
        assert power.settle(result, distance=0.0, effect=0.1, runs=self.THREE, alpha=0.05, power=0.8) is None
        assert power.settle(result, distance=0.1, effect=math.inf, runs=self.THREE, alpha=0.05, power=0.8) is None

    @settings(deadline=None, max_examples=50)
    @given(
        examples=st.floats(1e-6, 1e-3),
        training=st.floats(1e-6, 1e-3),
        share=st.floats(0, 0.9),
        k=st.floats(2, 60),
        times=st.floats(1.05, 5),
    )
    def test_the_advice_is_enough_for_what_it_promises(
        self, examples: float, training: float, share: float, k: float, times: float
    ) -> None:
        twice = share * min(examples, training)
        found = settled(crossed(examples=examples, training=training, twice=twice, k=k), times=times, runs=self.THREE)
        today = power.minimum_detectable_effect(
            crossed(examples=examples, training=training, twice=twice, k=k), alpha=0.05, power=0.8
        )
        if found.more_examples is not None:
            f = 1 + found.more_examples / 10_000
            planned = crossed(
                examples=examples / f, training=training - twice + twice / f, twice=twice / f, k=k, n=round(10_000 * f)
            )
            then = power.minimum_detectable_effect(planned, alpha=0.05, power=0.8)
            assert then is not None
            assert today is not None
            # The plan scales today's effect by Satterthwaite's approximation, where the method itself is more careful.
            assert then <= 1.25 * today / times


class TestPlanning:
    def test_the_sample_size_of_the_literature(self) -> None:
        # Miller, arXiv:2411.00640: variance 1/9, effect 0.03, 5% two-sided, power 0.8.
        assert power.examples_needed(variance=1 / 9, effect=0.03, alpha=0.05, power=0.8, two_sided=True) == 969

    def test_against_statsmodels(self) -> None:
        from statsmodels.stats.power import normal_sample_size_one_tail

        for variance, effect, alpha, wanted in ((0.08, 0.01, 0.05, 0.8), (1.0, 0.1, 0.01, 0.95)):
            theirs = normal_sample_size_one_tail(effect, wanted, alpha, std_null=math.sqrt(variance))
            assert power.examples_needed(variance=variance, effect=effect, alpha=alpha, power=wanted) == math.ceil(theirs)

    def test_a_paired_test_of_that_size_sees_the_effect_that_often(self) -> None:
        # 3,000 test sets: the Monte Carlo error is 0.007, and the normal plan is a few points off Tango's test.
        discordance, effect = 0.08, 0.02
        n = power.examples_needed(variance=discordance, effect=effect, alpha=0.05, power=0.8)
        rng = np.random.default_rng(11)
        counts = rng.multinomial(n, [(discordance - effect) / 2, (discordance + effect) / 2, 1 - discordance], size=3000)
        seen = [
            PairedProportions(better=int(b), worse=int(c), n=n, covers="").p_value(null=0.0, alternative="less") <= 0.05
            for b, c, _ in counts
        ]
        assert np.mean(seen) == pytest.approx(0.8, abs=0.03)

    @given(variance=st.floats(0.01, 1), noise=st.floats(0, 0.01), runs=st.integers(1, 20), effect=st.floats(0.005, 0.1))
    def test_examples_and_runs_are_two_ways_to_one_effect(
        self, variance: float, noise: float, runs: int, effect: float
    ) -> None:
        examples = power.examples_with_noise(variance=variance, noise=noise, runs=runs, effect=effect, alpha=0.05, power=0.8)
        if examples is None:
            hopeless = power.effect_of(variance=variance, noise=noise, runs=runs, examples=10**12, alpha=0.05, power=0.8)
            assert hopeless >= effect * (1 - 1e-6)
            return
        seen = power.effect_of(variance=variance, noise=noise, runs=runs, examples=examples, alpha=0.05, power=0.8)
        assert seen <= effect * (1 + 1e-9)
        needed = power.runs_needed(variance=variance, noise=noise, examples=examples, effect=effect, alpha=0.05, power=0.8)
        assert needed is not None
        assert needed <= runs

    def test_no_number_of_runs_makes_a_test_set_larger(self) -> None:
        assert power.runs_needed(variance=0.1, noise=0.001, examples=10, effect=0.01, alpha=0.05, power=0.8) is None

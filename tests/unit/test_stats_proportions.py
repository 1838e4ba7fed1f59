"""0/1 scores: Tango's score test with exact tails for pairs, the exact binomial test for one side alone."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from statsmodels.stats import contingency_tables, proportion

from metricgate.stats.inference import Alternative, UndecidableError
from metricgate.stats.proportions import FEW_DISCORDANT, PairedProportions, Proportion

SIDES: tuple[Alternative, Alternative] = ("greater", "less")


def paired(better: int, worse: int, n: int) -> PairedProportions:
    return PairedProportions(better=better, worse=worse, n=n, covers="the test set only")


@st.composite
def tables(draw: st.DrawFn, *, most: int = 2000) -> PairedProportions:
    n = draw(st.integers(2, most))
    better = draw(st.integers(0, n))
    return paired(better, draw(st.integers(0, n - better)), n)


def by_maximum_likelihood(table: PairedProportions, delta: float) -> float:
    """Tango's statistic with the nuisance parameter found by a general optimiser instead of the formula."""
    b, c, n = table.better, table.worse, table.n

    def minus_log_likelihood(q: float) -> float:
        return -float(special.xlogy(b, q + delta) + special.xlogy(c, q) + special.xlogy(n - b - c, 1 - 2 * q - delta))

    found = optimize.minimize_scalar(
        minus_log_likelihood, bounds=(max(0.0, -delta), (1 - delta) / 2), method="bounded", options={"xatol": 1e-13}
    )
    return float((b - c - n * delta) / math.sqrt(n * (2 * found.x + delta - delta**2)))


def by_formula(better: int, worse: int, n: int, delta: float) -> tuple[float, float]:
    """Tango's statistic and q̃, written down once more."""
    linear = -better - worse + (2 * n - better + worse) * delta
    constant = -worse * delta * (1 - delta)
    root = math.sqrt(max(linear**2 - 8 * n * constant, 0.0))
    nuisance = max((root - linear) / (4 * n), 0.0, -delta)
    variance = n * (2 * nuisance + delta * (1 - delta))
    difference = better - worse - n * delta
    if abs(difference) < max(1e-12 * abs(n * delta), 1e-100):  # what rounding leaves of nothing; a small δ is not that
        return 0.0, nuisance
    return (difference / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, difference)), nuisance


def rejection_rate(*, n: int, p_better: float, p_worse: float, side: Alternative, alpha: float) -> float:
    """How often the test at p_better − p_worse rejects, by adding up the probabilities of all tables that it rejects."""
    rate = 0.0
    numbers = np.arange(n + 1)
    worse_probabilities = stats.binom(n, p_worse).pmf(numbers)
    for worse in numbers[worse_probabilities > 1e-7]:
        better = stats.binom(n - worse, p_better / (1 - p_worse)).pmf(numbers[: n - worse + 1])
        for b in np.flatnonzero(better > 1e-5):
            if paired(int(b), int(worse), n).p_value(null=p_better - p_worse, alternative=side) <= alpha:
                rate += worse_probabilities[worse] * better[b]
    return float(rate)


class TestPairs:
    def test_without_margin_it_is_mc_nemar_s_test(self) -> None:
        table = paired(121, 59, 314)
        one_sided = table.p_value(null=0, alternative="greater")
        assert special.ndtri(one_sided) ** 2 == pytest.approx(21.3556, abs=5e-5)
        assert 2 * one_sided == pytest.approx(3.8151e-06, rel=1e-4)

    @given(tables())
    def test_without_margin_it_is_statsmodels(self, table: PairedProportions) -> None:
        assume(table.better != table.worse)
        assume(table.better + table.worse >= FEW_DISCORDANT)
        cells = [[1, table.better], [table.worse, 1]]
        expected = contingency_tables.mcnemar(cells, exact=False, correction=False).pvalue
        smaller_tail = min(table.p_value(null=0, alternative=side) for side in SIDES)
        assert 2 * smaller_tail == pytest.approx(expected, rel=1e-10, abs=1e-300)

    @given(st.integers(0, 24), st.integers(0, 24), st.integers(0, 10**6))
    def test_with_few_discordant_pairs_it_is_the_mid_p_value_of_statsmodels_exact_test(
        self, better: int, worse: int, alike: int
    ) -> None:
        assume(better + worse < FEW_DISCORDANT and better != worse)
        table = paired(better, worse, better + worse + alike + 2)
        exact = contingency_tables.mcnemar([[1, better], [worse, 1]], exact=True).pvalue
        at = stats.binom(better + worse, 0.5).pmf(better)
        smaller_tail = min(table.p_value(null=0, alternative=side) for side in SIDES)
        assert 2 * smaller_tail == pytest.approx(exact - at, rel=1e-10)

    def test_the_published_tests_of_the_table(self) -> None:
        # The exact and the corrected test, which the gate does not use, of the same table: 121 better, 59 worse.
        exact = contingency_tables.mcnemar([[101, 121], [59, 33]], exact=True)
        corrected = contingency_tables.mcnemar([[101, 121], [59, 33]], exact=False, correction=True)
        assert exact.pvalue == pytest.approx(4.43445e-06, rel=1e-5)
        assert (corrected.statistic, corrected.pvalue) == pytest.approx((20.6722, 5.4501e-06), rel=1e-4)
        ours = 2 * paired(121, 59, 314).p_value(null=0, alternative="greater")
        assert ours < exact.pvalue < corrected.pvalue

    def test_no_discordant_pairs_say_nothing_about_a_difference(self) -> None:
        table = paired(0, 0, 50)
        assert 2 * table.p_value(null=0, alternative="less") == 1
        assert 2 * table.p_value(null=0, alternative="greater") == 1

    def test_the_published_interval_is_too_narrow_for_eight_discordant_pairs(self) -> None:
        # By the normal tail, as in Fagerland, Lydersen, Laake 2013, table II, it is (−0.517, −0.026).
        low, high, _ = paired(1, 7, 21).interval(0.95)
        assert (low, high) == pytest.approx((-0.532, -0.020), abs=5e-4)

    @given(st.integers(2, 40), st.floats(-0.5, 0.5) | st.floats(-1e-14, 1e-14), st.data())
    def test_the_exact_tail_is_the_sum_over_all_tables(self, n: int, delta: float, data: st.DataObject) -> None:
        better = data.draw(st.integers(0, min(n, 24)))
        table = paired(better, data.draw(st.integers(0, min(n, 24) - better)), n)
        assume(delta != 0)
        statistic, nuisance = by_formula(table.better, table.worse, n, delta)
        expected = 0.0
        for b in range(n + 1):
            for c in range(n + 1 - b):
                if by_formula(b, c, n, delta)[0] <= statistic + 1e-9 * max(1, abs(statistic)):
                    ways = math.comb(n, b) * math.comb(n - b, c)
                    same = max(1 - 2 * nuisance - delta, 0.0)
                    expected += ways * max(nuisance + delta, 0.0) ** b * nuisance**c * same ** (n - b - c)
        assert table.p_value(null=delta, alternative="less") == pytest.approx(expected, rel=1e-6, abs=1e-12)

    @pytest.mark.parametrize(
        ("n", "margin", "better"),
        [(100, 0.03, 0.5), (100, 0.03, 2), (200, 0.01, 1), (200, 0.03, 0.25), (200, 0.03, 4), (1000, 0.0, 6), (2000, 0.02, 1)],
    )
    def test_the_error_rates_at_the_limit_hold_for_every_share_of_discordant_pairs(
        self, n: int, margin: float, better: float
    ) -> None:
        # Not simulated: the probabilities of all tables are added up. The normal tail has up to 1.7 times alpha here.
        for side in SIDES:
            for alpha in (0.05, 0.005):
                rate = rejection_rate(n=n, p_better=better / n, p_worse=better / n + margin, side=side, alpha=alpha)
                assert rate <= 1.15 * alpha
        assert rejection_rate(n=n, p_better=better / n, p_worse=better / n + margin, side="less", alpha=0.05) >= 0.5 * 0.05

    @settings(max_examples=40)
    @given(tables(), st.floats(-0.95, 0.95))
    def test_the_statistic_is_that_of_the_constrained_maximum_of_the_likelihood(
        self, table: PairedProportions, delta: float
    ) -> None:
        expected = by_maximum_likelihood(table, delta)
        assume(abs(expected) < 30)
        # The optimiser stops within a square root of the rounding error of the likelihood.
        statistic, _ = by_formula(table.better, table.worse, table.n, delta)
        assert statistic == pytest.approx(expected, rel=0.01, abs=0.01)

    @given(tables(), st.floats(0.5, 0.999))
    def test_its_interval_holds_what_the_test_does_not_reject(self, table: PairedProportions, level: float) -> None:
        low, high, _ = table.interval(level)
        tail = (1 - level) / 2
        assert -1 <= low <= table.estimate <= high <= 1
        # An exact tail jumps where another table becomes as extreme, so both sides of a bound are asked.
        step = 1e-6
        if low - step > -1:
            assert table.p_value(null=low - step, alternative="greater") <= 1.02 * tail + 1e-6
        if high + step < 1:
            assert table.p_value(null=high + step, alternative="less") <= 1.02 * tail + 1e-6
        if low not in {-1.0, 0.0, table.estimate}:
            assert table.p_value(null=low + step, alternative="greater") >= 0.98 * tail
        if high not in {1.0, 0.0, table.estimate}:
            assert table.p_value(null=high - step, alternative="less") >= 0.98 * tail

    @example(PairedProportions(better=0, worse=0, n=2, covers=""), -3e-164, 0.5)
    @given(tables(), st.floats(-0.99, 0.99), st.floats(0, 0.5))
    def test_a_larger_allowance_is_easier_to_keep(self, table: PairedProportions, null: float, less: float) -> None:
        lower = max(-1.0, null - less)
        assume(null != 0 != lower)  # where McNemar's mid-p value decides
        smaller = table.p_value(null=lower, alternative="greater")
        # An exact tail may fall a little where a table stops being as extreme as the one that is there.
        # Farther out than 1e-6, the exact tail and the normal one are not compared.
        assert smaller <= 1.15 * table.p_value(null=null, alternative="greater") + 1e-6

    @given(tables(), st.floats(-1, 1))
    def test_both_directions_together_leave_nothing_out(self, table: PairedProportions, null: float) -> None:
        both = table.p_value(null=null, alternative="less") + table.p_value(null=null, alternative="greater")
        assert 1 - 1e-9 <= both <= 2  # exact tails both count the table itself

    @given(tables(), st.floats(-0.999, 0.999))
    def test_turning_both_sides_around_turns_the_answer_around(self, table: PairedProportions, null: float) -> None:
        turned = paired(table.worse, table.better, table.n)
        p = table.p_value(null=null, alternative="less")
        assert turned.p_value(null=-null, alternative="greater") == pytest.approx(p, rel=1e-6, abs=1e-9)

    def test_the_extremes(self) -> None:
        all_worse, all_better = paired(0, 10, 10), paired(10, 0, 10)
        assert all_worse.interval(0.95).low == -1
        assert all_worse.interval(0.95).high < -0.35
        assert all_better.interval(0.95).high == 1
        assert all_worse.p_value(null=0, alternative="less") < 0.001
        assert all_better.p_value(null=0, alternative="less") > 0.999

    def test_nobody_can_lose_more_than_everything(self) -> None:
        assert paired(0, 10, 10).p_value(null=-1, alternative="greater") == 0
        assert paired(0, 10, 10).p_value(null=-1, alternative="less") == 1

    def test_no_discordant_pairs_rule_out_less_the_more_there_are(self) -> None:
        # The exact upper bound of "nothing happened in n": all are spared with probability (1 − δ)ⁿ.
        for n in (2, 30, 1000, 10**6):
            low, high, _ = paired(0, 0, n).interval(0.95)
            bound = -math.expm1(math.log(0.025) / n)
            assert (low, high) == pytest.approx((-bound, bound), rel=1e-6)

    def test_scores_are_counted_by_pair(self) -> None:
        candidate, baseline = np.array([1.0, 1, 0, 0, 1]), np.array([1.0, 0, 1, 0, 0])
        table = PairedProportions.of(candidate, baseline, covers="")
        assert (table.better, table.worse, table.n) == (2, 1, 5)
        assert table.estimate == pytest.approx(0.2)

    @pytest.mark.parametrize("n", [0, 1])
    def test_one_example_is_no_test_set(self, n: int) -> None:
        with pytest.raises(UndecidableError):
            paired(0, 0, n)


class TestOneSide:
    @given(st.integers(2, 10**6), st.floats(0, 1), st.floats(0.5, 0.999))
    def test_its_interval_is_clopper_s_and_pearson_s(self, n: int, share: float, level: float) -> None:
        successes = round(n * share)
        low, high, _ = Proportion(successes=successes, n=n, covers="").interval(level)
        expected = proportion.proportion_confint(successes, n, alpha=1 - level, method="beta")
        assert (low, high) == pytest.approx(expected, rel=1e-10, abs=1e-12)

    @given(st.integers(2, 10**4), st.floats(0, 1), st.floats(0.001, 0.999), st.sampled_from(SIDES))
    def test_its_test_is_scipy_s(self, n: int, share: float, null: float, side: Alternative) -> None:
        successes = round(n * share)
        expected = stats.binomtest(successes, n, null, alternative=side).pvalue
        ours = Proportion(successes=successes, n=n, covers="").p_value(null=null, alternative=side)
        assert ours == pytest.approx(expected, rel=1e-10, abs=1e-300)

    @given(st.integers(2, 10**4), st.floats(0, 1), st.floats(0.001, 0.2))
    def test_its_test_rejects_what_the_interval_excludes(self, n: int, share: float, alpha: float) -> None:
        result = Proportion(successes=round(n * share), n=n, covers="")
        low, high, _ = result.interval(1 - 2 * alpha)
        if low > 1e-9:
            assert result.p_value(null=low, alternative="greater") == pytest.approx(alpha, rel=1e-6)
        if high < 1 - 1e-9:
            assert result.p_value(null=high, alternative="less") == pytest.approx(alpha, rel=1e-6)

    @pytest.mark.parametrize(("n", "bound"), [(30, 0.9), (200, 0.99), (229, 0.99), (1000, 0.999), (5000, 0.9)])
    def test_a_model_exactly_at_its_bound_passes_and_fails_no_more_often_than_alpha(self, n: int, bound: float) -> None:
        for side in SIDES:
            rejected = [
                Proportion(successes=k, n=n, covers="").p_value(null=bound, alternative=side) <= 0.05 for k in range(n + 1)
            ]
            assert float(stats.binom(n, bound).pmf(np.arange(n + 1))[rejected].sum()) <= 0.05

    @pytest.mark.parametrize(
        ("successes", "null", "alternative", "p"),
        [
            (0, 0.0, "greater", 0.0),  # at least 0: nobody misses that
            (5, 0.0, "greater", 0.0),
            (10, 1.0, "greater", 0.0),  # at least 1, and every example is right
            (9, 1.0, "greater", 1.0),
            (9, 1.0, "less", 0.0),
            (0, 0.0, "less", 0.0),  # at most 0
            (1, 0.0, "less", 1.0),
            (1, -0.5, "greater", 0.0),
            (10, 1.5, "less", 0.0),
        ],
    )
    def test_a_bound_at_or_beyond_the_end_is_decided_exactly(
        self, successes: int, null: float, alternative: Alternative, p: float
    ) -> None:
        result = Proportion(successes=successes, n=10, covers="")
        assert result.p_value(null=null, alternative=alternative) == p

    def test_all_right_does_not_prove_that_nothing_ever_goes_wrong(self) -> None:
        few, many = (Proportion(successes=n, n=n, covers="") for n in (20, 2000))
        assert few.p_value(null=0.95, alternative="greater") > 0.05
        assert many.p_value(null=0.95, alternative="greater") < 0.001

    @pytest.mark.parametrize("n", [0, 1])
    def test_one_example_is_no_test_set(self, n: int) -> None:
        with pytest.raises(UndecidableError):
            Proportion(successes=n, n=n, covers="")

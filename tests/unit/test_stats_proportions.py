"""Score tests of 0/1 scores: Tango for pairs, Wilson for one side alone."""

import math

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import optimize, special
from statsmodels.stats import contingency_tables, proportion

from metricgate.stats.inference import Alternative, UndecidableError
from metricgate.stats.proportions import PairedProportions, Proportion

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


class TestPairs:
    def test_without_margin_it_is_mc_nemar_s_test(self) -> None:
        table = paired(121, 59, 314)
        one_sided = table.p_value(null=0, alternative="greater")
        assert special.ndtri(one_sided) ** 2 == pytest.approx(21.3556, abs=5e-5)
        assert 2 * one_sided == pytest.approx(3.8151e-06, rel=1e-4)

    @given(tables())
    def test_without_margin_it_is_statsmodels(self, table: PairedProportions) -> None:
        assume(table.better != table.worse)
        cells = [[1, table.better], [table.worse, 1]]
        expected = contingency_tables.mcnemar(cells, exact=False, correction=False).pvalue
        smaller_tail = min(table.p_value(null=0, alternative=side) for side in SIDES)
        assert 2 * smaller_tail == pytest.approx(expected, rel=1e-10, abs=1e-300)

    def test_no_discordant_pairs_say_nothing_about_a_difference(self) -> None:
        table = paired(0, 0, 50)
        assert 2 * table.p_value(null=0, alternative="less") == 1
        assert 2 * table.p_value(null=0, alternative="greater") == 1

    def test_the_published_interval(self) -> None:
        # Fagerland, Lydersen, Laake 2013, table II.
        low, high, _ = paired(1, 7, 21).interval(0.95)
        assert (low, high) == pytest.approx((-0.517, -0.026), abs=5e-4)

    @settings(max_examples=40)
    @given(tables(), st.floats(-0.95, 0.95))
    def test_the_statistic_is_that_of_the_constrained_maximum_of_the_likelihood(
        self, table: PairedProportions, delta: float
    ) -> None:
        expected = by_maximum_likelihood(table, delta)
        assume(abs(expected) < 30)
        smaller_tail = min(table.p_value(null=delta, alternative=side) for side in SIDES)
        # The optimiser stops within a square root of the rounding error of the likelihood.
        assert -special.ndtri(smaller_tail) == pytest.approx(abs(expected), rel=0.01, abs=0.01)

    @given(tables(), st.floats(0.5, 0.999))
    def test_its_interval_holds_what_the_test_does_not_reject(self, table: PairedProportions, level: float) -> None:
        low, high, _ = table.interval(level)
        tail = (1 - level) / 2
        assert -1 <= low <= table.estimate <= high <= 1
        if low > -1:
            assert table.p_value(null=low, alternative="greater") == pytest.approx(tail, rel=1e-4)
        if high < 1:
            assert table.p_value(null=high, alternative="less") == pytest.approx(tail, rel=1e-4)

    @example(PairedProportions(better=0, worse=0, n=2, covers=""), -3e-164, 0.5)
    @given(tables(), st.floats(-0.99, 0.99), st.floats(0, 0.5))
    def test_a_larger_allowance_is_easier_to_keep(self, table: PairedProportions, null: float, less: float) -> None:
        lower = max(-1.0, null - less)
        assert table.p_value(null=lower, alternative="greater") <= table.p_value(null=null, alternative="greater") + 1e-9

    @given(tables(), st.floats(-1, 1))
    def test_both_directions_together_are_certain(self, table: PairedProportions, null: float) -> None:
        both = table.p_value(null=null, alternative="less") + table.p_value(null=null, alternative="greater")
        assert both == pytest.approx(1)

    @given(tables(), st.floats(-0.999, 0.999))
    def test_turning_both_sides_around_turns_the_answer_around(self, table: PairedProportions, null: float) -> None:
        turned = paired(table.worse, table.better, table.n)
        p = table.p_value(null=null, alternative="less")
        assert turned.p_value(null=-null, alternative="greater") == pytest.approx(p, rel=1e-6, abs=1e-9)

    def test_the_extremes(self) -> None:
        all_worse, all_better = paired(0, 10, 10), paired(10, 0, 10)
        assert all_worse.interval(0.95).low == -1
        assert all_worse.interval(0.95).high < -0.4
        assert all_better.interval(0.95).high == 1
        assert all_worse.p_value(null=0, alternative="less") < 0.001
        assert all_better.p_value(null=0, alternative="less") > 0.999

    def test_nobody_can_lose_more_than_everything(self) -> None:
        assert paired(0, 10, 10).p_value(null=-1, alternative="greater") == 0
        assert paired(0, 10, 10).p_value(null=-1, alternative="less") == 1

    def test_no_discordant_pairs_rule_out_less_the_more_there_are(self) -> None:
        # The upper bound of "nothing happened in n": z² / (n + z²).
        z2 = special.ndtri(0.975) ** 2
        for n in (2, 30, 1000, 10**6):
            low, high, _ = paired(0, 0, n).interval(0.95)
            assert (low, high) == pytest.approx((-z2 / (n + z2), z2 / (n + z2)), rel=1e-6)

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
    def test_its_interval_is_wilson_s(self, n: int, share: float, level: float) -> None:
        successes = round(n * share)
        low, high, _ = Proportion(successes=successes, n=n, covers="").interval(level)
        expected = proportion.proportion_confint(successes, n, alpha=1 - level, method="wilson")
        assert (low, high) == pytest.approx(expected, rel=1e-10, abs=1e-12)

    @given(st.integers(2, 10**4), st.floats(0, 1), st.floats(0.001, 0.2))
    def test_its_test_rejects_what_the_interval_excludes(self, n: int, share: float, alpha: float) -> None:
        result = Proportion(successes=round(n * share), n=n, covers="")
        low, high, _ = result.interval(1 - 2 * alpha)
        if low > 1e-9:
            assert result.p_value(null=low, alternative="greater") == pytest.approx(alpha, rel=1e-6)
        if high < 1 - 1e-9:
            assert result.p_value(null=high, alternative="less") == pytest.approx(alpha, rel=1e-6)

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

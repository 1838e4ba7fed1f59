"""Training noise: from seeds, from recorded commits, from successive commits."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metricgate.stats import noise
from metricgate.stats.inference import UndecidableError
from metricgate.stats.noise import Noise

seeds = st.integers(0, 2**32 - 1)


def of(variance: float, df: float = 2.0) -> Noise:
    return Noise(variance=variance, df=df)


class TestOfScores:
    @given(seeds, st.integers(2, 6), st.integers(2, 30))
    def test_it_is_the_two_way_analysis_of_variance(self, seed: int, runs: int, n: int) -> None:
        x = np.random.default_rng(seed).normal(size=(runs, n))
        found = noise.of_scores(x)
        assert found is not None
        residual = sum((x[k, i] - x[k].mean() - x[:, i].mean() + x.mean()) ** 2 for k in range(runs) for i in range(n))
        assert found.variance == pytest.approx(np.var([row.mean() for row in x], ddof=1), rel=1e-10)
        assert found.residual == pytest.approx(residual / ((n - 1) * (runs - 1)), rel=1e-10)
        assert (found.df, found.residual_df) == (runs - 1, (n - 1) * (runs - 1))

    @given(seeds)
    def test_how_hard_an_example_is_does_not_count(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, hardness = rng.normal(size=(3, 20)), 100 * rng.normal(size=20)
        plain, hard = noise.of_scores(x), noise.of_scores(x + hardness - hardness.mean())
        assert plain is not None
        assert hard is not None
        assert hard.variance == pytest.approx(plain.variance, rel=1e-6)
        assert hard.residual == pytest.approx(plain.residual, rel=1e-6)

    def test_one_run_or_one_example_tells_nothing(self) -> None:
        assert noise.of_scores(np.ones((1, 10))) is None
        assert noise.of_scores(np.ones((3, 1))) is None

    def test_equal_runs_have_no_noise_at_all(self) -> None:
        found = noise.of_scores(np.tile([0.1, 0.7, 0.4], (3, 1)))
        assert found is not None
        assert found.variance == 0


class TestOfValues:
    def test_it_is_the_variance_of_the_sample(self) -> None:
        found = noise.of_values([0.90, 0.92, 0.94])
        assert found is not None
        assert found.variance == pytest.approx(0.0004)
        assert (found.df, found.residual) == (2, 0)
        assert found.sd == pytest.approx(0.02)

    @pytest.mark.parametrize("value", [0.1, 0.3, 1e-9, 1e15, 0.0])
    def test_equal_values_have_no_variance_even_if_their_mean_is_rounded(self, value: float) -> None:
        found = noise.of_values([value] * 3)
        assert found is not None
        assert found.variance == 0

    def test_one_value_tells_nothing(self) -> None:
        assert noise.of_values([0.9]) is None


class TestOfSuccessive:
    def test_four_commits_are_too_few(self) -> None:
        assert noise.of_successive([0.1, 0.2, 0.1, 0.2]) is None

    def test_it_estimates_the_variance_of_runs(self) -> None:
        # The median over 4,000 histories of 40 commits; its Monte Carlo error is below 1%.
        rng = np.random.default_rng(3)
        found = [noise.of_successive(list(values)) for values in 0.01 * rng.standard_normal((4000, 40))]
        assert np.mean([one.variance for one in found if one]) == pytest.approx(0.01**2, rel=0.1)

    def test_its_degrees_of_freedom_describe_how_much_it_varies(self) -> None:
        # For an estimate with df degrees of freedom, 2 · mean² / variance is about df, but for the longer tails of a median.
        rng = np.random.default_rng(4)
        found = [one for values in rng.standard_normal((4000, 40)) if (one := noise.of_successive(list(values)))]
        variances = np.array([one.variance for one in found])
        effective = 2 * variances.mean() ** 2 / variances.var()
        assert 0.7 < found[0].df / effective < 1.3

    def test_commits_that_really_changed_the_model_hardly_count(self) -> None:
        rng = np.random.default_rng(5)
        values = 0.01 * rng.standard_normal(41)
        values[20:] += 0.3
        with_jump, without = noise.of_successive(list(values)), noise.of_successive(list(values[:20]))
        assert with_jump is not None
        assert without is not None
        assert with_jump.sd < 0.02 < np.std(values)


class TestPool:
    @given(st.lists(st.tuples(st.floats(0.5, 2.0), st.integers(1, 5)), min_size=1, max_size=6))
    def test_variances_count_by_their_degrees_of_freedom(self, groups: list[tuple[float, int]]) -> None:
        pooled = noise.pool([of(variance, df) for variance, df in groups], source="here")
        total = sum(df for _, df in groups)
        assert pooled.df == total
        assert pooled.variance == pytest.approx(sum(variance * df for variance, df in groups) / total)
        assert (pooled.groups, pooled.source) == (len(groups), "here")

    def test_residuals_are_pooled_where_they_are_known(self) -> None:
        with_scores = Noise(variance=1.0, df=2, residual=4.0, residual_df=100)
        pooled = noise.pool([with_scores, of(1.0, 2)], source="")
        assert (pooled.residual, pooled.residual_df) == (4.0, 100)
        assert noise.pool([of(1.0)], source="").residual == 0

    def test_gross_differences_are_not_averaged(self) -> None:
        with pytest.raises(UndecidableError, match="differs grossly"):
            noise.pool([of(1e-6, 5), of(1.0, 5)], source="")

    def test_nothing_can_t_be_pooled(self) -> None:
        with pytest.raises(UndecidableError):
            noise.pool([], source="")


class TestBartlett:
    @given(seeds, st.lists(st.integers(2, 8), min_size=2, max_size=5))
    def test_it_is_that_of_scipy(self, seed: int, sizes: list[int]) -> None:
        rng = np.random.default_rng(seed)
        samples = [rng.normal(size=size) for size in sizes]
        noises = [one for sample in samples if (one := noise.of_values(list(sample)))]
        assert noise.bartlett(noises) == pytest.approx(stats.bartlett(*samples).pvalue, rel=1e-9, abs=1e-12)

    def test_runs_that_are_all_alike_are_left_out(self) -> None:
        assert noise.bartlett([of(0.0), of(1.0)]) == 1

    def test_healthy_histories_are_hardly_ever_called_gross(self) -> None:
        # 5,000 times 8 commits of 3 seeds, all with the same noise, at level 0.001: more than 20 would be very unusual.
        variances = np.random.default_rng(6).chisquare(2, size=(5000, 8)) / 2
        gross = sum(noise.bartlett([of(v) for v in row]) < noise.GROSS for row in variances)
        assert gross <= 20


def test_noise_from_the_configuration_is_taken_as_known() -> None:
    found = noise.given(0.006)
    assert found.variance == pytest.approx(0.006**2)
    assert math.isinf(found.df)
    assert "configuration" in found.source

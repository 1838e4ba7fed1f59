"""Scores summed up batch by batch: the sums of all batches are those of all scores."""

import itertools
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import assume, given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import stats

from metricgate.stats import means
from metricgate.stats.inference import Exact, Student
from metricgate.stats.scatter import FEW, Pair, Sample, Scatter, Scores, Spread

seeds = st.integers(0, 2**32 - 1)
cuts = st.lists(st.integers(0, 120), max_size=4)
runs = st.integers(1, 3)


def summed(
    sides: Sequence[Scores],
    cut: Sequence[int],
    *,
    codes: NDArray[np.uint8] | None = None,
    groups: int = 1,
    clusters: NDArray[np.uint8] | None = None,
) -> Scatter:
    """The scatter of batches that begin and end at the cuts."""
    n = sides[0].shape[1]
    width = 256 if clusters is not None else 0
    result = Scatter.empty([len(side) for side in sides], groups=groups, width=width)
    edges = [0, *sorted(min(at, n) for at in cut), n]
    for start, stop in itertools.pairwise(edges):
        at = slice(start, stop)
        result = result.merge(
            Scatter.of(
                [side[:, at] for side in sides],
                codes=None if codes is None else codes[at],
                groups=groups,
                clusters=None if clusters is None else clusters[at],
                width=width,
            )
        )
    return result


def check(spread: Spread, x: Scores, clusters: NDArray[np.uint8] | None = None) -> None:
    assert spread.n == len(x)
    if not len(x):
        return
    assert spread.mean == pytest.approx(x.mean(), rel=1e-10, abs=1e-12)
    assert spread.squares == pytest.approx(np.square(x - x.mean()).sum(), rel=1e-10, abs=1e-20)
    assert (spread.values is not None) == (len(x) < FEW)
    if spread.values is not None:
        assert sorted(spread.values) == pytest.approx(sorted(x))
    if clusters is None:
        assert spread.sizes is None
        assert spread.sums is None
        return
    there = np.unique(clusters)
    assert spread.sizes is not None
    assert spread.sums is not None
    assert spread.sizes.tolist() == [int((clusters == one).sum()) for one in there]
    assert spread.sums == pytest.approx([(x - x.mean())[clusters == one].sum() for one in there], rel=1e-9, abs=1e-10)
    if spread.values is not None:
        assert spread.members is not None
        by_cluster = sorted(zip(there[spread.members], spread.values, strict=True))
        assert [int(cluster) for cluster, _ in by_cluster] == sorted(int(one) for one in clusters)
        assert [value for _, value in by_cluster] == pytest.approx([v for _, v in sorted(zip(clusters, x, strict=True))])


def check_sample(sample: Sample, x: Scores, clusters: NDArray[np.uint8] | None = None) -> None:
    check(sample.spread, x.mean(axis=0), clusters)
    if not x.shape[1]:
        return
    residual = x - x.mean(axis=1, keepdims=True) - x.mean(axis=0) + x.mean()
    assert sample.means == pytest.approx(x.mean(axis=1))
    assert sample.residual == pytest.approx(np.square(residual).sum(), rel=1e-9, abs=1e-20)
    assert sample.binary == bool(np.isin(x, (0, 1)).all())
    assert sample.alike == bool((x == x[0]).all())


class TestBatches:
    @given(seeds, st.integers(0, 120), cuts, runs, st.integers(1, 4), st.booleans(), st.booleans())
    def test_of_one_side(  # noqa: PLR0917
        self, seed: int, n: int, cut: list[int], count: int, groups: int, clustered: bool, binary: bool
    ) -> None:
        rng = np.random.default_rng(seed)
        x = rng.integers(0, 2, (count, n)).astype(float) if binary else rng.normal(3, 1, (count, n))
        codes = rng.integers(0, groups, n).astype(np.uint8)
        clusters = rng.integers(0, 9, n).astype(np.uint8) if clustered else None
        scatter = summed([x], cut, codes=codes, groups=groups, clusters=clusters)
        for group in range(groups):
            at = codes == group
            check_sample(scatter.sample(group), x[:, at], None if clusters is None else clusters[at])
        check_sample(scatter.total().sample(), x, clusters)

    @given(seeds, st.integers(0, 120), cuts, runs, runs, st.booleans(), st.floats(0.5, 1.5))
    def test_of_two_sides(  # noqa: PLR0917
        self, seed: int, n: int, cut: list[int], candidates: int, baselines: int, clustered: bool, weight: float
    ) -> None:
        rng = np.random.default_rng(seed)
        hardness = rng.normal(3, 1, n)
        sides = [hardness + rng.normal(0, 0.1, (count, n)) for count in (candidates, baselines)]
        codes = rng.integers(0, 3, n).astype(np.uint8)
        clusters = rng.integers(0, 9, n).astype(np.uint8) if clustered else None
        scatter = summed(sides, cut, codes=codes, groups=3, clusters=clusters)
        for group, at in [*((group, codes == group) for group in range(3)), (None, np.ones(n, dtype=bool))]:
            pair = scatter.total().pair() if group is None else scatter.pair(group)
            there = None if clusters is None else clusters[at]
            candidate, baseline = (side[:, at] for side in sides)
            check_sample(pair.candidate, candidate, there)
            check_sample(pair.baseline, baseline, there)
            assert pair.identical == (candidates == baselines and not at.any())
            for w in (1.0, weight):
                check(pair.difference(baseline_weight=w), candidate.mean(axis=0) - w * baseline.mean(axis=0), there)

    @given(seeds, st.integers(1, 200), cuts, st.floats(0.5, 1.5))
    def test_the_cubes_are_those_of_all_scores(self, seed: int, n: int, cut: list[int], weight: float) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = np.exp(rng.normal(size=(1, n))), 3 + rng.exponential(size=(2, n))
        pair = summed([candidate, baseline], cut).pair()
        difference = candidate[0] - weight * baseline.mean(axis=0)
        for spread, x in (
            (pair.difference(baseline_weight=weight), difference),
            (pair.candidate.spread, candidate[0]),
            (pair.baseline.spread, baseline.mean(axis=0)),
        ):
            deviations = x - x.mean()
            scale = float((np.abs(deviations) ** 3).sum())
            assert spread.cubes == pytest.approx(float((deviations**3).sum()), rel=1e-9, abs=1e-10 * scale + 1e-12)

    @given(seeds, st.integers(31, 200), cuts)
    def test_the_paired_t_test_is_that_of_scipy(self, seed: int, n: int, cut: list[int]) -> None:
        rng = np.random.default_rng(seed)
        candidate, baseline = rng.normal(size=(2, 1, n))
        result = means.paired(summed([candidate, baseline], cut).pair())
        assume(isinstance(result, Student) and result.skewness == 0)  # one normal sample in a hundred looks skewed
        expected = stats.ttest_rel(candidate[0], baseline[0], alternative="less")
        assert result.p_value(null=0, alternative="less") == pytest.approx(expected.pvalue, rel=1e-10)

    @given(seeds, st.integers(40, 200), cuts)
    def test_clusters_that_lie_in_several_batches_are_those_of_statsmodels(self, seed: int, n: int, cut: list[int]) -> None:
        rng = np.random.default_rng(seed)
        clusters = rng.integers(0, 6, n).astype(np.uint8)
        x = rng.normal(size=n) + clusters
        found = means.mean_variance(summed([x[None]], cut, clusters=clusters).sample().spread)
        fitted = sm.OLS(x, np.ones(n)).fit(cov_type="cluster", cov_kwds={"groups": clusters})
        assert found.variance == pytest.approx(float(fitted.bse[0]) ** 2, rel=1e-9)

    def test_the_same_batches_give_the_same_bytes(self) -> None:
        x = np.random.default_rng(1).normal(size=(2, 5000))
        found = {summed([x[:1], x[1:]], [100, 3000]).products.tobytes() for _ in range(5)}
        assert len(found) == 1


class TestDigits:
    @given(seeds, cuts)
    def test_a_large_offset_costs_none(self, seed: int, cut: list[int]) -> None:
        # A billion and thousandths, all of them exact in binary: what is computed from whole numbers is the truth.
        steps = np.random.default_rng(seed).integers(-500, 500, 120)
        x = 1e9 + steps / 1024
        mean = Fraction(int(steps.sum()), 120)
        squares = sum((int(step) - mean) ** 2 for step in steps) / 1024**2
        assert summed([x[None]], cut).sample().spread.squares == pytest.approx(float(squares), rel=1e-10)

    @given(seeds, cuts)
    def test_a_difference_of_a_billionth_keeps_all_of_its_own(self, seed: int, cut: list[int]) -> None:
        rng = np.random.default_rng(seed)
        baseline = rng.integers(1, 1000, 120).astype(float)
        steps = rng.integers(-500, 500, 120)
        candidate = baseline + steps / 2**30
        difference = summed([candidate[None], baseline[None]], cut).pair().difference()
        mean = Fraction(int(steps.sum()), 120)
        squares = sum((int(step) - mean) ** 2 for step in steps) / 2**60
        assert difference.mean == pytest.approx(float(mean / 2**30), rel=1e-10, abs=1e-25)
        assert difference.squares == pytest.approx(float(squares), rel=1e-10)

    @given(seeds, cuts, runs)
    def test_equal_scores_differ_by_nothing(self, seed: int, cut: list[int], count: int) -> None:
        x = np.random.default_rng(seed).normal(1e6, 1, (count, 120))
        pair = summed([x, x.copy()], cut).pair()
        assert pair.identical
        assert (pair.difference().mean, pair.difference().squares) == (0.0, 0.0)
        assert isinstance(means.paired(pair), Exact)

    def test_runs_that_lie_far_apart_keep_the_digits_of_their_residual(self) -> None:
        rng = np.random.default_rng(2)
        steps = rng.integers(-500, 500, (2, 100)).astype(float)
        far = steps.copy()
        far[1] += 2.0**40
        near, apart = (summed([x], [30, 60]).sample() for x in (steps, far))
        assert apart.residual == pytest.approx(near.residual, rel=1e-9)

    @given(st.floats(1e-3, 1e3), st.floats(-1e6, 1e6), cuts)
    def test_a_candidate_that_is_worse_by_the_limit_everywhere_has_no_variance(
        self, scale: float, offset: float, cut: list[int]
    ) -> None:
        baseline = scale * np.linspace(1, 2, 120) + offset
        pair = summed([0.9 * baseline[None], baseline[None]], cut).pair()
        assert pair.difference(baseline_weight=0.9).squares == 0


class TestFewExamples:
    def test_their_scores_are_kept_for_tests_that_look_at_each(self) -> None:
        x = np.random.default_rng(3).normal(size=(2, FEW - 1))
        values = summed([x[:1], x[1:]], [5]).pair().difference().values
        assert values is not None
        assert values.tolist() == (x[0] - x[1]).tolist()

    def test_of_many_only_the_sums(self) -> None:
        x = np.random.default_rng(3).normal(size=(2, FEW))
        assert summed([x[:1], x[1:]], [5]).pair().difference().values is None


def test_nothing_added_changes_nothing() -> None:
    x = np.random.default_rng(4).normal(size=(1, 50))
    whole, nothing = Scatter.of([x]), Scatter.empty([1])
    for merged in (whole.merge(nothing), nothing.merge(whole)):
        assert merged.sample().spread.squares == whole.sample().spread.squares
        assert merged.sample().mean == whole.sample().mean


def test_arrays_and_sums_give_one_inference() -> None:
    rng = np.random.default_rng(5)
    candidate, baseline = rng.normal(size=(2, 80)), rng.normal(size=(2, 80))
    pair = summed([candidate, baseline], [10, 20]).pair()
    one, other = means.paired(pair), means.paired_difference(candidate, baseline)
    assert isinstance(one, Student)
    assert isinstance(other, Student)
    assert one.stderr == pytest.approx(other.stderr, rel=1e-12)
    assert Pair.of(candidate, baseline).candidate.mean == pytest.approx(candidate.mean())

"""The bounds of ease.ml/ci: every number of the paper, and what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from metricgate.stats import adaptive
from metricgate.stats.adaptive import Adaptivity, Clause


def single(tolerance: float) -> Clause:
    return Clause(weights={"n": 1.0}, greater=True, threshold=0.8, tolerance=tolerance)


def difference(tolerance: float) -> Clause:
    return Clause(weights={"n": 1.0, "o": -1.0}, greater=True, threshold=0.1, tolerance=tolerance)


class TestThePaper:
    """Renggli et al., SysML 2019, for 32 verdicts."""

    @pytest.mark.parametrize(
        ("reliability", "tolerance", "of_single", "of_difference"),
        [
            (0.99, 0.1, (404, 1340), (1753, 5496)),
            (0.99, 0.05, (1615, 5358), (7012, 21984)),
            (0.99, 0.025, (6457, 21429), (28045, 87933)),
            (0.99, 0.01, (40355, 133930), (175282, 549581)),
            (0.9999, 0.05, (2536, 6279), (10696, 25668)),
            (0.9999, 0.01, (63381, 156956), (267385, 641684)),
        ],
    )
    def test_labels_by_hoeffding_without_and_with_full_adaptivity(
        self, reliability: float, tolerance: float, of_single: tuple[int, int], of_difference: tuple[int, int]
    ) -> None:
        for clause, expected in ((single(tolerance), of_single), (difference(tolerance), of_difference)):
            bound = adaptive.split(clause, delta=1 - reliability)
            found = (bound.examples(verdicts=32, adaptivity="none"), bound.examples(verdicts=32, adaptivity="full"))
            assert found == expected

    def test_labels_by_bennett_where_few_answers_differ(self) -> None:
        bound = adaptive.published_bennett(difference(0.01), differing=0.1, delta=0.0001)
        assert bound.examples(verdicts=32, adaptivity="none") == 29_048
        assert bound.examples(verdicts=32, adaptivity="full") == 67_706

    def test_labels_a_commit_where_only_different_answers_are_labelled(self) -> None:
        assert adaptive.labels_a_commit(difference(0.01), differing=0.1, delta=0.0001) == 2_189


@pytest.mark.parametrize("adaptivity", ["none", "first-change", "full"])
@given(examples=st.integers(1, 10**6), tolerance=st.floats(0.001, 0.2), delta=st.floats(1e-6, 0.2))
def test_verdicts_and_examples_are_each_other_s_inverse(
    adaptivity: Adaptivity, examples: int, tolerance: float, delta: float
) -> None:
    bound = adaptive.split(difference(tolerance), delta=delta)
    lasts = bound.verdicts(examples=examples, adaptivity=adaptivity)
    if 1 <= lasts < 10**9:
        assert bound.examples(verdicts=int(lasts), adaptivity=adaptivity) <= examples
        assert bound.examples(verdicts=int(lasts) + 1, adaptivity=adaptivity) >= examples


def test_a_test_set_that_is_too_small_for_one_verdict_lasts_none() -> None:
    assert adaptive.split(single(0.01), delta=0.01).verdicts(examples=100, adaptivity="full") == 0


def test_one_that_is_larger_than_any_count_lasts_for_ever() -> None:
    assert adaptive.split(single(0.1), delta=0.01).verdicts(examples=10**6, adaptivity="none") == math.inf


def test_until_a_change_passes_nobody_has_learned_anything() -> None:
    bound = adaptive.split(single(0.05), delta=0.01)
    assert bound.examples(verdicts=32, adaptivity="first-change") == bound.examples(verdicts=32, adaptivity="none")


class TestTheSplitOfTheTolerance:
    def test_the_share_by_weight_is_the_one_that_needs_least(self) -> None:
        clause = Clause(weights={"n": 1.0, "o": -3.0}, greater=True, threshold=0.0, tolerance=0.1)
        best = adaptive.split(clause, delta=0.01).examples(verdicts=1, adaptivity="none")
        log = math.log(2 / 0.01)

        def needed(share: float) -> float:
            return max(1 * log / (2 * (0.1 * share) ** 2), 9 * log / (2 * (0.1 * (1 - share)) ** 2))

        others = [needed(share) for share in np.linspace(0.05, 0.95, 200)]
        assert best <= min(others) + 1
        assert best == pytest.approx(min(others), rel=0.03)

    def test_one_number_an_example_needs_fewer_than_two_estimates(self) -> None:
        for adaptivity in ("none", "full"):
            labels = [
                bound(difference(0.01), delta=1e-4).examples(verdicts=32, adaptivity=adaptivity)
                for bound in (adaptive.joint, adaptive.split)
            ]
            assert labels[0] < labels[1]

    def test_a_sum_that_no_example_can_reach_costs_nothing(self) -> None:
        # n - o + d: where the models differ, d is 1, so that the sum lies between 0 and 2 and not between -1 and 2.
        clause = Clause(weights={"n": 1.0, "o": -1.0, "d": 1.0}, greater=True, threshold=0.0, tolerance=0.1)
        assert clause.spread == 2


class TestTheBoundsHold:
    def test_bennett_is_kept_by_real_counts(self) -> None:
        # The exact probability that a difference is overestimated by the tolerance, at the n that the bound asks for.
        clause, differing, delta = difference(0.05), 0.1, 0.05
        n = adaptive.bennett(clause, differing=differing, delta=delta).examples(verdicts=1, adaptivity="none")
        assert clause.tolerance is not None
        better = stats.binom(n, differing)  # every difference is an improvement: the most skewed case there is
        assert better.sf(math.ceil(n * (differing + clause.tolerance)) - 1) <= delta

    def test_it_is_for_differences_only(self) -> None:
        with pytest.raises(ValueError, match="n - o"):
            adaptive.bennett(single(0.1), differing=0.1, delta=0.01)

    def test_a_test_on_the_scores_keeps_the_same_promise_with_less(self) -> None:
        log_error = math.log(0.01)
        n = adaptive.examples_of_test(variance=0.25, tolerance=0.05, log_error=log_error)
        assert n < adaptive.joint(single(0.05), delta=0.01).examples(verdicts=1, adaptivity="none")
        assert stats.norm(0, math.sqrt(0.25 / n)).sf(0.05) == pytest.approx(0.01, rel=0.02)


class TestHowOftenAnswersDiffer:
    def test_known(self) -> None:
        assert adaptive.known_difference([Clause(weights={"d": 1.0}, greater=False, threshold=0.1, tolerance=None)]) == 0.1

    def test_tested_it_may_be_twice_the_tolerance_more(self) -> None:
        tested = Clause(weights={"d": 1.0}, greater=False, threshold=0.1, tolerance=0.01)
        assert adaptive.known_difference([tested]) == pytest.approx(0.12)

    def test_a_lower_bound_tells_nothing(self) -> None:
        assert adaptive.known_difference([Clause(weights={"d": 1.0}, greater=True, threshold=0.1, tolerance=0.01)]) is None
        assert adaptive.known_difference([single(0.1)]) is None

    def test_the_variance_of_a_difference_is_at_most_that_share(self) -> None:
        assert adaptive.variance(difference(0.01), differing=0.1) == pytest.approx(0.1 - 0.1**2)
        assert adaptive.variance(single(0.01), differing=0.1) == pytest.approx(0.8 * 0.2)

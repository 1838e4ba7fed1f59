"""Holm's correction."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats import multitest

from metricgate.stats import multiplicity

p_values = st.lists(st.floats(0, 1), min_size=1, max_size=30)


@settings(max_examples=20)  # statsmodels collects garbage in every call
@given(p_values)
def test_it_is_that_of_statsmodels(p: list[float]) -> None:
    expected = multitest.multipletests(p, method="holm")[1]
    assert multiplicity.holm(p) == pytest.approx(expected, rel=1e-10, abs=1e-300)


def test_two_of_the_five_in_the_textbook_are_rejected() -> None:
    adjusted = multiplicity.holm([0.001, 0.008, 0.039, 0.041, 0.9])
    assert [p <= 0.05 for p in adjusted] == [True, True, False, False, False]
    assert adjusted == pytest.approx([0.005, 0.032, 0.117, 0.117, 0.9])


@given(p_values, st.randoms())
def test_the_order_of_the_rules_changes_nothing(p: list[float], random: object) -> None:
    order = list(range(len(p)))
    random.shuffle(order)  # type: ignore[attr-defined]
    adjusted = multiplicity.holm(p)
    assert multiplicity.holm([p[i] for i in order]) == [adjusted[i] for i in order]


@given(p_values)
def test_no_p_value_gets_smaller_or_larger_than_one(p: list[float]) -> None:
    assert all(raw <= adjusted <= 1 for raw, adjusted in zip(p, multiplicity.holm(p), strict=True))


def test_no_rules_need_no_correction() -> None:
    assert multiplicity.holm([]) == []
    assert multiplicity.holm([0.04]) == [0.04]

"""The condition language of ease.ml/ci: what it says, and where a mistake is."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.errors import UsageError
from metricgate.planning import condition
from metricgate.stats.adaptive import Clause


def clause(weights: dict[str, float], *, greater: bool, threshold: float, tolerance: float | None) -> Clause:
    return Clause(weights=weights, greater=greater, threshold=threshold, tolerance=tolerance)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n > 0.8 +/- 0.05", [clause({"n": 1.0}, greater=True, threshold=0.8, tolerance=0.05)]),
        ("n - o > 0.02 +/- 0.01", [clause({"n": 1.0, "o": -1.0}, greater=True, threshold=0.02, tolerance=0.01)]),
        ("n-o>.02±1e-2", [clause({"n": 1.0, "o": -1.0}, greater=True, threshold=0.02, tolerance=0.01)]),
        ("d < 0.1 +/- 0.01", [clause({"d": 1.0}, greater=False, threshold=0.1, tolerance=0.01)]),
        ("d < 0.1", [clause({"d": 1.0}, greater=False, threshold=0.1, tolerance=None)]),
        ("n - 1.1 * o > -0.01 +/- 0.01", [clause({"n": 1.0, "o": -1.1}, greater=True, threshold=-0.01, tolerance=0.01)]),
        ("-o + 2 n > 0 +/- 0.1", [clause({"o": -1.0, "n": 2.0}, greater=True, threshold=0.0, tolerance=0.1)]),
        (
            r"d < 0.1 +/- 0.01 /\ n - o > 0.02 +/- 0.01",
            [
                clause({"d": 1.0}, greater=False, threshold=0.1, tolerance=0.01),
                clause({"n": 1.0, "o": -1.0}, greater=True, threshold=0.02, tolerance=0.01),
            ],
        ),
    ],
)
def test_what_a_condition_says(text: str, expected: list[Clause]) -> None:
    assert list(condition.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "found", "character", "expected"),
    [
        ("m > 0.8 +/- 0.05", "`m` is no variable", 1, "accuracy of the new model"),
        ("n - old > 0.02 +/- 0.01", "did you mean `o`", 5, "of the old one"),
        ("n > 0.8", "no tolerance", 8, "+/- 0.01"),
        ("n + d < 0.1", "no tolerance", 12, "upper bound on d"),
        ("d > 0.1", "no tolerance", 8, "upper bound on d"),
        ("n 0.8 +/- 0.05", "`0.8`", 3, "`>` or `<`"),
        ("n > +/- 0.05", "`+/-`", 5, "a threshold"),
        ("n > 0.8 +/- x", "`x`", 13, "a tolerance"),
        ("n > 0.8 +/- 0", "tolerance is 0", 13, "more than 0"),
        ("n >= 0.8 +/- 0.05", "`>=`", 3, "within a tolerance"),
        ("n - n > 0.8 +/- 0.05", "cancel out", 1, "n (accuracy"),
        ("n > 0.8 +/- 0.05 n", "`n` can't stand here", 18, "another clause"),
        (r"n > 0.8 +/- 0.05 /\ ", "the end", 20, "n (accuracy"),
        ("3 > 0.8 +/- 0.05", "`>`", 3, "no constants"),
        ("n % o > 1 +/- 1", "`%`", 3, "`>` or `<`"),
        ("", "the end", 1, "n (accuracy"),
    ],
)
def test_a_mistake_is_shown_where_it_is(text: str, found: str, character: int, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        condition.parse(text)
    assert found in caught.value.found
    assert f"character {character}" in caught.value.where
    assert expected in caught.value.expected
    assert str(caught.value).splitlines()[2].index("^") == character + 1  # two blanks stand before the condition


@given(st.text(max_size=30))
def test_any_text_is_a_condition_or_an_error_that_says_where(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert condition.parse(text)

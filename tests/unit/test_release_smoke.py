"""How far an answer may be from the right one, and how that is said."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.release import parity
from metricgate.release.parity import Difference, Tolerance
from metricgate.release.smoke import SmokeResult
from metricgate.tensors import Tensor, Value

STRICT = Tolerance(rtol=0.0, atol=0.0)


def floats(*values: Value, name: str = "y", datatype: str = "FP32") -> Tensor:
    return Tensor(name, datatype, (len(values),), values)


def compared(expected: Tensor, found: Tensor, tolerance: Tolerance = STRICT) -> Difference:
    return parity.compare([expected], [found], tolerance)


class TestDifference:
    def test_is_the_sum_and_the_largest_over_all_numbers(self) -> None:
        found = compared(floats(1.0, 2.0, 0.0), floats(1.5, 2.0, -0.25), Tolerance(rtol=0.0, atol=0.5))
        assert found == Difference(sum_squared=0.3125, max_squared=0.25, max_absolute=0.5, max_relative=0.5)

    def test_adds_up_over_answers(self) -> None:
        total = Difference(1.0, 1.0, 1.0, 0.5) + Difference(4.0, 4.0, 2.0, 0.1, "wrong")
        assert total == Difference(5.0, 4.0, 2.0, 0.5, "wrong")

    @given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1))
    def test_of_an_answer_from_itself_is_nothing(self, values: list[float]) -> None:
        assert compared(floats(*values), floats(*values)) == Difference()

    @given(pairs=st.lists(st.tuples(st.floats(-1e300, 1e300), st.floats(-1e300, 1e300)), min_size=1))
    def test_is_finite_whatever_the_answers(self, pairs: list[tuple[float, float]]) -> None:
        expected, found = zip(*pairs, strict=True)
        once = compared(floats(*expected), floats(*found))
        total = once + once
        assert all(map(math.isfinite, (total.sum_squared, total.max_squared, total.max_absolute, total.max_relative)))

    @given(expected=st.floats(-1e6, 1e6), distance=st.floats(0, 10))
    def test_is_wrong_exactly_beyond_the_tolerance(self, expected: float, distance: float) -> None:
        found = compared(floats(expected), floats(expected + distance), Tolerance(rtol=0.01, atol=0.5))
        assert bool(found.wrong) == (abs(expected + distance - expected) > 0.5 + 0.01 * abs(expected))


class TestWrong:
    def test_names_the_first_few_values_and_where_they_stand(self) -> None:
        expected, found = Tensor("y", "FP32", (2, 3), tuple(map(float, range(6)))), Tensor("y", "FP32", (2, 3), (9.0,) * 6)
        said = compared(expected, found).wrong
        assert said.startswith(
            "output 'y': 6 of 6 values are wrong: expected 0 at [0, 0], found 9 at [0, 0]; expected 1 at [0, 1]"
        )
        assert said.endswith("expected 4 at [1, 1], found 9 at [1, 1]; and 1 more")

    @pytest.mark.parametrize(
        ("expected", "found", "said"),
        [
            (floats(1.0, 2.0), floats(1.0), "expected the shape [2], found [1]"),
            (floats(1.0), floats(1.0, name="z"), "expected the output 'y', found 'z'"),
            (floats(1, datatype="INT64"), floats(1.0), "expected values of the type INT64, found values of the type FP32"),
            (floats(1.0), floats("1.0", datatype="BYTES"), "found values of the type BYTES"),
            (floats(1, datatype="INT64"), floats(2, datatype="INT64"), "expected 1 at [0], found 2"),
            (floats(1, datatype=""), floats(2, datatype=""), "expected 1 at [0], found 2"),
            (floats(1, datatype="INT64"), floats(1.25, datatype=""), "expected 1 at [0], found 1.25"),
            (floats(True, datatype="BOOL"), floats(False, datatype="BOOL"), "expected True at [0], found False"),
            (floats(1, datatype=""), floats(True, datatype=""), "found values of the type bool"),
            (floats("cat", datatype="BYTES"), floats("dog", datatype="BYTES"), "expected 'cat' at [0], found 'dog'"),
        ],
    )
    def test_is_what_no_tolerance_makes_right(self, expected: Tensor, found: Tensor, said: str) -> None:
        assert said in compared(expected, found, Tolerance(rtol=10.0, atol=10.0)).wrong

    @pytest.mark.parametrize(
        ("expected", "found"),
        [
            (floats(1, datatype=""), floats(1.0)),  # JSON of v1 does not tell a whole number from a float
            (floats(1.0), floats(1, datatype="")),
            (floats(1, datatype="INT32"), floats(1, datatype="INT64")),
            (floats(1.0, name=""), floats(1.0)),
            (floats(1.0), floats(1.0, name="")),
            (floats(b"hi", datatype=""), floats("hi", datatype="BYTES")),
        ],
    )
    def test_is_not_what_two_protocols_write_differently(self, expected: Tensor, found: Tensor) -> None:
        assert compared(expected, found) == Difference()

    def test_is_not_an_output_that_nobody_expects(self) -> None:
        assert parity.compare([floats(1.0)], [floats(5.0, name="z"), floats(1.0)], STRICT) == Difference()

    def test_is_one_answer_without_a_name_among_several(self) -> None:
        found = parity.compare([floats(1.0, name="")], [floats(1.0), floats(1.0, name="z")], STRICT)
        assert found.wrong == "expected one output without a name, found 'y', 'z'"


def test_a_result_is_a_json_document() -> None:
    result = SmokeResult(
        exchanges=2,
        protocol="v2",
        sum_squared_difference=0.5,
        max_squared_difference=0.25,
        max_absolute_difference=0.5,
        max_relative_difference=0.1,
        tolerance=Tolerance(),
        p50_ms=1.0,
        p95_ms=2.0,
        ready_s=0.5,
        stopped_s=0.1,
        malformed_statuses={"v2: broken JSON": 400},
    )
    document = result.to_document()
    assert json.loads(json.dumps(document)) == document
    assert document["tolerance"] == {"rtol": 1e-4, "atol": 1e-5}

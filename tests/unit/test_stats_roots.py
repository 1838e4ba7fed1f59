"""Roots of a function of one number, as scipy finds them."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import optimize

from metricgate.stats import roots

# Of the distance from the root: steep and flat there, with a step, and with a tail that is almost level.
SHAPES: dict[str, Callable[[float], float]] = {
    "line": lambda x: 3 * x,
    "cube": lambda x: x**3,
    "root": lambda x: math.copysign(math.sqrt(abs(x)), x),
    "step": lambda x: math.copysign(1.0, x),
    "tail": math.tanh,
    "curve": lambda x: math.expm1(min(x, 50.0)),
}


class Counted:
    """A function of one of those shapes that knows how often it was called."""

    def __init__(self, shape: str, root: float, *, sign: int = 1) -> None:
        self.shape, self.root, self.sign, self.calls = SHAPES[shape], root, sign, 0

    def __call__(self, x: float) -> float:
        self.calls += 1
        return self.sign * self.shape(x - self.root)


@given(
    shape=st.sampled_from(sorted(SHAPES)),
    root=st.floats(-1e6, 1e6),
    before=st.floats(1e-6, 100.0),
    after=st.floats(1e-6, 100.0),
    falls=st.booleans(),
    from_above=st.booleans(),
)
def test_the_root_is_found_whatever_the_function_looks_like(
    *, shape: str, root: float, before: float, after: float, falls: bool, from_above: bool
) -> None:
    function = Counted(shape, root, sign=-1 if falls else 1)
    ends = (root - before, root + after)
    found = roots.between(function, *(reversed(ends) if from_above else ends), xtol=1e-9)
    close = 2e-9 + 2e-12 * abs(root)
    # The cube is zero within rounding already where it is not at its root.
    assert abs(found - root) <= close or abs(SHAPES[shape](found - root)) < 1e-300
    assert function.calls < 200


def test_it_asks_no_oftener_than_brent_s_method() -> None:
    ours = theirs = 0
    for number in range(1, 200):
        root = math.sqrt(number) - 7
        for shape in ("line", "tail", "curve"):
            mine, brent = Counted(shape, root), Counted(shape, root)
            found = roots.between(mine, root - 1.5, root + 4, xtol=1e-12)
            assert found == pytest.approx(optimize.brentq(brent, root - 1.5, root + 4, xtol=1e-12, rtol=1e-12), abs=1e-11)
            ours, theirs = ours + mine.calls, theirs + brent.calls
    assert ours <= 1.1 * theirs


@pytest.mark.parametrize("ends", [(0.0, 2.0), (-2.0, 0.0), (0.0, -2.0)])
def test_an_end_may_be_the_root(ends: tuple[float, float]) -> None:
    assert roots.between(lambda x: x**3, *ends, xtol=1e-12) == 0.0


@pytest.mark.parametrize("sign", [1, -1])
def test_where_the_sign_does_not_change_there_is_no_answer(sign: int) -> None:
    with pytest.raises(ValueError, match="the same sign"):
        roots.between(lambda x: sign * (x * x + 1e-300), -1.0, 2.0, xtol=1e-12)

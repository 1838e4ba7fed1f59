"""A small version of benchmarks/calibration: the false-fail and false-pass rates at a truth exactly on the limit.

Seeded, with few repetitions; a rate may exceed what the full study allows by four standard errors of the simulation.
"""

import math

import pytest
from benchmarks.calibration import exact, regimes
from benchmarks.calibration.rates import ALPHA, Row


def assert_in_bounds(row: Row, *, at_least: float = 0.0) -> None:
    allowance = 4 * math.sqrt(ALPHA / row.repetitions) if row.repetitions else 0.0
    for rate in (row.fails, row.passes):
        if rate is not None:
            assert at_least * ALPHA - allowance <= rate <= 1.3 * ALPHA + allowance, row


@pytest.mark.parametrize("scores", ["normal", "t with 3 df", "exponential", "log-normal, sd of log 1.5"])
@pytest.mark.parametrize("n", [30, 200])
def test_numeric_pairs(scores: str, n: int) -> None:
    row = regimes.paired_t(scores, n, effort=0.3)
    assert_in_bounds(row)
    assert row.fails >= 0.4 * ALPHA


@pytest.mark.parametrize("scores", ["normal", "exponential"])
def test_few_numeric_pairs(scores: str) -> None:
    assert_in_bounds(regimes.sign_flip(scores, 20, effort=0.5))


@pytest.mark.parametrize(("kind", "count"), [("equal", 3), ("5 to 50 examples", 10), ("one with half of all", 10)])
def test_clusters(kind: str, count: int) -> None:
    row = regimes.clustered(kind, count, effort=0.3)
    assert_in_bounds(row)
    assert row.fails >= 0.3 * ALPHA


@pytest.mark.parametrize("runs", [2, 3])
@pytest.mark.parametrize("share", [0.2, 0.9])
def test_seeds(runs: int, share: float) -> None:
    assert_in_bounds(regimes.seeds(runs, 0, share, effort=0.3), at_least=0.5)


def test_many_slices_of_few_seeds() -> None:
    # With Satterthwaite's degrees of freedom this was 0.077.
    assert_in_bounds(regimes.family(2, 0, 11, effort=0.2))


def test_0_and_1() -> None:
    for row in exact.paired_rows()[:9]:
        assert max(row.fails, row.passes or 0.0) <= (1.1 if row.large else 1.3) * ALPHA, row
    for row in exact.family_rows()[:2]:
        assert row.fails <= 1.1 * ALPHA, row

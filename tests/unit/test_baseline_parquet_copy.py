"""A score table kept as Parquet answers every question as the file that the evaluation wrote."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metricgate.baseline import parquet_copy
from metricgate.score_table import ScoreTable

ID, SCORE, SLICE = "example_id", "accuracy", "label"


def write(folder: Path, columns: Mapping[str, Sequence[object]], *, suffix: str) -> Path:
    file = folder / f"scores{suffix}"
    rows = list(zip(*columns.values(), strict=True))
    if suffix == ".jsonl":
        file.write_text("".join(json.dumps(dict(zip(columns, row, strict=True))) + "\n" for row in rows), encoding="utf-8")
    else:
        with file.open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([[*columns], *rows])
    return file


def copy(file: Path) -> Path:
    return parquet_copy.of(file, numbers={SCORE}, texts={ID, SLICE})


def check_same(file: Path, made: Path) -> None:
    one, other = ScoreTable.open(file, id=ID), ScoreTable.open(made, id=ID)
    assert list(one.columns) == list(other.columns)
    assert one.ids_at(range(one.n)) == other.ids_at(range(other.n))
    assert one.fingerprint([SLICE]) == other.fingerprint([SLICE])
    np.testing.assert_array_equal(one.scores(SCORE), other.scores(SCORE))
    first, second = one.groups(SLICE), other.groups(SLICE)
    assert first.names == second.names
    np.testing.assert_array_equal(first.codes, second.codes)


IDS: Mapping[str, Sequence[object]] = {
    "names": ["a", "b", "c"],
    "numbers": [1, 2, 3],
    "leading zeros": ["001", "002", "010"],
    "versions": ["1.1", "1.10", "1.100"],
    "wide": [2**63 - 1, 2**63, 2**64],
    "decimals": [0.1, 0.25, 1e-07],
}
SCORES: Mapping[str, Sequence[object]] = {
    "whole": [0, 1, 1],
    "booleans": ["True", "False", "True"],
    "decimals": [0.1, 1e-09, 123456.789],
    "written with digits": ["0.50", "1.00", "0.25"],
    "mixed": [0, 0.5, "1"],
    "large": ["12345678901234567890", "1", "2"],
}
SLICES: Mapping[str, Sequence[object]] = {
    "names": ["cat", "dog", "cat"],
    "whole": ["3.0", "7", "3"],
    "booleans": ["true", "False", "True"],
    "odd": ["1.50", "1.5", "x"],
}


@pytest.mark.parametrize("ids", IDS)
@pytest.mark.parametrize("scores", SCORES)
@pytest.mark.parametrize("slices", SLICES)
def test_csv(tmp_path: Path, ids: str, scores: str, slices: str) -> None:
    file = write(tmp_path, {ID: IDS[ids], SLICE: SLICES[slices], SCORE: SCORES[scores]}, suffix=".csv")
    made = copy(file)
    assert made.suffix == ".parquet"
    check_same(file, made)


@pytest.mark.parametrize("scores", [[0, 1, 1], [True, False, True], [0.1, 1e-9, 12.5], [0, 0.5, 1]])
@pytest.mark.parametrize("ids", [["a", "b", "c"], [1, 2, 3], ["1", "2", "3"], ["01", "1", "1.0"]])
def test_json_lines(tmp_path: Path, ids: list[object], scores: list[object]) -> None:
    file = write(tmp_path, {ID: ids, SLICE: ["x", "y", "x"], SCORE: scores}, suffix=".jsonl")
    check_same(file, copy(file))


def test_parquet_stays_what_it_is(tmp_path: Path) -> None:
    made = copy(write(tmp_path, {ID: ["a"], SLICE: ["x"], SCORE: [1]}, suffix=".csv"))
    assert copy(made) == made


def test_a_column_that_no_type_keeps_stays_in_the_file_as_it_is(tmp_path: Path) -> None:
    file = write(tmp_path, {ID: ["a", "b"], SCORE: ["0.50", "1"]}, suffix=".csv")
    assert parquet_copy.of(file, numbers={SCORE}, texts={ID, SCORE}) == file


def test_names_that_the_engine_can_not_tell_apart_stay_in_the_file_as_it_is(tmp_path: Path) -> None:
    file = write(tmp_path, {ID: ["a", "b"], SCORE: [0, 1], SCORE.upper(): [1, 0]}, suffix=".csv")
    assert copy(file) == file


def test_the_same_table_gives_the_same_bytes(tmp_path: Path) -> None:
    columns: Mapping[str, Sequence[object]] = {
        ID: [f"e{i}" for i in range(20_000)],
        SLICE: ["x", "y"] * 10_000,
        SCORE: [i % 7 / 7 for i in range(20_000)],
    }
    file = write(tmp_path, columns, suffix=".csv")
    assert copy(file).read_bytes() == copy(file).read_bytes()


CELLS = st.one_of(
    st.integers().map(str), st.floats(allow_nan=False, allow_infinity=False).map(repr), st.decimals(-9, 9, places=2).map(str)
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.from_regex(r"[0-9a-z._-]{1,6}", fullmatch=True), CELLS, CELLS),
        min_size=1,
        max_size=6,
        unique_by=lambda row: row[0],
    )
)
def test_any_csv(tmp_path: Path, rows: list[tuple[str, str, str]]) -> None:
    ids, slices, scores = zip(*rows, strict=True)
    file = write(tmp_path, {ID: ids, SLICE: slices, SCORE: scores}, suffix=".csv")
    check_same(file, copy(file))

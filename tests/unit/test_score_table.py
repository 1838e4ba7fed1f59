"""What a score table promises, whatever the format of its file."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metricgate.errors import InputError
from metricgate.groups import RANGE, natural_order
from metricgate.score_table import ScoreTable

FORMATS = (".parquet", ".csv", ".jsonl")
Columns = Mapping[str, Sequence[Any]]

# What CSV can't say at all: nothing (it is a missing value), and NUL.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)

# Each example makes its own file below the test's folder, so sharing the folder is safe.
in_one_folder = settings(deadline=None, max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])


def write(file: Path, columns: Columns) -> Path:
    """Write a table in the format that the file's name says, with the format's usual library."""
    rows = list(zip(*columns.values(), strict=True))
    if file.suffix == ".parquet":
        pq.write_table(pa.table(dict(columns)), file)
    elif file.suffix == ".csv":
        with file.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(columns)
            writer.writerows(rows)
    else:
        lines = [json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False) for row in rows]
        file.write_bytes("".join(line + "\n" for line in lines).encode())
    return file


def shuffled(columns: Columns, order: Iterable[int]) -> dict[str, list[Any]]:
    order = list(order)
    return {name: [values[position] for position in order] for name, values in columns.items()}


@pytest.fixture(params=FORMATS)
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / f"scores{request.param}"


def digits(**changes: Sequence[Any]) -> dict[str, Sequence[Any]]:
    table: dict[str, Sequence[Any]] = {
        "example_id": ["a", "b", "c"],
        "label": [10, 2, 10],
        "accuracy": [True, False, True],
        "loss": [0.5, 1e-3, 2.0],
    }
    return table | changes


def problem(path: Path, column: str | None = None) -> str:
    """What a person is told about the table, or about one of its score columns."""
    with pytest.raises(InputError) as raised:
        ScoreTable.open(path, id="example_id").scores(column or "no such column")
    return str(raised.value)


class TestReading:
    def test_a_table_knows_its_size_and_what_its_columns_are(self, file: Path) -> None:
        table = ScoreTable.open(write(file, digits()), id="example_id")
        assert table.n == 3
        assert table.has_ids
        assert list(table.columns.items()) == [
            ("example_id", "text"),
            ("label", "number"),
            ("accuracy", "boolean"),
            ("loss", "number"),
        ]

    def test_scores_come_in_the_order_of_the_file_and_true_is_one(self, file: Path) -> None:
        table = ScoreTable.open(write(file, digits()), id="example_id")
        assert table.scores("accuracy").tolist() == [1.0, 0.0, 1.0]
        assert table.scores("loss").tolist() == [0.5, 1e-3, 2.0]
        assert table.scores("label").dtype == np.float64

    def test_scores_can_not_be_changed_for_the_next_reader(self, file: Path) -> None:
        table = ScoreTable.open(write(file, digits()), id="example_id")
        before = table.scores("loss").tolist()
        table.scores("loss")[0] = 9.0
        assert table.scores("loss").tolist() == before

    def test_some_rows_are_read_without_the_others(self, file: Path) -> None:
        table = ScoreTable.open(write(file, digits()), id="example_id")
        assert table.scores("loss", start=1, stop=3).tolist() == table.scores("loss").tolist()[1:3]

    @given(st.lists(finite, min_size=1, max_size=30))
    @in_one_folder
    def test_every_finite_number_survives_every_format(self, tmp_path: Path, values: list[float]) -> None:
        for suffix in FORMATS:
            columns: Columns = {"example_id": list(range(len(values))), "loss": values}
            table = ScoreTable.open(write(tmp_path / f"scores{suffix}", columns), id="example_id")
            assert table.scores("loss").tolist() == values

    @given(st.lists(texts, min_size=1, max_size=10, unique=True))
    @in_one_folder
    def test_every_id_survives_every_format(self, tmp_path: Path, ids: list[str]) -> None:
        for suffix in FORMATS:
            columns: Columns = {"example_id": ids, "loss": [0.0] * len(ids)}
            table = ScoreTable.open(write(tmp_path / f"scores{suffix}", columns), id="example_id")
            assert table.ids_at(range(len(ids))) == ids

    @pytest.mark.parametrize(
        "name", ['a"b; drop table x', "it's", "a,b", "Größe 😀", "file_row_number", "SELECT", "$.x/~1[0]", " ", "c0"]
    )
    def test_a_column_may_have_any_name(self, file: Path, name: str) -> None:
        table = ScoreTable.open(write(file, {"example_id": ["x"], name: [0.25]}), id="example_id")
        assert table.scores(name).tolist() == [0.25]
        assert table.groups(name).names == ("0.25",)

    def test_names_that_differ_in_case_are_two_columns(self, file: Path) -> None:
        table = ScoreTable.open(write(file, {"example_id": ["x"], "Loss": [1.0], "loss": [2.0]}), id="example_id")
        assert (table.scores("Loss").tolist(), table.scores("loss").tolist()) == ([1.0], [2.0])

    @pytest.mark.parametrize("folder", ["seed=0", "with space", "star*", "[a]", "it's", "ü", "%41"])
    def test_a_file_may_be_in_any_folder(self, file: Path, folder: str) -> None:
        inside = file.parent / folder / file.name
        inside.parent.mkdir()
        table = ScoreTable.open(write(inside, digits()), id="example_id")
        assert list(table.columns) == list(digits())

    def test_a_pattern_in_a_name_reads_only_the_file_of_that_name(self, tmp_path: Path) -> None:
        write(tmp_path / "ab.parquet", digits())
        assert ScoreTable.open(write(tmp_path / "a*.parquet", digits()), id="example_id").n == 3

    def test_integers_beyond_a_double_are_exact_as_ids(self, file: Path) -> None:
        ids = [2**53, 2**53 + 1, 2**63 - 1]
        table = ScoreTable.open(write(file, digits(example_id=ids)), id="example_id")
        assert table.ids_at([2, 1, 0]) == [str(i) for i in reversed(ids)]

    def test_csv_spells_booleans_and_numbers_in_many_ways(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.csv"
        file.write_bytes(b"\xef\xbb\xbfexample_id,accuracy,loss\r\na,true,1e-3\r\nb,False,-.5\r\nc,1,+2\r\nd,0,3.\r\n")
        table = ScoreTable.open(file, id="example_id")
        assert table.scores("accuracy").tolist() == [1.0, 0.0, 1.0, 0.0]
        assert table.scores("loss").tolist() == [0.001, -0.5, 2.0, 3.0]

    def test_nested_columns_do_not_disturb_their_neighbours(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.parquet"
        nested = {"example_id": ["a"], "boxes": [[{"x": 1, "y": [1, 2]}]], "loss": [0.5], "tags": [{"k": "v"}]}
        pq.write_table(pa.table(nested), file)
        table = ScoreTable.open(file, id="example_id")
        assert table.columns == {"example_id": "text", "boxes": "text", "loss": "number", "tags": "text"}

    @pytest.mark.parametrize(
        "values",
        [
            pa.array([1, 2], pa.float32()),
            pa.array([1, 2], pa.int8()),
            pa.array([1, 2], pa.uint64()),
            pa.array([Decimal(1), Decimal(2)], pa.decimal128(12, 2)),
            pa.array([1, 2]).dictionary_encode(),
        ],
        ids=lambda values: str(values.type),
    )
    def test_every_kind_of_number_in_parquet_is_a_number(self, tmp_path: Path, values: pa.Array) -> None:
        table = ScoreTable.open(write(tmp_path / "scores.parquet", {"v": values}), id=None)
        assert table.columns == {"v": "number"}
        assert table.scores("v").tolist() == [1.0, 2.0]
        assert table.groups("v").names == ("1", "2")

    def test_a_table_without_ids_is_an_error_only_where_ids_are_needed(self, file: Path) -> None:
        path = write(file, {"loss": [1.0, 2.0]})
        assert "there is no column 'example_id'" in problem(path)
        table = ScoreTable.open(path, id="example_id", require_id=False)
        assert (table.n, table.has_ids) == (2, False)
        with pytest.raises(InputError, match="no id column"):
            table.align(table)
        with pytest.raises(InputError, match="no id column"):
            table.fingerprint([])


class TestGroups:
    def test_names_are_in_natural_order_and_codes_point_at_them(self, file: Path) -> None:
        groups = ScoreTable.open(write(file, digits()), id="example_id").groups("label")
        assert groups.names == ("2", "10")
        assert groups.codes.tolist() == [1, 0, 1]
        assert groups.codes.dtype == np.uint8

    @pytest.mark.parametrize(
        "values",
        [
            [3, 10, 3],
            [3.0, 10.0, 3.0],
            [0.5, 0.0, -0.0],
            [True, False, True],
            ["x", "3.10", "3.1"],
            ["a, b", 'q"', "a\nb"],
            ["07", "7", "x"],
        ],
    )
    def test_the_same_values_have_the_same_names_in_every_format(self, tmp_path: Path, values: list[Any]) -> None:
        found = []
        for suffix in FORMATS:
            path = write(tmp_path / f"scores{suffix}", digits(label=values))
            groups = ScoreTable.open(path, id="example_id").groups("label")
            found.append((groups.names, groups.codes.tolist()))
        assert found[0] == found[1] == found[2]

    def test_whole_numbers_have_no_point(self, file: Path) -> None:
        table = ScoreTable.open(write(file, digits(label=[3.0, 10.0, 3.0])), id="example_id")
        assert table.groups("label").names == ("3", "10")

    @given(st.lists(texts | st.sampled_from(["a", "b"]), min_size=1, max_size=30))
    @in_one_folder
    def test_names_and_codes_give_the_values_back(self, tmp_path: Path, values: list[str]) -> None:
        values = [f"_{value}" for value in values]
        for suffix in FORMATS:
            path = write(tmp_path / f"scores{suffix}", {"example_id": list(range(len(values))), "label": values})
            groups = ScoreTable.open(path, id="example_id").groups("label")
            assert [groups.names[code] for code in groups.codes] == values

    @given(st.lists(finite, min_size=1, max_size=30))
    @in_one_folder
    def test_numbers_have_the_same_names_in_parquet_and_csv(self, tmp_path: Path, values: list[float]) -> None:
        columns: Columns = {"example_id": list(range(len(values))), "label": values}
        names = {
            ScoreTable.open(write(tmp_path / f"scores{suffix}", columns), id="example_id").groups("label").names
            for suffix in FORMATS
        }
        assert len(names) == 1

    def test_a_missing_value_is_an_error_that_says_where(self, file: Path) -> None:
        table = ScoreTable.open(write(file, digits(label=["x", None, "y"])), id="example_id")
        with pytest.raises(InputError, match=r"row 2, column 'label': no value"):
            table.groups("label")

    def test_natural_order_takes_any_text(self) -> None:
        names = ["x10", "x9", "10", "2", "", "02", "ab", "9" * 5000]
        assert sorted(names, key=natural_order) == ["", "02", "2", "10", "9" * 5000, "ab", "x9", "x10"]


class TestAlignment:
    def test_the_same_order_needs_no_reordering(self, file: Path, tmp_path: Path) -> None:
        one = ScoreTable.open(write(file, digits()), id="example_id")
        other = ScoreTable.open(write(tmp_path / "other.csv", digits(loss=[3, 4, 5])), id="example_id")
        assert one.align(other).complete
        assert one.align(other).order is None

    @given(st.data())
    @in_one_folder
    def test_any_order_of_rows_is_found_again(self, tmp_path: Path, data: st.DataObject) -> None:
        ids = data.draw(st.lists(texts, min_size=1, max_size=20, unique=True))
        columns: Columns = {"example_id": ids, "loss": [float(i) for i in range(len(ids))]}
        order = data.draw(st.permutations(range(len(ids))))
        suffixes = data.draw(st.tuples(st.sampled_from(FORMATS), st.sampled_from(FORMATS)))
        one = ScoreTable.open(write(tmp_path / f"one{suffixes[0]}", columns), id="example_id")
        other = ScoreTable.open(write(tmp_path / f"other{suffixes[1]}", shuffled(columns, order)), id="example_id")
        alignment = one.align(other)
        assert alignment.complete
        found = range(len(ids)) if alignment.order is None else alignment.order
        assert (other.scores("loss")[found] == one.scores("loss")).all()

    def test_numbers_and_texts_are_the_same_ids(self, tmp_path: Path) -> None:
        numbers = ScoreTable.open(write(tmp_path / "a.parquet", digits(example_id=[7, 8, 9])), id="example_id")
        written = ScoreTable.open(write(tmp_path / "b.csv", digits(example_id=["9", "8", "7"])), id="example_id")
        order = numbers.align(written).order
        assert order is not None
        assert order.tolist() == [2, 1, 0]

    def test_other_ids_are_counted_and_named(self, file: Path, tmp_path: Path) -> None:
        one = ScoreTable.open(write(file, digits()), id="example_id")
        other = ScoreTable.open(write(tmp_path / "other.jsonl", {"example_id": ["c", "x", "y", "b"]}), id="example_id")
        alignment = one.align(other)
        assert not alignment.complete
        assert (alignment.missing, alignment.extra, alignment.examples) == (1, 2, ("a", "x", "y"))

    def test_a_part_of_the_test_set_is_not_the_test_set(self, tmp_path: Path) -> None:
        whole = ScoreTable.open(write(tmp_path / "whole.csv", digits()), id="example_id")
        part = ScoreTable.open(write(tmp_path / "part.csv", shuffled(digits(), [0, 2])), id="example_id")
        assert (part.align(whole).complete, part.align(whole).missing, part.align(whole).extra) == (False, 0, 1)
        assert (whole.align(part).complete, whole.align(part).missing, whole.align(part).extra) == (False, 1, 0)

    def test_every_id_another_names_only_a_few(self, tmp_path: Path) -> None:
        one = ScoreTable.open(write(tmp_path / "a.csv", {"example_id": [f"a{i}" for i in range(99)]}), id="example_id")
        other = ScoreTable.open(write(tmp_path / "b.csv", {"example_id": [f"b{i}" for i in range(99)]}), id="example_id")
        assert (one.align(other).missing, one.align(other).examples) == (99, ("a0", "a1", "a2", "a3", "a4"))


class TestMoreThanOneRange:
    """Rows are read a million at a time; what lies in two ranges belongs together."""

    N = RANGE + 5

    @pytest.fixture(params=["numbers", "texts"])
    def columns(self, request: pytest.FixtureRequest) -> dict[str, Any]:
        ids = np.arange(self.N)
        texts = pc.binary_join_element_wise("e", pc.cast(pa.array(ids), pa.string()), "-")
        named = ids if request.param == "numbers" else texts
        return {"example_id": named, "label": ids % 3 + 9, "loss": ids / 8}

    def table(self, folder: Path, columns: dict[str, Any], *, name: str = "scores", **changes: Any) -> ScoreTable:
        file = folder / f"{name}.parquet"
        pq.write_table(pa.table({**columns, **changes}), file)
        return ScoreTable.open(file, id="example_id")

    def test_scores_and_groups_are_whole(self, tmp_path: Path, columns: dict[str, Any]) -> None:
        table = self.table(tmp_path, columns)
        assert (table.scores("loss") == columns["loss"]).all()
        assert table.scores("loss", start=RANGE - 2, stop=RANGE + 2).tolist() == columns["loss"][RANGE - 2 : RANGE + 2].tolist()
        groups = table.groups("label")
        assert groups.names == ("9", "10", "11")
        assert (groups.codes == np.arange(self.N) % 3).all()
        assert groups.sizes.sum() == self.N

    def test_an_id_that_comes_again_in_the_next_range(self, tmp_path: Path, columns: dict[str, Any]) -> None:
        ids = pa.array(columns["example_id"])
        again = pa.concat_arrays([ids[: self.N - 1], ids[1:2]])
        with pytest.raises(InputError, match="appears again, it was in row 2"):
            self.table(tmp_path, columns, example_id=again)

    def test_rows_that_change_places_in_the_last_range(self, tmp_path: Path, columns: dict[str, Any]) -> None:
        ids = pa.array(columns["example_id"])
        turned = pa.concat_arrays([ids[: self.N - 2], ids[self.N - 1 :], ids[self.N - 2 : self.N - 1]])
        one, other = self.table(tmp_path, columns), self.table(tmp_path, columns, name="other", example_id=turned)
        assert one.align(one).order is None
        order = one.align(other).order
        assert order is not None
        assert order[-3:].tolist() == [self.N - 3, self.N - 1, self.N - 2]

    def test_a_score_that_is_missing_in_the_last_range(self, tmp_path: Path, columns: dict[str, Any]) -> None:
        loss = columns["loss"].copy()
        loss[-2:] = np.nan
        with pytest.raises(InputError) as raised:
            self.table(tmp_path, columns, loss=loss).scores("loss")
        assert "2 rows have no usable score" in str(raised.value)
        assert f"row {self.N - 1}," in str(raised.value)


def test_a_column_may_have_the_engine_s_name_for_positions(tmp_path: Path) -> None:
    file = tmp_path / "scores.parquet"
    pq.write_table(pa.table({"File_Row_Number": ["b", "a"], "loss": [1.0, 2.0]}), file)
    table = ScoreTable.open(file, id="File_Row_Number")
    assert list(table.columns) == ["File_Row_Number", "loss"]
    assert table.ids_at([1, 0]) == ["a", "b"]
    assert table.scores("loss", start=1).tolist() == [2.0]


class TestFingerprint:
    def test_it_is_the_documented_bytes(self, file: Path) -> None:
        table = ScoreTable.open(write(file, {"example_id": ["ö", "a"], "label": [3, 10], "set": ["x", None]}), id="example_id")
        layout = "metricgate.test_set/1\n5:label,3:set,\n" + "1:a,2:10,~," + "2:ö,1:3,1:x,"
        assert table.fingerprint(["set", "label"]) == "sha256:" + hashlib.sha256(layout.encode()).hexdigest()

    @given(st.data())
    @in_one_folder
    def test_it_depends_neither_on_the_order_of_rows_nor_on_the_format(self, tmp_path: Path, data: st.DataObject) -> None:
        ids = data.draw(st.lists(texts, min_size=1, max_size=20, unique=True))
        labels = data.draw(st.lists(st.integers(-100, 100), min_size=len(ids), max_size=len(ids)))
        columns: Columns = {"example_id": ids, "label": labels}
        digests = set()
        for suffix in FORMATS:
            order = data.draw(st.permutations(range(len(ids))))
            path = write(tmp_path / f"scores{suffix}", shuffled(columns, order))
            digests.add(ScoreTable.open(path, id="example_id").fingerprint(["label"]))
        assert len(digests) == 1

    @pytest.mark.parametrize(
        "changed",
        [{"example_id": ["a", "b", "d"]}, {"label": [10, 2, 11]}, {"label": [2, 10, 10]}, {"label": [10, 2, None]}],
    )
    def test_another_test_set_has_another(self, file: Path, changed: dict[str, list[Any]]) -> None:
        before = ScoreTable.open(write(file, digits()), id="example_id").fingerprint(["label"])
        after = ScoreTable.open(write(file, digits(**changed)), id="example_id").fingerprint(["label"])
        assert before != after

    def test_scores_do_not_matter(self, file: Path) -> None:
        before = ScoreTable.open(write(file, digits()), id="example_id").fingerprint(["label"])
        assert ScoreTable.open(write(file, digits(loss=[7.0, 8.0, 9.0])), id="example_id").fingerprint(["label"]) == before

    def test_values_can_not_be_moved_from_one_column_into_the_next(self, file: Path) -> None:
        one = write(file, {"example_id": ["x"], "a": ["1,1:2"], "b": ["3"]})
        before = ScoreTable.open(one, id="example_id").fingerprint(["a", "b"])
        other = write(file, {"example_id": ["x"], "a": ["1"], "b": ["2,1:3"]})
        assert ScoreTable.open(other, id="example_id").fingerprint(["a", "b"]) != before


class TestMistakes:
    @pytest.mark.parametrize(
        ("value", "shown"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf"), (None, "no value")]
    )
    def test_a_score_that_is_not_a_finite_number(self, file: Path, value: float | None, shown: str) -> None:
        said = problem(write(file, digits(loss=[0.5, value, 1.0])), "loss")
        assert str(file) in said
        assert "row 2, column 'loss'" in said
        assert f": {shown} in a score column" in said.lower().replace("infinity", "inf")

    @pytest.mark.parametrize("value", ["good", "1,5", "1_000", "0x10", "", "½"])
    def test_a_text_among_scores(self, tmp_path: Path, value: str) -> None:
        file = tmp_path / "scores.csv"
        file.write_text(f'example_id,loss\na,0.5\nb,"{value}"\n', encoding="utf-8")
        assert f"{file}:3, row 2, column 'loss': {value!r} in a score column" in problem(file, "loss")

    def test_a_number_in_quotes_is_a_text_in_json(self, tmp_path: Path) -> None:
        file = write(tmp_path / "scores.jsonl", digits(loss=[0.5, "0.5", 1.0]))
        assert f"{file}:2, row 2, column 'loss': '0.5' in a score column" in problem(file, "loss")

    def test_a_number_too_large_for_a_double(self, tmp_path: Path) -> None:
        for name, content in (("a.csv", "example_id,loss\nx,1e400\n"), ("a.jsonl", '{"example_id": "x", "loss": 1e400}\n')):
            (tmp_path / name).write_text(content)
            assert "column 'loss': 1e400 in a score column" in problem(tmp_path / name, "loss")

    def test_a_text_column_as_scores(self, file: Path) -> None:
        assert "row 1, column 'label': 'x' in a score column" in problem(write(file, digits(label=["x", "y", "z"])), "label")

    def test_many_unusable_scores_are_counted(self, file: Path) -> None:
        assert "(2 rows have no usable score)" in problem(write(file, digits(loss=[None, 1.0, None])), "loss")

    def test_a_column_that_is_not_there(self, file: Path) -> None:
        said = problem(write(file, digits()), "acuracy")
        assert "there is no column 'acuracy'; did you mean 'accuracy'?" in said
        assert "'example_id', 'label', 'accuracy', 'loss'" in said

    def test_an_id_that_appears_twice(self, file: Path) -> None:
        said = problem(write(file, digits(example_id=["a", "b", "a"])))
        assert "row 3, column 'example_id': the id 'a' appears again, it was in row 1" in said

    def test_the_first_of_many_repeated_ids_is_named(self, file: Path) -> None:
        ids = ["a", "b", "b", "a", "c", "c"]
        said = problem(write(file, {"example_id": ids}))
        assert "row 3, column 'example_id': the id 'b' appears again, it was in row 2 (3 ids do)" in said

    def test_an_id_that_is_missing(self, file: Path) -> None:
        assert "row 2, column 'example_id': the example has no id" in problem(write(file, digits(example_id=["a", None, "c"])))

    def test_a_table_without_rows(self, tmp_path: Path) -> None:
        pq.write_table(pa.table({"example_id": pa.array([], pa.string())}), tmp_path / "a.parquet")
        (tmp_path / "a.csv").write_text("example_id,loss\n")
        for name in ("a.parquet", "a.csv"):
            assert "the table has no rows" in problem(tmp_path / name)

    def test_an_empty_file(self, file: Path) -> None:
        file.write_bytes(b"")
        assert "the file is empty" in problem(file)

    def test_a_file_that_is_not_there(self, file: Path) -> None:
        assert f"{file}: can't be read: No such file or directory" in problem(file)

    def test_a_folder(self, file: Path) -> None:
        file.mkdir()
        assert "can't be read: Is a directory" in problem(file)

    @pytest.mark.parametrize("claimed", FORMATS)
    @pytest.mark.parametrize("real", FORMATS)
    def test_a_file_that_is_not_what_its_name_says(self, tmp_path: Path, real: str, claimed: str) -> None:
        path = write(tmp_path / f"real{real}", digits()).rename(tmp_path / f"scores{claimed}")
        if real == claimed:
            assert ScoreTable.open(path, id="example_id").n == 3
        elif claimed == ".jsonl" and real == ".csv":
            assert "expected: one JSON object per line" in problem(path)
        else:
            assert f"the file is named {claimed} but looks like {real}" in problem(path)

    @pytest.mark.parametrize("content", [b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\x1f\x8b\x08\0abc", b"\xff\xfea\0,\0b\0\n\0"])
    def test_binary_data(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)
        assert "binary data" in problem(file)

    @given(
        st.sampled_from(FORMATS),
        st.binary(max_size=200) | st.text(st.sampled_from('{}[]":,;\\n\r\t 1eaN\\'), max_size=40).map(str.encode),
    )
    @in_one_folder
    def test_whatever_a_file_holds_is_read_or_explained(self, tmp_path: Path, suffix: str, content: bytes) -> None:
        file = tmp_path / f"scores{suffix}"
        file.write_bytes(content)
        with contextlib.suppress(InputError):
            assert ScoreTable.open(file, id=None).n > 0

    @given(st.integers(0, 10_000), st.integers(0, 255))
    @in_one_folder
    def test_a_damaged_parquet_file_is_read_or_explained(self, tmp_path: Path, position: int, byte: int) -> None:
        file = write(tmp_path / "scores.parquet", digits())
        content = bytearray(file.read_bytes())
        content[position % len(content)] = byte
        file.write_bytes(content)
        with contextlib.suppress(InputError):
            assert len(ScoreTable.open(file, id="example_id").scores("loss")) > 0

    def test_text_that_is_not_utf_8(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(b"example_id,loss\na,1\n\xff\xfe,2\n")
        (tmp_path / "a.jsonl").write_bytes(b'{"example_id": "\xff"}\n')
        for name in ("a.csv", "a.jsonl"):
            assert "UTF-8" in problem(tmp_path / name)

    def test_another_ending(self, tmp_path: Path) -> None:
        (tmp_path / "scores.tsv").write_text("a")
        assert "expected: .parquet or .csv or .jsonl" in problem(tmp_path / "scores.tsv")

    @pytest.mark.parametrize("keep", [20, 200, -3])
    def test_a_parquet_file_that_is_cut_off(self, tmp_path: Path, keep: int) -> None:
        file = write(tmp_path / "scores.parquet", digits())
        file.write_bytes(file.read_bytes()[:keep])
        assert "the file is cut off" in problem(file)

    def test_a_parquet_file_whose_middle_is_damaged(self, tmp_path: Path) -> None:
        file = write(tmp_path / "scores.parquet", digits())
        content = bytearray(file.read_bytes())
        content[4:-8] = b"\xff" * (len(content) - 12)
        file.write_bytes(content)
        said = problem(file)
        assert f"{file}: can't be read as .parquet" in said
        assert "metricgate-" not in said.replace(str(file), "")

    @pytest.mark.parametrize(("row", "values"), [("b", 1), ("b,1,2", 3), ("b,1,", 3), ("b,1,,", 4)])
    def test_a_csv_row_with_too_few_or_too_many_values(self, tmp_path: Path, row: str, values: int) -> None:
        file = tmp_path / "scores.csv"
        file.write_text(f'example_id,loss\n"a\nb",1\n\n{row}\n')
        said = problem(file)
        assert f"{file}:5, row 2: {values} values" in said
        assert "expected: 2, as in the header" in said

    def test_csv_lines_are_counted_as_an_editor_counts_them(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.csv"
        file.write_text('example_id,loss\n"a\nb",1\n\nc,x\n')
        assert f"{file}:5, row 2, column 'loss': 'x'" in problem(file, "loss")

    def test_other_separators(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.csv"
        file.write_text("example_id;loss\na;1\n")
        assert "separated by ';'" in problem(file)

    def test_a_csv_file_that_begins_with_an_empty_line(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.csv"
        file.write_text("\nexample_id,loss\na,1\n")
        assert f"{file}:1: the first line is empty" in problem(file)

    def test_a_quote_that_is_never_closed(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.csv"
        file.write_text('example_id,loss\na,"1\nb,2\n')
        assert f"{file}:1: after this line comes a row that is not CSV: unexpected end of data" in problem(file)

    def test_text_after_a_closing_quote(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.csv"
        file.write_text('example_id,loss\nz,1\n"a"b,1\n')
        assert f"{file}:2: after this line comes a row that is not CSV" in problem(file)

    def test_two_kinds_of_line_endings(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.csv"
        file.write_bytes(b"example_id,loss\r\na,1\nb,2\r\n")
        assert "some lines end with CR LF and others with LF" in problem(file)

    def test_two_columns_of_one_name(self, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_text("example_id,loss,loss\na,1,2\n")
        ids, loss = pa.array(["a"]), pa.array([1.0])
        pq.write_table(pa.Table.from_arrays([ids, loss, loss], names=["example_id", "loss", "loss"]), tmp_path / "a.parquet")
        for name in ("a.csv", "a.parquet"):
            assert "two columns are named 'loss'" in problem(tmp_path / name)

    @pytest.mark.parametrize(
        ("line", "found"),
        [
            ("nonsense", "Expecting value"),
            ('{"example_id": "b"} trailing', "Extra data"),
            ('{"example_id": "b"}{"example_id": "c"}', "Extra data"),
            ('{"example_id": "b"', "delimiter"),
            ('["b", 1]', "is not an object"),
            ("3", "is not an object"),
            ('{"example_id": "b", "example_id": "c"}', "the key 'example_id' appears twice"),
        ],
    )
    def test_a_line_that_is_not_one_json_object(self, tmp_path: Path, line: str, found: str) -> None:
        file = tmp_path / "scores.jsonl"
        file.write_text('{"example_id": "a"}\n\n' + line + "\n")
        said = problem(file)
        assert f"{file}:3: " in said
        assert found in said

    def test_a_json_array(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.jsonl"
        file.write_text('[{"example_id": "a"}]')
        assert "a JSON array" in problem(file)

    def test_a_key_that_some_lines_lack(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.jsonl"
        file.write_text('{"example_id": "a"}\n\n{"example_id": "b", "loss": 1}\n')
        assert f"{file}:1, row 1, column 'loss': no value" in problem(file, "loss")
        file.write_text('{"example_id": "a", "loss": 1}\n\n{"loss": 1}\n')
        assert f"{file}:3, row 2, column 'example_id': the example has no id" in problem(file)

    def test_nan_in_json_names_its_line(self, tmp_path: Path) -> None:
        file = tmp_path / "scores.jsonl"
        file.write_text('{"example_id": "a", "loss": 1}\n\n{"example_id": "b", "loss": NaN}\n')
        assert f"{file}:3, row 2, column 'loss': NaN in a score column" in problem(file, "loss")

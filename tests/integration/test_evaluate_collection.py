"""What the user's commands wrote, checked when it is written: every message names file, row and column."""

import json
import math
import statistics
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import config_file, evaluate
from metricgate.config import Config
from metricgate.errors import ExitCode, InputError
from metricgate.evaluate import collection

HEADER = "example_id,label,group,critical,accuracy,latency_ms\n"
ROWS = "a,cat,1,true,1,10\nb,dog,1,false,0,20\nc,cat,2,true,1,60\n"


def configured(**changes: object) -> Config:
    document: dict[str, object] = {"metrics": {"accuracy": {"direction": "higher"}}, **changes}
    return config_file.loads(json.dumps(document))


def collect(folder: Path, **changes: object) -> collection.Collected:
    return evaluate.collect(folder, configured(**changes))


def write(folder: Path, *, scores: str | None = None, metrics: object = None, name: str = "scores.csv") -> Path:
    if scores is not None:
        (folder / name).write_text(scores, encoding="utf-8")
    if metrics is not None:
        text = metrics if isinstance(metrics, str) else json.dumps(metrics)
        (folder / "metrics.json").write_text(text, encoding="utf-8")
    return folder


class TestMetrics:
    def test_come_from_the_column_of_their_name(self, tmp_path: Path) -> None:
        metrics = {
            "accuracy": {"direction": "higher"},
            "latency_ms": {"direction": "lower", "aggregate": "p50"},
        }
        found = collect(write(tmp_path, scores=HEADER + ROWS), metrics=metrics).metrics
        assert (found["accuracy"].value, found["accuracy"].n, found["accuracy"].direction) == (2 / 3, 3, "higher")
        assert found["accuracy"].stderr == pytest.approx(statistics.stdev([1, 0, 1]) / math.sqrt(3))
        assert (found["latency_ms"].value, found["latency_ms"].stderr, found["latency_ms"].direction) == (20, None, "lower")

    def test_come_from_metrics_json(self, tmp_path: Path) -> None:
        found = collect(write(tmp_path, metrics={"accuracy": {"value": 0.5, "stderr": 0.1, "n": 30}, "size": 3})).metrics
        assert (found["accuracy"].value, found["accuracy"].stderr, found["accuracy"].n) == (0.5, 0.1, 30)
        assert (found["size"].value, found["size"].direction) == (3, None)  # kept, though no rule can name it

    def test_of_both_are_one(self, tmp_path: Path) -> None:
        found = collect(write(tmp_path, scores=HEADER + ROWS, metrics={"accuracy": 0.66666668653488159})).metrics
        assert found["accuracy"].value == 0.66666668653488159  # as a framework's float32 has it
        assert found["accuracy"].n == 3

    @pytest.mark.parametrize("stated", [0.67, 0.667, 0.6667, 0.66666])
    def test_may_be_rounded(self, stated: float, tmp_path: Path) -> None:
        assert collect(write(tmp_path, scores=HEADER + ROWS, metrics={"accuracy": stated})).metrics["accuracy"].value == stated

    @pytest.mark.parametrize("stated", [0.66, 0.7, 0.668, 66.67, 1, 0])
    def test_that_contradict_the_scores_are_refused(self, stated: float, tmp_path: Path) -> None:
        write(tmp_path, scores=HEADER + ROWS, metrics={"accuracy": stated})
        with pytest.raises(InputError, match=r"the mean of the column is 0.666667") as raised:
            collect(tmp_path)
        assert "scores.csv" in raised.value.where

    def test_of_clustered_scores_have_no_simple_standard_error(self, tmp_path: Path) -> None:
        found = collect(write(tmp_path, scores=HEADER + ROWS), scores={"cluster": "group"})
        assert found.metrics["accuracy"].stderr is None

    def test_of_one_example_have_no_standard_error(self, tmp_path: Path) -> None:
        found = collect(write(tmp_path, scores="example_id,accuracy\na,1\n"))
        assert (found.metrics["accuracy"].n, found.metrics["accuracy"].stderr) == (1, None)

    @given(
        values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50),
        how=st.sampled_from(["mean", "median", "p5", "p95", "p99.9"]),
    )
    def test_do_not_depend_on_the_order_of_the_examples(self, values: list[float], how: str) -> None:
        assert collection.aggregate(np.array(values), how) == collection.aggregate(np.array(values[::-1]), how)

    @given(values=st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50))
    def test_are_what_the_standard_library_says(self, values: list[float]) -> None:
        assert collection.aggregate(np.array(values), "mean") == statistics.fmean(values)
        assert collection.aggregate(np.array(values), "median") == pytest.approx(statistics.median(values), rel=1e-12, abs=1e-9)


class TestMissing:
    @pytest.mark.parametrize(
        ("scores", "metrics", "said"),
        [
            (None, None, "metrics.json does not have it, and there is no score table"),
            (None, {"loss": 1}, "metrics.json does not have it, and there is no score table"),
            ("example_id,f1\na,1\n", {"loss": 1}, "and scores.csv has no such column"),
        ],
    )
    def test_metric(self, scores: str | None, metrics: object, said: str, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="there is no metric `accuracy`") as raised:
            collect(write(tmp_path, scores=scores, metrics=metrics))
        assert said in raised.value.found
        assert raised.value.where == str(tmp_path)
        assert '{"accuracy": 0.93}' in raised.value.fix
        assert raised.value.exit_code == ExitCode.USAGE

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"scores": {"id": "image"}}, "there is no id column 'image'"),
            ({"scores": {"cluster": "passage"}}, "there is no column 'passage' (scores.cluster"),
            ({"slices": ["language"]}, "there is no column 'language' (slices"),
            (
                {"gate": {"rules": [{"metric": "accuracy", "slices": ["length"], "max_regression": 0.1}]}},
                "there is no column 'length' (slices",
            ),
            (
                {"gate": {"rules": [{"metric": "accuracy", "must_not_flip": "safety"}]}},
                "there is no column 'safety' (must_not_flip",
            ),
        ],
    )
    def test_column_of_the_configuration(self, changes: dict[str, object], said: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            collect(write(tmp_path, scores=HEADER + ROWS), **changes)
        assert said in raised.value.found
        assert "'example_id', 'label', 'group'" in raised.value.found  # what there is
        assert raised.value.where == str(tmp_path / "scores.csv")


class TestMalformed:
    @pytest.mark.parametrize(
        ("scores", "said", "where"),
        [
            pytest.param(HEADER, "the table has no rows", "scores.csv", id="empty"),
            pytest.param("", "the file is empty", "scores.csv", id="no bytes"),
            pytest.param(
                HEADER + ROWS + "d,cat,2,true,nan,10\n", "nan in a score column", "row 4, column 'accuracy'", id="NaN"
            ),
            pytest.param(HEADER + ROWS + "d,cat,2,true,,10\n", "no value", "row 4, column 'accuracy'", id="missing"),
            pytest.param(HEADER + ROWS + "d,cat,2,true,inf,10\n", "inf", "row 4, column 'accuracy'", id="infinite"),
            pytest.param(HEADER + ROWS + "d,cat,2,true,good,10\n", "'good'", "row 4, column 'accuracy'", id="text"),
            pytest.param(HEADER + ROWS + "a,cat,2,true,1,10\n", "the id 'a' appears again", "row 4", id="duplicate id"),
            pytest.param(HEADER + ROWS + ",cat,2,true,1,10\n", "the example has no id", "row 4", id="missing id"),
            pytest.param(HEADER + ROWS + "d,,2,true,1,10\n", "no value", "row 4, column 'label'", id="missing slice"),
            pytest.param(HEADER + ROWS + "d,cat,2,true,1\n", "5 values", "scores.csv:5", id="short row"),
            pytest.param("PK\x03\x04\0\0", "binary", "scores.csv", id="not a CSV file"),
            pytest.param("example_id,accuracy,accuracy\na,1,1\n", "two columns", "scores.csv", id="duplicate column"),
        ],
    )
    def test_scores_are_refused_with_their_place(self, scores: str, said: str, where: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            collect(write(tmp_path, scores=scores), slices=["label"])
        assert said in str(raised.value)
        assert where in raised.value.where
        assert raised.value.exit_code == ExitCode.USAGE

    def test_a_file_that_is_not_what_its_name_says(self, tmp_path: Path) -> None:
        pa.parquet.write_table(pa.table({"example_id": ["a"], "accuracy": [1.0]}), tmp_path / "scores.jsonl")
        with pytest.raises(InputError, match=r"named .jsonl but looks like .parquet"):
            collect(tmp_path)

    def test_two_score_tables(self, tmp_path: Path) -> None:
        write(tmp_path, scores=HEADER + ROWS)
        pa.parquet.write_table(pa.table({"example_id": ["a"], "accuracy": [1.0]}), tmp_path / "scores.parquet")
        with pytest.raises(InputError, match=r"scores.csv and scores.parquet"):
            collect(tmp_path)

    def test_metrics_are_refused_even_where_no_rule_names_them(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="`loss` is nan"):
            collect(write(tmp_path, scores=HEADER + ROWS, metrics='{"loss": NaN}'))


class TestTestSet:
    def test_is_the_same_in_every_format_and_order(self, tmp_path: Path) -> None:
        found = set()
        for name, text in (
            ("scores.csv", "example_id,label,accuracy\n1,cat,1\n2,dog,0\n"),
            (
                "scores.jsonl",
                '{"example_id": 2, "label": "dog", "accuracy": 1}\n{"example_id": 1, "label": "cat", "accuracy": 1}\n',
            ),
        ):
            folder = tmp_path / name.replace(".", "-")
            folder.mkdir()
            found.add(collect(write(folder, scores=text, name=name), slices=["label"]).test_set)
        assert len(found) == 1

    def test_changes_with_the_examples_and_with_what_they_are(self, tmp_path: Path) -> None:
        found = set()
        for number, rows in enumerate(("1,cat,1\n2,dog,0\n", "1,cat,1\n3,dog,0\n", "1,cat,1\n2,cat,0\n", "1,cat,1\n")):
            folder = tmp_path / str(number)
            folder.mkdir()
            text = "example_id,label,accuracy\n" + rows
            found.add(collect(write(folder, scores=text), slices=["label"]).test_set)
        assert len(found) == 4

    def test_does_not_change_with_the_scores(self, tmp_path: Path) -> None:
        first = collect(write(tmp_path, scores="example_id,accuracy\n1,1\n2,0\n")).test_set
        second = collect(write(tmp_path, scores="example_id,accuracy\n1,0\n2,0\n")).test_set
        assert first == second

    def test_there_is_none_without_scores(self, tmp_path: Path) -> None:
        assert collect(write(tmp_path, metrics={"accuracy": 0.5})).test_set is None


class TestMetricsOfLabelsAndPredictions:
    HEADER = "example_id,label,prediction,score,importance\n"
    ROWS = "a,1,1,0.9,1\nb,0,1,0.6,1\nc,1,0,0.4,2\nd,0,0,0.1,1\n"
    F1: ClassVar = {"quality": {"direction": "higher", "aggregate": "f1"}}

    def test_are_computed(self, tmp_path: Path) -> None:
        metrics = {
            **self.F1,
            "auc": {"direction": "higher", "aggregate": "roc_auc", "prediction": "score"},
            "heavy": {"direction": "higher", "aggregate": "recall", "weight": "importance"},
            "loss": {"direction": "lower", "aggregate": "log_loss", "prediction": "score"},
        }
        found = collect(write(tmp_path, scores=self.HEADER + self.ROWS), metrics=metrics).metrics
        loss = -statistics.fmean(math.log(p) for p in (0.9, 0.4, 0.4, 0.9))
        assert {name: metric.value for name, metric in found.items()} == pytest.approx(
            {"quality": 0.5, "auc": 0.75, "heavy": 1 / 3, "loss": loss}
        )
        assert (found["auc"].n, found["auc"].stderr, found["auc"].direction) == (4, None, "higher")

    def test_that_metrics_json_states_have_to_agree(self, tmp_path: Path) -> None:
        agreed = collect(write(tmp_path, scores=self.HEADER + self.ROWS, metrics={"quality": 0.50}), metrics=self.F1).metrics
        assert agreed["quality"].value == 0.5
        with pytest.raises(InputError, match=r"`quality` is 0.7 in metrics.json, and the f1 of the columns is 0.5"):
            collect(write(tmp_path, metrics={"quality": 0.7}), metrics=self.F1)

    @pytest.mark.parametrize(("lacking", "header"), [("label", "truth,prediction"), ("prediction", "label,predicted")])
    def test_need_both_columns(self, tmp_path: Path, lacking: str, header: str) -> None:
        table = f"example_id,{header}\na,1,1\nb,0,1\n"
        with pytest.raises(InputError, match=f"there is no column '{lacking}' \\(metrics.quality in metricgate.yaml") as caught:
            collect(write(tmp_path, scores=table, metrics={"quality": 0.5}), metrics=self.F1)
        assert caught.value.exit_code == ExitCode.USAGE
        assert "scores.csv" in str(caught.value)

    def test_that_are_not_defined_are_an_error_that_says_why(self, tmp_path: Path) -> None:
        silent = self.HEADER + "a,1,0,0.9,1\nb,0,0,0.6,1\n"
        metrics = {"quality": {"direction": "higher", "aggregate": "precision"}}
        with pytest.raises(InputError, match="precision is not defined: no example is predicted to be positive"):
            collect(write(tmp_path, scores=silent), metrics=metrics)

    def test_a_function_of_the_users_is_looked_for_where_nothing_is_stated(self, tmp_path: Path) -> None:
        loaded = configured(metrics={"cost": {"direction": "lower", "aggregate": "shop.metrics:cost"}})
        functions = {"shop.metrics:cost": lambda label, prediction, weight: float((weight * (label != prediction)).sum())}
        folder = write(tmp_path, scores=self.HEADER + self.ROWS)
        assert collection.collect(folder, loaded, functions=lambda: functions).metrics["cost"].value == 2.0
        write(folder, metrics={"cost": 2.5})
        assert collection.collect(folder, loaded).metrics["cost"].value == 2.5

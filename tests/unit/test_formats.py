"""Each format: what it reads, and how it says what is wrong with a file."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import classification_report

from metricgate.errors import ExitCode, InputError
from metricgate.formats import dvclive, keras_history, metrics_json, mlflow, sklearn_report
from metricgate.run import Metric


def write(path: Path, content: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


finite = st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**12), 10**12)
documents = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
names = st.text(min_size=1).filter(lambda name: name.strip())


class TestMetricsJson:
    def test_a_metric_is_a_number_or_a_number_with_its_precision(self, tmp_path: Path) -> None:
        file = write(tmp_path / "metrics.json", {"loss": 0.5, "accuracy": {"value": 0.93, "stderr": 0.002, "n": 10000}})
        assert metrics_json.read(file) == {
            "loss": Metric(0.5),
            "accuracy": Metric(0.93, stderr=0.002, n=10000),
        }

    @given(metrics=st.dictionaries(names, finite, min_size=1))
    def test_what_was_written_comes_back(self, metrics: dict[str, float], tmp_path_factory: pytest.TempPathFactory) -> None:
        file = write(tmp_path_factory.mktemp("run") / "metrics.json", metrics)
        assert {name: metric.value for name, metric in metrics_json.read(file).items()} == metrics

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"accuracy": NaN}', "`accuracy` is nan"),
            ('{"accuracy": Infinity}', "`accuracy` is inf"),
            ('{"accuracy": -Infinity}', "`accuracy` is -inf"),
            ('{"accuracy": 1e999}', "`accuracy` is inf"),
            pytest.param('{"accuracy": 1' + "0" * 400 + "}", "`accuracy` is too large", id="integer of 400 digits"),
            pytest.param('{"accuracy": 1' + "0" * 5000 + "}", "not valid JSON", id="integer of 5000 digits"),
            ('{"accuracy": {"value": NaN}}', "`accuracy.value` is nan"),
            ('{"accuracy": true}', "`accuracy` is the boolean true"),
            ('{"accuracy": "0.93"}', "`accuracy` is a string ('0.93')"),
            ('{"accuracy": null}', "`accuracy` is null"),
            ('{"accuracy": [0.9, 0.93]}', "`accuracy` is a list of 2"),
            ('{"accuracy": {"value": {"value": 1}}}', "`accuracy.value` is an object"),
            ('{"accuracy": {"mean": 0.9, "value": 0.9}}', "`accuracy.mean` is not known"),
            ('{"accuracy": {}}', "`accuracy` has no `value`"),
            ('{"accuracy": {"value": 1, "stderr": -0.1}}', "`accuracy.stderr` is -0.1"),
            ('{"accuracy": {"value": 1, "stderr": NaN}}', "`accuracy.stderr` is nan"),
            ('{"accuracy": {"value": 1, "n": 0}}', "`accuracy.n` is 0"),
            ('{"accuracy": {"value": 1, "n": 2.5}}', "`accuracy.n` is 2.5"),
            ('{"accuracy": {"value": 1, "n": true}}', "`accuracy.n` is the boolean true"),
            ('{"": 1}', "empty name"),
            ('{"accuracy": 0.9, "accuracy": 0.5}', "'accuracy' stands there twice"),
            ('{"a": {"value": 1, "value": 2}}', "'value' stands there twice"),
            ("{}", "holds no metric"),
            ("[0.93]", "holds a list of 1"),
            ("0.93", "holds a number"),
            ("", "the file is empty"),
            ('{"accuracy": 0.93', "not valid JSON"),
            ("accuracy: 0.93", "not valid JSON"),
            pytest.param("[" * 100_000, "nested too deeply", id="100,000 brackets"),
        ],
    )
    def test_anything_else_is_refused_with_file_and_key(self, content: str, said: str, tmp_path: Path) -> None:
        file = write(tmp_path / "metrics.json", content)
        with pytest.raises(InputError) as raised:
            metrics_json.read(file)
        assert said in raised.value.found
        assert str(file) in str(raised.value)
        assert raised.value.exit_code == ExitCode.USAGE

    def test_a_file_that_is_not_utf8_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "metrics.json").write_bytes(b'{"accuracy\xff": 1}')
        with pytest.raises(InputError, match="byte 10 is not UTF-8"):
            metrics_json.read(tmp_path / "metrics.json")

    def test_a_huge_file_is_refused_before_it_is_read(self, tmp_path: Path) -> None:
        with (tmp_path / "metrics.json").open("wb") as stream:
            stream.truncate(10**12)  # sparse: a terabyte that takes no space
        with pytest.raises(InputError, match="1,000,000,000,000 bytes"):
            metrics_json.read(tmp_path / "metrics.json")

    @given(document=documents)
    def test_no_document_brings_anything_but_finite_numbers_or_an_input_error(
        self, document: Any, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        file = write(tmp_path_factory.mktemp("run") / "metrics.json", document)
        try:
            metrics = metrics_json.read(file)
        except InputError:
            return
        assert metrics
        assert all(math.isfinite(metric.value) for metric in metrics.values())


class TestKerasHistory:
    def test_the_metrics_are_those_of_the_last_epoch(self, tmp_path: Path) -> None:
        file = write(tmp_path / "history.json", {"loss": [0.9, 0.4], "val_accuracy": [0.6, 0.8]})
        assert keras_history.read(file) == {"loss": Metric(0.4), "val_accuracy": Metric(0.8)}

    @pytest.mark.parametrize("separator", [",", ";", "\t"])
    def test_the_file_of_csvlogger_is_read_whatever_its_separator(self, separator: str, tmp_path: Path) -> None:
        file = tmp_path / "training.csv"
        with file.open("w", newline="") as stream:
            csv.writer(stream, delimiter=separator).writerows([["epoch", "accuracy", "loss"], [0, 0.5, 0.9], [1, 0.75, 0.4]])
        assert keras_history.detect_csv(file)
        assert keras_history.read(file) == {"accuracy": Metric(0.75), "loss": Metric(0.4)}

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ('{"loss": [0.9, 0.4], "val_loss": [0.5]}', "unequal numbers of epochs (loss: 2, val_loss: 1)"),
            ('{"loss": []}', "`loss` has no epoch"),
            ('{"loss": [0.5, NaN]}', "`loss[1]` is nan"),
            ('{"loss": [[0.5]]}', "`loss[0]` is a list"),
            ('{"loss": [0.5], "params": 3}', "`params` is a number"),
        ],
    )
    def test_a_malformed_history_is_refused(self, content: str, said: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            keras_history.read(write(tmp_path / "history.json", content))
        assert said in raised.value.found

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ("epoch,loss\n", "no epoch below the header"),
            ("epoch,loss\n0,0.5\n1,nan\n", "`loss (last epoch)` is nan"),
            ("epoch,loss,val_loss\n0,0.5,NA\n", "`val_loss (last epoch)` is a string ('NA')"),
            ("epoch,loss,val_loss\n0,0.5,0.6\n1,0.4\n", "2 values for 3 columns"),
            ("epoch,loss,loss\n0,0.5,0.6\n", "a column stands there twice"),
            ('epoch,loss\n0,"0.5\n', "not valid CSV"),
        ],
    )
    def test_a_malformed_csv_is_refused(self, content: str, said: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            keras_history.read(write(tmp_path / "training.csv", content))
        assert said in raised.value.found


class TestSklearnReport:
    def test_a_report_of_scikit_learn_is_read_with_its_supports(self, tmp_path: Path) -> None:
        report = classification_report([0, 0, 1, 1, 1], [0, 1, 1, 1, 1], output_dict=True)
        metrics = sklearn_report.read(write(tmp_path / "report.json", report))
        assert metrics["accuracy"] == Metric(0.8, n=5)
        assert metrics["0/recall"] == Metric(0.5, n=2)
        assert metrics["1/precision"] == Metric(0.75, n=3)
        assert metrics["macro avg/f1-score"].value == pytest.approx((2 / 3 + 6 / 7) / 2)
        assert metrics["weighted avg/recall"].n == 5

    def test_a_multilabel_report_has_no_accuracy(self, tmp_path: Path) -> None:
        report = classification_report([[1, 0], [1, 1]], [[1, 0], [1, 1]], output_dict=True)
        metrics = sklearn_report.read(write(tmp_path / "report.json", report))
        assert "accuracy" not in metrics
        assert metrics["micro avg/f1-score"] == Metric(1.0, n=3)

    def test_a_class_without_examples_has_no_n(self, tmp_path: Path) -> None:
        report = classification_report([0, 0], [0, 0], labels=[0, 1], output_dict=True, zero_division=0)
        assert sklearn_report.read(write(tmp_path / "report.json", report))["1/recall"] == Metric(0.0)

    def test_an_undefined_score_is_refused(self, tmp_path: Path) -> None:
        report = classification_report([0, 0], [0, 0], labels=[0, 1], output_dict=True, zero_division=math.nan)
        with pytest.raises(InputError, match="1/precision` is nan"):
            sklearn_report.read(write(tmp_path / "report.json", report))

    @pytest.mark.parametrize(
        ("broken", "said"),
        [
            ({"0": {"precision": 1.0, "recall": 1.0, "support": 2.0}}, "`0` has no `f1-score`"),
            ({"0": {"precision": 1.0, "recall": 1.0, "f1-score": 1.0}}, "`0/support` is null"),
            ({"0": {"precision": 1.0, "recall": 1.0, "f1-score": 1.0, "support": 1.5}}, "`0/support` is 1.5"),
            ({"0": "good"}, "`0` is a string"),
        ],
    )
    def test_a_malformed_row_is_refused(self, broken: dict[str, Any], said: str, tmp_path: Path) -> None:
        report = json.loads(json.dumps(classification_report([0, 1], [0, 1], output_dict=True)))
        with pytest.raises(InputError) as raised:
            sklearn_report.read(write(tmp_path / "report.json", report | broken))
        assert said in raised.value.found


class TestDvclive:
    # As DVCLive 3 writes it, with a text that was logged as a metric.
    SUMMARY = {"train": {"accuracy": 0.92}, "loss": 0.3, "note": "hello", "step": 2}  # noqa: RUF012

    def test_nested_names_are_joined_and_the_step_is_no_metric(self, tmp_path: Path) -> None:
        write(tmp_path / "metrics.json", self.SUMMARY)
        (tmp_path / "plots" / "metrics").mkdir(parents=True)
        assert dvclive.detect_folder(tmp_path)
        assert dvclive.read(tmp_path) == {"train/accuracy": Metric(0.92), "loss": Metric(0.3)}

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"loss": "nan", "step": 1}, "`loss` is nan"),
            ({"loss": "inf", "step": 1}, "`loss` is nan"),
            ({"loss": None, "step": 1}, "`loss` is null"),
            ({"train": {"loss": [1]}, "step": 1}, "`train/loss` is a list"),
            ({"train": {"loss": 1}, "train/loss": 2}, "`train/loss` stands there twice"),
            ({"step": 3}, "holds no metric"),
        ],
    )
    def test_a_malformed_summary_is_refused(self, content: dict[str, Any], said: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            dvclive.read(write(tmp_path / "metrics.json", content))
        assert said in raised.value.found


class TestMlflow:
    META = """\
artifact_uri: mlflow-artifacts:/1/0123/artifacts
end_time: 1795325399489
experiment_id: '1'
lifecycle_stage: active
run_id: '0123'
run_name: painted-owl-7
source_type: 4
start_time: 1795325399466
status: 3
tags: []
"""

    def run_folder(self, path: Path, *, meta: str = META, accuracy: str = "1000 0.5 0\n1001 0.75 1\n") -> Path:
        write(path / "meta.yaml", meta)
        write(path / "metrics" / "accuracy", accuracy)
        write(path / "metrics" / "train" / "loss", "1000 0.25 0\n")
        write(path / "params" / "seed", "7")
        write(path / "tags" / "mlflow.source.git.commit", "a" * 40)
        return path

    def test_the_value_at_the_last_step_counts(self, tmp_path: Path) -> None:
        folder = self.run_folder(tmp_path)
        assert mlflow.detect_folder(folder)
        assert mlflow.read(folder) == {"accuracy": Metric(0.75), "train/loss": Metric(0.25)}

    def test_name_seed_and_commit_come_along(self, tmp_path: Path) -> None:
        record = mlflow.record(self.run_folder(tmp_path))
        assert (record.name, record.seed, record.commit) == ("painted-owl-7", 7, "a" * 40)

    @given(
        points=st.lists(
            st.tuples(st.integers(0, 10**13), st.floats(-1e9, 1e9), st.integers(-5, 1000)),
            min_size=1,
            unique_by=lambda point: (point[2], point[0]),
        )
    )
    def test_the_order_of_lines_does_not_matter(
        self, points: list[tuple[int, float, int]], tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        lines = "".join(f"{timestamp} {value} {step}\n" for timestamp, value, step in points)
        folder = self.run_folder(tmp_path_factory.mktemp("run"), accuracy=lines)
        last = max(points, key=lambda point: (point[2], point[0]))
        assert mlflow.read(folder)["accuracy"].value == last[1]

    def test_a_line_may_name_the_data_set_behind_it(self, tmp_path: Path) -> None:
        folder = self.run_folder(tmp_path, accuracy="1000 0.75 0 mnist 1a2b3c\n")
        assert mlflow.read(folder)["accuracy"] == Metric(0.75)

    @pytest.mark.parametrize(
        ("accuracy", "said", "where"),
        [
            ("1000 0.5 0\n1001 nan 1\n", "`accuracy` is nan", "metrics/accuracy"),
            ("1000 0.5 0\n1001 good 1\n", "'1001 good 1' is not a point", "metrics/accuracy, line 2"),
            ("1000 0.5\n", "'1000 0.5' is not a point", "metrics/accuracy, line 1"),
            ("", "the file is empty", "metrics/accuracy"),
        ],
    )
    def test_a_malformed_line_is_refused(self, accuracy: str, said: str, where: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            mlflow.read(self.run_folder(tmp_path, accuracy=accuracy))
        assert said in raised.value.found
        assert raised.value.where.endswith(where)

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("status: 3", "status: 4", "the run has the status 4"),
            ("status: 3", "status: 1", "the run has the status 1"),
            ("lifecycle_stage: active", "lifecycle_stage: deleted", "was deleted"),
            ("status: 3", "status: [", "not valid YAML"),
        ],
    )
    def test_a_run_that_is_not_whole_is_refused(self, old: str, new: str, said: str, tmp_path: Path) -> None:
        with pytest.raises(InputError) as raised:
            mlflow.read(self.run_folder(tmp_path, meta=self.META.replace(old, new)))
        assert said in raised.value.found

    def test_a_run_without_metrics_is_refused(self, tmp_path: Path) -> None:
        write(tmp_path / "meta.yaml", self.META)
        (tmp_path / "metrics").mkdir()
        with pytest.raises(InputError, match="the run has no metric"):
            mlflow.read(tmp_path)

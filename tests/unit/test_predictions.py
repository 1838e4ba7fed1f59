"""Columns of labels and predictions, made ready for a metric: classes as codes, and what is refused."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metricgate import predictions
from metricgate.config import MetricConfig
from metricgate.errors import InputError
from metricgate.predictions import Reader
from metricgate.score_table import ScoreTable
from metricgate.stats.set_metrics import Sample


def table(folder: Path, columns: Mapping[str, Sequence[object]], *, name: str = "scores.csv") -> ScoreTable:
    file = folder / name
    n = len(next(iter(columns.values())))
    rows = zip(range(n), *columns.values(), strict=True)
    lines = [",".join(["example_id", *columns]), *(",".join(str(value) for value in row) for row in rows)]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return ScoreTable.open(file, id="example_id")


def reader(aggregate: str, **more: Any) -> Reader:
    config = MetricConfig.model_validate({"direction": "higher", "aggregate": aggregate, **more})
    return Reader.of("quality", config, {"my:function": len})


def read(folder: Path, aggregate: str, label: Sequence[object], prediction: Sequence[object], **more: Any) -> Sample:
    return reader(aggregate, **more).read(table(folder, {"label": label, "prediction": prediction}))


def refused(folder: Path, aggregate: str, columns: Mapping[str, Sequence[object]], **more: Any) -> str:
    with pytest.raises(InputError) as caught:
        reader(aggregate, **more).read(table(folder, columns))
    assert "scores.csv" in str(caught.value)
    return str(caught.value)


class TestTwoClasses:
    @pytest.mark.parametrize(
        ("label", "more"),
        [
            ([0, 1, 1], {}),
            (["false", "true", "true"], {}),
            (["ham", "spam", "spam"], {"positive": "spam"}),
            ([3, 7, 7], {"positive": 7}),
            (["false", "true", "true"], {"positive": True}),
        ],
    )
    def test_the_positive_one_is_1(self, tmp_path: Path, label: list[object], more: dict[str, object]) -> None:
        sample = read(tmp_path, "f1", label, label[::-1], **more)
        assert sample.label.tolist() == [0, 1, 1]
        assert sample.prediction.tolist() == [1, 1, 0]

    def test_a_threshold_makes_classes_of_numbers(self, tmp_path: Path) -> None:
        assert read(tmp_path, "f1", [0, 1, 1], [0.2, 0.5, 0.9], threshold=0.5).prediction.tolist() == [0, 1, 1]

    def test_more_classes_need_an_average(self, tmp_path: Path) -> None:
        message = refused(tmp_path, "f1", {"label": ["cat", "dog", "ox"], "prediction": ["cat", "ox", "ox"]})
        assert "'label' has other values than 0 and 1: cat, dog, ox" in message
        assert "`aggregate: f1_macro`" in message
        assert "positive" in message

    def test_numbers_need_a_threshold(self, tmp_path: Path) -> None:
        message = refused(tmp_path, "precision", {"label": [0, 1], "prediction": [0.2, 0.9]})
        assert "0.2 in row 1" in message
        assert "threshold: 0.5" in message


class TestManyClasses:
    def test_a_class_has_one_code_in_labels_predictions_and_every_table(self, tmp_path: Path) -> None:
        wanted = reader("f1_macro")
        one = wanted.read(table(tmp_path, {"label": ["b", "a", "c"], "prediction": ["a", "a", "c"]}))
        other = wanted.read(table(tmp_path, {"label": ["c", "b", "a"], "prediction": ["c", "d", "a"]}, name="other.csv"))
        assert one.label[0] == other.label[1]
        assert one.prediction[0] == one.label[1] == other.label[2]
        assert other.prediction[1] not in one.label

    def test_a_number_written_differently_is_the_same_class(self, tmp_path: Path) -> None:
        sample = read(tmp_path, "f1_macro", [1, 2, 3], ["1.0", "2.0", "2.0"])
        assert (sample.label == sample.prediction).tolist() == [True, True, False]

    def test_a_column_of_probabilities_is_no_column_of_classes(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(1)
        n = predictions.MOST_CLASSES + 1
        message = refused(tmp_path, "f1_macro", {"label": [1] * n, "prediction": list(rng.random(n))})
        assert "10,001 different values" in message


class TestNumbers:
    def test_are_read_as_they_are(self, tmp_path: Path) -> None:
        sample = read(tmp_path, "r2", [1.5, 2.5], [1.0, 3.0])
        assert sample.label.tolist() == [1.5, 2.5]
        assert sample.weight is None

    def test_text_where_a_number_has_to_be(self, tmp_path: Path) -> None:
        message = refused(tmp_path, "mean_absolute_error", {"label": [1, 2], "prediction": [1.5, "high"]})
        assert "'high'" in message

    @pytest.mark.parametrize("aggregate", ["log_loss", "brier", "calibration_error"])
    @pytest.mark.parametrize("wrong", [-0.1, 1.5])
    def test_a_prediction_that_is_no_probability(self, tmp_path: Path, aggregate: str, wrong: float) -> None:
        message = refused(tmp_path, aggregate, {"label": [0, 1], "prediction": [0.5, wrong]})
        assert f"{wrong:g} in the column 'prediction', row 2, is no probability" in message

    def test_a_score_that_only_ranks_may_be_any_number(self, tmp_path: Path) -> None:
        assert read(tmp_path, "roc_auc", [0, 1], [-7.5, 12]).prediction.tolist() == [-7.5, 12]


class TestWeights:
    def test_are_read(self, tmp_path: Path) -> None:
        columns: dict[str, Sequence[object]] = {"label": [0, 1], "prediction": [1, 1], "importance": [2, 0.5]}
        weight = reader("f1", weight="importance").read(table(tmp_path, columns)).weight
        assert weight is not None
        assert weight.tolist() == [2, 0.5]

    @pytest.mark.parametrize(
        ("weight", "found"), [([1, -2], "has -2 in row 2"), ([0, 0], "has nothing but 0"), ([1, "nan"], "scores.csv")]
    )
    def test_that_can_not_be(self, tmp_path: Path, weight: list[object], found: str) -> None:
        columns: dict[str, Sequence[object]] = {"label": [0, 1], "prediction": [1, 1], "importance": weight}
        assert found in refused(tmp_path, "f1", columns, weight="importance")


def test_a_function_of_the_users_gets_numbers_as_numbers_and_text_as_text(tmp_path: Path) -> None:
    sample = read(tmp_path, "my:function", ["yes", "no"], [0.25, 2])
    assert sample.label.tolist() == ["yes", "no"]
    assert sample.prediction.tolist() == [0.25, 2.0]


def test_a_missing_column_is_named_with_its_file(tmp_path: Path) -> None:
    assert "there is no column 'label'" in refused(tmp_path, "f1", {"labels": [0, 1], "prediction": [1, 1]})


def test_runs_that_disagree_about_the_truth_are_refused(tmp_path: Path) -> None:
    samples = [read(tmp_path, "f1", label, [1, 1, 0]) for label in ([0, 1, 1], [1, 1, 0])]
    with pytest.raises(InputError, match="`label` differs for 2 examples from one"):
        predictions.check_alike(samples, ["one", "two"], columns=["label"])

"""`metricgate init` looks, writes what it needs to begin, and overwrites nothing."""

import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metricgate import config_file, init
from metricgate.errors import UsageError

SCHEMA_LINE = "# yaml-language-server: $schema="


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_py", ".py").replace("_json", ".json").replace("_txt", ".txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


def test_an_empty_repository_gets_a_valid_configuration_and_a_workflow(tmp_path: Path) -> None:
    assert init.main(tmp_path) == 0
    text = (tmp_path / "metricgate.yaml").read_text()
    assert text.startswith(SCHEMA_LINE)
    config = config_file.loads(text)
    assert config.train is not None
    assert config.train.seeds == (0, 1, 2)
    assert config.rules[0].kind == "max_regression"
    assert "model-ci.yml@" in (tmp_path / init.WORKFLOW).read_text()


@pytest.mark.parametrize(
    ("source", "framework", "model"),
    [
        ("import keras", "Keras", "outputs/model.keras"),
        ("import tensorflow as tf", "TensorFlow", "outputs/model.keras"),
        ("from torch import nn", "PyTorch", "outputs/model.safetensors"),
        ("from sklearn.svm import SVC", "scikit-learn", "outputs/model"),
        ("print('hello')", None, "outputs/model"),
    ],
)
def test_the_framework_is_seen_in_the_imports(tmp_path: Path, source: str, framework: str | None, model: str) -> None:
    found = init.look(write(tmp_path, train_py=source))
    assert (found.framework, found.model) == (framework, model)


def test_scripts_are_found_where_they_are(tmp_path: Path) -> None:
    found = init.look(write(tmp_path, scripts__train_py="", scripts__evaluate_py="", node_modules__train_py=""))
    assert found.train == "python scripts/train.py"
    assert found.evaluate == "python scripts/evaluate.py"


def test_training_without_an_evaluation_script_evaluates_itself(tmp_path: Path) -> None:
    found = init.look(write(tmp_path, train_py=""))
    assert found.evaluate is None
    assert config_file.loads(init.configuration(found, name="x")).evaluate is None


def test_metrics_come_from_the_metrics_file_with_a_direction_by_their_name(tmp_path: Path) -> None:
    metrics = json.dumps({"val loss": 0.3, "f1": {"value": 0.9}, "latency_ms": 12, "epoch": 3, "notes": "x"})
    found = init.look(write(tmp_path, outputs__metrics_json=metrics))
    assert found.metrics == {"val loss": "lower", "f1": "higher", "latency_ms": "lower"}
    rule = config_file.loads(init.configuration(found, name="x")).rules[0]
    assert rule.metric == "f1"


@pytest.mark.parametrize("text", ["not json", "[]", "{}", '{"a": "b"}'])
def test_a_metrics_file_that_says_nothing_is_passed_over(tmp_path: Path, text: str) -> None:
    assert init.look(write(tmp_path, metrics_json=text)).metrics_file is None


def test_what_is_there_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, **{"metricgate.yaml": "mine"})
    init.main(tmp_path)
    assert (tmp_path / "metricgate.yaml").read_text() == "mine"
    assert (tmp_path / init.WORKFLOW).exists()
    assert "kept    metricgate.yaml" in capsys.readouterr().out


def test_a_second_time_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init.main(tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    init.main(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    assert "Nothing was written" in capsys.readouterr().out


def test_it_says_what_to_edit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init.main(tmp_path)
    said = capsys.readouterr().out
    for word in ("train.run", "evaluate.run", "METRICGATE_SEED", "runner", "metricgate run"):
        assert word in said


@pytest.mark.parametrize(("ignored", "is_told"), [("", True), ("*.pyc\n", True), ("/outputs/\n", False), ("outputs\n", False)])
def test_where_the_model_would_be_committed_it_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], ignored: str, is_told: bool
) -> None:
    if ignored:
        (tmp_path / ".gitignore").write_text(ignored)
    init.main(tmp_path)
    assert ("In .gitignore: outputs/" in capsys.readouterr().out) == is_told


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        init.main(tmp_path / "nowhere")


@given(name=st.text(min_size=1, max_size=120), metric=st.text(min_size=1, max_size=40))
@example(name="x", metric="Null")
@example(name="null", metric="on")
def test_any_name_gives_a_valid_configuration(name: str, metric: str) -> None:
    found = init.Findings(None, "outputs/model", "python train.py", None, {metric: "lower"}, None, ignored=True)
    assert list(config_file.loads(init.configuration(found, name=name)).metrics) == [metric]

"""The CIFAR-10 example trains and evaluates as the contract says: real scripts on a tiny folder of Parquet files."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10"
TRAINING, TEST = 40, 20

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train.parquet and test.parquet with random JPEG images; a space in the path, as on people's machines."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from PIL import Image

    folder = tmp_path_factory.mktemp("tiny data")
    generator = np.random.default_rng(0)
    for split, count in (("train", TRAINING), ("test", TEST)):
        images = []
        for _ in range(count):
            stream = io.BytesIO()
            Image.fromarray(generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(stream, "JPEG")
            images.append(stream.getvalue())
        table = {
            "id": [f"{split}/{number:03d}.jpg" for number in range(count)],
            "image": images,
            "label": pa.array([number % 10 for number in range(count)], pa.int8()),
        }
        pq.write_table(pa.table(table), folder / f"{split}.parquet")
    return folder


Environment = dict[str, str | Path]


def start(script: str, *arguments: str, environment: Environment) -> subprocess.Popen[str]:
    """One of the example's scripts, started as metricgate starts it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("METRICGATE_", "CIFAR10_"))}
    variables = {**inherited, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONUNBUFFERED": "1"}
    return subprocess.Popen(
        [sys.executable, str(EXAMPLE / script), *arguments],
        env=variables | {name: str(value) for name, value in environment.items()},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script: str, *arguments: str, environment: Environment) -> tuple[int, str, str]:
    """Exit code, output and messages of a script."""
    with start(script, *arguments, environment=environment) as process:
        output, messages = process.communicate(timeout=300)
    return process.returncode, output, messages


@pytest.fixture
def environment(folder: Path, tmp_path: Path) -> Environment:
    """What metricgate tells the scripts, and where the data is."""
    return {
        "CIFAR10_DIR": folder,
        "METRICGATE_SEED": "3",
        "METRICGATE_MODEL": tmp_path / "out" / "model.keras",
        "METRICGATE_RUN_DIR": tmp_path / "run",
        "METRICGATE_CHECKPOINT_DIR": tmp_path / "checkpoints",
    }


@pytest.mark.parametrize("model", ["article", "strong"])
def test_a_short_training_writes_what_the_contract_asks_for(model: str, environment: Environment, tmp_path: Path) -> None:
    code, output, messages = run("train.py", "--model", model, "--epochs", "2", environment=environment)
    assert code == 0, messages
    assert "seed 3" in output
    with zipfile.ZipFile(tmp_path / "out" / "model.keras") as saved:
        assert b"bfloat16" not in saved.read("config.json")  # whatever it was trained in
    assert list((tmp_path / "checkpoints").iterdir()) == []

    code, _, messages = run("evaluate.py", environment=environment)
    assert code == 0, messages
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    with (tmp_path / "run" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    assert [row["example_id"] for row in rows] == [f"test/{number:03d}.jpg" for number in range(TEST)]
    assert [row["label"] for row in rows[:3]] == ["airplane", "automobile", "bird"]
    assert [row["accuracy"] == "1" for row in rows] == [row["prediction"] == row["label"] for row in rows]
    assert metrics["accuracy"]["n"] == TEST
    assert metrics["accuracy"]["value"] == pytest.approx(np.mean([float(row["accuracy"]) for row in rows]))
    assert metrics["loss"]["value"] == pytest.approx(np.mean([float(row["loss"]) for row in rows]))


def test_a_killed_training_goes_on_after_what_was_finished(environment: Environment, tmp_path: Path) -> None:
    arguments = ("train.py", "--model", "fast", "--epochs", "3")  # two on small images, one on larger ones
    with start(*arguments, environment=environment) as process:
        assert process.stdout is not None
        assert any("Epoch 3/3" in line for line in process.stdout)
        process.kill()

    code, output, messages = run(*arguments, environment=environment)
    assert code == 0, messages
    epochs = [line for line in output.splitlines() if line.startswith("Epoch ")]
    assert epochs in (["Epoch 3/3"], [])  # it may have been finished between its announcement and the signal
    assert (tmp_path / "out" / "model.keras").is_file()


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    code, _, messages = run("train.py", environment={"CIFAR10_DIR": tmp_path / "nowhere"})
    assert code == 1
    assert "train.parquet does not exist" in messages
    assert "keras.datasets downloads CIFAR-10" in messages

"""The CIFAR-10 example trains and evaluates as the contract says: real scripts on a tiny folder of Parquet files."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
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


def run(script: str, *arguments: str, **environment: str | Path) -> subprocess.CompletedProcess[str]:
    """One of the example's scripts, started as metricgate starts it."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("METRICGATE_", "CIFAR10_"))}
    variables = {**inherited, "TF_CPP_MIN_LOG_LEVEL": "3", **{name: str(value) for name, value in environment.items()}}
    command = [sys.executable, str(EXAMPLE / script), *arguments]
    return subprocess.run(command, env=variables, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.parametrize("model", ["article", "strong"])
def test_one_epoch_writes_what_the_contract_asks_for(model: str, folder: Path, tmp_path: Path) -> None:
    environment: dict[str, str | Path] = {
        "CIFAR10_DIR": folder,
        "METRICGATE_SEED": "3",
        "METRICGATE_MODEL": tmp_path / "out" / "model.keras",
        "METRICGATE_RUN_DIR": tmp_path / "run",
        "METRICGATE_CHECKPOINT_DIR": tmp_path / "checkpoints",
    }
    trained = run("train.py", "--model", model, "--epochs", "1", **environment)
    assert trained.returncode == 0, trained.stderr
    assert "seed 3" in trained.stdout
    assert (tmp_path / "out" / "model.keras").is_file()

    evaluated = run("evaluate.py", **environment)
    assert evaluated.returncode == 0, evaluated.stderr
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    with (tmp_path / "run" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    assert [row["example_id"] for row in rows] == [f"test/{number:03d}.jpg" for number in range(TEST)]
    assert [row["label"] for row in rows[:3]] == ["airplane", "automobile", "bird"]
    assert [row["accuracy"] == "1" for row in rows] == [row["prediction"] == row["label"] for row in rows]
    assert metrics["accuracy"]["n"] == TEST
    assert metrics["accuracy"]["value"] == pytest.approx(np.mean([float(row["accuracy"]) for row in rows]))
    assert metrics["loss"]["value"] == pytest.approx(np.mean([float(row["loss"]) for row in rows]))


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    trained = run("train.py", CIFAR10_DIR=tmp_path / "nowhere")
    assert trained.returncode == 1
    assert "train.parquet does not exist" in trained.stderr
    assert "keras.datasets downloads CIFAR-10" in trained.stderr

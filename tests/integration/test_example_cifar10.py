"""The CIFAR-10 example trains and evaluates as the contract says: real scripts on a tiny folder of Parquet files."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from tests.zygote import Zygote

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


@pytest.fixture
def environment(folder: Path, tmp_path: Path) -> dict[str, str]:
    """What metricgate tells the scripts, and where the data is."""
    return {
        "CIFAR10_DIR": str(folder),
        "METRICGATE_SEED": "3",
        "METRICGATE_MODEL": str(tmp_path / "out" / "model.keras"),
        "METRICGATE_RUN_DIR": str(tmp_path / "run"),
        "METRICGATE_CHECKPOINT_DIR": str(tmp_path / "checkpoints"),
    }


@pytest.mark.parametrize("model", ["article", "strong"])
def test_a_short_training_writes_what_the_contract_asks_for(
    model: str, zygote: Zygote, environment: dict[str, str], tmp_path: Path
) -> None:
    trained = zygote.run(EXAMPLE / "train.py", "--model", model, "--epochs", "2", environ=environment)
    assert trained.status == 0, trained.log
    assert "seed 3" in trained.log
    with zipfile.ZipFile(tmp_path / "out" / "model.keras") as saved:
        assert b"bfloat16" not in saved.read("config.json")  # whatever it was trained in
    assert list((tmp_path / "checkpoints").iterdir()) == []

    evaluated = zygote.run(EXAMPLE / "evaluate.py", environ=environment)
    assert evaluated.status == 0, evaluated.log
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    with (tmp_path / "run" / "scores.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))

    assert [row["example_id"] for row in rows] == [f"test/{number:03d}.jpg" for number in range(TEST)]
    assert [row["label"] for row in rows[:3]] == ["airplane", "automobile", "bird"]
    assert [row["accuracy"] == "1" for row in rows] == [row["prediction"] == row["label"] for row in rows]
    assert metrics["accuracy"]["n"] == TEST
    assert metrics["accuracy"]["value"] == pytest.approx(np.mean([float(row["accuracy"]) for row in rows]))
    assert metrics["loss"]["value"] == pytest.approx(np.mean([float(row["loss"]) for row in rows]))


def test_a_killed_training_goes_on_after_what_was_finished(zygote: Zygote, environment: dict[str, str], tmp_path: Path) -> None:
    script, *options = EXAMPLE / "train.py", "--model", "fast", "--epochs", "3"  # two on small images, one on larger ones
    killed = zygote.run(script, *options, environ=environment, kill_at="Epoch 3/3")
    assert killed.status in (-signal.SIGKILL, 0), killed.log  # it may have been finished before the signal came

    gone_on = zygote.run(script, *options, environ=environment)
    assert gone_on.status == 0, gone_on.log
    epochs = [line for line in gone_on.log.splitlines() if line.startswith("Epoch ")]
    assert epochs in (["Epoch 3/3"], [])
    assert (tmp_path / "out" / "model.keras").is_file()


def test_a_missing_folder_is_explained(tmp_path: Path) -> None:
    command = [sys.executable, str(EXAMPLE / "train.py"), "--data", str(tmp_path / "nowhere")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "train.parquet does not exist" in done.stderr
    assert "keras.datasets downloads CIFAR-10" in done.stderr

"""A real Keras training and evaluation through all stages, and the histories that Keras itself writes."""

import io
import json
import os
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest

from metricgate import config_file, evaluate, formats, train

TRAIN = """\
import json, os
import keras
from sklearn.datasets import load_digits

keras.utils.set_random_seed(int(os.environ["METRICGATE_SEED"]))
images, labels = load_digits(return_X_y=True)
model = keras.Sequential([keras.layers.Input((64,)), keras.layers.Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"])
log = keras.callbacks.CSVLogger("history/training.csv")
fitted = model.fit(images[:1000] / 16, labels[:1000], validation_split=0.1, epochs=2, callbacks=[log])
json.dump(fitted.history, open("history/history.json", "w"))
model.save(os.environ["METRICGATE_MODEL"])
"""
EVALUATE = """\
import os
import keras
from sklearn.datasets import load_digits

images, labels = load_digits(return_X_y=True)
model = keras.saving.load_model(os.environ["METRICGATE_MODEL"])
right = model.predict(images[1000:] / 16).argmax(axis=1) == labels[1000:]
with open(os.path.join(os.environ["METRICGATE_RUN_DIR"], "scores.csv"), "w") as file:
    print("example_id,label,accuracy", file=file)
    for number, (label, score) in enumerate(zip(labels[1000:], right)):
        print(number, label, int(score), sep=",", file=file)
"""


@pytest.mark.slow
def test_keras_from_training_to_runs_and_histories(tmp_path: Path) -> None:
    (tmp_path / "history").mkdir()
    (tmp_path / "train.py").write_text(TRAIN)
    (tmp_path / "evaluate.py").write_text(EVALUATE)
    config = config_file.loads(
        json.dumps(
            {
                "train": {"run": f"'{sys.executable}' train.py", "seeds": [3]},
                "evaluate": {"run": f"'{sys.executable}' evaluate.py"},
                "model": "out/model.keras",
                "metrics": {"accuracy": {"direction": "higher"}},
                "slices": ["label"],
            }
        )
    )
    (tmp_path / "out").mkdir()
    console = train.Console(output=io.BytesIO(), progress=io.StringIO())
    environ = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    noon = datetime(2026, 1, 2, 12, 0, tzinfo=timezone.utc)
    train.train(config, root=tmp_path, run_dir=tmp_path / "runs", environ=environ, console=console, clock=lambda: noon)
    evaluate.evaluate(config, root=tmp_path, run_dir=tmp_path / "runs", environ=environ, console=console)

    (run,) = formats.read_runs(tmp_path / "runs", id="example_id")
    assert run.record.environment["frameworks"]["keras"]
    assert run.scores is not None
    assert run.scores.n == 797
    assert 0.1 < run.metrics["accuracy"].value <= 1

    (from_json,) = formats.read_runs(tmp_path / "history" / "history.json", id="example_id")
    (from_csv,) = formats.read_runs(tmp_path / "history" / "training.csv", id="example_id")
    assert set(from_json.metrics) == {"accuracy", "loss", "val_accuracy", "val_loss"}
    assert {name: metric.value for name, metric in from_json.metrics.items()} == pytest.approx(
        {name: metric.value for name, metric in from_csv.metrics.items()}
    )

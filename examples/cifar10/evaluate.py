"""Evaluate a CIFAR-10 classifier: write metrics.json and scores.csv, one row per test image, and golden.jsonl.

metricgate sets METRICGATE_MODEL and METRICGATE_RUN_DIR; without it the options or their defaults are used.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import data
import keras
import numpy as np

GOLDEN = 10
"""How many test images become golden requests."""


def main(arguments: list[str] | None = None) -> None:
    """Read the options, predict, write."""
    options = parse(arguments)
    test = data.load("test", options.data)
    model = keras.saving.load_model(options.model, compile=False)
    probabilities = model.predict(test.images.astype("float32"), batch_size=500, verbose=0)
    table = scores(test, np.asarray(probabilities, dtype="float64"))
    options.run_dir.mkdir(parents=True, exist_ok=True)
    write_scores(options.run_dir / "scores.csv", table)
    write_golden(options.run_dir / "golden.jsonl", test.images[:GOLDEN], probabilities[:GOLDEN])
    summary = {name: summarise(np.array(table[name], dtype="float64")) for name in ("accuracy", "loss")}
    (options.run_dir / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    accuracy = summary["accuracy"]
    print(f"accuracy {accuracy['value']:.4f} ± {accuracy['stderr']:.4f} on {accuracy['n']} images, in {options.run_dir}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with the environment as their defaults."""
    environment = os.environ
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data",
        type=Path,
        default=data.folder_from_environment(),
        metavar="FOLDER",
        help=f"holds test.parquet; default: ${data.FOLDER_VARIABLE}, or else keras.datasets downloads CIFAR-10",
    )
    parser.add_argument(
        "--model",
        type=Path,
        default=Path(environment.get("METRICGATE_MODEL", "outputs/model.keras")),
        help="what train.py saved; default: $METRICGATE_MODEL, or outputs/model.keras",
    )
    parser.add_argument(
        "--run-dir",
        type=Path,
        default=Path(environment.get("METRICGATE_RUN_DIR", "outputs/run")),
        help="where the results go; default: $METRICGATE_RUN_DIR, or outputs/run",
    )
    return parser.parse_args(arguments)


def scores(test: data.Split, probabilities: np.ndarray) -> dict[str, list[str] | list[int] | list[float]]:
    """One column each: which example, what it is, what the model says, and how good that is."""
    predicted = probabilities.argmax(axis=1)
    of_truth = probabilities[np.arange(len(predicted)), test.labels]
    return {
        "example_id": test.ids,
        "label": [data.CLASSES[number] for number in test.labels],
        "prediction": [data.CLASSES[number] for number in predicted],
        "accuracy": [int(right) for right in predicted == test.labels],
        # A probability that rounds to zero would be an infinite loss.
        "loss": [float(value) for value in -np.log(np.maximum(of_truth, 1e-7))],
        "confidence": [float(value) for value in probabilities.max(axis=1)],
    }


def write_scores(file: Path, table: dict[str, list[str] | list[int] | list[float]]) -> None:
    """The table as CSV."""
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(table)
        writer.writerows(zip(*table.values(), strict=True))


def write_golden(file: Path, images: np.ndarray, probabilities: np.ndarray) -> None:
    """Requests with the answers that the model gave: what a released image is tested with."""
    with file.open("w", encoding="utf-8") as stream:
        for image, answer in zip(images.astype("float32"), probabilities, strict=True):
            exchange = {"request": {"instances": [image.tolist()]}, "response": {"predictions": [answer.tolist()]}}
            stream.write(json.dumps(exchange) + "\n")


def summarise(values: np.ndarray) -> dict[str, float | int]:
    """Mean, its standard error and the number of examples."""
    return {"value": float(values.mean()), "stderr": float(values.std(ddof=1) / len(values) ** 0.5), "n": len(values)}


if __name__ == "__main__":
    main()

"""Evaluate the classifier of digits: write metrics.json and scores.csv, one row per test image.

metricgate sets METRICGATE_MODEL and METRICGATE_RUN_DIR; without it the defaults are used.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import data
import network
import numpy as np
import torch


def main() -> None:
    """Load, predict, write."""
    test = data.load("test")
    model = network.digits()
    model.load_state_dict(torch.load(os.environ.get("METRICGATE_MODEL", "outputs/model.pt"), weights_only=True))
    model.eval()
    with torch.inference_mode():
        probabilities = model(torch.from_numpy(test.images)).double().softmax(1).numpy()

    predicted = probabilities.argmax(axis=1)
    right = (predicted == test.labels).astype(int)
    losses = -np.log(np.maximum(probabilities[np.arange(len(right)), test.labels], 1e-7))
    folder = Path(os.environ.get("METRICGATE_RUN_DIR", "outputs/run"))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scores.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["example_id", "label", "prediction", "accuracy", "loss"])
        writer.writerows(zip(test.ids, test.labels, predicted, right, losses.tolist(), strict=True))
    summary = {name: summarise(values) for name, values in (("accuracy", right), ("loss", losses))}
    (folder / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy {right.mean():.4f} on {len(right)} images")


def summarise(values: np.ndarray) -> dict[str, float | int]:
    """Mean, its standard error and the number of examples."""
    return {"value": float(values.mean()), "stderr": float(values.std(ddof=1) / len(values) ** 0.5), "n": len(values)}


if __name__ == "__main__":
    main()

"""Evaluate the text model: write metrics.json and scores.csv, one row per test sentence.

metricgate sets METRICGATE_MODEL and METRICGATE_RUN_DIR; without it the defaults are used.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import data
import numpy as np
import torch
import transformers


def main() -> None:
    """Load, predict, write."""
    test = data.load("test")
    model = transformers.BertForSequenceClassification.from_pretrained(os.environ.get("METRICGATE_MODEL", "outputs/model"))
    model.eval()
    features = [example.features() for example in test]
    inputs = {name: torch.tensor([one[name] for one in features]) for name in ("input_ids", "attention_mask")}
    with torch.inference_mode():
        probabilities = model(**inputs).logits.double().softmax(1).numpy()

    labels = np.array([example.label for example in test])
    predicted = probabilities.argmax(axis=1)
    right = (predicted == labels).astype(int)
    losses = -np.log(np.maximum(probabilities[np.arange(len(right)), labels], 1e-7))
    folder = Path(os.environ.get("METRICGATE_RUN_DIR", "outputs/run"))
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "scores.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["example_id", "negated", "label", "prediction", "accuracy", "loss"])
        for example, prediction, hit, loss in zip(test, predicted, right, losses.tolist(), strict=True):
            negated = "yes" if "not" in example.text.split() else "no"
            writer.writerow([example.id, negated, data.LABELS[example.label], data.LABELS[prediction], hit, loss])
    summary = {name: summarise(values) for name, values in (("accuracy", right), ("loss", losses))}
    (folder / "metrics.json").write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    print(f"accuracy {right.mean():.4f} on {len(right)} sentences")


def summarise(values: np.ndarray) -> dict[str, float | int]:
    """Mean, its standard error and the number of examples."""
    return {"value": float(values.mean()), "stderr": float(values.std(ddof=1) / len(values) ** 0.5), "n": len(values)}


if __name__ == "__main__":
    main()

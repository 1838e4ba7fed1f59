"""Evaluates the digit classifier: one row of scores for each test image, and some requests with the right answers."""

import csv
import json
import os
from pathlib import Path

import digits
import keras

GOLDEN = 10


def evaluate(model: keras.Model, folder: Path) -> None:
    data = digits.load("test")
    probabilities = model.predict(data.images, batch_size=len(data.images), verbose=0)
    with (folder / "scores.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["example_id", "label", "accuracy", "confidence"])
        for example, label, row in zip(data.ids, data.labels, probabilities, strict=True):
            # accuracy: whether the answer is right; confidence: the probability that the right digit was given.
            writer.writerow([example, label, int(row.argmax() == label), f"{row[label]:.6f}"])
    # What the released image has to answer: `metricgate publish` asks it before anybody else can.
    with (folder / "golden.jsonl").open("w") as file:
        for image, row in zip(data.images[:GOLDEN], probabilities[:GOLDEN], strict=True):
            exchange = {"request": {"instances": [image.tolist()]}, "response": {"predictions": [row.tolist()]}}
            file.write(json.dumps(exchange) + "\n")


if __name__ == "__main__":
    trained = keras.models.load_model(os.environ["METRICGATE_MODEL"], compile=False)
    evaluate(trained, Path(os.environ["METRICGATE_RUN_DIR"]))

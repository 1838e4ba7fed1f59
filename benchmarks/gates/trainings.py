"""The trainings of the study: a small network on CIFAR-10 over many seeds, as it should be and with three planted faults.

``python -m benchmarks.gates.trainings --runs FOLDER`` trains what is not in the folder yet; CIFAR10_DIR names the folder with
``train.parquet`` and ``test.parquet`` (columns id, image, label).
"""

from __future__ import annotations

import argparse
import io
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

SEEDS = 36
EPOCHS = 4
BATCH = 128
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
WIDTHS = (24, 48, 96)
STARVED = CLASSES.index("ship")


@dataclass(frozen=True)
class Variant:
    """What is done to a training.

    Attributes:
        width: Of every layer, as a share of the healthy one's.
        wrong: The share of training labels that are replaced by another class.
        removed: The share of the starved class's training examples that are left out.
    """

    width: float = 1.0
    wrong: float = 0.0
    removed: float = 0.0


VARIANTS = {
    "healthy": Variant(),
    "half width": Variant(width=0.5),
    "class starved": Variant(removed=0.6),
    "wrong labels": Variant(wrong=0.1),
}


@dataclass(frozen=True)
class Images:
    """One split: ids of shape (n,), uint8 images of shape (n, 32, 32, 3), labels of shape (n,)."""

    ids: list[str]
    pixels: NDArray[np.uint8]
    labels: NDArray[np.int64]


def file_of(runs: Path, variant: str, seed: int) -> Path:
    """Where the scores of one training are."""
    return runs / variant.replace(" ", "-") / f"seed-{seed:02d}" / "scores.parquet"


def missing(runs: Path, seeds: int = SEEDS) -> list[tuple[str, int]]:
    """The trainings that the folder lacks, in an order in which an interrupted study is worth most.

    Two thirds of the seeds of every variant come first, then the rest of the healthy ones: those are baseline, history and
    healthy candidate at once.
    """
    wanted = [(variant, seed) for seed in range(seeds) for variant in VARIANTS]
    wanted.sort(key=lambda run: (run[1] >= seeds * 2 // 3, run[1] >= seeds * 2 // 3 and run[0] != "healthy", run[1]))
    return [(variant, seed) for variant, seed in wanted if not file_of(runs, variant, seed).exists()]


def train_missing(runs: Path, *, seeds: int = SEEDS) -> None:
    """Train what the folder lacks, one after another.

    Raises:
        SystemExit: CIFAR10_DIR names no folder with the images.
    """
    todo = missing(runs, seeds)
    if not todo:
        return
    folder = Path(os.environ.get("CIFAR10_DIR", ""))
    if not (folder / "train.parquet").is_file():
        message = "CIFAR10_DIR has to name a folder with train.parquet and test.parquet (columns id, image, label)"
        raise SystemExit(message)
    print(f"{len(todo)} trainings, 10 to 90 seconds each on one core, more where others use it too", file=sys.stderr)
    train, test = (_read(folder / f"{split}.parquet") for split in ("train", "test"))
    for variant, seed in todo:
        started = time.perf_counter()
        right = _train(train, test, VARIANTS[variant], seed=seed)
        file = file_of(runs, variant, seed)
        file.parent.mkdir(parents=True, exist_ok=True)
        names = [CLASSES[label] for label in test.labels]
        pq.write_table(pa.table({"example_id": test.ids, "label": names, "accuracy": right}), file)
        print(
            f"{variant}, seed {seed}: {right.mean():.4f} in {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True
        )


def _read(file: Path) -> Images:
    from PIL import Image

    columns = pq.read_table(file).to_pydict()
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for image in columns["image"]])
    return Images([str(name) for name in columns["id"]], pixels, np.array(columns["label"], dtype=np.int64))


def spoiled(labels: NDArray[np.int64], variant: Variant) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Which training examples are used, and with which labels. The same for every seed: the fault is in the data."""
    random = np.random.default_rng(2024)
    wrong = random.random(len(labels)) < variant.wrong
    other = (labels + random.integers(1, len(CLASSES), len(labels))) % len(CLASSES)
    dropped = (labels == STARVED) & (random.random(len(labels)) < variant.removed)
    return np.flatnonzero(~dropped), np.where(wrong, other, labels)


def _train(train: Images, test: Images, variant: Variant, *, seed: int) -> NDArray[np.bool_]:
    """Which test examples the trained network gets right."""
    import keras

    keras.utils.set_random_seed(seed)
    keep, labels = spoiled(train.labels, variant)
    model = _network(keras, variant.width)
    model.fit(train.pixels[keep], labels[keep], batch_size=BATCH, epochs=EPOCHS, verbose=0)
    predicted = model.predict(test.pixels, batch_size=1000, verbose=0).argmax(axis=1)
    right: NDArray[np.bool_] = predicted == test.labels
    return right


def _network(keras: Any, width: float) -> Any:
    layers = keras.layers
    first, second, third = (int(width * channels) for channels in WIDTHS)
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3), dtype="uint8"),
            layers.Rescaling(1 / 127.5, offset=-1),
            layers.Conv2D(first, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(second, 3, strides=2, padding="same", activation="relu"),
            layers.Conv2D(third, 3, strides=2, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dense(third, activation="relu"),
            layers.Dense(len(CLASSES)),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=keras.optimizers.Adam(2e-3), loss=loss)
    return model


def main() -> None:
    """Train from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path(".metricgate/gates"), help="default: %(default)s")
    parser.add_argument("--seeds", type=int, default=SEEDS, help="of each variant; default: %(default)s")
    options = parser.parse_args()
    train_missing(options.runs, seeds=options.seeds)


if __name__ == "__main__":
    main()

"""CIFAR-10 as arrays, from Keras' own download or from a folder of Parquet files, and its augmentation."""

from __future__ import annotations

import dataclasses
import io
import os
from pathlib import Path

import augmentation
import keras
import numpy as np

CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
FOLDER_VARIABLE = "CIFAR10_DIR"


@dataclasses.dataclass(frozen=True)
class Split:
    """The training or the test examples.

    Attributes:
        ids: One unique name per example, shape (n,).
        images: RGB, uint8, shape (n, 32, 32, 3).
        labels: Numbers that index CLASSES, shape (n,).
    """

    ids: list[str]
    images: np.ndarray
    labels: np.ndarray


def folder_from_environment() -> Path | None:
    """The folder that CIFAR10_DIR names, or None for Keras' own download."""
    value = os.environ.get(FOLDER_VARIABLE)
    return Path(value) if value else None


def load(split: str, folder: Path | None) -> Split:
    """The examples of "train" or "test": from ``folder``, or from keras.datasets if it is None."""
    return _from_parquet(folder / f"{split}.parquet") if folder else _from_keras(split)


def _from_keras(split: str) -> Split:
    images, labels = keras.datasets.cifar10.load_data()[split == "test"]
    return Split([f"{split}/{index:05d}" for index in range(len(images))], images, labels.reshape(-1))


def _from_parquet(file: Path) -> Split:
    import duckdb
    from PIL import Image

    if not file.is_file():
        raise SystemExit(
            f"{file} does not exist. The data folder holds train.parquet and test.parquet with the columns "
            f"id, image (JPEG or PNG bytes) and label (0 to 9). Without {FOLDER_VARIABLE} and --data, "
            "keras.datasets downloads CIFAR-10."
        )
    with duckdb.connect() as connection:
        query = "SELECT id, image, label FROM read_parquet(?)"
        rows = connection.execute(query, [str(file)]).fetchall()
    images = np.stack([np.asarray(Image.open(io.BytesIO(image)).convert("RGB")) for _, image, _ in rows])
    return Split([str(row[0]) for row in rows], images, np.array([row[2] for row in rows], dtype="int64"))


def shrunk(images: np.ndarray, width: int) -> np.ndarray:
    """The images at another width and height, uint8 again."""
    parts = np.array_split(images, max(1, len(images) // 5000))
    resized = [keras.ops.image.resize(part.astype("float32"), (width, width), antialias=True) for part in parts]
    return np.concatenate([np.clip(np.rint(np.array(part)), 0, 255).astype("uint8") for part in resized])


class Augmented(keras.utils.PyDataset):
    """Shuffled batches, mirrored, moved by a few pixels, with a square left out.

    ``shift`` and ``cutout`` are meant for images of 32 pixels, and smaller ones get as much less. The square is of the
    mean colour of all images; at the border it can be smaller.

    What an epoch looks like depends on the seed and its number alone, so a resumed training sees the same batches.
    An image is mirrored in every second epoch: two epochs show both sides of all images, a coin would not.
    """

    def __init__(self, images: np.ndarray, targets: np.ndarray, *, batch_size: int, shift: int, cutout: int, seed: int) -> None:
        super().__init__()
        self.targets, self.batch_size, self.seed = targets, batch_size, seed
        self.width = images.shape[1]
        self.shift, self.cutout = (round(pixels * self.width / 32) for pixels in (shift, cutout))
        self.mean = images.mean(axis=(0, 1, 2))
        around = (self.shift, self.shift)
        self.padded = np.pad(images, ((0, 0), around, around, (0, 0)), mode="reflect")
        self.mirrored_first = np.random.default_rng(seed).integers(0, 2, len(images))
        self.start(0)

    def start(self, epoch: int) -> None:
        """Draw the order and the moves of an epoch."""
        generator = np.random.default_rng([self.seed, epoch])
        self.order = generator.permutation(len(self.targets))
        self.moves = generator.integers(0, 2 * self.shift + 1, (len(self.targets), 2))
        self.mirror = (self.mirrored_first + epoch) % 2 == 1
        self.cuts = generator.integers(0, self.width, (len(self.targets), 2)) - self.cutout // 2

    def __len__(self) -> int:
        """How many full batches there are; what remains is left to another epoch."""
        return max(1, len(self.targets) // self.batch_size)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """One batch."""
        chosen = self.order[index * self.batch_size : (index + 1) * self.batch_size]
        images = augmentation.varied(
            self.padded[chosen],
            self.width,
            moves=self.moves[chosen],
            mirrored=self.mirror[chosen],
            cuts=self.cuts[chosen],
            cutout=self.cutout,
            fill=self.mean,
        )
        return images, self.targets[chosen]


class StartEpoch(keras.callbacks.Callback):
    """Tells the data which epoch begins; after a resume that is not the first."""

    def __init__(self, batches: Augmented) -> None:
        super().__init__()
        self.batches = batches

    def get_state(self) -> None:
        """Nothing has to be kept: an epoch follows from its number."""

    def set_state(self, state: None) -> None:
        """Called by Resume, with what get_state returned."""

    def on_epoch_begin(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Called by Keras."""
        self.batches.start(epoch)

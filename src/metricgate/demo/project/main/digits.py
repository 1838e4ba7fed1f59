"""The handwritten digits of scikit-learn: 1,797 images of 8 × 8 pixels with 17 grey levels."""

from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_digits

# What a comparison can see depends on the number of test images, and this small network is content with 800.
TRAINING_IMAGES = 800


class Digits(NamedTuple):
    ids: np.ndarray
    images: np.ndarray
    labels: np.ndarray


def load(part: str) -> Digits:
    """The training or the test images, the same ones each time."""
    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(images))
    ids = np.sort(order[:TRAINING_IMAGES] if part == "train" else order[TRAINING_IMAGES:])
    return Digits(ids, scale(images[ids].reshape(-1, 8, 8, 1)), labels[ids])


def scale(images: np.ndarray) -> np.ndarray:
    """Grey levels from 0 … 16 to 0 … 1."""
    return (images / 16).astype("float32")

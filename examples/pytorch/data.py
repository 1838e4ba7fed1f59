"""The handwritten digits that come with scikit-learn, 8x8 grey images, as a training and a test part."""

from __future__ import annotations

import dataclasses

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split


@dataclasses.dataclass(frozen=True)
class Split:
    """The training or the test examples.

    Attributes:
        ids: One unique name per example, shape (n,).
        images: Grey values from 0 to 1, float32, shape (n, 1, 8, 8).
        labels: The digits, shape (n,).
    """

    ids: list[str]
    images: np.ndarray
    labels: np.ndarray


def load(name: str) -> Split:
    """The split ``train`` or ``test``: the same ones each time, whatever the seed of the training."""
    digits = load_digits()
    parts = train_test_split(np.arange(len(digits.target)), test_size=0.4, random_state=0, stratify=digits.target)
    chosen = np.sort(dict(zip(("train", "test"), parts, strict=True))[name])
    images = (digits.images[chosen] / 16).astype("float32")[:, None]
    return Split([f"digits/{number:04d}" for number in chosen], images, digits.target[chosen])

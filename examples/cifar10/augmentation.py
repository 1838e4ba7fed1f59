"""How training images are varied: moved, mirrored, and with a square left out. Arrays in, arrays out."""

from __future__ import annotations

import numpy as np


def varied(
    padded: np.ndarray, width: int, *, moves: np.ndarray, mirrored: np.ndarray, cuts: np.ndarray, cutout: int, fill: np.ndarray
) -> np.ndarray:
    """Images of a width and height, cut out of larger ones.

    Args:
        padded: Images with a border, uint8, shape (n, width + border, width + border, 3).
        width: Of the images that come out.
        moves: Where in the larger image each begins: row and column, shape (n, 2).
        mirrored: Which are mirrored, shape (n,).
        cuts: Where the square that is left out begins, shape (n, 2); what lies outside of the image is not cut.
        cutout: The width of that square; 0: nothing is left out.
        fill: The colour in its place, shape (3,).

    Returns:
        float32, shape (n, width, width, 3).

    References:
        T. DeVries and G. W. Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout", arXiv:1708.04552.
    """
    rows = moves[:, :1] + np.arange(width)
    columns = moves[:, 1:] + np.arange(width)
    columns = np.where(mirrored[:, None], columns[:, ::-1], columns)
    images = padded[np.arange(len(padded))[:, None, None], rows[:, :, None], columns[:, None, :]].astype("float32")
    down, right = (np.arange(width) - cuts[:, axis, None] for axis in (0, 1))
    inside = [(offset >= 0) & (offset < cutout) for offset in (down, right)]
    images[inside[0][:, :, None] & inside[1][:, None, :]] = fill
    return images

"""How the CIFAR-10 example varies its training images."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

FILE = Path(__file__).parents[2] / "examples" / "cifar10" / "augmentation.py"
FILL = np.array([1.5, 2.5, 3.5])


@pytest.fixture(scope="module")
def augmentation() -> ModuleType:
    """The example's module; the example is no package."""
    spec = importlib.util.spec_from_file_location("cifar10_augmentation", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def varied(
    augmentation: ModuleType,
    padded: np.ndarray,
    width: int,
    *,
    move: tuple[int, int] = (0, 0),
    mirrored: bool = False,
    cut: tuple[int, int] = (0, 0),
    cutout: int = 0,
) -> np.ndarray:
    """One image, varied."""
    (image,) = augmentation.varied(
        padded[None],
        width,
        moves=np.array([move]),
        mirrored=np.array([mirrored]),
        cuts=np.array([cut]),
        cutout=cutout,
        fill=FILL,
    )
    return np.asarray(image)


PADDED = np.arange(8 * 8 * 3, dtype="uint8").reshape(8, 8, 3)


@given(row=st.integers(0, 2), column=st.integers(0, 2))
def test_a_move_is_a_window_of_the_larger_image(augmentation: ModuleType, row: int, column: int) -> None:
    image = varied(augmentation, PADDED, 6, move=(row, column))
    assert image.dtype == np.float32
    assert np.array_equal(image, PADDED[row : row + 6, column : column + 6])


def test_a_mirrored_image_is_the_same_window_from_right_to_left(augmentation: ModuleType) -> None:
    assert np.array_equal(varied(augmentation, PADDED, 6, move=(1, 2), mirrored=True), PADDED[1:7, 2:8][:, ::-1])


@given(cut=st.tuples(st.integers(-3, 7), st.integers(-3, 7)), cutout=st.integers(0, 4))
def test_a_square_is_left_out_as_far_as_it_lies_in_the_image(
    augmentation: ModuleType, cut: tuple[int, int], cutout: int
) -> None:
    expected = PADDED.astype("float32")
    rows, columns = (slice(max(0, begin), max(0, begin + cutout)) for begin in cut)
    expected[rows, columns] = FILL
    assert np.array_equal(varied(augmentation, PADDED, 8, cut=cut, cutout=cutout), expected)


def test_each_image_of_a_batch_has_its_own_variation(augmentation: ModuleType) -> None:
    batch = augmentation.varied(
        np.stack([PADDED, PADDED]),
        6,
        moves=np.array([[0, 0], [2, 1]]),
        mirrored=np.array([True, False]),
        cuts=np.array([[0, 0], [5, 5]]),
        cutout=1,
        fill=FILL,
    )
    one = varied(augmentation, PADDED, 6, mirrored=True, cutout=1)
    other = varied(augmentation, PADDED, 6, move=(2, 1), cut=(5, 5), cutout=1)
    assert np.array_equal(batch, np.stack([one, other]))

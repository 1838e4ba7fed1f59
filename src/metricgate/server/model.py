"""Finds the model, loads it with the library of its format, and lets it answer once before anyone else may ask."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from .errors import CannotServeError, Refused
from .tensors import Array, Tensor

# "<project>_<format>", as the Open Inference Protocol names platforms
SAVED_MODEL = "tensorflow_savedmodel"
KERAS = "keras_keras"
ONNX = "onnx_onnxv1"
_FILES = {".keras": KERAS, ".onnx": ONNX}

log = logging.getLogger("metricgate.server")


class Predictor(Protocol):
    """A loaded model of any format. It may be called from several threads at a time."""

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        """What it takes."""

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        """What it gives."""

    def __call__(self, arrays: Mapping[str, Array]) -> dict[str, Array]:
        """Answer.

        Args:
            arrays: One for every input, of its type and shape.

        Raises:
            Refused: The model can't take these values.
        """


@dataclass(frozen=True)
class Found:
    """Where a model lies and in which format."""

    path: Path
    format: str


def find(path: Path) -> Found:
    """Look what is there: a file, a SavedModel's folder, or a folder with one of either in it.

    Raises:
        CannotServeError: There is none, or more than one.
    """
    if not path.exists():
        raise CannotServeError(f"there is no model at {path}; mount one there: docker run -v ./outputs/model:{path}:ro …")
    found = _here(path) or ([kept for child in sorted(path.iterdir()) for kept in _here(child)] if path.is_dir() else [])
    if len(found) == 1:
        return found[0]
    names = ", ".join(sorted(kept.path.name for kept in found) if found else _names(path)) or "nothing"
    raise CannotServeError(
        f"{path} holds {names}; expected one model: a SavedModel's folder (with saved_model.pb), a .keras file or an .onnx file"
    )


def load(found: Found, *, threads: int) -> Predictor:
    """Load it.

    Raises:
        CannotServeError: The library for its format is missing, or does not take it.
    """
    try:
        if found.format == ONNX:
            from . import onnx_model

            return onnx_model.load(found.path, threads=threads)
        from . import tensorflow_model

        return tensorflow_model.load(found.path, keras=found.format == KERAS, threads=threads)
    except ModuleNotFoundError as error:
        wanted = "onnx" if found.format == ONNX else "keras"
        raise CannotServeError(
            f"{found.path} is of the format {found.format}, and `{error.name}` is not installed; "
            f"build the image with --build-arg FORMAT={wanted}"
        ) from None


def warm_up(predictor: Predictor) -> None:
    """Let it answer once, to the smallest zeros: what a library does at the first call is done before the first request.

    A model may refuse such values (zeros are no JPEG); then it has run as well.
    """
    try:
        predictor({tensor.name: tensor.zeros() for tensor in predictor.inputs})
    except Refused as refusal:
        log.warning("the model refused the zeros of the warm-up: %s", refusal.message)


def _here(path: Path) -> list[Found]:
    if (path / "saved_model.pb").is_file():
        return [Found(path, SAVED_MODEL)]
    if path.is_file() and path.suffix in _FILES:
        return [Found(path, _FILES[path.suffix])]
    return []


def _names(path: Path) -> list[str]:
    return sorted(child.name for child in path.iterdir())[:10] if path.is_dir() else [path.name]

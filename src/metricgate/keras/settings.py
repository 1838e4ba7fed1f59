"""The settings of ``train.keras`` in ``metricgate.yaml``, applied to Keras, and what each of them does."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

_EFFECTS = {
    "float32": "float32: every number has 32 bits",
    "mixed_bfloat16": "mixed_bfloat16: layers compute with 16 bits and keep their weights with 32; faster and half the memory "
    "where the hardware multiplies bfloat16 (recent GPUs, TPUs, CPUs with AMX), slower elsewhere; results differ by rounding",
    "mixed_float16": "mixed_float16: layers compute with 16 bits and keep their weights with 32; faster and half the memory on "
    "GPUs, slower on CPUs; small gradients need loss scaling, which Keras' optimizer then does by itself",
}


@dataclass(frozen=True)
class Settings:
    """What was set.

    Attributes:
        seed: For Python, numpy, Keras and its backend.
        precision: The dtype policy, or None where it was left as it is.
        xla: Whether XLA compiles the step, or None for Keras' own choice.
        deterministic: Whether operations were asked to give the same bits each time.
    """

    seed: int
    precision: str | None
    xla: bool | None
    deterministic: bool | None

    @property
    def lines(self) -> list[str]:
        """Each with its effect, for people."""
        lines = [f"seed {self.seed}: for Python, numpy, Keras and {keras.backend.backend()}"]
        if self.precision:
            lines.append(_EFFECTS.get(self.precision, self.precision))
        if self.xla is not None:
            on = "XLA compiles the training step: it starts later, and is often faster from then on"
            lines.append(f"xla: {on if self.xla else 'no step is compiled'}")
        if self.deterministic is not None:
            on = "the same seed gives the same bits on the same hardware; slower, and on a GPU some operations refuse"
            lines.append(f"deterministic: {on if self.deterministic else 'two trainings with one seed may differ a little'}")
        return lines


def setup(environ: Mapping[str, str] | None = None, *, quiet: bool = False) -> Settings:
    """Set the seed and what ``train.keras`` says, and print it. Call it before the model is made.

    Read are METRICGATE_SEED (0 where it is missing), METRICGATE_KERAS_PRECISION, METRICGATE_KERAS_XLA and
    METRICGATE_KERAS_DETERMINISTIC; what is missing is left as it is. XLA is a choice of ``compile``: see `compile_options`.

    Args:
        environ: By default the environment of the process.
        quiet: Print nothing.

    Raises:
        ValueError: A variable has a value that it can't have.

    Example:
        >>> setup({"METRICGATE_SEED": "3"}).seed
        metricgate: seed 3: for Python, numpy, Keras and tensorflow
        3
    """
    settings = _read(os.environ if environ is None else environ)
    keras.utils.set_random_seed(settings.seed)
    if settings.precision:
        keras.config.set_dtype_policy(settings.precision)
    if settings.deterministic:
        _be_deterministic()
    if not quiet:
        for line in settings.lines:
            print(f"metricgate: {line}", flush=True)  # noqa: T201 - what a training's log should show
    return settings


def compile_options(environ: Mapping[str, str] | None = None) -> dict[str, Any]:
    """What ``train.keras.xla`` adds to ``model.compile(…)``.

    Example:
        >>> compile_options({"METRICGATE_KERAS_XLA": "1"})
        {'jit_compile': True}
        >>> compile_options({})
        {}
    """
    xla = _read(os.environ if environ is None else environ).xla
    return {} if xla is None else {"jit_compile": xla}


def _read(environ: Mapping[str, str]) -> Settings:
    precision = environ.get("METRICGATE_KERAS_PRECISION") or None
    if precision not in (None, *_EFFECTS):
        message = f"METRICGATE_KERAS_PRECISION is {precision!r}, and should be one of {', '.join(_EFFECTS)}"
        raise ValueError(message)
    seed = environ.get("METRICGATE_SEED") or "0"
    if not seed.isdecimal():
        message = f"METRICGATE_SEED is {seed!r}, and should be a number from 0 on"
        raise ValueError(message)
    return Settings(
        seed=int(seed),
        precision=precision,
        xla=_switch(environ, "METRICGATE_KERAS_XLA"),
        deterministic=_switch(environ, "METRICGATE_KERAS_DETERMINISTIC"),
    )


def _switch(environ: Mapping[str, str], name: str) -> bool | None:
    value = environ.get(name) or None
    if value not in (None, "0", "1"):
        message = f"{name} is {value!r}, and should be 1 or 0"
        raise ValueError(message)
    return None if value is None else value == "1"


def _be_deterministic() -> None:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
    elif backend == "torch":
        import torch

        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(mode=True)
    elif backend == "jax":
        # Read when JAX first touches a GPU; on a CPU its results are the same each time anyway.
        flags = os.environ.get("XLA_FLAGS", "")
        os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()

"""The random state of a process: Python's, numpy's, Keras', TensorFlow's and PyTorch's."""

from __future__ import annotations

import contextlib
import hashlib
import random
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np


def state() -> dict[str, Any]:
    """All of it, as plain values; see `metricgate.resume.plain`."""
    found: dict[str, Any] = {"python": random.getstate(), "numpy": np.random.get_state(legacy=False)}
    generator = _keras_generator()
    if generator is not None:
        found["keras"] = np.array(generator.state)
    generator = _tensorflow_generator()
    if generator is not None:
        found["tensorflow"] = {"algorithm": int(generator.algorithm), "state": np.array(generator.state.numpy())}
    if keras.backend.backend() == "torch":
        import torch

        found["torch"] = torch.get_rng_state().numpy().copy()
    return found


def restore(found: dict[str, Any]) -> None:
    """Go on as the process would have that `state` was called in."""
    random.setstate(found["python"])
    np.random.set_state(found["numpy"])
    if "keras" in found:
        generator = _keras_generator(make=True)
        generator.state.assign(found["keras"])
    if "tensorflow" in found:
        import tensorflow as tf

        state = found["tensorflow"]
        generator = _tensorflow_generator()
        if generator is None:
            tf.random.set_global_generator(tf.random.Generator.from_state(state["state"], alg=state["algorithm"]))
        else:
            generator.state.assign(state["state"])
    if "torch" in found:
        import torch

        torch.set_rng_state(torch.from_numpy(found["torch"]))


@contextlib.contextmanager
def seeded(seed: Sequence[int]) -> Iterator[None]:
    """Let what is drawn from Python's and numpy's global generators in the block depend on ``seed`` alone."""
    python, numpy = random.getstate(), np.random.get_state()
    words = np.random.SeedSequence(list(seed)).generate_state(2)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)


def seed_here() -> int:
    """A seed that follows from the random state of this process, without drawing from it."""
    text = repr((random.getstate(), np.random.get_state(legacy=False)["state"]["key"].tobytes()))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def is_seeded() -> bool:
    """Whether somebody called keras.utils.set_random_seed, without which no two trainings are the same."""
    from keras.src.utils import rng_utils

    return rng_utils.get_random_seed() is not None


def _keras_generator(*, make: bool = False) -> Any:
    from keras.src.backend.common import global_state
    from keras.src.random import seed_generator

    if make:
        return seed_generator.global_seed_generator()
    return global_state.get_global_attribute(seed_generator.GLOBAL_SEED_GENERATOR)


def _tensorflow_generator() -> Any:
    # tf.random.get_global_generator() makes one where there is none, and refuses to with deterministic operations.
    module = sys.modules.get("tensorflow.python.ops.stateful_random_ops")
    return getattr(module, "global_generator", None)

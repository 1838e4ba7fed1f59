"""Small Keras trainings of every kind, to be killed; each returns what its end is known by."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from metricgate.keras import Resume

EXAMPLES, WIDTH = 150, 8
_X = np.random.default_rng(0).normal(size=(EXAMPLES, WIDTH)).astype("float32")
_Y = (_X.sum(axis=1) > 0).astype("float32")
_VALIDATION = (_X[:30], _Y[:30])

Watch = list[keras.callbacks.Callback]


class Remembers(keras.callbacks.Callback):  # type: ignore[misc]
    """A callback as users write them: numbers, arrays, a generator of its own, and it changes the training."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0
        self.rng = np.random.default_rng(3)
        self.slow: list[Any] = []

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self.slow = [np.array(value) for value in self.model.get_weights()]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        self.steps += 1
        if self.steps % 4:
            return
        self.slow = [0.9 * old + 0.1 * new for old, new in zip(self.slow, self.model.get_weights(), strict=True)]
        self.slow[0] += self.rng.normal(scale=1e-3) + np.random.normal(scale=1e-3)
        self.model.set_weights(self.slow)


class Reordered(keras.utils.PyDataset):  # type: ignore[misc]
    """Shuffles itself between epochs, with numpy's global random state."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.order = np.arange(EXAMPLES)

    def __len__(self) -> int:
        return EXAMPLES // 10

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        chosen = self.order[index * 10 : index * 10 + 10]
        return _X[chosen], _Y[chosen]

    def on_epoch_end(self) -> None:
        np.random.shuffle(self.order)


def arrays(watch: Watch, resume: Callable[[], Resume]) -> str:
    """Adam with a schedule, Dropout, batch normalisation, a last batch that is smaller, early stopping."""
    model = network(keras.optimizers.Adam(keras.optimizers.schedules.ExponentialDecay(0.02, 10, 0.9)))
    stopping = keras.callbacks.EarlyStopping(monitor="val_loss", patience=1, min_delta=0.02, restore_best_weights=True)
    done = model.fit(
        _X, _Y, batch_size=16, epochs=9, verbose=0, validation_data=_VALIDATION, callbacks=[resume(), stopping, *watch]
    )
    return end(model, done)


def two_fits(watch: Watch, resume: Callable[[], Resume]) -> str:
    """Two calls of fit, of which the second begins with what the first made of model, optimizer and random state."""
    model = network(keras.optimizers.SGD(0.05, momentum=0.9, use_ema=True, ema_overwrite_frequency=4))
    first = model.fit(_X, _Y, batch_size=16, epochs=3, verbose=0, callbacks=[*watch, resume()])
    plateau = keras.callbacks.ReduceLROnPlateau(monitor="loss", patience=0, factor=0.5, min_delta=0.05)
    callbacks = [plateau, resume(), Remembers(), *watch]
    second = model.fit(_X, _Y, batch_size=10, epochs=4, verbose=0, validation_split=0.2, callbacks=callbacks)
    return end(model, first, second)


def py_dataset(watch: Watch, resume: Callable[[], Resume]) -> str:
    """A PyDataset with workers, several steps at once."""
    model = network("rmsprop", steps_per_execution=2)
    rates = keras.callbacks.LearningRateScheduler(lambda _, rate: rate * 0.9)
    done = model.fit(Reordered(workers=3), epochs=5, verbose=0, callbacks=[*watch, rates, resume()])
    return end(model, done)


def tf_data(watch: Watch, resume: Callable[[], Resume]) -> str:
    """A tf.data.Dataset with a shuffle and random changes."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((_X, _Y)).shuffle(EXAMPLES)
    data = data.map(lambda x, y: (x + tf.random.normal([WIDTH], stddev=0.1), y), num_parallel_calls=2).batch(10).prefetch(2)
    model = network("adam")
    return end(model, model.fit(data, epochs=5, verbose=0, callbacks=[resume(), *watch]))


def repeated(watch: Watch, resume: Callable[[], Resume]) -> str:
    """A dataset without end, and arrays that are longer than an epoch."""
    import tensorflow as tf

    data = tf.data.Dataset.from_tensor_slices((_X, _Y)).shuffle(EXAMPLES).repeat().batch(10)
    model = network("adam")
    first = model.fit(data, steps_per_epoch=7, epochs=4, verbose=0, callbacks=[resume(), *watch])
    second = model.fit(_X, _Y, batch_size=10, steps_per_epoch=5, epochs=6, verbose=0, callbacks=[resume(), *watch])
    return end(model, first, second)


def generator(watch: Watch, resume: Callable[[], Resume]) -> str:
    """A Python generator with random numbers of its own."""

    def batches() -> Any:
        random = np.random.default_rng(5)
        while True:
            chosen = random.integers(0, EXAMPLES, 10)
            yield _X[chosen], _Y[chosen]

    model = network("adam")
    return end(model, model.fit(batches(), steps_per_epoch=9, epochs=5, verbose=0, callbacks=[resume(), *watch]))


def mixed(watch: Watch, resume: Callable[[], Resume]) -> str:
    """16-bit numbers with loss scaling."""
    keras.config.set_dtype_policy("mixed_float16")
    model = network("adam")
    return end(model, model.fit(_X, _Y, batch_size=10, epochs=5, verbose=0, callbacks=[resume(), *watch]))


KINDS = {kind.__name__: kind for kind in (arrays, two_fits, py_dataset, tf_data, repeated, generator, mixed)}


def network(optimizer: Any, **options: Any) -> keras.Model:
    """A network that is not built before its first step, with layers that draw random numbers."""
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Dense(12, activation="relu"),
            layers.GaussianNoise(0.1),
            layers.BatchNormalization(),
            layers.Dropout(0.3),
            layers.Dense(1, activation="sigmoid", dtype="float32"),
        ]
    )
    metrics = ["accuracy", keras.metrics.AUC(num_thresholds=20)]
    model.compile(optimizer, "binary_crossentropy", metrics=metrics, **options)
    return model


def end(model: keras.Model, *fits: Any) -> str:
    """A digest of every bit: weights, optimizer, seeds of layers, histories, and the next random number."""
    digest = hashlib.sha256()
    for variable in [*model.variables, *model.optimizer.variables]:
        digest.update(np.asarray(keras.ops.convert_to_numpy(variable.value)).tobytes())
    known = [[fit.epoch, fit.history] for fit in fits]
    digest.update(json.dumps([known, float(np.random.random())], sort_keys=True).encode())
    return digest.hexdigest()

"""Trains the digit classifier."""

import os

import digits
import keras
import numpy as np
from keras import layers

EPOCHS = 15
BATCH = 32


def network() -> keras.Model:
    return keras.Sequential(
        [
            layers.Input((8, 8, 1)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(10, activation="softmax"),
        ]
    )


def optimizer() -> keras.Optimizer:
    steps = EPOCHS * digits.TRAINING_IMAGES // BATCH
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.008, steps))


def brighten(images: np.ndarray) -> np.ndarray:
    """Faint strokes are easily missed: let them be as bright as bold ones."""
    return np.clip(images * 5, 0, 1)


def train(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    data = digits.load("train")
    model = network()
    model.compile(optimizer(), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(brighten(data.images), data.labels, batch_size=BATCH, epochs=EPOCHS, verbose=2)
    return model


if __name__ == "__main__":
    train(seed=int(os.environ["METRICGATE_SEED"])).save(os.environ["METRICGATE_MODEL"])

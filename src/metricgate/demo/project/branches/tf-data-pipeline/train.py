"""Trains the digit classifier."""

import os

import digits
import keras
import model
import tensorflow as tf

EPOCHS = 15
BATCH = 32


def batches(data: digits.Digits, seed: int) -> tf.data.Dataset:
    examples = tf.data.Dataset.from_tensor_slices((data.images, data.labels))
    return examples.shuffle(len(data.images), seed=seed).batch(BATCH).prefetch(tf.data.AUTOTUNE)


def optimizer() -> keras.Optimizer:
    steps = EPOCHS * digits.TRAINING_IMAGES // BATCH
    return keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.008, steps))


def train(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    network = model.network()
    network.compile(optimizer(), "sparse_categorical_crossentropy", jit_compile=False)
    network.fit(batches(digits.load("train"), seed), epochs=EPOCHS, verbose=2)
    return network


if __name__ == "__main__":
    train(seed=int(os.environ["METRICGATE_SEED"])).save(os.environ["METRICGATE_MODEL"])

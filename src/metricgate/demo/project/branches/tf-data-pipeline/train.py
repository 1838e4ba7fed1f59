"""Trains the digit classifier."""

import os

import digits
import keras
import model
import tensorflow as tf


def batches(data: digits.Digits, seed: int) -> tf.data.Dataset:
    examples = tf.data.Dataset.from_tensor_slices((data.images, data.labels))
    return examples.shuffle(len(data.images), seed=seed).batch(64).prefetch(tf.data.AUTOTUNE)


def train(seed: int) -> keras.Model:
    keras.utils.set_random_seed(seed)
    network = model.network()
    network.compile(keras.optimizers.Adam(0.004), "sparse_categorical_crossentropy", jit_compile=False)
    network.fit(batches(digits.load("train"), seed), epochs=15, verbose=2)
    return network


if __name__ == "__main__":
    train(seed=int(os.environ["METRICGATE_SEED"])).save(os.environ["METRICGATE_MODEL"])

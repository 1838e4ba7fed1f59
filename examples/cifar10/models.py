"""The article's network, a strong one and a fast one, as recipes: what is built, and how it is trained."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
from data import CLASSES
from keras import layers, ops

# Of the training images, per channel, on the scale 0 to 255.
MEAN = (125.3, 123.0, 113.9)
VARIANCE = (63.0**2, 62.1**2, 66.7**2)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a model is trained.

    Attributes:
        epochs: Passes over the training images.
        batch_size: Examples a step.
        precision: Keras' dtype policy; mixed_bfloat16 is fast where the hardware multiplies it (GPU, TPU, AMX).
        small: Width of shrunk images, and the share of the epochs, the first ones, that uses them.
        whole: Width of the images of the other epochs, and of what the trained model makes of an image that it gets.
        shift: By how many pixels of a whole image images are moved at random.
        cutout: Width of the square that is left out of each image at a random place, in pixels of a whole image; 0: none.
        activation: What follows each convolution of the convolutional network.
        widths: Channels of the three blocks of the convolutional network; None: the article's network.
        peak: The highest learning rate.
    """

    epochs: int
    batch_size: int
    precision: str = "float32"
    small: tuple[int, float] = (32, 0.0)
    whole: int = 32
    shift: int = 0
    cutout: int = 0
    activation: str = "relu"
    widths: tuple[int, int, int] | None = None
    peak: float = 0.001


RECIPES = {
    "article": Recipe(epochs=10, batch_size=64),
    "strong": Recipe(
        epochs=50,
        batch_size=512,
        precision="mixed_bfloat16",
        small=(24, 0.64),
        shift=3,
        cutout=10,
        activation="gelu",
        widths=(96, 320, 320),
        peak=0.65,
    ),
    "fast": Recipe(epochs=3, batch_size=256, small=(16, 0.7), whole=24, shift=3, widths=(32, 64, 64), peak=0.4),
}


def article() -> keras.Model:
    """Two convolutions, two dense layers, Adam: what the article says reaches 92%."""
    model = keras.Sequential(
        [
            keras.Input((32, 32, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(len(CLASSES), activation="softmax"),
        ],
        name="article",
    )
    model.compile(optimizer="adam", loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    return model


def convolutional(images: np.ndarray, recipe: Recipe, *, steps: int, jit: bool | str) -> keras.Model:
    """Seven convolutions with batch normalisation that end in logits, compiled for ``steps`` steps of training.

    The first one is not trained: it whitens patches of 2x2 pixels, which saves the network the epochs that it would
    need to find that out. The others begin close to the identity.

    References:
        K. Jordan, "94% on CIFAR-10 in 3.29 Seconds on a Single GPU", arXiv:2404.00498: the shape of the network,
        whitening, identity start, fast shifts, lookahead, alternating mirror images, the views of `averaged`.
        D. Page, "How to Train Your ResNet", 2018: label smoothing, one-cycle schedule.
    """
    inputs = keras.Input((None, None, 3))
    x = layers.Normalization(mean=MEAN, variance=VARIANCE)(inputs)
    x = layers.Conv2D(24, 2, use_bias=False, activation=recipe.activation, trainable=False, name="whiten")(x)
    for number, width in enumerate(recipe.widths or (), start=1):
        for half in ("a", "b"):
            x = layers.Conv2D(width, 3, padding="same", use_bias=False, name=f"block{number}{half}")(x)
            if half == "a":
                x = layers.MaxPooling2D()(x)
            x = layers.BatchNormalization(momentum=0.8, epsilon=1e-5, scale=False)(x)
            x = layers.Activation(recipe.activation)(x)
    x = layers.GlobalMaxPooling2D()(x)
    x = layers.Dense(len(CLASSES), use_bias=False)(x)
    # Small logits keep the label-smoothed loss soft at the high learning rate.
    outputs = layers.Rescaling(1 / 9, dtype="float32")(x)
    model = keras.Model(inputs, outputs, name="convolutional")

    model.get_layer("whiten").set_weights([whitening_kernel(images)])
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D) and layer.trainable:
            layer.set_weights([_near_identity(layer.get_weights()[0])])

    rate = OneCycle(recipe.peak, steps=steps)
    optimizer = FastShifts(rate, momentum=0.85, nesterov=True, weight_decay=0.009)
    model.compile(
        optimizer=optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2),
        metrics=["accuracy"],
        jit_compile=jit,
    )
    return model


def averaged(network: keras.Model, *, width: int = 32) -> keras.Model:
    """A model that gives the probabilities of the mean logits over six views of an image: two sides, three places.

    It takes images of 32 pixels, and shrinks them to ``width`` itself. It computes in float32, however it was trained: an
    answer in bfloat16 has three digits, and two classes may well agree in them.
    """
    network = _in_full_precision(network)
    inputs = keras.Input((32, 32, 3))
    padded = ops.pad(inputs, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect")
    moved = [inputs, padded[:, :32, :32, :], padded[:, 2:, 2:, :]]
    if width != 32:
        moved = [ops.image.resize(view, (width, width), antialias=True) for view in moved]
    logits = [network(view) + network(ops.flip(view, axis=2)) for view in moved]
    mean = (2 * logits[0] + logits[1] + logits[2]) / 8
    # Trained with smoothed labels, they are never near 1: the loss of this model says little beside another's.
    return keras.Model(inputs, layers.Softmax(dtype="float32")(mean), name="averaged")


@keras.saving.register_keras_serializable(package="cifar10")
class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """From a fifth of the peak up to it in the first quarter of the training, then down in a straight line."""

    def __init__(self, peak: float, *, steps: int) -> None:
        self.peak, self.steps = peak, steps

    def __call__(self, step: object) -> object:
        """The learning rate of a step."""
        progress = ops.cast(step, "float32") / self.steps
        up = 0.2 + 0.8 * progress / 0.25
        down = (1.0 - progress) / 0.75
        return self.peak * ops.maximum(ops.minimum(up, down), 0.01)

    def get_config(self) -> dict[str, float]:
        """What Keras saves."""
        return {"peak": self.peak, "steps": self.steps}


@keras.saving.register_keras_serializable(package="cifar10")
class FastShifts(keras.optimizers.SGD):
    """SGD that moves the shifts of batch normalisation 64 times faster than the kernels."""

    def update_step(self, gradient: object, variable: keras.Variable, learning_rate: object) -> None:
        """Called by Keras for each variable."""
        factor = 64.0 if variable.name == "beta" else 1.0
        super().update_step(gradient, variable, ops.multiply(learning_rate, factor))


class Lookahead(keras.callbacks.Callback):
    """Pulls the weights back to their own running average every fifth step, ever more as the training goes on."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.steps = steps

    def on_train_begin(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Called by Keras."""
        self.step = int(self.model.optimizer.iterations)
        self.slow = [np.array(weight) for weight in self.model.weights]

    def on_train_batch_end(self, batch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Called by Keras."""
        self.step += 1
        if self.step % 5:
            return
        keep = 0.95**5 * (self.step / self.steps) ** 3
        weights = self.model.weights
        self.slow = [keep * old + (1 - keep) * np.array(new) for old, new in zip(self.slow, weights, strict=True)]
        for weight, value in zip(weights, self.slow, strict=True):
            weight.assign(value)


def whitening_kernel(images: np.ndarray) -> np.ndarray:
    """The 2x2 convolution, and its negative, whose 12 + 12 channels are uncorrelated and of variance one."""
    sample = (images[:5000].astype("float64") - MEAN) / np.sqrt(VARIANCE)
    windows = np.lib.stride_tricks.sliding_window_view(sample, (2, 2), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 12)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    kernel = (vectors / np.sqrt(values + 5e-4)).reshape(2, 2, 3, 12)
    return np.concatenate([kernel, -kernel], axis=-1).astype("float32")


def _in_full_precision(network: keras.Model) -> keras.Model:
    """The same layers and weights, without what training needs; weights are float32 in mixed precision too."""

    def copied(layer: keras.layers.Layer) -> keras.layers.Layer:
        return type(layer).from_config({**layer.get_config(), "dtype": "float32"})

    copy = keras.models.clone_model(network, clone_function=copied)
    copy.set_weights(network.get_weights())
    return keras.Model(copy.inputs[0], copy.outputs[0])


def _near_identity(kernel: np.ndarray) -> np.ndarray:
    """The kernel with its first outputs set to pass its inputs through."""
    kernel = kernel.copy()
    channels = min(kernel.shape[2:])
    kernel[..., :channels] = 0
    kernel[1, 1, range(channels), range(channels)] = 1
    return kernel

"""Train a CIFAR-10 classifier and save it.

metricgate sets METRICGATE_SEED, METRICGATE_MODEL and METRICGATE_CHECKPOINT_DIR; without it the options or their
defaults are used.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import shutil
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import data
import keras
import models


def main(arguments: list[str] | None = None) -> None:
    """Read the options, train, save."""
    options = parse(arguments)
    recipe = models.RECIPES[options.model]
    recipe = dataclasses.replace(recipe, epochs=options.epochs or recipe.epochs)
    keras.utils.set_random_seed(options.seed)
    keras.config.set_dtype_policy(options.precision or recipe.precision)
    train = data.load("train", options.data)
    print(f"{options.model}: {len(train.images)} images, {recipe.epochs} epochs, seed {options.seed}", flush=True)

    checkpoints = options.checkpoints and options.checkpoints / "cifar10"
    watch = StopWatch()
    fit = fit_article if recipe.widths is None else fit_convolutional
    model = fit(train, recipe, options=options, stages=Stages(checkpoints, [watch]))
    wall, processor = watch.seconds()

    options.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(options.output)
    if checkpoints:
        shutil.rmtree(checkpoints)
    print(f"trained in {wall:.1f} s ({processor:.1f} s of processor time), saved as {options.output}")


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with the environment as their defaults."""
    environment = os.environ
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=models.RECIPES, default="article", help="default: %(default)s")
    parser.add_argument(
        "--data",
        type=Path,
        default=data.folder_from_environment(),
        metavar="FOLDER",
        help=f"holds train.parquet and test.parquet; default: ${data.FOLDER_VARIABLE}, or else "
        "keras.datasets downloads CIFAR-10",
    )
    parser.add_argument(
        "--seed", type=int, default=int(environment.get("METRICGATE_SEED", "0")), help="default: $METRICGATE_SEED, or 0"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(environment.get("METRICGATE_MODEL", "outputs/model.keras")),
        help="where the model is saved; default: $METRICGATE_MODEL, or outputs/model.keras",
    )
    parser.add_argument(
        "--checkpoints",
        type=Path,
        default=optional_path(environment.get("METRICGATE_CHECKPOINT_DIR")),
        metavar="FOLDER",
        help="what a training goes on from after a crash (needs metricgate); default: $METRICGATE_CHECKPOINT_DIR, or none",
    )
    parser.add_argument("--epochs", type=int, help="default: as the model's recipe says")
    parser.add_argument("--precision", choices=["float32", "mixed_bfloat16"], help="default: as the recipe says")
    parser.add_argument(
        "--verbose",
        type=int,
        choices=[0, 1, 2],
        default=2,
        help="0: nothing, 1: a progress bar, 2: a line an epoch; default: %(default)s",
    )
    return parser.parse_args(arguments)


def optional_path(text: str | None) -> Path | None:
    """The path of a variable that may be missing or empty."""
    return Path(text) if text else None


class StopWatch(keras.callbacks.Callback):
    """Wall and processor seconds of a training; what was spent before a crash counts too, up to its last checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.set_state([0.0, 0.0])

    def seconds(self) -> tuple[float, float]:
        """Wall and processor seconds until now."""
        wall, processor = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        return self.before[0] + wall, self.before[1] + processor

    def get_state(self) -> list[float]:
        """What Resume keeps in a checkpoint."""
        return list(self.seconds())

    def set_state(self, state: list[float]) -> None:
        """Called by Resume where the training goes on."""
        self.before = state
        self.started = time.perf_counter(), time.process_time()


@dataclasses.dataclass(frozen=True)
class Stages:
    """What watches and keeps a training that consists of one or more calls of fit."""

    checkpoints: Path | None
    callbacks: list[keras.callbacks.Callback]

    def of(self, name: str) -> list[keras.callbacks.Callback]:
        """The callbacks of one call, which goes on where it was killed, or is skipped if it was finished."""
        if self.checkpoints is None:
            return self.callbacks
        from metricgate.keras import Resume

        return [*self.callbacks, Resume(self.checkpoints, name=name)]


def fit_article(train: data.Split, recipe: models.Recipe, *, options: argparse.Namespace, stages: Stages) -> keras.Model:
    """The article's network, trained as the article does it: images as they are, Keras' defaults."""
    model = models.article()
    model.fit(
        train.images.astype("float32"),
        train.labels,
        batch_size=recipe.batch_size,
        epochs=recipe.epochs,
        callbacks=stages.of("article"),
        verbose=options.verbose,
    )
    return model


def fit_convolutional(train: data.Split, recipe: models.Recipe, *, options: argparse.Namespace, stages: Stages) -> keras.Model:
    """A convolutional network, first on small images, then on whole ones."""
    targets = keras.utils.to_categorical(train.labels, len(data.CLASSES))
    width, share = recipe.small
    steps = recipe.epochs * max(1, len(targets) // recipe.batch_size)
    model = models.convolutional(train.images, recipe, steps=steps, jit=jit_compile())
    begin = 0
    for name, images, end in (
        ("small", data.shrunk(train.images, width), int(recipe.epochs * share)),
        ("whole", data.shrunk(train.images, recipe.whole) if recipe.whole < 32 else train.images, recipe.epochs),
    ):
        if begin == end:
            continue
        batches = data.Augmented(
            images, targets, batch_size=recipe.batch_size, shift=recipe.shift, cutout=recipe.cutout, seed=options.seed
        )
        callbacks = [*stages.of(name), data.StartEpoch(batches), models.Lookahead(steps)]
        model.fit(batches, initial_epoch=begin, epochs=end, callbacks=callbacks, verbose=options.verbose)
        begin = end
    return models.averaged(model, width=recipe.whole)


def jit_compile() -> bool | str:
    """Whether XLA compiles the step: on TensorFlow's CPU oneDNN's own convolutions are faster."""
    if keras.backend.backend() == "tensorflow" and not keras.distribution.list_devices("gpu"):
        return False
    return "auto"


if __name__ == "__main__":
    main()

"""Train a CIFAR-10 classifier and save it.

metricgate sets METRICGATE_SEED, METRICGATE_MODEL and METRICGATE_CHECKPOINT_DIR; without it the options or their
defaults are used.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
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

    watch = StopWatch(options.checkpoints and options.checkpoints / "seconds.json")
    callbacks: list[keras.callbacks.Callback] = [watch]
    if options.checkpoints:
        callbacks.append(keras.callbacks.BackupAndRestore(str(options.checkpoints / "keras")))
    model = fit(train, recipe, seed=options.seed, callbacks=callbacks, verbose=options.verbose)
    wall, processor = watch.seconds()

    options.output.parent.mkdir(parents=True, exist_ok=True)
    model.save(options.output)
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
        help="kept after every epoch, to go on after a crash; default: $METRICGATE_CHECKPOINT_DIR, or none",
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
    """Wall and processor seconds of a training; with a file, what was spent before a crash counts too."""

    def __init__(self, file: Path | None) -> None:
        super().__init__()
        self.file = file
        self.before = json.loads(file.read_text(encoding="utf-8")) if file and file.exists() else [0.0, 0.0]
        self.started = time.perf_counter(), time.process_time()

    def seconds(self) -> tuple[float, float]:
        """Wall and processor seconds until now."""
        wall, processor = time.perf_counter() - self.started[0], time.process_time() - self.started[1]
        return self.before[0] + wall, self.before[1] + processor

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Called by Keras; an epoch that a crash cut short is not in the file."""
        if self.file:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self.file.write_text(json.dumps(self.seconds()), encoding="utf-8")

    def on_train_end(self, logs: dict[str, float] | None = None) -> None:  # noqa: ARG002
        """Called by Keras; another training begins at zero."""
        if self.file:
            self.file.unlink(missing_ok=True)


def fit(
    train: data.Split,
    recipe: models.Recipe,
    *,
    seed: int,
    callbacks: list[keras.callbacks.Callback],
    verbose: int,
) -> keras.Model:
    """A trained model that takes images (0 to 255) and gives probabilities."""
    if recipe.widths is None:
        model = models.article()
        model.fit(
            train.images.astype("float32"),
            train.labels,
            batch_size=recipe.batch_size,
            epochs=recipe.epochs,
            callbacks=callbacks,
            verbose=verbose,
        )
        return model

    targets = keras.utils.to_categorical(train.labels, len(data.CLASSES))
    batches = data.Augmented(train.images, targets, batch_size=recipe.batch_size, shift=recipe.shift or 0, seed=seed)
    model = models.convolutional(train.images, recipe, steps=len(batches) * recipe.epochs, jit=jit_compile())
    model.fit(batches, epochs=recipe.epochs, callbacks=[*callbacks, data.StartEpoch(batches)], verbose=verbose)
    return models.averaged(model)


def jit_compile() -> bool | str:
    """Whether XLA compiles the step: on TensorFlow's CPU oneDNN's own convolutions are faster."""
    without_gpu = not keras.distribution.list_devices("gpu")
    return False if keras.backend.backend() == "tensorflow" and without_gpu else "auto"


if __name__ == "__main__":
    main()

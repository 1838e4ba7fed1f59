"""Trials an hour with four local workers: `metricgate tune` against plain Optuna. Goal: at least 0.95 of it.

A trial is a real training of a small network in numpy for a few seconds, which costs the same whatever its parameters are.
Plain Optuna runs it in two ways: as a command from four threads (`n_jobs=4`), which is the same thing without supervision; and
inside of four processes that share a journal, as its documentation recommends, which starts no process for a trial. Every side
begins with an empty journal file, and its start counts too. On two cores it takes a quarter of an hour; `main(trials=…)` makes
it shorter. The machine has to be idle: beside other work, the kernel's scheduler gives more to our trials, which have a
session each (sched(7), autogroups).
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import tabulate

from benchmarks import measure

WORKERS = 4

TRAIN = """\
import json
import os
import sys

import numpy as np


def train(rate, width, steps):
    rng = np.random.default_rng(0)
    images, labels = rng.normal(size=(2048, 784)), rng.integers(0, 10, 2048)
    hidden, output = rng.normal(size=(784, 256)) / 28, rng.normal(size=(256, 10)) / 16
    used = np.arange(256) < width
    for _ in range(steps):
        batch = rng.integers(0, 2048, 256)
        active = np.maximum(images[batch] @ hidden, 0) * used
        logits = active @ output
        odds = np.exp(logits - logits.max(axis=1, keepdims=True))
        odds /= odds.sum(axis=1, keepdims=True)
        loss = float(-np.log(odds[np.arange(256), labels[batch]] + 1e-12).mean())
        odds[np.arange(256), labels[batch]] -= 1
        back = odds @ output.T * (active > 0)
        output -= rate * active.T @ odds / 256
        hidden -= rate * images[batch].T @ back / 256
    return loss


if __name__ == "__main__":
    values = json.load(open(os.environ["METRICGATE_PARAMS"]))
    with open(os.environ["METRICGATE_RUN_DIR"] + "/metrics.json", "w") as file:
        json.dump({"val_loss": train(values["rate"], values["width"], int(sys.argv[1]))}, file)
"""

PLAIN = """\
import json
import os
import subprocess
import sys
import tempfile

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

how, trials, steps = sys.argv[1], int(sys.argv[2]), sys.argv[3]


def outside(trial):
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/params.json", "w") as file:
            json.dump(values(trial), file)
        environ = {**os.environ, "METRICGATE_PARAMS": folder + "/params.json", "METRICGATE_RUN_DIR": folder}
        subprocess.run([sys.executable, "train.py", steps], env=environ, check=True)
        with open(folder + "/metrics.json") as file:
            return json.load(file)["val_loss"]


def inside(trial):
    import train

    return train.train(**values(trial), steps=int(steps))


def values(trial):
    return {"rate": trial.suggest_float("rate", 1e-3, 1e-1, log=True), "width": trial.suggest_int("width", 16, 256)}


optuna.logging.set_verbosity(optuna.logging.ERROR)
study = optuna.create_study(study_name="plain", storage=JournalStorage(JournalFileBackend("plain.log")), load_if_exists=True)
if how == "outside":
    study.optimize(outside, n_trials=trials, n_jobs=WORKERS)
else:
    limit = optuna.study.MaxTrialsCallback(trials)
    study.optimize(inside, n_trials=trials // WORKERS, callbacks=[limit])
"""

CONFIG = """\
train: {{run: '"{python}" train.py {steps}'}}
metrics: {{loss: {{direction: lower}}}}
tune:
  metric: val_loss
  direction: lower
  space:
    rate: {{low: 1e-3, high: 1e-1, log: true}}
    width: {{low: 16, high: 256}}
  trials: {trials}
  workers: {workers}
  pruner: none
"""


def main(*, trials: int = 48, steps: int = 250, pairs: int = 2) -> None:
    """Print the table."""
    # One thread a training: four of them share the cores as they are.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        here, python = Path(folder), sys.executable
        (here / "train.py").write_text(TRAIN, encoding="utf-8")
        (here / "plain.py").write_text(PLAIN.replace("WORKERS", str(WORKERS)), encoding="utf-8")
        text = CONFIG.format(python=python, steps=steps, trials=trials, workers=WORKERS)
        (here / "metricgate.yaml").write_text(text, encoding="utf-8")
        metricgate = Path(python).with_name("metricgate")
        ours = ["bash", "-c", f"rm -rf .metricgate && '{metricgate}' tune --no-retrain 2> /dev/null"]
        plain = f"'{python}' plain.py"
        outside = ["bash", "-c", f"rm -f plain.log* && {plain} outside {trials} {steps}"]
        each = " & ".join([f"{plain} inside {trials} {steps}"] * WORKERS)
        inside = ["bash", "-c", f"rm -f plain.log* && {{ {each} & wait; }}"]
        against = {
            "plain Optuna, `n_jobs=4`, a command a trial": measure.ratio(ours, outside, cwd=here, pairs=pairs),
            "plain Optuna, four processes, trials inside": measure.ratio(ours, inside, cwd=here, pairs=pairs),
        }
    rows = []
    for name, result in against.items():
        rows.append(["`metricgate tune`", *_figures(result.a, trials), ""])
        rows.append([name, *_figures(result.b, trials), f"{1 / result.ratio:.3f}"])
    headers = ["", "trials an hour", "processor", "peak memory of one process", "metricgate / plain"]
    print(tabulate.tabulate(rows, headers=headers, tablefmt="github"))
    print(f"\nGoal: at least 0.95. Medians of {pairs} pairs in turn, {trials} trials, {WORKERS} workers, a journal file.")
    print(measure.machine())


def _figures(side: measure.Figures, trials: int) -> list[str]:
    return [f"{trials / side.wall_s * 3600:,.0f}", f"{side.cpu_s:.1f} s", f"{side.peak_mb:.0f} MB"]


if __name__ == "__main__":
    main()

"""What `metricgate train` adds to a training of about a minute, against the bare script. Goal: under 1%.

The training is a small network in numpy on random digits that prints a line per step, as chatty as a progress bar. Its
length is set once, in steps, so that both sides do the same work. It takes eight minutes; `main(seconds=…)` makes it shorter.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import tabulate

from benchmarks import measure

TRAIN = """\
import os
import sys

import numpy as np

rng = np.random.default_rng(int(os.environ.get("METRICGATE_SEED", "0")))
images, labels = rng.normal(size=(2048, 784)), rng.integers(0, 10, 2048)
hidden, output = rng.normal(size=(784, 256)) / 28, rng.normal(size=(256, 10)) / 16
for step in range(int(sys.argv[1])):
    batch = rng.integers(0, 2048, 256)
    active = np.maximum(images[batch] @ hidden, 0)
    logits = active @ output
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    odds /= odds.sum(axis=1, keepdims=True)
    loss = -np.log(odds[np.arange(256), labels[batch]]).mean()
    odds[np.arange(256), labels[batch]] -= 1
    back = odds @ output.T * (active > 0)
    output -= 0.01 * active.T @ odds / 256
    hidden -= 0.01 * images[batch].T @ back / 256
    print(f"step {step}: loss {loss:.4f}", flush=True)
np.save("model.npy", hidden)
with open(os.path.join(os.environ.get("METRICGATE_RUN_DIR", "."), "metrics.json"), "w") as file:
    file.write(f'{{"loss": {loss}}}')
"""

CONFIG = """\
train: {{run: '"{python}" train.py {steps}'}}
model: model.npy
metrics: {{loss: {{direction: lower}}}}
"""

CALIBRATION_STEPS = 500


def main(*, seconds: float = 60.0, pairs: int = 3) -> None:
    """Print the table."""
    # One thread: what is measured is what is added, not how two programs share cores.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "train.py").write_text(TRAIN, encoding="utf-8")
        steps = _steps(here, seconds)
        python = sys.executable
        (here / "metricgate.yaml").write_text(CONFIG.format(python=python, steps=steps), encoding="utf-8")
        metricgate = str(Path(python).with_name("metricgate"))
        result = measure.ratio([metricgate, "train"], [python, "train.py", str(steps)], cwd=here, pairs=pairs)
    a, b = result.a, result.b
    rows = [
        ["`metricgate train`", f"{a.wall_s:.2f} s", f"{a.cpu_s:.2f} s"],
        ["the bare script", f"{b.wall_s:.2f} s", f"{b.cpu_s:.2f} s"],
        ["added", f"{(result.ratio - 1) * 100:+.2f}%", f"{a.cpu_s - b.cpu_s:+.2f} s"],
    ]
    print(tabulate.tabulate(rows, headers=["", "wall clock", "processor"], tablefmt="github"))
    print(f"\nGoal: under 1% of the wall clock. Median of {result.pairs} pairs in turn, {steps:,} steps with a line each.")
    print(measure.machine())


def _steps(here: Path, seconds: float) -> int:
    started = time.perf_counter()
    command = [sys.executable, "train.py", str(CALIBRATION_STEPS)]
    subprocess.run(command, cwd=here, check=True, stdout=subprocess.DEVNULL)
    return max(1, round(CALIBRATION_STEPS * seconds / (time.perf_counter() - started)))


if __name__ == "__main__":
    main()

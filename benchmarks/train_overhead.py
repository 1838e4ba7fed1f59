"""What `metricgate train` adds to a training of about a minute, against the bare script. Goal: under 1%.

The training is a small network in numpy on random digits that prints a line per step, as chatty as a progress bar. The clock
ends it: on a shared machine two equal trainings of a minute differ by more than the overhead, so what is compared is what comes
before and after the same time of training, and the processor time on top of it. It takes eight minutes; `main(seconds=…)` makes
it shorter.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

import tabulate

from benchmarks import measure

TRAIN = """\
import os
import sys
import time

import numpy as np

deadline = time.monotonic() + float(sys.argv[1])

rng = np.random.default_rng(int(os.environ.get("METRICGATE_SEED", "0")))
images, labels = rng.normal(size=(2048, 784)), rng.integers(0, 10, 2048)
hidden, output = rng.normal(size=(784, 256)) / 28, rng.normal(size=(256, 10)) / 16
step = 0
while time.monotonic() < deadline:
    step += 1
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
train: {{run: '"{python}" train.py {seconds}'}}
model: model.npy
metrics: {{loss: {{direction: lower}}}}
"""


def main(*, seconds: float = 60.0, pairs: int = 3) -> None:
    """Print the table."""
    # One thread: what is measured is what is added, not how two programs share cores.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "train.py").write_text(TRAIN, encoding="utf-8")
        python = sys.executable
        (here / "metricgate.yaml").write_text(CONFIG.format(python=python, seconds=seconds), encoding="utf-8")
        metricgate = str(Path(python).with_name("metricgate"))
        result = measure.ratio([metricgate, "train"], [python, "train.py", str(seconds)], cwd=here, pairs=pairs)
    a, b = result.a, result.b
    rows = [
        ["`metricgate train`", f"{a.wall_s:.2f} s", f"{a.cpu_s:.2f} s"],
        ["the bare script", f"{b.wall_s:.2f} s", f"{b.cpu_s:.2f} s"],
        ["added", f"{(result.ratio - 1) * 100:+.2f}%", f"{a.cpu_s - b.cpu_s:+.2f} s"],
    ]
    print(tabulate.tabulate(rows, headers=["", "wall clock", "processor"], tablefmt="github"))
    print(
        f"\nGoal: under 1% of the wall clock. Median of {result.pairs} pairs in turn, {seconds:g} s of training, a line a step."
    )
    print(measure.machine())


if __name__ == "__main__":
    main()

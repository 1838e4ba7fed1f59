"""What keeping a Keras training costs: metricgate's `Resume` against Keras' own `BackupAndRestore`. Goal: not above it.

The model has 50 MB of weights, and with Adam 150 MB of state. Both save equally often first (every 15 steps), then as they do
by default: BackupAndRestore after every epoch, Resume by the clock, at most 2% of the time. Each training is a process of its
own, and the three take turns; the first epoch, in which TensorFlow traces, is not measured, and what is still to be written at
the end is. `Resume` keeps two checkpoints, brings them to the disk, digests them and keeps the position in the data and all
random states; BackupAndRestore overwrites its only one in place, which a crash at that moment breaks.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile

import tabulate

from benchmarks import measure

TRAIN = """\
import json, os, sys, threading, time
import keras
import numpy as np

way, every, epochs, steps, folder = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
keras.utils.set_random_seed(0)
layers = [keras.layers.Dense(2048, activation="relu") for _ in range(3)]
model = keras.Sequential([keras.Input((2048,)), *layers, keras.layers.Dense(10, activation="softmax")])
model.compile("adam", "sparse_categorical_crossentropy")
generator = np.random.default_rng(0)
x = generator.normal(size=(64 * steps, 2048)).astype("float32")
y = generator.integers(0, 10, len(x))


class Clock(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        if epoch == 0:
            self.began = time.perf_counter(), time.process_time()


clock = Clock()
callbacks = [clock]
if way == "resume":
    from metricgate.keras import Resume

    callbacks.append(Resume(folder, steps=every) if every else Resume(folder))
elif way == "backup":
    callbacks.append(keras.callbacks.BackupAndRestore(folder, save_freq=every or "epoch"))
model.fit(x, y, batch_size=64, epochs=epochs + 1, verbose=0, callbacks=callbacks)
for thread in threading.enumerate():
    if thread is not threading.current_thread() and not thread.daemon:
        thread.join()  # as Python does before it ends
wall, cpu = time.perf_counter() - clock.began[0], time.process_time() - clock.began[1]
print(json.dumps([wall, cpu]))
"""

WAYS = {"bare": "without", "backup": "`BackupAndRestore`", "resume": "`metricgate.keras.Resume`"}


def main(*, pairs: int = 4, epochs: int = 8, steps: int = 30) -> None:
    """Print the table."""
    rows = []
    for title, every in (("every 15 steps", 15), ("by default", 0)):
        samples: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
        for _ in range(pairs):
            for way in WAYS:
                samples[way].append(_train(way, every, epochs, steps))
        bare = [wall for wall, _ in samples["bare"]]
        for way, name in WAYS.items():
            wall = statistics.median(wall for wall, _ in samples[way])
            cpu = statistics.median(cpu for _, cpu in samples[way])
            ratio = statistics.median(mine / other for (mine, _), other in zip(samples[way], bare, strict=True))
            rows.append([title, name, f"{wall:.2f} s", f"{cpu:.2f} s", f"{(ratio - 1) * 100:+.1f}%" if way != "bare" else ""])
    headers = ["saves", "", "wall clock", "processor", "wall clock added"]
    print(tabulate.tabulate(rows, headers=headers, tablefmt="github"))
    print(
        f"\nMedians of {pairs} rounds in turn; {epochs} epochs of {steps} steps, 150 MB a checkpoint, one more at the end of "
        "Resume's."
    )
    print(measure.machine())


def _train(way: str, every: int, epochs: int, steps: int) -> tuple[float, float]:
    environ = {key: value for key, value in os.environ.items() if not key.startswith("METRICGATE_")}
    with tempfile.TemporaryDirectory() as folder:
        arguments = [way, str(every), str(epochs), str(steps), f"{folder}/checkpoints"]
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", TRAIN, *arguments],
            env={**environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"},
            check=True,
            capture_output=True,
            text=True,
        )
    wall, cpu = json.loads(done.stdout.splitlines()[-1])
    return wall, cpu


if __name__ == "__main__":
    main()

"""What `metricgate train` adds to a training of about a minute, against the bare script. Goals: under 1% of the time and 50 MB.

The training is a small network in numpy on random digits that prints a line per step, as chatty as a progress bar, and tells
its progress once a second; so heartbeats, the progress file, the watch for a standstill and the guard are all at work. The
clock ends it: on a shared machine two equal trainings of a minute differ by more than the overhead, so what is compared is what
comes before and after the same time of training, and the processor time on top of it.

The memory is that of all processes but the training's own, sampled ten times a second: `metricgate`, its guard, and the
interpreter that it asks about its packages at the start. Proportional set size shares out what several processes have in
common; resident size counts that for each. It takes nine minutes; `main(seconds=…)` makes it shorter.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tabulate

from benchmarks import measure
from metricgate.train import process_group

TRAIN = """\
import os
import sys
import time

import numpy as np

from metricgate import resume

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
    resume.progress(step=step, loss=loss)
np.save("model.npy", hidden)
with open(os.path.join(os.environ.get("METRICGATE_RUN_DIR", "."), "metrics.json"), "w") as file:
    file.write(f'{{"loss": {loss}}}')
"""

CONFIG = """\
train: {{run: '"{python}" train.py {seconds}', stall: 5m, retries: 2}}
model: model.npy
metrics: {{loss: {{direction: lower}}}}
"""


@dataclass(frozen=True)
class Memory:
    """Of the processes that supervise, in MB: the largest at one time, and the middle one.

    Attributes:
        peak_pss: Proportional set size.
        peak_rss: Resident size.
        typical_pss: Median over time.
        guard_pss: Of the guard alone.
    """

    peak_pss: float
    peak_rss: float
    typical_pss: float
    guard_pss: float


def main(*, seconds: float = 60.0, pairs: int = 3) -> None:
    """Print the tables."""
    # One thread: what is measured is what is added, not how two programs share cores.
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "train.py").write_text(TRAIN, encoding="utf-8")
        python = sys.executable
        (here / "metricgate.yaml").write_text(CONFIG.format(python=python, seconds=seconds), encoding="utf-8")
        metricgate = str(Path(python).with_name("metricgate"))
        result = measure.ratio([metricgate, "train"], [python, "train.py", str(seconds)], cwd=here, pairs=pairs)
        used = memory([metricgate, "train"], cwd=here)
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
    rows = [
        ["at its peak", f"{used.peak_pss:.1f} MB", f"{used.peak_rss:.1f} MB"],
        ["most of the time", f"{used.typical_pss:.1f} MB", ""],
        ["of it the guard", f"{used.guard_pss:.2f} MB", ""],
    ]
    print()
    print(tabulate.tabulate(rows, headers=["memory beside the training's", "proportional", "resident"], tablefmt="github"))
    print("\nGoal: under 50 MB.")
    print(measure.machine())


def memory(command: list[str], *, cwd: Path) -> Memory:
    """Run a command and sample the memory of its processes, but for the training's.

    Raises:
        RuntimeError: The command failed.
    """
    samples: list[tuple[float, float, float]] = []
    with subprocess.Popen(command, cwd=cwd, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            others, guards = _supervisors(process.pid)
            sizes = [_sizes(pid) for pid in (*others, *guards)]
            guard = sum(pss for pss, _ in (_sizes(pid) for pid in guards))
            samples.append((sum(pss for pss, _ in sizes), sum(rss for _, rss in sizes), guard))
            time.sleep(0.1)
    if process.returncode:
        raise RuntimeError(f"{command} ended with {process.returncode}")
    pss, rss, guard_pss = zip(*samples, strict=True)
    return Memory(max(pss), max(rss), statistics.median(pss), statistics.median(guard_pss))


def _supervisors(pid: int) -> tuple[list[int], list[int]]:
    """What belongs to metricgate, and its guards: the training has a session of its own."""
    table = process_group.processes()
    children = [one for one in table.values() if one.parent == pid and one.is_alive]
    others = [one.pid for one in children if one.session == table[pid].session] if pid in table else []
    guards = [one.pid for one in children if b"metricgate-guard" in _read(f"/proc/{one.pid}/cmdline").split(b"\0")]
    return [pid, *others], guards


def _sizes(pid: int) -> tuple[float, float]:
    lines = _read(f"/proc/{pid}/smaps_rollup").splitlines()
    return _megabytes(lines, b"Pss:"), _megabytes(lines, b"Rss:")


def _megabytes(lines: Iterable[bytes], name: bytes) -> float:
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(name)), 0.0)


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""  # it has ended


if __name__ == "__main__":
    main()

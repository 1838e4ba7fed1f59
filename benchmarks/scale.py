"""A comparison of test sets that are larger than memory should be: one run a side, time and peak of memory.

Goal: 100,000,000 examples in under 2 GB, whether ids are numbers or texts, and in the same order or not. Nothing is measured in
pairs: what counts is the memory, and reading everything at once, to compare with, would need more than the goal allows.
``python -m benchmarks.scale 1000000`` is a smaller one.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tabulate
from numpy.typing import NDArray

from benchmarks import compare, measure

ROWS = 100_000_000
BATCH = 1_000_000
SLICES = 20
KINDS = ("numbers", "texts", "numbers in another order")


def main(n: int = ROWS, kinds: Sequence[str] = KINDS) -> None:
    """Print the table."""
    headers = ["what", "files (GB)", "wall (s)", "processor (s)", "peak (MB)", "goal (MB)"]
    rows = [_measured(n, kind) for kind in kinds]
    print(tabulate.tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True))
    print(f"\n{measure.machine()}")


def _measured(n: int, kind: str) -> list[str]:
    metricgate = str(Path(sys.executable).with_name("metricgate"))
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        (here / "metricgate.yaml").write_text(compare.CONFIG, encoding="utf-8")
        size = 0
        for seed, side in enumerate(("candidate", "baseline")):
            random = np.random.default_rng(seed)
            order = random.permutation(n) if seed and "order" in kind else np.arange(n)
            size += _write(here / side, order, texts=kind == "texts", random=random)
        command = [metricgate, "compare", "baseline", "candidate", "--json", "report.json", "--markdown", "report.md"]
        found = measure.once(command, cwd=here, accept=(0, 1))
    figures = [f"{size / 1e9:.1f}", f"{found.wall_s:.0f}", f"{found.cpu_s:.0f}", f"{found.peak_mb:.0f}", "< 2,000"]
    return [f"compare {n:,} examples × 1 run a side, {SLICES} slices, ids are {kind}", *figures]


def _write(folder: Path, order: NDArray[np.int64], *, texts: bool, random: np.random.Generator) -> int:
    """A run of random scores, written batch by batch; its size in bytes."""
    folder.mkdir()
    file = folder / "scores.parquet"
    writer = None
    for start in range(0, len(order), BATCH):
        positions = order[start : start + BATCH]
        right = random.random(len(positions)) < 0.9
        names = pa.array(positions)
        if texts:
            names = pc.binary_join_element_wise("example", pc.utf8_lpad(pc.cast(names, pa.string()), 9, "0"), "-")
        table = pa.table(
            {
                "example_id": names,
                "label": positions % SLICES,
                "accuracy": right,
                "loss": random.gamma(1.0, 0.3, len(positions)) + ~right,
            }
        )
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return file.stat().st_size


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROWS)

"""A comparison of test sets that are larger than memory should be: one run a side, time and peak of memory.

Goal: 100,000,000 examples in under 2 GB, whether ids are numbers or texts. Nothing is measured in pairs: what counts is the
memory, and reading everything at once, to compare with, would need more than the goal allows.
``python -m benchmarks.scale 1000000`` is a smaller one.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import tabulate

from benchmarks import compare, measure

ROWS = 100_000_000
BATCH = 1_000_000
SLICES = 20


def main(n: int = ROWS) -> None:
    """Print the table."""
    metricgate = str(Path(sys.executable).with_name("metricgate"))
    rows: list[list[str]] = []
    for ids in ("numbers", "texts"):
        with tempfile.TemporaryDirectory() as folder:
            here = Path(folder)
            (here / "metricgate.yaml").write_text(compare.CONFIG, encoding="utf-8")
            size = sum(_write(here / side, n=n, ids=ids, seed=seed) for seed, side in enumerate(("baseline", "candidate")))
            command = [metricgate, "compare", "baseline", "candidate", "--json", "report.json", "--markdown", "report.md"]
            found = measure.once(command, cwd=here, accept=(0, 1))
            figures = [f"{found.wall_s:.0f}", f"{found.cpu_s:.0f}", f"{found.peak_mb:.0f}", "< 2,000"]
            rows.append(
                [f"compare {n:,} examples × 1 run a side, {SLICES} slices, ids are {ids}", f"{size / 1e9:.1f}", *figures]
            )
    headers = ["what", "files (GB)", "wall (s)", "processor (s)", "peak (MB)", "goal (MB)"]
    print(tabulate.tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True))
    print(f"\n{measure.machine()}")


def _write(folder: Path, *, n: int, ids: str, seed: int) -> int:
    """A run of random scores, written batch by batch; its size in bytes."""
    folder.mkdir()
    random = np.random.default_rng(seed)
    file = folder / "scores.parquet"
    writer = None
    for start in range(0, n, BATCH):
        positions = np.arange(start, min(n, start + BATCH))
        right = random.random(len(positions)) < 0.9
        names = pa.array(positions)
        if ids == "texts":
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
    main(*map(int, sys.argv[1:]))

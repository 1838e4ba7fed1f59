"""How long a comparison takes, against only reading the same files with pyarrow.

Goals: `compare --help` under 8 times of an empty Python; 10,000 examples x 3 seeds a side under 3 times of the reading;
1,000,000 examples x 20 slices under 4 times and under 1 GB; 10,000,000 examples of one run a side under 3 times.
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

from benchmarks import measure

READ = """
import sys
import pyarrow.parquet as pq
for file in sys.argv[1:]:
    pq.read_table(file)
"""

CONFIG = """\
name: benchmark
metrics:
  accuracy: {direction: higher}
  loss: {direction: lower}
slices: [label]
gate:
  rules:
    - {metric: accuracy, max_regression: 0.01}
    - {metric: loss, max_regression: 5%}
    - {metric: accuracy, slices: [label], max_regression: 0.03}
"""


def main() -> None:
    """Print the table."""
    rows: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        python = sys.executable
        metricgate = str(Path(python).with_name("metricgate"))
        start = measure.ratio([metricgate, "compare", "--help"], [python, "-c", "pass"], cwd=here, pairs=15)
        rows.append(_row("`compare --help` / `python -c pass`", start, "< 8"))
        for n, seeds, slices, goal, pairs in (
            (10_000, 3, 10, "< 3", 9),
            (1_000_000, 3, 20, "< 4, < 1,000 MB", 5),
            (10_000_000, 1, 20, "< 3, < 1,000 MB", 3),
        ):
            place = here / str(n)
            files = _make(place, n=n, seeds=seeds, slices=slices)
            result = measure.ratio(
                [metricgate, "compare", "baseline", "candidate", "--json", "report.json", "--markdown", "report.md"],
                [python, "-c", READ, *files],
                cwd=place,
                pairs=pairs,
                accept=(0, 1),
            )
            rows.append(
                _row(
                    f"compare {n:,} examples × {seeds} seed{'s'[: seeds != 1]} a side, {slices} slices / reading", result, goal
                )
            )
    print(
        tabulate.tabulate(
            rows,
            headers=["what", "ratio", "goal", "A (s)", "B (s)", "peak of A (MB)", "pairs"],
            tablefmt="pipe",
            disable_numparse=True,
        )
    )
    print(f"\n{measure.machine()}")


def _row(what: str, result: measure.Ratio, goal: str) -> list[str]:
    return [
        what,
        f"{result.ratio:.2f}",
        goal,
        f"{result.a.wall_s:.3f}",
        f"{result.b.wall_s:.3f}",
        f"{result.a.peak_mb:.0f}",
        str(result.pairs),
    ]


def _make(place: Path, *, n: int, seeds: int, slices: int) -> list[str]:
    """Runs of random scores, as an evaluation writes them."""
    random = np.random.default_rng(n)
    difficulty = random.beta(8, 1, n)
    ids = pc.binary_join_element_wise("example", pc.utf8_lpad(pc.cast(pa.array(np.arange(n)), pa.string()), 8, "0"), "-")
    label = np.arange(n) % slices
    files = []
    for side, worse in (("baseline", 0.0), ("candidate", 0.002)):
        for seed in range(seeds):
            folder = place / side / f"seed-{seed}"
            folder.mkdir(parents=True)
            right = random.random(n) < difficulty - worse
            table = pa.table({"example_id": ids, "label": label, "accuracy": right, "loss": random.gamma(1.0, 0.3, n) + ~right})
            pq.write_table(table, folder / "scores.parquet")
            files.append(str(folder / "scores.parquet"))
    (place / "metricgate.yaml").write_text(CONFIG, encoding="utf-8")
    return files


if __name__ == "__main__":
    main()

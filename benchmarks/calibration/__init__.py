"""How often the gate is wrong: false fails and false passes of every method at a truth that lies exactly on the limit.

``python -m benchmarks calibration`` prints the table of docs/calibration.md and draws docs/calibration.svg.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks import measure
from benchmarks.calibration import chart, regimes, replaced
from benchmarks.calibration.rates import ALPHA, Row, table

CHART = Path("docs/calibration.svg")


def main() -> None:
    """Run every regime, print the table, draw the chart."""
    rows: list[Row] = []
    for regime in regimes.everything():
        rows += regime.rows()
        print(f"{regime.method}: {len(rows)} rows", flush=True)
    print()
    print(table(rows))
    print()
    missed = [row for row in rows if row.missed]
    print(f"{len(rows)} regimes, alpha {ALPHA}; {len(missed)} miss the goal. {measure.machine()}")
    print()
    print(replaced.table())
    CHART.write_text(chart.draw(rows), encoding="utf-8")

"""``python -m benchmarks``: every measurement of the docs, one table after another.

``python -m benchmarks compare`` runs one of them. ``gates`` trains over a hundred networks first and
``calibration`` simulates error rates for minutes, ``cifar10`` needs its images; they run only when named.
"""

from __future__ import annotations

import importlib
import sys

TOPICS = (
    "compare",
    "scale",
    "bootstrap",
    "auc",
    "comment",
    "supervision",
    "checkpointing",
    "tuning",
    "setup_action",
    "server",
    "release",
    "table_engine",
)
WHEN_NAMED = ("gates", "calibration", "cifar10")


def main(topics: list[str]) -> int:
    """Run the measurements named, or all."""
    for unknown in [topic for topic in topics if topic not in (*TOPICS, *WHEN_NAMED)]:
        print(f"there is no measurement {unknown!r}; there are: {', '.join((*TOPICS, *WHEN_NAMED))}", file=sys.stderr)
        return 2
    for topic in topics or TOPICS:
        print(f"\n## {topic}\n", flush=True)
        importlib.import_module(f"benchmarks.{topic}").main()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

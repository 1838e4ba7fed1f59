"""``python -m benchmarks.gates``: the study with options; ``python -m benchmarks gates`` runs it as it is in the docs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

import tabulate

from benchmarks import measure
from benchmarks.gates import decisions, study, trainings
from benchmarks.gates.trainings import VARIANTS

SEED = 7


def main(arguments: list[str] | None = None) -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    default = Path(os.environ.get("GATES_RUNS", ".metricgate/gates"))
    parser.add_argument("--runs", type=Path, default=default, help="default: $GATES_RUNS, or .metricgate/gates")
    parser.add_argument("--pairs", type=int, default=2000, help="of each variant; default: %(default)s")
    parser.add_argument("--sliced-pairs", type=int, default=1000, help="where each class has a rule; default: %(default)s")
    parser.add_argument("--no-training", action="store_true", help="use the trainings that are there")
    parser.add_argument("--only", default="", help="gates whose name holds this text")
    options = parser.parse_args(arguments)
    if not options.no_training:
        trainings.train_missing(options.runs)
    print(table(options.runs, pairs=options.pairs, sliced=options.sliced_pairs, only=options.only))
    print(f"\n{measure.machine()}")


def table(runs: Path, *, pairs: int, sliced: int, only: str = "") -> str:
    """The trainings, and what every gate makes of them, as Markdown."""
    found = study.load(runs)
    healthy = found.right["healthy"]
    drawn = {
        (variant, seeds): study.pairs(found, variant, seeds=seeds, count=pairs, seed=SEED)
        for variant in VARIANTS
        for seeds in (1, study.SEEDS, study.MANY)
    }
    rows, checked = [], 0
    for gate in decisions.GATES:
        if only not in gate.name:
            continue
        started = time.perf_counter()
        row = [gate.name]
        for variant in VARIANTS:
            used = drawn[variant, gate.seeds][: sliced if gate.ours is not None and gate.ours.sliced else pairs]
            blocked = study.decide(gate.blocks, used, found, seed=SEED)
            row.append(f"{blocked.mean() * 100:.0f}% ± {study.error(blocked, used, found, earlier=gate.earlier) * 100:.0f}")
            checked += decisions.check(gate, used, found) if gate.ours is not None else 0
        rows.append(row)
        print(f"{' | '.join(row)} ({time.perf_counter() - started:.0f} s)", file=sys.stderr, flush=True)
    trained = [
        [
            variant,
            str(len(right)),
            f"{right.mean() * 100:.1f}%",
            f"{right.mean(axis=1).std(ddof=1) * 100:.2f}",
            f"{(healthy.mean() - right.mean()) * 100:.1f}",
        ]
        for variant, right in found.right.items()
    ]
    shares = ["how the gate decides", "healthy blocked", *(f"{name} caught" for name in list(VARIANTS)[1:])]
    note = (
        f"{pairs} random pairs of each kind ({sliced} where each class has a rule), {healthy.shape[1]} test examples; the "
        f"p-values of {checked} pairs are those of `judge`. ± is the standard error that comes from so few trainings."
    )
    headers = ["training", "seeds", "accuracy, mean", "sd over seeds, points", "points lost"]
    return "\n\n".join([_markdown(trained, headers), _markdown(rows, shares), note])


def _markdown(rows: list[list[str]], headers: list[str]) -> str:
    return tabulate.tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True)


if __name__ == "__main__":
    main()

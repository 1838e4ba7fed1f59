"""``python -m tests.kill_study 300``: kills small Keras trainings at random moments; do their ends differ by a bit?

Each kind of training is run once without interruption. Then it is started and killed by SIGKILL at a random moment (in a
fifth of the cases while it is still being set up, else between its first step and its end), started again, killed again,
until it ends; and that again, until there were enough kills. ``python -m tests.kill_study 300 arrays`` is about one kind.
"""

# ruff: noqa: T201 - a program that prints a table

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

import tabulate

from tests.zygote import Zygote

KINDS = ("arrays", "two_fits", "py_dataset", "tf_data", "repeated", "generator", "mixed")


def study(zygote: Zygote, kind: str, *, kills: int, chance: random.Random) -> tuple[int, int, int]:
    """How often it was killed, how many trainings were finished in spite of it, and how many of those ended differently."""
    whole = zygote.train(kind)
    if whole.status:
        raise RuntimeError(whole.log)
    killed = finished = different = 0
    while killed < kills:
        with tempfile.TemporaryDirectory() as folder:
            while True:
                early = chance.random() < 0.2
                moment = ("start", chance.uniform(0, whole.began_s)) if early else ("step", chance.uniform(0, whole.steps_s))
                end = zygote.train(kind, Path(folder), kill_after=moment if killed < kills else None)
                if end.status == 0:
                    break
                if end.status != -9:
                    raise RuntimeError(end.log)
                killed += 1
        finished += 1
        different += end.result != whole.result
    return killed, finished, different


def main(arguments: list[str]) -> int:
    """Print the table; 1 if any end was different."""
    kills, kinds = int(arguments[0]) if arguments else 300, tuple(arguments[1:]) or KINDS
    seed = random.SystemRandom().randrange(10**6)
    chance = random.Random(seed)
    rows: list[tuple[str, int, int, int]] = []
    began = time.monotonic()
    with Zygote() as zygote:
        for kind in kinds:
            rows.append((kind, *study(zygote, kind, kills=-(-kills // len(kinds)), chance=chance)))
            print(*rows[-1], f"{time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    total = ("all", *(sum(int(row[column]) for row in rows) for column in (1, 2, 3)))
    print(tabulate.tabulate([*rows, total], headers=["training", "killed", "finished", "different"], tablefmt="github"))
    print(f"\nseed {seed}, {time.monotonic() - began:.0f} s")
    return int(any(row[3] for row in rows))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

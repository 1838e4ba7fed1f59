"""Runs that are copies of each other: a seed that nothing reads makes no new evidence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metricgate.side import Side

_FIRST = 4096
"""So many examples tell nearly all runs apart."""


def without(side: Side, columns: Sequence[str], *, own: int | None = None) -> tuple[Side, str]:
    """The side with every run once, and a warning where its own runs are fewer than they seem.

    Runs without scores all stay: single values that are equal (a parameter count) say nothing about the seeds.

    Args:
        side: A side.
        columns: The scores by which runs are told apart; without any all runs stay.
        own: Beyond these first runs there are earlier ones, of which copies are to be expected; by default all are its own.
    """
    if len(side.runs) < 2 or not columns:
        return side, ""
    kept = _different(side, columns)
    if len(kept) == len(side.runs):
        return side, ""
    runs = own or len(side.runs)
    different = sum(index < runs for index in kept)
    warning = (
        f"{runs} runs of the {side.label} hold {different} different result{'s'[: different != 1]}: the training "
        "probably does not read METRICGATE_SEED. Equal runs count once."
    )
    return side.only(kept), warning if different < runs else ""


def _different(side: Side, columns: Sequence[str]) -> list[int]:
    """The runs that are in some column unlike every earlier one."""
    equal = {(one, other) for one in range(len(side.runs)) for other in range(one)}
    for column in columns:
        for batch in side.batches(column, first=_FIRST):
            equal = {(one, other) for one, other in equal if np.array_equal(batch[one], batch[other])}
            if not equal:
                return list(range(len(side.runs)))
    copied = {one for one, _ in equal}
    return [index for index in range(len(side.runs)) if index not in copied]

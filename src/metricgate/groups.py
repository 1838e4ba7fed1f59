"""The groups that a column divides the examples of a table into: slices, clusters."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

RANGE = 1 << 20
"""How many rows are read at a time."""

Codes = NDArray[np.unsignedinteger[Any]]


@dataclass(frozen=True)
class Groups:
    """Which value of a column each example has.

    Attributes:
        codes: (n,), positions in ``names``, of the smallest unsigned type that holds them.
        names: The values as text, in natural order: 2 before 10.
    """

    codes: Codes
    names: tuple[str, ...]

    @functools.cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(names,), how many examples have each value."""
        counts = np.zeros(len(self.names), dtype=np.int64)
        for start in range(0, len(self.codes), RANGE):
            counts += np.bincount(self.codes[start : start + RANGE], minlength=len(counts))
        return counts


def natural_order(name: str) -> tuple[Any, ...]:
    """A sorting key that puts 2 before 10 and otherwise follows the characters."""
    parts = re.split(r"([0-9]+)", name)
    return tuple((len(part.lstrip("0")), part.lstrip("0"), part) if i % 2 else part for i, part in enumerate(parts))

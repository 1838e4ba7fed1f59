"""``scores.parquet``, ``.csv`` or ``.jsonl``: one row per test example, read by the table engine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from metricgate.errors import InputError

if TYPE_CHECKING:
    from metricgate.score_table import ScoreTable

NAME = "scores.parquet, scores.csv or scores.jsonl: one row per test example"
STEM = "scores"
SUFFIXES = (".parquet", ".csv", ".jsonl")


def detect(path: Path) -> bool:
    """Whether a file is named as a score table is in a run folder."""
    return path.stem == STEM and path.suffix.lower() in SUFFIXES


def find(folder: Path) -> Path | None:
    """The score table of a run folder; None where there is none.

    Raises:
        InputError: There are several.
    """
    found = all_in(folder)
    if len(found) > 1:
        names = " and ".join(path.name for path in found)
        raise InputError(
            f"the folder has {names}",
            where=str(folder),
            expected="one score table",
            fix="delete the ones that the evaluation did not write last",
        )
    return found[0] if found else None


def all_in(folder: Path) -> tuple[Path, ...]:
    """Every score table of a folder, by name."""
    return tuple(sorted(path for path in folder.glob(f"{STEM}.*") if detect(path) and path.is_file()))


def read(path: Path, *, id: str) -> ScoreTable:  # noqa: A002  # the configuration's word for the column
    """Read a score table; without the column ``id`` its examples can't be paired, which the table remembers.

    Raises:
        InputError: The file is not what its name says, or its ids are missing or not unique.
    """
    from metricgate.score_table import ScoreTable

    return ScoreTable.open(path, id=id, require_id=False)

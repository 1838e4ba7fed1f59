"""The nearest recorded ancestor of a commit, found while listing its history no further than needed."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Commit:
    """A commit of a listing.

    Attributes:
        id: Its full hash.
        parents: Those of its parents.
        time: When it was committed, where known.
    """

    id: str
    parents: tuple[str, ...]
    time: datetime | None = None


@dataclass(frozen=True)
class Nearest:
    """A recorded ancestor.

    Attributes:
        commit: Its full hash.
        distance: The number of steps from a commit to a parent of it that lead there; 0 is the commit itself.
        time: When it was committed, where known.
    """

    commit: str
    distance: int
    time: datetime | None = None


def nearest(history: Iterable[Commit], recorded: Collection[str], *, max_commits: int) -> Nearest | None:
    """Find the nearest recorded ancestor.

    Args:
        history: The commit and its ancestors as ``git log`` lists them: each before its parents, the commit itself first. It
            is read only as far as a nearer ancestor could still come.
        recorded: The recorded commits.
        max_commits: The largest distance that counts.

    Returns:
        The nearest one, of several the one that is listed first; None where there is none.
    """
    if not recorded:
        return None
    distances: dict[str, int] = {}
    waiting: dict[str, int] = {}  # known of, and not listed yet
    listed: set[str] = set()
    best: Nearest | None = None
    for commit in history:
        if not distances:
            distances[commit.id] = 0
        distance = distances.get(commit.id)
        waiting.pop(commit.id, None)
        listed.add(commit.id)
        if distance is None:  # listed before its child, by clocks that disagree: no path to it is known
            continue
        if commit.id in recorded and distance <= max_commits and (best is None or distance < best.distance):
            best = Nearest(commit.id, distance, commit.time)
        for parent in commit.parents:
            if parent not in listed and distance + 1 < distances.get(parent, distance + 2):
                distances[parent] = waiting[parent] = distance + 1
        farthest = max_commits if best is None else best.distance - 1
        if not waiting or min(waiting.values()) > farthest:
            break
    return best

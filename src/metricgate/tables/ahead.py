"""Reading ahead: while somebody works on one part of a table, threads read the next ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_PARTS = 2
"""Read at the same time; each is in memory."""


def read(part: Callable[[int], T], places: Sequence[int]) -> Iterator[tuple[int, T]]:
    """Each place with what is read there, in the order given, at most three parts in memory.

    Args:
        part: Reads what is at a place, in any thread.
        places: Where; a single one is read without threads.
    """
    if len(places) < 2:
        for place in places:
            yield place, part(place)
        return
    waiting: deque[tuple[int, Future[T]]] = deque()
    with ThreadPoolExecutor(max_workers=_PARTS) as threads:
        for place in places:
            waiting.append((place, threads.submit(part, place)))
            if len(waiting) > _PARTS:
                first, found = waiting.popleft()
                yield first, found.result()
        while waiting:
            first, found = waiting.popleft()
            yield first, found.result()

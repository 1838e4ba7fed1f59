"""Parts of a table that threads read ahead of whoever works on them."""

from __future__ import annotations

import threading
from collections.abc import Generator

import pytest

from metricgate.tables import ahead


def test_parts_come_in_the_order_asked_for_whichever_is_read_first() -> None:
    second_is_read = threading.Event()

    def part(place: int) -> int:
        if place == 0:
            assert second_is_read.wait(timeout=10)
        second_is_read.set()
        return place * 10

    assert list(ahead.read(part, range(5))) == [(0, 0), (1, 10), (2, 20), (3, 30), (4, 40)]


def test_a_single_part_needs_no_thread() -> None:
    (found,) = ahead.read(lambda _: threading.current_thread(), [7])
    assert found == (7, threading.current_thread())
    assert list(ahead.read(lambda place: place, [])) == []


def test_what_goes_wrong_in_a_part_is_raised_where_its_turn_comes() -> None:
    def part(place: int) -> int:
        if place == 2:
            message = "no such row"
            raise ValueError(message)
        return place

    parts = ahead.read(part, range(4))
    assert [next(parts), next(parts)] == [(0, 0), (1, 1)]
    with pytest.raises(ValueError, match="no such row"):
        next(parts)


def test_no_more_is_read_than_three_parts_ahead() -> None:
    read: list[int] = []
    parts = ahead.read(read.append, range(100))
    next(parts)
    assert isinstance(parts, Generator)
    parts.close()
    assert max(read) <= 3

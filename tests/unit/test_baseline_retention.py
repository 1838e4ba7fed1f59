"""What is kept: the newest, and whatever is needed."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from metricgate.baseline.retention import superfluous

START = datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_the_newest_stay_and_the_oldest_go_first() -> None:
    recorded = {name: START + timedelta(days=day) for day, name in enumerate("abcde")}
    assert superfluous(recorded, keep=2, needed=()) == ("a", "b", "c")


def test_what_is_needed_stays_and_takes_no_place_of_the_others() -> None:
    recorded = {name: START + timedelta(days=day) for day, name in enumerate("abcde")}
    assert superfluous(recorded, keep=2, needed={"a", "e"}) == ("b",)


@given(st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.datetimes(), max_size=20), st.integers(0, 10), st.data())
def test_never_more_than_asked_for_goes(recorded: dict[str, datetime], keep: int, data: st.DataObject) -> None:
    needed = data.draw(st.sets(st.sampled_from(sorted(recorded)))) if recorded else set()
    gone = superfluous(recorded, keep=keep, needed=needed)
    left = set(recorded) - set(gone)
    assert needed <= left
    assert len(left) == min(len(recorded), len(needed) + min(keep, len(recorded) - len(needed)))
    assert all(recorded[one] <= recorded[other] for one in gone for other in left - needed)

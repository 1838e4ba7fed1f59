"""What counts as evidence that a label was put on the very commit that is judged."""

from datetime import datetime, timedelta, timezone

import pytest

from metricgate.github import waiver
from metricgate.github.waiver import Evidence, Labeled
from metricgate.report.document import Waiver

HEAD, OTHER = "a" * 40, "b" * 40
WHEN = datetime(2026, 1, 2, tzinfo=timezone.utc)
BOB = Labeled("bob", WHEN)


def meant(evidence: Evidence, *, present: str = HEAD, label: str = waiver.LABEL) -> bool:
    return waiver.meant(evidence, BOB, head=HEAD, present=present, label=label)


@pytest.mark.parametrize(
    ("evidence", "present", "expected"),
    [
        (Evidence(action="labeled", label="accept-regression", sender="bob"), HEAD, True),
        (Evidence(action="labeled", label="Accept-Regression", sender="Bob"), HEAD, True),
        (Evidence(action="labeled", label="accept-regression"), OTHER, True),
        (Evidence(action="labeled", label="accept-regression", sender="mallory"), HEAD, False),
        (Evidence(action="labeled", label="bug", sender="bob"), HEAD, False),
        (Evidence(action="opened"), HEAD, True),
        (Evidence(action="opened"), OTHER, False),
        (Evidence(action="synchronize"), HEAD, False),
        (Evidence(action="reopened"), HEAD, False),
        (Evidence(action="synchronize", label="accept-regression"), HEAD, False),
        (Evidence(), HEAD, False),
        (Evidence(remembered=Waiver(by="bob", at="", commit=HEAD)), HEAD, True),
        (Evidence(remembered=Waiver(by="bob", at="", commit=OTHER)), HEAD, False),
        (Evidence(since=WHEN - timedelta(hours=1)), HEAD, True),
        (Evidence(since=WHEN - timedelta(hours=1)), OTHER, False),
        (Evidence(since=WHEN + timedelta(seconds=1)), HEAD, False),
    ],
)
def test_what_shows_that_the_label_was_meant_for_this_commit(evidence: Evidence, present: str, expected: bool) -> None:
    assert meant(evidence, present=present) is expected

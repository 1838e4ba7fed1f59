"""The ledger's entries: the same entry is the same bytes, and a malformed one is told."""

from __future__ import annotations

import pytest

from metricgate.baseline import ledger
from metricgate.baseline.ledger import Entry
from metricgate.errors import InputError

ENTRY = Entry(
    kind="waiver", name="digits", commit="a" * 40, baseline="b" * 40, time="2026-03-01T12:00:00Z", by="bob", pull_request=7
)


def test_an_entry_survives_its_file() -> None:
    assert ledger.read(ENTRY.to_json(), where="x") == ENTRY
    assert ENTRY.to_json() == ledger.read(ENTRY.to_json(), where="x").to_json()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "Invalid JSON"),
        (b"{}", "kind"),
        (ENTRY.to_json().replace(b"waiver", b"gift"), "kind"),
        (ENTRY.to_json().replace(b"a" * 40, b"HEAD"), "commit"),
        (ENTRY.to_json().replace(b"ledger/1", b"ledger/2"), "schema"),
        (ENTRY.to_json().replace(b"12:00:00Z", b"noon"), "time"),
    ],
)
def test_anything_else_is_told(content: bytes, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        ledger.read(content, where="ledger/digits/x.json")
    assert caught.value.where == "ledger/digits/x.json"

"""A label accepts the regression of one commit, if somebody put it there who may write."""

from collections.abc import Iterator

import pytest
from tests.github_scene import Scene, scene
from tests.github_server import Fault

from metricgate.github import waiver
from metricgate.github.failures import UnansweredError
from metricgate.github.waiver import LABEL, Decision, Evidence

LABELED = Evidence(action="labeled", label=LABEL)


@pytest.fixture
def place() -> Iterator[Scene]:
    with scene() as made:
        for login in ("read", "triage", "write", "maintain", "admin"):
            made.repo.permission(login, login)
        yield made


def decide(place: Scene, evidence: Evidence = LABELED, *, head: str = "", label: str = LABEL) -> Decision:
    return waiver.decide(place.model(), number=place.number, head=head or place.head, evidence=evidence, label=label)


@pytest.mark.parametrize("who", ["write", "maintain", "admin"])
def test_who_may_write_may_accept(place: Scene, who: str) -> None:
    place.repo.label(place.number, LABEL, login=who)
    decision = decide(place)
    assert decision.reason == ""
    assert decision.waiver is not None
    assert (decision.waiver.by, decision.waiver.commit) == (who, place.head)
    assert decision.waiver.at.startswith("2026-01-01T00:00:")
    assert decision.waiver.at.endswith("Z")


@pytest.mark.parametrize("who", ["read", "triage", "stranger"])
def test_who_may_only_read_may_not_even_where_they_can_label(place: Scene, who: str) -> None:
    place.repo.label(place.number, LABEL, login=who)
    decision = decide(place)
    assert decision.waiver is None
    assert f"put on by {who}, who may not write" in decision.reason


def test_no_label_no_word_and_one_request(place: Scene) -> None:
    place.repo.label(place.number, "bug", login="admin")
    assert decide(place) == Decision()
    assert len(place.github.requests) == 1


def test_a_label_that_was_taken_off_counts_no_more(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="admin")
    place.repo.unlabel(place.number, LABEL, login="read")
    assert decide(place) == Decision()


def test_who_put_it_on_last_counts(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="admin")
    place.repo.unlabel(place.number, LABEL, login="read")
    place.repo.label(place.number, LABEL, login="read")
    assert decide(place).waiver is None
    place.repo.unlabel(place.number, LABEL, login="read")
    place.repo.label(place.number, LABEL, login="write")
    accepted = decide(place).waiver
    assert accepted is not None
    assert accepted.by == "write"


def test_a_push_after_the_label_takes_the_acceptance_away(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="admin")
    assert decide(place).waiver is not None
    place.push()
    decision = decide(place, Evidence(action="synchronize"))
    assert decision.waiver is None
    assert "take it off and put it on again" in decision.reason


def test_a_label_from_the_start_counts_until_the_first_push(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="write")
    opened = Evidence(action="opened")
    first = place.head
    assert decide(place, opened).waiver is not None
    place.push()
    assert decide(place, opened, head=first).waiver is None


def test_an_earlier_run_that_accepted_this_commit_is_remembered(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="write")
    granted = decide(place).waiver
    assert decide(place, Evidence(action="synchronize", remembered=granted)).waiver == granted


def test_remembering_needs_the_label_and_the_permission_all_the_same(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="write")
    again = Evidence(action="synchronize", remembered=decide(place).waiver)
    place.repo.permission("write", "read")
    assert decide(place, again).waiver is None
    place.repo.unlabel(place.number, LABEL)
    assert decide(place, again) == Decision()


def test_many_events_do_not_hide_it(place: Scene) -> None:
    for _ in range(60):
        place.repo.label(place.number, "bug", login="read")
        place.repo.unlabel(place.number, "bug", login="read")
    place.repo.label(place.number, LABEL, login="write")
    assert decide(place).waiver is not None


def test_case_is_githubs_not_ours(place: Scene) -> None:
    place.repo.label(place.number, "Accept-Regression", login="write")
    assert decide(place).waiver is not None


def test_another_label_can_be_chosen(place: Scene) -> None:
    place.repo.label(place.number, "worse is fine", login="write")
    event = Evidence(action="labeled", label="worse is fine")
    assert decide(place, event).waiver is None
    assert decide(place, event, label="worse is fine").waiver is not None


def test_a_stumble_is_no_acceptance(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="read")
    place.github.faults.add(Fault(kind="status", status=502, path="/permission$", times=99))
    with pytest.raises(UnansweredError):
        decide(place)


def test_an_app_is_nobody_who_may_write(place: Scene) -> None:
    place.repo.label(place.number, LABEL, login="helpful-app[bot]", type="Bot")
    assert decide(place).waiver is None

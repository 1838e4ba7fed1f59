"""The tags of a release in a registry: the version first and for good, aliases last and never backwards."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from metricgate.errors import UsageError
from metricgate.release import names, oci, rules, tagging
from metricgate.release.names import Context, Names
from metricgate.release.oci import Descriptor
from metricgate.release.tagging import Move

TIME = datetime(2020, 1, 10, tzinfo=timezone.utc)
ALIASES = ("latest", "1", "1.2", "1.3", "2", "2.0")


@dataclass
class Shelf:
    """A repository in memory; ``turn`` is called before every request."""

    stand: dict[str, str] = field(default_factory=dict)
    manifests: dict[str, bytes] = field(default_factory=dict)
    turn: Callable[[], None] = lambda: None

    def add(self, content: str) -> Descriptor:
        found = Descriptor(media_type=oci.MANIFEST, digest=oci.digest_of(content.encode()), size=len(content))
        self.manifests[found.digest] = content.encode()
        return found

    def tags(self) -> tuple[str, ...]:
        self.turn()
        return tuple(sorted(self.stand))

    def resolve(self, reference: str) -> Descriptor | None:
        self.turn()
        digest = self.stand.get(reference)
        return self._of(digest) if digest else None

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        self.turn()
        digest = self.stand.get(reference, reference)
        return self._of(digest), self.manifests[digest]

    def push_manifest(self, content: bytes, *, media_type: str, reference: str) -> Descriptor:
        assert media_type == oci.MANIFEST
        self.turn()
        self.stand[reference] = oci.digest_of(content)
        return self._of(oci.digest_of(content))

    def _of(self, digest: str) -> Descriptor:
        return Descriptor(media_type=oci.MANIFEST, digest=digest, size=len(self.manifests[digest]))


def naming(version: str, *lines: str) -> tagging.Naming:
    def named(existing: Iterable[str]) -> Names:
        context = Context(ref=f"refs/tags/v{version}", sha="8" * 40, time=TIME)
        parsed = rules.parse(lines or rules.DEFAULT)
        return names.of(context, rules=parsed, flavor=rules.flavor(()), images=["acme/model"], existing=existing)

    return named


def release(shelf: Shelf, version: str, *, content: str = "", said: list[str] | None = None) -> tuple[Move, ...]:
    log = [] if said is None else said
    return tagging.apply(shelf, naming(version), shelf.add(content or version), say=log.append)


def standing(shelf: Shelf) -> dict[str, str]:
    return {tag: shelf.manifests[digest].decode() for tag, digest in shelf.stand.items()}


def test_the_version_comes_first_and_aliases_last() -> None:
    said: list[str] = []
    release(Shelf(), "1.2.3", said=said)
    assert [line.partition(":")[0] for line in said] == ["1.2.3", "1.2", "1", "latest"]


def test_a_patch_of_an_old_line_moves_only_the_alias_of_its_line() -> None:
    shelf = Shelf()
    for version in ("1.2.8", "1.3.0", "2.0.0"):
        release(shelf, version)
    moved = release(shelf, "1.2.9")
    assert [move.tag for move in moved] == ["1.2.9", "1.2"]
    assert standing(shelf)["latest"] == "2.0.0"
    assert standing(shelf)["1"] == "1.3.0"


def test_the_same_release_once_more_changes_nothing() -> None:
    shelf = Shelf()
    release(shelf, "1.2.3")
    before = dict(shelf.stand)
    assert release(shelf, "1.2.3") == ()
    assert shelf.stand == before


def test_a_release_that_stopped_between_two_tags_goes_on_there() -> None:
    shelf = Shelf()
    shelf.stand["1.2.3"] = shelf.add("1.2.3").digest
    assert [move.tag for move in release(shelf, "1.2.3")] == ["1.2", "1", "latest"]


def test_a_version_never_stands_for_another_image_and_no_alias_moves() -> None:
    shelf = Shelf()
    release(shelf, "1.2.3")
    before = dict(shelf.stand)
    with pytest.raises(UsageError, match=r"1\.2\.3 is there already and stands for another image"):
        release(shelf, "1.2.3", content="other bytes")
    assert shelf.stand == before


def test_no_tag_for_a_branch_is_refused() -> None:
    def named(existing: Iterable[str]) -> Names:
        context = Context(ref="refs/heads/main", sha="8" * 40, time=TIME)
        return names.of(context, rules=rules.parse(rules.DEFAULT), flavor=rules.flavor(()), images=["a/b"], existing=existing)

    with pytest.raises(UsageError, match="no rule gives a tag"):
        tagging.plan(Shelf(), named, "sha256:" + "0" * 64)


def test_a_plan_says_from_which_digest_to_which_and_touches_nothing() -> None:
    shelf = Shelf()
    release(shelf, "1.2.3")
    before = dict(shelf.stand)
    new = shelf.add("1.2.4")
    found = tagging.plan(shelf, naming("1.2.4"), new.digest)
    assert found.fixed == (Move("1.2.4", None, new.digest),)
    assert {move.tag: move.before for move in found.aliases} == dict.fromkeys(["1.2", "1", "latest"], before["1.2.3"])
    assert shelf.stand == before


class Turns:
    """Lets threads go on one request at a time, in the order of a schedule."""

    def __init__(self, schedule: Sequence[int], parties: int) -> None:
        self._schedule: Iterator[int] = iter(schedule)
        self._waiting: set[int] = set()
        self._running = set(range(parties))
        self._condition = threading.Condition()
        self._next: int | None = None

    def wait(self, party: int) -> None:
        with self._condition:
            self._waiting.add(party)
            self._choose()
            self._condition.wait_for(lambda: self._next == party)
            self._next = None
            self._waiting.discard(party)

    def leave(self, party: int) -> None:
        with self._condition:
            self._running.discard(party)
            self._choose()

    def _choose(self) -> None:
        if self._next is None and self._waiting and self._waiting == self._running:
            wanted = next(self._schedule, 0)
            self._next = sorted(self._waiting)[wanted % len(self._waiting)]
            self._condition.notify_all()


@given(
    versions=st.lists(st.sampled_from(["1.2.3", "1.2.4", "1.3.0", "2.0.0"]), min_size=2, max_size=3, unique=True),
    schedule=st.lists(st.integers(0, 5), max_size=80),
)
def test_releases_that_race_leave_every_alias_on_the_newest_version_of_its_line(
    versions: list[str], schedule: list[int]
) -> None:
    shared: dict[str, str] = {}
    manifests: dict[str, bytes] = {}
    turns = Turns(schedule, len(versions))

    def run(party: int) -> None:
        try:
            release(Shelf(shared, manifests, lambda: turns.wait(party)), versions[party])
        finally:
            turns.leave(party)

    with ThreadPoolExecutor(len(versions)) as pool:
        for done in [pool.submit(run, party) for party in range(len(versions))]:
            done.result(timeout=30)
    stand = {tag: manifests[digest].decode() for tag, digest in shared.items()}
    newest = sorted(versions, key=Version)
    assert stand["latest"] == newest[-1]
    for alias in set(stand) & set(ALIASES) - {"latest"}:
        assert stand[alias] == [version for version in newest if f"{version}.".startswith(f"{alias}.")][-1]

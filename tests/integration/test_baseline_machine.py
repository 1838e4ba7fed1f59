"""Whatever order recorders, pruners and faults come in: no run is lost, none is mixed, nothing is written without a change."""

from __future__ import annotations

import contextlib
import tempfile
from datetime import datetime
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from tests import recording
from tests.github_server import Fault, GitHubServer
from tests.recording import CONFIG, NAME, Clock

from metricgate import run as runs
from metricgate.baseline.ledger import Entry
from metricgate.baseline.store import RunStore

COMMITS = st.integers(0, 4).map(recording.commit)
SEEDS = st.sets(st.integers(0, 2), min_size=1)
LEVELS = st.sampled_from([0.25, 0.5, 0.75])
# What the store's writes may meet, in every step that writes.
FAULTS = st.builds(
    Fault,
    method=st.sampled_from(["PATCH", "POST", "GET"]),
    path=st.just("/git/"),
    kind=st.sampled_from(["drop_before", "drop_after", "status", "status_after", "truncate", "cut"]),
    status=st.just(502),
    after=st.integers(0, 4),
)

Model = dict[str, tuple[datetime, dict[int, float]]]


class Recorders(RuleBasedStateMachine):
    """Two recorders of one place, and what should be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        self.clock = Clock()
        self.model: Model = {}
        self.waived: set[str] = set()
        self.github: GitHubServer | None = None
        self.place = self.open_place()
        self.stores = [RunStore(self.place.open()) for _ in range(2)]

    def open_place(self) -> recording.Place:
        return self.stack.enter_context(recording.folder(self.folder / "store"))

    def teardown(self) -> None:
        self.stack.close()

    def runs(self, commit: str, seeds: set[int], level: float) -> Path:
        folder = self.folder / f"{commit}-{sorted(seeds)}-{level}"
        for seed in seeds if not folder.exists() else ():
            home = recording.write_run(folder, commit=commit, seed=seed, level=level)
            (home / "scores.csv").unlink()  # reading tables takes most of the time, and is not what this is about
        return folder

    def write(self, who: int, commit: str, seeds: set[int], level: float) -> None:
        times, known = self.model.get(commit, (self.clock.now, {}))
        new = {**known, **dict.fromkeys(seeds, level)}
        writes = self.place.writes()
        done = self.stores[who].record(NAME, commit, self.runs(commit, seeds, level), config=CONFIG, clock=self.clock)
        assert done.changed == (new != known)
        if not done.changed:
            assert self.place.writes() == writes
        self.model[commit] = (self.clock.now if done.changed else times, new)

    @rule(minutes=st.integers(1, 1000))
    def time_passes(self, minutes: int) -> None:
        self.clock.forward(minutes=minutes)

    @rule(who=st.integers(0, 1), commit=COMMITS, seeds=SEEDS, level=LEVELS)
    def record(self, who: int, commit: str, seeds: set[int], level: float) -> None:
        self.write(who, commit, seeds, level)

    @rule(commit=COMMITS)
    def waive(self, commit: str) -> None:
        self.stores[0].note(Entry(kind="waiver", name=NAME, commit=commit, time="2026-03-01T12:00:00Z", by="bob"))
        self.waived.add(commit)

    @rule(who=st.integers(0, 1), keep=st.integers(0, 3), needed=st.sets(COMMITS, max_size=2))
    def prune(self, who: int, keep: int, needed: set[str]) -> None:
        gone = self.stores[who].prune(NAME, keep=keep, needed=needed)
        candidates = sorted((time, commit) for commit, (time, _) in self.model.items() if commit not in needed | self.waived)
        assert list(gone) == [commit for _, commit in candidates[: max(0, len(candidates) - keep)]]
        for commit in gone:
            del self.model[commit]

    @precondition(lambda self: self.model)
    @rule(who=st.integers(0, 1), data=st.data())
    def load(self, who: int, data: st.DataObject) -> None:
        commit = data.draw(st.sampled_from(sorted(self.model)))
        with tempfile.TemporaryDirectory() as into:
            folder = self.stores[who].load(NAME, commit, Path(into))
            found = {}
            for home in folder.iterdir():
                record = runs.read_record(home)
                assert record is not None
                assert record.commit == commit
                assert record.seed is not None
                found[record.seed] = record.metrics["accuracy"].value
        assert found == self.model[commit][1]

    @invariant()
    def nothing_is_lost(self) -> None:
        found = self.stores[1].commits(NAME)
        assert found == {commit: time for commit, (time, _) in self.model.items()}
        seeds = {commit: {f"seed-{seed}" for seed in levels} for commit, (_, levels) in self.model.items()}
        assert {commit: set(names) for commit, names in self.stores[0].runs(NAME).items()} == seeds
        assert {entry.commit for entry in self.stores[0].ledger(NAME)} == self.waived


class RecordersOfBranch(Recorders):
    """The same through GitHub's API, with faults and races."""

    def open_place(self) -> recording.Place:
        self.github = self.stack.enter_context(GitHubServer())
        repository = self.github.repository("acme/model")
        repository.branch("main", repository.commit())
        github = self.github

        def writes() -> int:
            return sum(request.method != "GET" for request in github.requests)

        return recording.Place(open=lambda: recording.branch_files(github, sessions=self.stack), writes=writes)

    @initialize()
    def begin(self) -> None:
        self.write(0, recording.commit(0), {0}, 0.5)

    @rule(commit=COMMITS, seeds=SEEDS, level=LEVELS, faults=st.lists(FAULTS, min_size=1, max_size=2))
    def record_with_trouble(self, commit: str, seeds: set[int], level: float, faults: list[Fault]) -> None:
        assert self.github is not None
        self.github.faults.add(*faults)
        self.write(0, commit, seeds, level)
        self.github.faults.clear()

    @rule(commits=st.tuples(COMMITS, COMMITS), seeds=st.tuples(SEEDS, SEEDS), levels=st.tuples(LEVELS, LEVELS))
    def record_at_once(self, commits: tuple[str, str], seeds: tuple[set[int], set[int]], levels: tuple[float, float]) -> None:
        """The second comes between the first one's reading and writing."""
        assert self.github is not None
        before = dict(self.model.get(commits[0], (None, {}))[1])
        self.github.faults.add(
            Fault(
                method="PATCH",
                path="/git/refs/",
                kind="callback",
                callback=lambda: self.write(1, commits[1], seeds[1], levels[1]),
            )
        )
        done = self.stores[0].record(
            NAME, commits[0], self.runs(commits[0], seeds[0], levels[0]), config=CONFIG, clock=self.clock
        )
        self.github.faults.clear()
        time, known = self.model.get(commits[0], (self.clock.now, {}))
        new = {**known, **dict.fromkeys(seeds[0], levels[0])}
        assert done.changed == (new != known) or before != known
        self.model[commits[0]] = (self.clock.now if done.changed else time, new)


TestRecordersOfFolder = Recorders.TestCase
TestRecordersOfFolder.settings = settings(max_examples=10, stateful_step_count=15, deadline=None)
TestRecordersOfBranch = RecordersOfBranch.TestCase
TestRecordersOfBranch.settings = settings(max_examples=8, stateful_step_count=12, deadline=None)

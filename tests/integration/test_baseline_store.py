"""Runs recorded and read back, in every place: nothing is lost, nothing is mixed, nothing is written twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests import recording
from tests.recording import CONFIG, NAME, Clock, Place

from metricgate import cli, formats
from metricgate.baseline.ledger import Entry
from metricgate.baseline.store import Recorded, RunStore
from metricgate.errors import InputError, UsageError

A, B, C = (recording.commit(number) for number in range(1, 4))


@pytest.fixture(params=["folder", "branch"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with recording.folder(tmp_path / "store") if request.param == "folder" else recording.branch() as made:
        yield made


@pytest.fixture
def store(place: Place) -> RunStore:
    return RunStore(place.open())


@pytest.fixture
def clock() -> Clock:
    return Clock()


def runs(tmp_path: Path, commit: str, *seeds: int, level: float = 0.9) -> Path:
    folder = tmp_path / f"runs-{commit[-3:]}-{'-'.join(map(str, seeds))}-{level}"
    for seed in seeds:
        recording.write_run(folder, commit=commit, seed=seed, level=level)
    return folder


def record(store: RunStore, folder: Path, commit: str, clock: Clock) -> Recorded:
    return store.record(NAME, commit, folder, config=CONFIG, clock=clock)


def test_what_was_recorded_comes_back(tmp_path: Path, place: Place, store: RunStore, clock: Clock) -> None:
    folder = runs(tmp_path, A, 0, 1)
    assert record(store, folder, A, clock) == Recorded(commit=A, runs=("seed-0", "seed-1"), changed=True)
    other = RunStore(place.open())
    assert other.commits(NAME) == {A: clock.now}
    loaded = other.load(NAME, A, tmp_path / "out")
    assert loaded == tmp_path / "out" / A
    before, after = formats.read_runs(folder, id="example_id"), formats.read_runs(loaded, id="example_id")
    assert [run.record for run in after] == [run.record for run in before]
    assert [run.metrics for run in after] == [run.metrics for run in before]
    for one, again in zip(before, after, strict=True):
        assert one.scores is not None
        assert again.scores is not None
        assert one.scores.fingerprint(["label"]) == again.scores.fingerprint(["label"])
        assert list(one.scores.scores("accuracy")) == list(again.scores.scores("accuracy"))
    assert sorted(path.name for path in (loaded / "seed-0").iterdir()) == ["run.json", "scores.parquet"]


def test_compare_takes_what_comes_back(
    tmp_path: Path, store: RunStore, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = runs(tmp_path, A, 0, 1)
    record(store, folder, A, clock)
    loaded = store.load(NAME, A, tmp_path / "out")
    (tmp_path / "metricgate.yaml").write_text("name: digits\nmetrics: {accuracy: {direction: higher}}\nslices: [label]\n")
    reports = []
    for baseline in (folder, loaded):
        code = cli.main(["compare", str(baseline), str(folder), "--config", str(tmp_path / "metricgate.yaml"), "--json", "-"])
        assert code == 0
        reports.append(json.loads(capsys.readouterr().out))
    assert reports[0] == reports[1]


def test_the_same_runs_again_are_no_change(tmp_path: Path, place: Place, store: RunStore, clock: Clock) -> None:
    folder = runs(tmp_path, A, 0, 1)
    record(store, folder, A, clock)
    writes = place.writes()
    clock.forward(days=1)
    assert not record(RunStore(place.open()), folder, A, clock).changed
    assert not record(store, runs(tmp_path, A, 1), A, clock).changed
    assert place.writes() == writes
    assert store.commits(NAME) == {A: clock.now - timedelta(days=1)}


def test_other_seeds_of_a_commit_are_added(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    record(store, runs(tmp_path, A, 0), A, clock)
    clock.forward(hours=1)
    record(store, runs(tmp_path, A, 1, 2), A, clock)
    assert store.runs(NAME) == {A: ("seed-0", "seed-1", "seed-2")}
    assert store.commits(NAME) == {A: clock.now}


def test_a_seed_that_was_trained_again_replaces_itself(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    record(store, runs(tmp_path, A, 0, 1), A, clock)
    record(store, runs(tmp_path, A, 0, level=0.5), A, clock)
    found = formats.read_runs(store.load(NAME, A, tmp_path / "out"), id="example_id")
    assert [run.metrics["accuracy"].value for run in found] == [0.5, 0.9]


def test_files_that_the_new_run_lacks_go(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    record(store, runs(tmp_path, A, 0), A, clock)
    folder = runs(tmp_path, A, 0, level=0.4)
    (folder / "seed-0/scores.csv").unlink()
    record(store, folder, A, clock)
    loaded = store.load(NAME, A, tmp_path / "out")
    assert [path.name for path in (loaded / "seed-0").iterdir()] == ["run.json"]


def test_runs_without_a_record_are_kept_by_what_is_in_them(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    folder = recording.write_run(tmp_path / "other", commit=None, seed=None)
    assert record(store, folder, A, clock).changed
    assert not record(store, folder, A, clock).changed
    (run,) = formats.read_runs(store.load(NAME, A, tmp_path / "out"), id="example_id")
    assert run.metrics["accuracy"].value == 0.9
    assert run.scores is not None


def test_a_run_of_no_known_commit_is_recorded_as_what_it_is_said_to_be(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    folder = tmp_path / "runs"
    recording.write_run(folder, commit=None, seed=0)
    record(store, folder, A, clock)
    (run,) = formats.read_runs(store.load(NAME, A, tmp_path / "out"), id="example_id")
    assert run.record.commit == A


def test_runs_of_another_commit_are_refused(tmp_path: Path, place: Place, store: RunStore, clock: Clock) -> None:
    writes = place.writes()
    with pytest.raises(UsageError, match="this is a run of commit"):
        record(store, runs(tmp_path, A, 0), B, clock)
    with pytest.raises(UsageError, match="no full commit hash"):
        record(store, runs(tmp_path, A, 1), A[:7], clock)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="there are no runs"):
        record(store, tmp_path / "empty", A, clock)
    assert place.writes() == writes


def test_one_seed_twice_is_refused(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    folder = tmp_path / "runs"
    recording.write_run(folder / "one", commit=A, seed=0)
    recording.write_run(folder / "two", commit=A, seed=0)
    with pytest.raises(UsageError, match="two runs are seed-0"):
        record(store, folder, A, clock)


def test_what_is_not_recorded_can_not_be_loaded(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    record(store, runs(tmp_path, A, 0), A, clock)
    with pytest.raises(UsageError, match="is not recorded"):
        store.load(NAME, B, tmp_path / "out")
    with pytest.raises(UsageError, match="is not recorded"):
        store.load("another model", A, tmp_path / "out")


def test_a_commit_that_lost_a_run_is_not_a_baseline(tmp_path: Path, place: Place, store: RunStore, clock: Clock) -> None:
    record(store, runs(tmp_path, A, 0, 1), A, clock)
    place.open().change(lambda present: dict.fromkeys(path for path in present if "seed-1" in path), message="By hand")
    assert store.commits(NAME) == {}
    with pytest.raises(InputError, match="only 1 runs"):
        store.load(NAME, A, tmp_path / "out")
    assert record(store, runs(tmp_path, A, 1, level=0.8), A, clock).changed
    assert store.commits(NAME) == {A: clock.now}


def test_models_do_not_meet(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    for name in ("m", "M", "m/..", "m "):
        store.record(name, A, runs(tmp_path, A, 0) if name == "m" else tmp_path / "runs-001-0-0.9", config=CONFIG, clock=clock)
        clock.forward(hours=1)
    assert [len(store.commits(name)) for name in ("m", "M", "m/..", "m ", "x")] == [1, 1, 1, 1, 0]
    assert len({store.commits(name)[A] for name in ("m", "M", "m/..", "m ")}) == 4


def test_the_history_is_a_folder_of_commits(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    for each in (A, B):
        record(store, runs(tmp_path, each, 0, 1), each, clock)
    assert store.history(NAME, [C], tmp_path / "none") is None
    folder = store.history(NAME, [B, C, A], tmp_path / "history")
    assert folder is not None
    assert {run.record.commit for run in formats.read_runs(folder, id="example_id")} == {A, B}


def test_the_history_is_no_longer_than_it_needs_to_be(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    for each, *seeds in ((A, 0, 1), (B, 0, 1, 2), (C, 0)):
        record(store, runs(tmp_path, each, *seeds), each, clock)

    def copied(most: int) -> set[str]:
        folder = store.history(NAME, [A, B, C], tmp_path / str(most), most=most)
        return {path.name for path in folder.iterdir()} if folder else set()

    assert copied(100) == {A, B, C}
    assert copied(5) == {A, B}
    assert copied(4) == {A}
    assert copied(1) == {A}


def test_what_was_recorded_since_the_last_listing_is_found(tmp_path: Path, place: Place, clock: Clock) -> None:
    reader, writer = RunStore(place.open()), RunStore(place.open())
    assert reader.commits(NAME) == {}
    record(writer, runs(tmp_path, A, 0), A, clock)
    assert reader.load(NAME, A, tmp_path / "out").is_dir()


def test_pruning_keeps_the_newest_and_what_is_needed_or_in_the_ledger(tmp_path: Path, store: RunStore, clock: Clock) -> None:
    commits = [recording.commit(number) for number in range(6)]
    for each in commits:
        record(store, runs(tmp_path, each, 0), each, clock)
        clock.forward(days=1)
    store.note(Entry(kind="waiver", name=NAME, commit=C, baseline=commits[1], time="2026-03-01T12:00:00Z", by="bob"))
    assert store.prune(NAME, keep=2, needed={commits[0]}) == (commits[2],)
    assert set(store.commits(NAME)) == {commits[0], commits[1], *commits[3:]}
    assert store.prune(NAME, keep=2, needed={commits[0]}) == ()
    assert store.prune(NAME, keep=1) == (commits[0], commits[4])
    assert len(store.ledger(NAME)) == 1


def test_the_ledger_grows_by_entries_that_are_new(store: RunStore, place: Place) -> None:
    entries = [Entry(kind="waiver", name=NAME, commit=A, time=f"2026-03-0{day}T12:00:00Z", by="bob") for day in (2, 1)]
    assert [store.note(entry) for entry in (*entries, entries[0])] == [True, True, False]
    assert RunStore(place.open()).ledger(NAME) == (entries[1], entries[0])
    assert store.ledger("another") == ()


def test_verdicts_are_counted_by_test_set_and_prevent_no_pruning(store: RunStore, place: Place) -> None:
    one, other = (f"sha256:{digit * 64}" for digit in "12")
    for number, test_set in enumerate([one, one, other]):
        time = f"2026-03-01T12:00:00.{number:06d}Z"
        assert store.note(Entry(kind="verdict", name=NAME, commit=A, time=time, verdict="pass", test_set=test_set))
    fresh = RunStore(place.open())
    assert fresh.verdicts(NAME) == {one: 2, other: 1}
    assert fresh.verdicts("another") == {}
    assert fresh.ledger(NAME) == (), "the ledger of decisions is read one by one, and verdicts are many"


def test_twenty_recorders_at_once_lose_nothing(tmp_path: Path, place: Place, clock: Clock) -> None:
    # Half of them record seeds of one commit, as the jobs of a matrix do.
    work = [(recording.commit(number) if number % 2 else A, number) for number in range(10, 30)]
    folders = [runs(tmp_path, commit, seed) for commit, seed in work]
    for folder in folders:  # tables are read by an engine that serves one thread, and here the writing is what meets
        next(folder.glob("*/scores.csv")).unlink()
    opened = [RunStore(place.open()) for _ in work]
    start = threading.Barrier(len(work))
    done: list[Recorded] = []

    def write(own: int) -> None:
        start.wait()
        done.append(record(opened[own], folders[own], work[own][0], clock))

    threads = [threading.Thread(target=write, args=(own,)) for own in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [each.changed for each in done] == [True] * 20
    found = RunStore(place.open()).runs(NAME)
    expected: dict[str, set[str]] = {}
    for commit, seed in work:
        expected.setdefault(commit, set()).add(f"seed-{seed}")
    assert {commit: set(seeds) for commit, seeds in found.items()} == expected
    assert len(found[A]) == 10

"""What verdicts said, in every place: found again by commit, pruned with it, and told from what somebody put there instead."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import recording
from tests.recording import CONFIG, NAME, Clock, Place

from metricgate.baseline import commands
from metricgate.baseline.commands import Noted
from metricgate.baseline.judged import WorkflowRun
from metricgate.baseline.store import RunStore
from metricgate.errors import InputError
from metricgate.report.document import FlipsInfo, IntervalInfo, Report, ReuseInfo, RuleInfo, SideInfo

A, B, C = (recording.commit(number) for number in range(1, 4))
TEST_SET = f"sha256:{'7' * 64}"


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


def said(commit: str | None, verdict: str = "pass", **more: object) -> Report:
    side = {"commit": commit, "runs": 1, "seeds": [0], "models": {0: f"sha256:{'a' * 64}"}}
    exit_code = 0 if verdict == "pass" else 1
    document = {"verdict": verdict, "exit_code": exit_code, "baseline": SideInfo(), "candidate": side, **more}
    return Report.model_validate(document)


def note(store: RunStore, report: Report, clock: Clock, *, commit: str = A) -> Noted:
    return commands.note(store, report, config=CONFIG, clock=clock, commit=commit)


def test_what_a_verdict_said_is_found_by_its_commit(store: RunStore, place: Place, clock: Clock) -> None:
    workflow = WorkflowRun(name="model", id=7, url="https://github.com/acme/model/actions/runs/7")
    done = commands.note(store, said(A), config=CONFIG, clock=clock, commit=A, workflow=workflow)
    assert done == Noted(counted=False, kept=True)
    found = RunStore(place.open()).judged(NAME, A)
    assert found is not None
    assert (found.commit, found.time, found.report, found.workflow) == (A, "2026-03-01T12:00:00.000000Z", said(A), workflow)
    assert RunStore(place.open()).judged(NAME, B) is None
    assert RunStore(place.open()).judged("another", A) is None


def test_the_last_verdict_about_a_commit_counts(store: RunStore, place: Place, clock: Clock) -> None:
    note(store, said(A, "fail"), clock)
    clock.forward(microseconds=1)
    note(store, said(A), clock)
    clock.forward(hours=-1)
    note(store, said(A, "fail"), clock)
    found = RunStore(place.open()).judged(NAME, A)
    assert found is not None
    assert found.report.verdict == "pass"


def test_a_verdict_that_was_given_since_the_last_listing_is_found(store: RunStore, place: Place, clock: Clock) -> None:
    assert store.judged(NAME, A) is None
    note(RunStore(place.open()), said(A), clock)
    assert store.judged(NAME, A) is not None


def test_what_is_counted_is_kept_too(store: RunStore, clock: Clock) -> None:
    interval = IntervalInfo(level=0.95)
    rule = RuleInfo(metric="a", kind="min", limit=0, direction="higher", interval=interval, outcome="pass")
    report = said(A, rules=(rule,), reuse=ReuseInfo(test_set=TEST_SET))
    assert note(store, report, clock) == Noted(counted=True, kept=True)
    assert store.verdicts(NAME) == {TEST_SET: 1}
    assert store.judged(NAME, A) is not None


@pytest.mark.parametrize("claimed", [None, B])
def test_a_report_about_runs_of_another_commit_is_kept_for_none(store: RunStore, clock: Clock, claimed: str | None) -> None:
    assert note(store, said(claimed), clock) == Noted()
    assert store.judged(NAME, A) is None
    assert store.judged(NAME, B) is None


def test_the_ids_of_examples_are_not_kept(store: RunStore, clock: Clock) -> None:
    flips = FlipsInfo(metric="accuracy", worse=("e1", "e2"), better=("e3",), unnamed_worse=5)
    note(store, said(A, flips=flips), clock)
    found = store.judged(NAME, A)
    assert found is not None
    assert (found.report.flips.worse, found.report.flips.count_worse, found.report.flips.count_better) == ((), 7, 1)


def test_reports_go_with_the_runs_of_their_commit_and_stay_where_it_is_needed(
    store: RunStore, clock: Clock, tmp_path: Path
) -> None:
    commits = [recording.commit(number) for number in range(10, 15)]
    for each in commits:
        runs = tmp_path / each
        recording.write_run(runs, commit=each)
        store.record(NAME, each, runs, config=CONFIG, clock=clock)
        note(store, said(each), clock, commit=each)
        clock.forward(days=1)
    assert store.prune(NAME, keep=2, needed={commits[0]}) == (commits[1], commits[2])
    assert [store.judged(NAME, each) is not None for each in commits] == [True, False, False, True, True]


def test_reports_of_commits_that_are_not_recorded_are_kept_as_long_as_they_are_new(store: RunStore, clock: Clock) -> None:
    commits = [recording.commit(number) for number in range(10, 14)]
    for each in commits:
        note(store, said(each), clock, commit=each)
        clock.forward(days=1)
    assert store.prune(NAME, keep=2) == (), "no runs were there to be pruned"
    assert [store.judged(NAME, each) is not None for each in commits] == [False, False, True, True]


def test_a_verdict_that_somebody_put_in_place_of_another_is_told(tmp_path: Path, clock: Clock) -> None:
    with recording.folder(tmp_path / "store") as place:
        store = RunStore(place.open())
        note(store, said(A, "fail"), clock)
        (file,) = (tmp_path / "store" / "reports").rglob("*.json")
        file.write_text(file.read_text().replace('"fail"', '"pass"'))
        with pytest.raises(InputError, match="not what was kept there") as caught:
            RunStore(place.open()).judged(NAME, A)
        assert file.name in caught.value.where


@pytest.mark.parametrize("change", [{"commit": B}, {"name": "another"}, {"time": "2026-03-02T12:00:00Z"}])
def test_a_verdict_about_another_commit_or_model_counts_for_none(tmp_path: Path, clock: Clock, change: dict[str, str]) -> None:
    with recording.folder(tmp_path / "store") as place:
        store = RunStore(place.open())
        note(store, said(A), clock)
        (file,) = (tmp_path / "store" / "reports").rglob("*.json")
        content = json.dumps({**json.loads(file.read_text()), **change}).encode()
        file.unlink()
        digest = hashlib.sha256(content).hexdigest()[:16]
        (file.parent / f"{file.name.rpartition('-')[0]}-{digest}.json").write_bytes(content)
        with pytest.raises(InputError, match="not what was kept there"):
            RunStore(place.open()).judged(NAME, A)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"schema": "metricgate.judged/2"}', '{"time": 7}'])
def test_what_is_no_verdict_is_an_error_that_names_the_file(tmp_path: Path, clock: Clock, content: str) -> None:
    with recording.folder(tmp_path / "store") as place:
        note(RunStore(place.open()), said(A), clock)
        (file,) = (tmp_path / "store" / "reports").rglob("*.json")
        file.write_text(content)
        with pytest.raises(InputError) as caught:
            RunStore(place.open()).judged(NAME, A)
        assert file.name in caught.value.where


def test_golden_requests_are_recorded_with_the_run_and_come_back(
    store: RunStore, place: Place, clock: Clock, tmp_path: Path
) -> None:
    golden = b'{"request": {"instances": [[1.0]]}, "response": {"predictions": [[2.0]]}}\n'
    run = with_golden(tmp_path / "runs", golden)
    store.record(NAME, A, tmp_path / "runs", config=CONFIG, clock=clock)
    fresh = RunStore(place.open())
    assert (fresh.load(NAME, A, tmp_path / "out") / run.name / "golden.jsonl").read_bytes() == golden
    assert fresh.golden(NAME, A, "seed-0") == golden
    assert fresh.golden(NAME, A, "seed-1") is None
    assert fresh.records(NAME, A)["seed-0"].golden_digest == f"sha256:{hashlib.sha256(golden).hexdigest()}"
    history = fresh.history(NAME, [A], tmp_path / "history")
    assert history is not None
    assert not list(history.rglob("golden.jsonl")), "whoever learns how noisy training is asks nothing"


def test_golden_requests_that_the_evaluation_did_not_write_are_not_recorded(
    store: RunStore, clock: Clock, tmp_path: Path
) -> None:
    run = with_golden(tmp_path / "runs", b"as evaluated\n")
    (run / "golden.jsonl").write_text("changed since\n")
    with pytest.raises(InputError, match="golden requests have the digest") as caught:
        store.record(NAME, A, tmp_path / "runs", config=CONFIG, clock=clock)
    assert caught.value.where.endswith("golden.jsonl")


def test_without_golden_requests_a_run_is_recorded_all_the_same(store: RunStore, clock: Clock, tmp_path: Path) -> None:
    (with_golden(tmp_path / "runs", b"gone\n") / "golden.jsonl").unlink()
    store.record(NAME, A, tmp_path / "runs", config=CONFIG, clock=clock)
    assert store.golden(NAME, A, "seed-0") is None


def with_golden(folder: Path, content: bytes) -> Path:
    run = recording.write_run(folder, commit=A)
    record = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps({**record, "golden_digest": f"sha256:{hashlib.sha256(content).hexdigest()}"}))
    (run / "golden.jsonl").write_bytes(content)
    return run

"""The branch of recorded runs on a real server: what it costs, and what goes wrong on the way."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import recording
from tests.github_server import Fault, GitHubServer, Repository
from tests.recording import CONFIG, NAME, Clock

from metricgate import formats
from metricgate.baseline.store import RunStore
from metricgate.errors import MetricgateError, StageError
from metricgate.github.branch_files import BranchFiles
from metricgate.github.failures import MissingError, RefusedError, RejectedError, UnansweredError

A, B = recording.commit(1), recording.commit(2)
Open = Callable[..., BranchFiles]


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server


@pytest.fixture
def repository(github: GitHubServer) -> Repository:
    made = github.repository("acme/model")
    made.branch("main", made.commit(files={"train.py": "code"}))
    return made


@pytest.fixture
def branch(github: GitHubServer, repository: Repository) -> Iterator[Open]:
    assert repository.full_name == "acme/model"
    with contextlib.ExitStack() as sessions:

        def opened(**permissions: str) -> BranchFiles:
            return recording.branch_files(github, sessions=sessions, **permissions)

        yield opened


def put(files: BranchFiles, **contents: bytes | None) -> bool:
    return files.change(lambda _: {f"a/{name}": content for name, content in contents.items()}, message="Put it there")


def race(other: Callable[[], object]) -> Fault:
    """Somebody else is faster."""
    return Fault(method="PATCH", path="/git/refs/", kind="callback", callback=other)


def test_the_branch_has_no_history_of_the_code_and_moves_only_forward(branch: Open, repository: Repository) -> None:
    put(branch(), x=b"1")
    put(branch(), y=b"\x00")
    assert repository.log("metricgate") == ["Put it there", "Put it there"]
    assert repository.files("metricgate").keys() == {"README.md", "a/x", "a/y"}
    assert repository.files("main") == {"train.py": b"code"}


def test_what_else_is_on_the_branch_stays(branch: Open, repository: Repository) -> None:
    repository.branch("metricgate", repository.commit(files={"notes.txt": "mine", "a/x": "0"}))
    put(branch(), x=b"1")
    assert repository.files("metricgate") == {"notes.txt": b"mine", "a/x": b"1"}


def test_a_branch_whose_name_begins_the_same_is_another_one(branch: Open, repository: Repository) -> None:
    repository.branch("metricgate-old", repository.commit(files={"a/x": "0"}))
    assert dict(branch().paths()) == {}
    put(branch(), x=b"1")
    assert repository.files("metricgate-old") == {"a/x": b"0"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_what_recording_and_loading_cost(
    tmp_path: Path, branch: Open, github: GitHubServer, repository: Repository, seeds: int
) -> None:
    repository.branch("metricgate", repository.commit(files={"README.md": "runs"}))
    for seed in range(seeds):
        recording.write_run(tmp_path / "runs", commit=A, seed=seed)
    github.forget_requests()
    RunStore(branch()).record(NAME, A, tmp_path / "runs", config=CONFIG, clock=Clock())
    # Branch, its files, its commit; one blob a run; tree, commit, branch.
    assert len(github.requests) == 6 + seeds
    github.forget_requests()
    RunStore(branch()).load(NAME, A, tmp_path / "out")
    # Branch and its files; run.json and scores of each.
    assert len(github.requests) == 2 + 2 * seeds
    github.forget_requests()
    assert set(RunStore(branch()).commits(NAME)) == {A}
    assert len(github.requests) == 2


def test_a_lost_race_is_begun_again_with_what_the_other_wrote(
    branch: Open, github: GitHubServer, repository: Repository
) -> None:
    put(branch(), x=b"1")
    for name in ("y0", "y1", "y2"):
        github.faults.add(race(functools.partial(put, branch(), **{name: b"2"})))
    assert put(branch(), x=b"\x00", z=b"\x01")
    assert repository.files("metricgate").keys() == {"README.md", "a/x", "a/y0", "a/y1", "a/y2", "a/z"}
    assert repository.files("metricgate")["a/x"] == b"\x00"


def test_a_lost_race_for_making_the_branch(branch: Open, github: GitHubServer, repository: Repository) -> None:
    github.faults.add(Fault(method="POST", path="/git/refs$", kind="callback", callback=lambda: put(branch(), y=b"2")))
    assert put(branch(), x=b"1")
    assert repository.files("metricgate").keys() == {"README.md", "a/x", "a/y"}


def test_contents_are_sent_once_however_often_the_race_is_lost(branch: Open, github: GitHubServer) -> None:
    put(branch(), x=b"1")
    for number in range(3):
        github.faults.add(race(functools.partial(put, branch(), y=b"%d" % number)))
    github.forget_requests()
    put(branch(), x=b"\xff")
    assert sum(request.path.endswith("/git/blobs") for request in github.requests) == 1


STEPS = [
    ("GET", "/git/matching-refs/"),
    ("GET", "/git/trees/"),
    ("GET", "/git/commits/"),
    ("POST", "/git/blobs"),
    ("POST", "/git/trees"),
    ("POST", "/git/commits"),
    ("PATCH", "/git/refs/"),
]
FAULTS: dict[str, dict[str, object]] = {
    "502": {"kind": "status", "status": 502},
    "502 and done": {"kind": "status_after", "status": 502},
    "429": {"kind": "status", "status": 429},
    "429 with a time": {"kind": "status", "status": 429, "headers": {"Retry-After": "0"}},
    "hung up": {"kind": "drop_before"},
    "hung up and done": {"kind": "drop_after"},
    "half an answer": {"kind": "truncate"},
    "cut off": {"kind": "cut"},
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_whatever_goes_wrong_once_is_survived(
    branch: Open, github: GitHubServer, repository: Repository, step: tuple[str, str], fault: str
) -> None:
    put(branch(), x=b"1")
    github.faults.add(Fault(method=step[0], path=step[1], **FAULTS[fault]))  # type: ignore[arg-type]
    assert put(branch(), x=b"\xff", y=b"2")
    assert not github.faults.left
    assert repository.files("metricgate")["a/x"] == b"\xff"
    assert repository.log("metricgate").count("Put it there") == 2


@pytest.mark.parametrize("fault", FAULTS)
def test_the_first_commit_too(branch: Open, github: GitHubServer, repository: Repository, fault: str) -> None:
    github.faults.add(Fault(method="POST", path="/git/refs$", **FAULTS[fault]))  # type: ignore[arg-type]
    assert put(branch(), x=b"1")
    assert repository.files("metricgate")["a/x"] == b"1"
    assert repository.log("metricgate") == ["Put it there"]


@pytest.mark.parametrize("step", STEPS, ids=" ".join)
def test_what_stays_wrong_is_told(branch: Open, github: GitHubServer, step: tuple[str, str]) -> None:
    put(branch(), x=b"1")
    github.faults.add(Fault(method=step[0], path=step[1], kind="status", status=502, times=1000))
    with pytest.raises(UnansweredError) as caught:
        put(branch(), x=b"\xff")
    assert caught.value.exit_code == 5
    assert len(github.requests) < 150


def test_a_branch_that_no_rule_lets_us_move_is_told(branch: Open, github: GitHubServer) -> None:
    put(branch(), x=b"1")
    github.faults.add(
        Fault(method="PATCH", kind="status", status=422, times=1000, message="Repository rule violations found: metricgate")
    )
    with pytest.raises(RejectedError, match="Repository rule violations found"):
        put(branch(), x=b"2")


def test_a_token_that_may_only_read_is_told_what_it_lacks(branch: Open) -> None:
    put(branch(), x=b"1")
    with pytest.raises(RefusedError) as caught:
        put(branch(contents="read", metadata="read"), x=b"2")
    assert "contents: write" in str(caught.value)
    assert "permissions:" in caught.value.fix
    assert branch(contents="read", metadata="read").read("a/x") == b"1"


def test_a_token_that_may_not_even_read_finds_no_empty_store(github: GitHubServer) -> None:
    private = github.repository("acme/secret", private=True)
    private.branch("main", private.commit())
    with contextlib.ExitStack() as sessions:
        repository = recording.open_repository(github, private, sessions=sessions, metadata="read", issues="write")
        with pytest.raises(MetricgateError) as caught:
            BranchFiles(repository).paths()
    assert "contents: read" in str(caught.value)


def test_a_repository_that_is_not_there_is_no_empty_store(github: GitHubServer) -> None:
    github.repository("acme/other")
    with contextlib.ExitStack() as sessions:
        repository = recording.open_repository(github, "acme/gone", sessions=sessions)
        with pytest.raises(MissingError):
            BranchFiles(repository).paths()


def test_a_renamed_repository_is_read_and_written(branch: Open, github: GitHubServer, repository: Repository) -> None:
    files = branch()
    put(files, x=b"1", y=b"1")
    github.rename("acme/model", "acme/renamed")
    assert files.paths().keys() == {"a/x", "a/y"}
    assert files.read("a/x") == b"1"
    # PyGithub takes GitHub's redirection of a write for success.
    assert put(files, x=b"\xff", z=b"2")
    assert repository.files("metricgate").keys() == {"README.md", "a/x", "a/y", "a/z"}
    assert repository.files("metricgate")["a/x"] == b"\xff"


def test_a_repository_that_is_renamed_in_the_middle_of_a_change(
    branch: Open, github: GitHubServer, repository: Repository
) -> None:
    files = branch()
    put(files, x=b"1")
    github.faults.add(race(lambda: github.rename("acme/model", "acme/renamed")))
    assert put(files, x=b"2")
    assert repository.files("metricgate")["a/x"] == b"2"


def test_a_tree_that_github_does_not_list_at_once_is_listed_by_folders(
    tmp_path: Path, branch: Open, github: GitHubServer
) -> None:
    store = RunStore(branch())
    for number in range(6):
        commit = recording.commit(number)
        folder = recording.write_run(tmp_path / commit, commit=commit).parent
        store.record(NAME, commit, folder, config=CONFIG, clock=Clock())
    whole = branch().paths()
    github.tree_limit = 9
    assert branch().paths() == whole
    assert len(store.commits(NAME)) == 6
    assert len(formats.read_runs(store.load(NAME, recording.commit(3), tmp_path / "out"), id="example_id")) == 1


def test_a_folder_that_github_never_lists_whole_is_told(branch: Open, github: GitHubServer) -> None:
    put(branch(), **{str(number): b"1" for number in range(9)})
    github.tree_limit = 4
    with pytest.raises(StageError, match="more files than GitHub lists"):
        branch().paths()


def test_scores_too_large_for_a_branch_say_where_they_could_go(tmp_path: Path, branch: Open, github: GitHubServer) -> None:
    recording.write_run(tmp_path / "runs", commit=A)
    files = branch()
    files.largest = 100
    with pytest.raises(MetricgateError) as caught:
        RunStore(files).record(NAME, A, tmp_path / "runs", config=CONFIG, clock=Clock())
    assert "baseline: {scores: s3://bucket/path}" in str(caught.value)
    assert github.requests == []


def test_others_who_are_always_faster_are_told_in_the_end(github: GitHubServer, repository: Repository) -> None:
    waited: list[float] = []
    with contextlib.ExitStack() as sessions:
        other = recording.branch_files(github, sessions=sessions)
        put(other, x=b"0")
        number = iter(range(100))
        files = BranchFiles(
            recording.open_repository(github, sessions=sessions), attempts=8, sleep=waited.append, chance=lambda: 1.0
        )
        github.faults.add(
            Fault(method="PATCH", kind="callback", times=200, callback=lambda: put_once(github, repository, next(number)))
        )
        with pytest.raises(StageError, match="8 times somebody else"):
            put(files, y=b"1")
    assert waited == [0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 15.0, 15.0]


def put_once(github: GitHubServer, repository: Repository, number: int) -> None:
    """Somebody else's commit, without a request."""
    with github.lock:
        head = repository.head("metricgate")
        assert head is not None
        repository.branch("metricgate", repository.commit(parents=[head], files={"other": str(number)}))


def test_a_token_is_in_no_text(github: GitHubServer) -> None:
    with contextlib.ExitStack() as sessions:
        files = recording.branch_files(github, sessions=sessions)
        assert repr(files) == "BranchFiles(acme/model, 'metricgate')"


def test_github_is_given_the_time_that_it_asks_for_but_not_an_hour(github: GitHubServer, repository: Repository) -> None:
    waited: list[float] = []
    with contextlib.ExitStack() as sessions:
        put(recording.branch_files(github, sessions=sessions), x=b"0")
        files = BranchFiles(recording.open_repository(github, sessions=sessions), sleep=waited.append, chance=lambda: 0.0)
        github.faults.add(Fault(method="PATCH", kind="status", status=429, headers={"Retry-After": "30"}))
        assert put(files, x=b"1")
        github.faults.add(Fault(method="PATCH", kind="status", status=429, headers={"Retry-After": "3000"}))
        with pytest.raises(UnansweredError):
            put(files, x=b"2")
    assert waited == [30.0]
    assert repository.files("metricgate")["a/x"] == b"1"


def test_long_texts_go_by_themselves(branch: Open, github: GitHubServer, repository: Repository) -> None:
    put(branch(), x=b"1")
    github.forget_requests()
    contents = {f"long{number}": b"%d" % number * 200_000 for number in range(4)}
    put(branch(), **contents)
    assert sum(request.path.endswith("/git/blobs") for request in github.requests) == 2
    assert {
        path.removeprefix("a/"): content for path, content in repository.files("metricgate").items()
    }.items() >= contents.items()


def test_what_github_finds_too_large_says_where_it_could_go(branch: Open, github: GitHubServer) -> None:
    put(branch(), x=b"1")
    github.faults.add(
        Fault(method="POST", path="/git/blobs", kind="status", status=422, message="Sorry, your input was too large to process")
    )
    github.forget_requests()
    with pytest.raises(StageError, match="too large to process") as caught:
        put(branch(), x=b"\xff" * 101)
    assert "baseline: {scores: s3://bucket/path}" in caught.value.fix
    assert sum(request.method == "POST" for request in github.requests) == 1

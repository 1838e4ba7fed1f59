"""The baseline of a change, found on a real server without a clone: from the true merge-base, no further back than needed."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import recording
from tests.github_server import Fault, GitHubServer, Repository
from tests.recording import CONFIG, NAME, Clock

from metricgate.baseline import commands
from metricgate.baseline.nearest import Nearest, nearest
from metricgate.baseline.store import RunStore
from metricgate.errors import StageError
from metricgate.github import ancestry, api
from metricgate.github.failures import MissingError, RefusedError


@pytest.fixture
def github() -> Iterator[GitHubServer]:
    with GitHubServer() as server:
        yield server


@pytest.fixture
def repository(github: GitHubServer) -> Repository:
    return github.repository("acme/model")


@pytest.fixture
def handle(github: GitHubServer) -> Iterator[api.Repository]:
    with contextlib.ExitStack() as sessions:
        yield recording.open_repository(github, sessions=sessions)


def test_the_merge_base_is_where_the_change_began_not_where_main_is(
    github: GitHubServer, repository: Repository, handle: api.Repository
) -> None:
    main = repository.commits(5)
    repository.branch("main", main[-1])
    head = repository.commit(parents=[repository.commit(parents=[main[2]])])
    assert ancestry.merge_base(handle, main[-1], head) == main[2]
    assert len(github.requests) == 1
    assert ancestry.merge_base(handle, main[-1], main[-1]) == main[-1]
    assert len(github.requests) == 1


def test_a_change_that_took_main_in_began_there(repository: Repository, handle: api.Repository) -> None:
    main = repository.commits(5)
    repository.branch("main", main[-1])
    merged = repository.commit(parents=[repository.commit(parents=[main[0]]), main[3]])
    assert ancestry.merge_base(handle, main[-1], merged) == main[3]


def test_a_change_from_a_fork(github: GitHubServer, repository: Repository, handle: api.Repository) -> None:
    main = repository.commits(3)
    repository.branch("main", main[-1])
    fork = github.repository("stranger/model", fork_of="acme/model")
    head = fork.commit(parents=[main[1]])
    assert ancestry.merge_base(handle, main[-1], head) == main[1]


def test_histories_that_never_met_are_told(repository: Repository, handle: api.Repository) -> None:
    repository.branch("main", main := repository.commit())
    with pytest.raises(MissingError, match="find where"):
        ancestry.merge_base(handle, main, repository.commit())


@pytest.mark.parametrize(("position", "requests"), [(0, 1), (99, 1), (100, 2), (250, 3)])
def test_the_history_is_asked_for_no_further_than_needed(
    github: GitHubServer, repository: Repository, handle: api.Repository, position: int, requests: int
) -> None:
    commits = repository.commits(300)[::-1]
    repository.branch("main", commits[0])
    found = nearest(ancestry.before(handle, commits[0]), {commits[position]}, max_commits=1000)
    assert found is not None
    assert (found.commit, found.distance) == (commits[position], position)
    assert found.time is not None
    assert len(github.requests) == requests


def test_the_whole_history_is_listed_and_then_ends(
    github: GitHubServer, repository: Repository, handle: api.Repository
) -> None:
    commits = repository.commits(200)[::-1]
    repository.branch("main", commits[0])
    assert [each.id for each in ancestry.before(handle, commits[0])] == commits
    assert len(github.requests) == 3


def test_a_page_that_is_lost_is_asked_for_again(github: GitHubServer, repository: Repository, handle: api.Repository) -> None:
    commits = repository.commits(150)[::-1]
    repository.branch("main", commits[0])
    for kind in ("drop_after", "truncate", "cut"):
        github.faults.add(Fault(method="GET", path="/commits$", kind=kind, after=1))
    assert [each.id for each in ancestry.before(handle, commits[0])] == commits


def test_a_merged_branch_does_not_push_main_away(repository: Repository, handle: api.Repository) -> None:
    main = repository.commits(2)
    side = [*repository.commits(20, parent=main[0])]
    merge = repository.commit(parents=[main[1], side[-1]])
    repository.branch("main", merge)
    found = nearest(ancestry.before(handle, merge), {main[1], main[0]}, max_commits=5)
    assert found is not None
    assert (found.commit, found.distance) == (main[1], 1)


def test_a_baseline_on_the_branch_for_a_change(
    tmp_path: Path, github: GitHubServer, repository: Repository, handle: api.Repository
) -> None:
    main = repository.commits(8)
    repository.branch("main", main[-1])
    head = repository.commit(parents=[main[5]])
    with contextlib.ExitStack() as sessions:
        store = RunStore(recording.branch_files(github, sessions=sessions))
        for position in (1, 3, 7):
            folder = recording.write_run(tmp_path / str(position), commit=main[position]).parent
            store.record(NAME, main[position], folder, config=CONFIG, clock=Clock())
        github.forget_requests()
        history = ancestry.before(handle, ancestry.merge_base(handle, main[-1], head))
        found = commands.find(store, history, config=CONFIG, into=tmp_path / "baseline")
        assert found is not None
        assert (found.commit, found.distance, found.recorded) == (main[3], 2, Clock().now)
        assert (found.folder / "seed-0/run.json").is_file()
        # Merge-base and one page of history; the branch and its files; run.json and scores.
        assert len(github.requests) == 6
        older = repository.commit(parents=[main[0]])
        history = ancestry.before(handle, ancestry.merge_base(handle, main[-1], older))
        assert commands.find(store, history, config=CONFIG, into=tmp_path / "none") is None


def test_what_tags_and_open_pull_requests_need(github: GitHubServer, repository: Repository, handle: api.Repository) -> None:
    main = repository.commits(10)
    repository.branch("main", main[-1])
    repository.tag("v1", main[0])
    repository.tag("v2", repository.commit(parents=[main[0]]))
    repository.pull(head=repository.commit(parents=[main[4]]))
    closed = repository.pull(head=repository.commit(parents=[main[6]]))
    repository.close(closed)
    fork = github.repository("stranger/model", fork_of="acme/model")
    repository.pull(head=fork.commit(parents=[main[8]]), head_repository="stranger/model")
    recorded = set(main) - {main[4]}
    assert ancestry.needed(handle, recorded, max_commits=5) == {main[0], main[3], main[8]}
    assert ancestry.needed(handle, {main[3]}, max_commits=0) == set()


def test_what_many_pull_requests_need_is_listed_once(
    github: GitHubServer, repository: Repository, handle: api.Repository
) -> None:
    main = repository.commits(90)
    repository.branch("main", main[-1])
    for position in (89, 70, 50, 30, 30, 10):
        repository.pull(head=repository.commit(parents=[main[position]]))
    github.forget_requests()
    recorded = {main[position] for position in range(0, 90, 7)}
    assert ancestry.needed(handle, recorded, max_commits=10) == {main[position] for position in (84, 70, 49, 28, 7)}
    # Tags, pull requests, each one's merge-base, one page of history.
    assert len(github.requests) == 2 + 6 + 1


def test_a_change_that_began_long_ago_or_elsewhere_is_listed_by_itself(repository: Repository, handle: api.Repository) -> None:
    main = repository.commits(10)
    release = repository.commits(10, parent=main[2])
    repository.branch("main", main[-1])
    repository.branch("release", release[-1])
    repository.pull(head=repository.commit(parents=[main[9]]))
    repository.pull(head=repository.commit(parents=[release[8]]), base="release")
    recorded = {main[1], main[8], release[4]}
    assert ancestry.needed(handle, recorded, max_commits=50) == {main[8], release[4]}


def test_without_the_permission_to_see_pull_requests_nothing_is_thought_superfluous(github: GitHubServer) -> None:
    private = github.repository("acme/secret", private=True)
    private.branch("main", private.commit())
    with contextlib.ExitStack() as sessions:
        blind = recording.open_repository(github, private, sessions=sessions, contents="write", metadata="read")
        with pytest.raises(RefusedError) as caught:
            ancestry.needed(blind, {recording.commit(1)}, max_commits=5)
    assert "pull-requests: read" in str(caught.value)


def test_the_history_of_another_commit_is_not_taken_for_it(
    github: GitHubServer, repository: Repository, handle: api.Repository
) -> None:
    main = repository.commits(5)
    repository.branch("main", main[-1])
    github.rename("acme/model", "acme/renamed")  # PyGithub then asks without saying from which commit
    with pytest.raises(StageError, match="but others"):
        next(ancestry.before(handle, main[2]))


def test_the_time_of_a_commit_comes_along(repository: Repository, handle: api.Repository) -> None:
    (commit,) = repository.commits(1)
    repository.branch("main", commit)
    (found,) = ancestry.before(handle, commit)
    assert found.time is not None
    assert found.time.isoformat() == "2025-01-01T01:00:00+00:00"
    assert nearest([found], {commit}, max_commits=5) == Nearest(commit, 0, found.time)

"""A study's pull request on GitHub: one, kept up to date, and never over what people did."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import PurePosixPath

import pytest
from tests.github_server import Fault, GitHubServer, Repository
from tests.github_server.faults import Kind

from metricgate.errors import StageError
from metricgate.github import api, proposing
from metricgate.github.failures import RefusedError
from metricgate.github.patience import Patience
from metricgate.github.proposing import Proposal, Proposed

BRANCH = "metricgate/tune-digits-35c48beffd"
PARAMS = '{"lr": 0.1, "epochs": 3}\n'


class Place:
    """A repository with a file of parameters, and who proposes others."""

    def __init__(self, github: GitHubServer) -> None:
        self.github = github
        self.there: Repository = github.repository("acme/model")
        self.there.branch("main", self.there.commit(files={"params.json": PARAMS, "train.py": "…"}))

    def here(self, *, contents: str = "write", pulls: str = "write", attempts: int = 4) -> api.Repository:
        token = self.github.token(permissions={"contents": contents, "pull-requests": pulls}, repository="acme/model")
        patience = Patience(attempts=attempts, backoff=0.0)
        session = api.connect(token, api_url=self.github.url, patience=patience, timeout=5, sleep=lambda _: None)
        return session.repository("acme/model")

    def propose(self, lr: float = 0.01, *, text: str = "Found it.", **permissions: str) -> Proposed:
        return proposing.propose(self.here(**permissions), proposal(lr, text=text))  # type: ignore[arg-type]  # as told

    @property
    def writes(self) -> int:
        return sum(request.method != "GET" for request in self.github.requests)


def proposal(lr: float = 0.01, *, text: str = "Found it.") -> Proposal:
    return Proposal(
        study="digits-35c48beffd",
        title="digits: parameters from 50 trials",
        path=PurePosixPath("params.json"),
        edit=lambda before: before.replace("0.1,", f"{lr},").replace("0.01,", f"{lr},"),
        base="main",
        body=lambda budget: text[:budget],
        message="Parameters of digits with a better val_accuracy",
    )


@pytest.fixture
def place() -> Iterator[Place]:
    with GitHubServer() as github:
        yield Place(github)


def test_a_study_opens_a_pull_request_with_the_new_file(place: Place) -> None:
    made = place.propose()
    (pull,) = place.there.pulls.values()
    assert made.url.endswith("/acme/model/pull/1")
    assert (made.changed, made.told) == (True, "")
    assert (pull.title, pull.base_ref, pull.head_ref) == ("digits: parameters from 50 trials", "main", BRANCH)
    assert "Found it." in pull.body
    assert place.there.files(BRANCH)["params.json"] == b'{"lr": 0.01, "epochs": 3}\n'
    assert place.there.files(BRANCH)["train.py"] == "…".encode()
    assert "Metricgate-Study: digits-35c48beffd" in place.there.log(BRANCH)[0]


def test_the_same_again_writes_nothing(place: Place) -> None:
    first = place.propose()
    before = place.writes
    assert place.propose() == Proposed(first.url, changed=False)
    assert place.writes == before


def test_what_a_study_finds_later_goes_to_the_same_pull_request(place: Place) -> None:
    first = place.propose()
    place.there.pulls[1].body = f"Please look.\n\n{place.there.pulls[1].body}\n\nThanks!"
    assert place.propose(0.003, text="Better still.") == Proposed(first.url, changed=True)
    (pull,) = place.there.pulls.values()
    assert pull.body.startswith("Please look.\n\n")
    assert pull.body.endswith("\n\nThanks!")
    assert "Better still." in pull.body
    assert "Found it." not in pull.body
    assert place.there.files(BRANCH)["params.json"] == b'{"lr": 0.003, "epochs": 3}\n'
    assert len(place.there.log(BRANCH)) == 3


def test_a_branch_that_somebody_committed_to_is_theirs(place: Place) -> None:
    place.propose()
    theirs = place.there.commit(parents=[place.there.head(BRANCH) or ""], files={"params.json": '{"lr": 0.02}\n'})
    place.there.push(1, theirs)
    told = place.propose(0.003, text="Better still.")
    assert "it is theirs now" in told.told
    assert place.there.head(BRANCH) == theirs
    assert "Better still." in place.there.pulls[1].body


def test_a_pull_request_that_people_closed_stays_closed(place: Place) -> None:
    place.propose()
    place.there.close(1)
    before = place.writes
    told = place.propose(0.003)
    assert "closed by people" in told.told
    assert place.writes == before


def test_what_was_merged_is_followed_by_a_new_one(place: Place) -> None:
    place.propose()
    place.there.close(1, merged=True)
    assert place.propose() == Proposed(told="main has these parameters already")
    assert place.propose(0.003).changed
    assert [pull.state for pull in place.there.pulls.values()] == ["closed", "open"]
    assert place.there.files(BRANCH)["params.json"] == b'{"lr": 0.003, "epochs": 3}\n'


def test_nothing_new_is_not_proposed(place: Place) -> None:
    assert place.propose(0.1) == Proposed(told="main has these parameters already")
    assert place.writes == 0


def test_a_base_that_is_not_there_is_told(place: Place) -> None:
    with pytest.raises(StageError, match="no branch nowhere"):
        proposing.propose(place.here(), replace(proposal(), base="nowhere"))


def test_what_the_token_lacks_is_told_with_the_line_to_add(place: Place) -> None:
    with pytest.raises(RefusedError) as refused:
        place.propose(contents="read")
    assert "contents: write" in str(refused.value)
    with pytest.raises(RefusedError) as refused:
        place.propose(pulls="read")
    assert "pull-requests: write" in str(refused.value)


def test_a_repository_that_lets_no_action_open_one_is_told_where_that_is_set(place: Place) -> None:
    place.there.actions_may_open_pulls = False
    with pytest.raises(RefusedError) as refused:
        place.propose()
    assert "Settings → Actions → General" in str(refused.value)


@pytest.mark.parametrize("kind", ["drop_after", "truncate", "status_after"])
@pytest.mark.parametrize("path", [r"/pulls$", r"/git/refs$"])
def test_an_answer_that_was_lost_makes_no_second_pull_request(place: Place, kind: Kind, path: str) -> None:
    place.github.faults.add(Fault(kind=kind, method="POST", path=path))
    place.propose()
    assert len(place.there.pulls) == 1
    assert len(place.there.log(BRANCH)) == 2


def test_runs_that_race_for_one_study_open_one_pull_request(place: Place) -> None:
    start = threading.Barrier(4)
    failures: list[Exception] = []

    def race() -> None:
        start.wait()
        try:
            place.propose()
        except Exception as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(place.there.pulls) == 1
    assert len(place.there.log(BRANCH)) == 2

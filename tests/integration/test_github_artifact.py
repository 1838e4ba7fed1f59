"""Downloading an artifact: from GitHub to the storage, without the token, within limits, again when it breaks off."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.github_server import Fault, GitHubServer, Repository

from metricgate.errors import StageError
from metricgate.github import api, artifact
from metricgate.github.archive import ArtifactError, Limits
from metricgate.github.artifact import Stored
from metricgate.github.failures import MissingError, RefusedError
from metricgate.github.patience import Patience

CONTENT = b"PK" + bytes(range(256)) * 1_000


class Place:
    """A run with an artifact, and who asks for it."""

    def __init__(self, github: GitHubServer) -> None:
        self.github = github
        self.there: Repository = github.repository("acme/model", private=True)
        sha = self.there.commit(files={"a": "b"})
        self.there.branch("main", sha)
        self.run = self.there.workflow_run(head_sha=sha, artifacts={"model-candidate": CONTENT, "model-report": b"x"})

    def here(self, **permissions: str) -> api.Repository:
        token = self.github.token(permissions=permissions or {"actions": "read"}, repository="acme/model")
        session = api.connect(token, api_url=self.github.url, patience=Patience(attempts=2, backoff=0.0), sleep=lambda _: None)
        return session.repository("acme/model")

    @property
    def stored(self) -> Stored:
        found = artifact.find(self.here(), self.run, "model-candidate")
        assert found is not None
        return found


@pytest.fixture
def place() -> Iterator[Place]:
    with GitHubServer() as github:
        yield Place(github)


def test_an_artifact_is_found_by_its_name(place: Place) -> None:
    assert place.stored.size == len(CONTENT)
    assert artifact.find(place.here(), place.run, "model-baseline") is None


def test_of_several_with_one_name_the_newest_counts_over_all_pages(place: Place) -> None:
    made = [place.there.artifact(place.run, "model-candidate", b"%d" % number) for number in range(120)]
    assert place.stored.id == made[-1]


def test_what_arrives_is_what_was_uploaded(place: Place, tmp_path: Path) -> None:
    assert artifact.download(place.here(), place.stored, tmp_path).read_bytes() == CONTENT
    assert [request.status for request in place.github.downloads] == [200]


def test_a_download_that_breaks_off_is_tried_again(place: Place, tmp_path: Path) -> None:
    place.github.faults.add(Fault(kind="cut", path="^/storage"), Fault(kind="drop_before", path="^/storage"))
    assert artifact.download(place.here(), place.stored, tmp_path).read_bytes() == CONTENT
    assert len(place.github.downloads) == 3, "each with an address of its own, since the old one may have expired"


def test_a_storage_that_does_not_answer_is_given_up(place: Place, tmp_path: Path) -> None:
    place.github.faults.add(Fault(kind="status", status=503, path="^/storage", times=9))
    with pytest.raises(StageError) as caught:
        artifact.download(place.here(), place.stored, tmp_path)
    assert "`model-candidate` could not be downloaded: the storage service answered 503" in str(caught.value)
    assert len(place.github.downloads) == artifact.ATTEMPTS


def test_the_address_which_lets_anybody_in_is_never_shown(place: Place, tmp_path: Path) -> None:
    place.github.faults.add(Fault(kind="drop_before", path="^/storage", times=9))
    with pytest.raises(StageError) as caught:
        artifact.download(place.here(), place.stored, tmp_path)
    assert "sig=" not in str(caught.value)
    assert "127.0.0.1" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_a_large_artifact_is_not_asked_for(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="at most 1,000"):
        artifact.download(place.here(), place.stored, tmp_path, limits=Limits(archive_bytes=1_000))
    assert not place.github.downloads


def test_an_artifact_that_is_larger_than_it_says_is_cut_off(place: Place, tmp_path: Path) -> None:
    liar = replace(place.stored, size=10)
    with pytest.raises(ArtifactError, match="at most 70,000"):
        artifact.download(place.here(), liar, tmp_path, limits=Limits(archive_bytes=70_000))
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) <= 70_000


def test_a_download_has_to_come_to_an_end(place: Place, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="took too long"):
        artifact.download(place.here(), place.stored, tmp_path, seconds=-1.0)


def test_another_archive_than_the_one_that_github_counted_is_not_taken(place: Place, tmp_path: Path) -> None:
    right = hashlib.sha256(CONTENT).hexdigest()
    assert artifact.download(place.here(), replace(place.stored, digest=f"sha256:{right}"), tmp_path).is_file()
    with pytest.raises(ArtifactError, match="another digest"):
        artifact.download(place.here(), replace(place.stored, digest="sha256:" + "0" * 64), tmp_path)


def test_an_artifact_that_expired_meanwhile_is_told(place: Place, tmp_path: Path) -> None:
    stored = place.stored
    place.there.artifacts[stored.id].expired = True
    with pytest.raises(MissingError, match="expired"):
        artifact.download(place.here(), stored, tmp_path)


def test_a_missing_permission_shows_what_to_add(place: Place) -> None:
    with pytest.raises(RefusedError) as caught:
        artifact.find(place.here(contents="read"), place.run, "model-candidate")
    assert "permissions:\n      actions: read" in str(caught.value)

"""The model of an earlier run, from its artifact: the right one, whole, and nothing that could do harm on the way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.github_server import GitHubServer
from tests.hostile.archives import archive, join

from metricgate.errors import InputError, StageError
from metricgate.github import api, weights
from metricgate.github.archive import ArtifactError
from metricgate.github.failures import RefusedError
from metricgate.github.patience import Patience
from metricgate.train import digest

FOLDER = {
    "seed-0/model/saved_model.pb": b"graph",
    "seed-0/model/variables/variables.index": b"index",
    "seed-0/model/.hidden": b"kept too",
    "seed-1/model/saved_model.pb": b"another",
    "seed-0/run.json": b"{}",
}


class Place:
    """A run with what it uploaded, and who asks for it."""

    def __init__(self, github: GitHubServer) -> None:
        self.github = github
        self.there = github.repository("acme/model", private=True)
        sha = self.there.commit(files={"a": "b"})
        self.there.branch("main", sha)
        self.run = self.there.workflow_run(head_sha=sha, event="push")

    def here(self, **permissions: str) -> api.Repository:
        token = self.github.token(permissions=permissions or {"actions": "read"}, repository="acme/model")
        session = api.connect(token, api_url=self.github.url, patience=Patience(attempts=2, backoff=0.0), sleep=lambda _: None)
        return session.repository("acme/model")

    def upload(self, content: bytes, *, expired: bool = False) -> None:
        self.there.artifact(self.run, "model-weights", content, expired=expired)


@pytest.fixture
def place() -> Iterator[Place]:
    with GitHubServer() as github:
        yield Place(github)


def test_a_folder_comes_out_whole_and_nothing_else(place: Place, tmp_path: Path) -> None:
    place.upload(archive(FOLDER))
    model = weights.fetch(place.here(), place.run, tmp_path / "into", name="model", folder="seed-0")
    assert {name: file.read_bytes() for name, file in digest.files_in(model).items()} == {
        name.removeprefix("seed-0/model/"): content for name, content in FOLDER.items() if name.startswith("seed-0/model/")
    }
    assert [path.name for path in (tmp_path / "into").iterdir()] == ["seed-0"], "the archive is gone"


def test_a_model_may_be_one_file(place: Place, tmp_path: Path) -> None:
    place.upload(archive({"seed-0/model": b"zero", "seed-12/model": b"twelve"}))
    model = weights.fetch(place.here(), place.run, tmp_path, name="model", folder="seed-12")
    assert model.read_bytes() == b"twelve"


def test_the_newest_attempt_counts(place: Place, tmp_path: Path) -> None:
    for content in (b"first", b"again"):
        place.upload(archive({"seed-0/model": content}))
    assert weights.fetch(place.here(), place.run, tmp_path, name="model", folder="seed-0").read_bytes() == b"again"


@pytest.mark.parametrize("kept", ["nothing", "expired", "another"])
def test_a_run_without_a_model_is_told_with_what_would_keep_it(place: Place, tmp_path: Path, kept: str) -> None:
    if kept == "expired":
        place.upload(archive(FOLDER), expired=True)
    elif kept == "another":
        place.there.artifact(place.run, "other-weights", archive(FOLDER))
    with pytest.raises(InputError, match="no artifact `model-weights`") as caught:
        weights.fetch(place.here(), place.run, tmp_path, name="model", folder="seed-0")
    assert "keep-model: true" in caught.value.fix


def test_an_artifact_without_this_model_is_refused(place: Place, tmp_path: Path) -> None:
    place.upload(archive(FOLDER))
    with pytest.raises(ArtifactError, match="there is no model in it"):
        weights.fetch(place.here(), place.run, tmp_path, name="model", folder="seed-7")


@pytest.mark.parametrize("name", ["seed-0/model/../../../escaped", "/seed-0/model/x", "seed-0/model/a\\b", "seed-0/model/./x"])
def test_a_name_that_leads_out_of_the_model_spoils_the_archive(place: Place, tmp_path: Path, name: str) -> None:
    place.upload(join(archive(FOLDER), name.encode(), b"x"))
    with pytest.raises(ArtifactError):
        weights.fetch(place.here(), place.run, tmp_path / "into", name="model", folder="seed-0")
    assert [path.name for path in tmp_path.iterdir()] == ["into"]
    assert list((tmp_path / "into").iterdir()) == []


def test_a_link_is_no_part_of_a_model(place: Place, tmp_path: Path) -> None:
    place.upload(join(archive(FOLDER), b"seed-0/model/link", b"/etc/passwd", mode=0o120777))
    with pytest.raises(ArtifactError, match="is a link or a device"):
        weights.fetch(place.here(), place.run, tmp_path, name="model", folder="seed-0")


def test_a_model_without_end_is_stopped(place: Place, tmp_path: Path) -> None:
    place.upload(archive({"seed-0/model": bytes(1_000_000)}))
    with pytest.raises(ArtifactError, match="is larger, unpacked, than 1,000 bytes"):
        weights.fetch(
            place.here(), place.run, tmp_path, name="model", folder="seed-0", limits=replace(weights.LIMITS, total_bytes=1_000)
        )


@pytest.mark.parametrize("names", [("seed-0/model", "seed-0/model/x"), ("seed-0/model/x", "seed-0/model")])
def test_what_is_a_file_and_a_folder_at_once_is_told(place: Place, tmp_path: Path, names: tuple[str, ...]) -> None:
    place.upload(archive(dict.fromkeys(names, b"x")))
    with pytest.raises(StageError, match="the model can't be written"):
        weights.fetch(place.here(), place.run, tmp_path, name="model", folder="seed-0")


def test_without_permission_the_message_has_the_lines_that_grant_it(place: Place, tmp_path: Path) -> None:
    place.upload(archive(FOLDER))
    with pytest.raises(RefusedError) as caught:
        weights.fetch(place.here(contents="read"), place.run, tmp_path, name="model", folder="seed-0")
    assert "permissions:\n  actions: read" in caught.value.fix

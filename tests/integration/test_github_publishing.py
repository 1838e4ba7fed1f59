"""The actions publish and verify: from what GitHub knows of a tag to an image, its release, and what a later job is told."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests
from tests import engine, registry_server, release_scene, shared_folder
from tests.action_scene import Checkout
from tests.github_server import GitHubServer, Repository
from tests.github_server.mirror import mirror
from tests.hostile.archives import archive
from tests.release_scene import Scene

from metricgate import config_file
from metricgate.baseline import commands
from metricgate.baseline.judged import WorkflowRun

NAME = "acme/tiny"
PERMISSIONS = {"contents": "write", "actions": "read"}
LOGIN = {"registry_username": registry_server.USER, "registry_password": registry_server.PASSWORD}
TAG = {"ref": "refs/tags/v1.2.3", "repository": {"full_name": NAME, "default_branch": "main"}}

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.registry]


@dataclass
class Place:
    """A tagged repository that was judged, as a job of its release sees it."""

    scene: Scene
    github: GitHubServer
    there: Repository
    checkout: Checkout
    image: str
    key: str

    def publish(self, permissions: Mapping[str, str] = PERMISSIONS, **inputs: str) -> tuple[int, str]:
        token = self.github.token(permissions=permissions, repository=NAME)
        given = {"image": self.image, "key": self.key, "token": token, **LOGIN, **inputs}
        return self.checkout.step("publish", TAG, event_name="push", **given)

    def tag(self, name: str) -> str:
        """Tag what is checked out, and let the job be about it; the commit."""
        commit = self.scene.git("rev-parse", "HEAD")
        self.scene.git("tag", name)
        mirror(self.there, self.scene.root)
        self.there.tag(name, commit)
        self.checkout.environ = {**self.checkout.environ, "GITHUB_REF": f"refs/tags/{name}", "GITHUB_SHA": commit}
        return commit

    def judge(self) -> Path:
        """Train what is checked out, and judge it against the commit before; the runs."""
        runs = self.scene.run("run").checked().strip()
        self.scene.run("record", runs).checked()
        baseline = self.scene.run("baseline", "HEAD~1").checked().strip()
        self.scene.run("compare", baseline, runs, "--store", "../store").checked()
        return self.scene.root / runs

    @property
    def outputs(self) -> Mapping[str, str]:
        return self.checkout.outputs

    @property
    def summary(self) -> str:
        return (self.checkout.temporary / "summary").read_text()


def _environ() -> dict[str, str]:
    with engine.connected():
        reached = engine.environ()
    return {name: value for name, value in reached.items() if not name.startswith("GITHUB_")}


def _judge(folder: Path) -> None:
    """A repository whose only commit is judged; beside it its store, a key, and a registry that has the layers of an image."""
    environ = _environ()
    scene = release_scene.made(folder / "a job", environ)
    scene.judged()
    shutil.copytree(folder / "a job", folder / "another job", symlinks=True)
    other = Scene(folder / "another job" / scene.root.name, environ)
    other.git("tag", "v0.0.1")
    key = folder / "a job" / "key.pem"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    with registry_server.started(storage=folder / "a job" / "registry") as registry:
        other.run("publish", "--image", f"{registry.name}/{NAME}", "--key", str(key)).checked()
    shutil.rmtree(folder / "a job" / "registry" / "docker" / "registry" / "v2" / "repositories" / NAME / "_manifests")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Place]:
    """A copy of that, on a runner."""
    reached = _environ()
    shutil.copytree(shared_folder.made_once(tmp_path_factory, "judged", _judge) / "a job", tmp_path / "a job", symlinks=True)
    storage = tmp_path / "a job" / "registry"
    with GitHubServer() as github, registry_server.started(login=True, storage=storage) as registry:
        scene = Scene(tmp_path / "a job" / "repository", reached)
        key = (tmp_path / "a job" / "key.pem").read_text()
        temporary = tmp_path / "runner temp"
        temporary.mkdir()
        environ = {
            **{name: value for name, value in reached.items() if name.startswith("DOCKER_")},
            "HOME": str(tmp_path),
            "GITHUB_REPOSITORY": NAME,
            "GITHUB_API_URL": github.url,
            "GITHUB_SERVER_URL": "https://github.com",
            "GITHUB_STEP_SUMMARY": str(temporary / "summary"),
        }
        checkout = Checkout(scene.root, temporary, environ)
        made = Place(scene, github, github.repository(NAME), checkout, f"{registry.name}/acme/tiny", key)
        made.tag("v1.2.3")
        yield made


def test_a_tag_is_published_told_and_verified_by_what_the_step_says(place: Place) -> None:
    code, log = place.publish()
    assert code == 0, log
    image, digest = place.outputs["image"].split("@")
    assert (image, digest) == (place.image, place.outputs["digest"])
    assert place.outputs["tags"].splitlines() == [f"{image}:{tag}" for tag in ("1.2.3", "1.2", "1", "latest")]
    assert (place.outputs["version"], place.outputs["verdict"], place.outputs["identity"]) == ("1.2.3", "PASSED", "")
    assert json.loads(Path(place.outputs["report"]).read_text())["digest"] == digest
    (release,) = place.there.releases()
    assert release["html_url"] == place.outputs["release-url"]
    assert place.outputs["image"] in release["body"]
    assert digest in place.summary
    shown = [line for line in log.splitlines() if not line.startswith("::add-mask::")]
    for secret in (registry_server.PASSWORD, *place.key.splitlines()[1:-1]):
        assert f"::add-mask::{secret}" in log
        assert not any(secret in line for line in (*shown, *place.summary.splitlines(), release["body"]))

    key = place.outputs["public-key"]
    verified, told = place.checkout.step("verify", TAG, event_name="push", image=f"{image}@{digest}", key=key, **LOGIN)
    assert verified == 0, told
    assert (place.outputs["verified"], place.outputs["digest"]) == ("true", digest)
    assert json.loads(Path(place.outputs["report"]).read_text())["verified"] is True

    # A public key that is nobody's here.
    other = place.checkout.temporary / "other.pub"
    command = ["openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    made = subprocess.run(command, check=True, capture_output=True).stdout
    other.write_bytes(subprocess.run(["openssl", "pkey", "-pubout"], input=made, check=True, capture_output=True).stdout)
    verified, told = place.checkout.step("verify", TAG, event_name="push", image=f"{image}:1.2.3", key=str(other), **LOGIN)
    assert verified == 4
    assert place.outputs["verified"] == "false"
    assert "::error title=The image is not proven::" in told
    assert "❌ The image is not proven" in place.summary


def test_the_second_run_finds_everything_there_and_changes_nothing(place: Place) -> None:
    place.publish()
    first, before = place.outputs, place.there.releases()
    code, log = place.publish()
    assert code == 0, log
    unchanged = ("image", "digest", "tags", "version", "release-url")
    assert {name: place.outputs[name] for name in unchanged} == {name: first[name] for name in unchanged}
    assert place.there.releases() == before
    assert "is as it should be" in log


def test_a_dry_run_builds_and_tests_and_leaves_no_trace(place: Place) -> None:
    code, log = place.publish({"contents": "read"}, push="false", key="")
    assert code == 0, log
    assert (place.outputs["image"], place.outputs["public-key"], place.outputs["release-url"]) == ("", "", "")
    assert place.outputs["digest"].startswith("sha256:")
    assert "nothing was published" in place.summary
    assert place.there.releases() == []
    host, _, name = place.image.partition("/")
    login = (registry_server.USER, registry_server.PASSWORD)
    assert requests.get(f"http://{host}/v2/{name}/tags/list", auth=login, timeout=10).status_code == 404


def test_without_permission_for_the_release_the_image_is_there_and_the_error_says_both(place: Place) -> None:
    code, log = place.publish({"contents": "read"})
    assert code == 5
    assert place.outputs["image"]
    for told in (
        "%0A      contents: write",
        "there now: ",
        "with its evidence and its tags",
        "perhaps in part: the release of v1.2.3",
    ):
        assert told in log
    code, log = place.publish()
    assert code == 0, log
    assert len(place.there.releases()) == 1


def test_the_notes_compare_with_the_release_before(place: Place) -> None:
    place.publish()
    place.scene.commit("Better", place.scene.replace("evaluate.py", "int(i % 10 > 0)", "int(i % 20 > 0)"))
    place.judge()
    place.tag("v1.3.0")
    code, log = place.publish()
    assert code == 0, log
    body = place.there.releases()[-1]["body"]
    rows = [[cell.strip() for cell in line.split("|")[1:4]] for line in body.splitlines() if line.startswith("|")]
    assert rows[0] == ["", "v1.2.3", "1.3.0"]
    assert rows[2] == ["accuracy ↑", "0.9000", "0.9500"]


def test_a_model_that_is_kept_nowhere_comes_from_the_artifact_of_the_run_that_trained_it(place: Place) -> None:
    policy = place.scene.replace("metricgate.yaml", "{store: ../store, models: ../models}", "{store: ../store}")
    place.scene.commit("Keep no models", policy)
    content = (place.judge() / "seed-0" / "model").read_bytes()
    commit = place.tag("v2.0.0")
    run = place.there.workflow_run(head_sha=commit, event="push")
    where = WorkflowRun(name="model", id=run, url=f"https://github.com/{NAME}/actions/runs/{run}")
    store = commands.store(config_file.load(place.scene.root / "metricgate.yaml").baseline, root=place.scene.root)
    judged = store.judged("tiny", commit)
    assert judged is not None
    store.note(judged.model_copy(update={"workflow": where, "time": "2099-01-01T00:00:00.000000Z"}))

    code, log = place.publish()
    assert code == 2
    assert "no artifact `model-weights`" in log
    place.there.artifact(run, "model-weights", archive({"seed-0/model": content + b" "}))
    code, log = place.publish()
    assert code == 2
    assert "this is another model" in log
    place.there.artifact(run, "model-weights", archive({"seed-0/model": content}))
    code, log = place.publish()
    assert code == 0, log
    assert place.outputs["version"] == "2.0.0"


def test_a_commit_without_a_verdict_is_refused_with_its_reason(place: Place) -> None:
    place.scene.commit("Not judged", place.scene.replace("train.py", "1.5", "1.6"))
    place.tag("v1.2.4")
    code, _ = place.publish()
    assert code == 2
    assert "The release could not be published" in place.summary
    assert place.there.releases() == []


def test_only_a_tag_starts_a_release_and_one_that_was_deleted_is_none(place: Place) -> None:
    deleted = {"action": "deleted", "release": {"tag_name": "v1.2.3"}}
    assert place.checkout.step("publish", deleted, event_name="release", key=place.key)[0] == 0
    change = {"sha": place.checkout.head, "ref": "main", "repo": {"full_name": NAME}}
    pull = {"action": "opened", "pull_request": {"number": 1, "base": change, "head": change}}
    code, log = place.checkout.step("publish", pull, event_name="pull_request", key=place.key)
    assert code == 2
    assert "releases nothing" in log
    assert "tags: [" in log

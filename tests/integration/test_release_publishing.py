"""From a tag to an image, for real: a real engine, a real registry, and everything that may go wrong on the way."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import engine, registry_server, release_scene, shared_folder
from tests.command_server import Done
from tests.registry_server import Fault, Proxy, Registry
from tests.release_scene import Scene

from metricgate import releasing
from metricgate.release.patience import Patience
from metricgate.release.registry import Registry as Client

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.registry]

NAME = "acme/tiny"
QUICK = Patience(backoff=0.0, settle=0.0)
EVIDENCE = 7
OLD = {"0.9.0", "0.9", "0"}
NEW = {"1.0.0", "1.0", "1", "latest"}


@dataclass(frozen=True)
class Place:
    """A repository that is to be released, and where to.

    Attributes:
        scene: The repository; its commit is tagged v1.0.0.
        registry: The registry.
        proxy: What stands before it.
        key: The private key; the public one lies beside it.
    """

    scene: Scene
    registry: Registry
    proxy: Proxy
    key: Path

    @property
    def image(self) -> str:
        return f"{self.proxy.name}/{NAME}"

    @property
    def client(self) -> Client:
        return Client.connect(self.image, environ=self.scene.environ)

    def publish(self, *options: str, **more: str) -> Done:
        return self.scene.run("publish", "--image", self.image, "--key", str(self.key), *options, **more)

    def verify(self, reference: str, *options: str) -> Done:
        return self.scene.run("verify", reference, "--key", str(self.key.with_suffix(".pub")), *options)

    def tags(self) -> dict[str, str]:
        """What each tag stands for; that of the referrers aside."""
        client = self.client
        found = {tag: client.resolve(tag) for tag in client.tags() if not tag.startswith("sha256-")}
        return {tag: descriptor.digest for tag, descriptor in found.items() if descriptor}

    def fault(self, method: str, path: str = "", **what: Any) -> None:
        self.proxy.faults.append(Fault(method, path, **what))


def _release(folder: Path) -> None:
    """A repository whose v0.9.0 is published and whose v1.0.0 is judged, its store, the registry's files, and the keys."""
    key = folder / "release.pem"
    options = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"]
    public = ["pkey", "-in", str(key), "-pubout", "-out", str(key.with_suffix(".pub"))]
    for command in (["genpkey", *options, "-out", str(key)], public):
        subprocess.run(["openssl", *command], check=True, capture_output=True)
    with engine.connected():
        environ = engine.environ()
    with registry_server.started(storage=folder / "registry") as registry:
        scene = release_scene.made(folder, environ)
        scene.tagged("0.9.0")
        scene.run("publish", "--image", f"{registry.name}/{NAME}", "--key", str(key)).checked()
    scene.commit("Better words", {"README.md": "A tiny model.\n"})
    scene.tagged("1.0.0")


@pytest.fixture
def place(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Place]:
    """A copy of all that."""
    copy = tmp_path / "copy"
    shutil.copytree(shared_folder.made_once(tmp_path_factory, "released", _release), copy, symlinks=True)
    with registry_server.started(login=True, storage=copy / "registry") as registry, Proxy(registry.name) as proxy:
        scene = Scene(copy / "repository", {**engine.environ(), **registry.environ})
        yield Place(scene, registry, proxy, copy / "release.pem")


def test_a_tag_becomes_an_image_with_its_evidence_and_once_more_changes_nothing(place: Place) -> None:
    published = place.publish("--json").document
    tags = place.tags()
    assert {tag for tag, digest in tags.items() if digest == published["digest"]} == NEW
    assert set(tags) == OLD | NEW
    assert published["verdict"] == "PASSED"
    assert len(published["evidence"]) == EVIDENCE
    verified = place.verify(f"{place.image}:latest", "--json").document
    assert verified["verified"]
    assert verified["digest"] == published["digest"]

    again = place.publish("--json").document
    assert (again["digest"], again["moved"], again["uploaded"]) == (published["digest"], [], 0)
    assert len(place.client.referrers(published["digest"])) == EVIDENCE


def test_a_dry_run_shows_what_would_move_and_sends_nothing(place: Place) -> None:
    told = place.publish("--dry-run").checked()
    assert "dry run: nothing was published" in told
    assert f"latest would be moved from {place.tags()['0.9.0']}" in told
    assert "2 golden requests right" in told
    assert {seen.method for seen in place.proxy.seen} <= {"GET", "HEAD"}


def test_an_image_and_its_evidence_are_verified_in_a_folder_without_the_registry(place: Place, tmp_path: Path) -> None:
    place.publish().checked()
    folder = tmp_path / "taken along"
    place.verify(f"{place.image}:1.0.0", "--save", str(folder)).checked()
    place.registry.process.terminate()
    assert "every link of the chain holds" in place.verify(str(folder), "--offline").checked()
    layer = max((folder / "blobs" / "sha256").iterdir(), key=lambda file: b"padding" in file.read_bytes()[:10_000])
    layer.write_bytes(layer.read_bytes().replace(b"1.5", b"1.6"))
    broken = place.verify(str(folder), "--offline")
    assert broken.code == 4
    assert "is not proven" in broken.output


def test_a_release_that_changes_only_the_weights_sends_only_the_weights(place: Place) -> None:
    place.publish().checked()
    scene = place.scene
    scene.commit("Other weights", scene.replace("train.py", '"x" * 1000', '"y" * 500_000'))
    scene.tagged("1.0.1")
    before = len(place.proxy.seen)
    place.publish().checked()
    sent = [seen for seen in place.proxy.seen[before:] if seen.size]
    layers = [seen.size for seen in sent if seen.method == "PATCH" and seen.size > 500_000]
    assert len(layers) == 1
    assert 500_000 < layers[0] < 504_000


def test_what_fails_twice_in_a_row_is_tried_again_wherever_it_happens(place: Place) -> None:
    place.fault("GET", "/tags/list", status=502, times=2)
    place.fault("HEAD", "/blobs/", times=2)
    place.fault("POST", "/blobs/uploads/", status=500)
    place.fault("POST", "/blobs/uploads/", status=429, headers={"Retry-After": "0"})
    place.fault("PATCH", "/blobs/uploads/", status=500, after=100)
    place.fault("PATCH", "/blobs/uploads/", after=100)
    place.fault("PUT", "/blobs/uploads/", status=500, skip=1, times=2)
    place.fault("PUT", "/manifests/sha256:", status=503, times=2)
    place.fault("PUT", "/manifests/sha256-", status=500, times=2)
    place.fault("PUT", "/manifests/1.0.0", after=None)
    place.fault("PUT", "/manifests/latest", status=500, times=2)
    wanted = releasing.Wanted(config=place.scene.root / "metricgate.yaml", images=[place.image], key=place.key)
    releasing.publish(wanted, environ=place.scene.environ, say=print, patience=QUICK)
    assert [fault for fault in place.proxy.faults if fault.times] == []
    assert set(place.tags()) == OLD | NEW
    place.verify(f"{place.image}:latest").checked()


@pytest.mark.parametrize(
    ("method", "path", "there", "not_there"),
    [
        ("PATCH", "/blobs/uploads/", "nothing was changed", "the evidence of"),
        ("PUT", "/manifests/sha256-", "the image ", "the tags of"),
        ("PUT", "/manifests/latest", "the evidence of", ""),
    ],
)
def test_a_failure_says_what_exists_and_the_same_command_goes_on_there(
    place: Place, method: str, path: str, there: str, not_there: str
) -> None:
    refusal = json.dumps({"errors": [{"code": "DENIED", "message": "quota exceeded"}]}).encode()
    place.fault(method, path, status=403, body=refusal, times=100)
    failed = place.publish()
    assert failed.code == 5, failed.told
    assert "quota exceeded" in failed.told
    assert any(line.strip().startswith("there now: ") and there in line for line in failed.told.splitlines())
    assert not_there in "\n".join(line for line in failed.told.splitlines() if "not there: " in line)
    assert place.tags()["latest"] == place.tags()["0.9.0"]

    place.proxy.faults.clear()
    place.publish().checked()
    assert set(place.tags()) == OLD | NEW
    place.verify(f"{place.image}:latest").checked()


def test_a_wrong_password_says_what_to_do_and_is_not_shown(place: Place) -> None:
    failed = place.publish(METRICGATE_REGISTRY_PASSWORD="not the right one")
    assert failed.code == 5
    assert "METRICGATE_REGISTRY_PASSWORD" in failed.told
    assert "not the right one" not in failed.told + failed.output


def test_a_version_that_is_there_with_other_bytes_is_not_replaced(place: Place) -> None:
    first = place.publish("--json").document["digest"]
    scene = place.scene
    scene.commit(
        "Other code", scene.replace("serving/server.py", "def log_message", "def other(self): ...\n\n    def log_message")
    )
    scene.judged()
    refused = place.publish("--ref", "refs/tags/v1.0.0")
    assert refused.code == 2
    assert "1.0.0 is there already and stands for another image" in refused.told
    assert {place.tags()[tag] for tag in NEW} == {first}


def test_an_image_that_answers_wrongly_is_not_pushed(place: Place) -> None:
    scene = place.scene
    scene.commit("A slip", scene.replace("serving/server.py", "WEIGHT * value for", "WEIGHT + value for"))
    scene.judged()
    failed = place.publish("--ref", "refs/tags/v1.0.1")
    assert failed.code == 5
    assert "golden.jsonl" in failed.told
    assert set(place.tags()) == OLD | {"latest"}


def test_another_model_than_the_judged_one_is_refused(place: Place, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text('{"weight": 2}')
    refused = place.publish("--model", str(tmp_path / "model.json"))
    assert refused.code == 2
    assert "this is another model" in refused.told


def test_a_commit_without_a_verdict_or_without_a_run_is_refused(place: Place) -> None:
    scene = place.scene
    scene.commit("Not trained", {"notes.txt": "."})
    scene.git("tag", "v1.0.1")
    refused = place.publish()
    assert refused.code == 2
    assert "is not recorded" in refused.told
    scene.run("record", scene.run("run").checked().strip()).checked()
    refused = place.publish()
    assert refused.code == 2
    assert "there is no verdict about" in refused.told


def test_a_failed_verdict_is_refused(place: Place) -> None:
    scene = place.scene
    scene.commit("A higher bar", scene.replace("metricgate.yaml", "min: 0.5", "min: 0.99"))
    runs = scene.run("run").checked().strip()
    scene.run("record", runs).checked()
    assert scene.run("compare", runs, runs, "--store", "../store").code == 1
    scene.git("tag", "v1.0.1")
    refused = place.publish()
    assert refused.code == 2
    assert "`fail`, exit code 1" in refused.told


def test_a_stale_verdict_is_refused_unless_somebody_allows_it_and_then_the_evidence_says_so(place: Place) -> None:
    scene = place.scene
    scene.git("checkout", "--quiet", "-b", "release")
    scene.git("checkout", "--quiet", "main")
    scene.commit("A higher bar", scene.replace("metricgate.yaml", "min: 0.5", "min: 0.8"))
    scene.git("checkout", "--quiet", "release")
    refused = place.publish()
    assert refused.code == 2
    assert "the policy of main has changed since the verdict" in refused.told
    assert "--allow-stale" in refused.told
    allowed = place.publish("--allow-stale", "--json").document
    assert allowed["stale"] == ["the policy of main has changed since the verdict"]
    assert "published although stale: the policy of main has changed" in place.verify(f"{place.image}:1.0.0").checked()


def test_without_golden_requests_nothing_is_published_and_the_lines_to_add_are_shown(place: Place) -> None:
    scene = place.scene
    scene.commit("None kept", scene.replace("evaluate.py", '"golden.jsonl"', '"golden.txt"'))
    scene.tagged("1.0.1")
    refused = place.publish()
    assert refused.code == 2
    assert "METRICGATE_RUN_DIR" in refused.told


def test_a_model_with_code_is_reported_before_it_ships(place: Place) -> None:
    scene = place.scene
    pickled = "import pickle\n" + (scene.root / "train.py").read_text() + "\nmodel.write_bytes(pickle.dumps({'weight': 1.5}))\n"
    evaluate = (scene.root / "evaluate.py").read_text()
    by_hand = evaluate.replace('json.loads(pathlib.Path(os.environ["METRICGATE_MODEL"]).read_text())["weight"]', "1.5")
    scene.commit("A pickle", {"train.py": pickled, "evaluate.py": by_hand})
    scene.tagged("1.0.1")
    refused = place.publish()
    assert refused.code == 2
    assert "the model holds code" in refused.told
    assert "allow_code" in refused.told


def test_a_secret_of_the_environment_never_gets_into_the_image(place: Place) -> None:
    secret = "ghp_0123456789abcdefABCDEF"
    scene = place.scene
    scene.commit("Oh dear", {"serving/settings.ini": f"token = {secret}\n", "serving/Dockerfile": _COPIES_ALL})
    scene.tagged("1.0.1")
    failed = place.publish(DEPLOY_TOKEN=secret)
    assert failed.code == 5
    assert "DEPLOY_TOKEN" in failed.told
    assert secret not in failed.told + failed.output
    assert set(place.tags()) == OLD | {"latest"}


_COPIES_ALL = release_scene.FILES["serving/Dockerfile"].replace("COPY serving/server.py /srv/server.py", "COPY serving /srv")

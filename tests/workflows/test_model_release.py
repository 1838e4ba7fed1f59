"""`uses: …/.github/workflows/model-release.yml@v1`: from a pushed tag to an image with its evidence, and to the release."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
import requests
from tests import engine, registry_server, release_scene

from metricgate import __version__, init

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Outcome, Repository

pytestmark = [pytest.mark.slow, pytest.mark.engine, pytest.mark.registry]

RELEASE = f"""\
name: release
on:
  push:
    tags: ["v*"]
  release:
    types: [published]
jobs:
  release:
    uses: metricgate/metricgate/.github/workflows/model-release.yml@v{__version__}
    permissions: {{contents: write, packages: write, id-token: write, actions: read}}
    with: {{image: "@IMAGE@"}}
    secrets: {{signing-key: "${{{{ secrets.SIGNING_KEY }}}}"}}
  after:
    needs: [release]
    runs-on: ubuntu-latest
    steps:
      - run: echo "released <$IMAGE> <$DIGEST> <$VERSION> <$(echo $TAGS)>"
        env:
          IMAGE: ${{{{ needs.release.outputs.image }}}}
          DIGEST: ${{{{ needs.release.outputs.digest }}}}
          VERSION: ${{{{ needs.release.outputs.version }}}}
          TAGS: ${{{{ needs.release.outputs.tags }}}}
"""


@dataclass(frozen=True)
class Place:
    """A repository whose main was trained and judged, a registry, and a key to sign with.

    Attributes:
        kept: The artifacts' files that the push of main left.
    """

    repository: Repository
    image: str
    key: str
    act: Act
    kept: Sequence[str]

    def release(self, event_name: str, event: Mapping[str, object]) -> Outcome:
        """Run the workflow for a tag."""
        return self.act.run(self.repository, event_name, event, secrets={"SIGNING_KEY": self.key}, workflow="release.yml")

    def tags(self) -> dict[str, str]:
        """What each tag of the image stands for."""
        host, _, name = self.image.partition("/")
        listed = requests.get(f"http://{host}/v2/{name}/tags/list", timeout=10).json().get("tags") or []
        accept = {"Accept": "application/vnd.oci.image.manifest.v1+json"}
        heads = {tag: requests.head(f"http://{host}/v2/{name}/manifests/{tag}", headers=accept, timeout=10) for tag in listed}
        found = {tag: head.headers["Docker-Content-Digest"] for tag, head in heads.items() if not tag.startswith("sha256-")}
        return dict(sorted(found.items()))


@pytest.fixture(scope="module")
def place(
    act: Act, repository_of_the_module: Callable[[str], Repository], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Place]:
    """A model on main that was trained, judged and recorded by its push; models are kept in a folder, and as an artifact."""
    folder = tmp_path_factory.mktemp("release")
    key = folder / "key.pem"
    command = ["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", str(key)]
    subprocess.run(command, check=True, capture_output=True)
    with engine.connected():  # with the base image in it
        pass
    reached = {name: value for name, value in engine.environ().items() if name.startswith("DOCKER_")}
    act = replace(act, environ={**act.environ, **reached})
    with registry_server.started() as registry:
        image = f"{registry.name}/acme/tiny"
        scratch = repository_of_the_module(
            init.workflow().replace("      config: metricgate.yaml\n", "      keep-model: true\n")
        )
        policy = release_scene.FILES["metricgate.yaml"]
        for old, new in (
            ("{store: ../store, models: ../models}", f"{{models: '{folder / 'models'}'}}"),
            ("{run: python3 train.py}", "{run: python3 train.py, seeds: [0, 1, 2]}"),
        ):
            assert old in policy
            policy = policy.replace(old, new)
        workflow = RELEASE.replace("@IMAGE@", image)
        files = {**release_scene.FILES, "metricgate.yaml": policy, ".github/workflows/release.yml": workflow}
        scratch.commit("A model with a server", files)
        pushed = act.run(scratch, "push", {"ref": "refs/heads/main"}, workflow="model.yml")
        assert pushed.code == 0
        kept = sorted(str(path.relative_to(pushed.artifacts)) for path in pushed.artifacts.rglob("*"))
        yield Place(scratch, image, key.read_text(), act, kept)


def test_a_tag_becomes_an_image_with_its_evidence_and_a_release_and_a_second_run_changes_nothing(place: Place) -> None:
    outcome = place.release("push", place.repository.tag("v1.2.3", at="main"))
    assert outcome.jobs == {"publish": "success", "verify": "success", "after": "success"}
    tags = place.tags()
    assert set(tags) == {"1.2.3", "1.2", "1", "latest"}
    (digest,) = set(tags.values())
    listed = " ".join(f"{place.image}:{tag}" for tag in ("1.2.3", "1.2", "1", "latest"))
    assert f"released <{place.image}@{digest}> <{digest}> <1.2.3> <{listed}>" in outcome.log
    (release,) = place.repository.remote.releases()
    assert (release["tag_name"], release["prerelease"]) == ("v1.2.3", False)
    assert f"docker pull {place.image}@{digest}" in release["body"]
    assert "accuracy" in release["body"]
    assert json.loads((outcome.artifacts / "model-verification" / "verification.json").read_text())["verified"] is True

    published = {"action": "published", "release": {"tag_name": "v1.2.3"}, "repository": {"full_name": "acme/model"}}
    again = place.release("release", published)
    assert again.jobs == outcome.jobs
    assert place.tags() == tags
    assert place.repository.remote.releases() == [release]


def test_a_tag_on_a_commit_without_a_verdict_is_refused_with_its_reason_and_nothing_is_published(place: Place) -> None:
    before = place.tags(), place.repository.remote.releases()
    place.repository.change("unjudged", place.repository.replace("train.py", '"weight": 1.5', '"weight": 1.6'))
    outcome = place.release("push", place.repository.tag("v1.2.4"))
    assert outcome.jobs == {"publish": "failure"}
    assert "The release could not be published" in outcome.summaries
    assert "is not recorded" in outcome.summaries
    assert (place.tags(), place.repository.remote.releases()) == before


def test_a_push_leaves_its_models_as_an_artifact_where_that_is_wanted(place: Place) -> None:
    assert [name for name in place.kept if name.endswith("/model")] == [f"model-weights/seed-{seed}/model" for seed in range(3)]

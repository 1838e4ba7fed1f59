"""What `metricgate publish` asks of a repository before it asks anybody else, an engine or a registry."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests import release_scene
from tests.release_scene import Scene

IMAGE = ("--image", "localhost:1/acme/tiny")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("GITHUB_", "METRICGATE_"))}
    return release_scene.made(tmp_path, kept)


def refused(scene: Scene, *options: str, **more: str) -> str:
    done = scene.run("publish", *options, **more)
    assert done.code == 2, done.told
    assert "Traceback" not in done.told
    return done.told


def test_a_commit_without_a_tag_is_no_release(scene: Scene) -> None:
    told = refused(scene, *IMAGE)
    assert "has 0 tags" in told
    assert "git tag v1.2.3" in told


def test_of_two_tags_one_has_to_be_named(scene: Scene) -> None:
    scene.git("tag", "v1.0.0")
    scene.git("tag", "v1.0.1")
    told = refused(scene, *IMAGE)
    assert "has 2 tags: v1.0.0, v1.0.1" in told
    assert "--ref refs/tags/v1.0.0" in told


def test_the_released_commit_has_to_be_checked_out(scene: Scene) -> None:
    first = scene.git("rev-parse", "HEAD")
    scene.git("tag", "v1.0.0")
    scene.commit("Later", {"later.txt": "."})
    assert f"git checkout {first[:12]}" in refused(scene, *IMAGE, "--sha", first, "--ref", "refs/tags/v1.0.0")


def test_an_image_has_to_have_a_name_and_on_github_it_is_that_of_the_repository(scene: Scene) -> None:
    scene.git("tag", "v1.0.0")
    assert "publish: {image: ghcr.io/owner/model}" in refused(scene)
    assert "is not recorded" in refused(scene, GITHUB_REPOSITORY="Acme/Model")


def test_a_tag_of_another_model_of_the_repository_is_not_this_ones(scene: Scene) -> None:
    scene.git("tag", "other@v1.0.0")
    told = refused(scene, *IMAGE)
    assert "the tag other@v1.0.0 is about the model other" in told
    assert "tiny@v1.2.3" in told


def test_a_commit_that_was_never_trained_is_refused(scene: Scene) -> None:
    scene.git("tag", "tiny@v1.0.0")
    told = refused(scene, *IMAGE)
    assert "is not recorded" in told
    assert "metricgate run && metricgate record" in told


def test_nobody_to_sign_is_told_before_anything_is_built(scene: Scene) -> None:
    scene.tagged("1.0.0")
    assert "openssl genpkey" in refused(scene, *IMAGE)


def test_each_mistake_says_what_is_wrong_with_it(scene: Scene) -> None:
    scene.tagged("1.0.0")
    for option, value, expected in (
        ("--config", "nowhere.yaml", "metricgate init"),
        ("--ref", "v1.0.0", "is no full ref"),
        ("--sha", "0000000", "there is no commit"),
        ("--label", "no-equals", "is no label"),
        ("--key", "nowhere.pem", "can't be read"),
        ("--golden", "nowhere.jsonl", "nowhere.jsonl: can't be read"),
    ):
        assert expected in refused(scene, *IMAGE, option, value)

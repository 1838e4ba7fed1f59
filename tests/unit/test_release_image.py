"""The image that is pushed: config, manifest and index."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from tests import image_files
from tests.image_files import Entry

from metricgate.errors import InputError, StageError
from metricgate.release import builder, image, layers, oci, saved
from metricgate.release.image import Image

CREATED = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)
SETTINGS: Mapping[str, Any] = {
    "User": "65532",
    "ExposedPorts": {"8080/tcp": {}},
    "Env": ["PATH=/bin", "METRICGATE_PORT=8080"],
    "Entrypoint": ["python", "-m", "server"],
    "Cmd": ["--fast"],
    "WorkingDir": "/srv",
    "Healthcheck": {"Test": ["CMD", "true"], "Interval": 5_000_000_000},
    "StopSignal": "SIGTERM",
    "Labels": {"org.opencontainers.image.title": "server", "theirs": "kept"},
}
LABELS = {"org.opencontainers.image.version": "1.2.3", "io.metricgate.model": "digits"}
CONTENTS = [image_files.tar([Entry("base")]), image_files.tar([Entry("code.py", b"1")])]
CONFIG = image_files.config(
    CONTENTS,
    config={**SETTINGS, "Hostname": "f00", "Image": "sha256:built", "Domainname": "", "AttachStdin": False},
    container="f00",
    container_config={"Cmd": ["/bin/sh"]},
    docker_version="20.10.24",
    history=[
        {"created": "2020-01-01T00:00:00.123456789Z", "created_by": "base"},
        {"created": "2026-11-25T19:00:00.5Z", "created_by": "COPY code.py"},
        {"created": "2026-11-25T19:00:01Z", "created_by": "USER 65532", "empty_layer": True},
    ],
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"weights")
    return tmp_path / "model"


def assembled(
    work: Path, model: Path, *, config: Mapping[str, Any] = CONFIG, created: datetime = CREATED, platform: str = ""
) -> Image:
    work.mkdir()
    path = image_files.save(work / "image.tar", [(CONTENTS, config)], form="old engine")
    below, found = layers.normalised(path, work, {})
    top, _ = layers.of_model(model)
    return image.assemble([*below, top], config=found, labels=LABELS, created=created, platform=platform)


@pytest.fixture
def made(tmp_path: Path, model: Path) -> Image:
    return assembled(tmp_path / "work", model)


class TestConfig:
    def test_containers_are_started_as_the_server_image_says(self, made: Image) -> None:
        settings = json.loads(made.config)["config"]
        labels = settings.pop("Labels")
        assert settings == {key: value for key, value in SETTINGS.items() if key != "Labels"}
        assert labels == {**SETTINGS["Labels"], **LABELS}

    def test_nothing_of_the_build_is_in_it(self, made: Image) -> None:
        document = json.loads(made.config)
        assert set(document) == {"architecture", "config", "created", "history", "os", "rootfs"}
        assert (document["architecture"], document["os"]) == ("amd64", "linux")
        assert document["rootfs"]["diff_ids"] == [layer.diff_id for layer in made.layers]

    def test_no_step_is_newer_than_the_commit_and_the_model_is_the_last(self, made: Image) -> None:
        assert json.loads(made.config)["history"] == [
            {"created": "2020-01-01T00:00:00.123456789Z", "created_by": "base"},
            {"created": "2026-03-01T12:00:00Z", "created_by": "COPY code.py"},
            {"created": "2026-03-01T12:00:00Z", "created_by": "USER 65532", "empty_layer": True},
            {"created": "2026-03-01T12:00:00Z", "created_by": layers.MODEL_CREATED_BY, "comment": "metricgate"},
        ]
        assert json.loads(made.config)["created"] == "2026-03-01T12:00:00Z"

    def test_a_config_without_history_gets_one_for_every_layer(self, tmp_path: Path, model: Path) -> None:
        made = assembled(tmp_path / "work", model, config={**CONFIG, "history": []})
        assert len(json.loads(made.config)["history"]) == len(made.layers)

    def test_the_zone_of_the_commit_does_not_count(self, tmp_path: Path, model: Path, made: Image) -> None:
        there = CREATED.astimezone(timezone(timedelta(hours=9)))
        assert assembled(tmp_path / "other", model, created=there).config == made.config

    def test_another_platform_can_be_named(self, tmp_path: Path, model: Path) -> None:
        made = assembled(tmp_path / "work", model, platform="linux/arm64/v8")
        assert made.platform == {"os": "linux", "architecture": "arm64", "variant": "v8"}
        assert json.loads(made.config)["variant"] == "v8"


class TestManifest:
    def test_it_lists_config_and_layers_as_oci_has_it(self, made: Image) -> None:
        manifest = oci.read_manifest(made.manifest, where="the manifest")
        assert isinstance(manifest, oci.Manifest)
        assert manifest.config == made.config_descriptor
        assert manifest.layers == tuple(layer.descriptor for layer in made.layers)
        assert [layer.media_type for layer in manifest.layers] == [oci.LAYER_GZIP, oci.LAYER_GZIP, oci.LAYER]
        assert manifest.media_type == json.loads(made.manifest)["mediaType"] == oci.MANIFEST
        assert manifest.annotations == {"org.opencontainers.image.title": "server", "org.opencontainers.image.version": "1.2.3"}
        assert made.manifest_descriptor.digest == oci.digest_of(made.manifest)

    def test_the_same_inputs_give_the_same_bytes(self, tmp_path: Path, model: Path, made: Image) -> None:
        later = {**CONFIG, "container": "other", "history": [*CONFIG["history"]]}
        later["history"][1] = {**later["history"][1], "created": "2026-11-26T00:00:00Z"}
        assert assembled(tmp_path / "again", model, config=later).manifest == made.manifest


class TestArchive:
    def test_engines_find_config_and_layers_in_it(self, tmp_path: Path, made: Image) -> None:
        (tmp_path / "archive.tar").write_bytes(b"".join(image.archive(made)))
        (found,) = saved.images(tmp_path / "archive.tar")
        assert found.config == json.loads(made.config)
        for index, layer in enumerate(made.layers):
            assert b"".join(found.tar(index)) == b"".join(layer.tar())
        with tarfile.open(tmp_path / "archive.tar") as archive:
            stream = archive.extractfile(f"{made.config_descriptor.digest[7:]}.json")
            assert stream is not None
            assert stream.read() == made.config

    def test_a_layer_that_is_there_twice_is_written_once(self, model: Path) -> None:
        top, _ = layers.of_model(model)
        twice = image.assemble([top, top], config={"os": "linux", "architecture": "amd64"}, labels={}, created=CREATED)
        with tarfile.open(fileobj=io.BytesIO(b"".join(image.archive(twice)))) as archive:
            assert len(archive.getnames()) == 3


class TestLoaded:
    def test_the_digest_of_the_config_is_enough(self, made: Image) -> None:
        image.check_loaded(made, {"Id": made.config_descriptor.digest})

    def test_an_engine_with_names_of_its_own_has_to_show_the_same_content(self, made: Image) -> None:
        settings = json.loads(made.config)["config"]
        says: dict[str, Any] = {
            "Id": "sha256:" + "1" * 64,
            "RootFS": {"Type": "layers", "Layers": [layer.diff_id for layer in made.layers]},
            "Config": {**settings, "Hostname": "", "OnBuild": None},
        }
        image.check_loaded(made, says)
        for other in (
            {**says, "Config": {**settings, "Env": ["PATH=/elsewhere"]}},
            {**says, "RootFS": {"Layers": says["RootFS"]["Layers"][:-1]}},
            {"Id": "sha256:" + "1" * 64},
        ):
            with pytest.raises(StageError, match="another image"):
                image.check_loaded(made, other)


STAND_IN = """\
#!/bin/sh
echo "$@" >> "$CALLS"
[ "$2" = version ] && exit 0
echo "building with ${SOME_TOKEN}"
[ -n "$HANGS" ] && exec tail -f /dev/null
[ -n "$FAILS" ] && echo "ERROR: OCI exporter is not supported for the docker driver" >&2 && exit 1
for word in "$@"; do case "$word" in type=oci,dest=*) cp "$LAYOUT" "${word#type=oci,dest=}";; esac; done
"""


class TestSeveralPlatforms:
    """The command is a stand-in that leaves an image layout as buildx does."""

    @pytest.fixture
    def layout(self, tmp_path: Path) -> Path:
        pairs = []
        for architecture in ("arm64", "amd64"):
            contents = [image_files.tar([Entry("base")]), image_files.tar([Entry("binary", architecture.encode())])]
            pairs.append((contents, image_files.config(contents, architecture=architecture)))
        attested = [image_files.tar([Entry("statement")])]
        unknown = image_files.config(attested, architecture="unknown") | {"os": "unknown"}
        return image_files.save(tmp_path / "layout.tar", [*pairs, (attested, unknown)], form="layout", packed=True)

    @pytest.fixture
    def environ(self, tmp_path: Path, layout: Path) -> dict[str, str]:
        program = tmp_path / "bin" / "docker"
        program.parent.mkdir()
        program.write_text(STAND_IN)
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        return {"PATH": f"{program.parent}:{os.environ['PATH']}", "CALLS": str(tmp_path / "calls"), "LAYOUT": str(layout)}

    def build(self, tmp_path: Path, environ: Mapping[str, str], **options: Any) -> tuple[saved.Saved, ...]:
        return builder.build(
            tmp_path,
            dockerfile=tmp_path / "Dockerfile",
            platforms=["linux/amd64", "linux/arm64"],
            arguments={"FORMAT": "onnx"},
            into=tmp_path / "built.tar",
            environ=environ,
            **options,
        )

    def test_every_platform_gets_the_model_and_an_index_lists_them(
        self, tmp_path: Path, environ: dict[str, str], model: Path
    ) -> None:
        top, _ = layers.of_model(model)
        images = [
            image.assemble([*layers.of_saved(each, tmp_path, {}), top], config=each.config, labels=LABELS, created=CREATED)
            for each in self.build(tmp_path, environ)
        ]
        index = oci.read_manifest(image.index(images), where="the index")
        assert isinstance(index, oci.Index)
        assert [(each.platform and each.platform.architecture) for each in index.manifests] == ["amd64", "arm64"]
        by_architecture = {made.platform["architecture"]: made for made in images}
        assert index.manifests[1].digest == by_architecture["arm64"].manifest_descriptor.digest
        assert [made.layers[-1].descriptor for made in images] == [top.descriptor] * 2
        assert images[0].layers[0].descriptor == images[1].layers[0].descriptor
        assert images[0].layers[1].descriptor != images[1].layers[1].descriptor
        assert image.index(images) == image.index(images[::-1])
        assert index.annotations == {"org.opencontainers.image.version": "1.2.3"}

    def test_the_builder_is_asked_for_what_is_pushed_and_nothing_else(self, tmp_path: Path, environ: dict[str, str]) -> None:
        self.build(tmp_path, environ)
        called = (tmp_path / "calls").read_text()
        for words in ("--platform linux/amd64,linux/arm64", "--build-arg=FORMAT=onnx", "--provenance=false", "--sbom=false"):
            assert words in called

    def test_a_build_that_fails_is_told_with_its_last_lines(self, tmp_path: Path, environ: dict[str, str]) -> None:
        shown: list[str] = []
        told = environ | {"FAILS": "yes", "SOME_TOKEN": "t0ken-of-someone"}
        with pytest.raises(StageError, match="ended with 1") as caught:
            self.build(tmp_path, told, progress=shown.append)
        assert "OCI exporter is not supported" in caught.value.fix
        assert shown[0] == "building with ***"
        assert "t0ken" not in str(caught.value)

    def test_a_build_that_hangs_is_ended(self, tmp_path: Path, environ: dict[str, str]) -> None:
        with pytest.raises(StageError, match=r"more than 0\.5 s"):
            self.build(tmp_path, environ | {"HANGS": "yes"}, timeout_s=0.5)

    def test_a_builder_that_leaves_no_image_is_told(self, tmp_path: Path, environ: dict[str, str]) -> None:
        (tmp_path / "empty").write_bytes(b"")
        with pytest.raises(InputError, match="not an image"):
            self.build(tmp_path, environ | {"LAYOUT": str(tmp_path / "empty")})

    def test_without_a_builder_it_is_the_runners_own_platform_and_that_is_said(
        self, tmp_path: Path, environ: dict[str, str]
    ) -> None:
        wanted = ["linux/amd64", "linux/arm64"]
        nowhere = {"PATH": str(tmp_path / "nowhere")}
        chosen, said = builder.platforms(wanted, own="linux/amd64", environ=nowhere)
        assert chosen == ("linux/amd64",)
        assert "not for linux/arm64" in said
        assert builder.platforms(wanted, own="linux/amd64", environ=environ) == (tuple(wanted), "")
        assert builder.platforms([], own="linux/amd64", environ=nowhere) == (("linux/amd64",), "")
        assert builder.platforms(["linux/amd64"], own="linux/amd64", environ=nowhere) == (("linux/amd64",), "")

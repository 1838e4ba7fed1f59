"""A release for several platforms: an index of images, each with the model and evidence of its own."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from pathlib import Path

import pytest
from tests import evidence_scene, image_files, registry_server
from tests.image_files import Entry

from metricgate.release import facts, image, layers, names, oci, pushing, rules, saved, verification
from metricgate.release.building import Built
from metricgate.release.image import Image
from metricgate.release.names import Context
from metricgate.release.oci import Index
from metricgate.release.patience import Patience
from metricgate.release.recipe import Recipe
from metricgate.release.registry import Registry
from metricgate.release.signing import KeySigner

pytestmark = pytest.mark.registry

TIME = datetime(2026, 1, 1, tzinfo=timezone.utc)
SIGNER = KeySigner(evidence_scene.KEY)


def built(folder: Path) -> Built:
    """As a builder for two platforms leaves it."""
    model = folder / "model"
    for name, content in evidence_scene.FILES.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_bytes(content)
    weights, _ = layers.of_model(model)
    known = evidence_scene.known(weights.files and {name: f"sha256:{value}" for name, value in weights.files.items()})
    labels = facts.labels(
        model=known.model_digest,
        verdict=known.report.verdict,
        report=known.report_digest,
        policy=known.policy,
        test_set=known.test_set,
        baseline=known.baseline,
    )
    made: list[Image] = []
    for architecture in ("amd64", "arm64"):
        server = image_files.tar([Entry(f"srv/{architecture}", architecture.encode())])
        file = folder / f"{architecture}.tar"
        image_files.save(file, [([server], image_files.config([server], architecture=architecture))], form="old engine")
        (folder / architecture).mkdir()
        kept = saved.images(file)[0]
        made.append(
            image.assemble(
                [*layers.of_saved(kept, folder / architecture, {}), weights],
                config=kept.config,
                labels={facts.REVISION: evidence_scene.COMMIT, **labels},
                created=TIME,
            )
        )
    recipe = Recipe(context=folder, dockerfile=folder, arguments={}, base=None, digests={}, own=True)
    return Built(images=tuple(made), packages=((), ()), recipe=recipe, base=None)


def test_every_platform_has_the_model_and_its_own_evidence_and_the_tags_stand_for_all(tmp_path: Path) -> None:
    release = built(tmp_path)
    assert release.platforms == ("linux/amd64", "linux/arm64")
    hashes = {name: f"sha256:{value}" for name, value in release.image.layers[-1].files.items()}
    known = [
        replace(evidence_scene.known(hashes), image_digest=each.manifest_descriptor.digest, platform=platform)
        for each, platform in zip(release.images, release.platforms, strict=True)
    ]
    context = Context(ref="refs/tags/v1.2.3", sha=evidence_scene.COMMIT, time=TIME)

    with registry_server.started() as server:
        registry = Registry.connect(f"{server.name}/acme/model", environ={}, patience=Patience(backoff=0.0, settle=0.0))

        def naming(existing: object) -> names.Names:
            assert isinstance(existing, tuple)
            asked = rules.parse(rules.DEFAULT)
            return names.of(context, rules=asked, flavor=rules.flavor(()), images=["a/b"], existing=existing)

        pushed = pushing.push(release, known, registries=[registry], naming=naming, signer=lambda: SIGNER, say=lambda _: None)
        assert [move.tag for move in pushed.moved] == ["1.2.3", "1.2", "1", "latest"]

        at, content = registry.manifest("latest")
        assert at.digest == release.descriptor.digest
        index = oci.read_manifest(content, where="latest")
        assert isinstance(index, Index)
        assert [each.platform and each.platform.architecture for each in index.manifests] == ["amd64", "arm64"]
        configs = [json.loads(b"".join(registry.blob(each.config_descriptor.digest))) for each in release.images]
        assert len({config["rootfs"]["diff_ids"][-1] for config in configs}) == 1, "one layer holds the model of both"

        found = verification.verify(registry, "1.2.3", verifier=SIGNER.verifier)
        assert found.first is None, found.headline
        assert [chain.platform for chain in found.chains] == ["linux/amd64", "linux/arm64"]

        again = pushing.push(release, known, registries=[registry], naming=naming, signer=lambda: SIGNER, say=lambda _: None)
        assert (again.uploaded, again.moved) == (0, ())


def test_one_platform_without_evidence_breaks_the_chain_of_all(tmp_path: Path) -> None:
    release = built(tmp_path)
    with registry_server.started() as server:
        registry = Registry.connect(f"{server.name}/acme/model", environ={}, patience=Patience(backoff=0.0, settle=0.0))
        for each in release.images:
            for layer in each.layers:
                registry.push_blob(layer.descriptor, layer.source)
            registry.push_blob(each.config_descriptor, partial(iter, [each.config]))
            registry.push_manifest(each.manifest, media_type=oci.MANIFEST, reference=each.manifest_descriptor.digest)
        registry.push_manifest(release.content, media_type=oci.INDEX, reference="1.2.3")
        found = verification.verify(registry, "1.2.3", verifier=SIGNER.verifier)
        assert found.exit_code == 4
        assert "is missing" in found.headline

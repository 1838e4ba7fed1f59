"""An image and its evidence in a folder: the same as in the registry that it was taken from, whole or not there at all."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests import registry_server
from tests.registry_server import Fault, Proxy

from metricgate.errors import InputError, MetricgateError, StageError, UsageError
from metricgate.release import layout, oci
from metricgate.release.images import Images
from metricgate.release.layout import Layout
from metricgate.release.oci import Descriptor, Manifest
from metricgate.release.patience import Patience
from metricgate.release.registry import Registry

pytestmark = pytest.mark.registry

KIND = "application/vnd.example.evidence+json"
WEIGHTS = b"weights " * 300_000
OTHER = "sha256:" + "0" * 64


@dataclass(frozen=True)
class Place:
    """A registry with an image for two platforms and evidence about it, and what stands before the registry."""

    server: registry_server.Registry
    proxy: Proxy
    registry: Registry
    image: Descriptor

    @property
    def digests(self) -> set[str]:
        """All that can be reached from the image."""
        found: set[str] = set()
        _walk(self.registry, self.image.digest, found)
        return found


def _walk(images: Images, digest: str, found: set[str]) -> None:
    found.add(digest)
    document = oci.read_manifest(images.manifest(digest)[1], where=digest)
    if isinstance(document, Manifest):
        found.update(blob.digest for blob in (document.config, *document.layers))
    else:
        for each in document.manifests:
            _walk(images, each.digest, found)
    for each in images.referrers(digest):
        _walk(images, each.digest, found)


def _blob(registry: Registry, content: bytes, kind: str) -> dict[str, Any]:
    descriptor = Descriptor(media_type=kind, digest=oci.digest_of(content), size=len(content))
    registry.push_blob(descriptor, lambda: (content,))
    return descriptor.document()


def _image(registry: Registry, architecture: str) -> Descriptor:
    document = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": _blob(registry, json.dumps({"architecture": architecture}).encode(), oci.CONFIG),
        "layers": [_blob(registry, WEIGHTS, oci.LAYER), _blob(registry, architecture.encode(), oci.LAYER)],
    }
    content = oci.to_json(document)
    return registry.push_manifest(content, media_type=oci.MANIFEST, reference=oci.digest_of(content))


@pytest.fixture(scope="module")
def filled() -> Iterator[tuple[registry_server.Registry, Descriptor]]:
    with registry_server.started() as server:
        registry = Registry.connect(f"{server.name}/acme/model", environ={}, patience=Patience(settle=0.0))
        images = [_image(registry, architecture) for architecture in ("amd64", "arm64")]
        index = oci.to_json({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [each.document() for each in images]})
        image = registry.push_manifest(index, media_type=oci.INDEX, reference="1.2.3")
        registry.attach(image, [(b"about the index", {"number": "1"}), (b"more", {"number": "2"})], artifact_type=KIND)
        registry.attach(images[0], [(b"about amd64", {})], artifact_type=KIND)
        yield server, image


@pytest.fixture
def place(filled: tuple[registry_server.Registry, Descriptor]) -> Iterator[Place]:
    server, image = filled
    with Proxy(server.name) as proxy:
        patience = Patience(attempts=2, sleep=lambda _: None)
        yield Place(server, proxy, Registry.connect(f"{proxy.name}/acme/model", environ={}, patience=patience), image)


def _listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_what_was_saved_is_what_the_registry_has_byte_for_byte(place: Place, tmp_path: Path) -> None:
    saved = layout.save(place.registry, "1.2.3", tmp_path / "deep" / "saved")
    assert saved == Layout(tmp_path / "deep" / "saved")
    assert {f"sha256:{file.name}" for file in (saved.folder / "blobs/sha256").iterdir()} == place.digests
    for digest in place.digests:
        assert b"".join(saved.blob(digest)) == place.server.blob(digest).read_bytes()
    assert json.loads((saved.folder / "oci-layout").read_bytes()) == {"imageLayoutVersion": "1.0.0"}
    assert _listing(tmp_path / "deep")[0] == "saved"
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["saved"]


def test_the_folder_answers_as_the_registry_does(place: Place, tmp_path: Path) -> None:
    saved = layout.save(place.registry, "1.2.3", tmp_path / "saved")
    found = saved.resolve("1.2.3")
    assert found is not None
    assert (found.media_type, found.digest, found.size) == (place.image.media_type, place.image.digest, place.image.size)
    assert saved.resolve("latest") == found  # the only one
    assert saved.manifest("1.2.3")[1] == place.registry.manifest("1.2.3")[1]
    for each in place.registry.referrers(place.image.digest):
        assert saved.manifest(each.digest)[1] == place.registry.manifest(each.digest)[1]
    for digest in (place.image.digest, *(each.digest for each in _platforms(place))):
        assert sorted(saved.referrers(digest), key=repr) == sorted(place.registry.referrers(digest), key=repr)
    assert [len(saved.referrers(each.digest)) for each in _platforms(place)] == [1, 0]
    assert (saved.resolve("2.0.0"), saved.resolve(OTHER), saved.referrers(OTHER)) == (None, None, ())


def _platforms(place: Place) -> tuple[Descriptor, ...]:
    return oci.read_index(place.registry.manifest(place.image.digest)[1], where="here").manifests


def test_an_image_of_an_index_is_found_by_its_digest(place: Place, tmp_path: Path) -> None:
    saved = layout.save(place.registry, "1.2.3", tmp_path / "saved")
    for each in _platforms(place):
        found = saved.resolve(each.digest)
        assert found is not None
        assert (found.media_type, found.digest, found.size) == (each.media_type, each.digest, each.size)


def test_a_folder_can_be_taken_from_a_folder(place: Place, tmp_path: Path) -> None:
    first = layout.save(place.registry, place.image.digest, tmp_path / "first")
    second = layout.save(first, place.image.digest, tmp_path / "second")
    assert _listing(first.folder) == _listing(second.folder)
    assert second.referrers(place.image.digest) == first.referrers(place.image.digest)


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 404},
        {"status": 403},
        {"status": 500},
        {"returned": 0},
        {"status": 200, "body": WEIGHTS[:-1] + b"X"},
        {"status": 200, "body": WEIGHTS[:-1]},
        {"status": 200, "body": WEIGHTS + b"X"},
    ],
    ids=str,
)
def test_what_breaks_on_the_way_leaves_nothing_twice_in_a_row_and_then_works(
    place: Place, tmp_path: Path, fault: dict[str, Any]
) -> None:
    place.proxy.faults.append(Fault("GET", f"/blobs/{oci.digest_of(WEIGHTS)}", times=1000, **fault))
    for _ in range(2):
        with pytest.raises(MetricgateError):
            layout.save(place.registry, "1.2.3", tmp_path / "saved")
        assert list(tmp_path.iterdir()) == []
    place.proxy.faults.clear()
    assert layout.save(place.registry, "1.2.3", tmp_path / "saved").resolve("1.2.3")


def test_a_registry_that_sends_more_than_it_said_does_not_fill_the_disk(place: Place, tmp_path: Path) -> None:
    endless = _Endless(place.registry)
    with pytest.raises(InputError, match="bytes") as error:
        layout.save(endless, "1.2.3", tmp_path / "saved")
    assert "as its descriptor says" in error.value.expected
    assert list(tmp_path.iterdir()) == []


@dataclass(frozen=True)
class _Endless:
    """A registry whose blobs do not end."""

    registry: Registry
    name = "endless.example/acme/model"

    def resolve(self, reference: str) -> Descriptor | None:
        return self.registry.resolve(reference)

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        return self.registry.manifest(reference)

    def blob(self, _: str) -> Iterator[bytes]:
        for _number in range(1000):
            yield bytes(1 << 20)
        pytest.fail("somebody reads on and on")

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        return self.registry.referrers(digest)


def test_a_disk_that_takes_no_more_leaves_nothing_and_is_no_crash(place: Place, tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(WEIGHTS) // 2, before[1]))
    try:
        with pytest.raises(StageError, match=r"can't be written: .*; nothing of it is there"):
            layout.save(place.registry, "1.2.3", tmp_path / "saved")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
    assert layout.save(place.registry, "1.2.3", tmp_path / "saved").resolve("1.2.3")


def test_a_place_that_is_no_folder_is_no_crash(place: Place, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match="can't be written: File exists"):
        layout.save(place.registry, "1.2.3", tmp_path / "file" / "saved")


@pytest.mark.parametrize("there", ["file", "folder", "link"])
def test_what_is_there_already_is_left_alone(place: Place, tmp_path: Path, there: str) -> None:
    into = tmp_path / "saved"
    make: dict[str, Callable[[], object]] = {
        "file": into.touch,
        "folder": into.mkdir,
        "link": lambda: into.symlink_to("nowhere"),
    }
    make[there]()
    with pytest.raises(UsageError, match="something is there already"):
        layout.save(place.registry, "1.2.3", into)
    assert list(tmp_path.iterdir()) == [into]


def test_an_image_that_is_not_there_is_said_so(place: Place, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no such image"):
        layout.save(place.registry, "9.9.9", tmp_path / "saved")
    assert list(tmp_path.iterdir()) == []


def test_each_file_that_was_changed_is_named_when_it_is_read(place: Place, tmp_path: Path) -> None:
    saved = layout.save(place.registry, "1.2.3", tmp_path / "saved")
    for digest in place.digests:
        file = saved.folder / "blobs/sha256" / digest.partition(":")[2]
        content = file.read_bytes()
        for changed in (content[:-1], content + b" ", bytes([content[0] ^ 1]) + content[1:]):
            file.write_bytes(changed)
            with pytest.raises(InputError, match="its digest is") as error:
                b"".join(saved.blob(digest))
            assert error.value.where == str(file)
        file.unlink()
        with pytest.raises(InputError, match="can't be read: No such file"):
            b"".join(saved.blob(digest))
        file.write_bytes(content)


@pytest.mark.parametrize("reference", ["../../oci-layout", "sha256:../../../x", "sha256:", "sha512:" + "0" * 128, ""])
def test_nothing_outside_of_the_blobs_is_read(place: Place, tmp_path: Path, reference: str) -> None:
    saved = layout.save(place.registry, "1.2.3", tmp_path / "saved")
    assert saved.resolve(reference) is None
    with pytest.raises(InputError, match="is no digest"):
        b"".join(saved.blob(reference))


@pytest.mark.parametrize(
    "index",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b'{"schemaVersion": 2}',
        b'{"schemaVersion": 2, "manifests": [{}]}',
        b'{"schemaVersion": 2, "manifests": [{"mediaType": "x", "digest": "sha256:../../../../etc/passwd", "size": 1}]}',
        b'{"schemaVersion": 2, "manifests": [], "layers": []}',
    ],
    ids=lambda index: repr(index[:60]),
)
def test_a_folder_whose_index_nobody_can_read_is_an_error(tmp_path: Path, index: bytes) -> None:
    (tmp_path / "index.json").write_bytes(index)
    with pytest.raises(InputError, match="this is no manifest"):
        Layout(tmp_path).resolve("latest")


def test_a_folder_that_is_no_layout_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="can't be read: No such file") as error:
        Layout(tmp_path / "nothing").resolve("latest")
    assert "--save FOLDER" in error.value.fix


def test_of_two_images_none_is_the_latest(place: Place, tmp_path: Path) -> None:
    saved = layout.save(place.registry, "1.2.3", tmp_path / "saved")
    file = saved.folder / "index.json"
    document = json.loads(file.read_bytes())
    name = {"org.opencontainers.image.ref.name": "1.2.4"}
    document["manifests"].append({**_platforms(place)[0].document(), "annotations": name})
    file.write_bytes(json.dumps(document).encode())
    assert saved.resolve("latest") is None
    found = saved.resolve("1.2.4")
    assert found is not None
    assert found.digest == _platforms(place)[0].digest

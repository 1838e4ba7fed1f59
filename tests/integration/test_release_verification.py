"""``metricgate verify``: whatever is tampered with, at any link of the chain, is found and named."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from tests.evidence_scene import COMMIT, FILES, KEY, OTHER_KEY, Release, Shelf, described, digest, flip, resign, tar

from metricgate.errors import ExitCode, InputError, StageError, UsageError
from metricgate.release import bundles, facts, oci, statements, verification, verifying
from metricgate.release.oci import Descriptor
from metricgate.release.registry import Registry
from metricgate.release.signing import KeySigner
from metricgate.release.verification import Verification
from metricgate.release.verifying import Asked

Tamper = Callable[[Shelf, Descriptor], None]


def _verify(shelf: Shelf, reference: str = "1.2.3", **more: Any) -> Verification:
    return verification.verify(shelf, reference, verifier=KeySigner(KEY).verifier, **more)


def _published(**changes: Any) -> tuple[Shelf, Descriptor]:
    shelf = Shelf()
    return shelf, Release(**changes).publish(shelf)


def _state(found: Verification, link: str) -> str:
    return next(each.state for each in found.chains[0].links if each.name == link)


def test_a_release_verifies_by_tag_and_by_digest() -> None:
    shelf, image = _published()
    for reference in ("1.2.3", image.digest):
        found = _verify(shelf, reference)
        assert found.exit_code == ExitCode.PASSED
        assert found.digest == image.digest
        assert "is what it claims to be" in found.headline


def test_the_answer_for_people_is_about_ten_lines_and_that_for_programs_has_the_same_links() -> None:
    found = _verify(_published()[0])
    assert len(found.to_text().splitlines()) == 10
    document = json.loads(found.to_json())
    assert document["schema"] == "metricgate.verification/1"
    assert (document["verified"], document["exit_code"]) == (True, 0)
    links = {each["link"]: each["state"] for each in document["images"][0]["links"]}
    assert links == dict.fromkeys(["data", "run", "model", "verdict", "image", "smoke test", "contents"], "ok")


def test_an_image_that_is_not_there_is_wrong_use() -> None:
    with pytest.raises(UsageError, match="no such image"):
        _verify(_published()[0], "9.9.9")


def _layers(shelf: Shelf, image: Descriptor) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(shelf.manifests[image.digest][1])["layers"]
    return found


def _bundles(shelf: Shelf, image: Descriptor) -> dict[str, str]:
    """The blobs of the bundles by what they are about."""
    found = {}
    for each in shelf.referrers(image.digest):
        blob = json.loads(shelf.manifests[each.digest][1])["layers"][0]["digest"]
        found[verification.read(shelf.blobs[blob], KeySigner(KEY).verifier).kind] = blob
    return found


def _replaced(shelf: Shelf, image: Descriptor, kind: str, bundle: bytes | None) -> None:
    """Take the statement of a kind away, and put another one in its place."""
    blob = _bundles(shelf, image)[kind]
    for name, (_, content) in list(shelf.manifests.items()):
        if blob in content.decode():
            del shelf.manifests[name]
    if bundle is not None:
        shelf.attach(image, bundle)


def _bundle(shelf: Shelf, image: Descriptor, kind: str) -> bytes:
    return shelf.blobs[_bundles(shelf, image)[kind]]


def _a_byte_of_the_model(shelf: Shelf, image: Descriptor) -> None:
    blob = _layers(shelf, image)[-1]["digest"]
    shelf.blobs[blob] = shelf.blobs[blob].replace(b"graph", b"grapf")


def _a_byte_behind_the_model(shelf: Shelf, image: Descriptor) -> None:
    blob = _layers(shelf, image)[-1]["digest"]
    shelf.blobs[blob] = flip(shelf.blobs[blob])


def _a_byte_of_another_layer(shelf: Shelf, image: Descriptor) -> None:
    blob = _layers(shelf, image)[0]["digest"]
    shelf.blobs[blob] = flip(shelf.blobs[blob])


def _a_layer_that_is_gone(shelf: Shelf, image: Descriptor) -> None:
    del shelf.blobs[_layers(shelf, image)[1]["digest"]]


def _a_label(shelf: Shelf, image: Descriptor) -> None:
    blob = json.loads(shelf.manifests[image.digest][1])["config"]["digest"]
    shelf.blobs[blob] = shelf.blobs[blob].replace(COMMIT.encode(), b"d" * 40)


def _the_manifest(shelf: Shelf, image: Descriptor) -> None:
    media_type, content = shelf.manifests[image.digest]
    shelf.manifests[image.digest] = (media_type, content.replace(b'"schemaVersion":2', b'"schemaVersion": 2'))


def _statement(kind: str, change: Callable[[dict[str, Any]], None]) -> Tamper:
    """Change a statement and leave its signature as it is."""

    def tamper(shelf: Shelf, image: Descriptor) -> None:
        _replaced(shelf, image, kind, resign(_bundle(shelf, image, kind), change))

    return tamper


def _pass(statement: dict[str, Any]) -> None:
    statement["predicate"]["result"] = "WARNED"


def _policy(statement: dict[str, Any]) -> None:
    statement["predicate"]["configuration"][0]["digest"]["sha256"] = "0" * 64


def _data(statement: dict[str, Any]) -> None:
    for each in statement["predicate"]["buildDefinition"]["resolvedDependencies"]:
        if each["name"] == "data":
            each["digest"]["sha256"] = "0" * 64


def _a_signature(shelf: Shelf, image: Descriptor) -> None:
    document = json.loads(_bundle(shelf, image, statements.VERDICT))
    other = json.loads(_bundle(shelf, image, statements.TRAINING))
    document["dsseEnvelope"]["signatures"] = other["dsseEnvelope"]["signatures"]
    _replaced(shelf, image, statements.VERDICT, json.dumps(document).encode())


def _a_key(shelf: Shelf, image: Descriptor) -> None:
    content = KeySigner(KEY).verifier.open(_bundle(shelf, image, statements.VERDICT))
    _replaced(shelf, image, statements.VERDICT, KeySigner(OTHER_KEY).sign(content))


def _garbage(shelf: Shelf, image: Descriptor) -> None:
    _replaced(shelf, image, statements.IMAGE, b"garbage")


def _gone(kind: str) -> Tamper:
    return lambda shelf, image: _replaced(shelf, image, kind, None)


def _everything_gone(shelf: Shelf, image: Descriptor) -> None:
    for kind in list(_bundles(shelf, image)):
        _replaced(shelf, image, kind, None)


@pytest.mark.parametrize(
    ("tamper", "link", "words"),
    [
        (_a_byte_of_the_model, "model", "is damaged: its digest is sha256:"),
        (_a_byte_behind_the_model, "model", "is damaged: its digest is sha256:"),
        (_a_byte_of_another_layer, "image", "the layer sha256:"),
        (_a_layer_that_is_gone, "image", "it is not there"),
        (_a_label, "image", "the configuration is damaged: its digest is sha256:"),
        (_the_manifest, "image", "the manifest is damaged: its digest is sha256:"),
        (_statement(statements.VERDICT, _pass), "verdict", "the verdict statement does not count: its signature"),
        (_statement(statements.VERDICT, _policy), "verdict", "the verdict statement does not count: its signature"),
        (_statement(statements.TRAINING, _data), "run", "the training statement does not count: its signature"),
        (_a_signature, "verdict", "the verdict statement does not count: its signature does not match"),
        (_a_key, "verdict", "the verdict statement does not count: it is signed with another key"),
        (_garbage, "image", "the image's provenance is missing"),
        (_gone(statements.TRAINING), "run", "the training statement is missing"),
        (_gone(statements.VERDICT), "verdict", "the verdict statement is missing"),
        (_gone(statements.IMAGE), "image", "the image's provenance is missing"),
        (_gone(statements.MODEL), "model", "the model signature is missing"),
        (_gone(statements.SMOKE), "smoke test", "the smoke test statement is missing"),
        (_gone(statements.SBOM), "contents", "the bill of materials is missing"),
        (_gone(statements.ML_BOM), "contents", "the model card is missing"),
        (_everything_gone, "run", "nothing that is signed lies beside this image"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_tampering_with_what_lies_in_the_registry_is_found_and_named(tamper: Tamper, link: str, words: str) -> None:
    shelf, image = _published()
    tamper(shelf, image)
    found = _verify(shelf)
    assert found.exit_code == ExitCode.NOT_COMPARABLE
    assert "is not proven" in found.headline
    assert words in found.headline
    assert f": {link} is " in found.headline
    assert json.loads(found.to_json())["verified"] is False


def _moved(shelf: Shelf, release: Release) -> Descriptor:
    """The tag moved to another image, which brings the evidence of the first along."""
    old = shelf.tags["1.2.3"]
    new = release.image(shelf)
    assert new.digest != old
    for each in shelf.referrers(old):
        document = json.loads(shelf.manifests[each.digest][1])
        shelf.put({**document, "subject": described(new)})
    return new


@pytest.mark.parametrize(
    ("release", "link", "words"),
    [
        (Release(files={**FILES, "saved_model.pb": b"another graph"}), "model", "saved_model.pb has other bytes"),
        (Release(files={**FILES, "keras_metadata.pb": b"code"}), "model", "keras_metadata.pb was added"),
        (Release(layers=(b"base", b"another server")), "verdict", "about another image"),
        (Release(labels={"org.opencontainers.image.title": "x"}), "verdict", "about another image"),
    ],
    ids=["model", "file", "layer", "label"],
)
def test_an_image_that_was_built_again_with_something_else_does_not_inherit_the_evidence(
    release: Release, link: str, words: str
) -> None:
    shelf, _ = _published()
    _moved(shelf, release)
    found = _verify(shelf)
    assert f": {link} is broken" in found.headline
    assert words in found.headline


def test_a_model_layer_is_read_as_the_engine_unpacks_it() -> None:
    content = {f"model/{name}": value for name, value in FILES.items()}
    assert verification.files_of(iter([tar(content)])) == {name: digest(value) for name, value in FILES.items()}
    for strange in ("etc/passwd", "model/../etc/passwd", "other/model/a", "models/a"):
        with pytest.raises(InputError, match="it holds"):
            verification.files_of(iter([tar({**content, strange: b""})]))
    for garbage in (b"garbage" * 100, b"", tar(content)[:5000]):
        with pytest.raises(InputError):
            verification.files_of(iter([garbage]))


def test_a_model_layer_is_read_to_its_end_where_its_digest_is_known() -> None:
    def blob() -> Iterator[bytes]:
        yield tar({"model/a": b"a"})
        yield from [bytes(1 << 20)] * 4
        raise InputError("its digest is another one")

    with pytest.raises(InputError, match="its digest is another one"):
        verification.files_of(blob())


def test_whoever_has_just_pushed_the_image_does_not_read_its_layers_again() -> None:
    shelf, image = _published()
    for layer in _layers(shelf, image):
        del shelf.blobs[layer["digest"]]
    assert _verify(shelf, files=Release().hashes).exit_code == ExitCode.PASSED
    assert _verify(shelf, files={"saved_model.pb": digest("another")}).exit_code == ExitCode.NOT_COMPARABLE
    assert _verify(shelf).exit_code == ExitCode.NOT_COMPARABLE


@pytest.mark.parametrize("kind", ["link", "symlink", "fifo", "twice"])
def test_a_model_layer_that_holds_something_but_files_is_refused(kind: str) -> None:
    import io
    import tarfile

    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("model/a"))
        other = tarfile.TarInfo("model/a" if kind == "twice" else "model/b")
        other.type = {"link": tarfile.LNKTYPE, "symlink": tarfile.SYMTYPE, "fifo": tarfile.FIFOTYPE}.get(kind, tarfile.REGTYPE)
        other.linkname = "model/a"
        archive.addfile(other)
    with pytest.raises(InputError, match="it holds"):
        verification.files_of(iter([stream.getvalue()]))


def _signed(change: Callable[[str, dict[str, Any]], dict[str, Any] | None]) -> Verification:
    shelf = Shelf()
    Release().publish(shelf, tamper=change)
    return _verify(shelf)


def test_who_has_the_key_and_states_another_verdict_policy_or_baseline_contradicts_the_rest() -> None:
    for name in ("policy", "baseline", "test set"):

        def change(_: str, document: dict[str, Any], name: str = name) -> dict[str, Any]:
            for each in document["predicate"].get("configuration", ()):
                if each["name"] == name:
                    each["digest"]["sha256"] = "0" * 64
            return document

        found = _signed(change)
        assert f"verdict is broken: the {name} is not the same everywhere" in found.headline


def test_a_failed_verdict_is_told_and_one_that_somebody_accepted_names_them() -> None:
    shelf = Shelf()
    report = Release().facts.report
    failed = report.model_copy(
        update={"verdict": "fail", "exit_code": 1, "rules": (report.rules[0].model_copy(update={"outcome": "fail"}),)}
    )
    Release(changed={"report": failed}).publish(shelf)
    assert "the verdict is FAILED, and nobody accepted that" in _verify(shelf).headline


def test_a_statement_of_another_image_that_was_signed_by_the_same_key_does_not_count() -> None:
    shelf, image = _published()
    other_shelf = Shelf()
    other = Release(layers=(b"base", b"other")).publish(other_shelf)
    for kind in (statements.VERDICT, statements.IMAGE):
        _replaced(shelf, image, kind, _bundle(other_shelf, other, kind))
    found = _verify(shelf)
    assert "the verdict statement is about another image" in found.headline
    assert _state(found, "image") == "broken"


def test_two_signed_verdicts_that_contradict_each_other_are_found() -> None:
    shelf, image = _published()
    document = json.loads(KeySigner(KEY).verifier.open(_bundle(shelf, image, statements.VERDICT)))
    document["predicate"]["result"] = "FAILED"
    shelf.attach(image, KeySigner(KEY).sign(statements.to_bytes(document)))
    assert "contradict each other: one says FAILED and one PASSED" in _verify(shelf).headline


def test_a_release_that_was_published_twice_verifies() -> None:
    shelf, image = _published()
    again = replace(Release().facts.job, url="https://github.com/acme/model/actions/runs/99")
    Release(changed={"job": again, "smoke": {"exchanges": 3, "p50_ms": 99.0}}).publish(shelf)
    assert len(shelf.referrers(image.digest)) > 7
    assert _verify(shelf).exit_code == ExitCode.PASSED


def test_what_strangers_attach_is_told_and_breaks_nothing() -> None:
    shelf, image = _published()
    Release().publish(shelf, KeySigner(OTHER_KEY))
    shelf.attach(image, b"garbage")
    found = _verify(shelf)
    assert found.exit_code == ExitCode.PASSED
    assert any("another key" in note for note in found.chains[0].notes)
    assert any("no Sigstore bundle" in note for note in found.chains[0].notes)


def test_what_an_image_was_allowed_to_be_is_told() -> None:
    shelf, _ = _published(changed={"stale": ("the baseline of main changed",)})
    assert "  note        published although stale: the baseline of main changed" in _verify(shelf).to_text().splitlines()


def test_the_model_at_hand_can_be_compared_with_the_one_in_the_image(tmp_path: Path) -> None:
    shelf, _ = _published()
    for name, content in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    assert _verify(shelf, model=tmp_path).exit_code == ExitCode.PASSED
    (tmp_path / "saved_model.pb").write_bytes(b"another")
    assert "model is broken: the model that was given is not the one in the image" in _verify(shelf, model=tmp_path).headline


def _index(shelf: Shelf, *images: Descriptor) -> Descriptor:
    manifests = [
        {**described(each), "platform": {"os": "linux", "architecture": architecture}}
        for each, architecture in zip(images, ("amd64", "arm64"), strict=False)
    ]
    attestation = {**described(images[0]), "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}
    document = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [*manifests, attestation]}
    found = shelf.put(document, oci.INDEX)
    shelf.tags["1.2.3"] = found.digest
    return found


def test_an_image_for_several_platforms_holds_if_each_of_them_does() -> None:
    shelf, first = _published()
    second = Release(layers=(b"arm base", b"arm server")).publish(shelf)
    _index(shelf, first, second)
    found = _verify(shelf)
    assert found.exit_code == ExitCode.PASSED
    assert [each.platform for each in found.chains] == ["linux/amd64", "linux/arm64"]
    _replaced(shelf, second, statements.VERDICT, None)
    assert "(linux/arm64) is not proven: verdict is missing" in _verify(shelf).headline


def test_an_index_without_images_proves_nothing() -> None:
    shelf = Shelf()
    shelf.tags["1.2.3"] = shelf.put({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []}, oci.INDEX).digest
    assert _verify(shelf).exit_code == ExitCode.NOT_COMPARABLE
    assert "is not proven" in _verify(shelf).headline


def test_a_registry_that_can_not_be_reached_is_no_verdict() -> None:
    class Gone(Shelf):
        def referrers(self, digest: str) -> tuple[Descriptor, ...]:
            raise StageError("the registry does not answer", where=digest)

    shelf = Gone()
    Release().image(shelf)
    with pytest.raises(StageError):
        _verify(shelf)


def test_labels_of_the_image_are_shown_without_control_characters() -> None:
    shelf, _ = _published(labels={f"{facts.LABEL}policy": "\x1b[31mall good\u202e"})
    found = _verify(shelf)
    assert found.exit_code == ExitCode.NOT_COMPARABLE
    assert "\x1b" not in found.to_text()
    assert "\u202e" not in found.to_text()


def test_a_bundle_that_is_too_large_is_not_read_into_memory() -> None:
    shelf, image = _published()
    shelf.attach(image, b" " * (verification._LARGEST + 1))
    assert any("more than 64,000,000 bytes" in note for note in _verify(shelf).chains[0].notes)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "whose signatures count"),
        ({"key": Path("a"), "identity": "b"}, "exclude each other"),
        ({"key": Path("nothing.pub")}, "can't be read"),
        ({"key": Path("a"), "issuer": "b"}, "about identities"),
        ({"key": Path("a"), "repository": "b"}, "about identities"),
    ],
)
def test_wrong_use_is_told_before_anything_is_asked(asked: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        verifying.verify(Asked(image="registry.invalid/acme/model:1", **asked), environ={})


def test_the_public_key_is_read_from_a_file(tmp_path: Path) -> None:
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(pem)
    found = verifying.verifier_of(Asked(image="x", key=tmp_path / "key.pub"), environ={})
    assert found.who == f"the key {bundles.hint(KEY.public_key())[:16]}…"


def test_a_list_of_referrers_that_can_not_be_read_is_told() -> None:
    class Odd(Shelf):
        def referrers(self, digest: str) -> tuple[Descriptor, ...]:
            raise InputError("this is no index", where=digest)

    shelf = Odd()
    Release().publish(shelf)
    found = _verify(shelf)
    assert "nothing that is signed lies beside this image" in found.headline
    assert "the list of what lies beside the image is damaged: this is no index" in found.to_text()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Debian's registry: its address, and the folder in which it keeps everything."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    storage = tmp_path / "storage"
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(storage)}, "delete": {"enabled": True}},
        "http": {"addr": address},
    }
    (tmp_path / "config.yml").write_text(json.dumps(config))
    command = ["docker-registry", "serve", str(tmp_path / "config.yml")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert any("listening on" in line for line in process.stderr)
        threading.Thread(target=process.stderr.read, daemon=True).start()  # or its log would fill the pipe
        yield address, storage
        process.terminate()


def _pushed(shelf: Shelf, image: Descriptor, address: str) -> str:
    """Put everything of a shelf into a registry, and give the image's name there."""
    name = f"{address}/acme/model"
    registry = Registry.connect(name, environ={})
    for each in [json.loads(shelf.manifests[image.digest][1])["config"], *_layers(shelf, image)]:
        found = Descriptor.model_validate(each)
        registry.push_blob(found, lambda found=found: [shelf.blobs[found.digest]])  # type: ignore[misc]
    for reference in (image.digest, "1.2.3"):
        registry.push_manifest(shelf.manifests[image.digest][1], media_type=oci.MANIFEST, reference=reference)
    for each in shelf.referrers(image.digest):
        blob = json.loads(shelf.manifests[each.digest][1])["layers"][0]["digest"]
        registry.attach(image, [(shelf.blobs[blob], {})], artifact_type=bundles.MEDIA_TYPE)
    registry.close()
    return name


@pytest.fixture
def key(tmp_path: Path) -> Path:
    pem = KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pub").write_bytes(pem)
    return tmp_path / "key.pub"


@pytest.mark.registry
def test_an_image_in_a_registry_verifies_by_tag_by_digest_and_not_after_its_storage_was_changed(
    registry: tuple[str, Path], key: Path
) -> None:
    shelf, image = _published()
    address, storage = registry
    name = _pushed(shelf, image, address)
    for asked in (f"{name}:1.2.3", f"{name}@{image.digest}", f"{name}:1.2.3@{image.digest}"):
        text, code = verifying.verify(Asked(image=asked, key=key), environ={})
        assert code == ExitCode.PASSED, text
    for layer, link in ((0, "image"), (-1, "model")):
        blob = _layers(shelf, image)[layer]["digest"].removeprefix("sha256:")
        file = storage / "docker/registry/v2/blobs/sha256" / blob[:2] / blob / "data"
        before = file.read_bytes()
        file.write_bytes(flip(before))
        text, code = verifying.verify(Asked(image=f"{name}:1.2.3", key=key), environ={}, as_json=True)
        assert code == ExitCode.NOT_COMPARABLE
        assert f": {link} is broken" in json.loads(text)["headline"]
        file.write_bytes(before)
    with pytest.raises(UsageError, match="no such image"):
        verifying.verify(Asked(image=name, key=key), environ={})  # there is no `latest`

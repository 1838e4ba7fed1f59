"""The documents of the OCI image format: read strictly, whatever the bytes are, and written one way only."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from metricgate.errors import InputError
from metricgate.release import oci, referrers
from metricgate.release.oci import Descriptor, Index, Manifest

A, B, C = (f"sha256:{letter * 64}" for letter in "abc")

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8)
names = st.sampled_from(
    ["schemaVersion", "mediaType", "config", "layers", "manifests", "subject", "digest", "size", "annotations", "platform"]
)
said = st.sampled_from([oci.MANIFEST, oci.INDEX, oci.DOCKER_MANIFEST, oci.CONFIG, A, "sha256:", 2, -1])
documents = st.recursive(
    scalars | said,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names | st.text(max_size=5), inner, max_size=6),
    max_leaves=25,
)


def descriptor(digest: str = A, **more: Any) -> dict[str, Any]:
    return {"mediaType": oci.LAYER, "digest": digest, "size": 3, **more}


def image(**more: Any) -> dict[str, Any]:
    config = {"mediaType": oci.CONFIG, "digest": B, "size": 2}
    return {"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": config, "layers": [descriptor()], **more}


def listing(**more: Any) -> dict[str, Any]:
    return {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [descriptor(mediaType=oci.MANIFEST)], **more}


def read(document: object) -> Manifest | Index:
    return oci.read_manifest(json.dumps(document).encode(), where="here")


def test_a_digest_names_its_algorithm() -> None:
    assert oci.digest_of(b"") == "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_json_is_written_with_sorted_keys_without_spaces_in_utf_8() -> None:
    assert (
        oci.to_json({"ü": [1, 2.5, None], "a": {"c": True, "b": "é\n"}})
        == '{"a":{"b":"é\\n","c":true},"ü":[1,2.5,null]}'.encode()
    )


@given(
    st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers() | st.text(st.characters(codec="utf-8"))), st.randoms()
)
def test_the_same_document_is_the_same_bytes_in_whatever_order_it_was_made(document: dict[str, Any], chance: Any) -> None:
    mixed = list(document.items())
    chance.shuffle(mixed)
    written = oci.to_json(dict(mixed))
    assert written == oci.to_json(document)
    assert json.loads(written) == document


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_does_not_have_is_not_written(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        oci.to_json({"a": number})


def test_an_image_is_read_with_all_that_is_said_about_it() -> None:
    document = image(subject=descriptor(C), annotations={"a": "b"}, artifactType="x/y", unknown=[1])
    found = read(document)
    assert isinstance(found, Manifest)
    assert (found.config.digest, [layer.digest for layer in found.layers]) == (B, [A])
    assert found.subject is not None
    assert (found.subject.digest, found.annotations, found.kind) == (C, {"a": "b"}, "x/y")


def test_what_an_image_is_stands_in_its_configuration_where_nothing_else_says_it() -> None:
    found = read(image())
    assert isinstance(found, Manifest)
    assert found.kind == oci.CONFIG


def test_an_index_is_read_with_its_platforms() -> None:
    arm = descriptor(B, platform={"architecture": "arm64", "os": "linux", "variant": "v8"})
    found = read(listing(manifests=[descriptor(), arm]))
    assert isinstance(found, Index)
    assert found.manifests[0].platform is None
    assert found.manifests[1].platform == oci.Platform(architecture="arm64", os="linux", variant="v8")


@pytest.mark.parametrize(
    ("document", "kind"),
    [
        (image(mediaType=oci.DOCKER_MANIFEST), Manifest),
        (listing(mediaType=oci.DOCKER_INDEX), Index),
        ({key: value for key, value in image().items() if key != "mediaType"}, Manifest),
        ({key: value for key, value in listing().items() if key != "mediaType"}, Index),
        (listing(manifests=[]), Index),
    ],
)
def test_docker_s_form_and_documents_that_do_not_say_what_they_are_are_read(
    document: dict[str, Any], kind: type[Manifest | Index]
) -> None:
    assert isinstance(read(document), kind)


@pytest.mark.parametrize(
    ("document", "why"),
    [
        (image(manifests=[]), r"it says that it is 'application/vnd\.oci\.image\.manifest\.v1\+json'"),
        (listing(mediaType=oci.MANIFEST), "it says that it is"),
        (image(mediaType=oci.INDEX), "it says that it is"),
        (image(mediaType="text/html"), "it says that it is 'text/html'"),
        ({"schemaVersion": 2}, "it says that it is 'nothing'"),
        (image(schemaVersion=1), "schemaVersion"),
        (image(layers=[descriptor("sha256:../../../etc/passwd")]), r"layers\.0\.digest"),
        (image(layers=[descriptor(A + "\n")]), r"layers\.0\.digest"),
        (image(layers=[descriptor(A.upper())]), r"layers\.0\.digest"),
        (image(layers=[descriptor(size=-1)]), r"layers\.0\.size"),
        (image(config=None), "config"),
        (image(subject={}), "subject"),
        ([], "object"),
    ],
)
def test_what_is_no_manifest_is_refused_with_where_it_went_wrong(document: object, why: str) -> None:
    with pytest.raises(InputError, match=rf"here: this is no manifest: .*{why}"):
        read(document)


@given(st.binary() | documents.map(lambda document: json.dumps(document).encode()))
@example(b"[" * 100_000)
@example(b'{"a":' * 100_000)
@example(b'{"schemaVersion": 2, "mediaType": "\\ud800", "layers": []}')
@example(b'{"schemaVersion": 1e999, "layers": []}')
@example(json.dumps(image(layers=[descriptor(size=10**400)])).encode())
def test_whatever_the_bytes_are_they_are_a_manifest_an_index_or_an_error_on_few_lines(content: bytes) -> None:
    try:
        assert isinstance(oci.read_manifest(content, where="here"), Manifest | Index)
    except InputError as error:
        told = str(error)
    else:
        told = ""
    assert len(told) < 1000
    assert not [char for char in told if unicodedata.category(char) == "Cc" and char != "\n"]


def test_what_a_document_says_can_neither_steer_the_terminal_nor_fill_it() -> None:
    for key in ("\x1b[2J\n", "long" * 10_000):
        with pytest.raises(InputError) as error:
            read(image(annotations={key: 5}))
        assert "\x1b" not in str(error.value)
        assert len(str(error.value).splitlines()) == 2
        assert len(str(error.value)) < 1000


def described(**fields: Any) -> Descriptor:
    return Descriptor(**fields)


digests = st.binary(min_size=32, max_size=32).map(lambda content: f"sha256:{content.hex()}")
descriptors = st.builds(
    described,
    media_type=st.sampled_from([oci.MANIFEST, oci.LAYER]),
    digest=digests,
    size=st.integers(0, 1 << 50),
    annotations=st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")), max_size=3),
    artifact_type=st.none() | st.just("x/y"),
    platform=st.none() | st.builds(oci.Platform, architecture=st.just("amd64"), os=st.just("linux")),
)


@given(descriptors)
def test_a_descriptor_is_read_as_it_was_written(descriptor: Descriptor) -> None:
    content = oci.to_json(listing(manifests=[descriptor.document()]))
    assert oci.read_index(content, where="here").manifests == (descriptor,)


def test_nothing_empty_is_written() -> None:
    assert Descriptor(media_type=oci.LAYER, digest=A, size=0).document() == {"digest": A, "mediaType": oci.LAYER, "size": 0}


def test_an_image_is_no_index() -> None:
    with pytest.raises(InputError, match="this is an image"):
        oci.read_index(oci.to_json(image()), where="here")


@given(descriptors, descriptors, st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1), st.just("x"), max_size=2))
def test_what_is_attached_names_its_subject_its_kind_and_nothing_else_about_it(
    subject: Descriptor, layer: Descriptor, marks: dict[str, str]
) -> None:
    empty = Descriptor(media_type=oci.EMPTY, digest=oci.digest_of(b"{}"), size=2)
    content = referrers.manifest(subject, layer, config=empty, annotations=marks)
    found = oci.read_manifest(content, where="here")
    assert isinstance(found, Manifest)
    assert found.subject == Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    assert (found.layers, found.config, found.annotations) == ((layer,), empty, marks)
    listed = referrers.descriptor(content, where="here")
    assert (listed.digest, listed.size) == (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
    assert (listed.artifact_type, listed.annotations) == (layer.media_type, marks)


@pytest.mark.parametrize("change", [lambda document: document, lambda document: {**document, "added": {"by": "another tool"}}])
def test_an_index_of_referrers_keeps_what_others_wrote_into_it(change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    before = change(listing(annotations={"theirs": "1"}))
    new = Descriptor(media_type=oci.MANIFEST, digest=B, size=1)
    after = json.loads(referrers._with([new], oci.to_json(before), where="here"))
    assert after == {**before, "manifests": [*before["manifests"], new.document()]}

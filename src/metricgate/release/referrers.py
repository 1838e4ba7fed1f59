"""What refers to an image, where a registry does not know referrers: an index under the tag ``sha256-<hex>``.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#referrers-tag-schema. Nothing in a registry compares and
swaps, so two writers may overwrite each other's index: each looks again after it wrote, once at once and once when whoever read
the same index has written too, and adds again what is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from metricgate.errors import StageError
from metricgate.release import oci
from metricgate.release.oci import Descriptor, Manifest
from metricgate.release.patience import Patience

# How often an index is written while others write it too.
_WRITES = 20


class Shelf(Protocol):
    """Where manifests lie under their tags."""

    @property
    def name(self) -> str:
        """What people call it."""

    def find(self, reference: str) -> tuple[Descriptor, bytes] | None:
        """The manifest behind a tag or digest; None where there is none."""

    def push_manifest(self, content: bytes, *, media_type: str, reference: str) -> Descriptor:
        """Put a manifest under a tag or digest."""


def tag(subject: str) -> str:
    """The tag of what refers to a digest."""
    return subject.replace(":", "-")


def listed(shelf: Shelf, subject: str) -> tuple[Descriptor, ...]:
    """What the index of a digest lists.

    Raises:
        InputError: What stands there is no index.
        StageError: The registry can't be asked.
    """
    found = shelf.find(tag(subject))
    return () if found is None else oci.read_index(found[1], where=f"{shelf.name}:{tag(subject)}").manifests


def add(shelf: Shelf, subject: str, new: Sequence[Descriptor], *, patience: Patience) -> None:
    """Put referrers into the index of a digest, and see that they stay there.

    Args:
        shelf: The repository.
        subject: The digest that they refer to.
        new: They, each with its artifact type and annotations.
        patience: How long to wait for others.

    Raises:
        InputError: What stands there is no index.
        StageError: Others overwrite it again and again.
    """
    where = f"{shelf.name}:{tag(subject)}"
    for _ in range(_WRITES):
        found = shelf.find(tag(subject))
        if missing := _missing(new, found, where=where):
            content = _with(missing, None if found is None else found[1], where=where)
            shelf.push_manifest(content, media_type=oci.INDEX, reference=tag(subject))
            continue
        patience.sleep(patience.settle)
        if not _missing(new, shelf.find(tag(subject)), where=where):
            return
    raise StageError(
        "the list of what refers to this image keeps changing while it is written",
        where=where,
        fix="let the other releases of the same image end, then run the same command again",
    )


def descriptor(content: bytes, *, where: str) -> Descriptor:
    """A manifest as an index lists it: with its artifact type and annotations.

    Raises:
        InputError: It is no manifest.
    """
    manifest = oci.read_manifest(content, where=where)
    return Descriptor(
        media_type=manifest.media_type,
        digest=oci.digest_of(content),
        size=len(content),
        annotations=manifest.annotations,
        artifact_type=manifest.kind if isinstance(manifest, Manifest) else manifest.artifact_type,
    )


def manifest(subject: Descriptor, layer: Descriptor, *, config: Descriptor, annotations: Mapping[str, str]) -> bytes:
    """A manifest that attaches one blob to another manifest.

    Args:
        subject: That manifest.
        layer: The blob; its media type is what the new manifest is.
        config: The blob that stands for no configuration.
        annotations: Of the new manifest.
    """
    plain = Descriptor(media_type=subject.media_type, digest=subject.digest, size=subject.size)
    return oci.to_json(
        {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST,
            "artifactType": layer.media_type,
            "config": config.document(),
            "layers": [layer.document()],
            "subject": plain.document(),
            "annotations": dict(annotations),
        }
    )


def _missing(new: Sequence[Descriptor], found: tuple[Descriptor, bytes] | None, *, where: str) -> list[Descriptor]:
    listed = set() if found is None else {each.digest for each in oci.read_index(found[1], where=where).manifests}
    return [each for each in new if each.digest not in listed]


def _with(new: Sequence[Descriptor], content: bytes | None, *, where: str) -> bytes:
    """The index with more entries; what others wrote into theirs stays as it is."""
    document: Mapping[str, Any] = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []}
    if content is not None:
        oci.read_index(content, where=where)
        document = json.loads(content)
    return oci.to_json({**document, "manifests": [*document["manifests"], *(each.document() for each in new)]})

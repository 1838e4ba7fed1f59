"""The documents of the OCI image format: descriptors, manifests and indexes.

https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md and its neighbours. Images in Docker's older form
(schema 2) are read as well, since base images still come in it; nothing is written in it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Annotated, Any

import pydantic
from pydantic.alias_generators import to_camel

from metricgate.errors import InputError
from metricgate.report import plain

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
LAYER_GZIP = LAYER + "+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
READABLE = (MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX)

# What every registry takes, by the distribution specification; nobody reads more than that into memory.
MOST_BYTES = 4 << 20

DIGEST = r"sha256:[0-9a-f]{64}"
Digest = Annotated[str, pydantic.Field(pattern=rf"^{DIGEST}$")]


def digest_of(content: bytes) -> str:
    """``sha256:<hex>`` of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def to_json(document: Mapping[str, object]) -> bytes:
    """A document as bytes that are the same wherever they are written: sorted keys, no spaces, UTF-8.

    Raises:
        ValueError: A number is not finite.
    """
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


class _Document(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, populate_by_name=True)


class Platform(_Document):
    """What an image runs on.

    Attributes:
        architecture: As Go calls it: ``amd64``.
        os: ``linux``.
        variant: Of the processor: ``v8``.
    """

    architecture: str
    os: str
    variant: str | None = None


class Descriptor(_Document):
    """What something is, its digest and its size.

    Attributes:
        media_type: What it is.
        digest: ``sha256:<hex>`` of its bytes.
        size: How many bytes.
        annotations: What else is said about it.
        artifact_type: What a manifest that is no image is.
        platform: What an image runs on.
    """

    media_type: str
    digest: Digest
    size: Annotated[int, pydantic.Field(ge=0)]
    annotations: dict[str, str] = {}
    artifact_type: str | None = None
    platform: Platform | None = None

    def document(self) -> dict[str, Any]:
        """As it stands in a manifest."""
        said = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {key: value for key, value in said.items() if value or key != "annotations"}


class Manifest(_Document):
    """An image, or whatever else a manifest with layers holds.

    Attributes:
        media_type: OCI's or Docker's.
        config: The image's configuration.
        layers: Its layers, the lowest first.
        subject: The manifest that this one says something about.
        annotations: What else is said.
        artifact_type: What it is, where it is no image.
    """

    media_type: str = MANIFEST
    config: Descriptor
    layers: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}
    artifact_type: str | None = None

    @property
    def kind(self) -> str:
        """What it is: an image's configuration says so where ``artifactType`` does not."""
        return self.artifact_type or self.config.media_type


class Index(_Document):
    """Several manifests: an image for several platforms, or what refers to an image.

    Attributes:
        media_type: OCI's or Docker's.
        manifests: What it lists.
        subject: The manifest that this one says something about.
        annotations: What else is said.
        artifact_type: What it is, where it is no image.
    """

    media_type: str = INDEX
    manifests: tuple[Descriptor, ...]
    subject: Descriptor | None = None
    annotations: dict[str, str] = {}
    artifact_type: str | None = None


class _Shape(_Document):
    """Enough of a document to tell what it is; older ones don't say it."""

    schema_version: Annotated[int, pydantic.Field(ge=2, le=2)]
    media_type: str | None = None
    manifests: list[Any] | None = None
    layers: list[Any] | None = None


def read_manifest(content: bytes, *, where: str) -> Manifest | Index:
    """Read a manifest or an index.

    Args:
        content: Its bytes.
        where: What it is called, for errors.

    Raises:
        InputError: It is neither, or pretends to be both.
    """
    try:
        shape = _Shape.model_validate_json(content)
        listing, image = shape.manifests is not None, shape.layers is not None
        if listing and not image and shape.media_type in {None, INDEX, DOCKER_INDEX}:
            return Index.model_validate_json(content)
        if image and not listing and shape.media_type in {None, MANIFEST, DOCKER_MANIFEST}:
            return Manifest.model_validate_json(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        at = plain.text(".".join(map(str, first["loc"])))
        found = f"{at}: {first['msg']}" if at else first["msg"]
    else:
        found = f"it says that it is {(shape.media_type or 'nothing')[:100]!r}"
    raise InputError(f"this is no manifest: {found}", where=where, expected="a manifest or an index of the OCI image format")


def read_index(content: bytes, *, where: str) -> Index:
    """Read an index.

    Args:
        content: Its bytes.
        where: What it is called, for errors.

    Raises:
        InputError: It is none.
    """
    document = read_manifest(content, where=where)
    if not isinstance(document, Index):
        raise InputError("this is an image, not a list of images", where=where, expected="an index of the OCI image format")
    return document

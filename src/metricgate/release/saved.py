"""Images as engines and builders write them into one tar file.

``docker save`` writes ``manifest.json`` beside the layers: older engines as ``<id>/layer.tar``, newer ones in an OCI image
layout. ``docker buildx build --output type=oci`` writes the layout alone, with an image for every platform.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, cast

import pydantic

from metricgate.errors import InputError
from metricgate.release import oci

_CHUNK = 1 << 20
_GZIP = b"\x1f\x8b"
_ZSTANDARD = b"\x28\xb5\x2f\xfd"


class _Named(pydantic.BaseModel):
    """An entry of ``manifest.json``."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    config: str = pydantic.Field(alias="Config")
    layers: tuple[str, ...] = pydantic.Field(alias="Layers")


@dataclass(frozen=True)
class Saved:
    """An image in a file.

    Attributes:
        archive: The file.
        config: The image's config.
        members: Where its layers lie in the archive, the lowest first.
    """

    archive: Path
    config: Mapping[str, Any]
    members: tuple[str, ...]

    @property
    def platform(self) -> str:
        """``linux/amd64``, ``linux/arm64/v8``."""
        parts = (str(self.config.get(key) or "") for key in ("os", "architecture", "variant"))
        return "/".join(part for part in parts if part)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        """The digests of the uncompressed layers."""
        return tuple(self.config["rootfs"]["diff_ids"])

    @property
    def created_by(self) -> tuple[str, ...]:
        """For every layer, the line of the Dockerfile that made it; empty where it is not known."""
        made = [str(entry.get("created_by", "")) for entry in self.config.get("history") or () if not entry.get("empty_layer")]
        return tuple(made) if len(made) == len(self.members) else ("",) * len(self.members)

    @contextlib.contextmanager
    def layer(self, index: int) -> Iterator[IO[bytes]]:
        """A layer's tar, uncompressed.

        Raises:
            InputError: The archive is damaged, or its compression is not known here.
        """
        member = self.members[index]
        with _opened(self.archive) as archive, _member(archive, member) as stream:
            start = stream.read(len(_ZSTANDARD))
            stream.seek(0)
            if start == _ZSTANDARD:
                raise InputError(
                    "the layer is compressed with Zstandard",
                    where=f"{self.archive}: {member}",
                    expected="a tar, compressed with gzip or not at all",
                    fix="let the builder write gzip: --output type=oci,compression=gzip",
                )
            yield cast("IO[bytes]", gzip.GzipFile(fileobj=stream)) if start.startswith(_GZIP) else stream

    def tar(self, index: int) -> Iterator[bytes]:
        """A layer's tar in pieces, as often as needed."""
        with self.layer(index) as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk


def images(archive: Path) -> tuple[Saved, ...]:
    """The images in a file.

    Raises:
        InputError: It holds none, or is no such file.
    """
    try:
        with _opened(archive) as opened:
            names = frozenset(opened.getnames())
            if "manifest.json" in names:
                named = [_Named.model_validate(entry) for entry in _json(opened, "manifest.json")]
                found = tuple(Saved(archive, _json(opened, entry.config), entry.layers) for entry in named)
            else:
                found = tuple(_of_layout(archive, opened, _read(opened, "index.json")))
            whole = all(len(image.diff_ids) == len(image.members) and names.issuperset(image.members) for image in found)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise _damaged(archive, str(error)) from None
    if not found or not whole:
        raise _damaged(archive, "layers are missing" if found else "there is none in it")
    return found


def _of_layout(archive: Path, opened: tarfile.TarFile, content: bytes) -> Iterator[Saved]:
    document = oci.read_manifest(content, where=str(archive))
    if isinstance(document, oci.Index):
        for descriptor in document.manifests:
            yield from _of_layout(archive, opened, _read(opened, _blob(descriptor.digest)))
        return
    config = _json(opened, _blob(document.config.digest))
    # What a builder attests lies beside the images, as an image of an unknown system.
    if config.get("os", "unknown") != "unknown":
        yield Saved(archive, config, tuple(_blob(layer.digest) for layer in document.layers))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(opened: tarfile.TarFile, name: str) -> Any:
    return json.loads(_read(opened, name))


def _read(opened: tarfile.TarFile, name: str) -> bytes:
    with _member(opened, name) as stream:
        return stream.read()


def _member(opened: tarfile.TarFile, name: str) -> IO[bytes]:
    stream = opened.extractfile(name)  # follows the links that older engines write for a layer that is there twice
    return stream or io.BytesIO()


@contextlib.contextmanager
def _opened(archive: Path) -> Iterator[tarfile.TarFile]:
    try:
        with tarfile.open(archive, "r:") as opened:
            yield opened
    except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(archive, str(error)) from None


def _damaged(archive: Path, why: str) -> InputError:
    return InputError(
        f"the file is not an image: {why}",
        where=str(archive),
        expected="what `docker save` or `docker buildx build --output type=oci` wrote",
        fix="build the image again",
    )

"""An image and its evidence in a folder: an OCI image layout, to be verified without any registry.

https://github.com/opencontainers/image-spec/blob/v1.1.1/image-layout.md. What refers to an image stands in ``index.json``
beside it, as ORAS writes it.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from metricgate.errors import InputError, StageError, UsageError
from metricgate.release import oci
from metricgate.release.images import Images
from metricgate.release.oci import Descriptor, Index, Manifest

MARK = "oci-layout"
INDEX = "index.json"

_NAME = "org.opencontainers.image.ref.name"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layout:
    """A folder with images.

    Attributes:
        folder: Where it is.
    """

    folder: Path

    @property
    def name(self) -> str:
        """The folder."""
        return str(self.folder)

    def resolve(self, reference: str) -> Descriptor | None:
        """What a tag or digest stands for; of a folder with one image, ``latest`` stands for that."""
        listed = self._listed()
        if re.fullmatch(oci.DIGEST, reference):
            known = next((each for each in listed if each.digest == reference), None)
            return known or self._described(reference)
        found = next((each for each in listed if each.annotations.get(_NAME) == reference), None)
        images = [each for each in listed if _NAME in each.annotations]
        return found or (images[0] if reference == "latest" and len(images) == 1 else None)

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """The manifest behind a tag or digest, checked against its digest.

        Raises:
            InputError: There is none, or it is not what its digest says.
        """
        found = self.resolve(reference)
        if found is None:
            raise InputError("there is no such manifest", where=f"{self.folder}: {reference}", expected="a tag or digest in it")
        content = b"".join(self.blob(found.digest))
        return found, content

    def blob(self, digest: str) -> Iterator[bytes]:
        """A blob in pieces; after the last one its digest is checked.

        Raises:
            InputError: There is none, or it is not what its digest says.
        """
        total = hashlib.sha256()
        file = _file(self.folder, digest)
        try:
            with file.open("rb") as stream:
                while piece := stream.read(_CHUNK):
                    total.update(piece)
                    yield piece
        except OSError as error:
            raise InputError(f"can't be read: {error.strerror}", where=str(file), expected="a file of the layout") from None
        if f"sha256:{total.hexdigest()}" != digest:
            raise InputError(f"its digest is sha256:{total.hexdigest()}", where=str(file), expected=digest)

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """The manifests that name this one as their subject.

        Raises:
            InputError: One that is listed can't be read.
        """
        found = []
        for each in self._listed():
            content = b"".join(self.blob(each.digest))
            document = oci.read_manifest(content, where=str(_file(self.folder, each.digest)))
            if document.subject is not None and document.subject.digest == digest:
                found.append(each)
        return tuple(found)

    def _listed(self) -> tuple[Descriptor, ...]:
        file = self.folder / INDEX
        try:
            content = file.read_bytes()
        except OSError as error:
            raise UsageError(
                f"can't be read: {error.strerror}",
                where=str(file),
                expected="an OCI image layout",
                fix="metricgate verify IMAGE --save FOLDER",
            ) from None
        return oci.read_index(content, where=str(file)).manifests

    def _described(self, digest: str) -> Descriptor | None:
        """A manifest that only an index names."""
        file = _file(self.folder, digest)
        if not file.is_file() or file.stat().st_size > oci.MOST_BYTES:
            return None
        document = oci.read_manifest(b"".join(self.blob(digest)), where=str(file))
        return Descriptor(media_type=document.media_type, digest=digest, size=file.stat().st_size)


def save(images: Images, reference: str, into: Path) -> Layout:
    """Copy an image and its evidence into a folder, whole or not at all.

    Args:
        images: Where it is.
        reference: Its tag or digest.
        into: A folder that is not there yet.

    Raises:
        UsageError: There is no such image, or something is there already.
        InputError: Something is not what its digest or its size says.
        StageError: The registry can't be reached, or the folder can't be written.
    """
    found = images.resolve(reference)
    if found is None:
        raise UsageError(
            "there is no such image", where=f"{images.name}:{reference}", expected="a tag or a digest that is there"
        )
    if into.exists() or into.is_symlink():
        raise UsageError("something is there already", where=str(into), expected="a folder that is not there yet")
    try:
        into.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{into.name}-", dir=into.parent) as aside:
            folder = Path(aside) / "layout"
            named = found.model_copy(update={"annotations": {**found.annotations, _NAME: reference}})
            listed = [named, *_copied(images, found, folder)]
            document = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": [each.document() for each in listed]}
            (folder / INDEX).write_bytes(oci.to_json(document))
            (folder / MARK).write_text(json.dumps({"imageLayoutVersion": "1.0.0"}), encoding="utf-8")
            folder.rename(into)
    except OSError as error:
        raise StageError(
            f"the image can't be written: {error.strerror}; nothing of it is there",
            where=str(into),
            expected="a folder on a disk with room for the whole image",
            fix="make room, or choose another folder for --save",
        ) from None
    return Layout(into)


def _copied(images: Images, found: Descriptor, folder: Path) -> Iterator[Descriptor]:
    """Copy a manifest with what it names; what refers to it is copied too, and given back."""
    _, content = images.manifest(found.digest)
    _write(folder, found, [content])
    document: Manifest | Index = oci.read_manifest(content, where=f"{images.name}@{found.digest}")
    if isinstance(document, Index):
        for each in document.manifests:
            yield from _copied(images, each, folder)
    else:
        for blob in (document.config, *document.layers):
            _write(folder, blob, images.blob(blob.digest))
    if document.subject is None:  # evidence about evidence is nobody's
        for each in images.referrers(found.digest):
            yield each
            yield from _copied(images, each, folder)


def _write(folder: Path, what: Descriptor, pieces: Iterable[bytes]) -> None:
    file = _file(folder, what.digest)
    if file.exists():
        return
    file.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with file.open("wb") as stream:
        for piece in pieces:
            size += len(piece)
            if size > what.size:  # whoever sends without end must not fill the disk
                break
            stream.write(piece)
    if size != what.size:
        raise InputError(f"it has {size:,} bytes", where=what.digest, expected=f"{what.size:,} bytes, as its descriptor says")


def _file(folder: Path, digest: str) -> Path:
    if not re.fullmatch(oci.DIGEST, digest):
        raise InputError(f"{digest[:80]!r} is no digest", where=str(folder), expected="sha256: and 64 of 0-9 and a-f")
    return folder / "blobs" / "sha256" / digest.partition(":")[2]

"""Reads an image and what lies beside it, and walks the chain from the image back to the data.

Nothing that is read is trusted before its digest or its signature was checked: a registry can hold, and serve, anything.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metricgate.errors import ExitCode, InputError, UsageError
from metricgate.release import bundles, chain, oci, stated, statements
from metricgate.release.bundles import Verifier
from metricgate.release.chain import Chain, Link, Seen
from metricgate.release.images import Images
from metricgate.release.oci import Descriptor, Index, Manifest
from metricgate.release.stated import Stated
from metricgate.report import plain
from metricgate.train import digest

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SCHEMA = "metricgate.verification/1"
FOLDER = "model/"

_LARGEST = 64_000_000  # a bill of materials with some ten thousand packages
_MOST = 1_000
_CHUNK = 1 << 20
_SHOWN = 400
_BUNDLE = "application/vnd.dev.sigstore.bundle"
_NOT_TO_RUN = ("vnd.docker.reference.type", "attestation-manifest")


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found out.

    Attributes:
        reference: What was asked for.
        digest: What it leads to.
        signed_by: Whose signatures count.
        chains: One for each image: several where it is built for several platforms.
    """

    reference: str
    digest: str
    signed_by: str
    chains: tuple[Chain, ...]

    @property
    def first(self) -> tuple[Chain, Link] | None:
        """The first link that does not hold, and its chain."""
        return next(((each, each.first) for each in self.chains if each.first), None)

    @property
    def exit_code(self) -> ExitCode:
        """0 where every link holds; 4 where the image can't be compared with what it claims."""
        return ExitCode.NOT_COMPARABLE if self.first else ExitCode.PASSED

    @property
    def headline(self) -> str:
        """The outcome in one line."""
        if self.first is None:
            return f"{self.reference} is what it claims to be: every link of the chain holds"
        found, link = self.first
        where = f" ({found.platform})" if found.platform else ""
        return f"{self.reference}{where} is not proven: {link.name} is {link.state}: {link.says}"

    def to_text(self) -> str:
        """For a person."""
        rows = [("digest", self.digest), ("signed by", self.signed_by)]
        for each in self.chains:
            rows += [("platform", f"{each.platform} {each.image}")] if each.platform else []
            rows += [(link.name, f"{link.state:<8} {link.says}") for link in each.links]
            rows += [("note", note) for note in each.notes]
        return "\n".join([self.headline, *(f"  {name:<11} {value}" for name, value in rows)]) + "\n"

    def to_json(self) -> str:
        """The document that ``--json`` prints."""
        document = {
            "schema": SCHEMA,
            "reference": self.reference,
            "digest": self.digest,
            "verified": self.first is None,
            "exit_code": int(self.exit_code),
            "headline": self.headline,
            "signed_by": self.signed_by,
            "images": [_shown(each) for each in self.chains],
        }
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def verify(
    images: Images,
    reference: str,
    *,
    verifier: Verifier,
    model: Path | None = None,
    repository: str | None = None,
    files: Mapping[str, str] | None = None,
) -> Verification:
    """Walk the chain of an image.

    Args:
        images: Where it is.
        reference: Its tag or digest there.
        verifier: Whose signatures count.
        model: A file or folder that has to be the model in the image.
        repository: Where the signatures say that they were made; None where they don't say.
        files: The files of the model (relative name and digest) for whoever has just pushed the image: its layers are not
            read again then.

    Raises:
        UsageError: There is no such image.
        StageError: The registry can't be reached.
    """
    found = images.resolve(reference)
    if found is None:
        raise UsageError(
            "there is no such image", where=f"{images.name}:{reference}", expected="a tag or a digest that is there"
        )
    expected = digest.of_path(model) if model else None
    walker = _Walker(images, verifier, model=expected, repository=repository, files=files)
    chains = tuple(walker.chains(found))
    if not chains:
        chains = (Chain(image=found.digest, links=(Link("image", "missing", "the index lists no image"),)),)
    return Verification(
        reference=plain.text(_full(images.name, reference)),
        digest=found.digest,
        signed_by=verifier.who,
        chains=tuple(map(_plain, chains)),
    )


def files_of(layer: Iterator[bytes]) -> dict[str, str]:
    """The files of the model in a layer: relative name and digest.

    Args:
        layer: The blob: a tar, compressed or not.

    Raises:
        InputError: It holds something else, or is no tar, or not the blob that it is named by.
    """
    found: dict[str, str] = {}
    stream = io.BufferedReader(_Chunks(layer), _CHUNK)
    try:
        with tarfile.open(fileobj=stream, mode="r|*", bufsize=_CHUNK) as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.isdir() and (name + "/").startswith(FOLDER):
                    continue
                if not member.isreg() or not name.startswith(FOLDER) or name in found or ".." in name.split("/"):
                    raise InputError(f"it holds {plain.text(member.name)!r}", expected=f"files under {FOLDER}, each once")
                found[name] = _hash(tar, member)
        while stream.read(_CHUNK):  # only behind the last byte the digest of the blob is known
            pass
    except (tarfile.TarError, zlib.error, EOFError, ValueError, OSError) as error:
        raise InputError(f"it can't be read: {error}", expected="a tar") from None
    return {name.removeprefix(FOLDER): value for name, value in found.items()}


@dataclass(frozen=True)
class _Walker:
    images: Images
    verifier: Verifier
    model: str | None
    repository: str | None
    files: Mapping[str, str] | None

    def chains(self, found: Descriptor) -> Iterator[Chain]:
        try:
            manifest = _manifest(self.images, found)
        except InputError as error:
            yield Chain(image=found.digest, links=(Link("image", "broken", _says("the manifest", error)),))
            return
        if isinstance(manifest, Manifest):
            yield self._chain(found, manifest)
            return
        for each in manifest.manifests:
            if each.annotations.get(_NOT_TO_RUN[0]) != _NOT_TO_RUN[1]:
                yield from (replace(one, platform=_platform(each)) for one in self.chains(each))

    def _chain(self, found: Descriptor, manifest: Manifest) -> Chain:
        seen = self._seen(found, manifest)
        walked = chain.judge(seen, tuple(_stated(self.images, found.digest, self.verifier)), repository=self.repository)
        if self.model is None or self.model in stated.model_digests(seen.files):
            return walked
        links = (replace(link, state="broken", says=_OTHER_MODEL) if link.name == "model" else link for link in walked.links)
        return replace(walked, links=tuple(links))

    def _seen(self, found: Descriptor, manifest: Manifest) -> Seen:
        damaged: list[str] = []
        labels: dict[str, str] | None = None
        try:
            config = json.loads(_read(self.images, manifest.config)).get("config") or {}
            labels = {str(key): str(value) for key, value in (config.get("Labels") or {}).items()}
        except (InputError, ValueError, AttributeError, RecursionError) as error:
            damaged.append(_says("the configuration", error))
        if self.files is not None:
            return Seen(digest=found.digest, labels=labels, files=self.files, damaged=tuple(damaged))
        damaged.extend(problem for layer in manifest.layers[:-1] if (problem := _damage(self.images, layer)))
        files: dict[str, str] = {}
        model_damaged = ""
        try:
            files = files_of(self.images.blob(manifest.layers[-1].digest)) if manifest.layers else {}
        except InputError as error:
            model_damaged = _says("the last layer, which should be the model,", error)
        return Seen(digest=found.digest, labels=labels, files=files, damaged=tuple(damaged), model_damaged=model_damaged)


def _stated(images: Images, subject: str, verifier: Verifier) -> Iterator[Stated]:
    try:
        referrers = sorted(images.referrers(subject), key=lambda each: each.digest)
    except InputError as error:
        yield Stated(kind="", document={}, problem=_says("the list of what lies beside the image", error))
        return
    for each in referrers[:_MOST]:
        if not (each.artifact_type or "").startswith(_BUNDLE):
            continue
        try:
            yield read(_bundle(images, each), verifier)
        except InputError as error:
            yield Stated(kind="", document={}, problem=_says("a bundle", error))
    if len(referrers) > _MOST:
        yield Stated(kind="", document={}, problem=f"{len(referrers) - _MOST} more that were not read")


def _bundle(images: Images, referrer: Descriptor) -> bytes:
    manifest = _manifest(images, referrer)
    if not isinstance(manifest, Manifest) or len(manifest.layers) != 1:
        raise InputError("it is no artifact with one signed statement", expected=bundles.MEDIA_TYPE)
    return _read(images, manifest.layers[0])


def read(bundle: bytes, verifier: Verifier) -> Stated:
    """A signed statement, or why it does not count.

    Args:
        bundle: A Sigstore bundle.
        verifier: Whose signatures count.
    """
    try:
        content = verifier.open(bundle)
        document = statements.check(content, where="the statement")
    except InputError as error:
        return Stated(kind=_claimed(bundle), document={}, problem=plain.text(error.found))
    return Stated(kind=stated.kind_of(document), digest=statements.digest_of(content), document=document)


def _claimed(bundle: bytes) -> str:
    """What a bundle says that it is about, if anybody signed it or not."""
    try:
        document = json.loads(bundles.payload(bundles.read(bundle)))
        return stated.kind_of(document) if isinstance(document, dict) else ""
    except (InputError, ValueError, RecursionError):
        return ""


def _manifest(images: Images, wanted: Descriptor) -> Manifest | Index:
    _, content = images.manifest(wanted.digest)
    if oci.digest_of(content) != wanted.digest:
        raise InputError(f"its digest is {oci.digest_of(content)}", expected=wanted.digest)
    return oci.read_manifest(content, where=wanted.digest)


def _read(images: Images, wanted: Descriptor) -> bytes:
    found = bytearray()
    for chunk in images.blob(wanted.digest):
        found += chunk
        if len(found) > _LARGEST:
            raise InputError(f"it has more than {_LARGEST:,} bytes", where=wanted.digest)
    return bytes(found)


def _damage(images: Images, layer: Descriptor) -> str:
    try:
        for _ in images.blob(layer.digest):
            pass
    except InputError as error:
        return _says(f"the layer {stated.short(layer.digest)}", error)
    return ""


class _Chunks(io.RawIOBase):
    """The chunks of a blob as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        target = memoryview(buffer)
        while not self._rest and (chunk := next(self._chunks, None)) is not None:
            self._rest = memoryview(chunk)
        size = min(len(target), len(self._rest))
        target[:size], self._rest = self._rest[:size], self._rest[size:]
        return size


def _hash(tar: tarfile.TarFile, member: tarfile.TarInfo) -> str:
    total = hashlib.sha256()
    content = tar.extractfile(member)
    while content is not None and (chunk := content.read(_CHUNK)):
        total.update(chunk)
    return digest.PREFIX + total.hexdigest()


_OTHER_MODEL = "the model that was given is not the one in the image"


def _says(what: str, error: Exception) -> str:
    return plain.text(f"{what} is damaged: {error.found if isinstance(error, InputError) else error}", limit=_SHOWN)


def _platform(found: Descriptor) -> str:
    platform = found.platform
    parts = (platform.os, platform.architecture, platform.variant) if platform else ()
    return plain.text("/".join(part for part in parts if part)) or "unknown"


def _full(name: str, reference: str) -> str:
    return f"{name}@{reference}" if reference.startswith(digest.PREFIX) else f"{name}:{reference}"


def _plain(found: Chain) -> Chain:
    """The same without what would do something to a terminal: labels and names come from others."""
    links = tuple(replace(link, says=plain.text(link.says, limit=_SHOWN)) for link in found.links)
    return replace(found, links=links, notes=tuple(plain.text(note, limit=_SHOWN) for note in found.notes))


def _shown(found: Chain) -> dict[str, Any]:
    links: Sequence[dict[str, str]] = [{"link": each.name, "state": each.state, "says": each.says} for each in found.links]
    return {"digest": found.image, "platform": found.platform or None, "links": links, "notes": found.notes}

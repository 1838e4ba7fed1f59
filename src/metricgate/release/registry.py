"""One repository of a registry: what is in it, and how something gets into it.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md. Pushing the same thing again does nothing, so whatever
failed can be run again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pydantic
import requests
from urllib3.exceptions import HTTPError

from metricgate.errors import InputError, UsageError
from metricgate.release import address, oci, referrers, uploads
from metricgate.release.connection import BrokenError, Connection
from metricgate.release.oci import Descriptor
from metricgate.release.patience import Patience
from metricgate.release.refusal import RegistryError
from metricgate.release.uploads import Progress, Source

CHUNK = 1 << 20

_REFERENCE = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9._-]{{0,127}}|{oci.DIGEST}")
_SIZE = re.compile(r"[0-9]{1,18}")
_ACCEPT = {"Accept": ", ".join(oci.READABLE)}
_NO_REFERRERS = (400, 404, 405, 406, 501)
_EMPTY = b"{}"


Piece = tuple[bytes, Mapping[str, str]]


class _Tags(pydantic.BaseModel):
    tags: list[str] | None = None


@dataclass(frozen=True)
class Registry:
    """One repository of a registry.

    Attributes:
        connection: How it is reached.
    """

    connection: Connection

    @classmethod
    def connect(cls, image: str, *, environ: Mapping[str, str], patience: Patience | None = None) -> Registry:
        """The repository of an image. Nothing is asked yet.

        Args:
            image: Its name without a tag: ``ghcr.io/acme/model``, ``localhost:5000/model``; Docker Hub's need no host.
            environ: The environment: logins (see ``credentials``), and which certificates to trust.
            patience: How long to go on when the registry does not answer as it should.

        Raises:
            UsageError: That is no image's name.
        """
        host, repository = address.of_image(image)
        return cls(Connection(host, repository, environ, patience or Patience()))

    @property
    def name(self) -> str:
        """``ghcr.io/acme/model``."""
        return f"{self.connection.host}/{self.connection.repository}"

    def tags(self) -> tuple[str, ...]:
        """All tags; none where there is no such repository yet.

        Raises:
            RegistryError: The registry does not say.
        """
        doing, url = "list the tags", self.connection.url("tags/list?n=1000")
        found: dict[str, None] = {}
        seen: set[str] = set()
        while url not in seen:
            seen.add(url)
            content, answer = self._read("GET", url, doing=doing, expected=(200, 404))
            if answer.status_code == 404:
                break
            try:
                found.update(dict.fromkeys(_Tags.model_validate_json(content).tags or ()))
            except pydantic.ValidationError:
                raise self._nonsense(doing) from None
            following = answer.links.get("next", {}).get("url")
            if not following:
                break
            url = self.connection.onward(following, url)
        return tuple(found)

    def resolve(self, reference: str) -> Descriptor | None:
        """What a tag or digest stands for; None where there is no such thing.

        Raises:
            UsageError: That is no tag and no digest.
            RegistryError: The registry does not say.
        """
        url, doing = self._manifest_url(reference), f"look up {reference}"
        answer = self.connection.ask("HEAD", url, doing=doing, expected=(200, 404), headers=_ACCEPT)
        answer.close()
        if answer.status_code == 404:
            return None
        reported, size = answer.headers.get("Docker-Content-Digest", ""), answer.headers.get("Content-Length", "")
        kind = _kind(answer)
        if not (re.fullmatch(oci.DIGEST, reported) and _SIZE.fullmatch(size) and kind in oci.READABLE):
            found = self.find(reference)
            return None if found is None else found[0]
        if reference.startswith("sha256:") and reported != reference:
            raise uploads.other_digest(self.connection, reported, expected=reference)
        return Descriptor(media_type=kind, digest=reported, size=int(size))

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """The manifest behind a tag or digest, checked against its digest.

        Raises:
            UsageError: That is no tag and no digest.
            InputError: There is none, or it is not what its digest says.
            RegistryError: The registry does not give it.
        """
        found = self.find(reference)
        if found is None:
            raise InputError("there is no such manifest", where=f"{self.name}: {reference}")
        return found

    def find(self, reference: str) -> tuple[Descriptor, bytes] | None:
        """The same; None where there is none."""
        url, doing = self._manifest_url(reference), f"give the manifest {reference}"
        content, answer = self._read("GET", url, doing=doing, expected=(200, 404), headers=_ACCEPT)
        if answer.status_code == 404:
            return None
        digest = oci.digest_of(content)
        wanted = reference if reference.startswith("sha256:") else answer.headers.get("Docker-Content-Digest", digest)
        if digest != wanted:
            raise InputError(f"the manifest has the digest {digest}", where=f"{self.name}: {reference}", expected=wanted)
        kind = _kind(answer)
        if kind not in oci.READABLE:
            kind = oci.read_manifest(content, where=f"{self.name}: {reference}").media_type
        return Descriptor(media_type=kind, digest=digest, size=len(content)), content

    def blob(self, digest: str) -> Iterator[bytes]:
        """A blob in pieces; after the last one its digest is checked. A broken download is gone on with.

        Raises:
            InputError: There is none, or it is not what its digest says.
            RegistryError: The registry does not give it.
        """
        where, total, position, attempt = f"{self.name}@{digest}", hashlib.sha256(), 0, 0
        while True:
            try:
                for chunk in self._rest(digest, position):
                    total.update(chunk)
                    position += len(chunk)
                    attempt = 0
                    yield chunk
                break
            except BrokenError as broken:
                attempt += 1
                if not self.connection.patience.wait(attempt, asked=broken.asked):
                    raise self.connection.given_up(broken, doing=f"give the blob {digest}") from None
        if f"sha256:{total.hexdigest()}" != digest:
            raise InputError(f"the blob has the digest sha256:{total.hexdigest()}", where=where, expected=digest)

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        """The manifests that name this one as their subject.

        Raises:
            InputError: The registry's list is none.
            RegistryError: The registry does not say.
        """
        doing, url = f"list what refers to {digest}", self.connection.url(f"referrers/{digest}")
        found: dict[str, Descriptor] = {}
        seen: set[str] = set()
        while url not in seen:
            seen.add(url)
            expected = (200, *_NO_REFERRERS)
            content, answer = self._read("GET", url, doing=doing, expected=expected, headers={"Accept": oci.INDEX})
            if answer.status_code != 200 or _kind(answer) != oci.INDEX:
                return referrers.listed(self, digest)
            found.update({each.digest: each for each in oci.read_index(content, where=self.name).manifests})
            following = answer.links.get("next", {}).get("url")
            if not following:
                break
            url = self.connection.onward(following, url)
        return tuple(found.values())

    def has_blob(self, digest: str) -> bool:
        """Whether a blob is there.

        Raises:
            RegistryError: The registry does not say, or says something else about it.
        """
        return uploads.is_there(self.connection, digest, doing=f"look up the blob {digest}")

    def push_blob(self, descriptor: Descriptor, source: Source, *, progress: Progress | None = None) -> bool:
        """Put a blob into the repository.

        Args:
            descriptor: What it is.
            source: Gives its bytes, from the start each time.
            progress: Is told how many of its bytes were sent; the number falls where the registry lost some.

        Returns:
            False if it was there already.

        Raises:
            InputError: The bytes are not those of the digest.
            RegistryError: The registry does not take it.
        """
        if self.has_blob(descriptor.digest):
            return False
        uploads.push(self.connection, descriptor, source, progress or _ignore)
        return True

    def push_manifest(self, content: bytes, *, media_type: str, reference: str) -> Descriptor:
        """Put a manifest under a tag or its digest, and read it back.

        Args:
            content: Its bytes.
            media_type: What it is.
            reference: A tag, or the manifest's digest.

        Raises:
            UsageError: That is no tag, or another digest.
            RegistryError: The registry does not take it, or gives back something else.
        """
        return self._push_manifest(content, media_type=media_type, reference=reference)[0]

    def attach(self, subject: Descriptor, pieces: Sequence[Piece], *, artifact_type: str) -> tuple[Descriptor, ...]:
        """Put things beside a manifest that refer to it. What is there already is not put there again.

        Args:
            subject: The manifest.
            pieces: What to attach; each becomes the only layer of a manifest of its own, with annotations.
            artifact_type: What they are: their media type.

        Raises:
            RegistryError: The registry does not take one, or does not list it afterwards.
        """
        empty = Descriptor(media_type=oci.EMPTY, digest=oci.digest_of(_EMPTY), size=len(_EMPTY))
        there = {each.digest for each in self.referrers(subject.digest)}
        attached, unlisted = [], []
        for content, marks in pieces:
            layer = Descriptor(media_type=artifact_type, digest=oci.digest_of(content), size=len(content))
            manifest = referrers.manifest(subject, layer, config=empty, annotations=marks)
            found = referrers.descriptor(manifest, where=self.name)
            attached.append(found)
            if found.digest in there:
                continue
            self.push_blob(empty, lambda: (_EMPTY,))
            self.push_blob(layer, partial(tuple, (content,)))
            _, known = self._push_manifest(manifest, media_type=oci.MANIFEST, reference=found.digest)
            if known != subject.digest:
                unlisted.append(found)
        if unlisted:
            referrers.add(self, subject.digest, unlisted, patience=self.connection.patience)
        listed = {each.digest for each in self.referrers(subject.digest)}
        for found in attached:
            if found.digest not in listed:
                raise self._nonsense(f"list {found.digest}, which refers to {subject.digest}")
        return tuple(attached)

    def close(self) -> None:
        """Close what is open."""
        self.connection.close()

    def _push_manifest(self, content: bytes, *, media_type: str, reference: str) -> tuple[Descriptor, str | None]:
        """As ``push_manifest``; and the subject, where the registry keeps track of referrers itself."""
        url, digest = self._manifest_url(reference), oci.digest_of(content)
        if reference.startswith("sha256:") and reference != digest:
            raise UsageError(f"the manifest has the digest {digest}", expected=reference)
        doing, headers = f"take the manifest {reference}", {"Content-Type": media_type}
        _, answer = self._read("PUT", url, doing=doing, expected=(201,), headers=headers, body=content)
        reported = answer.headers.get("Docker-Content-Digest", digest)
        back = self.find(digest)
        if reported != digest or back is None or back[1] != content:
            raise uploads.other_digest(self.connection, reported if back else "missing", expected=digest)
        return Descriptor(media_type=media_type, digest=digest, size=len(content)), answer.headers.get("OCI-Subject")

    def _manifest_url(self, reference: str) -> str:
        if not _REFERENCE.fullmatch(reference):
            raise UsageError(f"{reference[:200]!r} is no tag and no digest", expected="1.2.3, latest, or sha256: and 64 digits")
        return self.connection.url(f"manifests/{reference}")

    def _read(
        self,
        method: str,
        url: str,
        *,
        doing: str,
        expected: tuple[int, ...],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
    ) -> tuple[bytes, requests.Response]:
        """Ask for a document, and read it whole; again where the connection breaks meanwhile."""
        attempt = 0
        while True:
            attempt += 1
            with self.connection.ask(method, url, doing=doing, expected=expected, headers=headers, body=body) as answer:
                try:
                    content = answer.raw.read(oci.MOST_BYTES + 1, decode_content=True) or b""
                except (HTTPError, OSError):
                    broken = BrokenError("broke the connection")
                    if not self.connection.patience.wait(attempt):
                        raise self.connection.given_up(broken, doing=doing) from None
                    continue
            if len(content) > oci.MOST_BYTES:
                raise self._nonsense(doing)
            return content, answer

    def _rest(self, digest: str, offset: int) -> Iterator[bytes]:
        """A blob from an offset on."""
        if not re.fullmatch(oci.DIGEST, digest):
            raise InputError(f"{digest[:80]!r} is no digest", where=self.name)
        url, headers = self.connection.url(f"blobs/{digest}"), {"Range": f"bytes={offset}-"} if offset else {}
        doing = f"give the blob {digest}"
        with self.connection.once("GET", url, doing=doing, expected=(200, 206, 404), headers=headers) as answer:
            if answer.status_code == 404:
                raise InputError("there is no such blob", where=f"{self.name}@{digest}")
            skip = offset if answer.status_code == 200 else 0
            try:
                for chunk in answer.raw.stream(CHUNK, decode_content=False):
                    if rest := chunk[skip:]:
                        yield rest
                    skip = max(0, skip - len(chunk))
            except (HTTPError, OSError):
                raise BrokenError("broke the connection") from None

    def _nonsense(self, doing: str) -> RegistryError:
        return RegistryError(
            f"{self.connection.host} could not {doing}: it answered what nobody can use", status=0, where=self.name
        )


def _kind(answer: requests.Response) -> str:
    return answer.headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _ignore(_: int) -> None:
    """Nobody wants to know."""

"""A blob's way into a registry: begun, sent in one go, closed with its digest; and gone on with where it broke.

https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pushing-blobs. All of it is one ``PATCH`` without a
range, as Docker sends it, since some registries limit the size of requests that have one; a range is given only for the rest of
an upload that broke.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import urllib.parse
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from metricgate.errors import InputError, MetricgateError
from metricgate.release import refusal
from metricgate.release.connection import BrokenError, Connection
from metricgate.release.oci import Descriptor
from metricgate.release.refusal import RegistryError

Source = Callable[[], Iterable[bytes]]
Progress = Callable[[int], None]

# The largest piece that is handed to the network at once, so that a slow line has a minute for each.
PIECE = 1 << 20
# Answers that mean: this upload is spoilt, another one may work.
_SPOILT = frozenset({400, 404, 409, 416})
_SENT = frozenset({201, 202, 204})
_RANGE = re.compile(r"(?:bytes=)?0-(?P<last>[0-9]{1,18})")


@dataclass(frozen=True)
class _Upload:
    """One that was begun: where, and how much of the blob the registry has."""

    location: str
    offset: int = 0


@dataclass(frozen=True)
class _Rest:
    """A blob's bytes from an offset on, in pieces. Its length is known, so the registry knows when something is missing."""

    blob: Descriptor
    source: Source
    offset: int
    progress: Progress

    def __len__(self) -> int:
        return self.blob.size - self.offset

    def __iter__(self) -> Iterator[memoryview]:
        position = 0
        for chunk in _chunks(self.blob, self.source):
            view = memoryview(chunk)[max(0, self.offset - position) :]
            position += len(chunk)
            if position > self.blob.size:
                raise _changed(self.blob, f"it has more than {self.blob.size:,} bytes")
            for start in range(0, len(view), PIECE):
                piece = view[start : start + PIECE]
                yield piece
                self.progress(position - len(view) + start + len(piece))
        if position < self.blob.size:
            raise _changed(self.blob, f"it has {position:,} bytes")


def push(connection: Connection, blob: Descriptor, source: Source, progress: Progress) -> None:
    """Send a blob.

    Args:
        connection: Where to.
        blob: What it is.
        source: Gives its bytes, from the start each time.
        progress: Is told how many of the blob's bytes were sent; the number falls where the registry lost some.

    Raises:
        InputError: The bytes are not those of the digest.
        RegistryError: The registry does not take it; says how much of it is there.
    """
    doing = f"take the blob {blob.digest}"
    upload: _Upload | None = None
    attempt = furthest = 0
    while True:
        attempt += 1
        try:
            upload = upload or _begin(connection, doing=doing)
            upload = _send(connection, upload, blob, source, progress, doing=doing)
            _close(connection, upload, blob, source, doing=doing)
        except BrokenError as broken:
            if not connection.patience.wait(attempt, asked=broken.asked):
                _cancel(connection, upload)
                raise connection.given_up(broken, doing=doing).saying(_NOTHING) from None
            if is_there(connection, blob.digest, doing=doing):
                return
            spoilt = broken.answer is not None and broken.answer.status in _SPOILT
            upload = None if spoilt else _found_again(connection, upload, blob, doing=doing)
            if upload and upload.offset > furthest:
                attempt, furthest = 0, upload.offset
        except RegistryError as error:
            _cancel(connection, upload)
            raise error.saying(_NOTHING) from None
        except MetricgateError:
            _cancel(connection, upload)
            raise
        else:
            return


_NOTHING = "this blob is not there; those before it are, and will not be sent again"


def is_there(connection: Connection, digest: str, *, doing: str) -> bool:
    """Whether the registry has a blob.

    Raises:
        RegistryError: It does not say, or says something else about it.
    """
    # A redirect to a storage is a yes; that storage may not answer HEAD.
    expected = (200, 301, 302, 303, 307, 308, 404)
    answer = connection.ask("HEAD", connection.url(f"blobs/{digest}"), doing=doing, expected=expected)
    answer.close()
    reported = answer.headers.get("Docker-Content-Digest")
    if answer.status_code == 200 and reported not in {None, digest}:
        raise other_digest(connection, reported or "", expected=digest)
    return answer.status_code != 404


def other_digest(connection: Connection, reported: str, *, expected: str) -> RegistryError:
    """The registry says that something has another digest than it has."""
    return RegistryError(
        f"{connection.host} says that the digest of {expected} is {reported[:100]!r}",
        status=0,
        where=f"{connection.host}/{connection.repository}",
        fix="do not use what is there; ask whoever runs the registry",
    )


def _begin(connection: Connection, *, doing: str) -> _Upload:
    url = connection.url("blobs/uploads/")
    with connection.once("POST", url, doing=doing, expected=(202,), body=b"", headers={"Content-Length": "0"}) as answer:
        return _Upload(connection.location(answer, url))


def _send(
    connection: Connection, upload: _Upload, blob: Descriptor, source: Source, progress: Progress, *, doing: str
) -> _Upload:
    """Send what is missing."""
    if upload.offset == blob.size:
        return upload
    headers = {"Content-Type": "application/octet-stream"}
    if upload.offset:
        headers["Content-Range"] = f"{upload.offset}-{blob.size - 1}"
    body = _Rest(blob, source, upload.offset, progress)
    answer = connection.once("PATCH", upload.location, doing=doing, expected=_SENT | _SPOILT, headers=headers, body=body)
    with answer:
        if answer.status_code in _SPOILT:
            raise BrokenError("would not go on", answer=refusal.read(answer))
        location = connection.location(answer, upload.location) if "Location" in answer.headers else upload.location
    return _Upload(location, blob.size)


def _close(connection: Connection, upload: _Upload, blob: Descriptor, source: Source, *, doing: str) -> None:
    """Give an upload its digest, and see that the registry agrees."""
    parts = urllib.parse.urlsplit(upload.location)
    query = "&".join(filter(None, (parts.query, urllib.parse.urlencode({"digest": blob.digest}))))
    url = urllib.parse.urlunsplit(parts._replace(query=query))
    headers = {"Content-Type": "application/octet-stream", "Content-Length": "0"}
    with connection.once("PUT", url, doing=doing, expected=_SENT | _SPOILT, headers=headers, body=b"") as answer:
        if answer.status_code in _SPOILT:
            # Not at every upload: reading it all again takes as long as sending it.
            if answer.status_code == 400 and (found := _digest(blob, source)) != blob.digest:
                raise _changed(blob, f"its digest is {found}")
            raise BrokenError("would not go on", answer=refusal.read(answer))
        reported = answer.headers.get("Docker-Content-Digest", blob.digest)
    if reported != blob.digest:
        raise other_digest(connection, reported, expected=blob.digest)
    if not is_there(connection, blob.digest, doing=doing):
        raise BrokenError("took the blob and does not have it")


def _found_again(connection: Connection, upload: _Upload | None, blob: Descriptor, *, doing: str) -> _Upload | None:
    """A broken upload, with what the registry has of it now; None where it has to be begun again."""
    if upload is None:
        return None
    try:
        answer = connection.once("GET", upload.location, doing=doing, expected=(204,))
    except (BrokenError, RegistryError):
        return None
    answer.close()
    match = _RANGE.fullmatch(answer.headers.get("Range", ""))
    # `0-0` may be one byte or none. Where all of it was sent and only its end is missing, that end can be asked for again.
    reported = int(match["last"]) + 1 if match else 0
    if not (max(1, upload.offset) < reported <= blob.size or reported == upload.offset == blob.size):
        return None
    location = connection.location(answer, upload.location) if "Location" in answer.headers else upload.location
    return _Upload(location, reported)


def _cancel(connection: Connection, upload: _Upload | None) -> None:
    """Free the room that a broken upload takes, where the registry lets us."""
    if upload is not None:
        with contextlib.suppress(BrokenError, RegistryError):
            connection.once("DELETE", upload.location, doing="drop what was sent", expected=(202, 204)).close()


def _chunks(blob: Descriptor, source: Source) -> Iterator[bytes]:
    try:
        yield from source()
    except OSError as error:
        # Must not look like a broken connection.
        raise InputError(f"it can't be read: {error.strerror or type(error).__name__}", where=blob.digest) from error


def _digest(blob: Descriptor, source: Source) -> str:
    total = hashlib.sha256()
    for chunk in _chunks(blob, source):
        total.update(chunk)
    return f"sha256:{total.hexdigest()}"


def _changed(blob: Descriptor, found: str) -> InputError:
    return InputError(
        f"the blob is not what it was: {found}",
        where=blob.digest,
        expected=f"{blob.size:,} bytes with this digest",
        fix="something changed the files while they were read; run the same command again",
    )

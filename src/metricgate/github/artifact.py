"""A run's artifacts as GitHub keeps them: found by name, and downloaded within limits."""

from __future__ import annotations

import hashlib
import itertools
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate.errors import StageError
from metricgate.github.archive import ArtifactError, Limits
from metricgate.report import plain

if TYPE_CHECKING:
    import requests
    from github.Repository import Repository as Handle

    from metricgate.github.api import Repository

ATTEMPTS = 3
SECONDS = 300.0
NEEDS = "actions: read"
_CHUNK = 1 << 16
_MOST_LISTED = 300


@dataclass(frozen=True, slots=True)
class Stored:
    """An artifact that GitHub keeps.

    Attributes:
        name: What it is called.
        id: GitHub's number for it.
        url: Where the API gives it out.
        size: Its bytes, as GitHub counted them.
        digest: ``sha256:<hex>`` of the archive, where GitHub says it.
    """

    name: str
    id: int
    url: str
    size: int
    digest: str | None = None


def find(repository: Repository, run_id: int, name: str) -> Stored | None:
    """A workflow run's newest artifact of a name; None where there is none, or it has expired.

    Raises:
        GitHubError: GitHub did not say.
    """
    from github.Artifact import Artifact
    from github.PaginatedList import PaginatedList

    def listed(handle: Handle) -> list[Stored]:
        url = f"{handle.url}/actions/runs/{run_id}/artifacts"
        pages: PaginatedList[Artifact] = PaginatedList(Artifact, handle.requester, url, {"name": name}, list_item="artifacts")
        return [
            Stored(kept.name, kept.id, kept.archive_download_url, kept.size_in_bytes, kept.digest)
            for kept in itertools.islice(pages, _MOST_LISTED)
            if kept.name == name and not kept.expired
        ]

    # An attempt that was run again leaves its artifacts beside the new ones.
    found = repository.ask(listed, doing=f"list the artifacts of run {run_id}", needs=NEEDS)
    return max(found, key=lambda kept: kept.id, default=None)


def download(
    repository: Repository, stored: Stored, into: Path, *, limits: Limits | None = None, seconds: float = SECONDS
) -> Path:
    """Fetch an artifact's archive into a file.

    The API answers with a redirect to a storage service. That one is asked without the token, and its address, which is a
    secret for a minute, is never shown.

    Args:
        repository: The repository that the artifact belongs to.
        stored: Which artifact.
        into: A folder.
        limits: How large it may be.
        seconds: How long one attempt may take, from the first to the last byte.

    Raises:
        ArtifactError: It is too large, or not what GitHub says it is.
        StageError: It can't be had.
        GitHubError: GitHub would not say where it is.
    """
    limits = limits or Limits()
    if stored.size > limits.archive_bytes:
        raise _too_large(stored.name, stored.size, limits.archive_bytes)
    file = into / f"{stored.id}.zip"
    for attempt in range(1, ATTEMPTS + 1):
        try:
            digest = _fetch(_location(repository, stored), file, name=stored.name, most=limits.archive_bytes, seconds=seconds)
        except _InterruptedError as error:
            if attempt == ATTEMPTS:
                raise StageError(
                    f"the artifact `{plain.text(stored.name)}` could not be downloaded: {error}",
                    fix="run the workflow again; if it happens again, look at https://www.githubstatus.com",
                ) from None
            continue
        break
    if stored.digest and stored.digest.startswith("sha256:") and stored.digest != f"sha256:{digest}":
        raise ArtifactError(
            "the archive has another digest than GitHub says", where=plain.text(stored.name), fix="run the workflow again"
        )
    return file


class _InterruptedError(Exception):
    """A download did not come to its end; another attempt may."""


def _location(repository: Repository, stored: Stored) -> str:
    """Where the storage service has the archive, for a minute."""

    def redirect(handle: Handle) -> tuple[str, str]:
        headers, _ = handle.requester.requestJsonAndCheck("GET", stored.url)
        return str(headers.get("location", "")), handle.requester.base_url

    doing = f"download the artifact `{plain.text(stored.name)}`"
    location, api_url = repository.ask(redirect, doing=doing, needs=NEEDS)
    # Whoever answers in GitHub's place could only send us to a place that is less safe than GitHub.
    if urllib.parse.urlsplit(location).scheme not in {"https", urllib.parse.urlsplit(api_url).scheme}:
        raise StageError(f"GitHub did not say where to {doing}", fix="run the workflow again")
    return location


def _fetch(location: str, file: Path, *, name: str, most: int, seconds: float) -> str:
    """Write what is there into a file; return its SHA-256."""
    import requests

    digest = hashlib.sha256()
    size = 0
    try:
        with requests.Session() as session:
            session.auth = _nobody
            with session.get(location, stream=True, timeout=(10, 30), allow_redirects=False) as answer:
                if answer.status_code != 200:
                    raise _InterruptedError(f"the storage service answered {answer.status_code}")
                with file.open("wb") as target:
                    for chunk in _until(time.monotonic() + seconds, answer.iter_content(_CHUNK)):
                        size += len(chunk)
                        if size > most:
                            raise _too_large(name, size, most)
                        digest.update(chunk)
                        target.write(chunk)
                expected = answer.headers.get("Content-Length", "")
    except requests.RequestException as error:
        # Its text has the address.
        raise _InterruptedError(f"the connection failed ({type(error).__name__})") from None
    if expected.isdecimal() and int(expected) != size:
        raise _InterruptedError(f"{size:,} of {int(expected):,} bytes arrived")
    return digest.hexdigest()


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """No credentials: without this, ``requests`` would look for some in ~/.netrc."""
    return request


def _until(deadline: float, chunks: Iterator[bytes]) -> Iterator[bytes]:
    for chunk in chunks:
        if time.monotonic() > deadline:
            raise _InterruptedError("it took too long")
        yield chunk


def _too_large(name: str, size: int, most: int) -> ArtifactError:
    return ArtifactError(
        f"the archive has {size:,} bytes",
        where=plain.text(name),
        expected=f"at most {most:,}",
        fix="keep models, checkpoints and plots out of the run folder",
    )

"""A registry in memory that does all that the OCI distribution specification 1.1 describes and Debian's docker-registry lacks.

It goes on with a broken upload, lists referrers, and gives its lists in pages.
https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import urllib.parse
from collections.abc import Callable, Sequence
from typing import Any

from tests import http_servers

HOST = "127.0.0.1"
_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs/uploads|blobs|manifests|tags|referrers)/(?P<what>[^/]*)")
_PIECE = 1 << 16


class SpecRegistry:
    """Such a registry.

    Attributes:
        blobs: By digest.
        manifests: By digest: what it is, and its bytes.
        tags: What each stands for.
        uploads: What came of those that were begun and not ended.
        page: How many entries a page of a list has.
    """

    def __init__(self, *, page: int = 1000) -> None:
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.tags: dict[str, str] = {}
        self.uploads: dict[str, bytearray] = {}
        self.page = page
        self.lock = threading.RLock()
        owner = self

        class Handler(_Handler):
            registry = owner

        self._server = http_servers.Server((HOST, 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> SpecRegistry:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def name(self) -> str:
        """Its host and port."""
        return f"{HOST}:{self._server.server_address[1]}"

    def referrers(self, digest: str) -> list[dict[str, Any]]:
        """The descriptors of what names a digest as its subject."""
        found = []
        for own, (kind, content) in self.manifests.items():
            document = json.loads(content)
            if (document.get("subject") or {}).get("digest") == digest:
                known = {"artifactType": document.get("artifactType"), "annotations": document.get("annotations", {})}
                found.append({"mediaType": kind, "digest": own, "size": len(content), **known})
        return found


class _Handler(http_servers.Handler):
    registry: SpecRegistry

    def _serve(self) -> None:
        parts = urllib.parse.urlsplit(self.path)
        match = _PATH.fullmatch(parts.path)
        if match is None:
            self._say(200 if parts.path == "/v2/" else 404)
            return
        self._query = dict(urllib.parse.parse_qsl(parts.query))
        serve: dict[str, Callable[[str], None]] = {
            "blobs/uploads": self._upload,
            "blobs": self._blob,
            "manifests": self._manifest,
            "tags": self._tags,
            "referrers": self._referrers,
        }
        serve[match["kind"]](match["what"])

    def _upload(self, name: str) -> None:
        registry = self.registry
        if self.command == "POST":
            name = str(len(registry.uploads) + 1)
            registry.uploads[name] = bytearray()
            self._say(202, Location=f"{self.path}{name}")
            return
        received = registry.uploads.get(name)
        if received is None:
            self._say(404)
        elif self.command == "GET":
            self._say(204, Location=self.path, Range=f"0-{max(0, len(received) - 1)}")
        elif self.command == "DELETE":
            del registry.uploads[name]
            self._say(204)
        elif not self.headers.get("Content-Range", f"{len(received)}-").startswith(f"{len(received)}-"):
            self._say(416)
        elif self._take(received):
            self._end(name, received) if self.command == "PUT" else self._say(202, Location=self.path)

    def _take(self, received: bytearray) -> bool:
        """Keep what comes, also where it breaks off."""
        left = int(self.headers.get("Content-Length", 0))
        while left and (piece := self.rfile.read1(min(left, _PIECE))):
            received += piece
            left -= len(piece)
        self.close_connection = bool(left)
        return not left

    def _end(self, name: str, received: bytearray) -> None:
        digest = f"sha256:{hashlib.sha256(received).hexdigest()}"
        if digest != self._query["digest"]:
            self._say(400)
            return
        self.registry.blobs[digest] = bytes(self.registry.uploads.pop(name))
        self._say(201, b"", **{"Docker-Content-Digest": digest})

    def _blob(self, digest: str) -> None:
        content = self.registry.blobs.get(digest)
        if content is None:
            self._say(404)
            return
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self._say(206 if first else 200, content[first:])

    def _manifest(self, reference: str) -> None:
        registry = self.registry
        if self.command == "PUT":
            content = self.rfile.read(int(self.headers["Content-Length"]))
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            with registry.lock:
                registry.manifests[digest] = (self.headers["Content-Type"], content)
                if reference != digest:
                    registry.tags[reference] = digest
            subject = json.loads(content).get("subject")
            self._say(201, b"", **({"OCI-Subject": subject["digest"]} if subject else {}))
            return
        digest = registry.tags.get(reference, reference)
        if digest not in registry.manifests:
            self._say(404)
            return
        kind, content = registry.manifests[digest]
        self._say(200, content, **{"Content-Type": kind, "Docker-Content-Digest": digest})

    def _tags(self, _: str) -> None:
        page, more = self._page(sorted(self.registry.tags))
        self._say(200, json.dumps({"tags": page}).encode(), **more)

    def _referrers(self, digest: str) -> None:
        with self.registry.lock:
            page, more = self._page(self.registry.referrers(digest))
        document = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": page}
        self._say(200, json.dumps(document).encode(), **more, **{"Content-Type": str(document["mediaType"])})

    def _page(self, entries: Sequence[object]) -> tuple[list[object], dict[str, str]]:
        start = int(self._query.get("from", 0))
        end = start + self.registry.page
        here = urllib.parse.urlsplit(self.path).path
        return list(entries[start:end]), {"Link": f'<{here}?from={end}>; rel="next"'} if end < len(entries) else {}

    def _say(self, status: int, content: bytes = b"", **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(content)

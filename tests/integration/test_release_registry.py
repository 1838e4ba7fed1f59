"""Pushing into real registries, with everything that may go wrong on the way, twice in a row, and then well again."""

from __future__ import annotations

import contextlib
import email.utils
import hashlib
import itertools
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from packaging.version import Version
from tests import registry_server
from tests.registry_server import Fault, Proxy
from tests.spec_registry import SpecRegistry

from metricgate.errors import InputError, MetricgateError, StageError, UsageError
from metricgate.release import names, oci, referrers, refusal, rules, tagging
from metricgate.release.names import Context, Names
from metricgate.release.oci import Descriptor
from metricgate.release.patience import Patience
from metricgate.release.refusal import RegistryError
from metricgate.release.registry import Registry

pytestmark = pytest.mark.registry

NAME = "acme/model"
KIND = "application/vnd.example.evidence+json"
CONTENT = b"weights " * 500_000
CUT = 1_500_000
OTHER = "sha256:" + "0" * 64


def blob(content: bytes) -> Descriptor:
    return Descriptor(media_type=oci.LAYER, digest=oci.digest_of(content), size=len(content))


def pieces(content: bytes) -> Callable[[], Iterator[bytes]]:
    return lambda: (content[at : at + 100_000] for at in range(0, len(content), 100_000))


def errors(code: str, message: str, **more: Any) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message, **more}]}).encode()


@dataclass
class Waits:
    """Notes how long somebody would have slept; far too often is an error."""

    waits: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.waits.append(seconds)
        assert len(self.waits) < 100, "somebody waits for ever"


@dataclass(frozen=True)
class Place:
    """A registry and what stands before it."""

    registry: registry_server.Registry
    proxy: Proxy
    waits: Waits = field(default_factory=Waits)

    def client(self, repository: str = NAME, **patience: Any) -> Registry:
        patience = {"backoff": 0.0, "settle": 0.0, "sleep": self.waits, **patience}
        return Registry.connect(f"{self.proxy.name}/{repository}", environ={}, patience=Patience(**patience))

    def fault(self, method: str, path: str, **what: Any) -> None:
        self.proxy.faults.append(Fault(method, path, **what))

    def sent(self, method: str) -> list[int]:
        return [seen.size for seen in self.proxy.seen if seen.method == method]

    def pushed(self, content: bytes = CONTENT, **patience: Any) -> bool:
        return self.client(**patience).push_blob(blob(content), pieces(content))


@pytest.fixture(scope="module")
def server() -> Iterator[registry_server.Registry]:
    with registry_server.started() as registry:
        yield registry


@pytest.fixture
def place(server: registry_server.Registry) -> Iterator[Place]:
    server.forget()
    with Proxy(server.name) as proxy:
        yield Place(server, proxy)


@pytest.fixture
def spec() -> Iterator[SpecRegistry]:
    with SpecRegistry(page=2) as registry:
        yield registry


@pytest.fixture
def before(spec: SpecRegistry) -> Iterator[Proxy]:
    with Proxy(spec.name) as proxy:
        yield proxy


def client(proxy: Proxy, **patience: Any) -> Registry:
    patience = {"backoff": 0.0, "settle": 0.0, "sleep": Waits(), **patience}
    return Registry.connect(f"{proxy.name}/{NAME}", environ={}, patience=Patience(**patience))


def put(registry: Registry, *references: str, says: str = "") -> Descriptor:
    """An image of its own, under tags."""
    config = json.dumps({"says": says}).encode()
    registry.push_blob(blob(config), pieces(config))
    at = {**blob(config).document(), "mediaType": oci.CONFIG}
    content = oci.to_json({"schemaVersion": 2, "mediaType": oci.MANIFEST, "config": at, "layers": []})
    pushed = registry.push_manifest(content, media_type=oci.MANIFEST, reference=oci.digest_of(content))
    for reference in references:
        registry.push_manifest(content, media_type=oci.MANIFEST, reference=reference)
    return pushed


# What is pushed is there, once.


def test_a_blob_is_there_whole_and_is_not_sent_again(place: Place) -> None:
    told: list[int] = []
    assert place.client().push_blob(blob(CONTENT), pieces(CONTENT), progress=told.append)
    assert place.registry.blob(blob(CONTENT).digest).read_bytes() == CONTENT
    assert (told[-1], sorted(told)) == (len(CONTENT), told)
    assert not place.pushed()
    assert place.proxy.received == len(CONTENT)
    assert place.registry.unfinished(NAME) == []


@pytest.mark.parametrize("content", [b"", b"x"])
def test_the_smallest_blobs_are_pushed_as_well(place: Place, content: bytes) -> None:
    assert place.pushed(content)
    assert b"".join(place.client().blob(blob(content).digest)) == content


@pytest.mark.parametrize("content", [CONTENT + b"x", CONTENT[:-1], CONTENT.replace(b"w", b"v", 1), b""])
def test_bytes_that_are_not_those_of_the_digest_are_refused_and_nothing_is_left(
    spec: SpecRegistry, before: Proxy, content: bytes
) -> None:
    with pytest.raises(InputError, match="the blob is not what it was"):
        client(before).push_blob(blob(CONTENT), pieces(content))
    assert (spec.blobs, spec.uploads) == ({}, {})


def test_bytes_that_are_not_those_of_the_digest_are_never_seen_in_a_real_registry(place: Place) -> None:
    for content in (CONTENT + b"x", CONTENT[:-1], CONTENT.replace(b"w", b"v", 1)):
        with pytest.raises(InputError, match="the blob is not what it was"):
            place.client().push_blob(blob(CONTENT), pieces(content))
        assert not place.client().has_blob(blob(CONTENT).digest)
        assert not place.client().has_blob(blob(content).digest)


def test_a_file_that_can_t_be_read_is_no_broken_connection(spec: SpecRegistry, before: Proxy, tmp_path: Path) -> None:
    def source() -> Iterable[bytes]:
        yield CONTENT[:CUT]
        yield (tmp_path / "gone").read_bytes()

    waits = Waits()
    with pytest.raises(InputError, match="No such file"):
        client(before, sleep=waits).push_blob(blob(CONTENT), source)
    assert waits.waits == []
    assert (spec.blobs, spec.uploads) == ({}, {})


def test_a_manifest_is_read_back_under_its_digest_and_its_tag(place: Place) -> None:
    found = put(place.client(), "1.0.0")
    registry = place.client()
    assert registry.resolve("1.0.0") == registry.resolve(found.digest) == found
    assert oci.digest_of(registry.manifest("1.0.0")[1]) == found.digest
    assert registry.tags() == ("1.0.0",)
    puts = [index for index, seen in enumerate(place.proxy.seen) if seen.method == "PUT" and "/manifests/" in seen.path]
    assert {place.proxy.seen[index + 1].path for index in puts} == {f"/v2/{NAME}/manifests/{found.digest}"}


def test_what_is_not_there_is_said_to_be_not_there(place: Place) -> None:
    registry = place.client()
    assert (registry.tags(), registry.resolve("latest"), registry.resolve(OTHER)) == ((), None, None)
    assert (registry.has_blob(OTHER), registry.referrers(OTHER)) == (False, ())
    with pytest.raises(InputError, match="no such manifest"):
        registry.manifest("latest")
    with pytest.raises(InputError, match="no such blob"):
        b"".join(registry.blob(OTHER))


@pytest.mark.parametrize("reference", ["", "../x", "a b", "sha256:abc", "-x", "x" * 129, "sha512:" + "0" * 128, "a/b", "a?b"])
def test_what_is_no_tag_is_not_asked_for(place: Place, reference: str) -> None:
    with pytest.raises(UsageError, match="is no tag and no digest"):
        place.client().resolve(reference)
    assert place.proxy.seen == []


@pytest.mark.parametrize(
    "image",
    [
        "",
        "Acme/model",
        "acme/model:1",
        f"acme/model@{OTHER}",
        "http://a.example/b",
        "a.io/",
        "a//b",
        "a.io:99999/b",
        "[::::]/b",
    ],
)
def test_what_is_no_image_s_name_is_refused(image: str) -> None:
    with pytest.raises(UsageError, match="is no image's name"):
        Registry.connect(image, environ={})


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("ghcr.io/acme/model", "ghcr.io/acme/model"),
        ("acme/model", "docker.io/acme/model"),
        ("debian", "docker.io/library/debian"),
        ("localhost/model", "localhost/model"),
        ("[::1]:5000/model", "[::1]:5000/model"),
    ],
)
def test_an_image_s_name_says_which_registry(image: str, name: str) -> None:
    assert Registry.connect(image, environ={}).name == name


# What goes wrong twice and then well.


@pytest.mark.parametrize(
    ("method", "path"),
    [("HEAD", "/blobs/sha256"), ("POST", "/uploads/"), ("PATCH", "/uploads/"), ("PUT", "/uploads/")],
)
@pytest.mark.parametrize(
    "fault",
    [
        {"status": 429, "headers": {"Retry-After": "0"}},
        {"status": 500},
        {"status": 503, "body": b"<html>busy</html>", "headers": {"Content-Type": "text/html"}},
        {"status": 500, "after": CUT},
        {"after": CUT},
        {"after": 0},
        {"after": None},
        {"status": 502, "after": None},
    ],
    ids=lambda fault: " ".join(f"{key}={value}" for key, value in fault.items() if key in {"status", "after"}),
)
def test_an_upload_that_breaks_twice_in_a_row_is_there_whole_in_the_end(
    place: Place, method: str, path: str, fault: dict[str, Any]
) -> None:
    place.fault(method, path, times=2, **fault)
    assert place.pushed()
    # Where only the answer to the end of it is lost, the blob is there and nothing is sent again.
    assert place.proxy.faults[0].times <= int(method == "PUT" and fault.get("after", 0) != 0)
    assert place.registry.blob(blob(CONTENT).digest).read_bytes() == CONTENT


@pytest.mark.parametrize("fault", [{"status": 503}, {"after": 0}])
def test_a_blob_whose_end_alone_breaks_twice_is_not_sent_again(place: Place, fault: dict[str, Any]) -> None:
    place.fault("PUT", "/uploads/", times=2, **fault)
    assert place.pushed()
    assert place.sent("PATCH") == [len(CONTENT)]
    assert place.registry.blob(blob(CONTENT).digest).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [500, None])
def test_a_registry_that_stays_broken_is_left_with_what_is_there_and_the_same_again_goes_on(
    place: Place, status: int | None
) -> None:
    place.fault("PATCH", "/uploads/", status=status, after=CUT, times=1000)
    for _ in range(2):
        with pytest.raises(RegistryError, match="this blob is not there; those before it are") as error:
            place.pushed(attempts=3)
        assert "it goes on where it stopped" in error.value.fix
        assert place.client().tags() == ()
        assert not place.client().has_blob(blob(CONTENT).digest)
    place.proxy.faults.clear()
    assert place.pushed()


@pytest.mark.parametrize(("status", "after"), [(504, None), (None, None), (404, 0)])
def test_an_upload_that_gets_everywhere_but_to_its_end_is_given_up(place: Place, status: int | None, after: int | None) -> None:
    """Each attempt gets further than the last break, and begins again: that is no progress."""
    with SpecRegistry() as spec, Proxy(spec.name) as proxy:
        there = Place(place.registry, proxy)
        there.fault("PATCH", "/uploads/", after=CUT, times=1)
        for _ in range(200):
            there.fault("PATCH", "/uploads/", status=status, after=after, times=1)
            there.fault("PATCH", "/uploads/", after=CUT, times=1)
        there.fault("PUT", "/uploads/", status=500, times=1000)
        with pytest.raises(RegistryError):
            there.pushed()
        assert len(there.waits.waits) < 20
        assert spec.blobs == {}


def test_attempts_are_further_and_further_apart_and_end(place: Place) -> None:
    place.fault("POST", "/uploads/", status=500, times=1000)
    with pytest.raises(RegistryError, match=r"would not take the blob .*: it answered 500"):
        place.pushed(backoff=1.0, attempts=5)
    assert place.waits.waits == [1.0, 2.0, 4.0, 8.0]


def test_seconds_that_a_registry_asks_for_are_waited(place: Place) -> None:
    for seconds in ("7", "0", "nonsense", "-5"):
        place.fault("POST", "/uploads/", status=429, headers={"Retry-After": seconds})
    assert place.pushed(backoff=1.0)
    assert place.waits.waits == [7.0, 2.0, 4.0, 8.0]


def test_a_date_that_a_registry_asks_for_is_waited_for(place: Place) -> None:
    later = email.utils.format_datetime(datetime.fromtimestamp(time.time() + 50, timezone.utc), usegmt=True)
    place.fault("PATCH", "/uploads/", status=429, headers={"Retry-After": later})
    place.fault("HEAD", "/manifests/", status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})
    assert place.pushed()
    assert place.client().resolve("latest") is None
    first, second = place.waits.waits
    assert 40 < first <= 50
    assert second == 0


def test_a_registry_that_asks_for_hours_is_not_waited_for(place: Place) -> None:
    place.fault("GET", "/tags/", status=429, headers={"Retry-After": "3600"}, body=errors("TOOMANYREQUESTS", "rate limit"))
    with pytest.raises(RegistryError, match=r"429 .TOOMANYREQUESTS: rate limit"):
        place.client().tags()
    assert place.waits.waits == []


@given(
    st.text() | st.integers().map(str) | st.from_regex(r"[A-Z][a-z]{2}, [0-9]+ Jan [0-9]+ [0-9:]+ [-+][0-9]+", fullmatch=True)
)
@example("9" * 5000)
@example("Mon, 01 Jan 2030 00:00:00 +99999999999999")
@example("Mon, 01 Jan 0001 00:00:00 +2300")
@example("Mon, 31 Dec 9999 23:59:59 -2300")
def test_whatever_a_registry_asks_for_it_is_waited_or_not(asked: str) -> None:
    waits = Waits()
    Patience(backoff=1.0, longest=60.0, sleep=waits).wait(1, asked=asked)
    assert all(1.0 <= seconds <= 60.0 for seconds in waits.waits)


@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT"])
@pytest.mark.parametrize(
    ("status", "body"),
    [
        (403, errors("DENIED", "quota exceeded")),
        (413, errors("SIZE_INVALID", "storage limit of the project reached")),
        (507, b""),
        (500, errors("UNKNOWN", "unknown error", detail={"Op": "write", "Path": "/", "Err": 28})),
    ],
)
def test_no_room_is_said_at_once_twice_in_a_row_and_goes_on_when_there_is_some(
    place: Place, method: str, status: int, body: bytes
) -> None:
    place.fault(method, "/uploads/", status=status, body=body, times=2)
    for _ in range(2):
        with pytest.raises(RegistryError, match="has no room left to take the blob") as error:
            place.pushed()
        assert error.value.status == status
        assert "make room" in error.value.fix
        assert place.waits.waits == []
        assert place.registry.unfinished(NAME) == []
    assert place.pushed()


def test_no_room_that_is_said_with_429_may_be_there_later_and_is_said_in_the_end(place: Place) -> None:
    place.fault("PATCH", "/uploads/", status=429, body=errors("TOOMANYREQUESTS", "storage quota used up"), times=5)
    with pytest.raises(RegistryError, match="has no room left to take the blob"):
        place.pushed()
    assert len(place.waits.waits) == 4
    assert place.pushed()


def test_a_proxy_before_the_registry_that_takes_no_large_requests_is_named(place: Place) -> None:
    page = b"<html><h1>413 Request Entity Too Large</h1></html>"
    place.fault("PATCH", "/uploads/", status=413, body=page, headers={"Content-Type": "text/html"})
    with pytest.raises(RegistryError, match="takes no request of that size") as error:
        place.pushed()
    assert "client_max_body_size" in error.value.fix
    assert "<h1>" not in str(error.value)


@pytest.mark.engine  # whoever may run an engine may mount
def test_a_disk_that_is_full_is_said_twice_in_a_row_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", str(disk)]
    subprocess.run(mounted, check=True)
    try:
        with registry_server.started(storage=disk / "storage") as registry:
            client = Registry.connect(f"{registry.name}/{NAME}", environ={}, patience=Patience(backoff=0.0))
            first, second = CONTENT, CONTENT.replace(b"w", b"v")
            assert client.push_blob(blob(first), pieces(first))
            for _ in range(2):
                with pytest.raises(RegistryError, match="has no room left to take the blob") as error:
                    client.push_blob(blob(second), pieces(second))
                assert "this blob is not there; those before it are" in str(error.value)
                assert not client.has_blob(blob(second).digest)
                assert b"".join(client.blob(blob(first).digest)) == first
            subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)
            assert client.push_blob(blob(second), pieces(second))
            assert b"".join(client.blob(blob(second).digest)) == second
    finally:
        subprocess.run(["umount", str(disk)], check=True)


# How a broken upload goes on.


def test_an_upload_goes_on_at_the_offset_that_the_registry_reports(spec: SpecRegistry, before: Proxy) -> None:
    before.faults += [Fault("PATCH", "/uploads/", after=CUT), Fault("PATCH", "/uploads/", status=500, after=CUT)]

    def arrived(_: float) -> None:
        deadline = time.monotonic() + 10
        while sum(map(len, spec.uploads.values())) % CUT and time.monotonic() < deadline:
            threading.Event().wait(0.002)

    told: list[int] = []
    registry = client(before, sleep=arrived)
    assert registry.push_blob(blob(CONTENT), pieces(CONTENT), progress=told.append)
    sent = [(seen.size, seen.headers.get("Content-Range")) for seen in before.seen if seen.method == "PATCH"]
    last = len(CONTENT) - 1
    assert sent == [(CUT, None), (CUT, f"{CUT}-{last}"), (len(CONTENT) - 2 * CUT, f"{2 * CUT}-{last}")]
    assert spec.blobs[blob(CONTENT).digest] == CONTENT
    assert told[-1] == len(CONTENT)


@pytest.mark.parametrize(
    "report",
    [
        {"status": 404},
        {"status": 204, "headers": {"Range": "0-0"}},
        {"status": 204, "headers": {"Range": "nonsense"}},
        {"status": 204, "headers": {"Range": "0-99999999999"}},
        {"status": 204, "headers": {"Range": "0-" + "9" * 5000}},
        {"status": 204},
        {"status": 500},
        {},
    ],
)
def test_an_upload_whose_offset_nobody_knows_is_begun_again(spec: SpecRegistry, before: Proxy, report: dict[str, Any]) -> None:
    before.faults += [Fault("PATCH", "/uploads/", after=CUT), Fault("GET", "/uploads/", **report)]
    assert client(before).push_blob(blob(CONTENT), pieces(CONTENT))
    assert [seen.size for seen in before.seen if seen.method == "PATCH"] == [CUT, len(CONTENT)]
    assert spec.blobs == {blob(CONTENT).digest: CONTENT}


@pytest.mark.parametrize("status", [400, 404, 409, 416])
def test_an_upload_that_a_registry_has_lost_is_begun_again(spec: SpecRegistry, before: Proxy, status: int) -> None:
    before.faults += [Fault("PATCH", "/uploads/", status=status, times=2), Fault("PUT", "/uploads/", status=status)]
    assert client(before).push_blob(blob(CONTENT), pieces(CONTENT))
    assert spec.blobs == {blob(CONTENT).digest: CONTENT}


def test_an_upload_that_breaks_more_often_than_anybody_has_patience_goes_on_as_long_as_it_gets_further(
    spec: SpecRegistry, before: Proxy
) -> None:
    step = len(CONTENT) // 10
    breaks = itertools.count(1)

    def arrived(_: float) -> None:
        sent = step * next(breaks)
        deadline = time.monotonic() + 10
        while sum(map(len, spec.uploads.values())) < sent and time.monotonic() < deadline:
            threading.Event().wait(0.002)

    before.faults += [Fault("PATCH", "/uploads/", after=step) for _ in range(9)]
    assert client(before, attempts=2, sleep=arrived).push_blob(blob(CONTENT), pieces(CONTENT))
    assert {seen.size for seen in before.seen if seen.method == "PATCH"} == {step}


# A registry that says something else than what is there.


@pytest.mark.parametrize(("method", "status"), [("PUT", 201), ("HEAD", 200)])
def test_another_digest_for_a_blob_is_an_error(place: Place, method: str, status: int) -> None:
    skip = 1 if method == "HEAD" else 0
    headers = {"Docker-Content-Digest": OTHER, "Location": "/x"}
    place.fault(method, "/blobs/", status=status, after=None, headers=headers, skip=skip, times=10)
    with pytest.raises(RegistryError, match=f"says that the digest of {blob(CONTENT).digest} is '{OTHER}'") as error:
        place.pushed()
    assert "do not use what is there" in error.value.fix
    assert place.waits.waits == []


def test_another_digest_or_another_content_for_a_manifest_is_an_error(place: Place) -> None:
    registry = place.client()
    at = put(registry)
    content = registry.manifest(at.digest)[1]
    wrong: list[tuple[str, dict[str, Any]]] = [
        ("PUT", {"status": 201, "after": None, "headers": {"Docker-Content-Digest": OTHER}}),
        ("GET", {"status": 200, "body": content + b" ", "headers": {"Content-Type": oci.MANIFEST}}),
        ("GET", {"status": 404}),
    ]
    for method, fault in wrong:
        place.fault(method, "/manifests/", **fault)
        with pytest.raises(MetricgateError, match="digest"):
            registry.push_manifest(content, media_type=oci.MANIFEST, reference=at.digest)
    place.fault("HEAD", "/manifests/", status=200, headers={"Docker-Content-Digest": OTHER, "Content-Type": oci.MANIFEST})
    with pytest.raises(MetricgateError):
        registry.resolve(at.digest)
    assert registry.push_manifest(content, media_type=oci.MANIFEST, reference=at.digest) == at


def test_a_manifest_is_not_put_under_another_digest(place: Place) -> None:
    with pytest.raises(UsageError, match="the manifest has the digest"):
        place.client().push_manifest(b"{}", media_type=oci.MANIFEST, reference=OTHER)
    assert place.sent("PUT") == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Docker-Content-Digest": ""},
        {"Docker-Content-Digest": "md5:1"},
        {"Content-Length": "9" * 5000},
        {"Content-Type": "text/html"},
        {"Content-Type": ""},
    ],
)
def test_a_registry_that_says_little_about_a_manifest_is_asked_for_all_of_it(place: Place, headers: dict[str, str]) -> None:
    at = put(place.client(), "latest")
    said = {"Docker-Content-Digest": at.digest, "Content-Type": oci.MANIFEST, "Content-Length": str(at.size), **headers}
    place.fault("HEAD", "/manifests/", status=200, headers=said)
    assert place.client().resolve("latest") == at


def test_another_manifest_than_the_one_that_was_asked_for_is_not_taken(place: Place) -> None:
    registry = place.client()
    at, other = put(registry, "latest"), put(registry, says="other")
    content = registry.manifest(other.digest)[1]
    kind = {"Content-Type": oci.MANIFEST}
    place.fault("GET", "/manifests/sha256", status=200, body=content, headers=kind)
    place.fault("GET", "/manifests/latest", status=200, body=content, headers={**kind, "Docker-Content-Digest": at.digest})
    for reference in (at.digest, "latest"):
        with pytest.raises(InputError, match=f"the manifest has the digest {other.digest}"):
            registry.manifest(reference)
    assert registry.manifest("latest")[0] == at


def test_an_upload_that_is_given_up_is_dropped(spec: SpecRegistry, before: Proxy) -> None:
    before.faults.append(Fault("PUT", "/uploads/", status=500, times=2))
    for _ in range(2):
        with pytest.raises(RegistryError, match="it answered 500"):
            client(before, attempts=1).push_blob(blob(CONTENT), pieces(CONTENT))
        assert (spec.blobs, spec.uploads) == ({}, {})
    assert client(before, attempts=1).push_blob(blob(CONTENT), pieces(CONTENT))


def test_a_tampered_blob_is_not_taken_for_the_blob(place: Place) -> None:
    assert place.pushed()
    place.fault("GET", "/blobs/", status=200, body=CONTENT.replace(b"w", b"v", 1))
    with pytest.raises(InputError, match="the blob has the digest"):
        b"".join(place.client().blob(blob(CONTENT).digest))


def test_a_download_that_breaks_goes_on_where_it_broke(place: Place) -> None:
    assert place.pushed()
    place.fault("GET", "/blobs/", returned=CUT, times=2)
    place.fault("GET", "/blobs/", status=503, times=2)
    assert b"".join(place.client().blob(blob(CONTENT).digest)) == CONTENT
    asked = [seen.headers.get("Range") for seen in place.proxy.seen if seen.method == "GET" and "/blobs/sha" in seen.path]
    assert asked[0] is None
    assert all(asked[1:])


def test_a_download_goes_on_where_the_registry_begins_again(spec: SpecRegistry, before: Proxy) -> None:
    spec.blobs[blob(CONTENT).digest] = CONTENT
    before.faults += [Fault("GET", "/blobs/", returned=CUT), Fault("GET", "/blobs/", status=200, body=CONTENT)]
    assert b"".join(client(before).blob(blob(CONTENT).digest)) == CONTENT


def test_a_download_that_never_gets_further_is_given_up(spec: SpecRegistry, before: Proxy) -> None:
    spec.blobs[blob(CONTENT).digest] = CONTENT
    before.faults.append(Fault("GET", "/blobs/", returned=0, times=1000))
    with pytest.raises(RegistryError, match="could not give the blob"):
        b"".join(client(before).blob(blob(CONTENT).digest))


def test_a_document_that_breaks_off_is_asked_for_again(place: Place) -> None:
    at = put(place.client(), "latest")
    place.fault("GET", "/manifests/", returned=20, times=2)
    place.fault("GET", "/tags/", returned=5, times=2)
    assert place.client().manifest("latest")[0] == at
    assert place.client().tags() == ("latest",)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b'{"tags": 5}', b'{"tags": [1]}', b"\xff", b"[" * 100_000, b" " * (oci.MOST_BYTES + 1)],
    ids=lambda body: repr(body[:10]),
)
def test_a_list_of_tags_that_nobody_can_read_is_an_error(place: Place, body: bytes) -> None:
    place.fault("GET", "/tags/", status=200, body=body)
    with pytest.raises(RegistryError, match="could not list the tags: it answered what nobody can use"):
        place.client().tags()


@given(st.text(max_size=60) | st.binary(max_size=60) | st.from_type(dict[str, int]).map(json.dumps), st.integers(400, 599))
@example('{"errors": {"a": 1}}', 400)
@example('{"errors": [[]]}', 403)
@example('{"errors": "x"}', 400)
@example("[" * 100_000, 401)
@example('{"errors": [{"code": "\\u001b[2J"}]}', 400)
def test_whatever_a_registry_says_it_is_told_on_one_line(said: str | bytes, status: int) -> None:
    text = said if isinstance(said, str) else said.decode(errors="replace")
    answer = refusal.Answer(status, text)
    told = refusal.explained(answer, host="h", repository="r", doing="do it", username=None, secrets=())
    assert str(status) in told.found
    assert told.found.isprintable()
    assert len(told.found) < 500


# Lists in pages.


def test_tags_are_read_page_by_page(spec: SpecRegistry, before: Proxy) -> None:
    registry = client(before)
    at = put(registry)
    spec.tags.update({f"1.0.{patch}": at.digest for patch in range(7)})
    assert registry.tags() == tuple(f"1.0.{patch}" for patch in range(7))
    assert len([seen for seen in before.seen if "/tags/" in seen.path]) == 4


def test_pages_that_go_in_circles_end(spec: SpecRegistry, before: Proxy) -> None:
    page = Fault(
        "GET", "/tags/", status=200, body=b'{"tags": ["1"]}', headers={"Link": f'</v2/{NAME}/tags/list?n=1000>; rel="next"'}
    )
    page.times = 1000
    before.faults.append(page)
    assert client(before).tags() == ("1",)
    assert spec.tags == {}


@pytest.mark.parametrize(
    "link", ["<http://[::1>; rel=next", '<http://a:99999/>; rel="next"', '<file:///etc/passwd>; rel="next"']
)
def test_a_next_page_that_is_nowhere_is_an_error(before: Proxy, link: str) -> None:
    before.faults.append(Fault("GET", "/tags/", status=200, body=b'{"tags": []}', headers={"Link": link}, times=1000))
    with pytest.raises(RegistryError):
        client(before).tags()


# What refers to an image.


@pytest.mark.parametrize("how", ["by its tag", "by the registry"])
def test_what_is_attached_is_listed_with_its_kind_and_annotations_and_once_only(how: str) -> None:
    pieces = [(b"one", {"about": "1"}), (b"two", {"about": "2"}), (b"three", {})]
    with contextlib.ExitStack() as stack:
        name = (
            stack.enter_context(registry_server.started()).name
            if how == "by its tag"
            else stack.enter_context(SpecRegistry(page=2)).name
        )
        proxy = stack.enter_context(Proxy(name))
        registry = client(proxy)
        subject = put(registry)
        attached = registry.attach(subject, pieces[:2], artifact_type=KIND)
        before = proxy.received
        assert registry.attach(subject, pieces[:2], artifact_type=KIND) == attached
        assert proxy.received == before
        more = registry.attach(subject, pieces, artifact_type=KIND)
        listed = registry.referrers(subject.digest)
        assert {each.digest for each in listed} == {each.digest for each in more}
        assert len(listed) == 3
        assert {each.artifact_type for each in listed} == {KIND}
        assert sorted(each.annotations.get("about", "") for each in listed) == ["", "1", "2"]
        assert registry.tags() == ((referrers.tag(subject.digest),) if how == "by its tag" else ())
        content = registry.manifest(listed[0].digest)[1]
        document = oci.read_manifest(content, where="here")
        assert document.subject == subject


def test_what_a_registry_took_and_does_not_list_is_an_error(before: Proxy) -> None:
    registry = client(before)
    subject = put(registry)
    empty = oci.to_json({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []})
    before.faults.append(Fault("GET", "/referrers/", status=200, body=empty, headers={"Content-Type": oci.INDEX}, times=10))
    with pytest.raises(RegistryError, match="could not list"):
        registry.attach(subject, [(b"one", {})], artifact_type=KIND)


def test_an_attachment_that_breaks_twice_at_each_step_is_whole_in_the_end(place: Place) -> None:
    subject = put(place.client())
    for method, path in (("PUT", "/manifests/sha256:"), ("GET", "/manifests/sha256-"), ("PUT", "/manifests/sha256-")):
        place.fault(method, path, status=500, times=2)
        place.fault(method, path, after=None, times=2)
    attached = place.client().attach(subject, [(b"one", {}), (b"two", {})], artifact_type=KIND)
    assert not [fault for fault in place.proxy.faults if fault.times]
    assert {each.digest for each in place.client().referrers(subject.digest)} == {each.digest for each in attached}


def test_what_stands_under_the_tag_of_referrers_and_is_no_index_is_not_overwritten(place: Place) -> None:
    subject = put(place.client())
    squatter = put(place.client(), referrers.tag(subject.digest), says="squatter")
    with pytest.raises(InputError, match="this is an image"):
        place.client().attach(subject, [(b"one", {})], artifact_type=KIND)
    assert place.client().resolve(referrers.tag(subject.digest)) == squatter


def test_whoever_overwrites_what_another_wrote_meanwhile_the_other_writes_it_again(place: Place) -> None:
    """A reads, B reads and writes, A overwrites that, B looks again and finds its own missing."""
    subject = put(place.client())
    tag = referrers.tag(subject.digest)
    written, overwritten = threading.Event(), threading.Event()

    def slept(_: float) -> None:
        written.set()
        assert overwritten.wait(10)

    def told(seconds: float) -> None:
        del seconds
        overwritten.set()

    quick = Patience(backoff=0.0, sleep=slept)
    other = Registry.connect(f"{place.registry.name}/{NAME}", environ={}, patience=quick)
    with ThreadPoolExecutor(1) as pool:
        theirs: list[Any] = []

        def meanwhile() -> None:
            theirs.append(pool.submit(other.attach, subject, [(b"B", {})], artifact_type=KIND))
            assert written.wait(10)

        place.fault("PUT", f"/manifests/{tag}", meanwhile=meanwhile)
        ours = place.client(sleep=told).attach(subject, [(b"A", {})], artifact_type=KIND)
        both = [*ours, *theirs[0].result(timeout=20)]
    assert {each.digest for each in place.client().referrers(subject.digest)} == {each.digest for each in both}
    assert len(both) == 2


class Meeting:
    """Lets those who sleep go on when all who are still at work sleep: whoever read has written by then."""

    def __init__(self, parties: int) -> None:
        self._condition = threading.Condition()
        self._working = parties
        self._asleep = 0
        self._nights = 0

    def sleep(self, _: float) -> None:
        with self._condition:
            night = self._nights
            self._asleep += 1
            self._wake()
            assert self._condition.wait_for(lambda: self._nights > night, timeout=30)

    def leave(self) -> None:
        with self._condition:
            self._working -= 1
            self._wake()

    def _wake(self) -> None:
        if self._asleep == self._working:
            self._asleep = 0
            self._nights += 1
            self._condition.notify_all()


def test_writers_that_race_lose_nothing_of_each_other_s_evidence(place: Place) -> None:
    subject = put(place.client())
    parties = 4
    meeting = Meeting(parties)

    def write(party: int) -> list[str]:
        try:
            registry = place.client(sleep=meeting.sleep)
            evidence: list[Any] = [(f"{party}.{number}".encode(), {}) for number in range(3)]
            return [each.digest for each in registry.attach(subject, evidence, artifact_type=KIND)]
        finally:
            meeting.leave()

    with ThreadPoolExecutor(parties) as pool:
        written = [digest for found in pool.map(write, range(parties), timeout=60) for digest in found]
    assert {each.digest for each in place.client().referrers(subject.digest)} == set(written)
    assert len(written) == 3 * parties


def test_a_list_that_others_overwrite_for_ever_is_given_up(place: Place) -> None:
    subject = put(place.client())
    tag = referrers.tag(subject.digest)
    empty = oci.to_json({"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": []})
    place.fault("GET", f"/manifests/{tag}", status=200, body=empty, headers={"Content-Type": oci.INDEX}, times=1000)
    with pytest.raises(StageError, match="keeps changing while it is written"):
        place.client().attach(subject, [(b"one", {})], artifact_type=KIND)


# Two releases at once.


def naming(version: str) -> tagging.Naming:
    def named(existing: Iterable[str]) -> Names:
        time = datetime(2020, 1, 10, tzinfo=timezone.utc)
        context = Context(ref=f"refs/tags/v{version}", sha="8" * 40, time=time)
        return names.of(
            context, rules=rules.parse(rules.DEFAULT), flavor=rules.flavor(()), images=["acme/model"], existing=existing
        )

    return named


@pytest.mark.parametrize("versions", [("1.2.3", "1.2.4"), ("1.3.0", "1.2.4", "2.0.0")])
def test_releases_that_race_in_a_real_registry_leave_latest_on_the_newest(place: Place, versions: tuple[str, ...]) -> None:
    digests = {version: put(place.client(), says=version) for version in versions}
    together = threading.Barrier(len(versions))

    def release(version: str) -> None:
        together.wait(timeout=30)
        tagging.apply(place.client(), naming(version), digests[version], say=lambda _: None)

    for _ in range(5):
        with ThreadPoolExecutor(len(versions)) as pool:
            list(pool.map(release, versions, timeout=60))
    stands = {tag: found.digest for tag in place.client().tags() if (found := place.client().resolve(tag))}
    newest = sorted(versions, key=Version)
    assert stands["latest"] == digests[newest[-1]].digest
    assert {version: stands[version] for version in versions} == {version: digests[version].digest for version in versions}
    for alias in ("1", "1.2"):
        of_line = [version for version in newest if version.startswith(f"{alias}.")]
        assert stands[alias] == digests[of_line[-1]].digest


# Memory.

_SIZE_MIB = 512
_STARTER = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:])
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_maxrss // 1024)
"""
_PUSH = """
import sys
from metricgate.release.oci import Descriptor
from metricgate.release.patience import Patience
from metricgate.release.registry import Registry
image, digest, mebibytes = sys.argv[1], sys.argv[2], int(sys.argv[3])
piece = bytes(range(256)) * 4096
layer = Descriptor(media_type="application/vnd.oci.image.layer.v1.tar", digest=digest, size=mebibytes << 20)
registry = Registry.connect(image, environ={}, patience=Patience(backoff=0.0))
assert registry.push_blob(layer, lambda: (piece for _ in range(mebibytes)))
assert sum(map(len, registry.blob(digest))) == layer.size
"""


def test_a_large_blob_goes_there_and_back_in_little_memory() -> None:
    total = hashlib.sha256()
    piece = bytes(range(256)) * 4096
    for _ in range(_SIZE_MIB):
        total.update(piece)
    with registry_server.started() as registry:
        pushed = [sys.executable, "-c", _PUSH, f"{registry.name}/{NAME}", f"sha256:{total.hexdigest()}", str(_SIZE_MIB)]
        # A process inherits the peak of the one that started it, so a small one stands between.
        done = subprocess.run([sys.executable, "-I", "-S", "-c", _STARTER, *pushed], check=True, capture_output=True, text=True)
    code, peak = map(int, done.stdout.split())
    assert (code, done.stderr) == (0, "")
    assert peak < 150

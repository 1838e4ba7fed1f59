"""A release with its evidence, in memory: an image of three layers, and every statement about it, ready to be tampered with."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from metricgate.errors import InputError
from metricgate.release import bundles, facts, oci, stated, statements
from metricgate.release.facts import Facts, Job, Package
from metricgate.release.oci import Descriptor
from metricgate.release.signing import KeySigner, Signer
from metricgate.report.document import IntervalInfo, Report, RuleInfo, SideInfo
from metricgate.run import Fingerprints, MetricRecord, RunRecord, Times

COMMIT = "860c1904a1ce19322e91ac35af1ab07466440c37"
REPOSITORY = "https://github.com/acme/model"
WORKFLOW = f"{REPOSITORY}/.github/workflows/release.yml@refs/tags/v1.2.3"
FILES = {"saved_model.pb": b"graph", "variables/variables.index": b"index", "variables/variables.data": bytes(range(256)) * 64}
KEY = ec.derive_private_key(0xC0FFEE, ec.SECP256R1())
OTHER_KEY = ec.derive_private_key(0xBAD, ec.SECP256R1())


def digest(text: str | bytes) -> str:
    return "sha256:" + hashlib.sha256(text.encode() if isinstance(text, str) else text).hexdigest()


@dataclass
class Shelf:
    """What a registry keeps: manifests, blobs and tags, all of which a test may change."""

    name: str = "registry.example/acme/model"
    manifests: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)

    def put(self, document: Mapping[str, Any], media_type: str = oci.MANIFEST) -> Descriptor:
        content = oci.to_json(document)
        self.manifests[oci.digest_of(content)] = (media_type, content)
        return Descriptor(media_type=media_type, digest=oci.digest_of(content), size=len(content))

    def keep(self, content: bytes, media_type: str) -> Descriptor:
        self.blobs[oci.digest_of(content)] = content
        return Descriptor(media_type=media_type, digest=oci.digest_of(content), size=len(content))

    def resolve(self, reference: str) -> Descriptor | None:
        found = self.tags.get(reference, reference)
        if found not in self.manifests:
            return None
        media_type, content = self.manifests[found]
        return Descriptor(media_type=media_type, digest=found, size=len(content))

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        found = self.resolve(reference)
        if found is None:
            raise InputError("it is not there", where=reference)
        return found, self.manifests[found.digest][1]

    def blob(self, digest: str) -> Iterator[bytes]:
        if digest not in self.blobs:
            raise InputError("it is not there", where=digest)
        content = self.blobs[digest]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]
        if oci.digest_of(content) != digest:
            raise InputError(f"its digest is {oci.digest_of(content)}", where=digest)

    def referrers(self, digest: str) -> tuple[Descriptor, ...]:
        found = []
        for name, (media_type, content) in self.manifests.items():
            document = json.loads(content)
            if document.get("subject", {}).get("digest") == digest:
                described = Descriptor(media_type=media_type, digest=name, size=len(content))
                found.append(described.model_copy(update={"artifact_type": document.get("artifactType")}))
        return tuple(found)

    def attach(self, subject: Descriptor, bundle: bytes) -> Descriptor:
        empty = self.keep(b"{}", oci.EMPTY)
        return self.put(
            {
                "schemaVersion": 2,
                "mediaType": oci.MANIFEST,
                "artifactType": bundles.MEDIA_TYPE,
                "config": described(empty),
                "layers": [described(self.keep(bundle, bundles.MEDIA_TYPE))],
                "subject": described(subject),
            }
        )


def described(descriptor: Descriptor) -> dict[str, Any]:
    return {"mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size}


def tar(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        folder = tarfile.TarInfo("model")
        folder.type = tarfile.DIRTYPE
        archive.addfile(folder)
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


@dataclass
class Release:
    """A release that is being made: change a part, then ``publish``.

    Attributes:
        files: The files of the model.
        facts: What is stated; its image digest is that of the image.
        labels: What the image's labels say beside the usual.
        layers: What lies under the model.
    """

    files: Mapping[str, bytes] = field(default_factory=lambda: dict(FILES))
    changed: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    layers: tuple[bytes, ...] = (b"base", b"server")

    @property
    def hashes(self) -> dict[str, str]:
        return {name: digest(content) for name, content in self.files.items()}

    def image(self, shelf: Shelf, *, prefix: str = "model/") -> Descriptor:
        """Put the image there, and a tag on it."""
        stated_labels = facts.labels(
            model=self.facts.model_digest,
            verdict=self.facts.report.verdict,
            report=self.facts.report_digest,
            policy=self.facts.policy,
            test_set=self.facts.test_set,
            baseline=self.facts.baseline,
        )
        labels = {facts.REVISION: COMMIT, **stated_labels, **self.labels}
        config = {"architecture": "amd64", "os": "linux", "config": {"Labels": labels}}
        layers = [shelf.keep(gzip.compress(content, mtime=0), oci.LAYER_GZIP) for content in self.layers]
        layers.append(shelf.keep(tar({f"{prefix}{name}": content for name, content in self.files.items()}), oci.LAYER))
        manifest = {
            "schemaVersion": 2,
            "mediaType": oci.MANIFEST,
            "config": described(shelf.keep(oci.to_json(config), oci.CONFIG)),
            "layers": [described(layer) for layer in layers],
        }
        found = shelf.put(manifest)
        shelf.tags["1.2.3"] = found.digest
        return found

    @property
    def facts(self) -> Facts:
        return replace(known(self.hashes), **self.changed)

    def publish(
        self,
        shelf: Shelf,
        signer: Signer | None = None,
        *,
        tamper: Callable[[str, dict[str, Any]], dict[str, Any] | None] = lambda _, document: document,
    ) -> Descriptor:
        """Put the image and its evidence there.

        Args:
            shelf: Where.
            signer: Who signs.
            tamper: Changes what is stated before it is signed, by its name; None leaves a statement out.
        """
        image = self.image(shelf)
        for each in statements.all_of(replace(self.facts, image_digest=image.digest)):
            document = tamper(each.name, json.loads(each.content))
            if document is not None:
                shelf.attach(image, (signer or KeySigner(KEY)).sign(statements.to_bytes(document)))
        return image


def known(hashes: Mapping[str, str]) -> Facts:
    """What there is to say about a release of these files."""
    accuracy = RuleInfo(
        metric="accuracy",
        kind="max_regression",
        limit=0.01,
        direction="higher",
        baseline=0.90,
        candidate=0.91,
        difference=0.01,
        interval=IntervalInfo(low=-0.002, high=0.022, level=0.95),
        outcome="pass",
    )
    eights = accuracy.model_copy(
        update={"slice": "label=8", "kind": "min", "limit": 0.8, "interval": IntervalInfo(low=0.88, high=0.94, level=0.95)}
    )
    return Facts(
        name="digits",
        image="registry.example/acme/model",
        image_digest=digest("not built yet"),
        repository=REPOSITORY,
        commit=COMMIT,
        ref="refs/tags/v1.2.3",
        version="1.2.3",
        tags=("1.2.3", "1.2"),
        created="2026-11-01T10:00:00Z",
        job=Job(builder=WORKFLOW, url=f"{REPOSITORY}/actions/runs/12"),
        training=Job(builder=f"{REPOSITORY}/.github/workflows/ci.yml@refs/heads/main", url=f"{REPOSITORY}/actions/runs/7"),
        run=RunRecord(
            name="digits",
            commit=COMMIT,
            seed=0,
            times=Times(started="2026-10-31T08:00:00Z", train_s=60.0),
            metrics={"accuracy": MetricRecord(value=0.91, n=1000, stderr=0.009)},
            fingerprints=Fingerprints(data=digest("data"), environment=digest("environment"), test_set=digest("test set")),
            environment={"python": {"executable": "/opt/python", "version": "3.11.9", "packages": {"numpy": "2.3.0"}}},
        ),
        model_digest=stated.model_digests(hashes)[0],
        model_files=hashes,
        report=Report(
            verdict="pass", exit_code=0, baseline=SideInfo(commit="b" * 40), candidate=SideInfo(), rules=(accuracy, eights)
        ),
        report_digest=digest("report"),
        policy=digest("policy"),
        test_set=digest("test set"),
        baseline=digest("baseline"),
        smoke={"exchanges": 3, "max_abs_difference": 1e-7, "p50_ms": 2.5},
        base_image=("docker.io/library/debian:bookworm", digest("debian")),
        dockerfile=digest("Dockerfile"),
        lock=digest("lock"),
        packages=(Package(name="numpy", version="2.3.0", purl="pkg:pypi/numpy@2.3.0", license="BSD-3-Clause"),),
    )


def flip(content: bytes, at: int = -1) -> bytes:
    """The same with one bit changed."""
    found = bytearray(content)
    found[at] ^= 1
    return bytes(found)


def resign(bundle: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """A bundle whose statement was changed after it was signed."""
    document = json.loads(bundle)
    statement = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
    change(statement)
    document["dsseEnvelope"]["payload"] = base64.b64encode(statements.to_bytes(statement)).decode()
    return json.dumps(document).encode()

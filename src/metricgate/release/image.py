"""The image that is pushed: its config and manifest, the same bytes for the same content.

Formats: OCI image specification 1.1 (https://github.com/opencontainers/image-spec), config.md and manifest.md.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

from metricgate.errors import StageError
from metricgate.release import oci, tarball
from metricgate.release.layers import Layer
from metricgate.release.oci import Descriptor

# What a container is started with; an engine's config also has what was true of the containers of the build.
_SETTINGS = (
    *("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir"),
    *("StopSignal", "Healthcheck", "Shell", "ArgsEscaped", "OnBuild"),
)
_PLATFORM = ("architecture", "os", "os.version", "variant")
_ANNOTATED = "org.opencontainers.image."
_BY = "metricgate"


@dataclass(frozen=True)
class Image:
    """An image of one platform.

    Attributes:
        manifest: What its digest is the digest of.
        config: The engine's id of the image is the digest of this.
        layers: The lowest first.
        labels: Those of the config.
        platform: As an index describes it: ``{"architecture": "amd64", "os": "linux"}``.
    """

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]
    labels: Mapping[str, str]
    platform: Mapping[str, str]

    @property
    def manifest_descriptor(self) -> Descriptor:
        """The manifest, as an index or a tag points to it."""
        return Descriptor(media_type=oci.MANIFEST, digest=oci.digest_of(self.manifest), size=len(self.manifest))

    @property
    def config_descriptor(self) -> Descriptor:
        """The config, as the manifest points to it."""
        return _described(self.config)

    @property
    def size(self) -> int:
        """The bytes of the blobs."""
        return len(self.config) + sum(layer.descriptor.size for layer in self.layers)


def assemble(
    layers: Sequence[Layer], *, config: Mapping[str, Any], labels: Mapping[str, str], created: datetime, platform: str = ""
) -> Image:
    """Put layers together.

    Args:
        layers: The lowest first. Those that the config's history does not know yet get an entry in it.
        config: The config of the image that the engine built.
        labels: More labels. Those of ``org.opencontainers.image.`` are annotations of the manifest too.
        created: When what is in it was committed. Nothing in it is said to be newer.
        platform: ``linux/arm64``; by default that of the config.
    """
    settings = config.get("config") or {}
    labels = {**(settings.get("Labels") or {}), **labels}
    parts = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False)) if platform else {}
    on = {key: str(value) for key in _PLATFORM if (value := parts.get(key) or config.get(key))}
    document: dict[str, object] = {
        **on,
        "created": _time(created),
        "config": {**{key: settings[key] for key in _SETTINGS if settings.get(key)}, "Labels": labels},
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": _history(config.get("history") or (), layers, created=created),
    }
    content = oci.to_json(document)
    manifest: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "config": _described(content).document(),
        "layers": [layer.descriptor.document() for layer in layers],
    }
    if annotations := {key: value for key, value in labels.items() if key.startswith(_ANNOTATED)}:
        manifest["annotations"] = annotations
    return Image(oci.to_json(manifest), content, tuple(layers), labels=labels, platform=on)


def index(images: Sequence[Image]) -> bytes:
    """The index of images of several platforms, sorted by the platform."""
    described: list[object] = [
        {**image.manifest_descriptor.document(), "platform": dict(image.platform)}
        for image in sorted(images, key=lambda image: sorted(image.platform.items()))
    ]
    annotations = {key: value for key, value in images[0].labels.items() if key.startswith(_ANNOTATED)}
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": oci.INDEX, "manifests": described}
    return oci.to_json({**document, **({"annotations": annotations} if annotations else {})})


def archive(image: Image) -> Iterator[bytes]:
    """The image as ``docker load`` takes it, by the layout of ``docker save``, streaming."""
    config_name = f"{_hex(image.config_descriptor.digest)}.json"
    named = [{"Config": config_name, "RepoTags": None, "Layers": [_member(layer) for layer in image.layers]}]
    yield from _file("manifest.json", json.dumps(named).encode())
    yield from _file(config_name, image.config)
    for layer in {layer.diff_id: layer for layer in image.layers}.values():
        yield tarball.header(_member(layer), size=layer.tar_size)
        yield from layer.tar()
        yield tarball.padding(layer.tar_size)
    yield tarball.END


def check_loaded(image: Image, loaded: Mapping[str, Any]) -> None:
    """Make sure that what an engine has loaded is this image.

    Args:
        image: What was assembled.
        loaded: What the engine says of it (``docker inspect``).

    Raises:
        StageError: It is another one.
    """
    if loaded.get("Id") == image.config_descriptor.digest:
        return
    # An engine that keeps images in containerd names them by a manifest of its own.
    settings = {key: value for key, value in (loaded.get("Config") or {}).items() if key in (*_SETTINGS, "Labels") and value}
    layers = (loaded.get("RootFS") or {}).get("Layers")
    if layers != [layer.diff_id for layer in image.layers] or settings != json.loads(image.config)["config"]:
        raise StageError(
            "the engine has loaded another image than the one that would be pushed",
            where=str(loaded.get("Id")),
            expected=image.config_descriptor.digest,
            fix="run the command again; if it happens again, remove the engine's images: docker image prune",
        )


def _history(entries: Iterable[Mapping[str, Any]], layers: Sequence[Layer], *, created: datetime) -> list[Mapping[str, object]]:
    kept = [{**entry, "created": _not_after(created, str(entry.get("created") or ""))} for entry in entries]
    made = sum(not entry.get("empty_layer") for entry in kept)
    if not kept:
        made = 0
    added = [{"created": _time(created), "created_by": layer.created_by, "comment": _BY} for layer in layers[made:]]
    return [*kept, *added]


def _not_after(latest: datetime, time: str) -> str:
    """The time of a step of the build; that of the base image stays, and is older."""
    try:
        # Engines write nanoseconds.
        seconds = datetime.fromisoformat(time[:19]).replace(tzinfo=timezone.utc)
    except ValueError:
        return _time(latest)
    return time if seconds < latest else _time(latest)


def _time(time: datetime) -> str:
    return time.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _described(content: bytes) -> Descriptor:
    return Descriptor(media_type=oci.CONFIG, digest=oci.digest_of(content), size=len(content))


def _file(name: str, content: bytes) -> Iterator[bytes]:
    yield tarball.header(name, size=len(content))
    yield content
    yield tarball.padding(len(content))


def _member(layer: Layer) -> str:
    return f"{_hex(layer.diff_id)}/layer.tar"


def _hex(digest: str) -> str:
    return digest.partition(":")[2]

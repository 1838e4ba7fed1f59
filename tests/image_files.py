"""Files such as engines and builders write, made by hand: what no engine on this machine would write can be tested too."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Form = Literal["old engine", "new engine", "layout"]
FORMS: tuple[Form, ...] = ("old engine", "new engine", "layout")


@dataclass(frozen=True)
class Entry:
    """A member of a layer."""

    name: str
    content: bytes = b""
    kind: bytes = tarfile.REGTYPE
    link: str = ""
    mode: int = 0o644
    uid: int = 0
    attributes: Mapping[str, str] = field(default_factory=dict)


def tar(entries: Iterable[Entry], *, time: float = 0, user: str = "", more: Mapping[str, str] | None = None) -> bytes:
    """A layer, as it comes out of a build at some time, by some user."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for entry in entries:
            member = tarfile.TarInfo(entry.name)
            member.type, member.linkname, member.mode, member.uid = entry.kind, entry.link, entry.mode, entry.uid
            member.mtime, member.uname, member.gname, member.size = time, user, user, len(entry.content)
            member.pax_headers = {**(more or {}), **entry.attributes}
            archive.addfile(member, io.BytesIO(entry.content))
    return target.getvalue()


def config(layers: Sequence[bytes], *, architecture: str = "amd64", **more: Any) -> dict[str, Any]:
    """The config of an image with these layers."""
    return {
        "architecture": architecture,
        "os": "linux",
        "config": {"Env": ["PATH=/bin"], "Labels": None},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer) for layer in layers]},
        "history": [{"created": "2020-01-01T00:00:00Z", "created_by": f"step {index}"} for index in range(len(layers))],
        **more,
    }


def save(path: Path, images: Sequence[tuple[Sequence[bytes], Mapping[str, Any]]], *, form: Form, packed: bool = False) -> Path:
    """Write images into a file: each its layers and its config."""
    files: dict[str, bytes | str] = {}
    named = []
    manifests = []
    for layers, settings in images:
        blob = gzip.compress if packed else bytes
        written = json.dumps(settings).encode()
        if form == "old engine":
            seen: dict[bytes, str] = {}
            names = [f"{index:064x}/layer.tar" for index in range(len(layers))]
            for name, layer in zip(names, layers, strict=True):
                files[name] = f"../{seen[layer]}" if layer in seen else blob(layer)
                seen.setdefault(layer, name)
            files[f"{_digest(written)[7:]}.json"] = written
            named.append({"Config": f"{_digest(written)[7:]}.json", "RepoTags": None, "Layers": names})
            continue
        blobs = [_add(files, blob(layer)) for layer in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", **_add(files, written)},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", **each} for each in blobs],
        }
        described = {"mediaType": manifest["mediaType"], **_add(files, json.dumps(manifest).encode())}
        manifests.append(described)
        place = "blobs/sha256/"
        named.append(
            {
                "Config": place + manifest["config"]["digest"][7:],  # type: ignore[index]
                "RepoTags": None,
                "Layers": [place + each["digest"][7:] for each in blobs],
            }
        )
    if form != "layout":
        files["manifest.json"] = json.dumps(named).encode()
    if form != "old engine":
        inner = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": manifests}
        listed = {"mediaType": inner["mediaType"], **_add(files, json.dumps(inner).encode())}
        files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [listed]}).encode()
        files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            if isinstance(content, str):
                member.type, member.linkname = tarfile.SYMTYPE, content
                archive.addfile(member)
            else:
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def _add(files: dict[str, bytes | str], content: bytes) -> dict[str, Any]:
    files[f"blobs/sha256/{_digest(content)[7:]}"] = content
    return {"digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"

"""What is installed in an image, read from its layers without running anything: Python distributions and Debian packages."""

from __future__ import annotations

import email.parser
import posixpath
import re
import tarfile
from collections.abc import Iterator
from email.message import Message

from packageurl import PackageURL

from metricgate.release.facts import Package
from metricgate.release.saved import Saved

_METADATA = re.compile(r"(?:.*/)?[^/]+\.dist-info/METADATA")
_DPKG = re.compile(r"var/lib/dpkg/(?:status|status\.d/[^/]+)")
_RELEASE = "etc/os-release"
_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
# Metadata of a distribution with its description; Debian's list of some thousand packages.
_LARGEST = 64_000_000


def of_image(image: Saved) -> tuple[Package, ...]:
    """The packages of an image, sorted by their package URL.

    Raises:
        InputError: A layer can't be read.
    """
    files: dict[str, bytes] = {}
    for index in range(len(image.members)):
        with image.layer(index) as stream, tarfile.open(fileobj=stream) as tar:
            _lay(files, tar)
    found = {package.purl: package for package in (*_python(files), *_debian(files))}
    return tuple(found[purl] for purl in sorted(found))


def _lay(files: dict[str, bytes], layer: tarfile.TarFile) -> None:
    """Put a layer over the files that are of interest so far; a whiteout takes away what lies below it."""
    removed: list[str] = []
    added: dict[str, bytes] = {}
    for member in layer:
        path = posixpath.normpath(member.name).lstrip("/")
        folder, name = posixpath.split(path)
        if name == _OPAQUE:
            removed.append(f"{folder}/")
        elif name.startswith(_WHITEOUT):
            removed.append(posixpath.join(folder, name.removeprefix(_WHITEOUT)))
        elif (
            member.isfile()
            and member.size <= _LARGEST
            and (_METADATA.fullmatch(path) or _DPKG.fullmatch(path) or path == _RELEASE)
        ):
            content = layer.extractfile(member)
            added[path] = content.read() if content else b""
    for path in list(files):
        if any(path == gone or path.startswith(f"{gone.rstrip('/')}/") for gone in removed):
            del files[path]
    files |= added


def _python(files: dict[str, bytes]) -> Iterator[Package]:
    for path, content in files.items():
        if _METADATA.fullmatch(path):
            said = _message(content.decode(errors="replace"))
            name, version = said.get("Name"), said.get("Version")
            if name and version:
                license_ = said.get("License-Expression") or said.get("License") or ""
                purl = PackageURL("pypi", None, re.sub(r"[-_.]+", "-", name).lower(), version)
                yield Package(
                    name=name, version=version, purl=purl.to_string(), license=license_.strip().partition("\n")[0][:200]
                )


def _debian(files: dict[str, bytes]) -> Iterator[Package]:
    release = dict(line.split("=", 1) for line in files.get(_RELEASE, b"").decode(errors="replace").splitlines() if "=" in line)
    distribution = release.get("ID", "debian").strip('"')
    for path, content in files.items():
        if _DPKG.fullmatch(path):
            for paragraph in content.decode(errors="replace").split("\n\n"):
                said = _message(paragraph)
                name, version = said.get("Package"), said.get("Version")
                if name and version and "not-installed" not in said.get("Status", ""):
                    qualifiers = {"arch": said["Architecture"]} if said.get("Architecture") else None
                    purl = PackageURL("deb", distribution, name, version, qualifiers)
                    yield Package(name=name, version=version, purl=purl.to_string())


def _message(text: str) -> Message:
    """Headers as both kinds of packages have them (the core metadata specification, deb-control(5))."""
    return email.parser.HeaderParser().parsestr(text.strip())

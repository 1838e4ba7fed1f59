"""What is installed in an image, as its layers say."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from metricgate.errors import InputError
from metricgate.release import packages
from metricgate.release.saved import Saved

DPKG = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Version: 2.36-9

Package: gone
Status: deinstall ok not-installed
Architecture: amd64
Version: 1
"""
NUMPY = "opt/venv/lib/python3.11/site-packages/numpy-2.3.0.dist-info"


def metadata(name: str, version: str, license_: str = "") -> str:
    return f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\nLicense-Expression: {license_}\n\nText\nName: other\n"


def tar(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            made.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def saved(folder: Path, *layers: Mapping[str, str]) -> Saved:
    names = [f"{at}/layer.tar" for at in range(len(layers))]
    files = {
        name: tar({path: text.encode() for path, text in layer.items()}) for name, layer in zip(names, layers, strict=True)
    }
    file = folder / "image.tar"
    file.write_bytes(tar(files))
    return Saved(file, {}, tuple(names))


def purls(image: Saved) -> list[str]:
    return [package.purl for package in packages.of_image(image)]


def test_python_distributions_and_debian_packages_are_named_by_their_package_url(tmp_path: Path) -> None:
    image = saved(
        tmp_path,
        {"var/lib/dpkg/status": DPKG, "etc/os-release": "ID=debian\n"},
        {f"{NUMPY}/METADATA": metadata("NumPy", "2.3.0", "BSD-3-Clause")},
    )
    assert purls(image) == ["pkg:deb/debian/libc6@2.36-9?arch=amd64", "pkg:pypi/numpy@2.3.0"]
    assert packages.of_image(image)[1].license == "BSD-3-Clause"


def test_what_a_later_layer_removes_or_replaces_is_not_there(tmp_path: Path) -> None:
    old = "opt/venv/lib/python3.11/site-packages/old-1.dist-info"
    image = saved(
        tmp_path,
        {
            f"{NUMPY}/METADATA": metadata("numpy", "2.3.0"),
            f"{old}/METADATA": metadata("old", "1"),
            "srv/a-1.dist-info/METADATA": metadata("a", "1"),
        },
        {
            f"{NUMPY}/METADATA": metadata("numpy", "2.3.1"),
            f"{old.rpartition('/')[0]}/.wh.old-1.dist-info": "",
            "srv/.wh..wh..opq": "",
        },
    )
    assert purls(image) == ["pkg:pypi/numpy@2.3.1"]


def test_a_license_text_with_letters_of_any_language_is_read(tmp_path: Path) -> None:
    image = saved(tmp_path, {f"{NUMPY}/METADATA": metadata("numpy", "2.3.0", "© Zoë")})
    assert packages.of_image(image)[0].license == "© Zoë"


def test_something_else_is_refused(tmp_path: Path) -> None:
    image = saved(tmp_path, {"a": "b"})
    image.archive.write_bytes(tar({image.members[0]: b"no tar at all" * 100}))
    with pytest.raises(InputError, match="not an image"):
        packages.of_image(image)

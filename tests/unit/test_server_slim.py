"""What is taken out of the image, and that a shared library still works without its symbol table."""

import ctypes
import os
import py_compile
import shutil
import struct
import sysconfig
from pathlib import Path

import pytest

from metricgate.server import slim

_TAIL = 3 << 20


def _library() -> Path:
    """A shared library that is on every machine with numpy."""
    packages = Path(sysconfig.get_paths()["platlib"])
    return next(iter(sorted((packages / "numpy" / "_core").glob("_simd*.so"))))


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """One with three megabytes behind what is loaded, as a symbol table has."""
    copy = tmp_path / "library.so"
    shutil.copyfile(_library(), copy)
    with copy.open("ab") as file:
        file.write(bytes(_TAIL))
    return copy


def test_what_lies_behind_the_last_loaded_byte_is_cut_off_and_the_library_still_loads(library: Path) -> None:
    size = library.stat().st_size
    assert slim.cut_symbols(library) >= _TAIL
    assert library.stat().st_size <= size - _TAIL
    (sections_at,) = struct.unpack_from("<Q", library.read_bytes(), 40)
    assert sections_at == 0
    ctypes.CDLL(str(library))
    assert slim.cut_symbols(library) == 0


@pytest.mark.parametrize("content", [b"", b"GROUP ( libc.so.6 )", b"\x7fELF\x01\x01" + bytes(100), b"\x7fELF"])
def test_other_files_are_left_as_they_are(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "x.so"
    file.write_bytes(content)
    assert slim.cut_symbols(file) == 0
    assert file.read_bytes() == content


def test_headers_tests_and_installers_are_removed_and_nothing_else(tmp_path: Path) -> None:
    kept = [
        "tensorflow/__init__.py",
        "kubernetes/client/api/__init__.py",
        "kubernetes/client/models/__init__.py",
        "testing/x.py",
    ]
    gone = [
        "tensorflow/include/a/b.h",
        "pandas/core/tests/test_a.py",
        "tests/tests/x.py",
        "kubernetes/client/models/v1_pod.py",
        "kubernetes/client/api/core_v1_api.py",
        "setuptools-1.dist-info/METADATA",
        "distutils-precedence.pth",
    ]
    for name in (*kept, *gone):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    slim.remove(tmp_path)
    left = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()}
    assert left == set(kept)


def test_bytecode_is_the_same_whenever_its_source_was_written_and_whoever_imported_it(tmp_path: Path) -> None:
    compiled = []
    source = tmp_path / "m.py"
    source.write_text("NAMES = {'a', 'b', 'c'}\n")
    for at in (0, 1):
        os.utime(source, (at, at))
        py_compile.compile(str(source))
        slim.compile_all(tmp_path)
        compiled.append(next((tmp_path / "__pycache__").iterdir()).read_bytes())
    assert compiled[0] == compiled[1]
    hashed_but_not_checked = (1,)  # PEP 552
    assert struct.unpack_from("<I", compiled[0], 4) == hashed_but_not_checked

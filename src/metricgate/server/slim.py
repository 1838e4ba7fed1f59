"""Take out of an environment what a model server never reads; run once, while the image is built.

``python slim.py SITE_PACKAGES`` removes the folders and files that ``NEVER_READ`` names and cuts the symbol tables, which only
a debugger reads, off the shared libraries. What is left gets bytecode that Python trusts without looking at the source's time,
so the same packages give the same bytes on any day.
"""

from __future__ import annotations

import compileall
import logging
import py_compile
import shutil
import struct
import sys
from pathlib import Path

NEVER_READ = (
    # compilers' headers and parsers: TensorFlow needs them where custom operations are built
    "clang",
    "libclang-*.dist-info",
    "tensorflow/include",
    "tensorflow/xla_aot_runtime_src",
    # KServe imports Kubernetes' client, which imports its parts when they are asked for; a server never asks
    "kubernetes/aio",
    "kubernetes/client/api/*_api.py",
    "kubernetes/client/models/v[0-9]*.py",
    # what makes ONNX models, and what measures them
    "onnxruntime/datasets",
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    # what installs packages
    "_distutils_hack",
    "distutils-precedence.pth",
    "pkg_resources",
    "setuptools",
    "setuptools-*.dist-info",
    "wheel",
    "wheel-*.dist-info",
    # the packages' own tests
    "**/tests",
)
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr
_SEGMENT = struct.Struct("<IIQQQQQQ")  # Elf64_Phdr
_WORTH_BYTES = 1 << 20


def remove(packages: Path) -> int:
    """Remove what ``NEVER_READ`` names.

    Args:
        packages: The environment's ``site-packages``.

    Returns:
        How many folders and files.
    """
    found = [path for pattern in NEVER_READ for path in packages.glob(pattern)]
    for path in found:
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)  # in a folder that is gone already
    return len(found)


def cut_symbols(library: Path) -> int:
    """Cut off a shared library what lies behind its last loaded byte: the tables of sections and symbols.

    A loader reads segments, not sections (System V ABI, "Program Loading"). Files of other kinds are left as they are.

    Returns:
        How many bytes shorter it is.
    """
    size = library.stat().st_size
    with library.open("r+b") as file:
        start = file.read(_HEADER.size)
        if len(start) < _HEADER.size or start[:6] != b"\x7fELF\x02\x01":
            return 0
        header = list(_HEADER.unpack(start))
        segments_at, segment_size, segments = header[5], header[9], header[10]
        file.seek(segments_at)
        table = file.read(segment_size * segments)
        spans = [_SEGMENT.unpack_from(table, at * segment_size) for at in range(segments)]
        end: int = max(
            [_HEADER.size, segments_at + len(table), *(offset + length for _, _, offset, _, _, length, _, _ in spans)]
        )
        if size - end < _WORTH_BYTES:
            return 0
        header[6] = header[11] = header[12] = header[13] = 0  # where the sections are, how large, how many, their names
        file.truncate(end)
        file.seek(0)
        file.write(_HEADER.pack(*header))
    return size - end


def compile_all(folder: Path) -> bool:
    """Write bytecode that is never checked against its source, over what an import while installing may have left.

    One file after another: the order decides the bytes.
    """
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    return bool(compileall.compile_dir(folder, quiet=2, force=True, invalidation_mode=unchecked))


def main(packages: Path) -> int:
    """Do all of it."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.info("%d folders and files removed", remove(packages))
    libraries = sorted(path for path in packages.rglob("*.so*") if path.is_file() and not path.is_symlink())
    logging.info("%.0f MB of symbols cut off", sum(map(cut_symbols, libraries)) / 1e6)
    # Some packages ship templates and code for other Pythons that can't be compiled; what can't be compiled can't be imported.
    compile_all(packages)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))

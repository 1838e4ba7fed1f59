"""tar files whose bytes follow from what is in them: no times, no names of users, nothing of the machine that wrote them."""

from __future__ import annotations

import importlib.util
import struct
import tarfile
from collections.abc import Collection, Iterator
from typing import IO

BLOCK = tarfile.BLOCKSIZE
END = bytes(2 * BLOCK)
_CHUNK = 1 << 20
_EXTENDED_ATTRIBUTE = "SCHILY.xattr."  # such as security.capability
_BYTECODE, _SOURCE = ".pyc", ".py"
_BYTECODE_HEADER = 16  # magic, flags, time and size of the source (PEP 552)


def header(name: str, *, size: int | None = None) -> bytes:
    """The header of a file that everyone may read; of a folder where no size is given."""
    member = tarfile.TarInfo(name)
    member.mode = 0o755 if size is None else 0o644
    if size is None:
        member.type = tarfile.DIRTYPE
    else:
        member.size = size
    return _encoded(member)


def padding(size: int) -> bytes:
    """What follows a file of this size up to the next block."""
    return bytes(-size % BLOCK)


def normalised(stream: IO[bytes], *, sources: Collection[str] = ()) -> Iterator[bytes]:
    """A layer's tar again, with everything that depends on when and where it was built set to nothing.

    Names, order, contents, modes, numeric owners, links, whiteouts, devices and extended attributes stay. Python takes a
    ``.pyc`` for valid while it names the time of its source, so where the source's time becomes 0, the bytecode's does too.

    Args:
        stream: The tar, read once from the start.
        sources: The Python sources whose time becomes 0, by name.

    Raises:
        tarfile.TarError: It is not a tar.
    """
    for archive, member in _members(stream):
        content = archive.extractfile(member) if member.isreg() else None
        member.mtime, member.uname, member.gname = 0, "", ""
        if member.issparse():
            member.type = tarfile.REGTYPE
        attributes = {key: value for key, value in sorted(member.pax_headers.items()) if key.startswith(_EXTENDED_ATTRIBUTE)}
        member.pax_headers = attributes
        yield _encoded(member)
        if content is not None:
            yield from _content(content, forget_time=_source_of(member.name) in sources)
            yield padding(member.size)
    yield END


def sources(stream: IO[bytes]) -> Iterator[str]:
    """The names of the Python sources in a tar."""
    for _, member in _members(stream):
        if member.isreg() and member.name.endswith(_SOURCE):
            yield member.name


def files(stream: IO[bytes], *, most: int) -> Iterator[tuple[str, bytes]]:
    """The regular files of a tar up to a size, each with what is in it."""
    for archive, member in _members(stream):
        content = archive.extractfile(member) if member.isreg() and member.size <= most else None
        if content is not None:
            yield member.name, content.read()


def _members(stream: IO[bytes]) -> Iterator[tuple[tarfile.TarFile, tarfile.TarInfo]]:
    with tarfile.open(fileobj=stream, mode="r|", bufsize=_CHUNK, encoding="utf-8", errors="surrogateescape") as archive:
        while (member := archive.next()) is not None:
            yield archive, member
            archive.members.clear()  # type: ignore[attr-defined]  # or it would remember all of them


def _encoded(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.PAX_FORMAT, encoding="utf-8", errors="surrogateescape")


def _source_of(name: str) -> str:
    if not name.endswith(_BYTECODE):
        return ""
    try:
        return importlib.util.source_from_cache(name)
    except ValueError:  # it lies beside its source, as Python 2 and `compileall -b` do it
        return name[:-1]


def _content(stream: IO[bytes], *, forget_time: bool) -> Iterator[bytes]:
    if forget_time:
        start = stream.read(_BYTECODE_HEADER)
        has_time = len(start) == _BYTECODE_HEADER and struct.unpack_from("<I", start, 4) == (0,)
        yield start[:8] + bytes(4) + start[12:] if has_time else start
    while chunk := stream.read(_CHUNK):
        yield chunk

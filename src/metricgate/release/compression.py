"""gzip (RFC 1952) on all cores, the same bytes for the same content wherever the same zlib runs.

The content is cut into blocks that are deflated independently and put one behind the other, as ``pigz --independent`` does. The
result is one ordinary gzip member without name and time. Another zlib (zlib-ng, for one) may find other matches: then the blob
differs, and the digest of what is in it (the layer's diffID) does not.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor

BLOCK = 1 << 20
_LEVEL = 6
_MOST_WORKERS = 8
# Magic, deflate, no flags, no time, no extra flags, unknown operating system (RFC 1952, 2.3).
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LAST = b"\x03\x00"  # an empty final block with fixed codes (RFC 1951, 3.2.3)


def gzipped(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The gzip file of a content, in pieces, with a few blocks in memory at a time."""
    workers = min(_MOST_WORKERS, os.cpu_count() or 1)
    checksum = size = 0
    yield _HEADER
    with ThreadPoolExecutor(max_workers=workers) as pool:
        waiting: deque[Future[bytes]] = deque()
        for block in _blocks(chunks):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
            waiting.append(pool.submit(_deflated, block))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    yield _LAST + struct.pack("<II", checksum, size & 0xFFFFFFFF)


def _deflated(block: bytes) -> bytes:
    deflate = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(block) + deflate.flush(zlib.Z_SYNC_FLUSH)


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The content in blocks of one size, wherever the chunks happen to end."""
    waiting, size = [], 0
    for chunk in chunks:
        view = memoryview(chunk)
        while view:
            piece = view[: BLOCK - size]
            waiting.append(piece)
            size += len(piece)
            view = view[len(piece) :]
            if size == BLOCK:
                yield b"".join(waiting)
                waiting, size = [], 0
    if waiting:
        yield b"".join(waiting)

"""Protocol Buffers as they lie in a file, walked without reading what nobody asks for.

The library for them needs the whole message in memory, and generated code for it; a model of gigabytes is looked through for
a few names of operations. The encoding is that of protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, NamedTuple, Union

MOST_FIELDS = 5_000_000
_MOST_DEPTH = 40
_MOST_BYTES = 4_096
_FIXED = {1: 8, 5: 4}

# Which fields to enter, by number: a mapping enters the message, a text names a leaf that is read.
Shape = Mapping[int, Union["Shape", str]]


class WireError(Exception):
    """The bytes are no such message."""


class Leaf(NamedTuple):
    """A field that the shape names.

    Attributes:
        name: As the shape names it.
        text: The first 4,096 bytes of it.
        path: The positions of the messages around it, outermost first: leaves of one message have one path.
    """

    name: str
    text: bytes
    path: tuple[int, ...]


def leaves(stream: BinaryIO, shape: Shape) -> Iterator[Leaf]:
    """Walk a message from a stream that can seek.

    Raises:
        WireError: It is none, is cut off, or has too many fields to be looked through.
    """
    stream.seek(0, 2)
    yield from _Walk(stream).message(shape, 0, stream.tell())


class _Walk:
    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = MOST_FIELDS

    def message(self, shape: Shape, at: int, end: int, path: tuple[int, ...] = ()) -> Iterator[Leaf]:
        if len(path) > _MOST_DEPTH:
            raise WireError("messages are nested too deeply")
        while at < end:
            number, kind, start, length = self._field(at, end)
            wanted = shape.get(number) if kind == 2 else None
            if isinstance(wanted, str):
                self._stream.seek(start)
                yield Leaf(wanted, self._stream.read(min(length, _MOST_BYTES)), path)
            elif wanted is not None:
                yield from self.message(wanted, start, start + length, (*path, start))
            at = start + length

    def _field(self, at: int, end: int) -> tuple[int, int, int, int]:
        """(number, kind, where its content begins, the content's length)"""
        self._left -= 1
        if self._left < 0:
            raise WireError("there are too many fields")
        self._stream.seek(at)
        tag = self._number()
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            self._number()
            return number, kind, self._stream.tell(), 0
        length = self._number() if kind == 2 else _FIXED.get(kind)
        start = self._stream.tell()
        if length is None or not number or start + length > end:
            raise WireError(f"the field at byte {at} is none, or is cut off")
        return number, kind, start, length

    def _number(self) -> int:
        value = 0
        for shift in range(0, 70, 7):
            byte = self._stream.read(1)
            if not byte:
                raise WireError("the message is cut off")
            value |= (byte[0] & 0x7F) << shift
            if byte[0] < 0x80:
                return value
        raise WireError("a number is longer than 10 bytes")

"""Finds Python pickles by what they are, without loading any: loading one runs the code in it."""

from __future__ import annotations

import ast
import bz2
import io
import lzma
import pickletools
import re
import struct
import warnings
import zlib
from collections.abc import Callable
from typing import Any

HEAD = 1 << 16

_MAGIC = re.compile(rb"\x80[\x02-\x05]")
_OPCODES = {ord(opcode.code) for opcode in pickletools.opcodes}
# Without these a pickle makes nothing but numbers, texts and lists of them.
_RUNS = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "REDUCE", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"})
_NAME = re.compile(r"[A-Za-z_][\w.]* [A-Za-z_][\w.]*")
_MOST_NAMES = 5
_MOST_HEADER = 10_000  # numpy itself refuses longer ones
_LZMA_MEMORY = 1 << 26


def names(head: bytes) -> tuple[str, ...] | None:
    """What a file that begins like this would import.

    Args:
        head: Its first bytes, at most ``HEAD``.

    Returns:
        The first few names, such as ``os.system``, perhaps none; None where it is no pickle.
    """
    is_marked = _MAGIC.match(head) is not None
    if is_marked and len(head) > 2 and head[2] not in _OPCODES:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # texts of protocol 0 are escaped as in Python's source, and may be so wrongly
        found, runs, ended = _imported(head)
    # Before protocol 2 pickles begin with anything, and much begins like them: only those that run something, and end.
    return found if is_marked or (runs and ended) else None


def unpacked(head: bytes) -> bytes:
    """The beginning of what a compressed file holds; empty where it is none."""
    openers: dict[bytes, Callable[[], Any]] = {
        b"\x1f\x8b": lambda: zlib.decompressobj(wbits=31),
        b"BZh": bz2.BZ2Decompressor,
        b"\xfd7zXZ": lambda: lzma.LZMADecompressor(memlimit=_LZMA_MEMORY),
        b"x\x01": zlib.decompressobj,
        b"x\x5e": zlib.decompressobj,
        b"x\x9c": zlib.decompressobj,
        b"x\xda": zlib.decompressobj,
    }
    for magic, opener in openers.items():
        if head.startswith(magic):
            try:
                return bytes(opener().decompress(head, HEAD))
            except (zlib.error, OSError, EOFError, ValueError, lzma.LZMAError):
                return b""
    return b""


def in_array(head: bytes) -> bool:
    """Whether a file is an array of numpy's that holds pickled objects, or one whose header can't be read."""
    if not head.startswith(b"\x93NUMPY") or len(head) < 12:
        return False
    start, size = (10, struct.unpack_from("<H", head, 8)[0]) if head[6] == 1 else (12, struct.unpack_from("<I", head, 8)[0])
    if size > _MOST_HEADER:
        return True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = ast.literal_eval(head[start : start + size].decode("latin-1").strip())
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return True
    return not isinstance(header, dict) or _has_objects(header.get("descr"))


def _has_objects(descr: object) -> bool:
    if isinstance(descr, str):
        return "O" in descr
    if isinstance(descr, list):
        return any(_has_objects(field[1]) if isinstance(field, tuple) and len(field) > 1 else True for field in descr)
    return _has_objects(descr[0]) if isinstance(descr, tuple) and descr else True


def _imported(head: bytes) -> tuple[tuple[str, ...], bool, bool]:
    """(what is imported, whether anything is run, whether the pickle ends in ``head``)"""
    found: list[str] = []
    texts: list[str] = []
    runs = False
    try:
        for opcode, argument, _ in pickletools.genops(io.BytesIO(head)):
            name = opcode.name
            runs = runs or name in _RUNS
            imported = None
            if name in ("GLOBAL", "INST"):
                imported = str(argument)
                if not _NAME.fullmatch(imported):
                    return tuple(found), False, False
            elif name == "STACK_GLOBAL" and len(texts) > 1:
                imported = f"{texts[-2]} {texts[-1]}"
            elif isinstance(argument, str):
                texts = [*texts[-1:], argument]
            if imported is not None and len(found) < _MOST_NAMES:
                found.append(imported[:100].replace(" ", "."))
    except (ValueError, struct.error, IndexError, OverflowError, MemoryError):
        return tuple(found), runs, False
    return tuple(found), runs, True

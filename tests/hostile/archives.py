"""Zip files that no upload-artifact wrote, byte by byte where a library would refuse to write them."""

from __future__ import annotations

import io
import stat
import struct
import warnings
import zipfile
import zlib
from collections.abc import Mapping

RUN = b'{"schema": "metricgate.run/1", "stage": "evaluated", "commit": "%s", "seed": 0}' % (b"a" * 40)
SCORES = b"example_id,label,accuracy\n" + b"".join(b"%d,%d,%d\n" % (i, i % 3, i % 4 != 0) for i in range(300))
HONEST: Mapping[str, bytes] = {"seed-0/run.json": RUN, "seed-0/scores.csv": SCORES, "seed-0/train.log": b"epoch 1\n"}

_CENTRAL = b"PK\x01\x02"
_END = b"PK\x05\x06"


def archive(files: Mapping[str, bytes], **options: int) -> bytes:
    """A zip file as upload-artifact writes it."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in files.items():
            entry = zipfile.ZipInfo(name)
            entry.compress_type = options.get("method", zipfile.ZIP_DEFLATED)
            entry.external_attr = options.get("mode", stat.S_IFREG | 0o644) << 16
            made.writestr(entry, content)
    return stream.getvalue()


def with_entry(name: str, content: bytes = b"x", **options: int) -> bytes:
    """An honest archive with one more entry."""
    return join(archive(HONEST), name.encode(), content, **options)


def join(
    base: bytes, name: bytes, content: bytes, *, mode: int = stat.S_IFREG | 0o644, flags: int = 0, claim: int = -1
) -> bytes:
    """Append an entry by hand: no library refuses or mends its name."""
    body, directory, count = _split(base)
    flags |= 0 if name.isascii() else 0x800  # the name is UTF-8
    crc, size = zlib.crc32(content), len(content) if claim < 0 else claim
    fields = struct.pack("<HHHHHIIIHH", 20, flags, 0, 0, 33, crc, len(content), size, len(name), 0)
    offset = len(body)
    body += b"PK\x03\x04" + fields + name + content
    directory += (
        _CENTRAL + struct.pack("<H", (3 << 8) | 20) + fields + struct.pack("<HHHII", 0, 0, 0, mode << 16, offset) + name
    )
    return body + directory + _ending(count + 1, len(directory), len(body))


def claiming(base: bytes, *, entries: int, directory: int | None = None) -> bytes:
    """The same archive, which says something else about its list of files."""
    body, listed, _ = _split(base)
    return body + listed + _ending(entries, len(listed) if directory is None else directory, len(body))


def bomb(name: str, size: int) -> bytes:
    """An entry of so many zeros, a thousandth of that on the wire."""
    return archive({**HONEST, name: bytes(size)})


def many(count: int) -> bytes:
    """So many empty files."""
    return archive({**HONEST, **{f"plots/{i}.png": b"" for i in range(count)}})


def duplicate(one: str, two: str) -> bytes:
    """Two entries that are one file to some reader."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return join(archive({one: RUN}), two.encode(), RUN.replace(b"a" * 40, b"b" * 40))


def overlapping(copies: int, size: int) -> bytes:
    """Many entries of the list that all point at one compressed kernel."""
    body, listed, _ = _split(archive({"seed-0/scores.csv": bytes(size)}))
    name = b"seed-0/scores.csv"
    record = listed[: 46 + len(name)]
    entries = b"".join(record.replace(name, b"seed-%d/scores.csv" % i) for i in range(copies) if i < 10)
    return body + entries + _ending(min(copies, 10), len(entries), len(body))


def _split(content: bytes) -> tuple[bytes, bytes, int]:
    """The entries, the list of them, how many."""
    end = content.rindex(_END)
    count, size, offset = struct.unpack("<HII", content[end + 10 : end + 20])
    return content[:offset], content[offset : offset + size], count


def _ending(count: int, size: int, offset: int) -> bytes:
    return _END + struct.pack("<HHHHIIH", 0, 0, count & 0xFFFF, count & 0xFFFF, size, offset, 0)


HARMFUL: Mapping[str, bytes] = {
    "parent": with_entry("../run.json"),
    "parent inside": with_entry("seed-0/../../run.json"),
    "absolute": with_entry("/etc/cron.d/run.json"),
    "home": with_entry("~/.ssh/authorized_keys"),
    "backslashes": with_entry("..\\..\\run.json"),
    "drive": with_entry("C:/run.json"),
    "nul": join(archive(HONEST), b"seed-1/run.json\x00.png", RUN),
    "new line": with_entry("seed-1/run.json\n::set-output name=verdict::pass"),
    "escape sequence": with_entry("\x1b[2Jrun.json"),
    "right to left": with_entry("seed-1/\u202enosj.nur"),
    "long name": with_entry("a" * 20_000),
    "empty part": with_entry("seed-0//run.json"),
    "dot": with_entry("./seed-0/run.json"),
    "symbolic link": with_entry("seed-1/scores.csv", b"/etc/passwd", mode=stat.S_IFLNK | 0o777),
    "symbolic link to a folder": with_entry("seed-1", b"..", mode=stat.S_IFLNK | 0o777),
    "device": with_entry("seed-1/scores.csv", mode=stat.S_IFCHR | 0o666),
    "pipe": with_entry("seed-1/scores.csv", mode=stat.S_IFIFO | 0o666),
    "encrypted": with_entry("seed-1/run.json", flags=1),
    "twice": duplicate("seed-0/run.json", "seed-0/run.json"),
    "twice, case": duplicate("seed-0/run.json", "seed-0/RUN.json"),
    "twice, width": duplicate("seed-0/run.json", "seed-0/ｒun.json"),
    "bzip2": archive(HONEST, method=zipfile.ZIP_BZIP2),
    "lzma": archive(HONEST, method=zipfile.ZIP_LZMA),
    "not a zip": b"{}",
    "nothing": b"",
    "only an end": _END + bytes(18),
    "cut": archive(HONEST)[:-30],
    "cut in the middle": archive(HONEST)[60:],
    "no run": archive({"report.json": b"{}", "report.md": b"# pass"}),
    "a document of many bytes": bomb("seed-1/run.json", 1_000_001),
    "a lying size": join(archive(HONEST), b"seed-1/run.json", RUN, claim=2**31),
    "long list": claiming(archive(HONEST), entries=3, directory=2**31),
    "many files": many(10_001),
    "many runs": archive({f"seed-{i}/run.json": RUN for i in range(101)}),
    "a wrong checksum": join(archive(HONEST), b"seed-1/run.json", RUN).replace(RUN, RUN.upper()),
}

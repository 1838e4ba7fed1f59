"""A run's archive, unpacked as data that somebody hostile may have made.

Whatever a pull request's workflow uploads, its author can choose byte by byte: a fork brings its own workflow. Here the bytes
only become files with names of ours; what the files say is looked at by ``quarantine``, in another process.
"""

from __future__ import annotations

import re
import stat
import struct
import unicodedata
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from metricgate.errors import InputError
from metricgate.report import plain

_CHUNK = 1 << 16
_PLAIN_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1
_LONGEST_NAME = 500
_UNSEEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})

# What zipfile and zlib raise for bytes that are no archive, as far as they don't notice it themselves.
_BROKEN = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    LookupError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an archive is unpacked for; everything else in it stays packed.

    Attributes:
        names: Their names, with the group ``folder``, and ``document`` for what has that limit.
        what: In a message: ``run``.
        example: How such files are called.
    """

    names: re.Pattern[str]
    what: str
    example: str


RUNS = Wanted(
    names=re.compile(r"(?:(?P<folder>seed-[0-9]{1,9})/)?(?:(?P<document>run|metrics)\.json|scores\.(?:parquet|csv|jsonl))"),
    what="run",
    example="run folders: seed-0/run.json, seed-0/scores.parquet",
)
"""What a comparison reads; logs, plots and models are not wanted."""


class ArtifactError(InputError):
    """An artifact is not one that ``metricgate`` uploads: broken, too large, or made to harm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much of an archive is believed; far more than a real one needs.

    Attributes:
        archive_bytes: The archive as it is downloaded.
        entries: The files in it, wanted or not.
        directory_bytes: Its list of files, which has to be in memory.
        document_bytes: ``run.json`` or ``metrics.json``, unpacked.
        table_bytes: A score table, unpacked.
        total_bytes: Everything that is unpacked, together.
        runs: The run folders.
    """

    archive_bytes: int = 500_000_000
    entries: int = 10_000
    directory_bytes: int = 4_000_000
    document_bytes: int = 1_000_000
    table_bytes: int = 500_000_000
    total_bytes: int = 2_000_000_000
    runs: int = 100


def unpack(
    archive: BinaryIO, into: Path, *, name: str = "the archive", limits: Limits | None = None, wanted: Wanted = RUNS
) -> tuple[str, ...]:
    """Write the runs that an archive holds into a folder, as plain files.

    Only wanted files are unpacked, under names that were looked at. One entry that could only be there to harm spoils the
    whole archive.

    Args:
        archive: The bytes of a zip file, seekable.
        into: An empty folder.
        name: What to call the archive in messages.
        limits: How much may be in it.
        wanted: Which of its files.

    Returns:
        The files, relative to ``into``, sorted.

    Raises:
        ArtifactError: The archive is broken, too large, or has an entry that is no plain file in a plain place.
    """
    limits = limits or Limits()
    try:
        return _Unpacking(archive, into, name=plain.text(name), limits=limits, wanted=wanted).files()
    except _BROKEN as error:
        raise ArtifactError(
            f"the archive can't be read: {plain.text(str(error), limit=100) or type(error).__name__}",
            where=plain.text(name),
            expected="a zip file as actions/upload-artifact writes it",
        ) from None


class _Unpacking:
    """One archive on its way to disk, and how much of it there was so far."""

    def __init__(self, archive: BinaryIO, into: Path, *, name: str, limits: Limits, wanted: Wanted) -> None:
        self._archive = archive
        self._into = into
        self._name = name
        self._limits = limits
        self._asked = wanted
        self._left = limits.total_bytes

    def files(self) -> tuple[str, ...]:
        with zipfile.ZipFile(_Sparing(self._archive, most=self._limits.directory_bytes)) as opened:
            wanted = self._wanted(opened.infolist())
            for entry, match in wanted:
                self._write(opened, entry, match)
        return tuple(sorted(match[0] for _, match in wanted))

    def _wanted(self, entries: list[zipfile.ZipInfo]) -> list[tuple[zipfile.ZipInfo, re.Match[str]]]:
        if len(entries) > self._limits.entries:
            raise self._refusal(f"{len(entries):,} files", expected=f"at most {self._limits.entries:,}")
        seen: set[str] = set()
        wanted = []
        for entry in entries:
            # `filename` was made harmless already, which would hide what was meant.
            folded = _folded(entry)
            if harm := _harm(entry) or ("is there twice" if folded in seen else ""):
                raise self._refusal(f"`{plain.text(entry.orig_filename, limit=80)}` {harm}")
            if self._asked.names.fullmatch(folded):  # of others there may be a.png and A.png
                seen.add(folded)
            if match := self._asked.names.fullmatch(entry.orig_filename):
                wanted.append((entry, match))
        if not wanted:
            raise self._refusal(f"there is no {self._asked.what} in it", expected=self._asked.example)
        if (runs := len({match["folder"] for _, match in wanted})) > self._limits.runs:
            raise self._refusal(f"{runs:,} runs", expected=f"at most {self._limits.runs:,}")
        return wanted

    def _write(self, opened: zipfile.ZipFile, entry: zipfile.ZipInfo, match: re.Match[str]) -> None:
        most = self._limits.document_bytes if match.groupdict().get("document") else self._limits.table_bytes
        # The entry's own word for its size spares the work; the bytes that come out decide.
        if entry.file_size > min(most, self._left):
            raise self._beyond(match[0], min(most, self._left))
        target = self._into / match[0]
        target.parent.mkdir(parents=True, exist_ok=True)
        written = 0
        with opened.open(entry) as source, target.open("xb") as file:
            while chunk := source.read(_CHUNK):
                written += len(chunk)
                if written > min(most, self._left):
                    raise self._beyond(match[0], min(most, self._left))
                file.write(chunk)
        self._left -= written

    def _beyond(self, file: str, most: int) -> ArtifactError:
        return self._refusal(f"`{file}` is larger, unpacked, than {most:,} bytes")

    def _refusal(self, found: str, *, expected: str = "") -> ArtifactError:
        return ArtifactError(found, where=self._name, expected=expected or "the runs that metricgate wrote, and nothing else")


class _Sparing:
    """A file that refuses to be read in large pieces: an archive may say that its list of files has gigabytes."""

    def __init__(self, file: BinaryIO, *, most: int) -> None:
        self._file = file
        self._most = most
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        content = b"" if size > self._most else self._file.read(size if size >= 0 else self._most + 1)
        if max(size, len(content)) > self._most:
            message = "its list of files is too long"
            raise zipfile.BadZipFile(message)
        return content


def _harm(entry: zipfile.ZipInfo) -> str:
    """What is wrong with an entry; empty for a plain file or folder in a plain place."""
    name = entry.orig_filename
    parts = name.removesuffix("/").split("/")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    problems = {
        "has a name of more than a line": len(name) > _LONGEST_NAME,
        "has a name with characters that nobody sees": any(unicodedata.category(char) in _UNSEEN for char in name),
        "leads out of the archive": name.startswith(("/", "~/")) or ".." in parts or "\\" in name or ":" in parts[0],
        "has a name with empty parts": "" in parts or "." in parts,
        "is a link or a device": kind not in (0, stat.S_IFREG, stat.S_IFDIR),
        "is encrypted": bool(entry.flag_bits & _ENCRYPTED),
        "is packed in a way that upload-artifact does not use": entry.compress_type not in _PLAIN_METHODS,
    }
    return next((harm for harm, applies in problems.items() if applies), "")


def _folded(entry: zipfile.ZipInfo) -> str:
    """Names that some file system takes for one and the same."""
    return unicodedata.normalize("NFKC", entry.orig_filename).casefold().removesuffix("/")

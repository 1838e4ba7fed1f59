"""Files that go past the page cache are what was written, and their digests too."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from metricgate.resume.direct import DirectFile

BUFFER = 1 << 23
SIZES = (0, 1, 4095, 4096, 4097, BUFFER - 1, BUFFER, BUFFER + 1, 2 * BUFFER + 5000)


@pytest.mark.parametrize("size", SIZES)
def test_they_hold_what_was_written_and_their_digest_is_of_that(size: int, tmp_path: Path) -> None:
    content = os.urandom(size)
    file = tmp_path / "file"
    file.write_bytes(b"something longer that was here before" * 1000)
    with DirectFile(file) as stream:
        for start in range(0, size, 3_000_001):
            stream.write(memoryview(content)[start : start + 3_000_001])
        digest = stream.digest()
    assert file.read_bytes() == content
    assert digest == hashlib.sha256(content).hexdigest()


def test_where_a_file_system_has_only_the_page_cache_they_take_that(tmp_path: Path) -> None:
    memory = Path("/dev/shm")
    place = (memory if memory.is_dir() and os.access(memory, os.W_OK) else tmp_path) / f"direct-{os.getpid()}"
    try:
        with DirectFile(place) as stream:
            stream.write(memoryview(b"a" * 5000))
            stream.digest()
        assert place.read_bytes() == b"a" * 5000
    finally:
        place.unlink(missing_ok=True)


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    with DirectFile(tmp_path / "file"):
        assert len(list(Path("/proc/self/fd").iterdir())) == before + 1
    assert len(list(Path("/proc/self/fd").iterdir())) == before

"""No archive gets anything past the folder that it is unpacked into, or anything but a clear refusal out of us."""

from __future__ import annotations

import contextlib
import io
import stat
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metricgate.github import archive
from metricgate.github.archive import ArtifactError, Limits
from tests.hostile import archives

SMALL = Limits(archive_bytes=1 << 20, document_bytes=10_000, table_bytes=100_000, total_bytes=200_000, runs=5, entries=50)


def harmless(text: str) -> bool:
    return not any(unicodedata.category(char) in {"Cc", "Cf", "Co", "Cs"} for char in text.replace("\n", ""))


@pytest.mark.parametrize("name", archives.HARMFUL)
def test_every_harmful_archive_is_refused(tmp_path: Path, name: str) -> None:
    into = tmp_path / "into"
    into.mkdir()
    with pytest.raises(ArtifactError) as caught:
        archive.unpack(io.BytesIO(archives.HARMFUL[name]), into)
    assert harmless(str(caught.value)), "what the archive says is shown without its control characters"
    assert len(str(caught.value)) < 1_000
    assert [path.name for path in tmp_path.iterdir()] == ["into"], "nothing was written beside the folder"


def safely(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        into = Path(folder) / "into"
        into.mkdir()
        with contextlib.suppress(ArtifactError):
            kept = archive.unpack(io.BytesIO(content), into, limits=SMALL)
            assert all((into / name).is_file() for name in kept)
        assert [path.name for path in Path(folder).iterdir()] == ["into"]
        written = [path for path in into.rglob("*") if not path.is_dir()]
        assert all(stat.S_ISREG(path.lstat().st_mode) for path in written)
        assert sum(path.stat().st_size for path in written) <= SMALL.total_bytes


FUZZ = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@FUZZ
@given(st.binary(max_size=2_000))
def test_any_bytes(content: bytes) -> None:
    safely(content)


@FUZZ
@given(st.data())
def test_a_harmful_or_honest_archive_with_bytes_changed(data: st.DataObject) -> None:
    """Most of what a fuzzer finds in readers of zip files, it finds a few bytes away from a real one."""
    small = [content for content in [archives.archive(archives.HONEST), *archives.HARMFUL.values()] if len(content) < 30_000]
    content = bytearray(data.draw(st.sampled_from(small)))
    for _ in range(data.draw(st.integers(1, 8))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    safely(bytes(content))


@FUZZ
@given(st.text(max_size=40), st.sampled_from([0, 0o100644, 0o120777, 0o40755, 0o20666]), st.integers(0, 0xFFFF))
def test_any_name_mode_and_flag(name: str, mode: int, flags: int) -> None:
    safely(archives.join(archives.archive(archives.HONEST), name.encode(errors="replace")[:500], b"x", mode=mode, flags=flags))

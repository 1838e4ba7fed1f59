"""Unpacking an artifact: what is in it by right comes out, everything else stays in."""

from __future__ import annotations

import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from tests.hostile import archives

from metricgate.errors import InputError
from metricgate.github import archive
from metricgate.github.archive import ArtifactError, Limits


def unpack(content: bytes, into: Path, limits: Limits | None = None) -> tuple[str, ...]:
    return archive.unpack(io.BytesIO(content), into, name="model-candidate", limits=limits)


def test_the_files_of_a_run_come_out_and_its_log_does_not(tmp_path: Path) -> None:
    assert unpack(archives.archive(archives.HONEST), tmp_path) == ("seed-0/run.json", "seed-0/scores.csv")
    assert (tmp_path / "seed-0" / "run.json").read_bytes() == archives.RUN
    assert (tmp_path / "seed-0" / "scores.csv").read_bytes() == archives.SCORES
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


def test_a_single_run_may_lie_at_the_top(tmp_path: Path) -> None:
    assert unpack(archives.archive({"metrics.json": b'{"accuracy": 0.9}', "model/weights.h5": b"x"}), tmp_path) == (
        "metrics.json",
    )


def test_folders_have_entries_of_their_own_in_some_archives(tmp_path: Path) -> None:
    content = archives.join(archives.archive(archives.HONEST), b"seed-0/", b"", mode=0o40755)
    assert len(unpack(content, tmp_path)) == 2


@pytest.mark.parametrize(
    "name", ["report.json", "verdict.json", "seed-0/report.json", "pr-number.txt", "seed-0/scores.pkl", "seed-0/deep/run.json",
             "seed-a/run.json", "seed-١/run.json", "SEED-1/run.json", "seed-0/run.json.exe", ".git/config", "scores.parquet.sh"]
)  # fmt: skip
def test_what_no_comparison_reads_stays_packed(tmp_path: Path, name: str) -> None:
    assert unpack(archives.with_entry(name), tmp_path) == ("seed-0/run.json", "seed-0/scores.csv")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["run.json", "scores.csv", "seed-0"]


def test_honest_files_may_have_odd_names(tmp_path: Path) -> None:
    odd = ["plots/A.png", "plots/a.png", "plots/loss\u00a0(é, 损失).png", "~draft.txt", "notes/...", "a..b"]
    assert len(unpack(archives.archive({**archives.HONEST, **dict.fromkeys(odd, b"x")}), tmp_path)) == 2


def test_files_are_written_without_the_modes_of_the_archive(tmp_path: Path) -> None:
    unpack(archives.archive(archives.HONEST, mode=0o104777), tmp_path)
    assert not [path for path in tmp_path.rglob("*.*") if path.stat().st_mode & 0o4111]


@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
def test_a_document_has_its_own_limit(tmp_path: Path, name: str) -> None:
    limits = Limits(document_bytes=1_000)
    with pytest.raises(ArtifactError, match=rf"`seed-1/{name}` is larger, unpacked, than 1,000 bytes"):
        unpack(archives.bomb(f"seed-1/{name}", 1_001), tmp_path, limits)


def test_a_table_that_swells_is_stopped(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="than 50,000 bytes"):
        unpack(archives.bomb("seed-1/scores.parquet", 3_000_000), tmp_path, Limits(table_bytes=50_000))


def test_all_files_together_have_a_limit_too(tmp_path: Path) -> None:
    content = archives.archive({f"seed-{i}/scores.csv": bytes(40_000) for i in range(9)})
    with pytest.raises(ArtifactError, match="larger, unpacked"):
        unpack(content, tmp_path, Limits(total_bytes=100_000))
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) <= 100_000


def test_what_an_entry_says_about_its_size_is_not_what_counts(tmp_path: Path) -> None:
    """zipfile stops at the size that the list says; the checksum then tells that something is missing."""
    content = bytearray(archives.bomb("seed-1/scores.csv", 3_000_000))
    real = (3_000_000).to_bytes(4, "little")
    content = content.replace(real, (10).to_bytes(4, "little"))
    with pytest.raises(ArtifactError):
        unpack(bytes(content), tmp_path, Limits(table_bytes=1_000))
    assert not [path for path in tmp_path.rglob("*.csv") if path.stat().st_size > 10_000]


def test_entries_that_share_their_bytes_count_each(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError):
        unpack(archives.overlapping(10, 1_000_000), tmp_path, Limits(total_bytes=2_000_000))


def test_a_long_list_of_files_is_not_read_into_memory(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="list of files is too long"):
        unpack(archives.many(300), tmp_path, Limits(directory_bytes=10_000))


def test_the_message_says_which_archive_and_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        unpack(archives.HARMFUL["parent"], tmp_path)
    assert str(caught.value) == (
        "model-candidate: `../run.json` leads out of the archive\n  expected: the runs that metricgate wrote, and nothing else"
    )


def test_default_limits_hold_a_large_honest_artifact(tmp_path: Path) -> None:
    """A hundred thousand examples, ten seeds, a thousand pictures."""
    scores = archives.SCORES.replace(b"example_id", b"id") * 300
    files = {f"seed-{i}/scores.csv": scores for i in range(10)}
    content = archives.archive({**files, **{f"seed-0/plots/{i}.png": b"" for i in range(1_000)}})
    assert len(unpack(content, tmp_path)) == 10


def test_limits_can_be_narrowed() -> None:
    assert replace(Limits(), runs=3).runs == 3


def test_the_corpus_is_made_of_zip_files_where_it_should_be() -> None:
    """A hostile archive that no reader opens would test nothing."""
    for name in ("parent", "symbolic link", "twice", "right to left", "encrypted", "many runs"):
        with zipfile.ZipFile(io.BytesIO(archives.HARMFUL[name])) as opened:
            assert opened.namelist()

"""A folder as a store: links, crashes, missing rights."""

from __future__ import annotations

from pathlib import Path

import pytest

from metricgate.baseline.files import FolderFiles
from metricgate.errors import StageError


def test_links_are_not_part_of_the_store(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    (tmp_path / "store").mkdir()
    (tmp_path / "store/link").symlink_to(tmp_path / "secret")
    (tmp_path / "store/folder").symlink_to(tmp_path)
    files = FolderFiles(tmp_path / "store")
    assert dict(files.paths()) == {}
    with pytest.raises(KeyError):
        files.read("link")
    with pytest.raises(ValueError, match="no path in a store"):
        files.change(lambda _: {"folder/secret": b"x"}, message="Through a link")
    assert (tmp_path / "secret").read_text() == "s"


def test_a_change_that_a_crash_cuts_short_leaves_its_beginning_and_the_next_one_works(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path)
    files.change(lambda _: {"old": b"1"}, message="Before")
    with pytest.raises(StageError):  # the third file needs a folder where there is a file by then
        files.change(lambda _: {"old": None, "new": b"2", "new/x": b"3", "last": b"4"}, message="Cut short")
    assert sorted(files.paths()) == ["new"]
    (tmp_path / ".staging-of-a-dead-process").mkdir()
    assert files.change(lambda _: {"last": b"4"}, message="After")
    assert sorted(files.paths()) == ["last", "new"]
    assert not list(tmp_path.glob(".staging*"))


def test_a_change_that_can_not_be_made_is_found_out_before_anything_is_touched(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path)
    files.change(lambda _: {"folder/x": b"1", "old": b"1"}, message="Before")
    with pytest.raises(StageError):
        files.change(lambda _: {"old": None, "folder": b"2"}, message="A file where a folder is")
    assert sorted(files.paths()) == ["folder/x", "old"]


def test_a_store_that_can_not_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("a file")
    with pytest.raises(StageError, match="can't be used"):
        FolderFiles(tmp_path / "store").change(lambda _: {"x": b"1"}, message="Write")


def test_empty_folders_do_not_stay_behind(tmp_path: Path) -> None:
    files = FolderFiles(tmp_path)
    files.change(lambda _: {"a/b/c": b"1", "a/d": b"1"}, message="Make")
    files.change(lambda _: {"a/b/c": None}, message="Delete")
    assert sorted(path.name for path in tmp_path.rglob("*") if not path.name.startswith(".")) == ["a", "d"]

"""The locks of a machine: one holder each, gone with their owner, in a folder where everybody may write."""

import os
import stat
from pathlib import Path

import pytest

from metricgate.errors import StageError
from metricgate.train.gpu.locks import Locks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "locks"


def test_has_one_holder_at_a_time(folder: Path) -> None:
    first, second = Locks(folder), Locks(folder)
    lock = first.try_lock("a")
    assert lock is not None
    assert second.try_lock("a") is None
    assert first.try_lock("a") is None
    other = second.try_lock("b")
    assert other is not None
    lock.release()
    lock.release()
    again = second.try_lock("a")
    assert again is not None
    again.release()
    other.release()


def test_says_who_holds_it_as_long_as_it_is_held(folder: Path) -> None:
    locks = Locks(folder)
    lock = locks.try_lock("a")
    assert lock is not None
    lock.tell({"pid": 1, "job": "a longer text"})
    lock.tell({"pid": 2})
    assert locks.told("a") == {"pid": 2}
    lock.release()
    assert locks.told("a") == {}


@pytest.mark.parametrize("umask", [0o077, 0o022, 0o000])
def test_the_folder_is_everybodys_and_so_are_the_locks(umask: int, folder: Path) -> None:
    before = os.umask(umask)
    try:
        lock = Locks(folder).try_lock("a")
    finally:
        os.umask(before)
    assert lock is not None
    assert stat.S_IMODE(folder.stat().st_mode) == 0o1777
    assert stat.S_IMODE((folder / "a").stat().st_mode) == 0o666
    lock.release()


class TestHostile:
    """Others may put into the folder what they like before we come."""

    def test_a_link_is_not_followed(self, folder: Path, tmp_path: Path) -> None:
        locks, precious = Locks(folder), tmp_path / "precious"
        precious.write_text("precious")
        (folder / "soft").symlink_to(precious)
        (folder / "hard").hardlink_to(precious)
        (folder / "dangling").symlink_to(tmp_path / "made")
        for name in ("soft", "hard", "dangling"):
            with pytest.raises(StageError) as raised:
                locks.try_lock(name)
            assert f"delete {folder / name}" in raised.value.fix
        assert precious.read_text() == "precious"
        assert not (tmp_path / "made").exists()

    def test_what_is_no_file_is_refused_at_once(self, folder: Path) -> None:
        locks = Locks(folder)
        os.mkfifo(folder / "pipe")
        (folder / "folder").mkdir()
        for name in ("pipe", "folder"):
            with pytest.raises(StageError):
                locks.try_lock(name)

    def test_a_folder_that_is_a_link_or_a_file_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "file").touch()
        for name in ("link", "file"):
            with pytest.raises(StageError, match="is a file or a link"):
                Locks(tmp_path / name)

    def test_a_folder_where_others_may_delete_is_refused(self, folder: Path) -> None:
        folder.mkdir()
        folder.chmod(0o777)
        with pytest.raises(StageError, match="others may delete") as raised:
            Locks(folder)
        assert raised.value.fix == f"chmod +t {folder}"

    def test_no_name_leads_out_of_the_folder(self, folder: Path) -> None:
        for name in ("../a", "", ".", "..", "a/b", "a\n", "a" * 201):
            with pytest.raises(ValueError, match="is no name"):
                Locks(folder).try_lock(name)


def test_a_folder_that_can_not_be_made_is_an_error_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageError, match="METRICGATE_GPU_LOCKS"):
        Locks(tmp_path / "file" / "locks")

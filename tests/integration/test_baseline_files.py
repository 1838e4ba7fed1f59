"""What a store relies on, of every place: a folder, and a branch on a real server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests import recording
from tests.recording import Place

from metricgate.baseline.files import Files


@pytest.fixture(params=["folder", "branch"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with recording.folder(tmp_path / "store") if request.param == "folder" else recording.branch() as made:
        yield made


@pytest.fixture
def files(place: Place) -> Files:
    return place.open()


def put(files: Files, **contents: bytes | None) -> bool:
    changes = {f"a/{name}.json": content for name, content in contents.items()}
    return files.change(lambda _: changes, message="Put")


def test_a_place_that_nobody_used_is_empty(files: Files) -> None:
    assert dict(files.paths()) == {}
    with pytest.raises(KeyError):
        files.read("a/x.json")
    assert not files.holds("a/x.json", b"")


@pytest.mark.parametrize(
    "content", [b"", b"text\n", b"\r\n\ttab\r", "grün €\u2028".encode(), b"\x00\xff\xfe", bytes(range(256)) * 2000]
)
def test_what_was_written_is_read_by_others(place: Place, files: Files, content: bytes) -> None:
    assert put(files, x=content)
    other = place.open()
    assert list(other.paths()) == ["a/x.json"]
    assert other.read("a/x.json") == content
    assert other.holds("a/x.json", content)
    assert not other.holds("a/x.json", content + b".")


def test_a_change_writes_and_deletes_at_once(place: Place, files: Files) -> None:
    put(files, x=b"1", y=b"2")
    assert put(files, x=None, y=b"3", z=b"4")
    other = place.open()
    assert {path: other.read(path) for path in other.paths()} == {"a/y.json": b"3", "a/z.json": b"4"}


def test_the_last_file_can_go(place: Place, files: Files) -> None:
    put(files, x=b"1")
    assert put(files, x=None)
    assert dict(place.open().paths()) == {}
    assert put(files, x=b"1")


def test_another_content_has_another_id(files: Files) -> None:
    put(files, x=b"1", y=b"1")
    before = files.paths()
    put(files, x=b"2")
    after = files.paths()
    assert before["a/x.json"] != after["a/x.json"]
    assert before["a/y.json"] == after["a/y.json"]


def test_nothing_is_written_where_all_is_so_already(place: Place, files: Files) -> None:
    put(files, x=b"1")
    writes = place.writes()
    other = place.open()
    assert not put(other, x=b"1")
    assert not put(other, gone=None)
    assert not put(other)
    assert place.writes() == writes


def test_only_what_changes_is_written(place: Place, files: Files) -> None:
    put(files, x=b"1", y=b"\x00")
    before = files.paths()
    assert put(place.open(), x=b"1", y=b"\x00", z=b"2")
    assert {path: files.paths()[path] for path in before} == before


def test_an_edit_sees_what_is_there(files: Files) -> None:
    put(files, x=b"1")
    seen: list[list[str]] = []

    def edit(present: Mapping[str, str]) -> Mapping[str, bytes | None]:
        seen.append(sorted(present))
        assert files.holds("a/x.json", b"1")
        assert files.read("a/x.json") == b"1"
        return {}

    assert not files.change(edit, message="Look")
    assert seen == [["a/x.json"]]


def test_the_last_listing_is_kept_until_we_change_something(place: Place, files: Files) -> None:
    other = place.open()
    assert dict(other.listed()) == {}
    put(files, x=b"1")
    assert list(files.listed()) == ["a/x.json"]
    assert dict(other.listed()) == {}
    put(other, y=b"1")
    assert sorted(other.listed()) == ["a/x.json", "a/y.json"]


def test_an_edit_that_fails_changes_nothing(place: Place, files: Files) -> None:
    put(files, x=b"1")

    def edit(_: Mapping[str, str]) -> Mapping[str, bytes | None]:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        files.change(edit, message="Fail")
    assert put(place.open(), y=b"2")
    assert sorted(files.paths()) == ["a/x.json", "a/y.json"]


def test_a_reading_never_mixes_two_states(place: Place, files: Files) -> None:
    put(files, x=b"1", y=b"1")
    other = place.open()
    listed = other.paths()
    put(files, x=b"2", y=None)
    for path in listed:
        with contextlib.suppress(KeyError):
            assert other.read(path) == b"1"
    assert other.paths().keys() == {"a/x.json"}
    assert other.read("a/x.json") == b"2"


def test_of_writers_at_the_same_time_none_is_lost(place: Place) -> None:
    number = 12
    opened = [place.open() for _ in range(number)]
    start = threading.Barrier(number)
    failures: list[BaseException] = []

    def write(own: int) -> None:
        try:
            start.wait()
            opened[own].change(
                lambda present: {
                    f"one/{own}.bin": bytes([own]),
                    "count": str(len([p for p in present if p != "count"]) + 1).encode(),
                },
                message=f"Write {own}",
            )
        except BaseException as error:  # noqa: BLE001 - for the main thread to raise
            failures.append(error)

    threads = [threading.Thread(target=write, args=(own,)) for own in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    last = place.open()
    assert set(last.paths()) == {"count", *(f"one/{own}.bin" for own in range(number))}
    assert last.read("count") == b"12"


@pytest.mark.parametrize("path", ["../x", "/x", "a/../../x", ".hidden/x", ""])
def test_a_folder_takes_no_path_that_leads_out_of_it(tmp_path: Path, path: str) -> None:
    with recording.folder(tmp_path / "store") as made, pytest.raises(ValueError, match="no path in a store"):
        made.open().change(lambda _: {"fine": b"1", path: b"2"}, message="Escape")
    assert not (tmp_path / "x").exists()
    assert not (tmp_path / "store/fine").exists()

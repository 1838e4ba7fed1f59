"""Score tables kept apart: in a folder and behind fsspec, checked by size and digest when they come back."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import fsspec
import pytest
from tests import recording
from tests.recording import CONFIG, NAME, Clock

from metricgate import formats
from metricgate.baseline.files import FolderFiles
from metricgate.baseline.objects import Objects
from metricgate.baseline.store import RunStore
from metricgate.errors import ConfigError, InputError, StageError, UsageError

A, B = recording.commit(1), recording.commit(2)


@pytest.fixture(params=["folder", "file", "memory"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return {
        "folder": str(tmp_path / "objects"),
        "file": f"file://{tmp_path}/objects",
        "memory": f"memory://{tmp_path.name}/x/",
    }[request.param]


@pytest.fixture
def store(tmp_path: Path, url: str) -> RunStore:
    return RunStore(FolderFiles(tmp_path / "store"), Objects(url))


def record(store: RunStore, folder: Path, commit: str = A) -> None:
    recording.write_run(folder, commit=commit)
    store.record(NAME, commit, folder, config=CONFIG, clock=Clock())


def stored(url: str) -> list[str]:
    system, root = fsspec.core.url_to_fs(url)
    return [str(path) for path in sorted(system.find(root))]


def test_the_store_keeps_only_where_they_are_and_their_digest(tmp_path: Path, store: RunStore, url: str) -> None:
    record(store, tmp_path / "runs")
    (path,) = (path for path in store.files.paths() if path.endswith("scores.pointer.json"))
    pointer = json.loads(store.files.read(path))
    (kept,) = stored(url)
    content = fsspec.core.url_to_fs(url)[0].cat_file(kept)
    assert pointer == {
        "schema": "metricgate.pointer/1",
        "url": pointer["url"],
        "file": "scores.parquet",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }
    assert pointer["url"].startswith(url.rstrip("/"))
    assert kept.endswith(pointer["url"].removeprefix(url.rstrip("/")))


def test_they_come_back(tmp_path: Path, store: RunStore) -> None:
    record(store, tmp_path / "runs")
    (run,) = formats.read_runs(store.load(NAME, A, tmp_path / "out"), id="example_id")
    assert run.scores is not None
    assert run.scores.n == 20
    assert sorted(path.name for path in run.where.iterdir()) == ["run.json", "scores.parquet"]


def test_recording_again_writes_nothing(tmp_path: Path, store: RunStore, url: str) -> None:
    record(store, tmp_path / "runs")
    before = stored(url), dict(store.files.paths())
    assert not store.record(NAME, A, tmp_path / "runs", config=CONFIG, clock=Clock()).changed
    assert (stored(url), dict(store.files.paths())) == before


@pytest.mark.parametrize("change", [b"", b"x", None])
def test_a_file_that_is_not_the_recorded_one_is_refused(
    tmp_path: Path, store: RunStore, url: str, change: bytes | None
) -> None:
    record(store, tmp_path / "runs")
    (kept,) = stored(url)
    system = fsspec.core.url_to_fs(url)[0]
    content = system.cat_file(kept)
    system.pipe_file(kept, content[:-1] + b"!" if change is None else change and content + change)
    with pytest.raises(InputError, match="not the one that was recorded"):
        store.load(NAME, A, tmp_path / "out")
    assert not list((tmp_path / "out").rglob("scores*"))
    system.rm(kept)
    with pytest.raises(InputError, match="is gone"):
        store.load(NAME, A, tmp_path / "out")


def test_a_pointer_does_not_choose_what_is_read(tmp_path: Path, store: RunStore) -> None:
    record(store, tmp_path / "runs")
    (tmp_path / "secret").write_bytes(b"secret")
    (path,) = (path for path in store.files.paths() if path.endswith("scores.pointer.json"))
    forged = {
        "schema": "metricgate.pointer/1",
        "url": f"file://{tmp_path}/secret",
        "file": "scores.parquet",
        "bytes": 6,
        "sha256": hashlib.sha256(b"secret").hexdigest(),
    }
    store.files.change(lambda _: {path: json.dumps(forged).encode()}, message="Forge")
    with pytest.raises(InputError, match="is gone"):
        store.load(NAME, A, tmp_path / "out")


@pytest.mark.parametrize(
    "wrong", [{"file": "../scores.parquet"}, {"sha256": "../../secret"}, {"bytes": -1}, {"schema": "x"}, {"url": None}]
)
def test_a_malformed_pointer_is_told(tmp_path: Path, store: RunStore, wrong: dict[str, object]) -> None:
    record(store, tmp_path / "runs")
    (path,) = (path for path in store.files.paths() if path.endswith("scores.pointer.json"))
    document = {**json.loads(store.files.read(path)), **wrong}
    store.files.change(lambda _: {path: json.dumps(document).encode()}, message="Break")
    with pytest.raises(InputError, match=next(iter(wrong))) as caught:
        store.load(NAME, A, tmp_path / "out")
    assert caught.value.where == path


def test_without_the_place_the_error_shows_the_line_to_add(tmp_path: Path, store: RunStore, url: str) -> None:
    record(store, tmp_path / "runs")
    with pytest.raises(UsageError) as caught:
        RunStore(store.files).load(NAME, A, tmp_path / "out")
    assert f"baseline: {{scores: {url.rstrip('/')}}}" in caught.value.fix


def test_pruning_takes_them_along(tmp_path: Path, store: RunStore, url: str) -> None:
    record(store, tmp_path / "a", A)
    record(store, tmp_path / "b", B)
    assert len(stored(url)) == 2
    assert len(store.prune(NAME, keep=1)) == 1
    (left,) = store.commits(NAME)
    (kept,) = stored(url)
    assert left in kept
    assert store.load(NAME, left, tmp_path / "out").is_dir()


def test_a_url_with_a_password_is_refused() -> None:
    with pytest.raises(ConfigError, match="password") as caught:
        Objects("s3://key:secret@bucket/path")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "said"), [("gs://bucket/x", "pip install gcsfs"), ("nonsense://x", "nonsense:// is not understood")]
)
def test_a_driver_that_is_missing_is_named(url: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Objects(url).remove("runs/x")
    assert said in str(caught.value)


def test_a_place_that_can_not_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(StageError, match="can't be used"):
        Objects(str(tmp_path / "file")).keep(b"x", folder="f", name="n", file="scores.parquet")

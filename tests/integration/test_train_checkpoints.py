"""Unfinished trainings: who finds them again, who must not have them, how much they take, and their copies in a store."""

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import config_file, workspace
from metricgate.errors import StageError
from metricgate.train import checkpoints
from metricgate.train.checkpoints import Shelf
from metricgate.train.console import Console

TRAINING = {"content": "c0ffee", "seed": 0, "identity": {"run": "python train.py"}, "data": "d", "inputs": "i"}
WAIT_S = 30


@pytest.fixture
def told() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def console(told: io.StringIO) -> Console:
    return Console(output=io.BytesIO(), progress=told)


def shelf(folder: Path, **checkpoints: object) -> Shelf:
    document = {"train": {"run": "true", "checkpoints": checkpoints}, "metrics": {"accuracy": {"direction": "higher"}}}
    config = config_file.loads(json.dumps(document))
    return Shelf.of(config.train, root=folder, kept=folder / "kept", environ={})


def test_what_a_training_left_is_found_by_the_next_job(tmp_path: Path, console: Console, told: io.StringIO) -> None:
    here = shelf(tmp_path)
    with contextlib.suppress(KeyboardInterrupt), here.open("digits", console=console, timeout_s=0) as unfinished:
        (unfinished.path / "weights").write_bytes(b"x" * 10_000)
        raise KeyboardInterrupt
    with here.open("digits", console=console, timeout_s=0) as again:
        assert (again.path / "weights").stat().st_size == 10_000
        assert "going on from what an earlier job left" in told.getvalue()
        again.finish()
    with here.open("digits", console=console, timeout_s=0) as anew:
        assert list(anew.path.iterdir()) == []


def test_a_training_that_can_not_be_recognised_begins_anew(tmp_path: Path, console: Console) -> None:
    with shelf(tmp_path).open("local", console=console, timeout_s=0) as unfinished:
        (unfinished.path / "weights").touch()
    with shelf(tmp_path).open("local", console=console, timeout_s=0, fresh=True) as anew:
        assert list(anew.path.iterdir()) == []


@given(
    st.sampled_from(
        [
            {"content": "c0ffef"},
            {"seed": 1},
            {"identity": {"run": "python train.py -v"}},
            {"data": None},
            {"inputs": "j"},
            {"parameters": "p"},
        ]
    )
)
def test_another_training_has_another_folder(change: dict[str, object]) -> None:
    assert checkpoints.key("digits", **TRAINING) != checkpoints.key("digits", **{**TRAINING, **change})  # type: ignore[arg-type]
    assert checkpoints.key("digits", **TRAINING) == checkpoints.key("digits", **dict(TRAINING))  # type: ignore[arg-type]


def test_a_name_with_a_slash_is_one_folder() -> None:
    assert "/" not in checkpoints.key("team/digits cnn", **TRAINING)  # type: ignore[arg-type]


HOLD = """\
import io, sys, pathlib
from metricgate.train.checkpoints import Shelf
from metricgate.train.console import Console
shelf = Shelf(folder=pathlib.Path(sys.argv[1]), keep_bytes=10**9)
with shelf.open("digits", console=Console(output=io.BytesIO(), progress=io.StringIO()), timeout_s=0) as unfinished:
    (unfinished.path / "weights").write_text("theirs")
    print("mine", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_job(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that is at the training `digits`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path / "kept" / "checkpoints")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.communicate()


def test_two_jobs_never_have_one_training(tmp_path: Path, console: Console, other_job: "subprocess.Popen[str]") -> None:
    with (
        pytest.raises(StageError, match="another job is still at this very training"),
        shelf(tmp_path).open("digits", console=console, timeout_s=0),
    ):
        pass
    assert other_job.poll() is None


def test_the_lock_dies_with_its_owner(
    tmp_path: Path, console: Console, told: io.StringIO, other_job: "subprocess.Popen[str]"
) -> None:
    os.kill(other_job.pid, signal.SIGKILL)
    other_job.wait()
    with shelf(tmp_path).open("digits", console=console, timeout_s=0) as unfinished:
        assert (unfinished.path / "weights").read_text() == "theirs"
    assert "going on" in told.getvalue()


def test_a_job_waits_for_the_one_before_it(
    tmp_path: Path, console: Console, told: io.StringIO, other_job: "subprocess.Popen[str]"
) -> None:
    def end_it_once_we_wait() -> None:
        while "waiting until it ends" not in told.getvalue():
            threading.Event().wait(0.01)
        other_job.kill()

    thread = threading.Thread(target=end_it_once_we_wait, daemon=True)
    thread.start()
    with shelf(tmp_path).open("digits", console=console, timeout_s=WAIT_S) as unfinished:
        assert (unfinished.path / "weights").read_text() == "theirs"
    thread.join()


def left(here: Shelf, key: str, *, console: Console, size: int, age: int) -> None:
    with here.open(key, console=console, timeout_s=0) as unfinished:
        (unfinished.path / "weights").write_bytes(b"x" * size)
    os.utime(here.folder / f"{key}.lock", (10**9 - age, 10**9 - age))


def test_the_disk_that_they_take_is_bounded_and_the_oldest_go_first(tmp_path: Path, console: Console) -> None:
    roomy = shelf(tmp_path)
    for key, age in (("new", 1), ("oldest", 3), ("old", 2)):
        left(roomy, key, console=console, size=1_000_000, age=age)
    with shelf(tmp_path, keep="2.5MB").open("another", console=console, timeout_s=0):
        pass
    assert {path.name for path in roomy.folder.iterdir() if path.is_dir()} == {"new", "old", "another"}


def test_what_another_job_has_is_never_deleted(tmp_path: Path, console: Console, other_job: "subprocess.Popen[str]") -> None:
    assert other_job.poll() is None
    left(shelf(tmp_path), "old", console=console, size=2_000_000, age=1)
    with shelf(tmp_path, keep="1MB").open("another", console=console, timeout_s=0):
        pass
    assert (tmp_path / "kept" / "checkpoints" / "digits" / "weights").exists()


def test_a_folder_that_can_not_be_made_is_named(tmp_path: Path, console: Console) -> None:
    (tmp_path / "kept").write_text("a file")
    with (
        pytest.raises(StageError, match="no place for an unfinished training"),
        shelf(tmp_path).open("a", console=console, timeout_s=0),
    ):
        pass


# The store: a folder, and a URL.


@pytest.fixture(params=["folder", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(tmp_path / "store")
    else:
        yield f"memory://{tmp_path.name}"
        fsspec.filesystem("memory").store.clear()


def interrupted(here: Shelf, console: Console, **files: str) -> None:
    with contextlib.suppress(KeyboardInterrupt), here.open("digits", console=console, timeout_s=0) as unfinished:
        for name, text in files.items():
            (unfinished.path / "step").mkdir(exist_ok=True)
            (unfinished.path / "step" / name).write_text(text)
        raise KeyboardInterrupt


def test_another_runner_goes_on_from_the_store(tmp_path: Path, store: str, console: Console, told: io.StringIO) -> None:
    interrupted(shelf(tmp_path / "one", store=store), console, weights="w1", optimizer="o1")
    interrupted(shelf(tmp_path / "one", store=store), console, weights="w2", optimizer="o1")
    with shelf(tmp_path / "two", store=store).open("digits", console=console, timeout_s=0) as unfinished:
        files = {path.name: path.read_text() for path in (unfinished.path / "step").iterdir()}
        assert files == {"weights": "w2", "optimizer": "o1"}
        assert "going on from what another runner left" in told.getvalue()
        unfinished.finish()
    with shelf(tmp_path / "three", store=store).open("digits", console=console, timeout_s=0) as anew:
        assert list(anew.path.iterdir()) == []


def test_the_store_keeps_one_state_of_a_training(tmp_path: Path, console: Console) -> None:
    for step in range(5):
        interrupted(shelf(tmp_path / "one", store=str(tmp_path / "store")), console, weights=f"w{step}")
    assert len(list((tmp_path / "store" / "checkpoints" / "digits").iterdir())) == 2  # the file, and current.json


def test_it_is_copied_while_the_training_runs(tmp_path: Path, console: Console) -> None:
    often = shelf(tmp_path / "one", store=str(tmp_path / "store"))
    often = Shelf(folder=often.folder, keep_bytes=often.keep_bytes, copies=often.copies, every_s=0.05)
    current = tmp_path / "store" / "checkpoints" / "digits" / "current.json"
    with often.open("digits", console=console, timeout_s=0) as unfinished:
        (unfinished.path / "weights").write_text("w")
        deadline = threading.Event()
        for _ in range(WAIT_S * 100):
            if current.exists():
                break
            deadline.wait(0.01)
        assert "weights" in json.loads(current.read_text())["files"]


@pytest.mark.parametrize("damage", ["changed", "gone", "outside", "no JSON"])
def test_a_damaged_copy_is_never_gone_on_from(tmp_path: Path, console: Console, told: io.StringIO, damage: str) -> None:
    interrupted(shelf(tmp_path / "one", store=str(tmp_path / "store")), console, weights="w1")
    kept = tmp_path / "store" / "checkpoints" / "digits"
    (content,) = (path for path in kept.iterdir() if path.name != "current.json")
    current = kept / "current.json"
    if damage == "changed":
        content.write_text("w2")
    elif damage == "gone":
        content.unlink()
    elif damage == "outside":
        current.write_text(current.read_text().replace("step/weights", "../../../weights"))
    else:
        current.write_text("{")
    with shelf(tmp_path / "two", store=str(tmp_path / "store")).open("digits", console=console, timeout_s=0) as unfinished:
        assert list(unfinished.path.iterdir()) == []
    assert "can't be used, so it begins again" in told.getvalue()
    assert not (tmp_path / "weights").exists()


def test_a_store_that_can_not_be_written_does_not_stop_the_training(
    tmp_path: Path, console: Console, told: io.StringIO
) -> None:
    (tmp_path / "store").write_text("a file")
    with shelf(tmp_path / "one", store=str(tmp_path / "store")).open("digits", console=console, timeout_s=0) as unfinished:
        (unfinished.path / "weights").write_text("w")
    assert told.getvalue().count("not copied to the store") == 1


def test_where_this_machine_keeps_things(tmp_path: Path) -> None:
    assert workspace.kept_folder(tmp_path, {}) == tmp_path / ".metricgate"
    assert workspace.kept_folder(tmp_path, {"RUNNER_TOOL_CACHE": "/tools"}) == Path("/tools/metricgate-state")
    assert workspace.kept_folder(tmp_path, {"RUNNER_TOOL_CACHE": "/tools", "METRICGATE_STATE_DIR": "/big"}) == Path("/big")

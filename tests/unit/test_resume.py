"""Checkpoints are whole or not there; progress is told, but not too often."""

from __future__ import annotations

import errno
import json
import math
import tempfile
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metricgate import resume
from metricgate.errors import UsageError
from metricgate.resume import Checkpoints, reporting

FILES = {"weights.bin": bytes(range(200)), "more/state.json": b'{"epoch": 3}', "more/empty": b""}


def save(checkpoints: Checkpoints, step: int) -> None:
    with checkpoints.saving(step) as folder:
        for name, content in FILES.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(content)


def save_half(checkpoints: Checkpoints, step: int, error: Exception) -> None:
    with checkpoints.saving(step) as folder:
        (folder / "half").write_text("x")
        raise error


def content(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "checkpoints")


def test_there_is_nothing_before_the_first_one(checkpoints: Checkpoints) -> None:
    assert checkpoints.latest() is None


def test_the_newest_one_is_found_with_what_was_written(checkpoints: Checkpoints) -> None:
    for step in (10, 20, 5):  # a step may be lower than the one before: the newest is the last written
        save(checkpoints, step)
    newest = checkpoints.latest()
    assert newest is not None
    assert newest.step == 5
    assert content(newest.path) == FILES


@pytest.mark.parametrize("keep", [1, 2, 5])
def test_so_many_stay_as_were_asked_for(tmp_path: Path, keep: int) -> None:
    checkpoints = Checkpoints(tmp_path, keep=keep)
    for step in range(7):
        save(checkpoints, step)
    steps = sorted(int(path.name.split("-")[1]) for path in tmp_path.glob("*.step-*"))
    assert steps == list(range(7 - keep, 7))


def test_none_may_stay_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        Checkpoints(tmp_path, keep=0)


def test_an_error_while_saving_passes_and_leaves_nothing(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1)
    with pytest.raises(KeyError):
        save_half(checkpoints, 2, KeyError())
    newest = checkpoints.latest()
    assert newest is not None
    assert newest.step == 1
    assert checkpoints.folder is not None
    assert not list(checkpoints.folder.glob(".writing-*"))


def test_a_full_disk_is_told_and_the_training_goes_on(checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]) -> None:
    save(checkpoints, 1)
    save_half(checkpoints, 2, OSError(errno.ENOSPC, "No space left on device"))
    newest = checkpoints.latest()
    assert newest is not None
    assert newest.step == 1
    assert "step 2 could not be written" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_write_that_the_kernel_refuses_for_want_of_room_is_told(
    checkpoints: Checkpoints, capsys: pytest.CaptureFixture[str]
) -> None:
    with checkpoints.saving(1), Path("/dev/full").open("wb") as file:
        file.write(b"x")
    assert "No space left on device" in capsys.readouterr().err
    assert checkpoints.latest() is None


def test_a_link_is_refused_since_what_it_leads_to_may_change(checkpoints: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="files and folders only"), checkpoints.saving(1) as folder:
        (folder / "data").symlink_to(tmp_path)
    assert checkpoints.latest() is None


def test_what_a_killed_writer_left_is_removed_by_the_next_one(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1)
    assert checkpoints.folder is not None
    left = checkpoints.folder / ".writing-abc"
    left.mkdir()
    (left / "weights.bin").write_bytes(b"half")
    save(checkpoints, 2)
    assert not left.exists()


def test_what_a_living_writer_writes_stays(tmp_path: Path) -> None:
    with Checkpoints(tmp_path).saving(1) as folder:
        (folder / "mine").write_text("x")
        save(Checkpoints(tmp_path), 2)
        assert (folder / "mine").exists()
    newest = Checkpoints(tmp_path).latest()
    assert newest is not None
    assert newest.step == 1


@settings(max_examples=40)  # each brings a dozen files to the disk
@given(st.data())
def test_a_checkpoint_with_any_change_is_never_used_and_the_one_before_is(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as name:
        checkpoints = Checkpoints(Path(name))
        save(checkpoints, 1)
        save(checkpoints, 2)
        newest = checkpoints.latest()
        assert newest is not None
        files = sorted(path for path in newest.path.rglob("*") if path.is_file())
        file = data.draw(st.sampled_from(files))
        before = file.read_bytes()
        match data.draw(st.sampled_from(["remove", "truncate", "flip", "append", "add"])):
            case "remove":
                file.unlink()
            case "truncate" if before:
                file.write_bytes(before[: data.draw(st.integers(0, len(before) - 1))])
            case "flip" if before:
                at = data.draw(st.integers(0, len(before) - 1))
                mask = 1 << data.draw(st.integers(0, 7))
                file.write_bytes(before[:at] + bytes([before[at] ^ mask]) + before[at + 1 :])
            case "append":
                file.write_bytes(before + data.draw(st.binary(min_size=1, max_size=9)))
            case _:
                (newest.path / "more" / "new").write_bytes(b"")
        found = Checkpoints(Path(name)).latest()
        assert found is not None
        # Either it is the one before, or what changed is not content, such as white space at the end of the manifest.
        assert found.step == 1 or content(found.path) == FILES
        assert content(found.path) == FILES
        save(checkpoints, 3)
        after = checkpoints.latest()
        assert after is not None
        assert after.step == 3
        assert len(list(Path(name).glob("*.step-*"))) <= 2


def test_a_writer_that_is_killed_before_any_of_its_steps_leaves_the_one_before(tmp_path: Path) -> None:
    save(Checkpoints(tmp_path), 1)
    # Every state of the disk that the writer of the next one goes through, as a crash would leave it.
    aside = tmp_path / ".writing-killed"
    aside.mkdir()
    for name, text in FILES.items():
        (aside / name).parent.mkdir(exist_ok=True)
        (aside / name).write_bytes(text)
        newest = Checkpoints(tmp_path).latest()
        assert newest is not None
        assert newest.step == 1
    aside.rename(tmp_path / "0000002.step-2")  # without a manifest, were that ever to happen
    newest = Checkpoints(tmp_path).latest()
    assert newest is not None
    assert newest.step == 1


def tensorflow(kind: str, index: int, *roles: str) -> dict[str, str]:
    return {"TF_CONFIG": json.dumps({"cluster": {role: ["a:1"] for role in roles}, "task": {"type": kind, "index": index}})}


@pytest.mark.parametrize(
    ("environ", "leads"),
    [
        ({}, True),
        ({"NODE_RANK": "0"}, True),
        ({"NODE_RANK": "1"}, False),
        (tensorflow("worker", 0, "worker"), True),
        (tensorflow("worker", 1, "worker"), False),
        (tensorflow("worker", 0, "worker", "chief"), False),
        (tensorflow("chief", 0, "worker", "chief"), True),
        (tensorflow("evaluator", 0, "worker"), False),
        ({"NODE_RANK": "0", **tensorflow("worker", 1, "worker")}, True),
    ],
)
def test_one_of_several_nodes_writes(environ: dict[str, str], leads: bool) -> None:
    assert resume.leads(environ) is leads


@pytest.mark.parametrize("environ", [{"NODE_RANK": "first"}, {"TF_CONFIG": "{"}, {"TF_CONFIG": "[]"}])
def test_a_rank_that_cannot_be_read_is_refused(environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="should be"):
        resume.leads(environ)


def test_the_other_nodes_read_what_the_first_one_wrote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(resume.FOLDER_VARIABLE, str(tmp_path))
    save(Checkpoints(tmp_path / "part"), 4)
    monkeypatch.setenv("NODE_RANK", "1")
    assert not resume.due(name="part", seconds=0)
    with resume.saving(5, name="part") as folder:
        (folder / "state").write_text("x")
    assert not folder.exists()
    newest = resume.latest(name="part")
    assert newest is not None
    assert newest.step == 4


def test_without_a_folder_a_training_runs_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(resume.FOLDER_VARIABLE, raising=False)
    with resume.saving(3) as folder:
        (folder / "weights").write_text("0.5")
    assert not folder.exists()
    assert resume.latest() is None
    assert not resume.due(seconds=0)


def test_the_folder_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(resume.FOLDER_VARIABLE, str(tmp_path))
    with resume.saving(3, name="part") as folder:
        (folder / "weights").write_text("0.5")
    found = resume.latest(name="part")
    assert found is not None
    assert found.step == 3
    assert resume.latest() is None


def test_saving_is_due_after_its_seconds_and_takes_a_share_of_the_time_at_most(checkpoints: Checkpoints) -> None:
    assert not checkpoints.due(seconds=60)
    assert checkpoints.due(seconds=0)
    checkpoints.cost_s, checkpoints.last_ended = 2.0, time.monotonic() - 90
    assert not checkpoints.due(seconds=60, share=0.02)  # 100 s after one that took 2
    checkpoints.last_ended = time.monotonic() - 101
    assert checkpoints.due(seconds=60, share=0.02)


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "progress.json"
    monkeypatch.setenv(resume.PROGRESS_VARIABLE, str(path))
    reporting.forget()
    return path


def test_progress_is_written_as_json(told: Path) -> None:
    resume.progress(step=1, steps=10, epoch=1, epochs=2, loss=np.float32(0.5), metrics={"accuracy": np.float64(0.25)})
    expected = {"step": 1, "steps": 10, "epoch": 1, "epochs": 2, "loss": 0.5, "metrics": {"accuracy": 0.25}}
    assert json.loads(told.read_text()) == expected
    assert list(told.parent.iterdir()) == [told]


@pytest.mark.parametrize(("loss", "word"), [(math.nan, "nan"), (math.inf, "inf"), (-math.inf, "-inf")])
def test_a_loss_that_is_no_number_is_passed_on(told: Path, loss: float, word: str) -> None:
    resume.progress(loss=loss)
    assert json.loads(told.read_text()) == {"loss": word}


def test_progress_is_written_once_a_second_or_when_it_has_to_be(told: Path) -> None:
    resume.progress(step=1)
    resume.progress(step=2)
    assert json.loads(told.read_text()) == {"step": 1}
    resume.progress(step=3, now=True)
    assert json.loads(told.read_text()) == {"step": 3}


def test_the_time_left_follows_from_the_steps(told: Path) -> None:
    resume.progress(step=10, steps=30)
    resume.progress(step=20, steps=30, now=True)
    left = json.loads(told.read_text())["eta_s"]
    assert 0 <= left < 60


def test_progress_that_cannot_be_written_does_not_end_a_training(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(resume.PROGRESS_VARIABLE, str(tmp_path / "nowhere" / "progress.json"))
    resume.progress(step=1, now=True)


def test_without_the_variable_progress_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(resume.PROGRESS_VARIABLE, raising=False)
    resume.progress(step=1, loss=0.5, now=True)

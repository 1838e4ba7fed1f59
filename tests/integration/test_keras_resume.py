"""Keras trainings that are killed go on, and end with the same bits; what is broken on the way is never used.

``python -m tests.kill_study 300`` does the same at random moments and by the hundred.
"""

from __future__ import annotations

import functools
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.zygote import Outcome, Zygote

pytestmark = pytest.mark.slow

# Before which steps of their processes they are killed: in the second epoch, and some again after they went on.
MOMENTS = {
    "arrays": (13, 9),
    "two_fits": (25, 12),  # the second time in the second fit
    "py_dataset": (13,),
    "tf_data": (20,),
    "repeated": (10, 9),
    "generator": (13,),
    "mixed": (20,),
}


@pytest.fixture(scope="module")
def whole(zygote: Zygote) -> Callable[[str], str]:
    """The end of a training that nobody interrupts."""

    @functools.cache
    def end(kind: str) -> str:
        outcome = zygote.train(kind)
        assert outcome.status == 0, outcome.log
        return outcome.result

    return end


def killed(zygote: Zygote, kind: str, folder: Path, step: int) -> None:
    outcome = zygote.train(kind, folder, kill_at_step=step)
    assert outcome.status == -signal.SIGKILL, outcome.log


def kept(folder: Path) -> list[Path]:
    return sorted(folder.glob("fit-*/*.step-*"))


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", MOMENTS)
def test_a_training_that_is_killed_ends_with_the_same_bits(
    zygote: Zygote, whole: Callable[[str], str], kind: str, tmp_path: Path
) -> None:
    for step in MOMENTS[kind]:
        killed(zygote, kind, tmp_path, step)
        assert kept(tmp_path)
        assert all(len(list(fit.glob("*.step-*"))) <= 3 for fit in tmp_path.iterdir())  # two, and the one just written
    outcome = zygote.train(kind, tmp_path)
    assert outcome.status == 0, outcome.log
    assert "goes on" in outcome.log or "was finished before" in outcome.log
    assert outcome.result == whole(kind)
    assert all(len(list(fit.glob("*.step-*"))) == 1 for fit in tmp_path.iterdir())


def test_a_training_that_is_asked_to_stop_saves_at_once_and_goes_on_later(
    zygote: Zygote, whole: Callable[[str], str], tmp_path: Path
) -> None:
    asked = zygote.train("generator", tmp_path, kill_at_step=13, signal_number=signal.SIGTERM, environ={"STEPS": "1000"})
    assert asked.status == 143, asked.log
    assert "can go on from there" in asked.log
    assert [path.name for path in kept(tmp_path)] == ["0000001.step-13"]
    assert zygote.train("generator", tmp_path).result == whole("generator")


def test_a_checkpoint_that_was_damaged_is_told_and_the_one_before_is_used(
    zygote: Zygote, whole: Callable[[str], str], tmp_path: Path
) -> None:
    killed(zygote, "generator", tmp_path, 14)
    newest = kept(tmp_path)[-1]
    weights = newest / "model" / "arrays.bin"
    damaged = bytearray(weights.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    weights.write_bytes(damaged)
    outcome = zygote.train("generator", tmp_path)
    assert f"the checkpoint {newest.name} is not used: model/arrays.bin is not as it was written" in outcome.log
    assert outcome.result == whole("generator")


def test_a_disk_that_takes_no_more_does_not_end_a_training(zygote: Zygote, whole: Callable[[str], str], tmp_path: Path) -> None:
    outcome = zygote.train("generator", tmp_path, environ={"FILE_LIMIT": "2000", "STEPS": "20"})
    assert outcome.status == 0, outcome.log
    assert "could not be written" in outcome.log
    assert not kept(tmp_path)
    assert not list(tmp_path.glob("fit-*/.writing-*"))
    assert outcome.result == whole("generator")


def test_of_several_nodes_the_first_one_saves_and_the_others_read(
    zygote: Zygote, whole: Callable[[str], str], tmp_path: Path
) -> None:
    killed(zygote, "generator", tmp_path, 13)
    before = contents(tmp_path)
    other = zygote.train("generator", tmp_path, environ={"NODE_RANK": "1"})
    assert "goes on" in other.log
    assert other.result == whole("generator")
    assert contents(tmp_path) == before


def test_what_was_finished_is_skipped_and_another_model_is_refused(
    zygote: Zygote, whole: Callable[[str], str], tmp_path: Path
) -> None:
    assert zygote.train("generator", tmp_path).result == whole("generator")
    again: Outcome = zygote.train("generator", tmp_path)
    assert "training fit-1 was finished before, and is skipped" in again.log
    assert again.result == whole("generator")
    other = zygote.train("py_dataset", tmp_path)
    assert other.status == 1
    assert "the checkpoint is of another model" in other.log

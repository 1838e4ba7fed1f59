"""A training with metricgate.torch that is killed ends with the model that it would have ended with, bit for bit."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.torch_trainings import Trainings, files, killed

pytestmark = [pytest.mark.torch]


@pytest.fixture(scope="module")
def trainings() -> Iterator[Trainings]:
    with Trainings() as trainings:
        yield trainings


@pytest.fixture(scope="module")
def whole(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The ends of uninterrupted trainings, without a word about checkpoints."""
    ends = {}
    for kind in ("epochs", "accumulating"):
        end = trainings.train(kind, tmp_path_factory.mktemp(kind), checkpoints=False)
        assert end.status == 0, end.log
        ends[kind] = end.result
    return ends


@pytest.mark.parametrize("kind", ["epochs", "accumulating"])
def test_killed_again_and_again_it_ends_with_the_same_model(
    kind: str, trainings: Trainings, whole: dict[str, str], tmp_path: Path
) -> None:
    end, deaths = killed(trainings, kind, tmp_path, times=6, chance=random.Random(1))
    assert end.status == 0, end.log
    assert deaths >= 4
    assert end.result == whole[kind]
    assert len(list((tmp_path / "checkpoints").glob("*.step-*"))) == 2
    assert not list((tmp_path / "checkpoints").glob(".writing-*"))


@pytest.mark.parametrize("steps", [6, 7, 8])
def test_stopped_around_the_end_of_an_epoch_what_ends_it_is_done_once(
    steps: int, trainings: Trainings, whole: dict[str, str], tmp_path: Path
) -> None:
    first = trainings.train("epochs", tmp_path, kill_after=(steps, 0.0), signal_number=signal.SIGTERM)
    assert first.status == 143, first.log
    second = trainings.train("epochs", tmp_path)
    assert f"goes on after step {first.steps}," in second.log
    assert (second.status, second.result, second.steps) == (0, whole["epochs"], 28 - first.steps), second.log


def test_after_its_end_it_does_nothing_twice(trainings: Trainings, whole: dict[str, str], tmp_path: Path) -> None:
    trainings.train("epochs", tmp_path)
    again = trainings.train("epochs", tmp_path)
    assert (again.status, again.steps, again.result) == (0, 0, whole["epochs"]), again.log


@pytest.mark.parametrize("broken", ["tensors.pt", "values.json", "arrays.bin", "checkpoint.json"])
def test_a_broken_checkpoint_is_not_loaded(broken: str, trainings: Trainings, whole: dict[str, str], tmp_path: Path) -> None:
    died = trainings.train("epochs", tmp_path, kill_after=(9, 0.0))
    assert died.status == -signal.SIGKILL
    older, newest = sorted((tmp_path / "checkpoints").glob("*.step-*"))
    file = newest / broken
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    end = trainings.train("epochs", tmp_path)
    assert f"the checkpoint {newest.name} is not used" in end.log
    assert f"goes on after step {older.name.rpartition('-')[2]}," in end.log
    assert (end.status, end.result) == (0, whole["epochs"]), end.log


def test_with_nothing_but_half_files_it_starts_anew(trainings: Trainings, whole: dict[str, str], tmp_path: Path) -> None:
    trainings.train("epochs", tmp_path, kill_after=(5, 0.0))
    for file in files(tmp_path / "checkpoints"):
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    end = trainings.train("epochs", tmp_path)
    assert (end.status, end.steps, end.result) == (0, 28, whole["epochs"]), end.log


def test_a_checkpoint_of_another_training_is_named(trainings: Trainings, tmp_path: Path) -> None:
    trainings.train("accumulating", tmp_path)
    end = trainings.train("epochs", tmp_path)
    assert end.status == 1
    assert "can't be loaded into this training" in end.log


def test_progress_is_told(trainings: Trainings, tmp_path: Path) -> None:
    trainings.train("epochs", tmp_path)
    told = json.loads((tmp_path / "progress.json").read_text())
    assert told["steps"] == 28
    assert 1 <= told["step"] <= 28
    assert told["epochs"] == 4
    assert told["loss"] > 0

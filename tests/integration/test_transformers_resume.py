"""A training by Hugging Face's Trainer that is killed ends with the model that it would have ended with, bit for bit."""

from __future__ import annotations

import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.torch_trainings import Trainings, killed

pytestmark = [pytest.mark.torch, pytest.mark.slow]
FOLDER = Path("checkpoints", "trainer")


@pytest.fixture(scope="module")
def trainings() -> Iterator[Trainings]:
    with Trainings(transformers=True) as trainings:
        yield trainings


@pytest.fixture(scope="module")
def whole(trainings: Trainings, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The ends of uninterrupted trainings, without a word about checkpoints."""
    ends = {}
    for kind in ("trainer", "trainer_best"):
        end = trainings.train(kind, tmp_path_factory.mktemp(kind), checkpoints=False)
        assert end.status == 0, end.log
        ends[kind] = end.result
    return ends


def checkpoints(folder: Path) -> list[Path]:
    return sorted((folder / FOLDER).glob("checkpoint-*"), key=lambda path: int(path.name.partition("-")[2]))


@pytest.mark.parametrize("kind", ["trainer", "trainer_best"])
def test_killed_again_and_again_it_ends_with_the_same_model(
    kind: str, trainings: Trainings, whole: dict[str, str], tmp_path: Path
) -> None:
    end, deaths = killed(trainings, kind, tmp_path, times=4, chance=random.Random(2))
    assert end.status == 0, end.log
    assert deaths >= 2
    assert end.result == whole[kind], end.log
    assert len(checkpoints(tmp_path)) == 2


@pytest.mark.parametrize("steps", [3, 6])
def test_asked_to_stop_it_saves_and_what_follows_does_not_run(
    steps: int, trainings: Trainings, whole: dict[str, str], tmp_path: Path
) -> None:
    first = trainings.train("trainer", tmp_path, kill_after=(steps, 0.0), signal_number=signal.SIGTERM)
    assert (first.status, first.result) == (143, ""), first.log
    assert checkpoints(tmp_path)[-1].name == f"checkpoint-{first.steps}"
    second = trainings.train("trainer", tmp_path)
    assert (second.status, second.result, second.steps) == (0, whole["trainer"], 10 - first.steps), second.log


@pytest.mark.parametrize("how", ["half", "changed", "unsealed"])
def test_a_broken_checkpoint_is_removed_and_the_one_before_is_taken(
    how: str, trainings: Trainings, whole: dict[str, str], tmp_path: Path
) -> None:
    trainings.train("trainer", tmp_path, kill_after=(5, 0.0), signal_number=signal.SIGTERM)
    older, newest = checkpoints(tmp_path)
    weights = newest / "model.safetensors"
    content = bytearray(weights.read_bytes())
    if how == "half":
        weights.write_bytes(content[: len(content) // 2])
        (newest / "optimizer.pt").unlink()
    elif how == "changed":
        content[-1] ^= 1
        weights.write_bytes(content)
    else:
        (newest / "checkpoint.json").unlink()
    end = trainings.train("trainer", tmp_path)
    assert f"the checkpoint {newest.name} is not used, and removed" in end.log
    assert end.steps == 10 - int(older.name.partition("-")[2])
    assert (end.status, end.result) == (0, whole["trainer"]), end.log


def test_progress_is_told(trainings: Trainings, tmp_path: Path) -> None:
    trainings.train("trainer", tmp_path)
    told = json.loads((tmp_path / "progress.json").read_text())
    assert told["steps"] == 10
    assert told["epochs"] == 2


def test_without_a_folder_nothing_is_looked_at(trainings: Trainings, tmp_path: Path) -> None:
    stray = tmp_path / "default" / "checkpoint-7"
    stray.mkdir(parents=True)
    end = trainings.train("trainer", tmp_path, checkpoints=False)
    assert end.status == 0, end.log
    assert list(stray.parent.iterdir()) == [stray]

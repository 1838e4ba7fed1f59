"""Models of recorded commits: in a folder and behind fsspec, the one that was trained or none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import recording
from tests.recording import NAME, Clock

from metricgate import run as runs
from metricgate.baseline.models import Models
from metricgate.errors import InputError, StageError
from metricgate.place import Place
from metricgate.train import digest

A, B, C = (recording.commit(number) for number in (1, 2, 3))


@pytest.fixture(params=["folder", "memory"])
def models(request: pytest.FixtureRequest, tmp_path: Path) -> Models:
    url = str(tmp_path / "place") if request.param == "folder" else f"memory://{tmp_path.name}/models"
    return Models(Place(url, key="baseline.models"), NAME)


def trained(folder: Path, *, commit: str | None = A, seed: int = 0, **files: str) -> Path:
    """A run folder with a model: one file, or a folder of those given."""
    place = recording.write_run(folder, commit=commit, seed=seed)
    model = place / "model"
    for name, content in files.items():
        (model / name).parent.mkdir(parents=True, exist_ok=True)
        (model / name).write_text(content)
    if not files:
        model.write_text(f"weights {seed}")
    record = runs.read_record(place)
    assert record is not None
    runs.write_record(place, record.model_copy(update={"model_digest": digest.of_path(model)}))
    return place


def paths(models: Models) -> list[str]:
    system = models.place.system
    return sorted(str(path) for path in system.find(models.place.path("")))


def test_what_comes_back_is_what_was_trained(tmp_path: Path, models: Models) -> None:
    trained(tmp_path / "runs", seed=0)
    trained(tmp_path / "runs", seed=1, weights="w", config="c")
    assert models.keep(tmp_path / "runs", now=Clock().now) == ("seed-0", "seed-1")
    models.fetch(tmp_path / "runs", tmp_path / "out")
    assert (tmp_path / "out" / "seed-0" / "model").read_text() == "weights 0"
    assert sorted(path.name for path in (tmp_path / "out" / "seed-1" / "model").iterdir()) == ["config", "weights"]
    record = runs.read_record(tmp_path / "out" / "seed-1")
    assert record is not None
    assert record.model_digest == digest.of_path(tmp_path / "out" / "seed-1" / "model")


def test_a_model_that_is_there_is_not_written_again(tmp_path: Path, models: Models) -> None:
    trained(tmp_path / "runs")
    models.keep(tmp_path / "runs", now=Clock().now)
    before = paths(models)
    later = Clock()
    later.forward(hours=1)
    assert models.keep(tmp_path / "runs", now=later.now) == ("seed-0",)
    assert paths(models) == before


def test_runs_without_a_model_or_a_commit_are_left_out(tmp_path: Path, models: Models) -> None:
    recording.write_run(tmp_path / "runs", commit=A, seed=0)
    trained(tmp_path / "runs", commit=None, seed=1)
    assert models.keep(tmp_path / "runs", now=Clock().now) == ()


def test_only_the_newest_commits_keep_their_models(tmp_path: Path, models: Models) -> None:
    clock = Clock()
    for commit in (B, A, C):
        trained(tmp_path / commit, commit=commit)
        models.keep(tmp_path / commit, now=clock())
        clock.forward(hours=1)
    assert models.retain(most=2) == (B,)
    with pytest.raises(InputError, match="not kept, or is gone"):
        models.fetch(tmp_path / B, tmp_path / "out")
    models.fetch(tmp_path / A, tmp_path / "out")


def test_another_model_in_its_place_is_refused_and_nothing_is_left(tmp_path: Path, models: Models) -> None:
    trained(tmp_path / "runs")
    models.keep(tmp_path / "runs", now=Clock().now)
    (kept,) = (path for path in paths(models) if path.endswith("/file"))
    models.place.system.pipe_file(kept, b"evil")
    with pytest.raises(InputError, match="the kept model has the digest sha256:"):
        models.fetch(tmp_path / "runs", tmp_path / "out")
    assert not list((tmp_path / "out" / "seed-0").iterdir())


@pytest.mark.parametrize("name", ["../../escape", "/etc/escape", "a/../../../escape", "..\\escape"])
def test_a_list_of_files_never_leads_out_of_the_run(tmp_path: Path, models: Models, name: str) -> None:
    trained(tmp_path / "runs")
    models.keep(tmp_path / "runs", now=Clock().now)
    (marker,) = (path for path in paths(models) if "/kept-" in path)
    models.place.system.pipe_file(marker, json.dumps({"schema": "metricgate.model/1", "files": {name: 1}}).encode())
    with pytest.raises(InputError, match="leads out of the model"):
        models.fetch(tmp_path / "runs", tmp_path / "out")


@pytest.mark.parametrize("wrong", ["sha256:../../../../etc", "sha256:*", "md5:00", ""])
def test_a_digest_that_is_none_never_becomes_a_path(tmp_path: Path, models: Models, wrong: str) -> None:
    place = trained(tmp_path / "runs")
    record = runs.read_record(place)
    assert record is not None
    runs.write_record(place, record.model_copy(update={"model_digest": wrong}))
    with pytest.raises(InputError, match=r"is no digest|names no model"):
        models.fetch(tmp_path / "runs", tmp_path / "out")


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "place").write_text("a file")
    trained(tmp_path / "runs")
    with pytest.raises(StageError, match=r"the place of baseline.models can't be used"):
        Models(Place(str(tmp_path / "place"), key="baseline.models"), NAME).keep(tmp_path / "runs", now=Clock().now)


def test_nothing_of_another_model_is_deleted(tmp_path: Path, models: Models) -> None:
    trained(tmp_path / "runs")
    models.keep(tmp_path / "runs", now=Clock().now)
    other = Models(models.place, "another")
    assert other.retain(most=1) == ()
    assert paths(models) == paths(other)

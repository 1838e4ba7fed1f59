"""Nothing is trained twice: a recorded run of the same training takes the place of a new one, whole or not at all."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest

from metricgate import config_file, golden
from metricgate import run as runs
from metricgate.baseline import reusable
from metricgate.baseline.files import FolderFiles
from metricgate.baseline.models import Models
from metricgate.baseline.store import RunStore
from metricgate.config import Config
from metricgate.errors import UsageError
from metricgate.evaluate import Evaluator
from metricgate.place import Place
from metricgate.run import Fingerprints, ReusedFrom, RunRecord, Times
from metricgate.train import Console, digest, reuse
from metricgate.train.reuse import Reused, Wanted
from metricgate.train.run_folder import RunFolder

MAIN, HERE = "a" * 40, "b" * 40
TRAINING, OTHER = digest.of_texts(["training"]), digest.of_texts(["another"])
WANTED = Wanted(name="tiny", training=TRAINING, seed=0, evaluation=None)
POLICY: dict[str, Any] = {
    "name": "tiny",
    "train": {"run": "python3 train.py", "inputs": ["train.py"]},
    "evaluate": {"run": "exit 3"},
    "model": "outputs/model",
    "metrics": {"accuracy": {"direction": "higher"}, "size": {"direction": "lower"}},
    "slices": ["label"],
}


@dataclass
class Scene:
    """A checkout, and what is recorded elsewhere."""

    root: Path
    recorded: Path
    policy: Mapping[str, Any] = field(default_factory=lambda: POLICY)

    @property
    def config(self) -> Config:
        return config_file.loads(json.dumps(self.policy))

    @property
    def evaluator(self) -> Evaluator:
        console = Console(output=io.BytesIO(), progress=io.StringIO())
        return Evaluator(config=self.config, root=self.root, environ=os.environ, console=console)

    @property
    def into(self) -> RunFolder:
        return RunFolder.of(self.root / "runs", seed=0)

    def record(
        self,
        folder: Path | None = None,
        *,
        commit: str = MAIN,
        name: str = "tiny",
        training: str = TRAINING,
        started: str = "2026-05-01T10:00:00Z",
        model: str | None = "weights",
        stage: str = "evaluated",
        **changed: Any,
    ) -> Path:
        """A run as training and evaluation leave it, in `<recorded>/<commit>/seed-0`."""
        run = (folder or self.recorded / commit) / "seed-0"
        run.mkdir(parents=True)
        rows = "".join(f"{n},{'odd' if n % 2 else 'even'},{int(n % 5 > 0)}\n" for n in range(100))
        (run / "scores.csv").write_text(f"example_id,label,accuracy\n{rows}")
        (run / "metrics.json").write_text('{"size": 12.0}')
        if model is not None:
            (run / "model").write_text(model)
        answer = {"request": {"instances": [[1]]}, "response": {"predictions": [[1]]}}
        (run / golden.FILE).write_text(json.dumps(answer) + "\n")
        made = RunRecord(
            stage="trained",
            name=name,
            commit=commit,
            seed=0,
            times=Times(started=started, train_s=3600.0),
            fingerprints=Fingerprints(training=training, evaluation=self.evaluator.fingerprint),
            model_digest=digest.of_path(run / "model") if model is not None else None,
        )
        if stage == "evaluated":
            made = self.evaluator.collect(run, made)
        runs.write_record(run, made.model_copy(update=changed))
        return run

    def take(self, wanted: Wanted | None = None, **changed: Any) -> Reused | None:
        asked = wanted or replace(WANTED, evaluation=self.evaluator.fingerprint)
        places = {"folders": [self.recorded], "into": self.into, "commit": HERE}
        return reuse.take(asked, **{**places, "collect": self.evaluator.collect, **changed})


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    root = tmp_path / "a checkout"
    root.mkdir()
    return Scene(root, tmp_path / "recorded runs")


def written(folder: RunFolder) -> RunRecord:
    found = runs.read_record(folder.path)
    assert found is not None
    return found


class TestARecordedRun:
    def test_is_taken_whole_where_nothing_changed(self, scene: Scene) -> None:
        recorded = scene.record()
        taken = scene.take()
        assert taken is not None
        assert taken.told == "not trained again: the same training is recorded at aaaaaaa (run of 2026-05-01)"
        found = written(scene.into)
        assert (found.commit, found.reused_from, found.stage) == (HERE, ReusedFrom(commit=MAIN), "evaluated")
        before = runs.read_record(recorded)
        assert before is not None
        assert found.metrics == before.metrics
        assert found.times.train_s == 3600.0
        for name in ("scores.csv", "metrics.json", golden.FILE, "model"):
            assert (scene.into.path / name).read_bytes() == (recorded / name).read_bytes()
        assert not [path for path in scene.into.path.parent.iterdir() if path.name.startswith(".reused")]

    def test_is_not_evaluated_again(self, scene: Scene) -> None:
        scene.record()
        scene.take()
        assert scene.evaluator.evaluate(scene.into) == written(scene.into), "the command would fail"

    def test_of_a_store_counts_too_though_it_keeps_less(self, scene: Scene) -> None:
        scene.record(scene.root / "local")
        store = RunStore(FolderFiles(scene.root / "store"))
        store.record("tiny", MAIN, scene.root / "local", config=scene.config, clock=lambda: datetime.now(timezone.utc))
        copied = reusable.copy_out(store, "tiny", training=TRAINING, seed=0, into=scene.recorded)
        assert copied == scene.recorded / MAIN
        assert not list(scene.recorded.rglob("metrics.json"))
        assert scene.take() is not None
        found = written(scene.into)
        assert found.metrics["size"].value == 12.0
        assert (scene.into.path / "scores.parquet").is_file()
        assert not (scene.into.path / "model").exists(), "a store keeps none"

    def test_of_another_training_stays_in_its_store(self, scene: Scene) -> None:
        scene.record(scene.root / "local")
        store = RunStore(FolderFiles(scene.root / "store"))
        assert reusable.copy_out(store, "tiny", training=TRAINING, seed=0, into=scene.recorded) is None
        store.record("tiny", MAIN, scene.root / "local", config=scene.config, clock=lambda: datetime.now(timezone.utc))
        for training, seed in ((OTHER, 0), (TRAINING, 1)):
            assert reusable.copy_out(store, "tiny", training=training, seed=seed, into=scene.recorded) is None
        assert not scene.recorded.exists()

    def test_that_was_reused_itself_names_the_first_one(self, scene: Scene) -> None:
        scene.record(commit="c" * 40, reused_from=ReusedFrom(commit=MAIN))
        assert scene.take() is not None
        assert written(scene.into).reused_from == ReusedFrom(commit=MAIN)

    def test_has_its_metrics_computed_as_the_configuration_says_now(self, scene: Scene) -> None:
        scene.record()
        changed = {"accuracy": {"direction": "higher", "aggregate": "median"}, "size": {"direction": "lower"}}
        scene.policy = {**POLICY, "metrics": changed}
        assert scene.take() is not None
        assert written(scene.into).metrics["accuracy"].value == 1.0

    def test_is_the_newest_of_several(self, scene: Scene) -> None:
        scene.record(started="2026-05-01T10:00:00Z")
        scene.record(commit="c" * 40, started="2026-06-01T10:00:00Z")
        taken = scene.take()
        assert taken is not None
        assert "ccccccc (run of 2026-06-01)" in taken.told


class TestWhereItLiesAlready:
    def test_it_stays_as_it_is(self, scene: Scene) -> None:
        run = scene.record(scene.root / "runs", commit=HERE)
        before = {path.name: path.stat().st_mtime_ns for path in run.iterdir()}
        taken = scene.take(folders=[scene.root / "runs"])
        assert taken is not None
        assert "trained and evaluated here already" in taken.told
        assert {path.name: path.stat().st_mtime_ns for path in run.iterdir()} == before

    def test_its_model_is_evaluated_where_the_evaluation_changed(self, scene: Scene) -> None:
        scene.record(scene.root / "runs", commit=HERE)
        scene.policy = {**POLICY, "evaluate": {"run": "exit 4"}}
        taken = scene.take(folders=[scene.root / "runs"])
        assert taken is not None
        assert written(scene.into).stage == "trained"
        assert {path.name for path in scene.into.path.iterdir()} == {"run.json", "model"}


class TestTheModel:
    def test_is_evaluated_where_the_evaluation_changed(self, scene: Scene) -> None:
        scene.record()
        scene.policy = {**POLICY, "evaluate": {"run": "exit 4"}}
        taken = scene.take()
        assert taken is not None
        assert taken.told.endswith("its model is evaluated as the evaluation is now")
        found = written(scene.into)
        assert (found.stage, found.metrics) == ("trained", {})
        assert found.reused_from == ReusedFrom(commit=MAIN, evaluated=False)
        assert {path.name for path in scene.into.path.iterdir()} == {"run.json", "model"}

    def test_is_evaluated_where_a_column_is_asked_for_that_was_not_kept(self, scene: Scene) -> None:
        scene.record()
        scene.policy = {**POLICY, "slices": ["label", "weather"]}
        taken = scene.take()
        assert taken is not None
        assert taken.record.stage == "trained"

    def test_comes_from_where_models_are_kept(self, scene: Scene) -> None:
        models = Models(Place(str(scene.root / "kept"), key="baseline.models"), "tiny")
        run = scene.record()
        models.keep(run.parent, now=datetime.now(timezone.utc))
        (run / "model").unlink()
        wanted = replace(WANTED, evaluation=scene.evaluator.fingerprint, model=True)
        assert scene.take(wanted) is None, "a release needs the model"
        taken = scene.take(wanted, fetch=models.fetch_model)
        assert taken is not None
        assert (scene.into.path / "model").read_text() == "weights"
        assert taken.record.stage == "evaluated"

    def test_that_is_gone_or_another_one_is_trained_again(self, scene: Scene) -> None:
        run = scene.record()
        scene.policy = {**POLICY, "evaluate": {"run": "exit 4"}}
        (run / "model").write_text("other weights")
        assert scene.take() is None
        (run / "model").unlink()
        assert scene.take() is None
        assert not scene.into.path.exists()

    def test_is_not_evaluated_where_there_is_no_evaluation(self, scene: Scene) -> None:
        scene.record()
        scene.policy = {key: value for key, value in POLICY.items() if key != "evaluate"}
        assert scene.take() is None


class TestNothingIsReused:
    @pytest.mark.parametrize(
        "other",
        [
            {"training": OTHER},
            {"name": "another"},
            {"stage": "trained"},
            {"seed": 1},
            {"commit": None},
            {"commit": "not a commit"},
            {"golden_digest": OTHER},
            {"fingerprints": Fingerprints(training=TRAINING, test_set=OTHER, reference_columns=("label",))},
        ],
        ids=str,
    )
    def test_of_another_training_or_half_a_run(self, other: dict[str, Any], scene: Scene) -> None:
        changed = {"commit": MAIN, **other}
        run = scene.record(model=None, **{key: value for key, value in other.items() if key in {"training", "name", "stage"}})
        found = runs.read_record(run)
        assert found is not None
        runs.write_record(run, found.model_copy(update=changed))
        assert scene.take() is None
        assert not scene.into.path.exists()

    @pytest.mark.parametrize("content", ["", "{", '{"schema": "metricgate.run/1", "metrics": {"accuracy": {"value": NaN}}}'])
    def test_whose_record_is_none(self, content: str, scene: Scene) -> None:
        (scene.record() / "run.json").write_text(content)
        assert scene.take() is None

    def test_whose_scores_were_changed_or_cut_off(self, scene: Scene) -> None:
        run = scene.record(model=None)
        text = (run / "scores.csv").read_text()
        (run / "scores.csv").write_text(text.replace("7,odd", "1007,odd"))
        assert scene.take() is None
        (run / "scores.csv").write_text(text[: len(text) // 2])
        assert scene.take() is None
        (run / "scores.csv").unlink()
        assert scene.take() is None

    def test_that_a_link_leads_to(self, scene: Scene, tmp_path: Path) -> None:
        scene.record(tmp_path / "elsewhere")
        scene.recorded.mkdir()
        (scene.recorded / MAIN).symlink_to(tmp_path / "elsewhere")
        assert scene.take() is None
        run = scene.record(commit="c" * 40, model=None)
        shutil.move(run / "scores.csv", tmp_path / "scores.csv")
        (run / "scores.csv").symlink_to(tmp_path / "scores.csv")
        assert scene.take() is None

    def test_of_a_folder_that_is_not_there(self, scene: Scene) -> None:
        assert scene.take() is None

    def test_over_what_is_no_run(self, scene: Scene) -> None:
        scene.record()
        (scene.into.path).mkdir(parents=True)
        (scene.into.path / "thesis.tex").write_text("years of work")
        with pytest.raises(UsageError, match="something else than a run"):
            scene.take()
        assert (scene.into.path / "thesis.tex").read_text() == "years of work"

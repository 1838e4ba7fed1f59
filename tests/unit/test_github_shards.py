"""Seeds over runners: each is trained by one of them, and all of them are there in the end, or nothing is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import run as runs
from metricgate.errors import ExitCode, InputError, StageError, UsageError
from metricgate.github import shards
from metricgate.github.shards import Shard
from metricgate.run import Fingerprints, MetricRecord, RunRecord

HEAD = "a" * 40
PRINTS = Fingerprints(test_set="sha256:s", reference_columns=("label",), evaluation="sha256:e", data="sha256:d")


class TestAPlan:
    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True), st.none() | st.integers(1, 80))
    def test_gives_each_seed_to_one_shard_and_shares_them_evenly(self, seeds: list[int], count: int | None) -> None:
        planned = shards.plan(seeds, count)
        assert [seed for shard in planned for seed in shard.seeds] == seeds
        assert len(planned) == min(len(seeds), count or len(seeds))
        sizes = [len(shard.seeds) for shard in planned]
        assert max(sizes) - min(sizes) <= 1
        assert [shard.number for shard in planned] == list(range(len(planned)))

    @given(st.lists(st.integers(0, 10**6), min_size=1, max_size=60, unique=True), st.integers(1, 9))
    def test_is_read_as_it_was_written(self, seeds: list[int], count: int) -> None:
        planned = shards.plan(seeds, count)
        assert shards.read_matrix(shards.matrix(planned)) == planned

    def test_is_what_a_matrix_takes(self) -> None:
        assert json.loads(shards.matrix(shards.plan([0, 1, 7], 2))) == {
            "include": [
                {"shard": "0", "seeds": "0,1", "title": " (1 of 2: seeds 0, 1)"},
                {"shard": "1", "seeds": "7", "title": " (2 of 2: seed 7)"},
            ]
        }

    def test_has_no_more_jobs_than_github_allows(self) -> None:
        with pytest.raises(UsageError, match="257 shards"):
            shards.plan(range(257))
        assert len(shards.plan(range(1000), 256)) == 256

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "[]",
            "{}",
            '{"include": []}',
            '{"include": [{"shard": "0", "seeds": "0,0"}]}',
            '{"include": [{"shard": "0", "seeds": "0"}, {"shard": "1", "seeds": "0"}]}',
            '{"include": [{"shard": "0", "seeds": "-1"}]}',
            '{"include": [{"shard": "0", "seeds": 0}]}',
            "[" * 100_000,
        ],
    )
    def test_that_is_none_is_refused(self, text: str) -> None:
        with pytest.raises(ValueError, match="the output `matrix` of actions/plan"):
            shards.read_matrix(text)


@dataclass
class Scene:
    """What shards left, each in a folder of its own."""

    folder: Path
    into: Path
    warnings: list[str]

    def leave(self, shard: int, seed: int, *, score: int = 1, folder: str = "", **changed: Any) -> Path:
        path = self.folder / f"model-candidate-shard-{shard}" / (folder or f"seed-{seed}")
        path.mkdir(parents=True)
        (path / "scores.csv").write_text(f"example_id,accuracy\n0,{score}\n")
        fields = {"name": "tiny", "commit": HEAD, "seed": seed, "fingerprints": PRINTS, **changed}
        metrics = {"accuracy": MetricRecord(value=float(score), direction="higher")}
        runs.write_record(path, RunRecord(metrics=metrics, **fields))
        return path

    def merge(self, planned: tuple[Shard, ...] = shards.plan([0, 1, 2], 2)) -> None:
        shards.merge(self.folder, planned, into=self.into, name="tiny", commit=HEAD, warn=self.warnings.append)

    def merged(self) -> list[str]:
        return sorted(path.relative_to(self.into).as_posix() for path in self.into.rglob("*") if path.is_file())


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = Scene(tmp_path / "what the shards left", tmp_path / "merged", [])
    made.folder.mkdir()
    return made


@pytest.fixture
def whole(scene: Scene) -> Scene:
    for shard, seed in ((0, 0), (0, 1), (1, 2)):
        scene.leave(shard, seed)
    return scene


class TestTheRunsOfAllShards:
    def test_are_one_folder(self, whole: Scene) -> None:
        (whole.folder / "model-candidate-shard-1" / "seed-2" / "model").write_text("weights")
        whole.merge()
        assert whole.merged() == [f"seed-{seed}/{file}" for seed in range(3) for file in ("run.json", "scores.csv")]
        assert whole.warnings == []

    def test_may_lie_without_folders_of_their_own(self, scene: Scene) -> None:
        for seed in range(3):
            scene.leave(0, seed)
        (scene.folder / "model-candidate-shard-0").rename(scene.folder.parent / "flat")
        scene.folder = scene.folder.parent / "flat"
        scene.merge()
        assert len(scene.merged()) == 6

    def test_count_once_where_one_is_there_twice_and_the_same(self, whole: Scene) -> None:
        whole.leave(1, 0)
        whole.merge()
        assert len(whole.merged()) == 6

    def test_of_runners_with_different_packages_are_told_apart(self, whole: Scene) -> None:
        record = RunRecord(name="tiny", commit=HEAD, seed=2, fingerprints=PRINTS.model_copy(update={"environment": "sha256:x"}))
        runs.write_record(whole.folder / "model-candidate-shard-1" / "seed-2", record)
        whole.merge()
        assert "different packages" in whole.warnings[0]


class TestNothingIsMerged:
    def refused(self, scene: Scene, match: str, kind: type[Exception] = StageError) -> Exception:
        with pytest.raises(kind, match=match) as caught:
            scene.merge()
        assert not scene.into.exists()
        assert [path.name for path in scene.into.parent.iterdir() if path.name.startswith(".")] == []
        return caught.value

    def test_where_a_shard_left_nothing(self, scene: Scene) -> None:
        scene.leave(0, 0)
        scene.leave(0, 1)
        error = self.refused(scene, r"seed 2 is missing: shard 1 \(seed 2\) left not all runs")
        assert isinstance(error, StageError)
        assert error.exit_code == ExitCode.STAGE_FAILED

    def test_where_a_shard_left_a_part(self, scene: Scene) -> None:
        scene.leave(0, 0)
        scene.leave(1, 2)
        self.refused(scene, r"seed 1 is missing: shard 0 \(seeds 0, 1\)")

    def test_where_no_shard_left_anything(self, scene: Scene) -> None:
        self.refused(scene, r"seeds 0, 1, 2 are missing: shard 0 .* and shard 1 .* left no runs")
        scene.folder.rmdir()
        self.refused(scene, "seeds 0, 1, 2 are missing")

    def test_where_a_seed_is_there_twice_and_the_two_differ(self, whole: Scene) -> None:
        whole.leave(1, 0, score=0)
        self.refused(whole, "seed 0 is there twice, and the two differ")

    def test_where_nobody_was_to_train_a_seed(self, whole: Scene) -> None:
        whole.leave(1, 9)
        self.refused(whole, "seed 9, which no shard was to train")

    @pytest.mark.parametrize(
        ("other", "match"),
        [
            ({"commit": "b" * 40}, "a run of commit bbbbbbbbbbbb, and this is aaaaaaaaaaaa"),
            ({"commit": None}, "a run of commit None"),
            ({"name": "another"}, "a run of `another`, and this is `tiny`"),
            (
                {"fingerprints": PRINTS.model_copy(update={"test_set": "sha256:x"})},
                "the test set differs between the shards: seed 0 and seed 2",
            ),
            ({"fingerprints": PRINTS.model_copy(update={"test_set": None})}, "the test set differs"),
            ({"fingerprints": PRINTS.model_copy(update={"evaluation": "sha256:x"})}, "the evaluation differs"),
            ({"fingerprints": PRINTS.model_copy(update={"data": "sha256:x"})}, "the training data differs"),
            ({"fingerprints": PRINTS.model_copy(update={"training": "sha256:x"})}, "the training differs"),
        ],
    )
    def test_where_one_is_of_another_kind(self, other: Mapping[str, Any], match: str, scene: Scene) -> None:
        scene.leave(0, 0)
        scene.leave(0, 1)
        scene.leave(1, 2, **other)
        self.refused(scene, match)

    @pytest.mark.parametrize(
        "other", [{"stage": "trained"}, {"folder": "seed-1"}, {"seed": None}], ids=["not evaluated", "another seed", "no seed"]
    )
    def test_where_one_is_no_run_of_its_seed(self, other: Mapping[str, Any], scene: Scene) -> None:
        record = {"name": "tiny", "commit": HEAD, "fingerprints": PRINTS, "seed": 2, **other}
        folder = scene.folder / "model-candidate-shard-1" / str(record.pop("folder", "seed-2"))
        folder.mkdir(parents=True)
        runs.write_record(folder, RunRecord(**record))
        self.refused(scene, "no evaluated run of its seed", InputError)

    @pytest.mark.parametrize("content", ["", "{", '{"schema": "metricgate.run/1", "seed": "two"}'])
    def test_where_a_file_is_empty_or_malformed(self, content: str, whole: Scene) -> None:
        (whole.folder / "model-candidate-shard-1" / "seed-2" / "run.json").write_text(content)
        self.refused(whole, "run.json", InputError)

    def test_where_there_is_only_a_folder(self, whole: Scene) -> None:
        (whole.folder / "model-candidate-shard-1" / "seed-2" / "run.json").unlink()
        self.refused(whole, "there is no run.json", InputError)

    def test_through_a_link(self, scene: Scene, tmp_path: Path) -> None:
        scene.leave(0, 0)
        scene.leave(0, 1)
        elsewhere = Scene(tmp_path / "elsewhere", tmp_path / "nowhere", [])
        elsewhere.leave(1, 2)
        (scene.folder / "model-candidate-shard-1").symlink_to(elsewhere.folder / "model-candidate-shard-1")
        self.refused(scene, "seed 2 is missing")

    def test_over_what_is_there(self, whole: Scene) -> None:
        whole.into.mkdir()
        with pytest.raises(UsageError, match="there already"):
            whole.merge()


class TestTheJobsOfTheShards:
    PLAN = shards.plan([0, 1, 2], 2)

    def test_have_to_go_well(self, whole: Scene) -> None:
        shards.require({"plan": "success", "train": "success"}, whole.folder, self.PLAN)
        with pytest.raises(StageError, match="the job `train` failed, though all seeds left runs"):
            shards.require({"plan": "success", "train": "failure"}, whole.folder, self.PLAN)

    @pytest.mark.parametrize(("result", "what"), [("failure", "failed"), ("cancelled", "was cancelled")])
    def test_are_named_with_the_seeds_that_are_missing(self, result: str, what: str, scene: Scene) -> None:
        scene.leave(0, 0)
        scene.leave(0, 1)
        with pytest.raises(StageError, match=rf"seed 2 is missing: shard 1 \(seed 2\) .*; the job `train` {what}"):
            shards.require({"plan": "success", "train": result}, scene.folder, self.PLAN)

"""Several runners share the seeds, and none trains what is recorded: the actions' stages in a real repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tests.action_scene import Checkout

CONFIG = """\
name: tiny
train: {run: 'echo "trained $METRICGATE_SEED" >> SIDE/trained; cp settings.ini model', seeds: [0, 1, 2], inputs: [settings.ini]}
evaluate: {run: 'cp answers.csv "$METRICGATE_RUN_DIR/scores.csv"'}
model: model
metrics: {accuracy: {direction: higher}}
gate: {rules: [{metric: accuracy, max_regression: 0}]}
baseline: {store: "SIDE/store", models: "SIDE/models"}
"""
ANSWERS = "example_id,accuracy\n" + "".join(f"e{i:03d},{int(i % 10 > 0)}\n" for i in range(200))
PUSH = {"ref": "refs/heads/main"}


def change(base: str, head: str) -> dict[str, object]:
    here = {"full_name": "acme/model"}
    sides = {"base": {"sha": base, "ref": "main", "repo": here}, "head": {"sha": head, "repo": here}}
    return {"action": "opened", "pull_request": {"number": 7, **sides}}


@pytest.fixture
def work(tmp_path: Path) -> Checkout:
    side = tmp_path / "side"
    side.mkdir()
    return Checkout.make(
        tmp_path, metricgate__yaml=CONFIG.replace("SIDE", str(side)), answers__csv=ANSWERS, settings__ini="rate = 1\n"
    )


def trainings(work: Checkout) -> int:
    return len((work.root.parent / "side" / "trained").read_text().splitlines())


def record(folder: Path, seed: int) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / f"seed-{seed}" / "run.json").read_text())
    return found


class TestWhatIsRecorded:
    def test_is_not_trained_again_for_a_change_nor_for_its_merge(self, work: Checkout) -> None:
        base = work.head
        work.step("check", PUSH, event_name="push")
        assert trainings(work) == 3
        head = work.commit("A change of the docs", README__md="What this is for.\n")
        code, log = work.step("check", change(base, head))
        assert (code, trainings(work)) == (0, 3), log
        assert work.outputs["verdict"] == "pass"
        assert record(Path(work.outputs["run-dir"]), 0)["reused_from"] == {"commit": base, "evaluated": True}
        code, log = work.step("check", PUSH, event_name="push")
        assert (code, trainings(work)) == (0, 3), log
        kept = work.root.parent / "side" / "models" / "models" / "tiny" / head
        assert list(kept.glob("kept-*.json")), "a release of the merge needs its model there"

    def test_is_evaluated_where_the_evaluation_changed(self, work: Checkout) -> None:
        base = work.head
        work.step("check", PUSH, event_name="push")
        policy = (work.root / "metricgate.yaml").read_text().replace("cp answers.csv", "sed s/e0/x0/ answers.csv > x; cp x")
        head = work.commit("Other ids", metricgate__yaml=policy)
        code, log = work.step("check", change(base, head))
        assert (code, trainings(work)) == (0, 3), log
        assert record(Path(work.outputs["run-dir"]), 0)["reused_from"] == {"commit": base, "evaluated": False}
        assert "x000" in (Path(work.outputs["run-dir"]) / "seed-0" / "scores.csv").read_text()

    def test_is_not_taken_from_what_a_change_brings_along(self, work: Checkout) -> None:
        code, _ = work.step("train", PUSH, event_name="push", run_dir="first")
        assert code == 0
        code, _ = work.step("evaluate", PUSH, event_name="push", run_dir="first")
        assert code == 0
        (work.root / ".metricgate" / "runs").mkdir(parents=True)
        (work.root / "first").rename(work.root / ".metricgate" / "runs" / "forged")
        code, log = work.step("train", PUSH, event_name="push", run_dir="second")
        assert (code, trainings(work)) == (0, 6), log

    def test_is_handed_to_the_training_by_an_input(self, work: Checkout) -> None:
        for stage in ("train", "evaluate"):
            code, log = work.step(stage, PUSH, event_name="push", run_dir="first")
            assert code == 0, log
        code, log = work.step("train", PUSH, event_name="push", run_dir="second", recorded=str(work.root / "first"), seeds="1")
        assert (code, trainings(work)) == (0, 3), log
        assert record(work.root / "second", 1)["stage"] == "evaluated"
        code, log = work.step("evaluate", PUSH, event_name="push", run_dir="second")
        assert code == 0, log


class TestShards:
    def test_are_planned_trained_apart_and_merged(self, work: Checkout) -> None:
        code, log = work.step("plan", PUSH, event_name="push", shards="2")
        assert code == 0, log
        planned = work.outputs
        assert (planned["shards"], planned["seeds"]) == ("2", "0,1,2")
        for entry in json.loads(planned["matrix"])["include"]:
            place = f"shards/tiny-{entry['shard']}"
            for stage, more in (("train", {"seeds": entry["seeds"]}), ("evaluate", {})):
                code, log = work.step(stage, PUSH, event_name="push", run_dir=place, **more)
                assert code == 0, log
        needs = json.dumps({"plan": {"result": "success"}, "train": {"result": "success"}})
        code, log = work.step("merge", PUSH, event_name="push", runs="shards", matrix=planned["matrix"], needs=needs)
        assert code == 0, log
        merged = Path(work.outputs["run-dir"])
        assert [record(merged, seed)["seed"] for seed in range(3)] == [0, 1, 2]
        assert work.outputs["problem"] == ""
        code, log = work.step("compare", PUSH, event_name="push", candidate=str(merged))
        assert code == 0, log

    def test_of_which_one_is_missing_fail_and_say_which(self, work: Checkout) -> None:
        work.step("plan", PUSH, event_name="push")
        planned = work.outputs
        assert planned["shards"] == "3", "one for each seed, where nothing is said"
        for stage, more in (("train", {"seeds": "0"}), ("evaluate", {})):
            work.step(stage, PUSH, event_name="push", run_dir="shards/tiny-0", **more)
        needs = json.dumps({"plan": {"result": "success"}, "train": {"result": "failure"}})
        code, log = work.step("merge", PUSH, event_name="push", runs="shards", matrix=planned["matrix"], needs=needs)
        assert code == 5
        said = "seeds 1, 2 are missing: shard 1 (seed 1) and shard 2 (seed 2) left not all runs; the job `train` failed"
        assert said in log
        assert work.outputs == {"problem": said}

    def test_of_which_nothing_is_there_fail(self, work: Checkout) -> None:
        work.step("plan", PUSH, event_name="push")
        code, log = work.step("merge", PUSH, event_name="push", runs="nowhere", matrix=work.outputs["matrix"])
        assert code == 5
        assert "seeds 0, 1, 2 are missing" in log

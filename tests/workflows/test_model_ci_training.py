"""`uses: …/.github/workflows/model-ci.yml@v1`: seeds over several runners, nothing trained twice, and going on elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from metricgate import init

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Outcome, Repository

pytestmark = pytest.mark.slow

PUSH = {"ref": "refs/heads/main"}
NUMBER = 7


def workflow(**inputs: str) -> str:
    """What `metricgate init` writes, with more inputs."""
    given = "".join(f"      {name.replace('_', '-')}: {value}\n" for name, value in inputs.items())
    return f"{init.workflow().rstrip()}\n{given}"


def report(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((outcome.artifacts / "model-report" / "report.json").read_text())
    return document


class TestSeveralRunners:
    def test_share_the_seeds_and_their_runs_are_judged_and_recorded_together(
        self, act: Act, repository: Callable[[str], Repository]
    ) -> None:
        scratch = repository(workflow(shards="2", keep_model="true"))
        outcome = act.run(scratch, "push", PUSH)
        assert outcome.jobs == dict.fromkeys(("find", "plan", "train", "merge", "judge", "record", "note"), "success")
        assert report(outcome)["candidate"]["seeds"] == [0, 1, 2]
        kept = {path.name: sorted(run.name for run in path.iterdir()) for path in outcome.artifacts.glob("model-candidate*")}
        assert kept == {
            "model-candidate-shard-0": ["seed-0", "seed-1"],
            "model-candidate-shard-1": ["seed-2"],
            "model-candidate": ["seed-0", "seed-1", "seed-2"],
        }
        recorded = {path.split("/")[3] for path in scratch.remote.files("metricgate") if path.endswith("run.json")}
        assert recorded == {"seed-0", "seed-1", "seed-2"}
        weights = outcome.artifacts / "model-weights"
        assert sorted(path.relative_to(weights).as_posix() for path in weights.rglob("*") if path.is_file()) == [
            f"seed-{seed}/model" for seed in range(3)
        ]

    def test_of_which_one_fails_give_no_verdict_and_it_is_said_whose_runs_are_missing(
        self, act: Act, repository: Callable[[str], Repository]
    ) -> None:
        scratch = repository(workflow(shards="2"))
        broken = "weight = 1.0 + random.Random(seed).gauss(0, 0.01)\nassert seed != 2, 'this seed diverges'"
        scratch.change("fragile", scratch.replace("train.py", broken.split("\n", maxsplit=1)[0], broken))
        outcome = act.run(scratch, "pull_request", scratch.pull_request("fragile"))
        assert outcome.jobs == {
            **dict.fromkeys(("find", "plan", "baseline"), "success"),
            **dict.fromkeys(("train", "merge", "judge"), "failure"),
        }
        assert "seed 2 is missing: shard 1 (seed 2) left not all runs" in outcome.summaries
        judged = next(text for text in outcome.annotations if "there is nothing to judge" in text)
        assert "the job `merge` failed: seed 2 is missing" in judged, "the check that is required says it too"


@pytest.fixture(scope="module")
def recorded(
    act: Act, repository_of_the_module: Callable[[str], Repository], tmp_path_factory: pytest.TempPathFactory
) -> Repository:
    """A repository that says what its training depends on; its main is recorded, and the models are kept."""
    scratch = repository_of_the_module(workflow())
    policy = scratch.replace("metricgate.yaml", "seeds:", "inputs: [train.py], seeds:")["metricgate.yaml"]
    models = tmp_path_factory.mktemp("kept") / "models"
    scratch.commit("Keep models", {"metricgate.yaml": f"{policy}baseline: {{models: '{models}'}}\n"})
    pushed = act.run(scratch, "push", PUSH)
    assert pushed.jobs["record"] == "success"
    return scratch


def test_a_changed_evaluation_is_put_to_the_recorded_model(act: Act, recorded: Repository) -> None:
    trained = ("train.py", "weight = 1.0 + random.Random(seed).gauss(0, 0.01)", "weight = random.Random(seed).gauss(1.0, 0.01)")
    recorded.change("other", {**recorded.replace(*trained), **recorded.replace("evaluate.py", "range(600)", "range(700)")})
    outcome = act.run(recorded, "pull_request", recorded.pull_request("other"))
    assert outcome.jobs == dict.fromkeys(("find", "train", "baseline", "judge", "note"), "success")
    assert "Evaluate the recorded baseline, as this change is evaluated" in outcome.log
    assert "Train the baseline" not in outcome.log
    assert "not trained again" not in outcome.log
    found = report(outcome)
    assert found["baseline"]["commits_before"] == 0
    assert found["verdict"] != "not_comparable"
    assert "This change alters how models are evaluated" in recorded.remote.comments(NUMBER)[0]["body"]


def test_what_does_not_touch_the_training_is_judged_with_the_recorded_runs(act: Act, recorded: Repository) -> None:
    main = recorded.git("rev-parse", "main")
    recorded.change("docs", {"README.md": "What this model is for.\n"})
    outcome = act.run(recorded, "pull_request", recorded.pull_request("docs"))
    assert outcome.jobs == dict.fromkeys(("find", "train", "judge", "note"), "success")
    for seed in range(3):
        assert f"seed {seed}: not trained again: the same training is recorded at {main[:7]}" in outcome.log
    assert "printed by the training" not in outcome.log
    found = report(outcome)
    assert found["verdict"] == "pass"
    compared = [rule for rule in found["rules"] if rule["kind"] == "max_regression"]
    assert {rule["method"] for rule in compared} == {"no test, the same runs on both sides"}
    record = json.loads((outcome.artifacts / "model-candidate" / "seed-0" / "run.json").read_text())
    assert record["reused_from"] == {"commit": main, "evaluated": True}


def test_an_unfinished_training_is_gone_on_with_by_another_runner(act: Act, repository: Callable[[str], Repository]) -> None:
    scratch = repository(workflow(checkpoint_cache="true"))
    begun = 'begun = pathlib.Path(os.environ["METRICGATE_CHECKPOINT_DIR"], "begun")'
    broken = f"{begun}\nif not begun.exists():\n    begun.touch()\n    raise SystemExit(75)\nprint('goes on')\n"
    scratch.commit("Slow", {"train.py": f"import os, pathlib\n{broken}{(scratch.root / 'train.py').read_text()}"})
    seeds = scratch.replace("metricgate.yaml", "seeds: [0, 1, 2]", "seeds: [0]")
    scratch.commit("One seed", seeds)
    first = act.run(scratch, "push", PUSH)
    assert first.jobs["train"] == "failure"
    (kept,) = (first.artifacts.parent / "caches").iterdir()
    assert kept.name.startswith(f"metricgate-checkpoints-model-Linux-{scratch.git('rev-parse', 'HEAD')}-")
    assert not (scratch.root / ".metricgate").exists(), "it would be found without the cache"
    second = act.run(scratch, "push", PUSH)
    assert second.jobs["train"] == "success"
    assert "goes on" in second.log

"""`uses: …/.github/workflows/model-ci.yml@v1`: training on one runner, judging on another."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from metricgate import init

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Outcome, Repository

NUMBER = 7
pytestmark = pytest.mark.slow

# What `metricgate init` writes, and a job that wants to know the verdict.
WORKFLOW = (
    init.workflow()
    + """\
  after:
    needs: [model]
    runs-on: ubuntu-latest
    steps:
      - run: echo "the verdict arrived as <$VERDICT>"
        env: {VERDICT: "${{ needs.model.outputs.verdict }}"}
"""
)
TRAINED = {"find": "success", "train": "success", "baseline": "success", "note": "success"}
PUSHED = {"find": "success", "train": "success", "judge": "success", "record": "success", "note": "success", "after": "success"}
HARM = ("train.py", "weight = 1.0", "weight = 1.1")
REFACTORING = ("train.py", "weight = 1.0 + random.Random(seed).gauss(0, 0.01)", "weight = random.Random(seed).gauss(1.0, 0.01)")


@pytest.fixture
def scratch(repository: Callable[[str], Repository]) -> Repository:
    return repository(WORKFLOW)


def report(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((outcome.artifacts / "model-report" / "report.json").read_text())
    return document


def test_a_harmful_pull_request_is_blocked_by_the_judging_job(act: Act, scratch: Repository) -> None:
    scratch.change("faster", scratch.replace(*HARM))
    outcome = act.run(scratch, "pull_request", scratch.pull_request("faster"))
    assert outcome.jobs == {**TRAINED, "judge": "failure"}
    assert "❌ tiny: accuracy fell" in outcome.summaries
    assert report(outcome)["verdict"] == "fail"
    (comment,) = scratch.remote.comments(NUMBER)
    assert "❌ tiny: accuracy fell" in comment["body"]
    assert [check["conclusion"] for check in scratch.remote.check_runs(scratch.git("rev-parse", "faster"))] == ["failure"]


def test_a_push_is_recorded_and_the_next_change_and_the_next_push_are_compared_with_it(act: Act, scratch: Repository) -> None:
    pushed = act.run(scratch, "push", {"ref": "refs/heads/main"})
    assert pushed.jobs == PUSHED
    files = {str(path.relative_to(pushed.artifacts)) for path in pushed.artifacts.rglob("*") if path.is_file()}
    for seed in range(3):
        assert {f"model-candidate/seed-{seed}/{name}" for name in ("run.json", "scores.csv")} <= files
    assert not [name for name in files if "model.json" in name or name.endswith("/model")], "weights left the runner"

    scratch.change("faster", scratch.replace(*HARM))
    outcome = act.run(scratch, "pull_request", scratch.pull_request("faster"))
    assert outcome.jobs == {"find": "success", "train": "success", "judge": "failure", "note": "success"}, (
        "no baseline had to be trained"
    )
    assert "installing the locked environment" not in outcome.log, "that of the push is found"
    assert report(outcome)["baseline"]["commits_before"] == 0
    assert report(outcome)["reuse"]["count"] == 2, "the push got the first verdict on this test set"
    kept = scratch.remote.files("metricgate")
    assert len([path for path in kept if path.startswith("verdicts/")]) == 2
    (said,) = [path for path in kept if path.startswith("reports/")]
    assert scratch.git("rev-parse", "main") in said, "the merge commit of a pull request is nobody's"
    assert "the merge-base, recorded 20" in scratch.remote.comments(NUMBER)[0]["body"]

    scratch.git("checkout", "--quiet", "main")
    scratch.git("merge", "--quiet", "faster")
    outcome = act.run(scratch, "push", {"ref": "refs/heads/main"})
    assert outcome.jobs == {**{job: result for job, result in PUSHED.items() if job != "after"}, "judge": "failure"}
    assert report(outcome)["verdict"] == "fail"
    assert report(outcome)["baseline"]["commit"] == scratch.git("rev-parse", "main~1")
    recorded = {path.split("/")[2] for path in scratch.remote.files("metricgate") if path.startswith("runs/")}
    assert recorded == {scratch.git("rev-parse", "main"), scratch.git("rev-parse", "main~1")}


def test_a_harmless_pull_request_is_green_and_its_verdict_arrives(act: Act, scratch: Repository) -> None:
    scratch.change("tidy", scratch.replace(*REFACTORING))
    outcome = act.run(scratch, "pull_request", scratch.pull_request("tidy"))
    assert outcome.jobs == {
        "find": "success",
        "train": "success",
        "baseline": "success",
        "judge": "success",
        "note": "success",
        "after": "success",
    }
    assert "the verdict arrived as <pass>" in outcome.log
    assert report(outcome)["baseline"]["commit"] == scratch.git("rev-parse", "main")


def test_a_merge_group_is_judged_too(act: Act, scratch: Repository) -> None:
    scratch.change("faster", scratch.replace(*HARM))
    outcome = act.run(scratch, "merge_group", scratch.merge_group("faster"))
    assert outcome.jobs == {**TRAINED, "judge": "failure"}


def test_a_training_that_fails_never_counts_as_a_pass(act: Act, scratch: Repository) -> None:
    scratch.change("broken", {"train.py": "raise SystemExit(9)\n"})
    outcome = act.run(scratch, "pull_request", scratch.pull_request("broken"))
    assert outcome.jobs == {"find": "success", "train": "failure", "baseline": "success", "judge": "failure"}
    assert "the job `train` failed" in outcome.summaries


def test_code_from_a_fork_is_not_run_and_not_passed(act: Act, scratch: Repository) -> None:
    scratch.change("patch", scratch.replace(*REFACTORING))
    outcome = act.run(scratch, "pull_request", scratch.pull_request("patch", fork=True))
    assert outcome.jobs == {"find": "success", "judge": "failure"}
    assert "code from a fork is not run on these runners" in outcome.summaries


def test_the_first_pull_request_with_a_model_has_no_baseline_and_says_so(act: Act, scratch: Repository) -> None:
    files = {name: (scratch.root / name).read_text() for name in ("metricgate.yaml", "train.py", "evaluate.py")}
    scratch.git("rm", "--quiet", *files)
    scratch.git("commit", "--quiet", "--message", "No model yet")
    scratch.change("first", files)
    outcome = act.run(scratch, "pull_request", scratch.pull_request("first"))
    assert outcome.jobs == {"find": "success", "train": "success", "judge": "success", "note": "success", "after": "success"}
    assert report(outcome)["verdict"] == "not_comparable"
    assert "judged by its own policy" in outcome.summaries


def test_during_an_outage_of_the_api_a_change_is_judged_all_the_same(act: Act, scratch: Repository) -> None:
    scratch.change("faster", scratch.replace(*HARM))
    event = scratch.pull_request("faster")
    scratch.github.url = "http://127.0.0.1:1/api/v3"
    outcome = act.run(scratch, "pull_request", event)
    assert outcome.jobs == {**TRAINED, "judge": "failure"}
    assert report(outcome)["verdict"] == "fail"
    assert "The report could not be shown on the pull request" in outcome.log

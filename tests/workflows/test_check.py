"""`uses: …/metricgate@v1`: the whole check as one step."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from metricgate import __version__
from metricgate.github import reference

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Outcome, Repository

pytestmark = pytest.mark.slow

NUMBER = 7

USES = f"uses: {reference.SLUG}@v{__version__}"
WORKFLOW = f"""
    name: model
    on: [pull_request, push, merge_group]
    jobs:
      model:
        runs-on: ubuntu-latest
        steps:
          - uses: actions/checkout@v7
          - id: check
            {USES}
          - if: always()
            run: printf '%s' "$OUTPUTS" > "$STAND_IN_ARTIFACTS/outputs.json"; cp "$REPORT" "$MARKDOWN" "$STAND_IN_ARTIFACTS"
            env:
              OUTPUTS: ${{{{ toJSON(steps.check.outputs) }}}}
              REPORT: ${{{{ steps.check.outputs.report }}}}
              MARKDOWN: ${{{{ steps.check.outputs.markdown }}}}
    """


@pytest.fixture
def scratch(repository: Callable[[str], Repository]) -> Repository:
    return repository(WORKFLOW)


def outputs(outcome: Outcome) -> dict[str, str]:
    document: dict[str, str] = json.loads((outcome.artifacts / "outputs.json").read_text())
    return document


def report(outcome: Outcome) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((outcome.artifacts / "report.json").read_text())
    return document


HARM = ("train.py", "weight = 1.0", "weight = 1.1")
REFACTORING = ("train.py", "weight = 1.0 + random.Random(seed).gauss(0, 0.01)", "weight = random.Random(seed).gauss(1.0, 0.01)")


def test_a_harmful_change_fails_with_its_report_in_the_summary(act: Act, scratch: Repository) -> None:
    scratch.change("faster", scratch.replace(*HARM))
    outcome = act.run(scratch, "pull_request", scratch.pull_request("faster"))
    assert outcome.jobs == {"model": "failure"}
    assert "❌ tiny: accuracy fell" in outcome.summaries
    assert outputs(outcome)["verdict"] == "fail"
    assert outputs(outcome)["exit-code"] == "1"
    (comment,) = scratch.remote.comments(NUMBER)
    assert outputs(outcome)["comment-url"] == comment["html_url"]
    assert "❌ tiny: accuracy fell" in comment["body"]
    assert report(outcome)["verdict"] == "fail"
    assert (outcome.artifacts / "report.md").read_text() in outcome.summaries
    # On the line of the rule that failed; and what the training prints is not an annotation of ours.
    assert any("file=metricgate.yaml,line=12" in annotation for annotation in outcome.annotations)
    assert not any("printed by the training" in annotation for annotation in outcome.annotations)
    assert "printed by the training" in outcome.log


def test_a_harmless_change_is_green(act: Act, scratch: Repository) -> None:
    scratch.change("tidy", scratch.replace(*REFACTORING))
    outcome = act.run(scratch, "pull_request", scratch.pull_request("tidy"))
    assert outcome.jobs == {"model": "success"}
    assert "✅ tiny: no regression" in outcome.summaries
    assert outputs(outcome)["verdict"] == "pass"
    assert outputs(outcome)["exit-code"] == "0"
    assert not any(annotation.startswith("error") for annotation in outcome.annotations)


def test_a_merge_group_is_judged_like_a_pull_request(act: Act, scratch: Repository) -> None:
    scratch.change("faster", scratch.replace(*HARM))
    outcome = act.run(scratch, "merge_group", scratch.merge_group("faster"))
    assert outcome.jobs == {"model": "failure"}
    assert outputs(outcome)["verdict"] == "fail"


def test_a_push_is_held_to_the_absolute_bounds_only(act: Act, scratch: Repository) -> None:
    outcome = act.run(scratch, "push", {})
    assert outcome.jobs == {"model": "success"}
    document = report(outcome)
    assert [rule["kind"] for rule in document["rules"]] == ["min"]
    assert outputs(outcome)["verdict"] == "pass"


def test_a_change_cannot_loosen_its_own_gate(act: Act, scratch: Repository) -> None:
    loosened = scratch.replace("metricgate.yaml", "max_regression: 0.02", "max_regression: 0.5")
    scratch.change("generous", {**scratch.replace(*HARM), **loosened})
    outcome = act.run(scratch, "pull_request", scratch.pull_request("generous"))
    assert outcome.jobs == {"model": "failure"}
    assert report(outcome)["policy_changed"] is True
    assert "0.02 → 0.5" in outcome.summaries


def test_a_folder_of_runs_can_be_the_baseline(act: Act, repository: Callable[[str], Repository]) -> None:
    scratch = repository(WORKFLOW.replace(USES, f"{USES}\n            with: {{baseline: recorded runs}}"))
    metrics = {f"recorded runs/{seed}/metrics.json": json.dumps({"accuracy": 0.99}) for seed in range(2)}
    scratch.commit("Runs of a better model", metrics)
    outcome = act.run(scratch, "push", {})
    assert report(outcome)["baseline"]["runs"] == 2
    assert "second checkout" not in outcome.log


def test_a_clone_without_the_base_commit_gets_the_yaml_that_fetches_it(act: Act, scratch: Repository) -> None:
    event = scratch.pull_request("main")
    event["pull_request"]["base"]["sha"] = "0123456789" * 4
    outcome = act.run(scratch, "pull_request", event)
    assert outcome.jobs == {"model": "failure"}
    assert "fetch-depth: 0" in outcome.summaries
    assert outputs(outcome)["verdict"] == ""
    assert outputs(outcome)["exit-code"] == "2"

"""The judging stages as actions run them, in a real repository, without a runner."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from metricgate.errors import UsageError
from metricgate.github import action, settings

CONFIG = """\
name: tiny
metrics: {accuracy: {direction: higher}}
gate:
  rules:
    - {metric: accuracy, min: 0.5}
    - {metric: accuracy, max_regression: 0.02}
"""


@dataclass(frozen=True)
class Runner:
    """A job's folders, and what a step said in them."""

    root: Path
    temporary: Path
    event: Mapping[str, object]

    def step(self, stage: str, *, event_name: str = "pull_request", **inputs: str) -> tuple[int, str, str]:
        """Run a stage; its exit code, its log and its summary."""
        for name in ("output", "summary"):
            (self.temporary / name).unlink(missing_ok=True)
        (self.temporary / "event.json").write_text(json.dumps(self.event))
        environ = {
            "GITHUB_WORKSPACE": str(self.root),
            "GITHUB_EVENT_NAME": event_name,
            "GITHUB_EVENT_PATH": str(self.temporary / "event.json"),
            "GITHUB_OUTPUT": str(self.temporary / "output"),
            "GITHUB_STEP_SUMMARY": str(self.temporary / "summary"),
            "RUNNER_TEMP": str(self.temporary),
            **{settings.variable(name.replace("_", "-")): value for name, value in inputs.items()},
        }
        stream = io.StringIO()
        code = action.main(stage, environ, stream=stream)
        summary = self.temporary / "summary"
        return code, stream.getvalue(), summary.read_text() if summary.exists() else ""

    @property
    def outputs(self) -> dict[str, str]:
        """One line each, as all of ours are."""
        lines = (self.temporary / "output").read_text().splitlines()
        return {lines[at].partition("<<")[0]: lines[at + 1] for at in range(0, len(lines), 3)}

    def runs(self, name: str, values: list[float]) -> str:
        """A folder of runs with single metrics."""
        for seed, value in enumerate(values):
            folder = self.temporary / name / f"seed-{seed}"
            folder.mkdir(parents=True)
            (folder / "metrics.json").write_text(json.dumps({"accuracy": {"value": value, "stderr": 0.001, "n": 1000}}))
        return str(self.temporary / name)


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    finished = subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True)
    return finished.stdout.strip()


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    root, temporary = tmp_path / "a checkout", tmp_path / "runner temp"
    for folder in (root, temporary):
        folder.mkdir()
    git(root, "init", "--quiet", "--initial-branch", "main")
    (root / "metricgate.yaml").write_text(CONFIG)
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "A policy")
    base = git(root, "rev-parse", "HEAD")
    git(root, "commit", "--quiet", "--allow-empty", "--message", "A change")
    head = git(root, "rev-parse", "HEAD")
    here = {"full_name": "acme/model"}
    change = {"number": 7, "base": {"sha": base, "repo": here}, "head": {"sha": head, "repo": here}}
    return Runner(root, temporary, {"pull_request": change})


GOOD, BAD = [0.951, 0.949, 0.950], [0.801, 0.799, 0.800]


def test_a_comparison_explains_a_regression_and_leaves_failing_to_the_gate(runner: Runner) -> None:
    code, log, summary = runner.step("compare", baseline=runner.runs("old", GOOD), candidate=runner.runs("new", BAD))
    outputs = runner.outputs
    assert code == 0
    assert (outputs["verdict"], outputs["exit-code"], outputs["comment-url"]) == ("fail", "1", "")
    assert "❌ tiny: accuracy fell" in summary
    assert summary == Path(outputs["markdown"]).read_text()
    assert "::error title=tiny%3A accuracy failed,file=metricgate.yaml,line=6::" in log
    code, log, _ = runner.step("gate", report=outputs["report"])
    assert code == 1
    assert "accuracy fell" in log
    assert runner.outputs == {"verdict": "fail", "exit-code": "1"}


def test_a_healthy_change_passes_the_gate(runner: Runner) -> None:
    code, log, _ = runner.step("compare", baseline=runner.runs("old", GOOD), candidate=runner.runs("new", GOOD[::-1]))
    assert code == 0
    assert "::error" not in log
    assert runner.step("gate", report=runner.outputs["report"])[0] == 0


def test_the_policy_in_force_is_that_of_the_base_commit(runner: Runner) -> None:
    (runner.root / "metricgate.yaml").write_text(CONFIG.replace("0.02", "0.9"))
    _, log, summary = runner.step("compare", baseline=runner.runs("old", GOOD), candidate=runner.runs("new", BAD))
    assert runner.outputs["verdict"] == "fail"
    assert "0.02 → 0.9" in summary
    # The rules that judged stand in another version of the file: no line of this one is theirs.
    assert "::error title=tiny%3A accuracy failed,file=metricgate.yaml::" in log


def test_a_training_that_was_skipped_is_no_verdict_and_no_pass(runner: Runner) -> None:
    needs = json.dumps({"train": {"result": "skipped"}, "baseline": {"result": "success"}})
    code, log, summary = runner.step("compare", needs=needs, candidate=runner.runs("new", GOOD))
    assert code == 5
    assert runner.outputs == {"exit-code": "5"}
    assert "`train` was skipped" in summary
    assert "::error title=The comparison could not be made::" in log


@pytest.mark.parametrize(
    "content", [None, "{}", "not JSON", '{"schema": "metricgate.report/1", "verdict": "pass", "exit_code": 7}']
)
def test_a_gate_without_a_report_that_can_be_read_never_passes(runner: Runner, content: str | None) -> None:
    report = runner.temporary / "report.json"
    if content is not None:
        report.write_text(content)
    code, _, summary = runner.step("gate", report=str(report))
    assert code == 2
    assert "There is no verdict" in summary


def test_inputs_that_cannot_be_used_are_explained_in_the_summary(runner: Runner) -> None:
    code, log, summary = runner.step("compare", config="../elsewhere.yaml")
    assert code == 2
    for name in ("config", "candidate"):
        assert f"`{name}`" in summary
    assert log.count("::error") == 1


def test_a_token_is_masked_before_anything_else_is_said(runner: Runner) -> None:
    _, log, _ = runner.step("check", token="ghs_secret", seeds="0")
    assert log.splitlines()[0] == "::add-mask::ghs_secret"
    assert log.count("ghs_secret") == 1


@pytest.mark.parametrize("stage", ["check", "train", "evaluate", "baseline"])
def test_no_stage_runs_code_for_pull_request_target(runner: Runner, stage: str) -> None:
    (runner.root / "metricgate.yaml").write_text(f"{CONFIG}train: {{run: touch ran}}\n")
    code, _, summary = runner.step(stage, event_name="pull_request_target")
    assert code == 2
    assert "a stranger's code" in summary
    assert not (runner.root / "ran").exists()


def test_an_unknown_stage_is_an_error_that_names_the_known_ones(runner: Runner) -> None:
    with pytest.raises(UsageError, match="no action `deploy`"):
        runner.step("deploy")


@pytest.mark.parametrize("stage", ["check", "train", "evaluate", "compare"])
def test_nothing_is_trained_or_compared_where_the_token_is_not_the_changes(runner: Runner, stage: str) -> None:
    run = {"id": 1, "event": "pull_request", "head_sha": "b" * 40, "head_repository": {"full_name": "stranger/model"}}
    changed = Runner(runner.root, runner.temporary, {"action": "completed", "workflow_run": run})
    inputs = {"candidate": runner.runs("new", GOOD)} if stage == "compare" else {}
    code, log, _ = changed.step(stage, event_name="workflow_run", **inputs)
    assert code == 2
    assert "nothing is trained or compared" in log

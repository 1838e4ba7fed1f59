"""Recording the runs of a push, and finding them again for a change: the actions' stages in a real repository."""

from __future__ import annotations

import io
import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from metricgate.github import action, settings

CONFIG = """\
name: tiny
train: {run: "echo trained > model"}
evaluate: {run: 'cp answers.csv "$METRICGATE_RUN_DIR/scores.csv"'}
model: model
metrics: {accuracy: {direction: higher}}
baseline: {store: "STORE", max_commits: 2}
"""
ANSWERS = "example_id,accuracy\n" + "".join(f"e{i:03d},{int(i % 10 > 0)}\n" for i in range(200))


@dataclass
class Work:
    """A repository with a model, and a runner's folder."""

    root: Path
    temporary: Path
    outputs: Mapping[str, str] = field(default_factory=dict)

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str, **files: str) -> str:
        for name, text in files.items():
            (self.root / name.replace("__", ".")).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.git("rev-parse", "HEAD")

    def step(self, stage: str, *, event_name: str, event: Mapping[str, object], **inputs: str) -> tuple[int, str]:
        (self.temporary / "output").unlink(missing_ok=True)
        (self.temporary / "event.json").write_text(json.dumps(event))
        environ = {
            "PATH": "/usr/bin:/bin",
            "GITHUB_WORKSPACE": str(self.root),
            "GITHUB_EVENT_NAME": event_name,
            "GITHUB_EVENT_PATH": str(self.temporary / "event.json"),
            "GITHUB_OUTPUT": str(self.temporary / "output"),
            "RUNNER_TEMP": str(self.temporary),
            **{settings.variable(name.replace("_", "-")): value for name, value in inputs.items()},
        }
        stream = io.StringIO()
        code = action.main(stage, environ, stream=stream)
        lines = (self.temporary / "output").read_text().splitlines() if (self.temporary / "output").exists() else []
        self.outputs = {lines[at].partition("<<")[0]: lines[at + 1] for at in range(0, len(lines), 3)}
        return code, stream.getvalue()

    def push(self) -> tuple[int, str]:
        """The whole check of a push."""
        return self.step("check", event_name="push", event={"ref": "refs/heads/main"})

    def change(self, base: str, head: str) -> dict[str, object]:
        here = {"full_name": "acme/model"}
        change = {"number": 7, "base": {"sha": base, "ref": "main", "repo": here}, "head": {"sha": head, "repo": here}}
        return {"action": "opened", "pull_request": change}


@pytest.fixture
def work(tmp_path: Path) -> Work:
    root, temporary = tmp_path / "a checkout", tmp_path / "runner temp"
    for folder in (root, temporary):
        folder.mkdir()
    made = Work(root, temporary)
    made.git("init", "--quiet", "--initial-branch", "main")
    made.commit("A model", metricgate__yaml=CONFIG.replace("STORE", str(tmp_path / "store")), answers__csv=ANSWERS)
    return made


def recorded_commits(work: Work) -> Sequence[str]:
    return sorted(path.name for path in (work.root.parent / "store" / "runs" / "tiny").iterdir())


def look(work: Work, base: str, head: str, **inputs: str) -> str:
    code, log = work.step("baseline", event_name="pull_request", event=work.change(base, head), train="false", **inputs)
    assert code == 0, log
    return log


def test_a_push_is_recorded_and_found_for_the_next_change(work: Work) -> None:
    base = work.git("rev-parse", "HEAD")
    code, log = work.push()
    assert (code, recorded_commits(work)) == (0, [base]), log
    head = work.commit("A change")
    log = look(work, base, head)
    assert json.loads(work.outputs["origin"])["commits_before"] == 0
    assert work.outputs["missing"] == "false"
    code, log = work.step(
        "compare",
        event_name="pull_request",
        event=work.change(base, head),
        baseline=work.outputs["run-dir"],
        candidate=work.outputs["run-dir"],
        origin=work.outputs["origin"],
    )
    assert code == 0
    assert "the merge-base, recorded 20" in log


def test_the_nearest_recorded_ancestor_is_the_baseline_and_the_others_are_history(work: Work) -> None:
    for message in ("One", "Two"):
        work.push()
        work.commit(message)
    base = work.commit("Three")
    log = look(work, base, work.commit("A change"))
    assert json.loads(work.outputs["origin"])["commits_before"] == 2, log
    assert len(list(Path(work.outputs["history"]).iterdir())) == 1


def test_beyond_the_limit_the_baseline_is_missing_and_the_command_that_makes_one_is_told(work: Work) -> None:
    work.push()
    for number in range(3):
        base = work.commit(f"{number}")
    head = work.commit("A change")
    log = look(work, base, head)
    assert (work.outputs["run-dir"], work.outputs["missing"]) == ("", "true")
    assert f"git switch --detach {base[:12]} && metricgate run && metricgate record" in log
    code, log = work.step("baseline", event_name="pull_request", event=work.change(base, head))
    assert code == 0
    assert (Path(work.outputs["run-dir"]) / "seed-0" / "run.json").exists(), "without `train: false` it is made"


def test_a_change_of_the_evaluation_evaluates_the_baselines_model_anew(work: Work) -> None:
    base = work.git("rev-parse", "HEAD")
    work.push()
    (work.root / "metricgate.yaml").write_text(
        (work.root / "metricgate.yaml").read_text().replace("cp answers.csv", "sed s/e0/x0/ answers.csv > new.csv; cp new.csv")
    )
    head = work.commit("Other ids")
    log = look(work, base, head)
    assert work.outputs["missing"] == "true"
    assert "evaluated in another way" in log
    code, log = work.step("baseline", event_name="pull_request", event=work.change(base, head))
    assert code == 0, log
    assert "as this change is evaluated" in log
    assert "x000" in (Path(work.outputs["run-dir"]) / "seed-0" / "scores.csv").read_text()


def test_a_store_that_cannot_be_read_is_said_and_a_baseline_made(work: Work) -> None:
    base = work.git("rev-parse", "HEAD")
    work.push()
    next((work.root.parent / "store").rglob("run.json")).write_text("{")
    log = look(work, base, work.commit("A change"))
    assert "::warning title=Recorded runs could not be read" in log
    assert work.outputs["missing"] == "true"

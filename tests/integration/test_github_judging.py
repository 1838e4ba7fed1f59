"""The judging stages against GitHub: what reviewers see on the pull request, and what the job ends with."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.action_scene import Checkout
from tests.github_server import GitHubServer, Repository
from tests.github_server.mirror import mirror

CONFIG = """\
name: tiny
train: {run: "true"}
model: model
metrics: {accuracy: {direction: higher}}
gate:
  rules:
    - {metric: accuracy, max_regression: 0.02}
"""
GOOD, BAD = 20, 60
"""Of 200 examples, how many are wrong."""
ALL = {"contents": "write", "pull_requests": "write", "checks": "write", "statuses": "write", "metadata": "read"}


@dataclass
class Project:
    """A repository here and on GitHub, and a runner's folder."""

    here: Checkout
    github: GitHubServer
    remote: Repository
    token: str
    run: int = 100

    def git(self, *arguments: str) -> str:
        return self.here.git(*arguments)

    @property
    def outputs(self) -> Mapping[str, str]:
        return self.here.outputs

    def commit(self, message: str) -> str:
        head = self.here.commit(message)
        mirror(self.remote, self.here.root)
        return head

    def step(self, stage: str, event: Mapping[str, Any], *, event_name: str = "pull_request", **inputs: str) -> tuple[int, str]:
        self.here.environ = {
            "GITHUB_REPOSITORY": "acme/model",
            "GITHUB_API_URL": self.github.url,
            "GITHUB_SERVER_URL": "https://github.example",
            "GITHUB_RUN_ID": str(self.run),
        }
        code, log = self.here.step(stage, event, event_name=event_name, **inputs)
        assert self.token not in log.replace(f"::add-mask::{self.token}", "")
        return code, log

    def runs(self, wrong: int) -> str:
        """Three runs, of which each has about that many of 200 examples wrong."""
        folder = self.here.temporary / f"runs-{wrong}"
        for seed in range(3):
            (folder / f"seed-{seed}").mkdir(parents=True, exist_ok=True)
            rows = "".join(f"e{i:03d},{int((i * 7 + seed) % 200 >= wrong + seed)}\n" for i in range(200))
            (folder / f"seed-{seed}" / "scores.csv").write_text(f"example_id,accuracy\n{rows}")
        return str(folder)

    def push(self, wrong: int = GOOD) -> str:
        """Record what is checked out, as the push of it does; the log."""
        event = {"ref": "refs/heads/main", "after": self.here.head}
        code, log = self.step("record", event, event_name="push", run_dir=self.runs(wrong), token=self.token)
        assert code == 0, log
        return log

    def judge(
        self, event: Mapping[str, Any], wrong: int, *, event_name: str = "pull_request", token: str = ""
    ) -> tuple[int, str]:
        """Look for the baseline, compare, comment, gate: the exit code of the gate and the log of the commenting step."""
        self.run += 1
        token = token or self.token
        code, log = self.step("baseline", event, event_name=event_name, token=token, train="false")
        assert code == 0, log
        found = self.outputs
        code, log = self.step(
            "compare",
            event,
            event_name=event_name,
            baseline=found["run-dir"],
            origin=found["origin"],
            history=found["history"],
            candidate=self.runs(wrong),
        )
        assert code == 0, log
        code, log = self.step("comment", event, event_name=event_name, token=token, report=self.outputs["report"])
        assert code == 0, log
        return self.step("gate", event, event_name=event_name, report=self.outputs["report"])[0], log

    def event(self, number: int, *, action: str = "synchronize", fork: bool = False, **more: object) -> dict[str, Any]:
        pull = self.remote.pulls[number]
        here = {"full_name": "acme/model"}
        head = {"sha": pull.head, "repo": {"full_name": "stranger/model"} if fork else here}
        change = {"number": number, "base": {"sha": pull.base, "ref": "main", "repo": here}, "head": head}
        return {"action": action, "pull_request": change, **more}

    def only_comment(self, number: int) -> str:
        (comment,) = self.remote.comments(number)
        assert comment["user"]["login"] == "github-actions[bot]"
        return str(comment["body"])


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with GitHubServer() as github:
        remote = github.repository("acme/model")
        token = github.token(login="github-actions[bot]", type="Bot", permissions=ALL, repository="acme/model")
        made = Project(Checkout.make(tmp_path, metricgate__yaml=CONFIG), github, remote, token)
        mirror(remote, made.here.root)
        yield made


@pytest.fixture
def change(project: Project) -> int:
    """A pull request off a recorded commit, checked out."""
    project.push()
    project.git("checkout", "--quiet", "-b", "change")
    return project.remote.pull(head=project.commit("A change"), author="alice")


def test_a_regression_is_explained_on_the_pull_request_and_then_fails(project: Project, change: int) -> None:
    code, _ = project.judge(project.event(change, action="opened"), BAD)
    head = project.remote.pulls[change].head
    assert code == 1
    body = project.only_comment(change)
    assert "### ❌ tiny: accuracy fell" in body
    assert "the merge-base, recorded 20" in body
    assert "puts the label `accept-regression` on" in body
    (check,) = project.remote.check_runs(head)
    assert (check["conclusion"], check["output"]["annotations_count"]) == ("failure", 1)
    assert [status["state"] for status in project.remote.statuses(head)] == ["failure"]


def test_in_a_repository_that_was_renamed_meanwhile_all_of_it_is_shown(project: Project, change: int) -> None:
    project.github.rename("acme/model", "acme/better-model")
    event = project.event(change, action="opened")
    project.step("compare", event, candidate=project.runs(BAD), baseline=project.runs(GOOD))
    code, log = project.step("comment", event, token=project.token, report=project.outputs["report"])
    assert code == 0
    assert "::warning" not in log
    head = project.remote.pulls[change].head
    assert "### ❌ tiny: accuracy fell" in project.only_comment(change)
    assert [check["conclusion"] for check in project.remote.check_runs(head)] == ["failure"]
    assert [status["state"] for status in project.remote.statuses(head)] == ["failure"]


def test_the_next_push_updates_the_same_comment_and_remembers_the_first(project: Project, change: int) -> None:
    project.judge(project.event(change, action="opened"), BAD)
    project.remote.push(change, project.commit("Mended"))
    code, _ = project.judge(project.event(change), GOOD)
    assert code == 0
    body = project.only_comment(change)
    assert "### ✅ tiny: no regression" in body
    assert "Earlier commits: ❌" in body


def test_the_same_report_again_writes_no_comment(project: Project, change: int) -> None:
    project.judge(project.event(change), GOOD)
    project.github.forget_requests()
    project.judge(project.event(change), GOOD)
    written = [(request.method, request.path) for request in project.github.requests if request.method != "GET"]
    assert all("comments" not in path for _, path in written), written


def test_a_regression_that_a_maintainer_accepts_passes_and_stays_in_the_ledger(project: Project, change: int) -> None:
    project.judge(project.event(change, action="opened"), BAD)
    project.remote.permission("bob", "write")
    project.remote.label(change, "accept-regression", login="bob")
    labeled = project.event(change, action="labeled", label={"name": "accept-regression"}, sender={"login": "bob"})
    code, _ = project.judge(labeled, BAD)
    assert code == 0
    assert "### ❌" in project.only_comment(change)
    assert "Accepted by bob" in project.only_comment(change)
    again, _ = project.judge(project.event(change), BAD)
    assert again == 0, "another run of the same commit keeps it"

    project.remote.close(change, merged=True)
    merge = project.remote.head("main")
    assert merge is not None
    store = project.remote.files("metricgate")
    assert not [path for path in store if path.startswith("ledger/")]
    project.git("checkout", "--quiet", "main")
    project.git("merge", "--quiet", "--ff-only", "change")
    project.remote.pulls[change].merge = project.commit("Merged")
    code, log = project.judge({"ref": "refs/heads/main"}, BAD, event_name="push")
    assert (code, "was accepted by bob before it was merged" in log) == (0, True), log
    assert "accepted the regression" in project.push(BAD)
    (entry,) = [path for path in project.remote.files("metricgate") if path.startswith("ledger/tiny/")]
    assert json.loads(project.remote.files("metricgate")[entry])["by"] == "bob"


def test_what_was_merged_after_the_accepted_commit_is_not_accepted(project: Project, change: int) -> None:
    project.remote.permission("bob", "write")
    project.remote.label(change, "accept-regression", login="bob")
    project.judge(project.event(change, action="labeled", label={"name": "accept-regression"}, sender={"login": "bob"}), BAD)
    project.remote.push(change, project.commit("Worse still, and merged before anybody judged it"))
    project.remote.close(change, merged=True)
    project.git("checkout", "--quiet", "main")
    project.git("merge", "--quiet", "--ff-only", "change")
    project.remote.pulls[change].merge = project.commit("Merged")
    code, _ = project.judge({"ref": "refs/heads/main"}, BAD, event_name="push")
    assert code == 1
    assert "accepted the regression" not in project.push(BAD)
    assert not [path for path in project.remote.files("metricgate") if path.startswith("ledger/")]


def test_a_label_that_stayed_on_does_not_accept_the_next_commit(project: Project, change: int) -> None:
    project.remote.permission("bob", "write")
    project.remote.label(change, "accept-regression", login="bob")
    project.judge(project.event(change, action="labeled", label={"name": "accept-regression"}), BAD)
    project.remote.push(change, project.commit("Worse"))
    code, _ = project.judge(project.event(change), BAD + 20)
    assert code == 1
    assert "was put on for an earlier commit" in project.only_comment(change)


def test_who_may_not_write_cannot_accept(project: Project, change: int) -> None:
    project.remote.permission("mallory", "triage")
    project.remote.label(change, "accept-regression", login="mallory")
    code, _ = project.judge(project.event(change, action="labeled", label={"name": "accept-regression"}), BAD)
    assert code == 1
    assert "may not write to this repository" in project.only_comment(change)


def test_without_permission_to_comment_the_verdict_stands_and_the_yaml_to_add_is_shown(project: Project, change: int) -> None:
    token = project.github.token(
        login="github-actions[bot]", type="Bot", permissions={"contents": "read", "metadata": "read"}, repository="acme/model"
    )
    code, log = project.judge(project.event(change), BAD, token=token)
    assert code == 1
    assert "pull-requests: write" in log
    assert project.remote.comments(change) == []


def test_when_github_is_down_the_verdict_stands(project: Project, change: int) -> None:
    event = project.event(change)
    project.step("compare", event, baseline=project.runs(GOOD), candidate=project.runs(BAD))
    report = project.outputs["report"]
    url, project.github.url = project.github.url, "http://127.0.0.1:1/api/v3"
    code, log = project.step("comment", event, token=project.token, report=report)
    project.github.url = url
    assert code == 0
    assert "::warning title=The report could not be shown on the pull request" in log
    assert project.step("gate", event, report=project.outputs["report"])[0] == 1


def test_a_forks_own_run_posts_nothing(project: Project, change: int) -> None:
    code, log = project.judge(project.event(change, fork=True), BAD)
    assert code == 1
    assert "model-comment.yml" in log
    assert project.remote.comments(change) == []


def test_a_merge_group_is_judged_and_what_was_accepted_stays_accepted(project: Project, change: int) -> None:
    base = project.remote.pulls[change].base
    group = {"base_sha": base, "head_sha": project.remote.pulls[change].head, "base_ref": "refs/heads/main"}
    group["head_ref"] = f"refs/heads/gh-readonly-queue/main/pr-{change}-{base}"
    code, _ = project.judge({"merge_group": group}, BAD, event_name="merge_group")
    assert code == 1
    assert project.remote.comments(change) == []
    project.remote.permission("bob", "write")
    project.remote.label(change, "accept-regression", login="bob")
    project.judge(project.event(change, action="labeled", label={"name": "accept-regression"}), BAD)
    code, _ = project.judge({"merge_group": group}, BAD, event_name="merge_group")
    assert code == 0


def test_a_push_during_an_outage_is_not_recorded_and_says_so(project: Project) -> None:
    url, project.github.url = project.github.url, "http://127.0.0.1:1/api/v3"
    log = project.push()
    project.github.url = url
    assert project.outputs["recorded"] == "false"
    assert "::warning title=The runs are not recorded" in log
    assert project.remote.files("metricgate") == {}


def test_a_push_without_permission_to_record_fails_and_shows_the_yaml(project: Project) -> None:
    token = project.github.token(permissions={"contents": "read", "metadata": "read"}, repository="acme/model")
    code, log = project.step("record", {"ref": "refs/heads/main"}, event_name="push", run_dir=project.runs(GOOD), token=token)
    assert code == 2
    assert "contents: write" in log

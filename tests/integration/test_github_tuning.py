"""The action `tune` in a repository on a runner, with GitHub on localhost."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.action_scene import Checkout
from tests.github_server import GitHubServer, Repository

CONFIG = """\
name: digits
train:
  run: 'echo "{\\"val\\": $METRICGATE_PARAM_X, \\"accuracy\\": $METRICGATE_PARAM_X}" > "$METRICGATE_RUN_DIR/metrics.json"'
metrics: {accuracy: {direction: higher}}
tune:
  metric: val
  direction: higher
  space:
    x: {choices: [0.1, 0.5, 0.9]}
  sampler: grid
  params: params.json
  seeds: [0]
"""
PARAMS = '{\n  "x": 0.5,\n  "epochs": 3\n}\n'
DISPATCH = {"ref": "refs/heads/main", "repository": {"full_name": "acme/model", "default_branch": "main"}}


class Place:
    """A checkout, and its repository on GitHub."""

    def __init__(self, github: GitHubServer, folder: Path) -> None:
        self.there: Repository = github.repository("acme/model")
        self.there.branch("main", self.there.commit(files={"params.json": PARAMS, "metricgate.yaml": CONFIG}))
        permissions = {"contents": "write", "pull-requests": "write"}
        self.token = github.token(permissions=permissions, repository="acme/model")
        self.here = Checkout.make(folder, metricgate__yaml=CONFIG, params__json=PARAMS)
        summary = folder / "runner temp" / "summary.md"
        self.here.environ = {
            "GITHUB_REPOSITORY": "acme/model",
            "GITHUB_API_URL": github.url,
            "GITHUB_STEP_SUMMARY": str(summary),
        }
        self.summary = summary

    def tune(self, *, event_name: str = "workflow_dispatch", event: dict[str, object] | None = None, **inputs: str) -> int:
        code, self.log = self.here.step(
            "tune", event or DISPATCH, event_name=event_name, **{"token": self.token, "open_pull_request": "true", **inputs}
        )
        return code


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with GitHubServer() as github:
        yield Place(github, tmp_path)


def test_what_was_found_is_told_judged_and_proposed(place: Place) -> None:
    assert place.tune() == 0, place.log
    outputs = place.here.outputs
    assert json.loads(outputs["best"]) == {"x": 0.9}
    assert (outputs["verdict"], outputs["exit-code"]) == ("pass", "0")
    assert json.loads(Path(outputs["report"]).read_text())["schema"] == "metricgate.tuning/1"
    assert "digits: val 0.5000 → 0.9000, the best of 3 trials" in place.summary.read_text()
    (pull,) = place.there.pulls.values()
    assert outputs["pull-request-url"].endswith(f"/pull/{pull.number}")
    assert "The gate: best parameters against present ones" in pull.body
    assert place.there.files(pull.head_ref)["params.json"].decode() == PARAMS.replace("0.5", "0.9")
    assert place.here.git("status", "--porcelain") == ""


def test_the_second_run_goes_on_and_changes_nothing(place: Place) -> None:
    assert place.tune() == 0, place.log
    first = place.here.outputs["pull-request-url"]
    assert place.tune() == 0, place.log
    assert place.here.outputs["pull-request-url"] == first
    assert "already proposed" in place.log
    assert len(place.there.pulls) == 1


def test_what_the_gate_does_not_let_pass_is_not_proposed(place: Place) -> None:
    worse = CONFIG.replace(
        '\\"accuracy\\": $METRICGATE_PARAM_X',
        '\\"accuracy\\": $(case $METRICGATE_PARAM_X in 0.9) echo 0.1;; *) echo 0.8;; esac)',
    )
    place.here.commit("Another training", metricgate__yaml=worse)
    assert place.tune() == 0, place.log
    assert (place.here.outputs["verdict"], place.here.outputs["exit-code"]) == ("fail", "1")
    assert place.here.outputs["pull-request-url"] == ""
    assert place.there.pulls == {}
    assert "The gate does not let the best parameters pass" in place.log


def test_a_change_is_not_run_with_a_token_that_may_write(place: Place) -> None:
    change = {
        "action": "opened",
        "number": 1,
        "pull_request": {
            "base": {"sha": place.here.head, "ref": "main", "repo": {"full_name": "acme/model"}},
            "head": {"sha": place.here.head, "ref": "x", "repo": {"full_name": "acme/model"}},
        },
    }
    assert place.tune(event_name="pull_request", event=change) == 2
    assert "would run a change's code in a job that may write" in place.log
    assert not (place.here.root / ".metricgate").exists()


def test_a_search_alone_needs_no_token_and_trains_nothing_again(place: Place) -> None:
    assert place.tune(token="", open_pull_request="false", retrain="false", trials="2") == 0, place.log
    outputs = place.here.outputs
    assert (outputs["verdict"], outputs["pull-request-url"]) == ("", "")
    assert outputs["study"].startswith("digits-")


def test_without_a_file_to_change_nothing_runs(place: Place) -> None:
    place.here.commit("No file", metricgate__yaml=CONFIG.replace("  params: params.json\n", ""))
    assert place.tune() == 2
    assert "there is no file to write the parameters into" in place.log

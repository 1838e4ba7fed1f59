"""`uses: …/metricgate/actions/setup@v1`: the command for steps of one's own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metricgate import __version__
from metricgate.github import reference

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Repository, Started

pytestmark = pytest.mark.slow

WORKFLOW = f"""
    name: compare by hand
    on: push
    jobs:
      compare:
        runs-on: ubuntu-latest
        steps:
          - uses: actions/checkout@v7
          - run: command -v python3 > "$STAND_IN_ARTIFACTS/python before"
          - uses: {reference.SLUG}/actions/setup@v{__version__}
          - run: |
              command -v python3 > "$STAND_IN_ARTIFACTS/python after"
              command -v metricgate > "$STAND_IN_ARTIFACTS/command"
              metricgate --version > "$STAND_IN_ARTIFACTS/version"
              python3 -c 'open("numpy.py", "w").write("raise SystemExit(9)")'
              metricgate compare old new --config accuracy.yaml --json "$STAND_IN_ARTIFACTS/report.json"
    """


def test_the_command_is_there_and_the_jobs_python_is_the_same(
    act: Act, started: Started, repository: Callable[[str], Repository]
) -> None:
    scratch = repository(WORKFLOW)
    models = {f"{name}/metrics.json": '{"accuracy": 0.9}' for name in ("old", "new")}
    scratch.commit("Two models", {**models, "accuracy.yaml": "metrics: {accuracy: {direction: higher}}\n"})
    outcome = act.run(scratch, "push", {})
    assert outcome.jobs == {"compare": "success"}
    found = {file.name: file.read_text().strip() for file in outcome.artifacts.iterdir()}
    assert found["version"] == f"metricgate {__version__}"
    assert found["python before"] == found["python after"]
    # It is that of the environment which an earlier job of this machine made.
    assert Path(found["command"]).parents[1].name == Path(started.paths[0]).parents[1].name
    # A module of the checkout that is called like one of ours did not get in.
    assert '"verdict": "' in found["report.json"]


def test_jobs_that_start_at_once_make_one_environment(started: Started) -> None:
    assert list(started.codes) == [0, 0, 0], started.told
    assert len(set(started.paths)) == 1
    assert "".join(started.told).count("installing the locked environment") == 1
    assert started.left == [Path(started.paths[0]).parents[1].name], "nothing half built is left"

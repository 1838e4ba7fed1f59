"""`uses: …/metricgate/actions/setup@v1`: the command for steps of one's own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from metricgate import __version__
from metricgate.github import reference

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Repository

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
              metricgate --version > "$STAND_IN_ARTIFACTS/version"
              python3 -c 'open("numpy.py", "w").write("raise SystemExit(9)")'
              metricgate compare old new --config accuracy.yaml --json "$STAND_IN_ARTIFACTS/report.json"
    """


def test_the_command_is_there_and_the_jobs_python_is_the_same(act: Act, repository: Callable[[str], Repository]) -> None:
    scratch = repository(WORKFLOW)
    models = {f"{name}/metrics.json": '{"accuracy": 0.9}' for name in ("old", "new")}
    scratch.commit("Two models", {**models, "accuracy.yaml": "metrics: {accuracy: {direction: higher}}\n"})
    outcome = act.run(scratch, "push", {})
    assert outcome.jobs == {"compare": "success"}
    found = {file.name: file.read_text().strip() for file in outcome.artifacts.iterdir()}
    assert found["version"] == f"metricgate {__version__}"
    assert found["python before"] == found["python after"]
    # A module of the checkout that is called like one of ours did not get in.
    assert '"verdict": "' in found["report.json"]


def test_jobs_that_start_at_once_make_one_environment(tmp_path: Path) -> None:
    script = Path(__file__).parents[2] / "actions" / "setup" / "environment.py"
    environ = {**os.environ, "RUNNER_TOOL_CACHE": str(tmp_path)}
    command = [str(Path(sys.base_prefix) / "bin" / "python3"), "-I", str(script)]
    jobs = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [job.communicate(timeout=300) for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], answers
    assert len({path for path, _ in answers}) == 1
    assert "".join(told for _, told in answers).count("installing the locked environment") == 1
    environments = [path for path in (tmp_path / "metricgate").iterdir() if path.is_dir()]
    assert len(environments) == 1, "nothing half built is left"

"""`uses: …/actions/tune@v1`: a search for better parameters that ends in a pull request."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from metricgate import __version__
from metricgate.github import reference

if TYPE_CHECKING:
    from tests.workflows.conftest import Act, Repository

pytestmark = pytest.mark.slow

WORKFLOW = f"""
    name: tune
    on: workflow_dispatch
    jobs:
      tune:
        runs-on: [self-hosted, gpu]
        steps:
          - uses: actions/checkout@v7
          - id: tune
            uses: {reference.SLUG}/actions/tune@v{__version__}
            with: {{open-pull-request: true, workers: 2}}
          - run: printf '%s' "$OUTPUTS" > "$STAND_IN_ARTIFACTS/outputs.json"
            env:
              OUTPUTS: ${{{{ toJSON(steps.tune.outputs) }}}}
    """
TRAIN = """
    import json, os, pathlib

    weight = json.loads(pathlib.Path(os.environ["METRICGATE_PARAMS"]).read_text())["weight"]
    pathlib.Path(os.environ["METRICGATE_MODEL"]).write_text(json.dumps({"weight": weight}))
    (pathlib.Path(os.environ["METRICGATE_RUN_DIR"]) / "metrics.json").write_text(json.dumps({"val_loss": weight}))
    """
TUNE = """
tune:
  metric: val_loss
  direction: lower
  space:
    weight: {choices: [0.8, 0.9, 1.0]}
  sampler: grid
  params: params.json
  seeds: [0]
"""
PARAMS = '{\n  "weight": 1.0\n}\n'


def test_the_best_parameters_are_judged_and_proposed(act: Act, repository: Callable[[str], Repository]) -> None:
    scratch = repository(WORKFLOW)
    config = (scratch.root / "metricgate.yaml").read_text() + TUNE
    scratch.commit("Search for a weight", {"train.py": TRAIN, "params.json": PARAMS, "metricgate.yaml": config})
    event = {"ref": "refs/heads/main", "repository": {"full_name": "acme/model", "default_branch": "main"}}
    outcome = act.run(scratch, "workflow_dispatch", event)
    assert outcome.jobs == {"tune": "success"}
    outputs = json.loads((outcome.artifacts / "outputs.json").read_text())
    assert json.loads(outputs["best"]) == {"weight": 0.8}
    assert (outputs["verdict"], outputs["exit-code"]) == ("pass", "0")
    assert r"tiny: val\_loss 1.0000 → 0.8000, the best of 3 trials" in outcome.summaries
    (pull,) = scratch.remote.pulls.values()
    assert outputs["pull-request-url"].endswith(f"/pull/{pull.number}")
    assert scratch.remote.files(pull.head_ref)["params.json"].decode() == PARAMS.replace("1.0", "0.8")

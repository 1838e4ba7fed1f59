"""The examples of PyTorch and Hugging Face train and evaluate through ``metricgate run``, as in a repository of their own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [pytest.mark.torch, pytest.mark.slow]


@pytest.mark.parametrize("name", ["pytorch", "huggingface"])
def test_the_example_runs_end_to_end(name: str, tmp_path: Path) -> None:
    project = tmp_path / "a project"
    shutil.copytree(EXAMPLES / name, project, ignore=shutil.ignore_patterns("__pycache__", "outputs"))
    config = project / "metricgate.yaml"
    config.write_text(config.read_text().replace("seeds: [0, 1]", "seeds: [1]"))  # one shows it
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("METRICGATE_", "GITHUB_"))}
    environ = {
        **inherited,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "METRICGATE_STATE_DIR": str(tmp_path / "state"),
    }
    author = ["-c", "user.name=A", "-c", "user.email=a@example.com"]
    for command in (["init", "-q", "-b", "main"], ["add", "."], [*author, "commit", "-qm", "The example"]):
        subprocess.run(["git", *command], cwd=project, env=environ, check=True)
    done = subprocess.run(
        [sys.executable, "-m", "metricgate", "run"],
        cwd=project,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    run = Path(done.stdout.strip().splitlines()[-1]) / "seed-1" / "metrics.json"
    metrics = json.loads(run.read_text())
    assert metrics["accuracy"]["value"] > 0.9
    assert (run.parent / "scores.csv").read_text().count("\n") == metrics["accuracy"]["n"] + 1
    # The finished run needs no checkpoint, and nothing else of the training is left in the project.
    assert list((tmp_path / "state").rglob("checkpoint.json")) == []

"""`metricgate run` with `launcher: slurm`: from the command line to the runs, on a real cluster, and through its own death."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from tests import slurm_cluster
from tests.slurm_cluster import Cluster

from metricgate import run as runs

pytestmark = [pytest.mark.slurm, pytest.mark.slow]

WAIT_S = 120
TRAIN = """\
import json, os, pathlib, sys, time
seed, go = os.environ["METRICGATE_SEED"], pathlib.Path(sys.argv[1])
steps = pathlib.Path(os.environ["METRICGATE_CHECKPOINT_DIR"], "steps")
steps.write_text(steps.read_text() + "again" if steps.exists() else "begun")
print("seed", seed, "has", steps.read_text(), flush=True)
while not go.exists():
    time.sleep(0.05)
assert seed != os.environ.get("METRICGATE_PARAM_FAILS"), "this seed fails"
pathlib.Path(os.environ["METRICGATE_MODEL"]).write_text("weights of seed " + seed)
pathlib.Path(os.environ["METRICGATE_RUN_DIR"], "metrics.json").write_text(json.dumps({"accuracy": 0.5 + int(seed) / 100}))
"""


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm_cluster.started() as cluster:
        yield cluster


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    root = tmp_path / "a repository"
    root.mkdir()
    config = {
        "name": "digits",
        "train": {"run": f'"{sys.executable}" train.py "{tmp_path}/go"', "seeds": [0, 3], "launcher": "slurm"},
        "model": "outputs/model.bin",
        "metrics": {"accuracy": {"direction": "higher"}},
    }
    (root / "metricgate.yaml").write_text(json.dumps(config))
    (root / "train.py").write_text(TRAIN)
    for arguments in (["init", "-q"], ["add", "."], ["-c", "user.name=N", "-c", "user.email=n@x", "commit", "-qm", "first"]):
        subprocess.run(["git", *arguments], cwd=root, check=True)
    return root


def start(repository: Path, cluster: Cluster, **more: str) -> "subprocess.Popen[str]":
    environ: Mapping[str, str] = {**cluster.environ, "PATH": os.environ["PATH"], **more}
    with (repository.parent / "told").open("a") as told:
        return subprocess.Popen(
            [sys.executable, "-m", "metricgate", "run"],
            cwd=repository,
            env=environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=told,
            text=True,
        )


def wait_for(repository: Path, *texts: str) -> str:
    deadline = time.monotonic() + WAIT_S
    while not all(text in (told := (repository.parent / "told").read_text()) for text in texts):
        assert time.monotonic() < deadline, told
        time.sleep(0.05)
    return told


def test_seeds_become_runs_as_if_they_were_trained_here(repository: Path, cluster: Cluster) -> None:
    (repository.parent / "go").touch()
    process = start(repository, cluster)
    folder = Path(process.communicate(timeout=WAIT_S)[0].strip())
    told = (repository.parent / "told").read_text()
    assert process.returncode == 0, told
    assert "GPU" not in told, "nothing of this machine was taken, or missed"
    for seed in (0, 3):
        run = folder / f"seed-{seed}"
        record = runs.read_record(run)
        assert record is not None
        assert (record.stage, record.seed, record.metrics["accuracy"].value) == ("evaluated", seed, 0.5 + seed / 100)
        assert record.times.train_s is not None
        assert (run / "model").read_text() == f"weights of seed {seed}"
        assert (run / "train.log").read_text() == f"seed {seed} has begun\n"
    assert {path.name for path in folder.iterdir()} == {"seed-0", "seed-3"}
    kept = repository / ".metricgate" / "checkpoints"
    assert [path for path in kept.rglob("*") if path.is_file()] == []


def test_a_runner_that_dies_finds_its_job_again(repository: Path, cluster: Cluster) -> None:
    before = len(cluster.jobs())
    first = start(repository, cluster)
    wait_for(repository, "seed 0 has begun", "seed 3 has begun")
    first.send_signal(signal.SIGKILL)
    first.communicate()
    second = start(repository, cluster)
    wait_for(repository, "again, which an earlier call has handed over")
    (repository.parent / "go").touch()
    folder = Path(second.communicate(timeout=WAIT_S)[0].strip())
    assert second.returncode == 0
    assert (folder / "seed-3" / "model").read_text() == "weights of seed 3"
    assert (folder / "seed-3" / "train.log").read_text() == "seed 3 has begun\n"  # once
    assert len(cluster.jobs()) == before + 1


def test_a_seed_that_fails_is_named_and_the_other_one_stays(repository: Path, cluster: Cluster) -> None:
    (repository.parent / "go").touch()
    process = start(repository, cluster, METRICGATE_PARAM_FAILS="3")
    assert process.communicate(timeout=WAIT_S)[0] == ""
    assert process.returncode == 5
    told = (repository.parent / "told").read_text()
    assert "1 of 2 seeds failed" in told
    assert "AssertionError: this seed fails" in told
    (folder,) = (repository / ".metricgate" / "runs").iterdir()
    assert (folder / "seed-0" / "run.json").exists()
    assert not (folder / "seed-3" / "run.json").exists()
    assert "this seed fails" in (folder / "seed-3" / "train.log").read_text()
    (unfinished,) = (repository / ".metricgate" / "checkpoints").glob("*/steps")
    assert unfinished.read_text() == "begun"


def test_a_cancel_reaches_the_job_and_the_next_one_goes_on(repository: Path, cluster: Cluster) -> None:
    first = start(repository, cluster)
    wait_for(repository, "seed 0 has begun", "seed 3 has begun")
    first.send_signal(signal.SIGTERM)
    first.communicate(timeout=WAIT_S)
    assert first.returncode == 5
    (repository.parent / "go").touch()
    second = start(repository, cluster)
    second.communicate(timeout=WAIT_S)
    assert second.returncode == 0
    wait_for(repository, "seed 0 has begunagain", "seed 3 has begunagain")

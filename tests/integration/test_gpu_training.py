"""A training on a machine with GPUs, as a person types it: what it sees, what its run says of them, what the report adds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests import nvml
from tests.nvml import Machine

from metricgate import run as runs
from metricgate.report import document

pytestmark = pytest.mark.nvml

TRAIN = """
echo "seed $METRICGATE_SEED sees $CUDA_VISIBLE_DEVICES"
echo "$METRICGATE_SEED" > "$METRICGATE_MODEL"
echo '{"accuracy": 0.5}' > "$METRICGATE_RUN_DIR/metrics.json"
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(nvml.compile_library(tmp_path / "lib"), tmp_path / "state").have(*map(nvml.gpu, range(3)))


def metricgate(machine: Machine, root: Path, *arguments: str, **train: object) -> "subprocess.CompletedProcess[str]":
    root.mkdir(exist_ok=True)
    document = {
        "train": {"run": TRAIN, **train},
        "model": "model",
        "metrics": {"accuracy": {"direction": "higher"}},
    }
    (root / "metricgate.yaml").write_text(json.dumps(document))
    command = [sys.executable, "-m", "metricgate", *arguments]
    environ = machine.environ(METRICGATE_GPU_LOCKS=str(root / "locks"))
    return subprocess.run(command, cwd=root, env=environ, check=False, capture_output=True, text=True)


def test_seeds_at_once_have_their_own_gpus_and_the_report_says_what_they_cost(machine: Machine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    done = metricgate(machine, root, "run", "--run-dir", "runs", seeds=[0, 1], parallel=2, gpus=1)
    assert done.returncode == 0, done.stderr
    assert "metricgate: training on GPU 0 (NVIDIA H100 80GB HBM3), GPU 1 (NVIDIA H100 80GB HBM3)" in done.stderr
    seen = {(root / "runs" / f"seed-{seed}" / "train.log").read_text() for seed in (0, 1)}
    either = [{f"seed 0 sees {nvml.uuid(first)}\n", f"seed 1 sees {nvml.uuid(1 - first)}\n"} for first in (0, 1)]
    assert seen in either
    for seed in (0, 1):
        record = runs.read_record(root / "runs" / f"seed-{seed}")
        assert record is not None
        assert record.resources.gpu == ("NVIDIA H100 80GB HBM3",)
        assert record.resources.gpu_s is not None
        assert record.resources.gpu_s > 0
        assert record.resources.gpu_peak_memory_bytes == 0
        assert record.resources.energy_wh == 0.0
        assert len(record.environment["gpu"]) == 3
    told = metricgate(machine, root, "compare", "runs", "runs", "--json", "report.json", "--markdown", "-")
    assert "This check cost " in told.stdout
    assert "GPU-second" in told.stdout
    assert "(NVIDIA H100 80GB HBM3, 0% busy) and 0 Wh." in told.stdout
    cost = document.read(root / "report.json").cost
    assert cost is not None
    assert (cost.trainings, cost.gpus) == (2, ("NVIDIA H100 80GB HBM3",))


def test_an_evaluation_has_as_many_as_a_training_and_says_what_it_does(machine: Machine, tmp_path: Path) -> None:
    root = tmp_path / "root"
    assert metricgate(machine, root, "train", "--run-dir", "runs", gpus=2).returncode == 0
    config = root / "metricgate.yaml"
    evaluate = 'echo "sees $CUDA_VISIBLE_DEVICES"; ' + 'echo \'{"accuracy": 0.5}\' > "$METRICGATE_RUN_DIR/metrics.json"'
    with_evaluation = {**json.loads(config.read_text()), "evaluate": {"run": evaluate}}
    command = [sys.executable, "-m", "metricgate", "evaluate", "--run-dir", "runs", "--config", "other.yaml"]
    (root / "other.yaml").write_text(json.dumps(with_evaluation))
    environ = machine.environ(METRICGATE_GPU_LOCKS=str(root / "locks"))
    done = subprocess.run(command, cwd=root, env=environ, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "metricgate: evaluating on GPU " in done.stderr
    assert (root / "runs" / "seed-0" / "evaluate.log").read_text().count("GPU-") == 2


def test_a_training_that_wants_none_sees_none(machine: Machine, tmp_path: Path) -> None:
    done = metricgate(machine, tmp_path / "root", "train", "--run-dir", "runs", gpus=0)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "root" / "runs" / "seed-0" / "train.log").read_text() == "seed 0 sees \n"
    record = runs.read_record(tmp_path / "root" / "runs" / "seed-0")
    assert record is not None
    assert record.resources.gpu == ()
    assert record.resources.gpu_s is None


def test_more_gpus_than_there_are_is_an_error_with_the_line_to_change(machine: Machine, tmp_path: Path) -> None:
    done = metricgate(machine, tmp_path / "root", "train", gpus=4)
    assert done.returncode == 5
    assert "train.gpus asks for 4 GPUs, and there are 3" in done.stderr
    assert "`gpus: 3` under `train`" in done.stderr

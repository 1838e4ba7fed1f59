"""The worker as a node runs it: its own Python, in a folder with nothing of metricgate, and what it leaves behind."""

from __future__ import annotations

import ast
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests import launcher_scene, nvml
from tests.nvml import Machine

from metricgate.train import nan_watch
from metricgate.train.launchers import cluster, node_group, node_log, node_meter, outcomes, worker
from metricgate.train.launchers.job import Job


def start(job: Job, *, seed: int = 0, environ: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
    job.prepare()
    call = [sys.executable, "-I", *job.command(seed)[1:]]
    plain = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return subprocess.Popen(call, env={**plain, **(environ or {})}, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)


def run(job: Job, *, environ: Mapping[str, str] | None = None) -> int:
    return start(job, environ=environ).wait(timeout=60)


def result(job: Job, *, node: int = 0) -> dict[str, Any]:
    document = json.loads((job.folder / f"0-{node}.result.json").read_text())
    assert isinstance(document, dict)
    return document


def wait_for(text: str, job: Job, *, node: int = 0) -> str:
    deadline = time.monotonic() + 30
    log = job.log(0, node=node)
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return log.read_text()


def is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("module", [worker, cluster, node_group, node_log, node_meter, nan_watch])
def test_it_needs_an_old_python_and_nothing_that_is_installed(module: Any) -> None:
    tree = ast.parse(Path(module.__file__).read_text(), feature_version=(3, 8))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {alias.name for node in imports if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in imports if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in names} - set(sys.stdlib_module_names) <= {
        "metricgate",
        "cluster",
        "node_group",
        "node_log",
        "node_meter",
        "nan_watch",
    }


def test_a_training_gets_its_variables_and_no_secrets_and_says_what_it_used(tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, 'echo "$METRICGATE_SEED ${METRICGATE_INPUT_TOKEN-none} $(pwd)"; exit 5')
    assert run(job, environ={"METRICGATE_INPUT_TOKEN": "secret"}) == 5
    assert job.log(0).read_text() == f"0 none {job.cwd}\n"
    written = result(job)
    assert (written["status"], written["reason"], written["attempt"]) == (5, "", 1)
    assert written["peak_memory_bytes"] > 1_000_000
    assert written["cpu_s"] > 0
    assert not list(job.folder.glob(".*"))


def test_gpus_are_hidden_where_none_are_wanted(tmp_path: Path) -> None:
    job = replace(launcher_scene.job(tmp_path, 'echo "[$CUDA_VISIBLE_DEVICES]"'), gpus=0)
    assert run(job, environ={"CUDA_VISIBLE_DEVICES": "0,1"}) == 0
    assert job.log(0).read_text() == "[]\n"


def test_sigterm_is_passed_on_and_what_ends_well_then_is_not_done(tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "trap 'echo saved; exit 0' TERM; echo started; while :; do sleep 0.05 || :; done")
    process = start(job)
    wait_for("started", job)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 143
    assert job.log(0).read_text().replace("Terminated\n", "") == "started\nsaved\n"
    assert (result(job)["status"], result(job)["reason"], result(job)["detail"]) == (0, "signal", "SIGTERM")


def test_who_was_told_by_the_engine_is_not_told_again(tmp_path: Path) -> None:
    line = "trap 'echo told' TERM; echo started; while :; do sleep 0.05 || :; done"
    job = launcher_scene.job(tmp_path, line, grace_s=1.0)
    process = start(job)
    wait_for("started", job)
    process.send_signal(signal.SIGCONT)  # Slurm's way to end a job: SIGCONT, then SIGTERM, each to all processes
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) == 137  # after the grace period
    assert job.log(0).read_text() == "started\n"


def test_what_a_training_leaves_running_is_ended(tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "sleep 300 & echo $!")
    assert run(job) == 0
    assert is_gone(int(job.log(0).read_text()))


def test_a_worker_that_is_killed_leaves_nothing(tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "echo $$; sleep 300", grace_s=0.5)
    process = start(job)
    pid = int(wait_for("\n", job))
    process.kill()
    process.wait()
    assert is_gone(pid)
    assert not (job.folder / "0-0.result.json").exists()


def test_time_is_that_of_all_attempts(tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "sleep 300", timeout_s=1.0, grace_s=0.5)
    assert run(job) == 143
    assert result(job)["reason"] == "timeout"
    began = time.monotonic()
    assert run(job) == 143  # no time is left
    assert time.monotonic() - began < 3
    assert (result(job)["attempt"], result(job)["reason"]) == (2, "timeout")
    assert result(job)["spent_s"] >= 1.0


def test_a_training_that_makes_no_step_is_ended_and_one_that_does_is_not(tmp_path: Path) -> None:
    job = replace(launcher_scene.job(tmp_path, "sleep 300"), stall_s=1.0)
    assert run(job) == 143
    assert result(job)["reason"] == "stall"
    steps = 'for n in 1 2 3 4 5 6 7 8; do echo "{\\"step\\": $n}" > "$METRICGATE_PROGRESS"; sleep 0.5; done'
    working = replace(launcher_scene.job(tmp_path / "other", steps), stall_s=1.5)
    assert run(working) == 0


def test_a_loss_that_stays_nan_ends_the_training(tmp_path: Path) -> None:
    tell = 'echo "{\\"epoch\\": $n, \\"step\\": $n, \\"loss\\": NaN}" > "$METRICGATE_PROGRESS"'
    job = launcher_scene.job(tmp_path, f"for n in {{1..100}}; do {tell}; sleep 2.1; done")
    assert run(job) == 143
    assert result(job)["reason"] == "nan"


@pytest.mark.nvml
class TestGpus:
    """By the same library as metricgate's own, which only the driver brings."""

    @pytest.fixture
    def machine(self, tmp_path: Path) -> Machine:
        return Machine(nvml.compile_library(tmp_path / "lib"), tmp_path / "state").have(*map(nvml.gpu, range(3)))

    def gpus(self, job: Job, machine: Machine, *, visible: str | None, meanwhile: Mapping[str, object]) -> Any:
        shown = {} if visible is None else {"CUDA_VISIBLE_DEVICES": visible}
        library = {"LD_LIBRARY_PATH": str(machine.library), "FAKE_NVML": str(machine.state)}
        process = start(job, environ={**library, **shown})
        wait_for("started", job)
        machine.now(1, **meanwhile)
        assert process.wait(timeout=60) == 0
        return result(job)["gpu"]

    def test_are_read_while_it_trains(self, machine: Machine, tmp_path: Path) -> None:
        machine.now(1, used=nvml.GIB)
        job = replace(launcher_scene.job(tmp_path, "echo started; sleep 2.5"), gpus=1)
        now = {"used": 11 * nvml.GIB, "utilisation": 80, "energy": 5_000_000 + 7_200_000}
        (used,) = self.gpus(job, machine, visible="1", meanwhile=now)
        assert used["devices"] == ["NVIDIA H100 80GB HBM3"]
        assert used["peak_memory_bytes"] == 10 * nvml.GIB
        assert 0.3 < used["utilisation"] <= 0.8
        assert used["energy_wh"] == 2.0
        assert 2.5 < used["gpu_s"] < 60

    def test_that_count_no_energy_tell_their_power(self, machine: Machine, tmp_path: Path) -> None:
        machine.now(1, energy=None, power=3_600_000)
        job = replace(launcher_scene.job(tmp_path, "echo started; sleep 1.5"), gpus=1)
        (used,) = self.gpus(job, machine, visible=nvml.uuid(1), meanwhile={})
        assert used["energy_wh"] == pytest.approx(used["gpu_s"], rel=0.1)

    def test_of_which_it_is_not_clear_are_counted(self, machine: Machine, tmp_path: Path) -> None:
        job = replace(launcher_scene.job(tmp_path, "echo started"), gpus=2)
        (used,) = self.gpus(job, machine, visible=None, meanwhile={"energy": 9_000_000})
        assert (used["devices"], used["energy_wh"], used["utilisation"]) == ([], None, None)
        assert used["gpu_s"] > 0

    def test_of_earlier_attempts_count_too(self, machine: Machine, tmp_path: Path) -> None:
        job = replace(launcher_scene.job(tmp_path, "echo started"), gpus=1)
        for attempts in (1, 2):
            assert len(self.gpus(job, machine, visible="1", meanwhile={})) == attempts
        usage = outcomes.read(job, 0).usage.gpu
        assert (usage.devices, usage.energy_wh) == (("NVIDIA H100 80GB HBM3",), 0.0)

    def test_none_is_none(self, tmp_path: Path) -> None:
        job = launcher_scene.job(tmp_path, "true")
        assert run(job) == 0
        assert result(job)["gpu"] == [None]
        assert not outcomes.read(job, 0).usage.gpu


def test_nodes_other_than_the_first_overwrite_nothing(tmp_path: Path) -> None:
    line = (
        'echo $RANK > "$METRICGATE_MODEL"; echo $RANK > "$METRICGATE_RUN_DIR/metrics.json"; echo $RANK > "$METRICGATE_PROGRESS"'
    )
    job = launcher_scene.job(tmp_path, line, nodes=2)
    hosts = {"METRICGATE_CLUSTER_HOSTS": "a,b"}
    processes = [start(job, environ={**hosts, "METRICGATE_CLUSTER_RANK": str(rank)}) for rank in (0, 1)]
    assert [process.wait(timeout=30) for process in processes] == [0, 0]
    for place in ("models/0", "progress/0", "runs/0/metrics.json"):
        assert (tmp_path / place).read_text() == "0\n"


def test_a_node_whose_partner_failed_does_not_wait_for_it(tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "[ $RANK = 0 ] && sleep 300; exit 6", nodes=2)
    hosts = {"METRICGATE_CLUSTER_HOSTS": "a,b"}
    processes = [start(job, environ={**hosts, "METRICGATE_CLUSTER_RANK": str(rank)}) for rank in (0, 1)]
    assert [process.wait(timeout=30) for process in processes] == [143, 6]
    assert (result(job)["reason"], result(job)["detail"]) == ("other_node", "1")


def test_a_machine_that_lacks_the_workspace_says_so(tmp_path: Path) -> None:
    job = replace(launcher_scene.job(tmp_path, "true"), cwd=tmp_path / "elsewhere")
    assert run(job) == 1
    assert result(job)["reason"] == "not_started"
    assert "does not share it with the runner" in result(job)["detail"]


def test_a_log_without_end_keeps_its_beginning_and_its_end(tmp_path: Path) -> None:
    size = node_log.HEAD_BYTES + 3 * node_log.TAIL_BYTES
    job = launcher_scene.job(tmp_path, f"echo first; head -c {size} /dev/zero | tr '\\0' x; echo; echo last")
    assert run(job) == 0
    with job.log(0).open("rb") as file:
        assert file.read(6) == b"first\n"
        file.seek(-200, 2)
        assert file.read().endswith(b"x\nlast\n")
        assert file.tell() < node_log.HEAD_BYTES + 2 * node_log.TAIL_BYTES

"""Jobs that want the same GPUs: never two on one, also when one is killed, forks, or leaves its training behind."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tests import nvml
from tests.nvml import GIB, Machine

pytestmark = pytest.mark.nvml

RACE = """
import io, os, random, sys, time
from pathlib import Path
from metricgate.train.console import Console
from metricgate.train.gpu import claims
folder, marks, rounds, counts = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), [int(n) for n in sys.argv[4].split(",")]
console = Console(io.BytesIO(), io.StringIO())
print("ready", flush=True)
sys.stdin.readline()
for count in counts * (rounds // len(counts)):
    with claims.claim(
        count, folder=folder, console=console, timeout_s=60, environ=os.environ,
        pause=lambda seconds: time.sleep(random.uniform(0, min(seconds, 0.002))),
    ) as claim:
        names = [marks / device.uuid for device in claim.devices]
        for name in names:
            os.close(os.open(name, os.O_CREAT | os.O_EXCL))  # fails where another job has it
        time.sleep(random.uniform(0, 0.001))
        for name in names:
            name.unlink()
print("done")
"""

HOLD = """
import io, os, signal, subprocess, sys, time
from pathlib import Path
from metricgate.train.console import Console
from metricgate.train.gpu import claims
how = sys.argv[2]
console = Console(io.BytesIO(), sys.stderr, heartbeat_s=0.05)
with claims.claim(1, folder=Path(sys.argv[1]), console=console, timeout_s=60, environ=os.environ) as claim:
    children = []
    if "fork" in how:
        if (child := os.fork()) == 0:
            time.sleep(600)
            os._exit(0)
        children.append(child)
    if "start" in how:
        children.append(subprocess.Popen(["sleep", "600"], start_new_session=True).pid)
    print("has it", *children, flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.compile_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(library: Path, tmp_path: Path) -> Machine:
    return Machine(library, tmp_path / "state")


def line(process: "subprocess.Popen[str]", part: str = "") -> str:
    """The next line, of standard output, or of standard error up to the one that has ``part``."""
    assert process.stdout is not None
    assert process.stderr is not None
    if not part:
        return process.stdout.readline().strip()
    for told in process.stderr:
        if part in told:
            return told.strip()
    raise AssertionError(part)


@pytest.mark.parametrize(("gpus", "counts"), [(1, ["1", "1"]), (2, ["2", "2"]), (3, ["1", "2", "1,3,2"])])
def test_no_gpu_is_ever_had_by_two_jobs_and_none_waits_for_ever(
    gpus: int, counts: list[str], machine: Machine, tmp_path: Path
) -> None:
    machine.have(*map(nvml.gpu, range(gpus)))
    marks = tmp_path / "marks"
    marks.mkdir()
    jobs = [machine.start(RACE, str(tmp_path / "locks"), str(marks), "120", wanted) for wanted in counts]
    for job in jobs:
        assert line(job) == "ready"
    for job in jobs:
        assert job.stdin is not None
        job.stdin.write("go\n")
        job.stdin.flush()
    for job in jobs:
        output, errors = job.communicate(timeout=60)
        assert (job.returncode, output) == (0, "done\n"), errors
    assert not list((tmp_path / "locks").glob("waiting-*"))


@pytest.mark.parametrize("how", ["alone", "with a fork that lives on", "started a process that lives on"])
def test_a_lock_dies_with_its_owner_and_is_inherited_by_nobody(how: str, machine: Machine, tmp_path: Path) -> None:
    machine.have(nvml.gpu(0))
    with machine.start(HOLD, str(tmp_path / "locks"), how) as first:
        _, _, *children = line(first).split()
        with machine.start(HOLD, str(tmp_path / "locks"), "alone", GITHUB_REPOSITORY="acme/digits") as second:
            assert f"GPU 0 is held by another job (process {first.pid} on " in line(second, "waiting for 1 of 1 GPU; ")
            first.kill()
            assert line(second) == "has it"
            for child in children:
                os.kill(int(child), signal.SIGKILL)
            second.communicate("\n", timeout=30)
        first.communicate(timeout=30)


def test_a_gpu_is_not_free_while_the_training_of_a_killed_job_is_still_on_it(machine: Machine, tmp_path: Path) -> None:
    machine.have(nvml.gpu(0))
    with machine.start(HOLD, str(tmp_path / "locks"), "start a training") as first:
        training = int(line(first).split()[-1])
        machine.now(0, alive=f"{training}:{30 * GIB}", used=30 * GIB)
        first.kill()
        first.wait(timeout=30)
    with machine.start(HOLD, str(tmp_path / "locks"), "alone") as second:
        assert f"GPU 0 is used by process {training} (" in line(second, "waiting for 1 of 1 GPU; ")
        machine.now(0, used=0)
        os.kill(training, signal.SIGKILL)
        assert line(second) == "has it"
        second.communicate("\n", timeout=30)


def test_a_job_that_waits_can_be_interrupted(machine: Machine, tmp_path: Path) -> None:
    machine.have(nvml.gpu(0))
    with machine.start(HOLD, str(tmp_path / "locks"), "alone") as first:
        assert line(first) == "has it"
        with machine.start(HOLD, str(tmp_path / "locks"), "alone") as second:
            line(second, "waiting for 1 of 1 GPU; ")
            began = time.monotonic()
            second.send_signal(signal.SIGINT)
            _, errors = second.communicate(timeout=30)
            assert time.monotonic() - began < 10
            assert "KeyboardInterrupt" in errors
        first.communicate("\n", timeout=30)
    assert not list((tmp_path / "locks").glob("waiting-*"))

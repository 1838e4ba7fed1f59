"""NVIDIA's GPUs through the real pynvml, and a library in the place of NVIDIA's: what is found, read, measured and borne."""

import json
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests import nvml
from tests.nvml import GIB, Machine

pytestmark = pytest.mark.nvml

FIND = """
import dataclasses, json, os
from metricgate.train import gpu
found = gpu.VENDORS[0].find(os.environ)
samples = [dataclasses.asdict(gpu.VENDORS[0].sample(device)) for device in found.devices]
print(json.dumps({**dataclasses.asdict(found), "samples": samples}))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return nvml.compile_library(tmp_path_factory.mktemp("nvml"))


@pytest.fixture
def machine(library: Path, tmp_path: Path) -> Machine:
    return Machine(library, tmp_path / "state").write()


def found(machine: Machine, **environ: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(machine.run(FIND, **environ))
    return document


class TestFinding:
    def test_every_gpu_is_found_and_read(self, machine: Machine) -> None:
        process = {"compute": f"4194400:{20 * GIB} 4194401:?", "graphics": "4194400:1 4194402:5"}
        machine.have(nvml.gpu(0), nvml.gpu(1, name="NVIDIA A100", used=21 * GIB, utilisation=87, power=310_500, **process))
        told = found(machine)
        assert told["devices"][0] == {
            "vendor": "nvidia",
            "index": 0,
            "uuid": nvml.uuid(0),
            "name": "NVIDIA H100 80GB HBM3",
            "memory_bytes": 80 * GIB,
            "driver": "570.86.15",
        }
        assert told["samples"][0]["used_bytes"] == 0  # what is reserved is nobody's
        assert told["samples"][1] == {
            "used_bytes": 21 * GIB,
            "processes": [
                {"pid": 4194400, "memory_bytes": 20 * GIB, "graphics": False},
                {"pid": 4194401, "memory_bytes": None, "graphics": False},
                {"pid": 4194402, "memory_bytes": 5, "graphics": True},
            ],
            "utilisation": 0.87,
            "energy_j": 5000.0,
            "power_w": 310.5,
        }

    def test_what_a_consumer_card_does_not_tell_is_none(self, machine: Machine) -> None:
        machine.have(nvml.gpu(0, energy=None, power="!3", utilisation="!3", compute="!3", mig="!3", used="!4", name="!999"))
        (sample,) = found(machine)["samples"]
        assert set(sample.values()) == {None}
        assert found(machine)["devices"][0]["name"] == "NVIDIA GPU"

    def test_a_driver_of_2019_is_asked_in_its_own_words(self, tmp_path: Path) -> None:
        machine = Machine(nvml.compile_library(tmp_path / "old", old_driver=True), tmp_path / "state")
        machine.have(nvml.gpu(0, compute="4194400:7"))
        assert found(machine)["samples"][0]["processes"] == [{"pid": 4194400, "memory_bytes": 7, "graphics": False}]

    def test_a_gpu_in_mig_mode_is_its_instances(self, machine: Machine) -> None:
        slice_ = {"name": "NVIDIA H100 MIG 1g.10gb", "total": 10 * GIB, "used": GIB, "compute": ""}
        machine.have(nvml.gpu(0, mig=1), nvml.gpu(1), nvml.gpu(2, mig=1))
        machine.now(0, **{f"{n}.{what}": value for n in (0, 1) for what, value in {"uuid": f"MIG-{n}", **slice_}.items()})
        told = found(machine)
        assert [(device["uuid"], device["index"]) for device in told["devices"]] == [
            ("MIG-0", 0),
            ("MIG-1", 0),
            (nvml.uuid(1), 1),
        ]
        assert told["devices"][1]["memory_bytes"] == 10 * GIB
        assert told["samples"][0]["used_bytes"] == GIB
        assert told["samples"][0]["energy_j"] is told["samples"][0]["utilisation"] is None
        assert told["why"] == "GPU 2 is in MIG mode and has no instance"
        assert [device["uuid"] for device in found(machine, CUDA_VISIBLE_DEVICES="MIG-1")["devices"]] == ["MIG-1"]

    def test_a_gpu_that_is_lost_does_not_hide_the_others(self, machine: Machine) -> None:
        machine.have(nvml.gpu(0, lost="!15"), nvml.gpu(1))
        told = found(machine)
        assert [device["uuid"] for device in told["devices"]] == [nvml.uuid(1)]
        assert told["why"] == "GPU 0 does not answer: GPU is lost"

    @pytest.mark.parametrize(("setting", "shown"), [("1", [1]), ("GPU-2222", [2]), ("2,0", [2, 0])])
    def test_a_runner_that_may_use_some_uses_those(self, setting: str, shown: list[int], machine: Machine) -> None:
        machine.have(*map(nvml.gpu, range(3)))
        assert [device["index"] for device in found(machine, CUDA_VISIBLE_DEVICES=setting)["devices"]] == shown

    @pytest.mark.parametrize(
        ("told", "environ", "why", "present"),
        [
            ({"init": 9}, {}, "the NVIDIA driver is not loaded", False),
            ({"init": 18}, {}, "the NVIDIA driver was updated, and the machine not restarted since", False),
            ({"init": 4}, {}, "this user may not use the NVIDIA driver", False),
            ({"init": 999}, {}, "libnvidia-ml.so.1 says: Unknown Error", False),
            ({}, {}, "the NVIDIA driver lists none", False),
            (nvml.gpu(0), {"CUDA_VISIBLE_DEVICES": ""}, "CUDA_VISIBLE_DEVICES hides the only one", True),
        ],
    )
    def test_where_there_is_none_the_reason_is_kept_as_words(
        self, told: dict[str, object], environ: dict[str, str], why: str, present: bool, machine: Machine
    ) -> None:
        machine.told |= {key if key == "init" else f"0.{key}": value for key, value in told.items()}
        answer = found(machine.write(), **environ)
        assert (answer["devices"], answer["why"], answer["present"]) == ([], why, present)

    def test_no_library_and_another_library_are_reasons_too(self, machine: Machine, tmp_path: Path) -> None:
        assert found(machine, LD_LIBRARY_PATH=str(no_library(tmp_path)))["why"] == "libnvidia-ml.so.1 is not there"
        source, folder = tmp_path / "empty.c", tmp_path / "empty"
        source.write_text("int nothing;\n")
        folder.mkdir()
        subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(folder / nvml.LIBRARY), str(source)], check=True)
        assert found(machine, LD_LIBRARY_PATH=str(folder))["why"] == "libnvidia-ml.so.1 says: Function Not Found"


def no_library(folder: Path) -> Path:
    """A folder that hides the library of this machine, should it have one."""
    (folder / "none").mkdir()
    (folder / "none" / nvml.LIBRARY).write_text("no library")
    return folder / "none"


METER = """
import dataclasses, io, json, os, subprocess, sys
from pathlib import Path
from metricgate.train.console import Console
from metricgate.train.gpu import claims
from metricgate.train.gpu.meter import GpuMeter
console = Console(io.BytesIO(), sys.stderr)
with claims.claim(int(sys.argv[1]), folder=Path(sys.argv[2]), console=console, timeout_s=0, environ=os.environ) as claim:
    meter = GpuMeter(claim, interval_s=0.002)
    environ = {**os.environ, **claim.environ()}
    see = subprocess.run(["sh", "-c", "echo $CUDA_VISIBLE_DEVICES"], env=environ, capture_output=True, text=True, check=True)
    print(see.stdout.strip(), flush=True)
    meter.start(os.getpid())
    for line in sys.stdin:
        if line.strip() == "stop":
            break
        print(meter.now(), flush=True)
    meter.stop()
    print(json.dumps(dataclasses.asdict(meter.usage)))
"""


@contextmanager
def asked(process: "subprocess.Popen[str]") -> Iterator[Callable[[str], str]]:
    """Ask a process line by line."""
    assert process.stdin is not None
    assert process.stdout is not None

    def ask(line: str) -> str:
        print(line, file=process.stdin, flush=True)
        return process.stdout.readline().strip() if process.stdout else ""

    with process:
        yield ask


class TestMetering:
    def test_a_training_is_measured(self, machine: Machine, tmp_path: Path) -> None:
        machine.have(nvml.gpu(0), nvml.gpu(1))
        with asked(machine.start(METER, "2", str(tmp_path / "locks"))) as ask:
            assert ask("") == f"{nvml.uuid(0)},{nvml.uuid(1)}"
            assert ask("") == "GPU 0 0%, 0.0 GB; GPU 1 0%, 0.0 GB"
            machine.now(0, compute=f"4194400:{61 * 10**9}", used=62 * 10**9, utilisation=90, energy=5_000_000 + 7_200_000)
            machine.now(1, compute=f"4194400:{11 * 10**9}", used=62 * 10**9, utilisation=70, energy=5_000_000 + 3_600_000)
            deadline = time.monotonic() + 30
            while ask("") != "GPU 0 90%, 61.0 GB; GPU 1 70%, 11.0 GB":
                assert time.monotonic() < deadline
            machine.now(0, lost="!15")  # and falls off the bus
            while "GPU 0" in (told := ask("")):
                assert time.monotonic() < deadline
            assert told == "GPU 1 70%, 11.0 GB"
            lines = [ask("stop")]
            while not lines[-1].startswith("{"):
                lines.append(ask(""))
        used = json.loads(lines[-1])
        assert used["devices"] == ["NVIDIA H100 80GB HBM3"] * 2
        assert used["peak_memory_bytes"] == 61 * 10**9
        assert used["energy_wh"] == pytest.approx(3.0)
        assert 0 < used["utilisation"] <= 0.9
        assert used["gpu_s"] > 0


def test_the_check_of_a_real_gpu_says_that_there_is_none(machine: Machine, tmp_path: Path) -> None:
    root = str(Path(__file__).parents[2])
    script = "import sys; sys.path.insert(0, sys.argv[1]); from benchmarks import gpu_check; raise SystemExit(gpu_check.main())"
    assert machine.run(script, root, LD_LIBRARY_PATH=str(no_library(tmp_path))) == "no GPU: libnvidia-ml.so.1 is not there\n"

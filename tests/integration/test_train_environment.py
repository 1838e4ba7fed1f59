"""The manifest of an environment: asked from real interpreters and programs, and never a reason to fail."""

import json
import os
import sys
from pathlib import Path

import pytest
from tests import nvml
from tests.gpu_vendor import Bench
from tests.nvml import Machine

from metricgate.train import environment


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that is the whole PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, script: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return file


class TestInterpreter:
    def test_is_the_first_that_the_command_names(self, programs: Path, tmp_path: Path) -> None:
        for name in ("python", "python3.11", "python3"):
            program(programs, name, "exit 1")
        program(tmp_path / "venv" / "bin", "python", "exit 1")
        environ = {"PATH": str(programs)}
        for line, expected in {
            "python3.11 train.py": programs / "python3.11",
            "cd src && python3 train.py": programs / "python3",
            "venv/bin/python train.py": tmp_path / "venv" / "bin" / "python",
            f"'{programs}/python3' -m train": programs / "python3",
            "make train": programs / "python",
            "uv run train.py --python-version 3": programs / "python",
            "echo 'unpaired": programs / "python",
        }.items():
            assert environment.interpreter(line, cwd=tmp_path, environ=environ) == expected

    def test_is_our_own_where_there_is_no_other(self, programs: Path, tmp_path: Path) -> None:
        assert environment.interpreter("make", cwd=tmp_path, environ={"PATH": str(programs)}) == Path(sys.executable)

    def test_is_asked_for_its_packages_without_running_code_of_the_repository(self, tmp_path: Path) -> None:
        (tmp_path / "json.py").write_text("raise SystemExit('imported from the repository')")
        found = environment.manifest(f"'{sys.executable}' train.py", cwd=tmp_path, environ=os.environ)
        assert found["python"]["executable"] == sys.executable
        assert found["python"]["packages"]["metricgate"]
        assert found["frameworks"]["scikit-learn"] == found["python"]["packages"]["scikit-learn"]

    def test_knows_a_package_by_the_head_of_what_it_says_about_itself(self, tmp_path: Path) -> None:
        for folder, content in {
            "one-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: The.One\nVersion: 1.0\n\nName: another\nVersion: 9\n",
            "two.egg-info/PKG-INFO": "metadata-version: 1.0\nname: two\nversion: 2.0+cpu\nDescription: long\n        Name: x\n",
            "three.egg-info": "Name: three\nVersion: 3.0\n",  # a file, as distutils left it
            "broken-3.dist-info/METADATA": "Name: broken\n",
            "empty-4.dist-info/METADATA": "",
        }.items():
            (tmp_path / folder).parent.mkdir(exist_ok=True)
            (tmp_path / folder).write_text(content)
        environ = {**os.environ, "PYTHONPATH": str(tmp_path)}
        packages = environment.manifest(f"'{sys.executable}' train.py", cwd=tmp_path, environ=environ)["python"]["packages"]
        assert [packages.get(name) for name in ("the-one", "two", "three")] == ["1.0", "2.0+cpu", "3.0"]
        assert not {"another", "x", "broken", "empty"} & set(packages)

    @pytest.mark.parametrize("script", ["exit 3", "echo nonsense", "echo '[]'", "echo '{\"version\": 1}'"])
    def test_that_does_not_answer_leaves_a_gap(self, script: str, programs: Path, tmp_path: Path) -> None:
        program(programs, "python", script)
        found = environment.manifest("python train.py", cwd=tmp_path, environ={"PATH": str(programs)})
        assert found["python"] == {"executable": str(programs / "python")}
        assert environment.fingerprint(found) is None


class TestMachine:
    def test_has_the_gpus_that_the_command_would_see(self, programs: Path, tmp_path: Path) -> None:
        environ = {"PATH": str(programs), "BENCH": "1,2"}
        found = environment.manifest("true", cwd=tmp_path, environ=environ, vendors=[Bench(3)])
        gpu = {"name": "Bench 1", "memory_bytes": 80_000_000_000, "driver": "1.5"}
        assert found["gpu"] == [{**gpu, "uuid": "B-1"}, {**gpu, "uuid": "B-2"}]
        assert found["cuda"] == "not among the packages; driver 1.5"
        assert environment.gpu_names(found) == ("Bench 1", "Bench 1")

    def test_has_none_where_there_is_no_driver(self, programs: Path, tmp_path: Path) -> None:
        found = environment.manifest("true", cwd=tmp_path, environ={"PATH": str(programs)}, vendors=[Bench(0, why="no driver")])
        assert "gpu" not in found
        assert "cuda" not in found
        assert environment.gpu_names(found) == ()

    @pytest.mark.nvml
    def test_has_the_gpus_that_nvidias_library_lists(self, tmp_path: Path) -> None:
        machine = Machine(nvml.compile_library(tmp_path / "lib"), tmp_path / "state").have(nvml.gpu(0))
        script = (
            "import json, os, pathlib; from metricgate.train import environment; "
            "print(json.dumps(environment.manifest('true', cwd=pathlib.Path.cwd(), environ=os.environ)['gpu']))"
        )
        gpu = {"name": "NVIDIA H100 80GB HBM3", "uuid": nvml.uuid(0), "memory_bytes": 80 * 2**30, "driver": "570.86.15"}
        assert json.loads(machine.run(script)) == [gpu]

    def test_says_which_runner_it_is_and_keeps_nothing_else_of_the_variables(self, programs: Path, tmp_path: Path) -> None:
        environ = {"PATH": str(programs), "RUNNER_NAME": "gpu-3", "RUNNER_OS": "Linux", "AWS_SECRET": "hunter2"}
        found = environment.manifest("true", cwd=tmp_path, environ=environ)
        assert found["runner"] == {"RUNNER_NAME": "gpu-3", "RUNNER_OS": "Linux"}
        assert "hunter2" not in str(found)

    def test_has_a_processor_and_memory(self, tmp_path: Path) -> None:
        found = environment.manifest("true", cwd=tmp_path, environ=os.environ)
        assert found["cores"] >= 1
        assert found["memory_bytes"] > 2**20
        assert found["cpu"]
        assert found["os"].startswith(os.uname().sysname)

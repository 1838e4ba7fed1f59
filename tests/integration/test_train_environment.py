"""The manifest of an environment: asked from real interpreters and programs, and never a reason to fail."""

import os
import sys
from pathlib import Path

import pytest

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

    @pytest.mark.parametrize("script", ["exit 3", "echo nonsense", "echo '[]'", "echo '{\"version\": 1}'"])
    def test_that_does_not_answer_leaves_a_gap(self, script: str, programs: Path, tmp_path: Path) -> None:
        program(programs, "python", script)
        found = environment.manifest("python train.py", cwd=tmp_path, environ={"PATH": str(programs)})
        assert found["python"] == {"executable": str(programs / "python")}
        assert environment.fingerprint(found) is None


class TestMachine:
    def test_has_the_gpus_that_nvidia_smi_lists(self, programs: Path, tmp_path: Path) -> None:
        line = "NVIDIA H200, GPU-1b2c, 143771, 570.86.15"
        program(
            programs,
            "nvidia-smi",
            f'test "$1" = --query-gpu=name,uuid,memory.total,driver_version && echo "{line}" && echo "{line}"',
        )
        found = environment.manifest("true", cwd=tmp_path, environ={"PATH": str(programs)})
        gpu = {"name": "NVIDIA H200", "uuid": "GPU-1b2c", "memory_bytes": 143771 * 2**20, "driver": "570.86.15"}
        assert found["gpu"] == [gpu, gpu]
        assert environment.gpu_names(found) == ("NVIDIA H200", "NVIDIA H200")

    @pytest.mark.parametrize("script", ["exit 9", "echo 'No devices were found'", "echo 'NVIDIA-SMI has failed' >&2; exit 9"])
    def test_has_none_where_the_driver_is_broken(self, script: str, programs: Path, tmp_path: Path) -> None:
        program(programs, "nvidia-smi", script)
        found = environment.manifest("true", cwd=tmp_path, environ={"PATH": str(programs)})
        assert "gpu" not in found
        assert environment.gpu_names(found) == ()

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

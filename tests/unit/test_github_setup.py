"""The environment of the actions: whole or absent, and another one for anything that it is made of."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]


def copy(folder: Path) -> Path:
    """The files that make the environment, and nothing else."""
    locks = (
        f"requirements/{name}.txt" for name in ("core", "release", "tune", "setup", "server-keras", "server-onnx", "server-pip")
    )
    for name in ("actions/setup/environment.py", *locks, "pyproject.toml", "Dockerfile"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(PROJECT / name, folder / name)
    (folder / "src" / "metricgate").mkdir(parents=True)
    (folder / "src" / "metricgate" / "__init__.py").write_text('__version__ = "1"\n')
    return folder


def load(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment", folder / "actions/setup/environment.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_key_depends_on_the_files_and_not_on_where_they_are(tmp_path: Path) -> None:
    one, other = copy(tmp_path / "one"), copy(tmp_path / "another place")
    assert load(one).key() == load(other).key()
    (other / "src" / "metricgate" / "__pycache__").mkdir()
    (other / "src" / "metricgate" / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert load(one).key() == load(other).key()


@pytest.mark.parametrize(
    "name",
    [
        "requirements/core.txt",
        "requirements/setup.txt",
        "requirements/server-onnx.txt",
        "Dockerfile",
        "src/metricgate/__init__.py",
        "src/metricgate/new.j2",
    ],
)
def test_another_lock_or_another_source_has_another_key(tmp_path: Path, name: str) -> None:
    folder = copy(tmp_path)
    before = load(folder).key()
    with (folder / name).open("a") as file:
        file.write("# changed\n")
    assert load(folder).key() != before


@pytest.mark.parametrize(("lock", "stages"), [("release", ["publish", "verify"]), ("tune", ["tune"])])
def test_some_stages_have_an_environment_of_their_own_which_the_others_do_not_depend_on(
    tmp_path: Path, lock: str, stages: list[str]
) -> None:
    folder = copy(tmp_path)
    core, own = load(folder).key(), load(folder).key(lock)
    assert core != own
    with (folder / f"requirements/{lock}.txt").open("a") as file:
        file.write("# changed\n")
    assert load(folder).key() == core
    assert load(folder).key(lock) != own
    assert [stage for stage, named in load(folder).LOCKS.items() if named == lock] == stages


@pytest.mark.parametrize("lock", ["release", "tune", "kubernetes"])
def test_such_a_lock_holds_all_that_the_core_holds(lock: str) -> None:
    """Whatever works in the other actions works in these too, and in the same version."""
    core, own = (
        {
            re.sub(r"\[.*?\]", "", line.split()[0])  # more extras in one than in the other are no other version
            for line in (PROJECT / "requirements" / f"{name}.txt").read_text().splitlines()
            if "==" in line
        }
        for name in ("core", lock)
    )
    assert core <= own


def test_the_client_of_an_engine_is_installed_where_the_workflow_names_it(tmp_path: Path) -> None:
    environment = load(copy(tmp_path))
    asked = {"METRICGATE_INPUT_LAUNCHER": "kubernetes"}
    assert environment.lock_of("train", asked) == "kubernetes"
    assert environment.lock_of("publish", asked) == "release"
    assert [environment.lock_of("train", {"METRICGATE_INPUT_LAUNCHER": name}) for name in ("", "slurm", "../x")] == ["core"] * 3
    assert environment.lock_of("train", {}) == "core"


def test_the_cache_is_that_of_the_runner_and_then_that_of_the_user(tmp_path: Path) -> None:
    environment = load(copy(tmp_path))
    home = Path.home() / ".cache" / "metricgate"
    assert environment.cache_folders({"RUNNER_TOOL_CACHE": "/tools"}) == [Path("/tools/metricgate"), home]
    assert environment.cache_folders({"XDG_CACHE_HOME": "/cache"}) == [Path("/cache/metricgate")]
    assert environment.is_writable(tmp_path / "new" / "folder")
    (tmp_path / "file").touch()
    assert not environment.is_writable(tmp_path / "file" / "folder")


def test_an_installation_that_fails_explains_itself_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = copy(tmp_path / "source")
    tools = tmp_path / "tool cache"
    environ = {**os.environ, "RUNNER_TOOL_CACHE": str(tools), "PIP_INDEX_URL": "file:///nowhere", "PIP_NO_CACHE_DIR": "1"}
    finished = subprocess.run(
        [sys.executable, "-I", folder / "actions/setup/environment.py"],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 5
    assert finished.stdout == ""
    assert "::error title=metricgate could not be set up::" in finished.stderr
    assert "package index" in finished.stderr
    assert [entry for entry in (tools / "metricgate").iterdir() if entry.is_dir()] == []


def test_environments_that_nobody_used_for_a_month_go(tmp_path: Path) -> None:
    environment = load(copy(tmp_path / "source"))
    cache = tmp_path / "cache"
    ages = {"in use": 0, "last week": 7, "last year": 365, "kept": 365, ".building": 0, ".killed while building": 2}
    for name, days in ages.items():
        (cache / name / "bin").mkdir(parents=True)
        os.utime(cache / name, (time.time() - days * 86400,) * 2)
    environment.remove_unused(cache, keep=cache / "kept")
    assert {entry.name for entry in cache.iterdir()} == {"in use", "last week", "kept", ".building"}


def test_the_command_brings_no_python_along(tmp_path: Path) -> None:
    environment = load(copy(tmp_path / "source"))
    command = tmp_path / "command" / "metricgate"
    environment.write_command(command, Path("/tool cache/it's here/bin/python"))
    assert [entry.name for entry in command.parent.iterdir()] == ["metricgate"]
    (tmp_path / "it's").mkdir()
    python = tmp_path / "it's" / "python"
    python.write_text('#!/bin/sh\nprintf "%s|" "$@"\n')
    python.chmod(0o755)
    shutil.rmtree(command.parent)
    environment.write_command(command, python)
    finished = subprocess.run([command, "compare", "a b"], capture_output=True, text=True, check=True)
    assert finished.stdout == "-I|-m|metricgate|compare|a b|"

"""Makes the environment that the actions run in, once a machine, and prints the path of its Python.

With the argument ``setup`` it also puts the command ``metricgate`` on the path of the job's following steps. With ``publish``
or ``verify``, and with ``tune``, it is an environment of its own, which has what only those need: the others stay small.

It is keyed by everything that it is made of (the lock, the Python, metricgate's own source), kept in the runner's tool
cache, and found again in tens of milliseconds. Jobs that start at once on one machine share it: it is built aside, under
a lock, and renamed into place, so it is whole or absent.

Only the standard library is used: this runs before anything is installed. Standard output is the path, and nothing else.
"""

from __future__ import annotations  # so that an older Python gets as far as being told so

import contextlib
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NoReturn

MINIMUM = (3, 10)
COMMAND = Path("command", "metricgate")
ROOT = Path(__file__).resolve().parents[2]
UNUSED_S = 30 * 24 * 3600
ABANDONED_S = 24 * 3600

# What some stages need beside the core, each in an environment of its own; the others stay small.
LOCKS = {"publish": "release", "verify": "release", "tune": "tune"}
# Of the engines that trainings can be handed to, those with a client of their own.
LAUNCHERS = {"kubernetes": "kubernetes"}

# What is imported is what gets compiled: a third of the bytecode, and a smoke test of the environment at the same time.
WARM_UP = """
import importlib, pkgutil, sys
import duckdb, jinja2, numpy, pydantic, ruamel.yaml, scipy.special, tabulate
import metricgate
missing = ["demo", "server", "keras", "torch", "transformers"]
missing += [] if sys.argv[1] == "release" else ["release", "releasing"]
missing += [] if sys.argv[1] == "tune" else ["tune"]
for module in pkgutil.walk_packages(metricgate.__path__, "metricgate."):
    if module.name.split(".")[1] not in missing and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
"""


def main(arguments: list[str], environ: Mapping[str, str]) -> None:
    """Find the environment, or build it, and print the path of its Python."""
    if sys.version_info < MINIMUM:
        fail(
            f"metricgate needs Python 3.10 or newer, and python3 on this runner is {platform.python_version()}",
            "add this before the step:\n  - uses: actions/setup-python@v7\n    with: {python-version: '3.13'}",
        )
    caches = cache_folders(environ)
    lock = lock_of(arguments[0] if arguments else "", environ)
    name = key(lock)
    home = next((cache / name for cache in caches if (cache / name).is_dir()), None)
    if home is None:
        started = time.monotonic()
        cache = next((cache for cache in caches if is_writable(cache)), None)
        if cache is None:
            fail(f"the runner can write to none of {', '.join(map(str, caches))}", "let its user write to one of them")
        home = cache / name
        with locked(home.with_suffix(".lock")):
            if not home.is_dir():  # another job may have built it while this one waited
                build(home, environ, lock=lock)
                remove_unused(cache, keep=home)
        say(f"environment ready after {time.monotonic() - started:.1f} s: {home}")
    with contextlib.suppress(OSError):  # a cache that somebody else owns is used as it is
        os.utime(home)
    if arguments == ["setup"]:
        command = home / COMMAND
        append(environ.get("GITHUB_PATH"), str(command.parent))
        append(environ.get("GITHUB_OUTPUT"), f"command={command}")
    print(home / "bin" / "python")  # noqa: T201 - the answer to the caller


def append(file: str | None, line: str) -> None:
    """Tell the runner something, where there is one."""
    if file:
        with Path(file).open("a", encoding="utf-8") as stream:
            stream.write(f"{line}\n")


def cache_folders(environ: Mapping[str, str]) -> list[Path]:
    """The runner's tool cache, which self-hosted runners keep between jobs; then the user's cache."""
    folders = [Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metricgate"]
    if tools := environ.get("RUNNER_TOOL_CACHE"):
        folders.insert(0, Path(tools) / "metricgate")
    return folders


def is_writable(folder: Path) -> bool:
    """Whether environments can be built there; makes the folder if need be."""
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
    return os.access(folder, os.W_OK)


def lock_of(stage: str, environ: Mapping[str, str]) -> str:
    """What a stage needs: ``core``, ``release``, ``tune``, or ``kubernetes`` where its trainings are handed over there."""
    return LOCKS.get(stage) or LAUNCHERS.get(environ.get("METRICGATE_INPUT_LAUNCHER", ""), "core")


def key(lock: str = "core") -> str:
    """A digest over everything that the environment is made of; ``lock`` is one of ``lock_of``."""
    digest = hashlib.sha256()
    python = (sys.implementation.cache_tag, platform.python_version(), sys.platform, platform.machine(), sys.base_prefix)
    digest.update(repr(python).encode())
    for file in sources(lock):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(ROOT)} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:20]


def sources(lock: str = "core") -> list[Path]:
    """The files that the environment is made from, in a fixed order."""
    # Those of the model server go into the package, which builds its image.
    locks = (ROOT / "requirements" / f"{name}.txt" for name in (lock, "setup", "server-keras", "server-onnx", "server-pip"))
    fixed = [Path(__file__).resolve(), ROOT / "pyproject.toml", ROOT / "Dockerfile", *locks]
    package = (file for file in (ROOT / "src").rglob("*") if file.is_file() and "__pycache__" not in file.parts)
    return fixed + sorted(package)


def build(home: Path, environ: Mapping[str, str], *, lock: str) -> None:
    """Build the environment beside ``home`` and rename it into place."""
    stage = Path(tempfile.mkdtemp(dir=home.parent, prefix=f".{home.name}-"))
    try:
        say(f"installing the locked environment for Python {platform.python_version()} …")
        uv = install_uv(stage / "tools", environ)
        env = stage / "env"
        settings = {**environ, "UV_CACHE_DIR": str(stage / "cache"), "UV_PYTHON_DOWNLOADS": "never"}
        if index := environ.get("PIP_INDEX_URL"):  # a runner with a mirror has told pip; uv does not read pip's variables
            settings.setdefault("UV_DEFAULT_INDEX", index)
        run([uv, "venv", "--quiet", "--relocatable", "--python", sys.executable, env], settings, cwd=stage)
        install = [uv, "pip", "install", "--quiet", "--python", env / "bin" / "python"]
        run(
            [*install, "--require-hashes", "--only-binary", ":all:", "-r", ROOT / "requirements" / f"{lock}.txt"],
            settings,
            cwd=stage,
        )
        # The lock holds the build backend, so nothing unlocked is fetched to build metricgate itself.
        run([*install, "--no-deps", "--no-build-isolation", "--no-index", ROOT], settings, cwd=stage)
        run([env / "bin" / "python", "-I", "-c", WARM_UP, lock], environ, cwd=stage)
        write_command(env / COMMAND, home / "bin" / "python")
        with contextlib.suppress(OSError):  # without the lock (a network file system) somebody else may have been first
            env.rename(home)
        if not home.is_dir():
            fail(f"the environment could not be moved to {home}", "let the runner's user write there")
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def write_command(command: Path, python: Path) -> None:
    """Write the command into a folder of its own: on the path, it must not bring our Python along."""
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec {shlex.quote(str(python))} -I -m metricgate "$@"\n')
    command.chmod(0o755)


def install_uv(folder: Path, environ: Mapping[str, str]) -> Path:
    """Install the locked uv: measured, it installs the core in a third of pip's time."""
    settings = {**environ, "PIP_USER": "0", "PIP_ROOT_USER_ACTION": "ignore"}
    pip: list[object] = [sys.executable, "-I", "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        bootstrap = folder.with_name("pip")
        run([sys.executable, "-I", "-m", "venv", bootstrap], settings, cwd=folder.parent)
        pip = [bootstrap / "bin" / "python", "-I", "-m", "pip"]
    options = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-compile", "--require-hashes"]
    run(
        [*pip, "install", *options, "--target", folder, "-r", ROOT / "requirements" / "setup.txt"],
        settings,
        cwd=folder.parent,
    )
    return folder / "bin" / "uv"


def run(command: list[object], environ: Mapping[str, str], *, cwd: Path) -> None:
    """Run a command with its output in the log; stop with an explanation if it fails.

    It runs outside the checkout, whose configuration files (uv.toml, pip.conf) have no say here.
    """
    arguments = [str(part) for part in command]
    finished = subprocess.run(arguments, env=dict(environ), cwd=cwd, stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)  # noqa: S603
    if finished.returncode:
        fail(
            f"`{Path(arguments[0]).name} {arguments[1]} …` failed ({finished.returncode}); its message stands above",
            "the runner needs pip or the venv module, write access to its tool cache, and a package index; "
            "set PIP_INDEX_URL (and UV_DEFAULT_INDEX, if it differs) for a mirror",
        )


@contextlib.contextmanager
def locked(file: Path) -> Iterator[None]:
    """Hold a lock that the operating system releases when the process ends, however it ends."""
    import fcntl

    with file.open("w") as handle:
        with contextlib.suppress(OSError):  # file systems without locks: the rename still keeps the result whole
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def remove_unused(cache: Path, *, keep: Path) -> None:
    """Remove environments that no job has used for a month, and what killed builds left behind."""
    now = time.time()
    for entry in cache.iterdir():
        with contextlib.suppress(OSError):
            idle = now - entry.stat().st_mtime
            if entry != keep and entry.is_dir() and idle > (ABANDONED_S if entry.name.startswith(".") else UNUSED_S):
                shutil.rmtree(entry, ignore_errors=True)


def say(text: str) -> None:
    """Tell the log; standard output belongs to the answer."""
    sys.stderr.write(f"metricgate: {text}\n")


def fail(found: str, fix: str) -> NoReturn:
    """Stop: on GitHub the message becomes an annotation of the step."""
    escaped = f"{found}\nto fix: {fix}".replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")
    sys.stderr.write(f"::error title=metricgate could not be set up::{escaped}\n")
    raise SystemExit(5)


if __name__ == "__main__":
    main(sys.argv[1:], os.environ)

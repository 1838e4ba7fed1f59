"""What a run was made with: interpreter, packages, accelerator, machine. Reading it never fails a run."""

from __future__ import annotations

import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from metricgate.train import digest, gpu

_TIMEOUT_S = 30.0
_PYTHON = re.compile(r"python(3(\.\d+)?)?")
_RUNNER = ("RUNNER_NAME", "RUNNER_OS", "RUNNER_ARCH", "RUNNER_ENVIRONMENT", "ImageOS", "ImageVersion")
_CHECKED_PACKAGES = ("tensorflow", "tensorflow-cpu", "keras", "torch", "jax", "scikit-learn", "xgboost", "transformers")
_NAME_SEPARATORS = re.compile(r"[-_.]+")

# Asks an interpreter about itself. It must not import what lies in the repository, hence the path without "". Of what a package
# says about itself, the head is enough: hundreds of them as e-mails, descriptions and all, would take a third of a second.
_QUESTION = r"""
import sys
sys.path = [entry for entry in sys.path if entry]
import json, platform, re
from importlib import metadata
packages = {}
for found in metadata.distributions():
    texts = (found.read_text(name) for name in ("METADATA", "PKG-INFO", ""))  # "": a file, as distutils left it
    head = next(filter(None, texts), "").partition("\n\n")[0]
    said = {key.lower(): value for key, value in re.findall(r"(?im)^(name|version):[ \t]*(\S+)", head)}
    if len(said) == 2:
        packages.setdefault(said["name"], said["version"])
print(json.dumps({"version": platform.python_version(), "packages": packages}))
"""


def manifest(
    command: str, *, cwd: Path, environ: Mapping[str, str], vendors: Sequence[gpu.Vendor] = gpu.VENDORS
) -> dict[str, Any]:
    """Describe the environment of a command.

    The packages are those of the interpreter that the command names first, or else of the first Python on ``PATH``; the
    command may use another one all the same, so the manifest says whose they are. The GPUs are those of ``vendors`` that the
    command would see, were none of them claimed by others.

    Returns:
        What ``run.json`` keeps under ``environment``; what could not be read is left out.
    """
    python = interpreter(command, cwd=cwd, environ=environ)
    found: dict[str, Any] = {
        "python": {"executable": str(python) if python else None, **_ask(python, cwd=cwd, environ=environ)},
        "os": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "cpu": _cpu(),
        "cores": _cores(),
        "memory_bytes": _memory(),
        "gpu": [_gpu(device) for vendor in vendors for device in vendor.find(environ).devices],
        "runner": {name: environ[name] for name in _RUNNER if environ.get(name)},
    }
    packages = found["python"].get("packages", {})
    found["frameworks"] = {name: packages[name] for name in _CHECKED_PACKAGES if name in packages}
    found["cuda"] = _cuda(packages, found["gpu"])
    return {name: value for name, value in found.items() if value not in (None, {}, [])}


def fingerprint(found: Mapping[str, Any]) -> str | None:
    """The digest of a manifest's interpreter version and packages; None where they could not be read."""
    python = found.get("python", {})
    if not python.get("packages"):
        return None
    packages = sorted(f"{name}=={version}" for name, version in python["packages"].items())
    return digest.of_texts([f"python=={python['version']}", *packages])


def gpu_names(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of a manifest's GPUs."""
    return tuple(each["name"] for each in found.get("gpu", ()))


def interpreter(command: str, *, cwd: Path, environ: Mapping[str, str]) -> Path | None:
    """The first Python that a command names, or else the first on ``PATH``, or else the one that runs metricgate."""
    try:
        words = shlex.split(command, comments=True)
    except ValueError:
        words = command.split()
    named = [word for word in words if _PYTHON.fullmatch(Path(word).name)]
    for word in [*named, "python", "python3"]:
        place = str(cwd / word) if "/" in word else word
        if found := shutil.which(place, path=environ.get("PATH")):
            return Path(found)
    return Path(sys.executable) if sys.executable else None


def _ask(python: Path | None, *, cwd: Path, environ: Mapping[str, str]) -> dict[str, Any]:
    if python is None:
        return {}
    answer = _read([str(python), "-c", _QUESTION], environ=environ, cwd=cwd)
    try:
        document = json.loads(answer.strip().rpartition("\n")[2])  # below whatever a sitecustomize prints
        packages = {_NAME_SEPARATORS.sub("-", name).lower(): str(version) for name, version in document["packages"].items()}
        return {"version": str(document["version"]), "packages": dict(sorted(packages.items()))}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def _gpu(device: gpu.Device) -> dict[str, Any]:
    return {"name": device.name, "uuid": device.uuid, "memory_bytes": device.memory_bytes, "driver": device.driver}


def _cuda(packages: Mapping[str, str], gpus: list[dict[str, Any]]) -> str | None:
    """The CUDA runtime among the packages; otherwise nothing sure is known, since the driver only bounds it."""
    runtimes = [packages[name] for name in sorted(packages) if re.fullmatch(r"nvidia-cuda-runtime(-cu\d+)?", name)]
    if runtimes:
        return runtimes[0]
    return f"not among the packages; driver {gpus[0]['driver']}" if gpus and gpus[0]["driver"] else None


def _cpu() -> str | None:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        if platform.system() == "Darwin":
            return _read(["sysctl", "-n", "machdep.cpu.brand_string"], environ=os.environ).strip() or None
        return platform.processor() or None
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or None


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError):
        return None


def _read(command: list[str], *, environ: Mapping[str, str], cwd: Path | None = None) -> str:
    """The output of a program that is asked for a fact; empty where it is missing, slow or fails."""
    program = shutil.which(command[0], path=environ.get("PATH"))
    if program is None:
        return ""
    try:
        answer = subprocess.run(  # noqa: S603 - programs of the machine, without a shell
            [program, *command[1:]],
            cwd=cwd,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.decode("utf-8", "replace") if answer.returncode == 0 else ""

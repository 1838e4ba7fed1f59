"""A machine with GPUs that it does not have: NVIDIA's library, replaced at its border.

The library is compiled from ``fake_nvml.c``, and loaded by ``pynvml`` in a process of its own, by ``LD_LIBRARY_PATH``: in the
process of the tests, all others would see GPUs too. What its GPUs do is in a file that a test rewrites.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

SOURCE = Path(__file__).with_name("fake_nvml.c")
LIBRARY = "libnvidia-ml.so.1"
GIB = 2**30


def compile_library(folder: Path, *, old_driver: bool = False) -> Path:
    """The library, in ``folder``; ``old_driver``: with the functions that a driver before 510 has."""
    folder.mkdir(parents=True, exist_ok=True)
    compiler = shutil.which("gcc") or "gcc"
    options = ["-shared", "-fPIC", "-std=c99", "-Wall", "-Wextra", "-Werror", *(["-DOLD_DRIVER"] if old_driver else [])]
    subprocess.run([compiler, *options, "-o", str(folder / LIBRARY), str(SOURCE)], check=True)
    return folder


def gpu(number: int, **changes: object) -> dict[str, object]:
    """An idle GPU of 80 GiB."""
    told: dict[str, object] = {
        "uuid": f"GPU-{number}{number}{number}{number}aaaa-0000-0000-0000-000000000000",
        "name": "NVIDIA H100 80GB HBM3",
        "total": 80 * GIB,
        "reserved": GIB,
        "used": 0,
        "utilisation": 0,
        "energy": 5_000_000,
        "power": 70_000,
        "compute": "",
        "graphics": "",
        "mig": 0,
    }
    return {name: value for name, value in {**told, **changes}.items() if value is not None}


def uuid(number: int) -> str:
    """The name of a GPU of :func:`gpu`."""
    return str(gpu(number)["uuid"])


@dataclass
class Machine:
    """A machine with these GPUs.

    Attributes:
        library: The folder with the library.
        state: The file that says what the GPUs do.
        told: What it says: a value by key, as ``fake_nvml.c`` explains.
    """

    library: Path
    state: Path
    told: dict[str, object] = field(default_factory=lambda: {"driver": "570.86.15"})

    def have(self, *gpus: Mapping[str, object]) -> Machine:
        """Have these GPUs from now on."""
        self.told |= {f"{number}.{what}": value for number, each in enumerate(gpus) for what, value in each.items()}
        return self.write()

    def now(self, number: int, **changes: object) -> Machine:
        """Change what a GPU does; None: it no longer tells."""
        self.told |= {f"{number}.{what}": value for what, value in changes.items()}
        return self.write()

    def write(self) -> Machine:
        """Whole or not at all: other processes read it at any moment."""
        lines = [f"{key} {value}" for key, value in self.told.items() if value is not None]
        aside = self.state.with_name(f"{self.state.name}.{os.getpid()}")
        aside.write_text("\n".join(lines) + "\n")
        aside.replace(self.state)
        return self

    def environ(self, **more: str) -> dict[str, str]:
        """The environment of a process on this machine."""
        kept = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
        return {**kept, "LD_LIBRARY_PATH": str(self.library), "FAKE_NVML": str(self.state), **more}

    def start(self, script: str, *arguments: str, **environ: str) -> subprocess.Popen[str]:
        """Start Python on this machine, in a session of its own."""
        return subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env=self.environ(**environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, script: str, *arguments: str, **environ: str) -> str:
        """The standard output of Python on this machine."""
        process = self.start(script, *arguments, **environ)
        output, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
        return output

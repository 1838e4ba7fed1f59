"""Times whole processes in turn, so that a machine whose speed drifts slows both sides alike."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Figures:
    """Of one command over several runs.

    Attributes:
        wall_s: Median wall-clock seconds.
        cpu_s: Median processor seconds, user and system.
        peak_mb: The largest peak of resident memory, in MB.
    """

    wall_s: float
    cpu_s: float
    peak_mb: float


@dataclass(frozen=True)
class Ratio:
    """Two commands in turn: ``ratio`` is the median over pairs of wall time A / wall time B."""

    a: Figures
    b: Figures
    ratio: float
    pairs: int


def ratio(a: Sequence[str], b: Sequence[str], *, cwd: Path, pairs: int = 7, accept: Sequence[int] = (0,)) -> Ratio:
    """Run A B A B … after one warm-up each.

    Raises:
        RuntimeError: A command ended with another exit code than those of ``accept``.
    """
    _once(a, cwd, accept)
    _once(b, cwd, accept)
    samples = [(_once(a, cwd, accept), _once(b, cwd, accept)) for _ in range(pairs)]
    first, second = ([pair[side] for pair in samples] for side in (0, 1))
    return Ratio(
        a=_figures(first), b=_figures(second), ratio=statistics.median(x.wall_s / y.wall_s for x, y in samples), pairs=pairs
    )


def once(command: Sequence[str], *, cwd: Path, accept: Sequence[int] = (0,)) -> Figures:
    """Run a command that takes too long to be repeated.

    Raises:
        RuntimeError: As ``ratio``.
    """
    return _once(command, cwd, accept)


def machine() -> str:
    """The machine in words, for the line under a table."""
    model = next(
        (line.split(":", 1)[1].strip() for line in _cpuinfo() if line.startswith("model name")),
        platform.processor() or "unknown",
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


# A process inherits the peak of the one that started it, so a small one stands between this one and what is measured.
_STARTER = """
import json, os, subprocess, sys, time
started = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
wall = time.perf_counter() - started
print(json.dumps([os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024]))
"""


def _once(command: Sequence[str], cwd: Path, accept: Sequence[int]) -> Figures:
    # Python keeps the bytecode of what it imported, unless told not to; then every start would compile again.
    environ = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    starter = [sys.executable, "-I", "-S", "-c", _STARTER]
    done = subprocess.run([*starter, *command], cwd=cwd, env=environ, check=True, capture_output=True, text=True)
    code, wall, cpu, peak = json.loads(done.stdout)
    if code not in accept:
        message = f"{command} ended with {code}: …{done.stderr[-2000:]}"
        raise RuntimeError(message)
    return Figures(wall, cpu, peak)


def _figures(samples: Sequence[Figures]) -> Figures:
    return Figures(
        statistics.median(s.wall_s for s in samples),
        statistics.median(s.cpu_s for s in samples),
        max(s.peak_mb for s in samples),
    )

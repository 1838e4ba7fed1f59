"""What the environment says about the server."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .errors import CannotServeError

_MIB = 1 << 20


@dataclass(frozen=True)
class Settings:
    """All of them come from variables that start with ``METRICGATE_``.

    Attributes:
        model: Where the model lies: a file, or a folder with one model in it.
        name: What the model is called in addresses.
        port: Where to listen.
        threads: How many predictions run at a time, and how many threads one of them uses.
        body_bytes: The largest request.
        grace_seconds: How long requests that run at the time of a SIGTERM may take.
    """

    model: Path = Path("/model")
    name: str = "model"
    port: int = 8080
    threads: int = 1
    body_bytes: int = 128 * _MIB
    grace_seconds: int = 25

    @classmethod
    def of(cls, environ: Mapping[str, str]) -> Settings:
        """Read them.

        Raises:
            CannotServeError: A variable has a value that can't be.
        """
        return cls(
            model=Path(environ.get("METRICGATE_MODEL_PATH") or cls.model),
            name=_name(environ.get("METRICGATE_MODEL_NAME") or cls.name),
            port=_number(environ, "METRICGATE_PORT", cls.port, most=65_535),
            threads=_number(environ, "METRICGATE_THREADS", processors(), most=1_024),
            body_bytes=_number(environ, "METRICGATE_MAX_REQUEST_MB", cls.body_bytes // _MIB, most=1 << 20) * _MIB,
            grace_seconds=_number(environ, "METRICGATE_GRACE_SECONDS", cls.grace_seconds, most=86_400),
        )


def processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """How many processors this process may keep busy: of those it may run on, what the container's quota leaves.

    Libraries that count the machine's processors start too many threads in a small container on a large machine.

    Args:
        cgroup: Where the kernel shows the quota (cgroups v2: ``cpu.max``; v1: ``cpu/cpu.cfs_*_us``).
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            quota, period = " ".join((cgroup / name).read_text(encoding="ascii").strip() for name in files).split()
        except (OSError, ValueError):
            continue
        if quota.isdecimal() and period.isdecimal() and int(period):
            return max(1, min(allowed, -(-int(quota) // int(period))))
    return allowed


def _number(environ: Mapping[str, str], variable: str, default: int, *, most: int) -> int:
    text = environ.get(variable, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= most):
        raise CannotServeError(f"{variable} is {text[:40]!r}; expected a whole number from 1 to {most:,}")
    return int(text)


def _name(text: str) -> str:
    if not set(text).isdisjoint("/:?#%") or not text.isprintable() or " " in text:
        raise CannotServeError(f"METRICGATE_MODEL_NAME is {text[:40]!r}; expected a name without spaces and / : ? # %")
    return text

"""Who gets which GPU: free ones are claimed by locks that die with their owner, so that two jobs never share one by accident.

A lock alone is not enough. When metricgate is killed, its lock is gone at once, and the training that it started may hold the
GPU for seconds more; and not everybody on a machine asks metricgate. So a GPU is free if its lock is, and nobody computes
on it.

All GPUs of a training are taken together or none is, by one job at a time, and whoever waits longest is served first: so two
jobs that each want two can't hold one each for ever, and a job that wants many is not starved by those that want one.
"""

from __future__ import annotations

import contextlib
import math
import os
import random
import re
import secrets
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from metricgate.errors import StageError
from metricgate.report import plain
from metricgate.train.console import Console, duration
from metricgate.train.gpu import VENDORS
from metricgate.train.gpu.locks import Lock, Locks
from metricgate.train.gpu.vendor import Device, Process, Vendor

FOLDER_VARIABLE = "METRICGATE_GPU_LOCKS"
SHARED_VARIABLE = "METRICGATE_GPU_SHARED"

# Not the folder for temporary files that a job may have for itself.
_FOLDER = Path("/tmp/metricgate-gpus")  # noqa: S108 - locks.py trusts nothing in it
_TURN = "turn"
_WAITING = "waiting-"
_USED = "used by "
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.05, 3.0
# Of memory that nobody seen here uses: more than a driver or a desktop takes.
_UNSEEN_PART, _UNSEEN_BYTES = 1 / 8, 2**30
# It owns the contexts of those that share a GPU through it, and computes nothing itself; the kernel keeps 15 characters.
_HELPERS = frozenset({"nvidia-cuda-mps"})
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")
_LONGEST_HOLD_S = 10 * 365 * 86_400.0


@dataclass(frozen=True)
class Claim:
    """The GPUs that a training has, and nobody else.

    Attributes:
        devices: Them; none where it trains on the CPU.
        each: How many each training gets.
        vendors: Those whose devices are here, the chosen one or not: a process is told by each of them what it may see.
        shared: Whether others may compute on them meanwhile.
        why: Why there is none; empty where there are some, or none was wanted.
    """

    devices: tuple[Device, ...] = ()
    each: int = 0
    vendors: tuple[Vendor, ...] = ()
    shared: bool = False
    why: str = ""

    def environ(self) -> dict[str, str]:
        """What makes a process see these and no others; nothing where no library knows of any GPU."""
        return {
            name: value
            for vendor in self.vendors
            for name, value in vendor.variables([device for device in self.devices if device.vendor == vendor.name]).items()
        }

    def split(self, n: int) -> tuple[Claim, ...]:
        """A claim for each of ``n`` trainings at once; fewer where there are not GPUs enough, but one at least."""
        if not self.devices:
            return (self,) * n
        starts = range(0, len(self.devices) - self.each + 1, self.each)[:n]
        return tuple(replace(self, devices=self.devices[start : start + self.each]) for start in starts)

    def vendor_of(self, device: Device) -> Vendor:
        """Who answers for a device."""
        return next(vendor for vendor in self.vendors if vendor.name == device.vendor)


def default_folder(environ: Mapping[str, str]) -> Path:
    """Where the jobs of this machine keep their locks; containers have to share it."""
    return Path(environ.get(FOLDER_VARIABLE) or _FOLDER)


@contextlib.contextmanager
def claim(
    count: int | None,
    *,
    folder: Path,
    console: Console,
    timeout_s: float,
    environ: Mapping[str, str],
    per: int = 1,
    doing: str = "training",
    vendors: Sequence[Vendor] = VENDORS,
    pause: Callable[[float], None] = time.sleep,
) -> Iterator[Claim]:
    """Have GPUs for as long as the context lasts; wait until they are free.

    Args:
        count: How many one training gets: None for one where there are any, 0 for none.
        folder: Where the jobs of this machine keep their locks.
        console: Says what is taken, what is waited for, and that there is none.
        timeout_s: How long to wait, in seconds.
        environ: The environment of the training: what it may see at most, and which job this is.
        per: For how many trainings at once; where there are fewer GPUs than all of them need, for as many as fit.
        doing: What is done with them, for people.
        vendors: Whose GPUs are looked for, the preferred ones first.
        pause: Waits so many seconds; what it raises ends the wait.

    Raises:
        StageError: There are GPUs, but not so many, or not so many free ones in that time; or the folder can't be used.
    """
    found = [(vendor, vendor.find(environ)) for vendor in vendors]
    present = tuple(vendor for vendor, what in found if what.present)
    why = "; ".join(what.why for _, what in found if what.why)
    chosen = next(((vendor, what) for vendor, what in found if what.devices), None)
    if count == 0:
        yield Claim(vendors=present)
        return
    if chosen is None:
        console.say(_on_the_cpu(count, why or "no vendor is known", doing))
        yield Claim(vendors=present, why=why)
        return
    vendor, devices = chosen[0], chosen[1].devices
    if chosen[1].why:
        console.say(f"⚠️ {chosen[1].why}")
    each = count or 1
    at_once = min(per, len(devices) // each)
    if at_once == 0:
        raise _too_many(each, devices, chosen[1].why)
    if at_once < per:
        console.say(f"{per} trainings at once need {per * each} GPUs, and there are {len(devices)}: {at_once} at a time")
    shared = environ.get(SHARED_VARIABLE, "") not in ("", "0", "false")
    wanted = _Wanted(vendor, devices, each * at_once, shared=shared, locks=Locks(folder), job=_job(environ))
    taken = wanted.wait(console, timeout_s=timeout_s, pause=pause)
    try:
        console.say(f"{doing} on {', '.join(f'{label(device)} ({plain.text(device.name)})' for device in taken)}")
        if each > 1 and all(device.uuid.startswith("MIG-") for device in taken):
            console.say("of several MIG instances CUDA gives a process only the first; train.gpus: 1 leaves the others free")
        yield Claim(devices=tuple(taken), each=each, vendors=present, shared=shared)
    finally:
        for lock in taken.values():
            lock.release()


def label(device: Device) -> str:
    """What people call it."""
    return f"GPU {device.index}{f', {device.uuid[:12]}' if device.uuid.startswith('MIG-') else ''}"


@dataclass
class _Wanted:
    """What a job waits for."""

    vendor: Vendor
    devices: tuple[Device, ...]
    total: int
    shared: bool
    locks: Locks
    job: dict[str, str | int]
    _ticket: tuple[str, Lock] | None = field(default=None, init=False)
    _busy: dict[Device, str] = field(default_factory=dict, init=False)
    _free: int = field(default=0, init=False)

    def wait(self, console: Console, *, timeout_s: float, pause: Callable[[float], None]) -> dict[Device, Lock]:
        deadline, say_at, rest = time.monotonic() + timeout_s, 0.0, _FIRST_PAUSE_S
        try:
            while (taken := self._try()) is None:
                now = time.monotonic()
                if now >= deadline:
                    raise self._out_of_time(timeout_s)
                if now >= say_at and rest > _FIRST_PAUSE_S:  # not for a moment's wait
                    console.say(
                        f"waiting for {self.total - self._free} of {_gpus(self.total)}; {self._holders()}{self._hint()}"
                    )
                    say_at = now + console.heartbeat_s
                pause(min(rest * random.uniform(0.7, 1.3), deadline - now))  # noqa: S311 - keeps jobs out of step
                rest = min(rest * 1.5, _LONGEST_PAUSE_S)
            return taken
        finally:
            if self._ticket is not None:
                name, lock = self._ticket
                self.locks.remove(name)
                lock.release()

    def _try(self) -> dict[Device, Lock] | None:
        """All of them, or None; one job at a time looks, or two could hold what the other lacks and never see both free."""
        turn = self.locks.try_lock(_TURN)
        if turn is None:
            return None
        try:
            return self._look()
        finally:
            turn.release()

    def _look(self) -> dict[Device, Lock] | None:
        free: dict[Device, Lock] = {}
        self._busy = {}
        try:
            for device in self.devices:
                lock = self.locks.try_lock(_lock_name(device))
                if lock is None:
                    self._busy[device] = f"held by {_holder(self.locks.told(_lock_name(device)))}"
                elif user := "" if self.shared else used_by(device, self.vendor):
                    lock.release()
                    self._busy[device] = f"{_USED}{user}"
                else:
                    free[device] = lock
            due = self._due_to_others(list(free))
            mine = [device for device in free if device not in due][: self.total]
            self._free = len(mine)
            if len(mine) < self.total:
                self._busy.update(dict.fromkeys(due, "next for a job that has waited longer"))
                self._queue_up()
                return None
            taken = {device: free.pop(device) for device in mine}
        finally:
            for lock in free.values():
                lock.release()
        for lock in taken.values():
            lock.tell({**self.job, "since": time.time()})
        return taken

    def _queue_up(self) -> None:
        if self._ticket is None:
            name = f"{_WAITING}{time.time_ns():020d}-{secrets.token_hex(4)}"
            lock = self.locks.try_lock(name)
            if lock is not None:
                lock.tell({**self.job, "count": self.total, "devices": " ".join(map(_lock_name, self.devices))})
                self._ticket = (name, lock)

    def _due_to_others(self, free: list[Device]) -> set[Device]:
        """The free devices that those who have waited longer are to get."""
        due: set[Device] = set()
        for name in self.locks.names(_WAITING):
            if self._ticket is not None and name >= self._ticket[0]:
                break
            lock = self.locks.try_lock(name)
            if lock is not None:  # whoever waited there is gone
                self.locks.remove(name)
                lock.release()
                continue
            told = self.locks.told(name)
            count, theirs = told.get("count"), str(told.get("devices", "")).split()
            if isinstance(count, int):
                left = [device for device in free if device not in due and _lock_name(device) in theirs]
                due.update(left[: max(count, 0)])
        return due

    def _holders(self) -> str:
        return "; ".join(f"{label(device)} is {how}" for device, how in self._busy.items()) or "another job is choosing its own"

    def _hint(self) -> str:
        strangers = any(how.startswith(_USED) for how in self._busy.values())
        return f" ({SHARED_VARIABLE}=1 in the runner's environment takes it all the same)" if strangers else ""

    def _out_of_time(self, timeout_s: float) -> StageError:
        return StageError(
            f"{_gpus(self.total)} did not become free within {duration(timeout_s)}: {self._holders()}",
            expected=f"{self.total} of {len(self.devices)} that no other job has and nobody computes on",
            fix="end what holds them, or wait longer: `timeout` in metricgate.yaml\n"
            f"{SHARED_VARIABLE}=1 in the runner's environment takes GPUs that others compute on",
        )


def used_by(device: Device, vendor: Vendor) -> str:
    """Who computes on a device that no lock speaks of, in words; empty where nobody does."""
    sample = vendor.sample(device)
    seen = sample.processes or ()
    names = {process: _program(process) for process in seen if not process.graphics}
    working = {process: name for process, name in names.items() if name not in _HELPERS}
    if working:
        told = [f"process {process.pid}{f' ({name})' if name else ''}" for process, name in working.items()]
        return f"{', '.join(told[:3])}{' and others' if len(told) > 3 else ''}"
    # A container may hide the processes of others; what they hold shows all the same.
    limit = max(_UNSEEN_PART * (device.memory_bytes or 0), _UNSEEN_BYTES)
    if not seen and sample.used_bytes is not None and sample.used_bytes > limit:
        return f"something that can't be seen from here ({sample.used_bytes / 1e9:.1f} GB in use)"
    return ""


def _program(process: Process) -> str:
    with contextlib.suppress(OSError):
        return plain.text(Path(f"/proc/{process.pid}/comm").read_text(errors="replace"), limit=40)
    return ""


def _lock_name(device: Device) -> str:
    return _NOT_IN_A_NAME.sub("_", f"{device.vendor}-{device.uuid}")[:200]


def _job(environ: Mapping[str, str]) -> dict[str, str | int]:
    told = {"repository": "GITHUB_REPOSITORY", "job": "GITHUB_JOB", "run": "GITHUB_RUN_ID", "runner": "RUNNER_NAME"}
    return {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        **{name: environ[variable][:200] for name, variable in told.items() if environ.get(variable)},
    }


def _holder(told: Mapping[str, object]) -> str:
    """Who holds a lock, by what it says of itself."""
    parts = {name: plain.text(str(value), limit=80) for name, value in told.items() if isinstance(value, str | int)}
    job = f"job {parts['job']}" if parts.get("job") else "another job"
    of = f" of {parts['repository']}" if parts.get("repository") else ""
    where = parts.get("runner") or parts.get("host")
    process = f" (process {parts['pid']}{f' on {where}' if where else ''})" if parts.get("pid") else ""
    since = told.get("since")
    held_s = time.time() - since if isinstance(since, float) and math.isfinite(since) else -1.0
    return f"{job}{of}{process}{f' for {duration(held_s)}' if 0 <= held_s < _LONGEST_HOLD_S else ''}"


def _on_the_cpu(count: int | None, why: str, doing: str) -> str:
    if count is None:
        return f"no GPU: {why}; {doing} on the CPU"
    return f"⚠️ train.gpus asks for {_gpus(count)} and there is none ({why}): {doing} on the CPU, which may take much longer"


def _too_many(count: int, devices: Sequence[Device], why: str) -> StageError:
    there = ", ".join(f"{label(device)} ({plain.text(device.name)})" for device in devices)
    return StageError(
        f"train.gpus asks for {_gpus(count)}, and there {'is' if len(devices) == 1 else 'are'} {len(devices)}: {there}"
        + (f"; {why}" if why else ""),
        expected=f"at most {len(devices)} on this machine",
        fix=f"in metricgate.yaml: `gpus: {len(devices)}` under `train`, or choose a runner with {count} by its labels",
    )


def _gpus(count: int) -> str:
    return f"{count} GPU{'s'[: count != 1]}"

"""What a training makes of its GPUs: memory, use and energy, read once a second while it runs."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass, field

from metricgate.train.gpu.claims import Claim, label
from metricgate.train.gpu.usage import GpuUsage
from metricgate.train.gpu.vendor import Device, Process, Sample

INTERVAL_S = 1.0

_JOULES_IN_WH = 3600.0
_STOP_S = 5.0
_LISTED = 4


class GpuMeter:
    """Reads the GPUs of a claim while a command runs; made before it starts, and used for all of its attempts.

    A thread asks once an interval. What a device does not tell, or no longer tells since it fell off the bus, is left out.

    Args:
        claim: The GPUs; with none, there is nothing to read and nothing runs.
        interval_s: Seconds between two readings.
    """

    def __init__(self, claim: Claim, *, interval_s: float = INTERVAL_S) -> None:
        self._claim = claim
        self._interval_s = interval_s
        self._lock = threading.Lock()
        self._done = GpuUsage()
        self._watched = [_Watched(device, self._sample(device)) for device in claim.devices]
        self._running: _Running | None = None

    def start(self, group: int) -> None:
        """Begin to read; ``group`` is the command's process group, and its session."""
        self.stop()
        if self._watched:
            running = _Running(threading.Event(), time.monotonic(), session=None if not self._claim.shared else group)
            with self._lock:
                for watched in self._watched:
                    watched.begin(self._sample(watched.device), session=running.session, now=time.monotonic())
            running.thread = threading.Thread(target=self._read, args=(running,), daemon=True)
            self._running = running
            running.thread.start()

    def now(self) -> str:
        """What the devices did when they were last asked: ``GPU 0 87%, 11.2 GB``; empty before."""
        if self._running is None:
            return ""
        with self._lock:
            told = [words for watched in self._watched[:_LISTED] if (words := watched.words())]
        more = len(self._watched) - _LISTED
        return "; ".join(told) + (f"; and {more} more" if told and more > 0 else "")

    def stop(self) -> None:
        """Read a last time, and stop."""
        running, self._running = self._running, None
        if running is None:
            return
        running.over.set()
        if running.thread is not None:
            running.thread.join(_STOP_S)  # a driver that hangs does not hold up the end of a training
        with self._lock:
            self._done += self._used(time.monotonic() - running.began)
            for watched in self._watched:
                watched.reset()

    @property
    def usage(self) -> GpuUsage:
        """What was used until now, in all attempts together."""
        running = self._running
        with self._lock:
            return self._done + self._used(time.monotonic() - running.began) if running else self._done

    def _sample(self, device: Device) -> Sample:
        return self._claim.vendor_of(device).sample(device)

    def _read(self, running: _Running) -> None:
        over = False
        while not over:
            over = running.over.wait(self._interval_s)
            for watched in self._watched:
                sample = self._sample(watched.device)
                with self._lock:
                    if self._running not in (running, None):
                        return  # stop() gave this thread up while the driver hung
                    watched.see(sample, session=running.session, now=time.monotonic())

    def _used(self, seconds: float) -> GpuUsage:
        energies = [watched.joules for watched in self._watched]
        busy = [watched.busy_s / watched.told_s for watched in self._watched if watched.told_s > 0]
        peaks = [watched.peak_bytes for watched in self._watched if watched.peak_bytes is not None]
        known = [joules for joules in energies if joules is not None]
        return GpuUsage(
            devices=tuple(watched.device.name for watched in self._watched),
            peak_memory_bytes=max(peaks, default=None),
            utilisation=sum(busy) / len(busy) if busy else None,
            energy_wh=sum(known) / _JOULES_IN_WH if known and len(known) == len(energies) else None,
            gpu_s=seconds * len(self._watched),
        )


@dataclass
class _Running:
    over: threading.Event
    began: float
    session: int | None
    thread: threading.Thread | None = None


@dataclass
class _Watched:
    """A device and what was seen of it."""

    device: Device
    before: Sample
    last: Sample = field(default_factory=Sample, init=False)
    held_bytes: int | None = field(default=None, init=False)
    peak_bytes: int | None = field(default=None, init=False)
    joules: float | None = field(default=None, init=False)
    busy_s: float = field(default=0.0, init=False)
    told_s: float = field(default=0.0, init=False)
    _at: float = field(default=0.0, init=False)

    def begin(self, sample: Sample, *, session: int | None, now: float) -> None:
        self.reset()
        self.last, self._at = sample, now
        self._see_memory(sample, session)

    def reset(self) -> None:
        self.held_bytes = self.peak_bytes = self.joules = None
        self.busy_s = self.told_s = 0.0

    def see(self, sample: Sample, *, session: int | None, now: float) -> None:
        passed, self._at = now - self._at, now
        self._see_memory(sample, session)
        if sample.utilisation is not None:
            self.busy_s += sample.utilisation * passed
            self.told_s += passed
        joules = _joules(self.last, sample, passed)
        if joules is not None:
            self.joules = (self.joules or 0.0) + joules
        self.last = sample

    def words(self) -> str:
        parts = [] if self.last.utilisation is None else [f"{self.last.utilisation:.0%}"]
        if self.held_bytes is not None:
            parts.append(f"{self.held_bytes / 1e9:.1f} GB")
        return f"{label(self.device)} {', '.join(parts)}" if parts else ""

    def _see_memory(self, sample: Sample, session: int | None) -> None:
        self.held_bytes = _held(sample, self.before, session)
        if self.held_bytes is not None:
            self.peak_bytes = max(self.peak_bytes or 0, self.held_bytes)


def _held(sample: Sample, before: Sample, session: int | None) -> int | None:
    """The memory that a command has on a device: by its processes where the driver tells of them, or else what came on top.

    Args:
        sample: What is there now.
        before: What was there before the command.
        session: Where others may use the device too, only the processes of this session count. Otherwise all that came since
            are the command's, whatever their numbers: in a container those may be the numbers of the machine outside.
    """
    strangers = {process.pid for process in before.processes or ()}
    found = [process for process in sample.processes or () if process.pid not in strangers]
    own = [process for process in found if _session(process) == session] if session is not None else found
    if own and all(process.memory_bytes is not None for process in own):
        return sum(process.memory_bytes or 0 for process in own)
    return None if sample.used_bytes is None else max(0, sample.used_bytes - (before.used_bytes or 0))


def _session(process: Process) -> int | None:
    try:
        return os.getsid(process.pid)
    except OSError:
        return None


def _joules(last: Sample, sample: Sample, seconds: float) -> float | None:
    """The energy between two readings: by the counter, or else by power."""
    if sample.energy_j is not None and last.energy_j is not None and sample.energy_j >= last.energy_j:
        return sample.energy_j - last.energy_j
    if sample.power_w is None:
        return None
    return (sample.power_w + (sample.power_w if last.power_w is None else last.power_w)) / 2 * seconds

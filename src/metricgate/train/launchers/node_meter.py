"""What a training makes of the GPUs of its node. It goes where the worker goes: Python 3.8, nothing else.

A node need not have ``pynvml``, so NVIDIA's library is called as its header says (nvml.h,
https://docs.nvidia.com/deploy/nvml-api/). What it does not tell is None; GPUs of another vendor are only counted.
"""

from __future__ import annotations

import ctypes
import threading
import time
from typing import Any

INTERVAL_S, STOP_S = 1.0, 5.0
_LIBRARY = "libnvidia-ml.so.1"
_LENGTH = 96  # NVML_DEVICE_NAME_V2_BUFFER_SIZE
_MIG_ON = 1
_JOULES_IN_WH = 3600.0


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class Device:
    """A GPU, or a slice of one, and what was seen of it.

    Args:
        nvml: The library, initialised.
        handle: Its handle.
    """

    def __init__(self, nvml: Any, handle: ctypes.c_void_p) -> None:
        self._nvml, self._handle = nvml, handle
        name = ctypes.create_string_buffer(_LENGTH)
        told = _is_told(nvml, "nvmlDeviceGetName", handle, name, ctypes.c_uint(_LENGTH))
        self.name = name.value.decode(errors="replace") if told else "NVIDIA GPU"
        self.peak_bytes: int | None = None
        self.joules: float | None = None
        self.busy_s = self.told_s = 0.0
        self._before_bytes = self._used_bytes() or 0  # the driver's own
        self._energy_j, self._power_w = self._energy(), self._power()

    def see(self, passed_s: float) -> None:
        """Take in what it does now, so many seconds after the last time."""
        if (used := self._used_bytes()) is not None:
            self.peak_bytes = max(self.peak_bytes or 0, used - self._before_bytes)
        rates = _Utilization()
        if _is_told(self._nvml, "nvmlDeviceGetUtilizationRates", self._handle, ctypes.byref(rates)):
            self.busy_s += min(rates.gpu, 100) / 100 * passed_s
            self.told_s += passed_s
        energy, power = self._energy(), self._power()
        if energy is not None and self._energy_j is not None and energy >= self._energy_j:
            self.joules = (self.joules or 0.0) + energy - self._energy_j
        elif power is not None:  # a consumer's card counts no energy
            last = power if self._power_w is None else self._power_w
            self.joules = (self.joules or 0.0) + (power + last) / 2 * passed_s
        self._energy_j, self._power_w = energy, power

    def _used_bytes(self) -> int | None:
        memory = _Memory()
        return int(memory.used) if _is_told(self._nvml, "nvmlDeviceGetMemoryInfo", self._handle, ctypes.byref(memory)) else None

    def _energy(self) -> float | None:
        number = ctypes.c_ulonglong()
        told = _is_told(self._nvml, "nvmlDeviceGetTotalEnergyConsumption", self._handle, ctypes.byref(number))
        return number.value / 1e3 if told else None

    def _power(self) -> float | None:
        number = ctypes.c_uint()
        told = _is_told(self._nvml, "nvmlDeviceGetPowerUsage", self._handle, ctypes.byref(number))
        return number.value / 1e3 if told else None


class Meter:
    """Reads the GPUs of a training once a second, from when it is made.

    Args:
        visible: ``CUDA_VISIBLE_DEVICES`` of the training; None where it is not set.
        count: How many GPUs the training was given; None where nobody said. Where the library shows another number, it is not
            clear which of them they are, and they are only counted.
    """

    def __init__(self, visible: str | None, count: int | None) -> None:
        found = [] if count == 0 else devices(visible)
        self._devices = found if count is None or len(found) == count else []
        self._count = len(found) if count is None else count
        self._began = self._seen = time.monotonic()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        if self._devices:
            self._thread.start()

    def stop(self) -> dict[str, Any] | None:
        """Read a last time; what was used, as ``metricgate.train.gpu.usage`` names it. None where there is no GPU."""
        seconds = time.monotonic() - self._began
        self._over.set()
        if self._devices:
            self._thread.join(STOP_S)  # a driver that hangs does not hold up the end of a training
        if not self._count:
            return None
        peaks = [device.peak_bytes for device in self._devices if device.peak_bytes is not None]
        busy = [device.busy_s / device.told_s for device in self._devices if device.told_s]
        joules = [device.joules for device in self._devices if device.joules is not None]
        return {
            "devices": [device.name for device in self._devices],
            "peak_memory_bytes": max(peaks, default=None),
            "utilisation": round(sum(busy) / len(busy), 4) if busy else None,
            "energy_wh": round(sum(joules) / _JOULES_IN_WH, 4) if joules and len(joules) == self._count else None,
            "gpu_s": round(seconds * self._count, 3),
        }

    def _read(self) -> None:
        over = False
        while not over:
            over = self._over.wait(INTERVAL_S)
            now = time.monotonic()
            passed_s, self._seen = now - self._seen, now
            for device in self._devices:
                device.see(passed_s)


def devices(visible: str | None) -> list[Device]:
    """The GPUs that a training with this ``CUDA_VISIBLE_DEVICES`` sees; nothing after an entry that means nothing."""
    try:
        nvml = ctypes.CDLL(_LIBRARY)
        if nvml.nvmlInitWithFlags(ctypes.c_uint(0)):
            return []
    except (OSError, AttributeError):
        return []
    if visible is None:
        number = ctypes.c_uint()
        visible = ",".join(
            map(str, range(number.value if _is_told(nvml, "nvmlDeviceGetCount_v2", ctypes.byref(number)) else 0))
        )
    found = []
    for entry in (part.strip() for part in visible.split(",")):
        handle = ctypes.c_void_p()
        if entry.isdecimal():
            told = _is_told(nvml, "nvmlDeviceGetHandleByIndex_v2", ctypes.c_uint(int(entry)), ctypes.byref(handle))
            told = told and not _is_cut(nvml, handle)  # CUDA counts its slices then, and which one this is can't be told
        else:
            told = _is_told(nvml, "nvmlDeviceGetHandleByUUID", ctypes.c_char_p(entry.encode()), ctypes.byref(handle))
        if not told:
            break
        found.append(Device(nvml, handle))
    return found


def _is_cut(nvml: Any, handle: ctypes.c_void_p) -> bool:
    now, pending = ctypes.c_uint(), ctypes.c_uint()
    return _is_told(nvml, "nvmlDeviceGetMigMode", handle, ctypes.byref(now), ctypes.byref(pending)) and now.value == _MIG_ON


def _is_told(nvml: Any, function: str, *arguments: Any) -> bool:
    """Ask; whether this driver has the function, and it answered."""
    try:
        return not getattr(nvml, function)(*arguments)
    except AttributeError:
        return False

"""NVIDIA's GPUs, as its management library NVML tells of them: https://docs.nvidia.com/deploy/nvml-api/.

The library comes with the driver; ``pynvml`` is how Python calls it. It is loaded when it is first asked, and stays: loading it
takes up to seconds where no persistence daemon keeps the driver awake.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from types import ModuleType
from typing import Any, TypeVar

from metricgate.train.gpu.vendor import Device, Found, Process, Sample

VISIBLE = "CUDA_VISIBLE_DEVICES"

_NAME = "nvidia"
_INDEX = re.compile(r"[0-9]{1,4}")
_LIBRARY = "libnvidia-ml.so.1"
_T = TypeVar("_T")


class Nvidia:
    """GPUs and MIG instances, by NVML."""

    name = _NAME

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library: ModuleType | None = None

    def find(self, environ: Mapping[str, str]) -> Found:
        """The devices that ``CUDA_VISIBLE_DEVICES`` leaves visible; of a GPU that is cut into MIG instances, those.

        An index there counts as NVML does, by the PCI bus, which is how CUDA counts where all GPUs are of one model or
        ``CUDA_DEVICE_ORDER=PCI_BUS_ID`` is set.
        """
        library = self._loaded()
        if isinstance(library, str):
            return Found(why=library)
        every, lost = self._all(library)
        devices = visible(every, environ.get(VISIBLE))
        why = "; ".join(lost)
        if every and not devices:
            why = f"{VISIBLE} hides {'the only one' if len(every) == 1 else f'all {len(every)} of them'}"
        elif not every and not lost:
            why = "the NVIDIA driver lists none"
        return Found(devices=devices, why=why, present=bool(every))

    def variables(self, devices: Sequence[Device]) -> dict[str, str]:
        """Names, not indices: they mean the same in every order that CUDA may count in."""
        return {VISIBLE: ",".join(device.uuid for device in devices)}

    def sample(self, device: Device) -> Sample:
        """What it does now; of a device that fell off the bus, nothing."""
        library = self._loaded()
        if isinstance(library, str):
            return Sample()
        handle = _told(library, lambda: library.nvmlDeviceGetHandleByUUID(device.uuid))
        if handle is None:
            return Sample()
        used = _told(library, lambda: _used(library, handle))
        percent = _told(library, lambda: int(library.nvmlDeviceGetUtilizationRates(handle).gpu))
        millijoules = _told(library, lambda: int(library.nvmlDeviceGetTotalEnergyConsumption(handle)))
        milliwatts = _told(library, lambda: int(library.nvmlDeviceGetPowerUsage(handle)))
        return Sample(
            used_bytes=used,
            processes=_processes(library, handle),
            utilisation=None if percent is None else min(percent, 100) / 100,
            energy_j=None if millijoules is None else millijoules / 1e3,
            power_w=None if milliwatts is None else milliwatts / 1e3,
        )

    def _loaded(self) -> ModuleType | str:
        """The library, ready to be asked, or why it is not."""
        with self._lock:
            if self._library is not None:
                return self._library
            try:
                import pynvml  # type: ignore[import-untyped,unused-ignore]
            except ImportError:
                return "the Python package nvidia-ml-py is not installed"
            try:
                pynvml.nvmlInit()
            except pynvml.NVMLError as error:
                return _words(pynvml, error)
            self._library = pynvml
            return self._library

    def _all(self, library: ModuleType) -> tuple[tuple[Device, ...], list[str]]:
        """Every device of this machine, and what is to be said of those that don't answer."""
        driver = _told(library, library.nvmlSystemGetDriverVersion) or ""
        devices: list[Device] = []
        lost: list[str] = []
        for number in range(_told(library, library.nvmlDeviceGetCount) or 0):
            try:
                gpu = library.nvmlDeviceGetHandleByIndex(number)
                whole = _device(library, gpu, number, driver)
            except library.NVMLError as error:
                lost.append(f"GPU {number} does not answer: {error}")
                continue
            mode = _told(library, lambda gpu=gpu: library.nvmlDeviceGetMigMode(gpu)[0])  # type: ignore[misc]
            if not mode:
                devices.append(whole)
                continue
            instances = [_device(library, handle, number, driver) for handle in _instances(library, gpu)]
            if not instances:
                lost.append(f"GPU {number} is in MIG mode and has no instance")
            devices += instances
        return tuple(devices), lost


def visible(devices: Sequence[Device], setting: str | None) -> tuple[Device, ...]:
    """What CUDA shows of ``devices`` with this ``CUDA_VISIBLE_DEVICES``.

    Indices and names count, names also by their beginnings where only one device has it; what follows an entry that means
    nothing is not visible either (CUDA C++ Programming Guide, "CUDA Environment Variables").
    """
    if setting is None:
        return tuple(devices)
    chosen: list[Device] = []
    for entry in (part.strip() for part in setting.split(",")):
        if _INDEX.fullmatch(entry):
            matching = list(devices[int(entry) : int(entry) + 1])
        else:
            matching = [device for device in devices if entry.startswith(("GPU-", "MIG-")) and device.uuid.startswith(entry)]
        if len(matching) != 1 or matching[0] in chosen:
            break
        chosen += matching
    return tuple(chosen)


def _device(library: ModuleType, handle: object, number: int, driver: str) -> Device:
    return Device(
        vendor=_NAME,
        index=number,
        uuid=str(library.nvmlDeviceGetUUID(handle)),
        name=_told(library, lambda: str(library.nvmlDeviceGetName(handle))) or "NVIDIA GPU",
        memory_bytes=_told(library, lambda: int(library.nvmlDeviceGetMemoryInfo(handle).total)),
        driver=driver,
    )


def _instances(library: ModuleType, gpu: object) -> Iterator[object]:
    for place in range(_told(library, lambda: library.nvmlDeviceGetMaxMigDeviceCount(gpu)) or 0):
        handle = _told(library, lambda place=place: library.nvmlDeviceGetMigDeviceHandleByIndex(gpu, place))  # type: ignore[misc]
        if handle is not None:  # places may be empty
            yield handle


def _used(library: ModuleType, handle: object) -> int:
    try:
        memory: Any = library.nvmlDeviceGetMemoryInfo(handle, version=library.nvmlMemory_v2)
        # Whether `used` has what is reserved in it differs between drivers; the rest of the sum does not.
        return max(0, int(memory.total) - int(memory.free) - int(memory.reserved))
    except library.NVMLError:  # a driver before 510
        return int(library.nvmlDeviceGetMemoryInfo(handle).used)


def _processes(library: ModuleType, handle: object) -> tuple[Process, ...] | None:
    computing = _listed(library, "Compute", handle)
    if computing is None:
        return None
    both = {process.pid for process in computing}
    drawing = _listed(library, "Graphics", handle) or ()
    return (*computing, *(replace(process, graphics=True) for process in drawing if process.pid not in both))


def _listed(library: ModuleType, kind: str, handle: object) -> tuple[Process, ...] | None:
    """Processes that compute or draw, by the newest function that the driver has: the third since 510, the second before."""
    for version in ("v3", "v2"):
        ask = getattr(library, f"nvmlDeviceGet{kind}RunningProcesses_{version}")
        try:
            return tuple(Process(pid=int(each.pid), memory_bytes=each.usedGpuMemory) for each in ask(handle))
        except library.NVMLError as error:
            if getattr(error, "value", None) != library.NVML_ERROR_FUNCTION_NOT_FOUND:
                return None
    return None


def _told(library: ModuleType, ask: Callable[[], _T]) -> _T | None:
    """An answer; None where this device or this driver gives none, such as energy on consumer cards and use on MIG."""
    try:
        return ask()
    except (library.NVMLError, UnicodeDecodeError):
        return None


def _words(library: ModuleType, error: Exception) -> str:
    code = getattr(error, "value", None)
    known = {
        library.NVML_ERROR_LIBRARY_NOT_FOUND: f"{_LIBRARY} is not there",
        library.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is not loaded",
        library.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated, and the machine not restarted since",
        library.NVML_ERROR_NO_PERMISSION: "this user may not use the NVIDIA driver",
    }
    return known.get(code, f"{_LIBRARY} says: {error}")

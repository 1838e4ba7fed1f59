"""What metricgate asks of a maker of GPUs. NVIDIA is one; another is a module beside ``nvidia`` that ``VENDORS`` names.

A vendor finds the devices that a process started here would see, says which variables make a process see only some of them,
and reads what a device is doing. Reading never raises: what can't be read is None, since a training is not to fail for the want
of a number. Where the vendor's library or driver is missing there are no devices, and words that say why.

For AMD that would be ``amdsmi``: ``amdsmi_get_processor_handles`` lists the devices, ``amdsmi_get_gpu_device_uuid`` names them,
``amdsmi_get_gpu_vram_usage``, ``amdsmi_get_gpu_process_list``, ``amdsmi_get_gpu_activity``, ``amdsmi_get_energy_count`` and
``amdsmi_get_power_info`` are a :class:`Sample`, and ``ROCR_VISIBLE_DEVICES`` takes UUIDs (``GPU-…``), as CUDA's variable does;
``HIP_VISIBLE_DEVICES`` counts within it, and has to be taken away. For Intel it would be Level Zero's Sysman
(``zesDeviceGetProperties``, ``zesMemoryGetState``, ``zesDeviceProcessesGetState``, ``zesEngineGetActivity``,
``zesPowerGetEnergyCounter``) and ``ZE_AFFINITY_MASK``, which takes indices. Neither has to touch ``claims`` or ``meter``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Device:
    """A GPU, or a slice of one that is handed out like a GPU.

    Attributes:
        vendor: The name of its vendor, such as ``nvidia``.
        index: Its place among the vendor's devices of this machine.
        uuid: Its name, the same after every start and in every container.
        name: Its model, for people.
        memory_bytes: How much memory it has; None where that is not told.
        driver: The version of its driver; empty where that is not told.
    """

    vendor: str
    index: int
    uuid: str
    name: str
    memory_bytes: int | None = None
    driver: str = ""


@dataclass(frozen=True)
class Process:
    """A process that has memory on a device.

    Attributes:
        pid: Its number, in a container sometimes that of the machine outside.
        memory_bytes: How much; None where that is not told.
        graphics: Whether it only draws a desktop.
    """

    pid: int
    memory_bytes: int | None = None
    graphics: bool = False


@dataclass(frozen=True)
class Sample:
    """What a device does at one moment; None for what can't be read.

    Attributes:
        used_bytes: Its memory in use by anybody, without what the driver keeps for itself.
        processes: Who uses it, as far as the driver says; a container may hide some.
        utilisation: The part of the last moments in which it computed, 0 to 1.
        energy_j: What it has consumed since its driver was loaded, in joules.
        power_w: What it draws, in watts.
    """

    used_bytes: int | None = None
    processes: tuple[Process, ...] | None = None
    utilisation: float | None = None
    energy_j: float | None = None
    power_w: float | None = None


@dataclass(frozen=True)
class Found:
    """The devices of a vendor.

    Attributes:
        devices: Those that a process started here would see, in the vendor's order.
        why: Why there is none, or which ones are missing, in words; empty where all is well.
        present: Whether the vendor has devices on this machine at all, hidden ones too.
    """

    devices: tuple[Device, ...] = ()
    why: str = ""
    present: bool = False


class Vendor(Protocol):
    """A maker of GPUs."""

    @property
    def name(self) -> str:
        """The name of its devices' vendor."""

    def find(self, environ: Mapping[str, str]) -> Found:
        """The devices that a process with this environment would see."""

    def variables(self, devices: Sequence[Device]) -> dict[str, str]:
        """What makes a process see these of its devices and no others; with none, none."""

    def sample(self, device: Device) -> Sample:
        """What one of its devices does now."""

"""What trainings used of their GPUs, and how that adds up."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class GpuUsage:
    """What trainings used of their GPUs; None for what a device doesn't tell.

    Attributes:
        devices: The names of the devices, one for each; none where they were only counted.
        peak_memory_bytes: The most that they had on one device.
        utilisation: The part of the time in which the devices computed, 0 to 1, the mean over devices and time.
        energy_wh: What the devices consumed, all together, in watt-hours.
        gpu_s: For how long they were had, all together, in seconds: two GPUs for an hour are 7200.
    """

    devices: tuple[str, ...] = ()
    peak_memory_bytes: int | None = None
    utilisation: float | None = None
    energy_wh: float | None = None
    gpu_s: float = 0.0

    def __add__(self, other: GpuUsage) -> GpuUsage:
        """Both, one after the other, such as the attempts of a training."""
        if not self or not other:
            return self or other
        peaks = [peak for peak in (self.peak_memory_bytes, other.peak_memory_bytes) if peak is not None]
        known = [usage for usage in (self, other) if usage.utilisation is not None]
        weight = sum(usage.gpu_s for usage in known)
        return GpuUsage(
            devices=self.devices if len(self.devices) >= len(other.devices) else other.devices,
            peak_memory_bytes=max(peaks, default=None),
            utilisation=sum((usage.utilisation or 0.0) * usage.gpu_s for usage in known) / weight if weight else None,
            energy_wh=None if self.energy_wh is None or other.energy_wh is None else self.energy_wh + other.energy_wh,
            gpu_s=self.gpu_s + other.gpu_s,
        )

    def __bool__(self) -> bool:
        """Whether there was any GPU."""
        return bool(self.devices or self.gpu_s)

    def beside(self, other: GpuUsage) -> GpuUsage:
        """Both at the same time, such as the nodes of a training."""
        return replace(self + other, devices=self.devices + other.devices)

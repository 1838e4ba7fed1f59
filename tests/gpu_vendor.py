"""A vendor of GPUs whose devices do what a test says: the border that `metricgate.train.gpu` has to any driver."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from metricgate.train.gpu.vendor import Device, Found, Sample


class Bench:
    """Devices on a test bench."""

    def __init__(self, count: int, *, name: str = "bench", why: str = "") -> None:
        self.name = name
        self.why = why
        self.every = tuple(
            Device(name, number, f"B-{number}", "Bench 1", memory_bytes=80_000_000_000, driver="1.5") for number in range(count)
        )
        self.samples: dict[int, Sample] = {}
        self.asked = 0

    def find(self, environ: Mapping[str, str]) -> Found:
        """All of them, or what ``BENCH`` names by index."""
        shown = environ.get("BENCH")
        devices = self.every if shown is None else tuple(self.every[int(entry)] for entry in shown.split(",") if entry)
        return Found(devices=devices, why=self.why, present=bool(self.every))

    def variables(self, devices: Sequence[Device]) -> dict[str, str]:
        """Their names."""
        return {f"{self.name.upper()}_VISIBLE": ",".join(device.uuid for device in devices)}

    def sample(self, device: Device) -> Sample:
        """What the test says; idle otherwise."""
        self.asked += 1
        return self.samples.get(device.index, Sample(used_bytes=0, processes=(), utilisation=0.0, energy_j=0.0, power_w=0.0))

"""GPUs: which there are, which of them a training gets, and what it makes of them."""

from metricgate.train.gpu.nvidia import Nvidia
from metricgate.train.gpu.vendor import Device, Vendor

VENDORS: tuple[Vendor, ...] = (Nvidia(),)
"""Whose GPUs are looked for, the preferred ones first."""

__all__ = ["VENDORS", "Device", "Vendor"]

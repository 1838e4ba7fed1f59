"""``python -m benchmarks.gpu_check``: whether memory, use and energy of a real GPU are read, and plausible.

A process of its own takes a known amount of memory by the CUDA driver alone, without any framework, and keeps the GPU busy for
a known time; the meter reads it meanwhile. Then it ends, and the GPU is free again. Where there is no GPU, that is all it says.
"""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from metricgate.errors import StageError
from metricgate.train.console import Console
from metricgate.train.gpu import VENDORS, claims
from metricgate.train.gpu.claims import Claim
from metricgate.train.gpu.meter import GpuMeter
from metricgate.train.gpu.usage import GpuUsage

GIB = 2**30
BYTES = 4 * GIB
BUSY_S = 15.0
# A context and what belongs to it, beside what was asked for.
MOST_BESIDE = 2 * GIB
FREE_WITHIN_S = 10.0
WATTS = (15.0, 1500.0)

_WORK = """
import ctypes, sys, time
size, seconds = int(sys.argv[1]), float(sys.argv[2])
cuda = ctypes.CDLL("libcuda.so.1")
def call(name, *arguments):
    status = getattr(cuda, name)(*arguments)
    if status:
        sys.exit(f"{name}: CUDA error {status}")
device, context, memory = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_uint64()
call("cuInit", 0)
call("cuDeviceGet", ctypes.byref(device), 0)
call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
call("cuCtxSetCurrent", context)
call("cuMemAlloc_v2", ctypes.byref(memory), ctypes.c_size_t(size))
end = time.monotonic() + seconds
while time.monotonic() < end:
    for value in range(50):
        call("cuMemsetD32_v2", memory, ctypes.c_uint(value), ctypes.c_size_t(size // 4))
    call("cuCtxSynchronize")
"""


def main() -> int:
    """Check, print a line for each thing that was checked, and the numbers as JSON; 1 if one of them is wrong."""
    console = Console(output=io.BytesIO(), progress=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        locks = Path(folder) / "locks"
        try:
            with claims.claim(None, folder=locks, console=console, timeout_s=60, environ=os.environ) as claim:
                if not claim.devices:
                    print(f"no GPU: {claim.why}")
                    return 0
                usage, told = _measured(claim)
                checks = [*_checks(claim, usage, told), *_claimed_once(locks)]
        except StageError as error:
            print(error)
            return 1
    for what, holds in checks:
        print(f"{'ok   ' if holds else 'WRONG'} {what}")
    print(json.dumps({"usage": asdict(usage), "heartbeat": told, "devices": [asdict(device) for device in claim.devices]}))
    return 0 if all(holds for _, holds in checks) else 1


def _measured(claim: Claim) -> tuple[GpuUsage, str]:
    meter = GpuMeter(claim)
    environ = {**os.environ, **claim.environ()}
    told = ""
    work = [sys.executable, "-c", _WORK, str(BYTES), str(BUSY_S)]
    with subprocess.Popen(work, env=environ, start_new_session=True) as process:
        meter.start(process.pid)
        while process.poll() is None:
            time.sleep(1)
            told = meter.now() or told
        meter.stop()
    if process.returncode:
        raise StageError("the work on the GPU failed", expected="a CUDA driver (libcuda.so.1) beside the GPU")
    return meter.usage, told


def _checks(claim: Claim, usage: GpuUsage, told: str) -> Iterator[tuple[str, bool]]:
    device, peak, part = claim.devices[0], usage.peak_memory_bytes, usage.utilisation
    # MIG instances do not tell use and energy.
    whole = not device.uuid.startswith("MIG-")
    watts = usage.energy_wh * 3600 / usage.gpu_s if usage.energy_wh is not None else None
    yield f"the device has a name, a size and a driver: {device}", bool(device.name and device.memory_bytes and device.driver)
    yield f"it was had for {usage.gpu_s:.1f} s", BUSY_S <= usage.gpu_s <= BUSY_S + 30
    yield f"{BYTES:,} bytes were taken, {peak} seen", peak is not None and BYTES <= peak <= BYTES + MOST_BESIDE
    yield f"it was busy: {part}", not whole or (part is not None and 0.5 <= part <= 1)
    yield f"it drew {watts} W", not whole or (watts is not None and WATTS[0] <= watts <= WATTS[1])
    yield f"the heartbeat says: {told}", told.startswith("GPU ")
    vendor, deadline = claim.vendor_of(device), time.monotonic() + FREE_WITHIN_S
    while (user := claims.used_by(device, vendor)) and time.monotonic() < deadline:
        time.sleep(0.1)
    yield f"it is free again{f', but for {user}' if user else ''}", not user


def _claimed_once(locks: Path) -> Iterator[tuple[str, bool]]:
    """All of the machine's GPUs can't be had while one is."""
    every = sum(len(vendor.find(os.environ).devices) for vendor in VENDORS)
    console = Console(output=io.BytesIO(), progress=io.StringIO())
    try:
        with claims.claim(every, folder=locks, console=console, timeout_s=0, environ=os.environ):
            yield "nobody else can have it", False
    except StageError as error:
        yield f"nobody else can have it: {error.found}", "held by" in error.found


if __name__ == "__main__":
    raise SystemExit(main())

"""What is made of the readings of GPUs: peaks, means over time, energy by counter or by power, and gaps where none is told."""

import io
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.gpu_vendor import Bench

from metricgate.train.console import Console
from metricgate.train.gpu import claims
from metricgate.train.gpu.claims import Claim
from metricgate.train.gpu.meter import GpuMeter
from metricgate.train.gpu.usage import GpuUsage
from metricgate.train.gpu.vendor import Process, Sample

GB = 10**9
OWN, OTHER = os.getpid(), os.getppid()

some = st.none() | st.floats(0, 1e6)
usages = st.builds(
    GpuUsage,
    devices=st.just(("Bench 1",)),
    peak_memory_bytes=st.none() | st.integers(0, 10**12),
    utilisation=st.none() | st.floats(0, 1),
    energy_wh=some,
    gpu_s=st.floats(0.001, 1e6),
) | st.just(GpuUsage())


class TestUsage:
    @given(usages)
    def test_with_nothing_is_itself(self, usage: GpuUsage) -> None:
        assert usage + GpuUsage() == usage == GpuUsage() + usage

    @given(usages, usages, usages)
    def test_adds_up_in_any_grouping(self, a: GpuUsage, b: GpuUsage, c: GpuUsage) -> None:
        left, right = (a + b) + c, a + (b + c)
        assert left.gpu_s == pytest.approx(right.gpu_s)
        assert left.peak_memory_bytes == right.peak_memory_bytes
        assert left.energy_wh == (None if right.energy_wh is None else pytest.approx(right.energy_wh))

    def test_weighs_by_time(self) -> None:
        short, long = GpuUsage(("a",), utilisation=1.0, gpu_s=10), GpuUsage(("a",), utilisation=0.0, gpu_s=30)
        assert (short + long).utilisation == 0.25

    def test_does_not_make_up_energy_that_one_attempt_did_not_tell(self) -> None:
        assert (GpuUsage(("a",), energy_wh=3.0, gpu_s=1) + GpuUsage(("a",), gpu_s=1)).energy_wh is None


@contextmanager
def metered(folder: Path, bench: Bench, *, count: int = 1, shared: bool = False) -> Iterator[tuple[Claim, GpuMeter]]:
    environ = {"METRICGATE_GPU_SHARED": "1"} if shared else {}
    console = Console(output=io.BytesIO(), progress=io.StringIO())
    with claims.claim(count, folder=folder / "locks", console=console, timeout_s=0, environ=environ, vendors=[bench]) as claim:
        meter = GpuMeter(claim, interval_s=0.002)
        try:
            yield claim, meter
        finally:
            meter.stop()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def seen(bench: Bench, times: int = 3) -> None:
    """The meter has looked so often since now."""
    before = bench.asked
    until(lambda: bench.asked >= before + times * len(bench.every))


class TestMemory:
    def test_is_the_peak_of_those_who_came_after_the_claim(self, tmp_path: Path) -> None:
        bench = Bench(1)
        with metered(tmp_path, bench) as (_, meter):
            meter.start(OWN)
            for held in (5, 61, 7):
                bench.samples[0] = Sample(used_bytes=70 * GB, processes=(Process(4_194_400, held * GB), Process(4_194_401, GB)))
                seen(bench)
            assert meter.now() == "GPU 0 8.0 GB"
            meter.stop()
            assert meter.usage.peak_memory_bytes == 62 * GB

    def test_is_what_came_on_top_where_processes_are_hidden(self, tmp_path: Path) -> None:
        bench = Bench(1)
        bench.samples[0] = Sample(used_bytes=GB // 2)
        with metered(tmp_path, bench) as (_, meter):
            meter.start(OWN)
            for told in (Sample(used_bytes=3 * GB), Sample(used_bytes=2 * GB, processes=(Process(1_000_000),))):
                bench.samples[0] = told
                seen(bench)
            meter.stop()
        assert meter.usage.peak_memory_bytes == 3 * GB - GB // 2

    def test_of_others_on_a_shared_gpu_does_not_count(self, tmp_path: Path) -> None:
        bench = Bench(1)
        bench.samples[0] = Sample(used_bytes=9 * GB, processes=(Process(4_194_400, 9 * GB),))
        with metered(tmp_path, bench, shared=True) as (_, meter):
            meter.start(os.getsid(0))
            mine, late, early = Process(OWN, 4 * GB), Process(4_194_401, 30 * GB), Process(4_194_400, 9 * GB)
            bench.samples[0] = Sample(used_bytes=43 * GB, processes=(mine, late, early))
            seen(bench)
            meter.stop()
        assert meter.usage.peak_memory_bytes == 4 * GB

    def test_is_that_of_one_device(self, tmp_path: Path) -> None:
        bench = Bench(2)
        with metered(tmp_path, bench, count=2) as (_, meter):
            meter.start(OWN)
            bench.samples = {0: Sample(used_bytes=2 * GB), 1: Sample(used_bytes=3 * GB)}
            seen(bench)
            meter.stop()
        assert meter.usage.peak_memory_bytes == 3 * GB
        assert meter.usage.devices == ("Bench 1", "Bench 1")


class TestEnergy:
    def test_is_what_the_counter_counted(self, tmp_path: Path) -> None:
        bench = Bench(2)
        bench.samples = {0: Sample(energy_j=1_000.0, power_w=1e9), 1: Sample(energy_j=50.0)}
        with metered(tmp_path, bench, count=2) as (_, meter):
            meter.start(OWN)
            bench.samples = {0: Sample(energy_j=4_600.0, power_w=1e9), 1: Sample(energy_j=7_250.0)}
            seen(bench)
            meter.stop()
        assert meter.usage.energy_wh == pytest.approx((3_600 + 7_200) / 3_600)

    def test_is_power_over_time_where_there_is_no_counter(self, tmp_path: Path) -> None:
        bench = Bench(1)
        bench.samples[0] = Sample(power_w=3_600_000.0)
        with metered(tmp_path, bench) as (_, meter):
            began = time.monotonic()
            meter.start(OWN)
            seen(bench, times=20)
            meter.stop()
            took = time.monotonic() - began
        assert meter.usage.energy_wh is not None
        assert 0 < meter.usage.energy_wh <= 1000 * took
        assert meter.usage.energy_wh == pytest.approx(1000 * meter.usage.gpu_s, rel=0.5)

    def test_is_not_told_where_one_of_two_devices_does_not_tell(self, tmp_path: Path) -> None:
        bench = Bench(2)
        bench.samples = {0: Sample(energy_j=1.0), 1: Sample(utilisation=0.5)}
        with metered(tmp_path, bench, count=2) as (_, meter):
            meter.start(OWN)
            seen(bench)
            meter.stop()
        assert meter.usage.energy_wh is None
        assert meter.usage.utilisation == pytest.approx(0.5)

    def test_survives_a_counter_that_begins_anew(self, tmp_path: Path) -> None:
        bench = Bench(1)
        bench.samples[0] = Sample(energy_j=10_000.0)
        with metered(tmp_path, bench) as (_, meter):
            meter.start(OWN)
            for joules in (13_600.0, 0.0, 3_600.0):
                bench.samples[0] = Sample(energy_j=joules)
                seen(bench)
            meter.stop()
        assert meter.usage.energy_wh == pytest.approx(2.0)


class TestLost:
    def test_a_device_that_falls_off_the_bus_keeps_what_it_told_before(self, tmp_path: Path) -> None:
        bench = Bench(1)
        bench.samples[0] = Sample(used_bytes=0, utilisation=1.0, energy_j=0.0, power_w=100.0)
        with metered(tmp_path, bench) as (_, meter):
            meter.start(OWN)
            bench.samples[0] = Sample(used_bytes=2 * GB, utilisation=1.0, energy_j=7_200.0, power_w=100.0)
            seen(bench)
            assert meter.now() == "GPU 0 100%, 2.0 GB"
            bench.samples[0] = Sample()
            seen(bench)
            assert meter.now() == ""
            meter.stop()
        assert meter.usage.peak_memory_bytes == 2 * GB
        assert meter.usage.utilisation == pytest.approx(1.0)
        assert meter.usage.energy_wh == 2.0

    def test_one_that_never_tells_anything_is_had_all_the_same(self, tmp_path: Path) -> None:
        bench = Bench(1)
        bench.samples[0] = Sample()
        with metered(tmp_path, bench) as (_, meter):
            meter.start(OWN)
            seen(bench)
            meter.stop()
        assert meter.usage == GpuUsage(("Bench 1",), gpu_s=meter.usage.gpu_s)
        assert meter.usage.gpu_s > 0


class TestAttempts:
    def test_add_up(self, tmp_path: Path) -> None:
        bench = Bench(1)
        bench.samples[0] = Sample(used_bytes=0, energy_j=0.0)
        with metered(tmp_path, bench) as (_, meter):
            for attempt in range(1, 4):
                meter.start(OWN)
                bench.samples[0] = Sample(used_bytes=attempt * GB, energy_j=3_600.0 * attempt)
                seen(bench)
                running = meter.usage
                assert running.energy_wh == pytest.approx(attempt)
                meter.stop()
                assert meter.usage.gpu_s >= running.gpu_s
                bench.samples[0] = Sample(used_bytes=0, energy_j=3_600.0 * attempt)
            assert meter.usage.energy_wh == pytest.approx(3)
            assert meter.usage.peak_memory_bytes == 3 * GB

    def test_stopping_twice_or_before_the_start_is_nothing(self, tmp_path: Path) -> None:
        with metered(tmp_path, Bench(1)) as (_, meter):
            meter.stop()
            meter.start(OWN)
            meter.stop()
            used = meter.usage
            meter.stop()
            assert meter.usage == used
            assert meter.now() == ""

    def test_without_a_gpu_nothing_runs(self, tmp_path: Path) -> None:
        bench = Bench(0)
        with metered(tmp_path, bench, count=0) as (claim, meter):
            meter.start(OWN)
            assert meter.now() == ""
            meter.stop()
            assert claim.devices == ()
            assert meter.usage == GpuUsage()
        assert bench.asked == 0


def test_many_devices_are_told_in_short(tmp_path: Path) -> None:
    bench = Bench(6)
    bench.samples = {number: Sample(utilisation=number / 10) for number in range(6)}
    with metered(tmp_path, bench, count=6) as (_, meter):
        meter.start(OWN)
        seen(bench)
        assert meter.now() == "GPU 0 0%; GPU 1 10%; GPU 2 20%; GPU 3 30%; and 2 more"

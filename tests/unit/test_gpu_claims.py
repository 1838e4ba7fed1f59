"""Who gets which GPU, in one process: what is said, what is refused, and what a training is told."""

import io
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from tests.gpu_vendor import Bench

from metricgate.errors import StageError
from metricgate.train.console import Console
from metricgate.train.gpu import claims
from metricgate.train.gpu.claims import Claim
from metricgate.train.gpu.locks import Locks
from metricgate.train.gpu.vendor import Process, Sample, Vendor

NAMES = ("cat", "coreutils")


class Desk:
    """Where claims are made, and what was said meanwhile."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "locks"
        self.progress = io.StringIO()
        self.console = Console(output=io.BytesIO(), progress=self.progress)

    @property
    def said(self) -> str:
        return self.progress.getvalue()

    @contextmanager
    def claim(
        self,
        count: int | None,
        *vendors: Vendor,
        per: int = 1,
        timeout_s: float = 0.0,
        pause: Callable[[float], None] = time.sleep,
        environ: Mapping[str, str] | None = None,
    ) -> Iterator[Claim]:
        with claims.claim(
            count,
            folder=self.folder,
            console=self.console,
            timeout_s=timeout_s,
            environ=environ or {},
            per=per,
            vendors=vendors,
            pause=pause,
        ) as claimed:
            yield claimed


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


class TestWithoutAGpu:
    def test_it_trains_on_the_cpu_and_says_so_in_one_line(self, desk: Desk) -> None:
        with desk.claim(None, Bench(0, why="libbench.so is not there")) as claim:
            assert claim.devices == ()
            assert claim.environ() == {}
        assert desk.said == "metricgate: no GPU: libbench.so is not there; training on the CPU\n"
        assert not desk.folder.exists()

    def test_whoever_asked_for_some_is_warned(self, desk: Desk) -> None:
        with desk.claim(2, Bench(0, why="libbench.so is not there")) as claim:
            assert claim.devices == ()
        assert "⚠️ train.gpus asks for 2 GPUs and there is none (libbench.so is not there): training on the CPU" in desk.said

    def test_seeds_at_once_are_possible_all_the_same(self, desk: Desk) -> None:
        with desk.claim(None, Bench(0), per=3) as claim:
            assert len(claim.split(3)) == 3


class TestWithGpus:
    def test_one_is_taken_where_nothing_is_asked_for(self, desk: Desk) -> None:
        with desk.claim(None, Bench(2)) as claim:
            assert claim.environ() == {"BENCH_VISIBLE": "B-0"}
        assert desk.said == "metricgate: training on GPU 0 (Bench 1)\n"

    def test_none_is_taken_and_none_is_seen_where_none_is_wanted(self, desk: Desk) -> None:
        with desk.claim(0, Bench(2)) as claim:
            assert claim.devices == ()
            assert claim.environ() == {"BENCH_VISIBLE": ""}
        assert desk.said == ""

    def test_what_is_held_is_left_to_its_holder(self, desk: Desk) -> None:
        bench = Bench(3)
        with desk.claim(1, bench) as first, desk.claim(2, bench) as second:
            assert {device.index for device in (*first.devices, *second.devices)} == {0, 1, 2}
        with desk.claim(3, bench) as all_of_them:
            assert len(all_of_them.devices) == 3

    def test_more_than_there_are_is_an_error_that_names_what_there_is(self, desk: Desk) -> None:
        with pytest.raises(StageError, match="asks for 4 GPUs, and there are 2") as raised, desk.claim(4, Bench(2)):
            pass
        assert "GPU 0 (Bench 1), GPU 1 (Bench 1)" in str(raised.value)
        assert "`gpus: 2`" in raised.value.fix

    def test_what_is_hidden_from_the_runner_is_hidden_from_the_training(self, desk: Desk) -> None:
        with desk.claim(None, Bench(4), environ={"BENCH": "3"}) as claim:
            assert claim.environ() == {"BENCH_VISIBLE": "B-3"}
        with pytest.raises(StageError, match="there is 1"), desk.claim(2, Bench(4), environ={"BENCH": "3"}):
            pass

    def test_the_gpus_of_another_vendor_are_hidden(self, desk: Desk) -> None:
        with desk.claim(1, Bench(0, name="none"), Bench(1, name="first"), Bench(1, name="second")) as claim:
            assert claim.environ() == {"FIRST_VISIBLE": "B-0", "SECOND_VISIBLE": ""}

    def test_seeds_at_once_get_their_own(self, desk: Desk) -> None:
        with desk.claim(2, Bench(5), per=2) as claim:
            assert [part.environ() for part in claim.split(2)] == [{"BENCH_VISIBLE": "B-0,B-1"}, {"BENCH_VISIBLE": "B-2,B-3"}]

    def test_fewer_seeds_run_at_once_where_gpus_are_few(self, desk: Desk) -> None:
        with desk.claim(2, Bench(3), per=4) as claim:
            assert len(claim.split(4)) == 1
        assert "4 trainings at once need 8 GPUs, and there are 3: 1 at a time" in desk.said

    def test_one_that_fell_off_the_bus_is_told_of(self, desk: Desk) -> None:
        with desk.claim(1, Bench(1, why="GPU 1 does not answer: GPU is lost")):
            pass
        assert "⚠️ GPU 1 does not answer" in desk.said


class TestWaiting:
    def test_says_who_holds_what_and_since_when(self, desk: Desk) -> None:
        bench = Bench(2)
        held = {"GITHUB_REPOSITORY": "acme/digits", "GITHUB_JOB": "train", "RUNNER_NAME": "gpu-3"}
        with (
            desk.claim(1, bench, environ=held),
            pytest.raises(StageError) as raised,
            desk.claim(2, bench, timeout_s=0.2, pause=lambda seconds: time.sleep(seconds / 10)),
        ):
            pass
        who = f"GPU 0 is held by job train of acme/digits (process {os.getpid()} on gpu-3) for "
        assert f"waiting for 1 of 2 GPUs; {who}" in desk.said
        assert desk.said.count("waiting for") == 1
        assert raised.value.found.startswith("2 GPUs did not become free within 0.2s: GPU 0 is held by job train")
        assert "METRICGATE_GPU_SHARED=1" in raised.value.fix

    def test_ends_when_it_is_told_to_and_leaves_nothing_locked(self, desk: Desk) -> None:
        def interrupt(_: float) -> None:
            raise KeyboardInterrupt

        bench = Bench(2)
        with (
            desk.claim(1, bench),
            pytest.raises(KeyboardInterrupt),
            desk.claim(2, bench, timeout_s=60, pause=interrupt),
        ):
            pass
        with desk.claim(2, bench):
            assert not list(desk.folder.glob("waiting-*"))

    def test_ends_when_the_holder_ends(self, desk: Desk) -> None:
        bench = Bench(1)
        with ExitStack() as holder:
            holder.enter_context(desk.claim(1, bench))
            with desk.claim(1, bench, timeout_s=60, pause=lambda _: holder.close()) as claim:
                assert claim.devices == bench.every

    def test_whoever_waits_for_many_is_served_before_those_who_came_later_for_one(self, desk: Desk) -> None:
        bench = Bench(2)
        with ExitStack() as stack:
            stack.enter_context(desk.claim(1, bench))
            tried: list[str] = []

            def meanwhile(_: float) -> None:
                if tried:
                    return stack.close()
                tried.append("a job that wants one, and comes while one is free")
                with pytest.raises(StageError, match="GPU 1 is next for a job that has waited longer"), desk.claim(1, bench):
                    pass
                return None

            with desk.claim(2, bench, timeout_s=60, pause=meanwhile) as claim:
                assert len(claim.devices) == 2
        assert tried

    def test_nothing_is_kept_for_those_who_waited_and_died(self, desk: Desk) -> None:
        locks = Locks(desk.folder)
        dead = locks.try_lock("waiting-00000000000000000001-dead")
        assert dead is not None
        dead.tell({"count": 2, "devices": "bench-B-0 bench-B-1"})
        with pytest.raises(StageError, match="waited longer"), desk.claim(1, Bench(2)):
            pass
        dead.forget()  # as the kernel does
        with desk.claim(2, Bench(2)):
            assert locks.names("waiting-") == []


class TestUsedByOthers:
    @pytest.mark.parametrize(
        ("sample", "who"),
        [
            (Sample(used_bytes=0, processes=()), ""),
            (Sample(), ""),
            (Sample(processes=(Process(2**22 + 7, memory_bytes=1),)), f"process {2**22 + 7}"),
            (Sample(processes=tuple(Process(2**22 + n) for n in range(5))), "and others"),
            (Sample(used_bytes=30 * 10**9, processes=(Process(2**22 + 7, graphics=True),)), ""),
            (Sample(used_bytes=700 * 10**6, processes=()), ""),
            (Sample(used_bytes=30 * 10**9, processes=()), "something that can't be seen from here (30.0 GB in use)"),
            (Sample(used_bytes=30 * 10**9), "something that can't be seen from here (30.0 GB in use)"),
        ],
    )
    def test_a_gpu_is_not_free_while_somebody_computes_on_it(self, sample: Sample, who: str, desk: Desk) -> None:
        bench = Bench(1)
        bench.samples[0] = sample
        found = claims.used_by(bench.every[0], bench)
        assert (who in found) if who else found == ""
        if who:
            with pytest.raises(StageError, match="GPU 0 is used by "), desk.claim(1, bench):
                pass
            with desk.claim(1, bench, environ={"METRICGATE_GPU_SHARED": "1"}) as claim:
                assert claim.shared
        else:
            with desk.claim(1, bench) as claim:
                assert not claim.shared

    def test_a_process_is_named_where_it_can_be_seen(self) -> None:
        bench = Bench(1)
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
            bench.samples[0] = Sample(processes=(Process(process.pid),))
            deadline = time.monotonic() + 20
            while (told := claims.used_by(bench.every[0], bench)) not in {f"process {process.pid} ({name})" for name in NAMES}:
                assert time.monotonic() < deadline, told  # Linux gives it its name a moment after it began

    def test_the_free_one_is_taken(self, desk: Desk) -> None:
        bench = Bench(2)
        bench.samples[0] = Sample(processes=(Process(2**22 + 7),))
        with desk.claim(1, bench) as claim:
            assert claim.devices == bench.every[1:]


@pytest.mark.parametrize(
    "told",
    [b"", b"{", b"[]", b'{"pid": "\\u001b[31mred\\n::error::", "job": "\\u202e", "since": 1e999}', b"\xff" * 5000, b"[" * 4096],
)
def test_what_a_lock_file_says_is_shown_and_not_believed(told: bytes, desk: Desk) -> None:
    bench = Bench(1)
    with desk.claim(1, bench):
        next(desk.folder.glob("bench-*")).write_bytes(told)
        with pytest.raises(StageError) as raised, desk.claim(1, bench, timeout_s=0.1):
            pass
    assert "GPU 0 is held by another job" in str(raised.value) or "GPU 0 is held by job" in str(raised.value)
    assert not {"\x1b", "\u202e", "\n"} & set(raised.value.found)

"""Why a command failed, told from its exit code, its last lines and what else was seen; and what is not claimed."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.train import diagnosis
from metricgate.train.diagnosis import Cause, Ended, Facts
from metricgate.train.host_memory import Kills
from metricgate.train.progress import Progress

TRACEBACK = """\
Traceback (most recent call last):
  File "/repo/train.py", line 12, in <module>
    main()
  File "/repo/train.py", line 9, in main
    model.fit(images)
"""
TENSORFLOW = "tensorflow.python.framework.errors_impl.ResourceExhaustedError"
OOM = "OOM when allocating tensor with shape[64,3] and type float on /job:localhost/replica:0/task:0/device:{}:0 by allocator x"
TORCHRUN = """\
E1128 12:00:01.5 4711 torch/distributed/elastic/multiprocessing/api.py:874] failed (exitcode: {code}) local_rank: 0 (pid: 4712)
Traceback (most recent call last):
  File "/env/bin/torchrun", line 8, in <module>
    sys.exit(main())
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-28_12:00:01
  rank      : 0 (local_rank: 0)
  exitcode  : {code} (pid: 4712)
============================================================
"""


def diagnose(text: str, *, status: int = 1, **facts: object) -> Cause:
    return diagnosis.of(status, text.splitlines(), Facts(log="train.log", **facts))  # type: ignore[arg-type]


class TestWhatLibrariesSay:
    @pytest.mark.parametrize(
        ("kind", "error"),
        [
            (
                "gpu_memory",
                "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a capacity of 79.11 GiB",
            ),
            (
                "gpu_memory",
                "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; 23.69 GiB total)",
            ),
            ("gpu_memory", "RuntimeError: CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
            (
                "gpu_memory",
                "jaxlib.xla_extension.XlaRuntimeError: RESOURCE_EXHAUSTED: Out of memory while trying to allocate 4 bytes.",
            ),
            (
                "gpu_memory",
                f"{TENSORFLOW}: Graph execution error:\n\nDetected at node conv1\n  File 'a.py', line 3\n{OOM.format('GPU')}",
            ),
            (
                "host_memory",
                f"{TENSORFLOW}: {OOM.format('CPU')}",
            ),
            ("host_memory", "MemoryError"),
            (
                "host_memory",
                "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 74.5 GiB for an array with shape (100, 9)",
            ),
            (
                "host_memory",
                "RuntimeError: [enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory",
            ),
            ("host_memory", "OSError: [Errno 12] Cannot allocate memory"),
            (
                "shared_memory",
                "RuntimeError: DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that dataloader's",
            ),
            ("shared_memory", "RuntimeError: unable to write to file </torch_71_1>: No space left on device (28)"),
            ("disk_full", "OSError: [Errno 28] No space left on device: 'checkpoints/3.keras'"),
            ("disk_full", "OSError: [Errno 122] Disk quota exceeded"),
            ("disk_full", "tensorflow...ResourceExhaustedError: ckpt/model.index.tempstate; No space left on device"),
            ("nan", "RuntimeError: Function 'MulBackward0' returned nan values in its 0th output."),
            ("nan", "FloatingPointError: invalid value (nan) encountered in jit(mul). Because jax_debug_nans is set"),
            (
                "nan",
                "tensorflow.python.framework.errors_impl.InvalidArgumentError: loss : Tensor had NaN values [Op:CheckNumerics]",
            ),
            ("nan", "ValueError: loss is NaN at step 40"),
            ("missing_module", "ModuleNotFoundError: No module named 'sklearn.ensemble'"),
            ("import_error", "ImportError: libcudart.so.12: cannot open shared object file: No such file or directory"),
            ("import_error", "ImportError: cannot import name 'Adam' from 'keras' (/env/keras/__init__.py)"),
            ("import_error", "ImportError: /lib/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by x.so)"),
            ("gpu_driver", "RuntimeError: The NVIDIA driver on your system is too old (found version 11040)."),
            (
                "gpu_driver",
                "RuntimeError: cuda runtime error (35) : CUDA driver version is insufficient for CUDA runtime version",
            ),
            ("gpu_driver", "RuntimeError: cuDNN error: CUDNN_STATUS_NOT_INITIALIZED"),
            ("no_gpu", "RuntimeError: No CUDA GPUs are available"),
            ("no_gpu", "AssertionError: Torch not compiled with CUDA enabled"),
            ("address_in_use", "OSError: [Errno 98] Address already in use"),
            (
                "network",
                "requests.exceptions.ConnectionError: HTTPSConnectionPool(host='data.example', port=443): Max retries exceeded",
            ),
            ("network", "urllib.error.URLError: <urlopen error [Errno -3] Temporary failure in name resolution>"),
            ("network", "urllib.error.HTTPError: HTTP Error 503: Service Unavailable"),
            ("network", "ConnectionResetError: [Errno 104] Connection reset by peer"),
            ("missing_file", "FileNotFoundError: [Errno 2] No such file or directory: 'data/train.csv'"),
            ("permission", "PermissionError: [Errno 13] Permission denied: '/data/cache'"),
            ("exit", "ValueError: shapes (3,4) and (5,) not aligned"),
            ("exit", "urllib.error.HTTPError: HTTP Error 404: Not Found"),
            ("exit", "AssertionError"),
            ("exit", "grpc.ResourceExhaustedError: received message larger than max (5 vs. 4)"),
        ],
    )
    def test_when_a_python_program_ends_by_it(self, kind: str, error: str) -> None:
        cause = diagnose(f"epoch 1\n{TRACEBACK}{error}")
        assert cause.kind == kind
        assert cause.retryable == (kind in ("network", "address_in_use"))
        assert cause.advice

    def test_below_a_wrapper_that_says_nothing(self) -> None:
        error = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."
        worker = "".join(f"[rank0]: {line}\n" for line in f"{TRACEBACK}{error}".splitlines())
        assert diagnose(worker + TORCHRUN.format(code=1)).kind == "gpu_memory"

    def test_from_several_workers_at_once(self) -> None:
        first = [f"[rank0]: {line}" for line in f"{TRACEBACK}OSError: [Errno 28] No space left on device".splitlines()]
        second = [f"[rank1]: {line}" for line in f"{TRACEBACK}OSError: [Errno 28] No space left on device".splitlines()]
        mixed = "\n".join(line for pair in zip(first, second, strict=True) for line in pair)
        assert diagnose(f"{mixed}\n{TORCHRUN.format(code=1)}").kind == "disk_full"

    @pytest.mark.parametrize(
        "joint",
        [
            "The above exception was the direct cause of the following exception:",
            "During handling of the above exception, another exception occurred:",
        ],
    )
    def test_behind_an_exception_that_followed(self, joint: str) -> None:
        text = f"{TRACEBACK}MemoryError\n\n{joint}\n\n{TRACEBACK}RuntimeError: the training failed"
        assert diagnose(text).kind == "host_memory"

    @pytest.mark.parametrize(
        ("kind", "line"),
        [
            ("disk_full", "cp: error writing 'model/weights': No space left on device"),
            ("gpu_memory", "error: CUDA out of memory. Tried to allocate 2.00 GiB"),
            ("network", "curl: (6) Could not resolve host: data.example"),
            ("missing_file", "python: can't open file '/repo/trian.py': [Errno 2] No such file or directory"),
            ("nan", "Batch 12: Invalid loss, terminating training"),
        ],
    )
    def test_when_another_program_says_it_last(self, kind: str, line: str) -> None:
        assert diagnose(f"step 1\nstep 2\n{line}").kind == kind

    def test_of_a_program_that_can_not_be_read(self) -> None:
        text = '  File "/repo/train.py", line 3\n    from keras import\n                     ^\nSyntaxError: invalid syntax\n'
        assert diagnose(text).kind == "exit"

    def test_with_the_exit_code(self) -> None:
        cause = diagnose(f"{TRACEBACK}MemoryError", status=3)
        assert cause.sentence == "ran out of memory (exit code 3)"

    def test_of_memory_is_the_hosts_where_no_gpu_was_to_be_seen(self) -> None:
        text = f"{TRACEBACK}jax.errors.JaxRuntimeError: RESOURCE_EXHAUSTED: Out of memory allocating 4398046511104 bytes."
        assert diagnose(text, gpus=0).kind == "host_memory"
        assert diagnose(text, gpus=1).kind == "gpu_memory"

    def test_of_a_gpu_that_was_claimed_and_not_found(self) -> None:
        text = f"{TRACEBACK}RuntimeError: No CUDA GPUs are available"
        assert "it could have seen 2" in diagnose(text, gpus=2).advice
        assert "gpus: 1" in diagnose(text, gpus=0).advice

    def test_of_a_module_names_its_package(self) -> None:
        cause = diagnose(f"{TRACEBACK}ModuleNotFoundError: No module named 'sklearn.ensemble'")
        assert cause.sentence == "can't import the module `sklearn.ensemble` (exit code 1)"
        assert cause.advice.endswith("pip install scikit-learn")

    def test_of_a_module_that_is_a_file_of_the_repository(self) -> None:
        files = {"features": "src/features.py"}
        cause = diagnose(f"{TRACEBACK}ModuleNotFoundError: No module named 'features'", module_file=files.get)
        assert cause.advice.startswith("it is src/features.py of the repository")
        assert "PYTHONPATH=src" in cause.advice


class TestWhatIsNotClaimed:
    @pytest.mark.parametrize(
        "earlier",
        [
            f"{TRACEBACK}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB\n",
            "W tensorflow: failed to allocate 2.53G from device: CUDA_ERROR_OUT_OF_MEMORY: out of memory\n",
            "# use a smaller batch when out of memory: OOM when allocating tensor\n",
            "E cuda_driver.cc: failed call to cuInit: CUDA_ERROR_NO_DEVICE: no CUDA-capable device is detected\n",
            "retrying: Connection reset by peer\n",
            "write failed: No space left on device; writing to /scratch instead\n",
            "sanity check: loss: nan\nstep 1, loss: 0.7\n",
        ],
    )
    def test_what_the_program_survived(self, earlier: str) -> None:
        cause = diagnose(f"{earlier}step 2 went well\n{TRACEBACK}AssertionError: accuracy is 0.1")
        assert (cause.kind, cause.sentence) == ("exit", "ended with exit code 1")
        assert cause.advice == "all of its output is in train.log"

    def test_a_traceback_that_much_followed(self) -> None:
        following = "\n".join(f"step {number}" for number in range(60))
        assert diagnose(f"{TRACEBACK}MemoryError\n{following}\nstopping").kind == "exit"

    def test_what_lies_far_back(self) -> None:
        lines = "\n".join(f"step {number}" for number in range(300))
        assert diagnose(f"No space left on device\n{lines}").kind == "exit"

    @pytest.mark.parametrize("line", ["No CUDA GPUs are available, using the CPU", "ImportError: no rust, falling back"])
    def test_without_an_exception_what_programs_get_along_without(self, line: str) -> None:
        assert diagnose(f"{line}\nwrong usage", status=2).kind == "exit"

    def test_a_nan_that_is_over(self) -> None:
        assert diagnose("loss: nan\nloss: 0.5\ngave up").kind == "exit"

    @given(st.integers(-64, 255).filter(bool), st.lists(st.text(max_size=80), max_size=40))
    def test_anything_has_a_cause(self, status: int, lines: list[str]) -> None:
        cause = diagnosis.of(status, lines, Facts(log="train.log"))
        assert cause.sentence
        assert cause.advice


class TestNan:
    @pytest.mark.parametrize(
        "line", ["loss: nan", "step 4 train_loss=nan", "{'loss': nan, 'step': 4}", "val_loss: -nan lr 0.1", "Loss NaN"]
    )
    def test_was_what_it_showed_last(self, line: str) -> None:
        cause = diagnose(f"loss: 0.5\n{line}\ngave up")
        assert cause.kind == "nan"
        assert "the last loss that it showed was NaN" in cause.sentence
        assert not cause.retryable

    def test_was_in_its_progress(self) -> None:
        cause = diagnose("gave up", progress=Progress(step=1200, epoch=3, loss=float("nan")))
        assert cause.sentence == "ended with exit code 1, and the last loss that it showed was NaN (epoch 3, step 1,200)"


class TestSignals:
    @pytest.mark.parametrize("status", [-9, 137])
    def test_of_the_kernel_for_want_of_memory(self, status: int) -> None:
        cause = diagnose("step 3", status=status, kills=Kills(group=1), memory_limit_bytes=8 * 10**9, ran_s=60)
        assert (cause.kind, cause.retryable) == ("host_memory", False)
        assert cause.sentence == "was killed by SIGKILL (exit code 137), because it ran out of memory: the limit here is 8.0 GB"

    def test_of_the_kernel_for_the_whole_machine(self) -> None:
        assert "the machine ran out of memory" in diagnose("", status=-9, kills=Kills(machine=1)).sentence

    def test_of_the_kernel_after_a_long_while_may_be_a_leak(self) -> None:
        assert diagnose("", status=-9, kills=Kills(group=1), ran_s=3600).retryable

    def test_that_the_kernel_knows_nothing_of(self) -> None:
        cause = diagnose("", status=-9)
        assert (cause.kind, cause.retryable) == ("crash", True)
        assert "metricgate did not send it" in cause.advice

    def test_to_a_worker_for_want_of_memory(self) -> None:
        text = f"{TRACEBACK}RuntimeError: DataLoader worker (pid 71) is killed by signal: Killed."
        assert diagnose(text, kills=Kills(group=1)).kind == "host_memory"
        assert diagnose(text).kind == "crash"

    def test_to_a_worker_of_torchrun(self) -> None:
        cause = diagnose(TORCHRUN.format(code=-11))
        assert (cause.kind, cause.retryable) == ("crash", True)
        assert cause.sentence.endswith("was killed by SIGSEGV")

    @pytest.mark.parametrize("status", [-15, 143])
    def test_that_end_it_from_outside(self, status: int) -> None:
        cause = diagnose("step 3", status=status)
        assert (cause.kind, cause.retryable) == ("preempted", True)
        assert "SIGTERM" in cause.sentence

    @pytest.mark.parametrize(
        ("number", "retryable"), [(signal.SIGSEGV, True), (signal.SIGBUS, True), (signal.SIGFPE, True), (signal.SIGILL, False)]
    )
    def test_of_faults(self, number: signal.Signals, retryable: bool) -> None:
        cause = diagnose("", status=-number)
        assert (cause.kind, cause.retryable) == ("crash", retryable)
        assert number.name in cause.sentence

    def test_of_an_exception_that_cpp_does_not_catch(self) -> None:
        text = (
            "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\nAborted (core dumped)"
        )
        assert diagnose(text, status=134).kind == "host_memory"
        assert diagnose("Aborted", status=134).kind == "crash"


class TestBash:
    def test_does_not_know_the_command(self) -> None:
        cause = diagnose("bash: line 1: pyhton: command not found", status=127)
        assert (cause.kind, cause.sentence) == ("no_command", "wants a command that is not there: pyhton (exit code 127)")

    def test_may_not_run_it(self) -> None:
        assert diagnose("bash: line 1: ./train.sh: Permission denied", status=126).kind == "no_command"

    @pytest.mark.parametrize("status", [126, 127, 7, 255])
    def test_or_a_program_that_ends_with_that_code(self, status: int) -> None:
        assert diagnose("bye", status=status) == Cause(
            "exit", f"ended with exit code {status}", "all of its output is in train.log"
        )


class TestEndedByMetricgate:
    def test_comes_before_what_the_output_says(self) -> None:
        cause = diagnose(f"{TRACEBACK}MemoryError", ended=Ended("cancelled", by="SIGTERM"))
        assert (cause.kind, cause.sentence, cause.retryable) == ("cancelled", "was stopped by SIGTERM", False)

    def test_for_its_time(self) -> None:
        cause = diagnose("", ended=Ended("timeout"), timeout_s=3900)
        assert (cause.kind, cause.sentence) == ("timeout", "took longer than 1h 05m")
        assert "raise `timeout`" in cause.advice

    def test_for_its_standstill(self) -> None:
        cause = diagnose("", ended=Ended("stall"), stall_s=600, progress=Progress(step=12))
        assert (cause.kind, cause.retryable) == ("stall", True)
        assert cause.sentence == "was ended as stuck: it printed nothing and made no step for 10m 00s (step 12)"

    def test_for_a_reason_of_somebody_elses(self) -> None:
        cause = diagnose("", ended=Ended("stopped", by="pruned at step 3"))
        assert (cause.kind, cause.sentence) == ("stopped", "was ended: pruned at step 3")

    def test_says_that_it_had_to_be_killed(self) -> None:
        cause = diagnose("", ended=Ended("cancelled", by="SIGINT", killed=True), grace_s=10)
        assert "did not end within 10s after that and was killed; `grace`" in cause.advice

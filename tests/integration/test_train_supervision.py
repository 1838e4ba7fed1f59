"""A training that is killed, cancelled, stuck or out of something, under real bash, a real kernel and real signals."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.command_scene import PARENT, console, is_running, wait_until

from metricgate import run as runs
from metricgate.errors import ExitCode, StageError
from metricgate.train import command, process_group, retrying
from metricgate.train.command import Command, CommandError, Usage
from metricgate.train.console import Console
from metricgate.train.host_memory import Counters
from metricgate.train.progress import Progress

PYTHON = f'"{sys.executable}"'

# Some tests need a kernel that does as they say; the project's own CI runs them all.
needs_root = pytest.mark.skipif(
    os.geteuid() != 0 and not os.environ.get("METRICGATE_ALL_TESTS"), reason="needs root, for a mount or a control group"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a repository"
    folder.mkdir()
    return folder


@pytest.fixture
def work(folder: Path) -> Command:
    progress = folder / "progress.json"
    return Command(
        line="true",
        label="training of seed 0",
        cwd=folder,
        environ=command.inherited({**os.environ, "METRICGATE_PROGRESS": str(progress)}),
        log=folder / "logs" / "train.log",
        timeout_s=60.0,
        progress=progress,
    )


def failure(
    work: Command, line: str, *, to: Console | None = None, watch: command.Objection | None = None, **changes: object
) -> CommandError:
    changed = dataclasses.replace(work, line=line, **changes)  # type: ignore[arg-type]
    with pytest.raises(CommandError) as raised:
        command.run(changed, console=to or console(), watch=watch)
    return raised.value


def started(program: str, folder: Path, *arguments: str) -> subprocess.Popen[str]:
    arguments = (sys.executable, "-c", program, *arguments)
    return subprocess.Popen(arguments, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str], line: str) -> None:
    assert process.stdout
    assert process.stdout.readline() == f"{line}\n"


def guards(pid: int) -> list[int]:
    children = [one.pid for one in process_group.processes().values() if one.parent == pid]
    return [child for child in children if b"metricgate-guard" in Path(f"/proc/{child}/cmdline").read_bytes()]


class TestMetricgateIsKilled:
    def test_the_command_may_save_and_ends_and_so_do_those_who_escaped(self, folder: Path) -> None:
        (folder / "train.py").write_text(
            "import signal, subprocess, time\n"
            "def save(*_):\n"
            "    for step in range(3000): print('a last word that nobody reads any more', step)\n"
            "    open('checkpoint', 'w').write('whole'); raise SystemExit\n"
            "signal.signal(signal.SIGTERM, save)\n"
            "escaped = subprocess.Popen(['sleep', '1000'], start_new_session=True)\n"
            "open('pids', 'w').write(f'{__import__(\"os\").getpid()} {escaped.pid}')\n"
            "print('ready', flush=True)\n"
            "while True: time.sleep(0.01)\n"
        )
        with started(PARENT, folder, f"{PYTHON} train.py; echo and on") as parent:
            said(parent, "ready")
            (guard,) = guards(parent.pid)
            parent.kill()
            parent.communicate(timeout=60)
        pids = [guard, *map(int, (folder / "pids").read_text().split())]
        wait_until(lambda: not any(map(is_running, pids)))
        assert (folder / "checkpoint").read_text() == "whole"
        assert (folder / "log").read_text().splitlines()[-1] == "a last word that nobody reads any more 2999"

    def test_a_command_that_ignores_sigterm_is_killed_too(self, folder: Path) -> None:
        line = "trap '' TERM; echo $$ > pid; echo ready; while true; do sleep 0.05; done"
        with started(PARENT.replace("grace_s=5", "grace_s=0.3"), folder, line) as parent:
            said(parent, "ready")
            (guard,) = guards(parent.pid)
            parent.kill()
            parent.communicate(timeout=60)
        wait_until(lambda: not is_running(int((folder / "pid").read_text())) and not is_running(guard))

    def test_while_the_command_saves_already_it_is_not_told_twice(self, folder: Path) -> None:
        (folder / "train.py").write_text(
            "import os, signal, time\n"
            "def save(*_):\n"
            "    signal.signal(signal.SIGTERM, signal.SIG_DFL); print('saving', flush=True)\n"
            "    while not os.path.exists('go'): time.sleep(0.01)\n"
            "    open('checkpoint', 'w').write('whole'); os._exit(0)\n"
            "signal.signal(signal.SIGTERM, save)\n"
            "open('pid', 'w').write(str(os.getpid()))\n"
            "print('ready', flush=True)\n"
            "while True: time.sleep(0.01)\n"
        )
        with started(PARENT.replace("grace_s=5", "grace_s=60"), folder, f"exec {PYTHON} train.py") as parent:
            said(parent, "ready")
            (guard,) = guards(parent.pid)
            parent.send_signal(signal.SIGINT)
            said(parent, "saving")
            parent.kill()
            parent.communicate(timeout=60)
        wait_until(lambda: b"process_group.py" in Path(f"/proc/{guard}/cmdline").read_bytes())  # it has taken over
        assert is_running(int((folder / "pid").read_text()))
        (folder / "go").touch()
        wait_until(lambda: not is_running(guard))
        assert (folder / "checkpoint").read_text() == "whole"

    def test_no_guard_stays_where_it_was_not(self, work: Command) -> None:
        command.run(work, console=console())
        assert guards(os.getpid()) == []


class TestRunnerCancels:
    """SIGINT, 7.5 s later SIGTERM, 2.5 s later SIGKILL."""

    def test_the_second_signal_does_not_cut_short_what_is_saved_on_the_first(self, folder: Path) -> None:
        (folder / "train.py").write_text(
            "import os, time\n"
            "print('ready', flush=True)\n"
            "try:\n    time.sleep(1000)\n"
            "except KeyboardInterrupt:\n"
            "    print('saving', flush=True)\n"
            "    while not os.path.exists('go'): time.sleep(0.01)\n"
            "    print('saved', flush=True)\n"
        )
        with started(PARENT, folder, f"exec {PYTHON} train.py") as parent:
            said(parent, "ready")
            parent.send_signal(signal.SIGINT)
            said(parent, "saving")
            parent.send_signal(signal.SIGTERM)
            (folder / "go").touch()
            out, err = parent.communicate(timeout=60)
        assert out.splitlines() == ["saved", "the training was stopped by SIGINT cancelled False"]
        assert "metricgate: SIGINT: the training has 5s to save and end" in err

    def test_the_second_signal_ends_who_did_not_hear_the_first(self, folder: Path) -> None:
        parent_program = PARENT.replace("grace_s=5", "grace_s=1000")
        with started(parent_program, folder, "trap '' INT; echo ready; exec sleep 1000") as parent:
            said(parent, "ready")
            parent.send_signal(signal.SIGINT)
            assert parent.stderr
            assert "SIGINT" in parent.stderr.readline()
            parent.send_signal(signal.SIGTERM)
            out, _ = parent.communicate(timeout=60)
        assert out.splitlines() == ["the training was stopped by SIGINT cancelled False"]

    def test_all_commands_that_run_and_none_that_wait(self, folder: Path) -> None:
        program = """
import os, sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from metricgate.train import command
from metricgate.train.console import Console

console = Console(output=sys.stdout.buffer, progress=sys.stderr)
line = "trap 'sleep 0.1; echo saved > state; exit' TERM; echo ready; sleep 1000 & wait"

def train(seed):
    folder = Path(str(seed))
    folder.mkdir()
    label = f"training of seed {seed}"
    try:
        command.run(command.Command(line, label, folder, os.environ, log=folder / "log", timeout_s=60), console=console)
    except command.CommandError as error:
        return error.summary, error.kind

with command.signals(), ThreadPoolExecutor(2) as pool:
    for answer in pool.map(train, range(3)):
        print(*answer)
print("all")
"""
        with started(program, folder) as parent:
            said(parent, "ready")
            said(parent, "ready")
            parent.send_signal(signal.SIGTERM)
            out, _ = parent.communicate(timeout=60)
        assert out.splitlines() == [
            "the training of seed 0 was stopped by SIGTERM cancelled",
            "the training of seed 1 was stopped by SIGTERM cancelled",
            "the training of seed 2 was not started, because metricgate was stopped by SIGTERM cancelled",
            "all",
        ]
        assert [(folder / str(seed) / "state").exists() for seed in range(3)] == [True, True, False]

    def test_also_where_the_main_thread_waits_and_does_not_notice(self, folder: Path) -> None:
        program = """
import os, signal, sys, threading
from pathlib import Path
from metricgate.train import command
from metricgate.train.console import Console

console = Console(output=sys.stdout.buffer, progress=sys.stderr)
line = "trap 'echo saved > state; exit' TERM; echo ready; sleep 1000 & wait"
done = threading.Lock()

def train():
    work = command.Command(line, "training of seed 0", Path(), os.environ, log=Path("log"), timeout_s=60)
    try:
        command.run(work, console=console)
    except command.CommandError as error:
        print(error.summary, error.kind, flush=True)
    done.release()

def take_the_signal():
    Path("go").read_text()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)

done.acquire()
with command.signals():
    for work in (train, take_the_signal):
        threading.Thread(target=work).start()
    done.acquire()
"""
        os.mkfifo(folder / "go")
        with started(program, folder) as parent:
            said(parent, "ready")
            (folder / "go").write_text("now")
            out, _ = parent.communicate(timeout=60)
        assert out.splitlines() == ["the training of seed 0 was stopped by SIGTERM cancelled"]
        assert (folder / "state").exists()

    @pytest.mark.parametrize(("sent", "status"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 7)])
    def test_before_anything_runs(self, sent: signal.Signals, status: int, folder: Path) -> None:
        program = """
import signal, sys
from metricgate.train import command
try:
    with command.signals():
        print("ready", flush=True)
        signal.pause()
except KeyboardInterrupt:
    sys.exit(7)
"""
        with started(program, folder) as parent:
            said(parent, "ready")
            parent.send_signal(sent)
            parent.communicate(timeout=60)
        assert parent.returncode == status

    def test_while_a_retry_waits(self, folder: Path) -> None:
        program = PARENT.replace("command.run(", "retrying.run(").replace("import command", "import command, retrying")
        program = program.replace("console=Console", "retries=1, backoff_s=50, console=Console")
        with started(program, folder, "kill -9 $$") as parent:
            assert parent.stderr
            assert "starting it again in 50s (retry 1 of 1" in parent.stderr.readline()
            parent.send_signal(signal.SIGTERM)
            out, _ = parent.communicate(timeout=40)
        assert out.splitlines() == ["the training was stopped by SIGTERM, while it waited to be started again cancelled False"]


class TestStandstill:
    def test_is_ended(self, work: Command) -> None:
        error = failure(work, "echo begin; sleep 1000", stall_s=0.3)
        assert (error.kind, error.retryable) == ("stall", True)
        assert "was ended as stuck: it printed nothing and made no step for 0.3s" in error.summary

    def test_is_not_where_steps_are_made_in_silence(self, work: Command) -> None:
        step = """printf '{"step": %d}' $i > aside; mv aside "$METRICGATE_PROGRESS"; sleep 0.1"""
        used = command.run(
            dataclasses.replace(work, line=f"for i in {{1..20}}; do {step}; done", stall_s=1.8), console=console()
        )
        assert used.wall_s > 2.0

    def test_is_where_the_same_step_is_told_again_and_again(self, work: Command) -> None:
        step = """printf '{"step": 7, "eta_s": %d}' $i > aside; mv aside "$METRICGATE_PROGRESS"; sleep 0.02"""
        error = failure(work, f"while true; do i=$((i+1)); {step}; done", stall_s=0.4)
        assert error.kind == "stall"
        assert error.summary.endswith("(step 7)")


class TestWatching:
    def test_a_loss_that_stays_nan_ends_the_training(self, work: Command) -> None:
        report = """printf '{"epoch": %d, "loss": "nan"}' $i > aside; mv aside "$METRICGATE_PROGRESS"; sleep 0.1"""
        error = failure(work, f"for i in {{1..1000}}; do {report}; done", watch=lambda _: None)
        assert (error.kind, error.retryable) == ("nan", False)
        assert "its loss stays NaN (epoch " in error.summary

    def test_somebody_may_object(self, work: Command) -> None:
        seen: list[Progress | None] = []

        def watch(progress: Progress | None) -> str | None:
            seen.append(progress)
            return "worse than the others" if progress and progress.step == 3 else None

        error = failure(work, """printf '{"step": 3, "loss": 2.5}' > "$METRICGATE_PROGRESS"; sleep 1000""", watch=watch)
        assert (error.kind, error.summary) == ("stopped", "the training of seed 0 was ended: worse than the others")
        assert seen[-1] == Progress(step=3, loss=2.5)

    def test_an_earlier_attempts_progress_is_forgotten(self, work: Command) -> None:
        assert work.progress
        work.progress.write_text('{"step": 9}')
        command.run(dataclasses.replace(work, line='test ! -e "$METRICGATE_PROGRESS"'), console=console())

    def test_what_is_known_is_shown(self, work: Command, folder: Path) -> None:
        os.mkfifo(folder / "go")

        class Shown(io.StringIO):
            def flush(self) -> None:
                if "loss" in self.getvalue() and not (folder / "seen").exists():
                    (folder / "seen").touch()
                    threading.Thread(target=(folder / "go").write_text, args=("on\n",)).start()

        class Meter:
            said = ""

            def start(self, group: int) -> None:
                self.said += f"started {os.getpgid(group) == group} "

            def now(self) -> str:
                return "GPU 0 87% 11.2 GB"

            def stop(self) -> None:
                self.said += "stopped"

        shown, meter = Shown(), Meter()
        document = (
            '{"step": 1200, "steps": 7810, "epoch": 3, "epochs": 10, "loss": 0.4123, "examples_per_s": 5120, "eta_s": 2460}'
        )
        line = f"""printf '%s' '{document}' > "$METRICGATE_PROGRESS"; read answer < go"""
        command.run(dataclasses.replace(work, line=line), console=console(progress=shown, heartbeat_s=0.05), meter=meter)
        assert shown.getvalue().splitlines()[-1].partition("1m 00s, ")[2] == (
            "epoch 3/10, step 1,200/7,810, loss 0.4123, 5,120 examples/s, 41m 00s left, GPU 0 87% 11.2 GB"
        )
        assert meter.said == "started True stopped"


class TestMemory:
    def test_that_a_limit_of_the_shell_refuses(self, work: Command) -> None:
        error = failure(work, f"ulimit -v 400000; {PYTHON} -c 'bytearray(10**9)'")
        assert (error.kind, error.retryable) == ("host_memory", False)
        assert error.summary == "the training of seed 0 ran out of memory (exit code 1)"

    @needs_root
    def test_that_the_kernel_takes_back(self, folder: Path, limited_group: Path) -> None:
        into = f"open({str(limited_group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
        program = PARENT.replace("try:", f"{into}try:", 1).replace("error.retryable)", "error.retryable, error.fix)")
        with started(program, folder, f"{PYTHON} -c 'bytearray(2 * 10**9)'") as parent:
            out, _ = parent.communicate(timeout=60)
        summary = "the training was killed by SIGKILL (exit code 137), because it ran out of memory: the limit here is 0.3 GB"
        assert out == f"{summary} host_memory False use a smaller batch, fewer data workers, or a runner with more memory\n"

    @pytest.fixture
    def limited_group(self) -> Iterator[Path]:
        """A control group below this process's that may use 300 MB."""
        file = Counters.of_this_process().group
        assert file is not None, "a control group for memory"
        group = file.parent / f"metricgate-test-{os.getpid()}"
        group.mkdir()
        try:
            limit = group / ("memory.max" if file.name == "memory.events" else "memory.limit_in_bytes")
            limit.write_text("300000000")
            yield group
        finally:
            wait_until(lambda: not (group / "cgroup.procs").read_text())
            group.rmdir()


@needs_root
class TestFullDisk:
    @pytest.fixture
    def disk(self, folder: Path) -> Iterator[Path]:
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=16", "tmpfs", str(disk)], check=True)
        yield disk
        subprocess.run(["umount", str(disk)], check=True)

    @pytest.mark.parametrize(
        "line",
        [
            f'{PYTHON} -c \'open("disk/checkpoint", "wb").write(bytes(10**6))\'',
            "head -c 1000000 /dev/zero | tee disk/checkpoint > other",
        ],
        ids=["Python", "a program"],
    )
    def test_is_what_ended_the_training(self, line: str, work: Command, disk: Path) -> None:
        assert disk.is_dir()
        error = failure(work, line)
        assert (error.kind, error.retryable) == ("disk_full", False)
        assert "found the disk full" in error.summary
        assert "free the disk" in error.fix

    def test_costs_the_log_and_not_the_training(self, work: Command, disk: Path, folder: Path) -> None:
        line = "head -c 400000 /dev/zero | tr '\\0' x; echo; echo end; touch done; exit 3"
        error = failure(work, line, log=disk / "train.log")
        assert (folder / "done").exists()
        assert error.last_lines[-1] == "end"
        assert "No space left on device" in error.fix

    def test_without_room_for_a_log_says_so(self, work: Command, disk: Path) -> None:
        for number in range(15):
            (disk / str(number)).touch()
        with pytest.raises(StageError, match="the log can't be written: No space left on device") as raised:
            command.run(dataclasses.replace(work, log=disk / "train.log"), console=console())
        assert raised.value.where == str(disk / "train.log")

    @pytest.mark.parametrize("size", [100_000, 250_000, 262_000], ids=["room", "hardly any room", "no room"])
    def test_under_the_run_folder_is_an_error_like_any_other(self, size: int, folder: Path, disk: Path) -> None:
        (folder / "metricgate.yaml").write_text(
            "train: {run: 'head -c 20000 /dev/zero > model'}\nmodel: model\nmetrics: {loss: {direction: lower}}\n"
        )
        (disk / "other").write_bytes(bytes(size))
        arguments = [sys.executable, "-m", "metricgate", "train", "--run-dir", "disk/runs"]
        done = subprocess.run(arguments, cwd=folder, check=False, capture_output=True, text=True)
        assert "Traceback" not in done.stderr
        record = disk / "runs" / "seed-0" / "run.json"
        if size > 200_000:
            assert done.returncode == ExitCode.STAGE_FAILED
            assert "No space left on device" in done.stderr
            assert "free the disk" in done.stderr
            assert not record.exists()
            assert [path.name for path in disk.rglob(".run.json*")] == []
        else:
            assert "there is no metric `loss`" in done.stderr
            assert runs.read_record(record.parent) is not None


class TestRepository:
    def test_has_the_module_that_is_not_found(self, work: Command, folder: Path) -> None:
        (folder / "src").mkdir()
        (folder / "src" / "my_features.py").touch()
        error = failure(work, f"{PYTHON} -c 'import my_features'")
        assert error.kind == "missing_module"
        assert error.fix.startswith("it is src/my_features.py of the repository")


class TestExitCode:
    """A parent that ignores SIGCHLD hands that on, and then no process is told how its children ended."""

    def test_is_asked_for_even_if_whoever_started_metricgate_did_not_care(self, folder: Path) -> None:
        (folder / "metricgate.yaml").write_text("train: {run: exit 3}\nmetrics: {accuracy: {direction: higher}}\n")
        program = "import os, sys; from signal import *; signal(SIGCHLD, SIG_IGN); os.execv(sys.executable, sys.argv[1:])"
        metricgate = [sys.executable, "-m", "metricgate", "train", "--seeds", "0"]
        ended = subprocess.run(
            [sys.executable, "-c", program, *metricgate], cwd=folder, capture_output=True, text=True, check=False, timeout=60
        )
        assert (ended.returncode, "exit code 3" in ended.stderr) == (ExitCode.STAGE_FAILED, True), ended.stderr

    def test_that_nobody_can_know_is_an_error(self, work: Command) -> None:
        before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try:
            with pytest.raises(StageError, match="has ended, and nobody knows how"):
                command.run(work, console=console())
        finally:
            signal.signal(signal.SIGCHLD, before)


class TestRetries:
    def test_wait_longer_each_time_and_say_so(self, work: Command) -> None:
        line = 'echo x >> attempts; [ "$(wc -l < attempts)" -ge 3 ] || kill -9 $$; echo done'
        progress, output = io.StringIO(), io.BytesIO()
        used = retrying.run(
            dataclasses.replace(work, line=line), retries=5, backoff_s=0.1, console=console(output, progress=progress)
        )
        first, second = progress.getvalue().splitlines()
        assert first.startswith("metricgate: the training of seed 0 was killed by SIGKILL (exit code 137) after ")
        assert first.endswith("; starting it again in 0.1s (retry 1 of 5, METRICGATE_CHECKPOINT_DIR is kept)")
        assert second.endswith("; starting it again in 0.2s (retry 2 of 5, METRICGATE_CHECKPOINT_DIR is kept)")
        assert output.getvalue() == b"done\n"
        assert used.wall_s > 0

    @pytest.mark.parametrize(
        ("line", "attempts"),
        [
            ("kill -9 $$", 3),
            ("kill -TERM $$", 3),
            ("echo 'curl: (6) Could not resolve host: data.example'; exit 6", 3),
            ("exit 1", 1),
            (f"{PYTHON} -c 'raise MemoryError'", 1),
            (f"{PYTHON} -c 'import no_such_module'", 1),
        ],
    )
    def test_are_for_what_they_can_help(self, line: str, attempts: int, work: Command, folder: Path) -> None:
        progress = io.StringIO()
        changed = dataclasses.replace(work, line=f"echo x >> attempts; {line}")
        with pytest.raises(CommandError) as raised:
            retrying.run(changed, retries=2, backoff_s=0.01, console=console(progress=progress))
        assert (folder / "attempts").read_text() == "x\n" * attempts
        assert ("a retry would not change that" in progress.getvalue()) == (attempts == 1)
        assert raised.value.usage.wall_s > 0

    def test_share_the_time_limit_with_their_waiting(self, work: Command, folder: Path) -> None:
        changed = dataclasses.replace(work, line="echo x >> attempts; kill -9 $$", timeout_s=30.0)
        progress = io.StringIO()
        with pytest.raises(CommandError, match="was killed by SIGKILL"):
            retrying.run(changed, retries=9, backoff_s=31.0, console=console(progress=progress))
        assert (folder / "attempts").read_text() == "x\n"
        assert "no time is left for a retry" in progress.getvalue()

    def test_are_numbered_in_the_groups_of_the_log(self, work: Command) -> None:
        titles: list[str] = []

        class Group:
            def __init__(self, title: str) -> None:
                titles.append(title)

            def __enter__(self) -> None: ...

            def __exit__(self, *_: object) -> None:
                titles.append("end")

        to = dataclasses.replace(console(), grouping=Group)
        with pytest.raises(CommandError):
            retrying.run(dataclasses.replace(work, line="kill -9 $$"), retries=1, backoff_s=0, console=to)
        assert titles == ["training of seed 0", "end", "training of seed 0, attempt 2", "end"]

    def test_of_the_log_begin_and_end_on_lines_of_their_own(self, work: Command) -> None:
        output = io.BytesIO()

        @contextlib.contextmanager
        def group(title: str) -> Iterator[None]:
            output.write(f"::group::{title}\n".encode())
            yield
            output.write(b"::endgroup::\n")

        to = dataclasses.replace(console(output), grouping=group)
        command.run(dataclasses.replace(work, line="printf 'no end of the line'"), console=to)
        assert output.getvalue() == b"::group::training of seed 0\nno end of the line\n::endgroup::\n"

    def test_run_what_they_are_given(self, work: Command) -> None:
        """Tests and other launchers give their own."""
        attempts: list[tuple[int, float]] = []

        def run(attempt: Command, **_: object) -> Usage:
            attempts.append((attempt.attempt, attempt.spent_s))
            if attempt.attempt < 3:
                used = Usage(1.0, 0.5, 100 * attempt.attempt)
                raise CommandError("lost", status=1, last_lines=(), usage=used, kind="network", retryable=True)
            return Usage(1.0, 0.5, 50)

        used = retrying.run(dataclasses.replace(work, spent_s=2.0), retries=2, backoff_s=0.01, console=console(), run=run)
        assert used == Usage(3.0, 1.5, 200)
        assert [number for number, _ in attempts] == [1, 2, 3]
        assert all(2.0 <= spent < 60 for _, spent in attempts)


class TestSeveralAtOnce:
    def test_keep_their_lines_apart_and_whole(self, work: Command) -> None:
        output = io.BytesIO()
        to = console(output)
        lanes = [to.lane(f"seed {seed}") for seed in range(2)]

        def train(seed: int) -> None:
            line = "for i in {1..200}; do printf 'a '; printf 'line\\n'; done; printf 'no end'"
            command.run(dataclasses.replace(work, line=line, log=work.log.with_name(f"{seed}.log")), console=lanes[seed])

        threads = [threading.Thread(target=train, args=(seed,)) for seed in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        lines = output.getvalue().decode().splitlines()
        assert sorted(lines) == sorted(f"seed {seed} | {text}" for seed in range(2) for text in ["a line"] * 200 + ["no end"])
        assert work.log.with_name("0.log").read_bytes() == b"a line\n" * 200 + b"no end"

    def test_end_only_what_is_theirs_and_take_nobodys_status(self, work: Command) -> None:
        """A child of metricgate's own in a session of its own, such as an engine's client, is not touched."""
        with subprocess.Popen(["bash", "-c", "read x; exit 5"], stdin=subprocess.PIPE, start_new_session=True) as own:
            command.run(dataclasses.replace(work, line="(setsid sleep 1000 &); true"), console=console())
            assert own.stdin
            own.stdin.close()
            assert own.wait(timeout=60) == 5

    def test_collect_no_command_of_another_one_that_ends_at_once(self, work: Command) -> None:
        def train(number: int) -> None:
            command.run(dataclasses.replace(work, progress=None, log=work.log.with_name(f"{number}.log")), console=console())

        with command.signals(), ThreadPoolExecutor(max_workers=8) as pool:
            list(pool.map(train, range(100)))

    def test_leave_a_child_alone_that_is_hardly_older(self, work: Command) -> None:
        """The clock of the process table has ticks of 10 ms, so that both may have started in one."""
        for _ in range(10):
            with subprocess.Popen(["sleep", "1000"], start_new_session=True, env={}) as own:
                command.run(dataclasses.replace(work, line="true"), console=console())
                still_runs = own.poll() is None
                own.kill()
            assert still_runs

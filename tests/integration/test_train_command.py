"""A command of the user under real bash: its output, its end, and what is left behind."""

import io
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.command_scene import PARENT, Reaction, Terminal, console, is_running

from metricgate.errors import ExitCode, StageError
from metricgate.train import command, process_group
from metricgate.train.command import Command, CommandError, Usage
from metricgate.train.console import Console


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "a repository"
    folder.mkdir()
    return folder


def run(
    folder: Path, line: str, *, to: Console | None = None, timeout_s: float = 60.0, environ: Mapping[str, str] | None = None
) -> Usage:
    work = Command(
        line=line,
        label="training of seed 0",
        cwd=folder,
        environ=command.inherited({**os.environ, **(environ or {})}),
        log=folder / "logs" / "train.log",
        timeout_s=timeout_s,
    )
    return command.run(work, console=to or console())


class TestOutput:
    def test_goes_on_as_it_comes(self, folder: Path) -> None:
        os.mkfifo(folder / "go")
        # The command goes on when its first line has been seen; if that were held back, it would run into its time limit.
        output = Reaction(b"first\n", lambda: (folder / "go").write_text("on\n"))
        run(folder, "echo first; read answer < go; echo $answer", to=console(output), timeout_s=30)
        assert output.getvalue() == b"first\non\n"

    def test_of_python_is_not_held_back(self, folder: Path) -> None:
        os.mkfifo(folder / "go")
        output = Reaction(b"first\n", lambda: (folder / "go").write_text("on\n"))
        program = "print('first'); print(open('go').read())"
        run(folder, f'"{sys.executable}" -c "{program}"', to=console(output), timeout_s=30)
        assert output.getvalue() == b"first\non\n\n"

    def test_keeps_every_byte_in_order_also_those_that_are_no_text(self, folder: Path) -> None:
        output = io.BytesIO()
        run(folder, r"printf 'a\xff\x00b\r'; printf 'error\n' >&2; printf 'c'", to=console(output))
        assert output.getvalue() == b"a\xff\x00b\rerror\nc"
        assert (folder / "logs" / "train.log").read_bytes() == output.getvalue()

    def test_of_any_size_makes_a_log_of_bounded_size(self, folder: Path) -> None:
        run(folder, "echo begin; head -c 20000000 /dev/zero; echo end")
        log = (folder / "logs" / "train.log").read_bytes()
        assert log.startswith(b"begin\n")
        assert log.endswith(b"end\n")
        assert re.search(rb"\n\[metricgate: 11,\d{3},\d{3} bytes left out here\]\n", log)
        assert len(log) < 9_100_000

    def test_goes_on_when_nobody_reads_it_any_more(self, folder: Path) -> None:
        read_end, write_end = os.pipe()
        os.close(read_end)
        with os.fdopen(write_end, "wb", buffering=0) as closed:
            to = Console(output=closed, progress=io.StringIO())
            run(folder, "echo one; echo two; touch done", to=to)
        assert (folder / "done").exists()
        assert (folder / "logs" / "train.log").read_bytes() == b"one\ntwo\n"

    def test_goes_on_when_the_disk_of_the_log_is_full(self, folder: Path) -> None:
        (folder / "logs").mkdir()
        (folder / "logs" / "train.log").symlink_to("/dev/full")
        output = io.BytesIO()
        run(folder, "echo one; touch done", to=console(output))
        assert (folder / "done").exists()
        assert output.getvalue() == b"one\n"


class TestProgress:
    def test_is_a_line_now_and_then_where_there_is_no_terminal(self, folder: Path) -> None:
        os.mkfifo(folder / "go")

        class Progress(io.StringIO):
            def flush(self) -> None:
                if self.getvalue().count("\n") == 2:
                    threading.Thread(target=(folder / "go").write_text, args=("on\n",)).start()

        progress = Progress()
        run(folder, "read answer < go", to=console(progress=progress, heartbeat_s=0.01), timeout_s=3900)
        first, second, *_ = progress.getvalue().splitlines()
        assert re.fullmatch(r"metricgate: training of seed 0, [\d.]+s of at most 1h 05m", first)
        assert second.startswith("metricgate: training of seed 0")

    def test_is_one_line_that_is_redrawn_on_a_terminal(self, folder: Path) -> None:
        os.mkfifo(folder / "go")

        class Progress(Terminal):
            def flush(self) -> None:
                if "metricgate" in self.getvalue() and not self.released:
                    self.released = True
                    threading.Thread(target=(folder / "go").write_text, args=("on\n",)).start()

            released = False

        progress = Progress()
        run(folder, "echo before; read answer < go; echo after", to=console(progress=progress), timeout_s=90)
        assert re.match(r"\r\x1b\[Kmetricgate: training of seed 0, [\d.]+s of at most 1m 30s", progress.getvalue())
        assert progress.getvalue().endswith("\r\x1b[K")  # nothing of it stays
        assert "\n" not in progress.getvalue()

    def test_does_not_cut_a_line_of_the_command_in_two(self, folder: Path) -> None:
        os.mkfifo(folder / "go")
        screen = io.BytesIO()

        class Progress(io.StringIO):
            def flush(self) -> None:
                screen.write(self.getvalue().encode())
                self.truncate(0)
                if screen.getvalue().count(b"at most") == 1:
                    threading.Thread(target=(folder / "go").write_text, args=("on\n",)).start()

        progress = Progress()
        output = Reaction(b"half", lambda: None)
        to = console(output, progress=progress, heartbeat_s=0.05)
        to.write(b"half")
        run(folder, "read answer < go", to=to)
        assert screen.getvalue().lstrip(b"\0").startswith(b"\nmetricgate: ")


class TestEnd:
    def test_a_command_that_succeeds_says_what_it_used(self, folder: Path) -> None:
        program = "data = bytearray(150_000_000); sum(range(3_000_000))"
        used = run(folder, f'"{sys.executable}" -c "{program}"')
        # Linux counts the memory of whoever started a process into its peak, so a test run with TensorFlow in it shows here.
        assert 150_000_000 < used.peak_memory_bytes < 15_000_000_000
        assert 0.01 < used.cpu_s < 60
        assert used.wall_s > 0

    @pytest.mark.parametrize("line", ["exit 7", "(exit 7); echo went on", "(exit 7) | cat; echo went on", "bash -c 'exit 7'"])
    def test_an_exit_code_is_kept_and_the_first_one_ends_the_command(self, line: str, folder: Path) -> None:
        with pytest.raises(CommandError) as raised:
            run(folder, f"echo last words\n{line}")
        assert raised.value.status == 7
        assert raised.value.last_lines == ("last words",)
        assert (raised.value.kind, raised.value.retryable) == ("exit", False)
        assert raised.value.exit_code == ExitCode.STAGE_FAILED
        assert "the training of seed 0 ended with exit code 7" in str(raised.value)
        assert "  | last words" in str(raised.value)

    def test_the_last_lines_are_those_that_a_terminal_would_show(self, folder: Path) -> None:
        with pytest.raises(CommandError) as raised:
            run(folder, r"printf '1/2\r2/2\n\x1b[31mred\x1b[0m \xff\x07\n\n'; printf -- '-%.0s' {1..500}; exit 1")
        assert raised.value.last_lines == ("2/2", "red \ufffd", "-" * 300)

    def test_only_so_many_of_the_last_lines_are_quoted(self, folder: Path) -> None:
        with pytest.raises(CommandError) as raised:
            run(folder, "seq 100; exit 1")
        assert raised.value.last_lines == tuple(str(number) for number in range(86, 101))

    @pytest.mark.parametrize("line", ["kill -KILL $$", "bash -c 'kill -KILL $$'; echo", "exit 137"])
    def test_death_by_a_signal_is_a_crash(self, line: str, folder: Path) -> None:
        with pytest.raises(CommandError, match=r"was killed by SIGKILL \(exit code 137\)") as raised:
            run(folder, line)
        assert (raised.value.kind, raised.value.retryable) == ("crash", True)
        assert "ran out of memory" in raised.value.fix

    def test_a_command_without_output_says_so(self, folder: Path) -> None:
        with pytest.raises(CommandError, match="exit code 1; it wrote nothing"):
            run(folder, "exit 1")

    @pytest.mark.parametrize("line", ["echo \0", "echo " + "x" * 10_000_000], ids=["NUL", "megabytes"])
    def test_a_command_that_no_system_takes(self, line: str, folder: Path) -> None:
        with pytest.raises(StageError, match="the training of seed 0 can't be started"):
            run(folder, line)

    def test_a_machine_without_bash(self, folder: Path) -> None:
        with pytest.raises(StageError, match="there is no bash"):
            run(folder, "true", environ={"PATH": str(folder)})


class TestTimeLimit:
    def test_ends_the_command_and_everything_that_it_started(self, folder: Path) -> None:
        (folder / "stubborn.sh").write_text("trap '' TERM; sleep 1000 & echo $! > $1; while true; do wait; done")
        line = "bash stubborn.sh grandchild & bash stubborn.sh other"
        with pytest.raises(CommandError, match=r"took longer than 0.7s") as raised:
            run(folder, line, timeout_s=0.7, to=console(grace_s=0.2))
        assert (raised.value.kind, raised.value.retryable) == ("timeout", False)
        assert "raise `timeout`" in raised.value.fix
        for name in ("grandchild", "other"):
            assert not is_running(int((folder / name).read_text()))

    def test_leaves_time_to_save(self, folder: Path) -> None:
        line = "trap 'echo saved > checkpoint; exit 0' TERM; while true; do sleep 0.05; done"
        with pytest.raises(CommandError, match="took longer"):
            run(folder, line, timeout_s=0.5)
        assert (folder / "checkpoint").read_text() == "saved\n"

    def test_a_command_that_was_told_to_end_is_not_told_twice(self, folder: Path) -> None:
        # bash goes at once, what it runs saves for a while: a second SIGTERM would end that half way.
        program = """
import os, signal, time
def save(*_):
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    while os.getppid() == parent: time.sleep(0.01)
    time.sleep(0.2)
    open("checkpoint", "w").write("whole")
    os._exit(0)
parent = os.getppid()
signal.signal(signal.SIGTERM, save)
open("ready", "w")
while True: time.sleep(1)
"""
        (folder / "train.py").write_text(program)
        with pytest.raises(CommandError, match="took longer"):
            run(folder, f'"{sys.executable}" train.py; echo not the last command', timeout_s=1.5)
        assert (folder / "ready").exists()
        assert (folder / "checkpoint").read_text() == "whole"


class TestLeftBehind:
    def test_nothing_of_a_command_that_succeeds(self, folder: Path) -> None:
        run(folder, "sleep 1000 & echo $! > pid")
        assert not is_running(int((folder / "pid").read_text()))

    @pytest.mark.parametrize(
        "escape",
        [
            "setsid sleep 1000 & echo $! > pid",
            "set -m; sleep 1000 & echo $! > pid",  # a group of its own, as in a terminal
            "(setsid bash -c 'sleep 1000 & echo $! > pid' &); until [ -s pid ]; do sleep 0.01; done",  # twice removed
            "(env -i setsid /bin/sh -c 'echo $$ > pid; exec /bin/sleep 1000' &); until [ -s pid ]; do sleep 0.01; done",
            "(setsid nohup bash -c 'trap \"\" TERM; echo $$ > pid; sleep 1000' &); until [ -s pid ]; do sleep 0.01; done",
        ],
        ids=["session", "group", "grandchild", "without environment", "ignores SIGTERM"],
    )
    def test_nobody_who_escapes(self, escape: str, folder: Path) -> None:
        output = io.BytesIO()
        run(folder, f"{escape}; echo done", to=console(output, grace_s=0.3))
        assert not is_running(int((folder / "pid").read_text()))
        assert output.getvalue() == b"done\n"

    def test_a_daemon_may_save_too(self, folder: Path) -> None:
        daemon = "trap 'sleep 0.2; echo saved > state; exit' TERM; echo up > ready; while true; do sleep 0.02; done"
        run(folder, f'setsid bash -c "{daemon}" & until [ -s ready ]; do sleep 0.01; done')
        assert (folder / "state").read_text() == "saved\n"

    def test_no_dead_process_stays_in_the_table(self, folder: Path) -> None:
        run(folder, "for i in 1 2 3; do (setsid true &); done; (setsid sleep 1000 &)")
        assert [one for one in process_group.processes().values() if one.parent == os.getpid() and not one.is_alive] == []

    def test_the_processes_of_another_command_are_left_alone(self, folder: Path) -> None:
        other = folder / "other"
        other.mkdir()
        os.mkfifo(other / "go")
        escape = "(setsid bash -c 'echo $$ > pid; exec sleep 1000' &); until [ -s pid ]; do sleep 0.01; done"
        ready = threading.Event()
        alive: list[bool] = []
        output = Reaction(b"ready\n", ready.set)
        thread = threading.Thread(
            target=run, args=(other, f"{escape}; echo ready; read x < go"), kwargs={"to": console(output)}
        )
        thread.start()
        assert ready.wait(timeout=60)
        pid = int((other / "pid").read_text())
        run(folder, escape)
        alive.append(is_running(pid))
        (other / "go").write_text("on\n")
        thread.join(timeout=60)
        assert alive == [True]
        assert not is_running(pid)
        assert not is_running(int((folder / "pid").read_text()))


class TestEnvironment:
    def test_is_inherited_without_the_inputs_of_the_actions(self, folder: Path) -> None:
        output = io.BytesIO()
        environ = {"METRICGATE_INPUT_TOKEN": "secret", "MY_SETTING": "mine"}
        run(folder, "env", to=console(output), environ=environ)
        assert b"MY_SETTING=mine\n" in output.getvalue()
        assert b"secret" not in output.getvalue()

    def test_bash_reads_no_profile_and_nothing_from_the_keyboard(self, folder: Path) -> None:
        (folder / ".bashrc").write_text("echo profile")
        output = io.BytesIO()
        run(folder, "cat; pwd", to=console(output), environ={"HOME": str(folder)})
        assert output.getvalue().decode() == f"{folder}\n"


class TestSignals:
    @pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
    @pytest.mark.parametrize("handled", [("SIGTERM", "SIGINT", "SIGHUP"), ("SIGTERM",)], ids=["all", "SIGTERM alone"])
    def test_are_passed_on_as_sigterm_to_who_handles_that(
        self, sent: signal.Signals, handled: tuple[str, ...], folder: Path
    ) -> None:
        (folder / "train.py").write_text(
            "import signal, sys\n"
            "def save(number, _):\n    print('saved', signal.Signals(number).name); sys.exit(0)\n"
            f"for s in {handled}: signal.signal(getattr(signal, s), save)\n"
            "print('ready', flush=True)\nsignal.pause()\n"
        )
        with self.parent(folder, f'exec "{sys.executable}" train.py') as parent:
            assert parent.stdout
            assert parent.stdout.readline() == "ready\n"
            parent.send_signal(sent)
            said, _ = parent.communicate(timeout=60)
        assert said.splitlines() == ["saved SIGTERM", f"the training was stopped by {sent.name} cancelled False"]

    def test_are_passed_on_as_they_are_to_who_does_not(self, folder: Path) -> None:
        (folder / "train.py").write_text(
            "import time\nprint('ready', flush=True)\n"
            "try:\n    time.sleep(1000)\nexcept KeyboardInterrupt:\n    print('saved')\n"
        )
        with self.parent(folder, f'exec "{sys.executable}" train.py') as parent:
            assert parent.stdout
            assert parent.stdout.readline() == "ready\n"
            parent.send_signal(signal.SIGINT)
            said, _ = parent.communicate(timeout=60)
        assert said.splitlines() == ["saved", "the training was stopped by SIGINT cancelled False"]

    def test_the_second_one_ends_a_command_that_does_not_want_to(self, folder: Path) -> None:
        line = "trap 'echo no' INT; echo ready; while true; do sleep 0.05; done"
        with self.parent(folder, line) as parent:
            assert parent.stdout
            assert parent.stdout.readline() == "ready\n"
            parent.send_signal(signal.SIGINT)
            assert parent.stdout.readline() == "no\n"
            parent.send_signal(signal.SIGINT)
            said, _ = parent.communicate(timeout=60)
        assert said.splitlines()[-1] == "the training was stopped by SIGINT cancelled False"

    def parent(self, folder: Path, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, "-c", PARENT, line], cwd=folder, stdout=subprocess.PIPE, text=True)

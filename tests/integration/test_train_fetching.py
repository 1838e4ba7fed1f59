"""A data set is fetched once a machine, whole or not at all, by one job while the others wait."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from metricgate.errors import InputError, StageError
from metricgate.train import Console, digest, fetching
from metricgate.train.command import CommandError
from metricgate.train.fetching import DataSet

FETCH = 'echo once >> "$SIDE/log"; mkdir -p "$METRICGATE_DATA_DIR/images"; echo cat > "$METRICGATE_DATA_DIR/images/0"'
DEADLINE_S = 60.0


@dataclass
class Machine:
    """A checkout on a runner, where the runner keeps data sets, and a folder by which test and command speak."""

    root: Path
    place: Path
    side: Path
    progress: io.StringIO = field(default_factory=io.StringIO)

    def fetched(self, line: str = FETCH, **changed: Any) -> DataSet:
        console = Console(output=io.BytesIO(), progress=self.progress, grace_s=0.5)
        environ = {**os.environ, "SIDE": str(self.side), **changed.pop("environ", {})}
        arguments = {"environ": environ, "timeout_s": 30.0, "log": self.root / "fetch.log", **changed}
        return fetching.fetched(line, root=self.root, place=self.place, console=console, **arguments)

    @property
    def times(self) -> int:
        log = self.side / "log"
        return len(log.read_text().splitlines()) if log.exists() else 0

    @property
    def left(self) -> list[str]:
        """What lies in the place beside locks."""
        return sorted(path.name for path in self.place.iterdir() if path.suffix != ".lock")


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    root, side = tmp_path / "a checkout", tmp_path / "side"
    root.mkdir()
    side.mkdir()
    return Machine(root, tmp_path / "data sets", side)


def until(what: Any) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.01)


class TestADataSet:
    def test_is_fetched_for_the_first_training_and_found_by_the_next(self, machine: Machine) -> None:
        first, second = machine.fetched(), machine.fetched()
        assert (first.folder, first.digest) == (second.folder, second.digest)
        assert (first.folder / "images" / "0").read_text() == "cat\n"
        assert first.digest == digest.of_path(first.folder)
        assert machine.times == 1
        assert machine.left == [first.folder.parent.name]
        assert f"rm -rf {first.folder.parent}" in machine.progress.getvalue(), "how to have it fetched anew"

    def test_is_another_one_where_the_command_or_a_file_behind_it_changed(self, machine: Machine) -> None:
        (machine.root / "tools").mkdir()
        (machine.root / "tools" / "sources.py").write_text("REVISION = 1\n")
        (machine.root / "fetch.py").write_text("import os\nfrom tools import sources\n")
        line = f"python3 fetch.py; {FETCH}"
        seen = {machine.fetched(line).folder}
        (machine.root / "notes.txt").write_text("nothing that it names")
        assert machine.fetched(line).folder in seen
        (machine.root / "tools" / "sources.py").write_text("REVISION = 2\n")
        seen.add(machine.fetched(line).folder)
        seen.add(machine.fetched(f"{line}; true").folder)
        assert len(seen) == 3

    def test_can_only_be_read(self, machine: Machine) -> None:
        found = machine.fetched()
        for path in (found.folder, *found.folder.rglob("*")):
            assert not path.stat().st_mode & 0o222

    @pytest.mark.parametrize("how", ["changed", "added", "removed"])
    def test_that_was_changed_is_fetched_again(self, how: str, machine: Machine) -> None:
        found = machine.fetched()
        found.close()
        image = found.folder / "images" / "0"
        for path in (found.folder, image.parent, image):
            path.chmod(0o755)
        if how == "changed":
            image.write_text("dog\n")
        elif how == "added":
            (found.folder / "cache.bin").write_text("of a training")
        else:
            image.unlink()
        again = machine.fetched()
        assert (again.digest, machine.times) == (found.digest, 2)
        assert "no longer what was fetched" in machine.progress.getvalue()
        assert [path.name for path in again.folder.iterdir()] == ["images"]

    def test_comes_from_the_commands_own_environment(self, machine: Machine) -> None:
        environ = {"METRICGATE_INPUT_TOKEN": "ghs_secret", "REVISION": "7"}
        found = machine.fetched('env > "$METRICGATE_DATA_DIR/environment"', environ=environ)
        text = (found.folder / "environment").read_text()
        assert "REVISION=7" in text
        assert "ghs_secret" not in text

    def test_that_nobody_used_for_a_month_goes_when_another_is_fetched(self, machine: Machine) -> None:
        used, unused = machine.fetched(f"{FETCH}; : used"), machine.fetched(f"{FETCH}; : unused")
        unused.close()
        later = time.time() + fetching.UNUSED_S + 60.0
        new = machine.fetched(clock=lambda: later)
        assert machine.left == sorted({used.folder.parent.name, new.folder.parent.name}), "what a job has stays"


class TestAFailure:
    def test_leaves_nothing_but_its_log(self, machine: Machine) -> None:
        with pytest.raises(CommandError, match="fetching of the data set ended with exit code 7"):
            machine.fetched(f"{FETCH}; echo no route; exit 7")
        assert machine.left == []
        assert "no route" in (machine.root / "fetch.log").read_text()
        assert machine.fetched().folder.is_dir()

    def test_is_what_fetches_nothing(self, machine: Machine) -> None:
        with pytest.raises(StageError, match="left nothing in METRICGATE_DATA_DIR"):
            machine.fetched("true")
        assert machine.left == []

    def test_is_a_link_that_leads_out(self, machine: Machine) -> None:
        with pytest.raises(InputError, match="leads out of the folder"):
            machine.fetched('ln -s /etc/hostname "$METRICGATE_DATA_DIR/name"')
        assert machine.left == []

    def test_is_a_command_that_takes_too_long(self, machine: Machine) -> None:
        with pytest.raises(CommandError, match="took longer than"):
            machine.fetched(f"{FETCH}; exec sleep 1000", timeout_s=0.5)
        assert machine.left == []

    def test_is_a_place_that_is_none(self, machine: Machine) -> None:
        machine.place.write_text("a file")
        with pytest.raises(StageError, match="can't be kept") as caught:
            machine.fetched()
        assert "METRICGATE_STATE_DIR" in caught.value.fix


class TestSeveralJobs:
    def test_fetch_once_while_the_others_wait(self, machine: Machine) -> None:
        line = f"until test -e $SIDE/go; do sleep 0.02; done; {FETCH}"
        found: list[DataSet] = []
        threads = [threading.Thread(target=lambda: found.append(machine.fetched(line))) for _ in range(4)]
        for thread in threads:
            thread.start()
        until(lambda: machine.progress.getvalue().count("waiting for the data set") == 3)
        (machine.side / "go").touch()
        for thread in threads:
            thread.join(DEADLINE_S)
        assert (len(found), machine.times) == (4, 1)
        assert len({data.folder for data in found}) == 1
        assert f"which process {os.getpid()} has" in machine.progress.getvalue()

    def test_use_it_as_soon_as_it_is_there_and_not_when_others_no_longer_do(self, machine: Machine, tmp_path: Path) -> None:
        with replace(machine, place=tmp_path / "elsewhere").fetched() as made:
            home = made.folder.parent
        machine.place.mkdir()
        found: list[DataSet] = []
        waiting = threading.Thread(target=lambda: found.append(machine.fetched()))
        with (machine.place / f"{home.name}.lock").open("w") as held:
            fcntl.flock(held, fcntl.LOCK_SH)  # of a job that has looked, or that trains
            waiting.start()
            until(lambda: "waiting for the data set" in machine.progress.getvalue())
            home.rename(machine.place / home.name)  # what whoever fetches does in the end
            waiting.join(DEADLINE_S)
        assert [data.folder.parent.name for data in found] == [home.name]
        assert machine.times == 1

    def test_are_told_who_does_not_get_ready(self, machine: Machine) -> None:
        job = {"GITHUB_REPOSITORY": "acme/model", "GITHUB_JOB": "train", "GITHUB_RUN_ID": "7"}
        line = f"touch $SIDE/began; until test -e $SIDE/go; do sleep 0.02; done; {FETCH}"
        other = threading.Thread(target=lambda: machine.fetched(line, environ=job))
        other.start()
        until((machine.side / "began").exists)
        with pytest.raises(StageError, match=f"process {os.getpid()} of acme/model/train/7 has it"):
            machine.fetched(line, timeout_s=0.1)
        (machine.side / "go").touch()
        other.join(DEADLINE_S)

    def test_go_on_after_one_that_was_killed(self, machine: Machine) -> None:
        line = f"{FETCH}; test -e $SIDE/go || {{ echo $$ > $SIDE/began; exec sleep 1000; }}"
        program = """
            import io, os, sys
            from pathlib import Path
            from metricgate.train import Console, fetching
            root, place, line = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
            console = Console(output=io.BytesIO(), progress=io.StringIO())
            fetching.fetched(line, root=root, place=place, log=root / "log", environ=os.environ, console=console, timeout_s=60)
            """
        arguments = [sys.executable, "-c", textwrap.dedent(program), str(machine.root), str(machine.place), line]
        killed = subprocess.Popen(
            arguments, env={**os.environ, "SIDE": str(machine.side)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        until(lambda: (machine.side / "began").exists() and (machine.side / "began").read_text().endswith("\n"))
        killed.kill()
        killed.wait()
        with contextlib.suppress(ProcessLookupError):  # nobody is left to end it
            os.killpg(int((machine.side / "began").read_text()), signal.SIGKILL)
        (half,) = machine.left
        assert half.startswith(".")
        (machine.side / "go").touch()
        found = machine.fetched(line)
        assert machine.left == [found.folder.parent.name]


def test_two_kinds_of_data_have_one_fingerprint() -> None:
    assert fetching.of_both(None, None) is None
    assert fetching.of_both("sha256:a", None) == "sha256:a"
    assert fetching.of_both(None, "sha256:b") == "sha256:b"
    assert fetching.of_both("sha256:a", "sha256:b") not in {
        None,
        "sha256:a",
        "sha256:b",
        fetching.of_both("sha256:b", "sha256:a"),
    }

"""Searches of several processes in a real PostgreSQL, one of which is killed in the middle of a trial."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.postgres_server import PASSWORD, PostgresServer
from tests.tuning_scene import FIRST_HANGS, Scene, wait_for

from metricgate.errors import StageError, UsageError
from metricgate.tune.storage import Heartbeat

pytestmark = pytest.mark.postgres

VARIABLE = "METRICGATE_TUNE_STORAGE"


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresServer]:
    with PostgresServer() as server:
        yield server


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.mark.slow
def test_a_killed_process_loses_no_trial_and_those_who_begin_at_once_share_one_study(
    server: PostgresServer, scene: Scene
) -> None:
    """Both come first: they make the tables and the study at the same moment."""
    scene.configure(run=FIRST_HANGS, more="trials: 8")
    environ, heartbeat = {VARIABLE: server.database()}, Heartbeat(interval_s=1, grace_s=4)
    searchers = [scene.start(environ=environ, heartbeat=heartbeat) for _ in range(2)]
    with searchers[0], searchers[1]:
        trial = scene.await_hanging()
        killed = next(searcher for searcher in searchers if _runs(searcher.process.pid, trial))
        other = next(searcher for searcher in searchers if searcher is not killed)
        wait_for(lambda: other.told().count(": val ") >= 7, "the other one has done all but one")
        killed.send(signal.SIGKILL)
        found = other.result()
    trials = found["trials"]
    assert isinstance(trials, list)
    assert [each["state"] for each in trials] == ["complete"] * 8
    assert len({each["values"]["x"] for each in trials}) == 8
    assert found["lost"] == 1
    assert "done again" in other.told()


def test_a_study_goes_on_from_another_machine_and_its_report_has_no_password(server: PostgresServer, scene: Scene) -> None:
    environ = {VARIABLE: server.database()}
    scene.tune(trials=3, environ=environ)
    done = scene.tune(trials=5, environ=environ)
    assert len(done.tuning.trials) == 5
    told = scene.told.getvalue() + "".join(file.read_text() for file in done.folder.glob("tuning.*"))
    assert done.tuning.storage == "postgresql"
    assert PASSWORD not in told


def test_a_database_that_is_not_there_is_named_without_the_password(server: PostgresServer, scene: Scene) -> None:
    missing = server.database().replace("/tuning", "/nothing")
    with pytest.raises(StageError, match=r"does not exist") as told:
        scene.tune(trials=1, environ={VARIABLE: missing})
    assert PASSWORD not in str(told.value)
    assert told.value.__cause__ is None


def test_a_database_of_another_kind_needs_its_driver(scene: Scene) -> None:
    with pytest.raises(UsageError, match=r"is not installed|no address"):
        scene.tune(trials=1, storage="oracle://db/tuning")


def _runs(searcher: int, trial: int) -> bool:
    """Whether a trial is a child of a process, however far down."""
    process = trial
    while process > 1:
        if process == searcher:
            return True
        process = int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    return False

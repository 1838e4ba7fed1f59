"""A job that is followed: what engines do wrong, what is handed over again, and what a runner that comes back finds."""

from __future__ import annotations

import json
import math
import os
import shutil
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests import launcher_scene, local_engine
from tests.launcher_scene import Shown, train
from tests.local_engine import LocalEngine

from metricgate.errors import InputError, StageError
from metricgate.train.command import CommandError, Usage
from metricgate.train.launchers import submissions
from metricgate.train.launchers.job import Job, State, TaskState
from metricgate.train.launchers.submissions import Round, Submission


@pytest.fixture
def engine() -> Iterator[LocalEngine]:
    with local_engine.started() as engine:
        yield engine


def failed(outcome: Usage | CommandError) -> CommandError:
    assert isinstance(outcome, CommandError), outcome
    return outcome


def left_by_a_runner_that_died(job: Job, engine: LocalEngine, *, job_id: str = "") -> Submission:
    """What is on the disk when metricgate was killed: before the engine had the job, or after."""
    first = Submission(1, tuple(task.seed for task in job.tasks))
    inner = first.of(job)
    if job_id:
        inner.prepare()
        assert engine.submit(inner) == job_id
    submissions.write(job.folder, Round("Local", submissions.digest(job), (replace(first, job_id=job_id),)))
    return first


def test_what_happens_is_said_in_a_line_each(engine: LocalEngine, tmp_path: Path) -> None:
    shown = Shown()
    job = launcher_scene.job(tmp_path, 'echo \'{"step": 3, "steps": 9, "loss": 0.5}\' > "$METRICGATE_PROGRESS"; sleep 1.5')
    usage = train(job, engine, shown)[0]
    assert isinstance(usage, Usage)
    assert usage.wall_s > 1.5
    for line in (
        "metricgate: training of seed 0 is handed over: Local job 1\n",
        "metricgate: training of seed 0 runs here\n",
        "s of at most 2m 00s, step 3/9, loss 0.5\n",
        "metricgate: training of seed 0 has ended well, after ",
    ):
        assert line in shown.text


def test_an_engine_that_is_away_for_a_while_is_waited_for(engine: LocalEngine, tmp_path: Path) -> None:
    engine.away = 2
    shown = Shown()
    job = launcher_scene.job(tmp_path, "echo trained")
    assert isinstance(train(job, engine, shown)[0], Usage)
    assert shown.text.count("Local does not answer (connection refused)") == 1
    assert "metricgate: Local answers again\n" in shown.text


def test_an_engine_that_stays_away_is_an_error_before_anything_runs(engine: LocalEngine, tmp_path: Path) -> None:
    engine.away = 10**9
    job = launcher_scene.job(tmp_path, "true")
    shown = Shown().when("does not answer", lambda: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(StageError, match="connection refused"):
        train(job, engine, shown)
    engine.away = 0
    assert isinstance(train(job, engine)[0], Usage)
    assert len(engine.submitted) == 1


def test_only_what_a_retry_can_help_is_handed_over_again_and_only_those_seeds(engine: LocalEngine, tmp_path: Path) -> None:
    line = """
    case $METRICGATE_SEED in
    1) exit 3;;
    2) cd "$METRICGATE_CHECKPOINT_DIR"; [ -e begun ] || { touch begun; kill -SEGV $$; };;
    esac
    """
    job = launcher_scene.job(tmp_path, line, seeds=(0, 1, 2))
    outcomes = train(job, engine, retries=2)
    assert isinstance(outcomes[0], Usage)
    assert "exit code 3" in str(failed(outcomes[1]))
    assert isinstance(outcomes[2], Usage)
    last = submissions.read(job.folder)
    assert last is not None
    assert [one.seeds for one in last.submissions] == [(0, 1, 2), (2,)]


def test_an_engine_that_calls_done_what_left_nothing_is_not_believed(engine: LocalEngine, tmp_path: Path) -> None:
    engine.runs = False
    engine.says["1", 0] = TaskState(State.DONE, "ended well")
    error = failed(train(launcher_scene.job(tmp_path, "true"), engine)[0])
    assert error.kind == "not_shared"
    assert "though Local says that it ended well" in str(error)


def test_a_job_that_is_gone_without_a_word_may_be_tried_again(engine: LocalEngine, tmp_path: Path) -> None:
    engine.runs = False
    error = failed(train(launcher_scene.job(tmp_path, "true"), engine)[0])
    assert (error.kind, error.retryable) == ("node_failure", True)
    assert "Local says that it is not known to it" in str(error)


def test_results_decide_even_where_the_engine_says_lost(engine: LocalEngine, tmp_path: Path) -> None:
    engine.says["1", 0] = TaskState(State.LOST, "lost its node", "node_failure")
    assert isinstance(train(launcher_scene.job(tmp_path, "echo trained"), engine)[0], Usage)


def test_what_was_written_down_but_never_handed_over_is_handed_over(engine: LocalEngine, tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "echo trained")
    left_by_a_runner_that_died(job, engine)
    assert isinstance(train(job, engine)[0], Usage)
    assert len(engine.submitted) == 1


def test_a_job_that_ended_while_nobody_looked_is_read_from_its_files(engine: LocalEngine, tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "echo trained")
    left_by_a_runner_that_died(job, engine, job_id="1")
    shown = Shown()
    assert isinstance(train(job, engine, shown)[0], Usage)
    assert "follows Local job 1 again, which an earlier call has handed over" in shown.text
    assert "trained\n" in shown.text
    assert len(engine.submitted) == 1


def test_an_unfinished_job_that_does_something_else_is_ended_first(engine: LocalEngine, tmp_path: Path) -> None:
    old = launcher_scene.job(tmp_path, "sleep 300")
    left_by_a_runner_that_died(old, engine, job_id="1")
    new = replace(old, line="echo trained")
    shown = Shown()
    assert isinstance(train(new, engine, shown)[0], Usage)
    assert engine.cancelled == [("1", False)]
    assert "waits until Local job 1 of an earlier call has ended, which is cancelled" in shown.text
    assert len(engine.submitted) == 2


def test_what_was_cancelled_and_still_saves_is_waited_for(engine: LocalEngine, tmp_path: Path) -> None:
    line = 'trap "sleep 1; echo saved; exit 0" TERM; echo started; while :; do sleep 0.1 || :; done'
    job = launcher_scene.job(tmp_path, line)
    shown = Shown().when("started\n", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert failed(train(job, engine, shown)[0]).kind == "cancelled"
    assert "saved\n" in shown.text
    again = Shown().when("Local job 2", lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert failed(train(job, engine, again)[0]).kind == "cancelled"
    assert len(engine.submitted) == 2


def test_whoever_asks_twice_does_not_want_to_wait(engine: LocalEngine, tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "trap '' TERM; echo started; while :; do sleep 0.1; done", grace_s=60.0)
    shown = Shown().when("started\n", lambda: os.kill(os.getpid(), signal.SIGINT))
    shown.when("is cancelled, and has", lambda: os.kill(os.getpid(), signal.SIGINT))
    assert failed(train(job, engine, shown)[0]).kind == "cancelled"
    assert engine.cancelled == [("1", False), ("1", True)]


def test_a_broken_record_of_what_was_handed_over_is_no_reason_to_hand_over_again(engine: LocalEngine, tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "true")
    job.folder.mkdir()
    (job.folder / submissions.FILE).write_text('{"schema": "metricgate.submitted/1"')
    with pytest.raises(InputError, match="does not say what was handed over"):
        train(job, engine)
    assert not engine.submitted


def test_what_a_training_writes_over_its_result_is_no_result(engine: LocalEngine, tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "true")
    engine.runs = False
    engine.says["1", 0] = TaskState(State.FAILED, "failed", "exit")
    (job.folder / "1").mkdir(parents=True)
    whole = {"node": 0, "host": "n", "status": 0, "reason": "", "detail": "", "ended": 1.0, "wall_s": 1.0, "cpu_s": 1.0}
    whole |= {"peak_memory_bytes": 1, "kills": {"group": 0, "machine": 0}, "attempt": 1, "gpu": []}
    gpus: list[object] = [None, 3, [3], [[3]], [{}], [{"gpu_s": math.nan}], [{"gpu_s": 1, "energy_wh": 1e300}]]
    changed: list[dict[str, object]] = [{"wall_s": math.nan}, {"cpu_s": -1}, {"peak_memory_bytes": math.inf}]
    changed += [{"gpu": gpu} for gpu in gpus]
    for content in ("[]", "{}", '{"status": "x"}', "{", *(json.dumps({**whole, **each}) for each in changed)):
        (job.folder / "1" / "0-0.result.json").write_text(content)
        submissions.write(job.folder, Round("Local", submissions.digest(job), (Submission(1, (0,), job_id="1"),)))
        assert failed(train(job, engine)[0]).kind == "not_shared"


def test_a_job_of_long_ago_that_the_engine_remembers_is_another_one(engine: LocalEngine, tmp_path: Path) -> None:
    job = launcher_scene.job(tmp_path, "echo trained")
    assert isinstance(train(job, engine)[0], Usage)
    shutil.rmtree(job.folder)
    assert isinstance(train(job, engine)[0], Usage)
    assert len(set(engine.submitted)) == 2

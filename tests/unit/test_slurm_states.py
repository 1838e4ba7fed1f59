"""What squeue and sacct say, and what people are told of it."""

from __future__ import annotations

import pytest

from metricgate.errors import ConfigError
from metricgate.train.launchers import slurm_states
from metricgate.train.launchers.job import State
from metricgate.train.launchers.slurm import SlurmJobs
from metricgate.train.launchers.slurm_states import Row
from metricgate.train_config import Slurm


def test_each_task_of_an_array_has_its_row_and_a_single_one_is_the_first() -> None:
    rows = slurm_states.rows("12|0|13|RUNNING|gpu|4000|n1|digits|None\n12|1|12|PENDING|gpu|3999||digits|Priority\n")
    assert rows[0] == Row("RUNNING", "gpu", "n1", "None", 4000, 13, 12, "digits")
    assert rows[1] == Row("PENDING", "gpu", "", "Priority", 3999, 12, 12, "digits")
    assert list(slurm_states.rows("7|N/A|7|FAILED|gpu|1|n1|digits|NonZeroExitCode")) == [0]


def test_a_reason_may_hold_a_bar_and_what_is_no_row_is_left_out() -> None:
    assert slurm_states.rows("7|N/A|7|PENDING|gpu|1||digits|ReqNodeNotAvail, Unavailable:n1|n2\nCLUSTER: a\n")[
        0
    ].reason.endswith("n1|n2")


def test_accounting_knows_what_the_queue_has_forgotten() -> None:
    rows = slurm_states.accounted(
        "12_0|COMPLETED|gpu|n1|digits\n12_1|CANCELLED by 1000|gpu|None assigned|digits\n12.batch|FAILED||n1|batch\n"
    )
    assert rows == {
        0: Row("COMPLETED", "gpu", "n1", array=12, name="digits"),
        1: Row("CANCELLED", "gpu", "", array=12, name="digits"),
    }


def test_only_what_comes_before_is_counted_and_not_the_other_seeds() -> None:
    row = Row("PENDING", "gpu", reason="Priority", priority=50, number=20, array=20)
    assert slurm_states.before("90|5|5\n50|7|7\n50|21|20\n50|30|30\n10|1|1\n", row) == 2
    said = slurm_states.of(row, before=2)
    assert (said.state, said.why) == (State.WAITING, "waits in the queue of partition gpu, 2 before it")
    assert slurm_states.of(row, before=0).why == "waits in the queue of partition gpu"


@pytest.mark.parametrize(
    ("row", "state", "kind", "why"),
    [
        (Row("NODE_FAIL", nodes="n1"), State.LOST, "node_failure", "lost its node n1 (Slurm: NODE_FAIL)"),
        (Row("OUT_OF_MEMORY", nodes="n1"), State.LOST, "host_memory", "ran out of memory on n1 (Slurm: OUT_OF_MEMORY)"),
        (Row("TIMEOUT"), State.LOST, "timeout", "took longer than Slurm's time limit (Slurm: TIMEOUT)"),
        (Row("PREEMPTED"), State.LOST, "preempted", "was preempted and not queued again (Slurm: PREEMPTED)"),
        (Row("CANCELLED"), State.LOST, "cancelled", "was cancelled in Slurm, not by metricgate (Slurm: CANCELLED)"),
        (Row("FAILED", reason="JobLaunchFailure"), State.FAILED, "exit", "failed (Slurm: FAILED, JobLaunchFailure)"),
        (Row("COMPLETED"), State.DONE, "", "ended well"),
        (Row("RUNNING", nodes="n[1-2]"), State.RUNNING, "", "runs on n[1-2]"),
        (Row("COMPLETING"), State.RUNNING, "", "is ending"),
        (Row("CONFIGURING"), State.WAITING, "", "waits for its nodes to boot"),
        (Row("REQUEUE_HOLD"), State.WAITING, "", "was taken off its node, to start again (Slurm: REQUEUE_HOLD)"),
        (
            Row("PENDING", "gpu", reason="QOSMaxGRESPerUser"),
            State.WAITING,
            "",
            "waits for a limit of its account or quality of service (QOSMaxGRESPerUser)",
        ),
        (Row("PENDING", "gpu", reason="Licenses"), State.WAITING, "", "waits (Licenses)"),
    ],
)
def test_states_are_told_in_plain_words(row: Row, state: State, kind: str, why: str) -> None:
    said = slurm_states.of(row)
    assert (said.state, said.kind, said.why) == (state, kind, why)
    assert bool(said.advice) == (state is State.LOST)


@pytest.mark.parametrize(
    ("option", "fix"),
    [
        ("--array=0-9", "train.seeds"),
        ("--arr=0-9", "train.seeds"),
        ("--output=/dev/null", "leave it out"),
        ("--wrap=true", "leave it out"),
        ("--job-name=x", "leave it out"),
        ("--part=gpu", "train.slurm.partition"),
        ("--time=1", "train.timeout"),
        ("--no-requeue", "train.slurm.requeue"),
        ("--gpus=2", "train.gpus"),
    ],
)
def test_options_that_are_not_the_users_to_give_are_refused_however_short(option: str, fix: str) -> None:
    with pytest.raises(ConfigError, match=fix):
        SlurmJobs(Slurm(options=(option,)), environ={})


def test_other_options_are_taken() -> None:
    SlurmJobs(Slurm(options=("--mem=64G", "--gres=gpu:a100:2", "--exclusive", "--constraint=a|b", "--export=ALL")), environ={})

"""Trainings through a real Slurm of two nodes: followed, cancelled, found again, requeued, lost, and over both nodes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests import launcher_scene, slurm_cluster
from tests.launcher_scene import Runner, Shown, train
from tests.slurm_cluster import NODES, Cluster

from metricgate.errors import ConfigError, StageError
from metricgate.train.command import CommandError, Usage
from metricgate.train.launchers import cluster as clusters
from metricgate.train.launchers.job import Job, State
from metricgate.train.launchers.slurm import SlurmJobs
from metricgate.train_config import Slurm

pytestmark = [pytest.mark.slurm, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with slurm_cluster.started() as cluster:
        yield cluster


@pytest.fixture
def slurm(cluster: Cluster) -> SlurmJobs:
    return SlurmJobs(Slurm(), environ=cluster.environ)


def handed_over(cluster: Cluster, work: Job) -> int:
    """How many jobs Slurm got for this work."""
    return sum(name.startswith(f"{work.key}-") for name in cluster.jobs())


def failed(outcome: Usage | CommandError) -> CommandError:
    assert isinstance(outcome, CommandError)
    return outcome


def test_seeds_are_one_array_and_each_has_its_output_its_result_and_its_failure(
    cluster: Cluster, slurm: SlurmJobs, tmp_path: Path
) -> None:
    shown = Shown()
    line = 'echo "trains $METRICGATE_SEED in $PWD"; echo model > "$METRICGATE_MODEL"; [ $METRICGATE_SEED != 7 ] || exit 3'
    work = launcher_scene.job(tmp_path, line, seeds=(5, 7, 11))
    outcomes = train(work, slurm, shown)
    assert isinstance(outcomes[5], Usage)
    assert isinstance(outcomes[11], Usage)
    assert outcomes[5].peak_memory_bytes > 1_000_000
    error = failed(outcomes[7])
    assert "the training of seed 7 ended with exit code 3" in str(error)
    assert error.last_lines == (f"trains 7 in {work.cwd}",)
    assert not error.retryable
    assert handed_over(cluster, work) == 1
    assert f"seed 5 | trains 5 in {work.cwd}\n" in shown.text
    assert "metricgate: training of seeds 5, 7, 11 is handed over: Slurm job " in shown.text
    assert (tmp_path / "models" / "11").read_text() == "model\n"


def test_the_environment_of_the_node_is_its_own(cluster: Cluster, tmp_path: Path) -> None:
    environ = {**cluster.environ, "METRICGATE_INPUT_TOKEN": "secret", "GITHUB_TOKEN": "secret", "SLURM_PROCID": "9"}
    work = launcher_scene.job(tmp_path, 'env > "$METRICGATE_MODEL"')
    assert isinstance(train(work, SlurmJobs(Slurm(), environ=environ))[0], Usage)
    variables = (tmp_path / "models" / "0").read_text()
    assert "secret" not in variables
    assert "METRICGATE_SEED=0\n" in variables
    assert "TF_CONFIG" not in variables
    assert "SLURM_PROCID=0\n" in variables


SAVES = """
trap 'echo saved > "$METRICGATE_CHECKPOINT_DIR/step"; echo saved; exit 0' TERM
echo started
while :; do sleep 0.1 || :; done
"""


def test_a_cancel_reaches_the_training_once_and_gives_it_time_to_save(
    cluster: Cluster, slurm: SlurmJobs, tmp_path: Path
) -> None:
    shown = Shown().when("started", lambda: os.kill(os.getpid(), signal.SIGINT))
    count = textwrap.dedent("""
        import os, pathlib, signal, sys, time
        got = []
        signal.signal(signal.SIGTERM, lambda *_: got.append(1))
        print("started", flush=True)
        while not got:
            time.sleep(0.05)
        time.sleep(1.5)
        print(f"told {len(got)} times", flush=True)
    """)
    work = launcher_scene.job(tmp_path, f"python3 -c {shlex.quote(count)}")
    error = failed(train(work, slurm, shown)[0])
    assert (error.kind, error.retryable) == ("cancelled", False)
    assert "was stopped by SIGINT" in str(error)
    assert "told 1 times" in shown.text
    assert not cluster.run("squeue", "--noheader")


def test_what_waits_is_taken_off_the_queue_and_why_it_waits_is_said(cluster: Cluster, tmp_path: Path) -> None:
    shown = Shown().when("waits for partition closed, which is down", lambda: os.kill(os.getpid(), signal.SIGTERM))
    work = launcher_scene.job(tmp_path, "true", seeds=(0, 1))
    outcomes = train(work, SlurmJobs(Slurm(partition="closed"), environ=cluster.environ), shown)
    assert [failed(outcome).kind for outcome in outcomes.values()] == ["cancelled", "cancelled"]
    assert "metricgate: training of seeds 0, 1 waits for partition closed, which is down\n" in shown.text
    assert not cluster.run("squeue", "--noheader")


def test_what_can_never_start_is_said_to(slurm: SlurmJobs, tmp_path: Path) -> None:
    said = "training of seed 0 cannot start: partition main has not what it asks for: ask for less"
    shown = Shown().when(said, lambda: os.kill(os.getpid(), signal.SIGTERM))
    assert failed(train(launcher_scene.job(tmp_path, "true", nodes=3), slurm, shown)[0]).kind == "cancelled"


def test_a_runner_that_was_killed_finds_its_job_again_and_hands_nothing_over_twice(
    cluster: Cluster, slurm: SlurmJobs, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    line = f"echo started; until [ -e {go} ]; do sleep 0.1; done; echo done; rm {go}"
    work = launcher_scene.job(tmp_path, line)
    code = f"""
from pathlib import Path
from metricgate.train.launchers.slurm import SlurmJobs
from metricgate.train_config import Slurm
from tests import launcher_scene
import os, sys
shown = launcher_scene.Shown()
shown.when("started", lambda: print("it has started", flush=True))
work = launcher_scene.job(Path({str(tmp_path)!r}), {line!r})
launcher_scene.train(work, SlurmJobs(Slurm(), environ={dict(cluster.environ)!r}), shown)
"""
    runner = Runner(code, tmp_path / "runner.out")
    runner.wait_until("it has started")
    runner.kill()
    shown = Shown().when("started\n", go.touch)
    assert isinstance(train(work, slurm, shown)[0], Usage)
    assert "again, which an earlier call has handed over" in shown.text
    assert "started\ndone\n" in shown.text.replace("metricgate: training of seed 0 runs on 127.0.0.11\n", "")
    assert handed_over(cluster, work) == 1
    go.touch()
    assert isinstance(train(work, slurm)[0], Usage)  # what has ended is no reason not to train again
    assert handed_over(cluster, work) == 2


def test_a_crash_between_handing_over_and_writing_it_down_does_not_hand_over_again(
    cluster: Cluster, slurm: SlurmJobs, tmp_path: Path
) -> None:
    work = launcher_scene.job(tmp_path, "echo trained")

    class CrashError(Exception):
        pass

    class Dies(SlurmJobs):
        def submit(self, job: Job) -> str:
            super().submit(job)
            raise CrashError

    with pytest.raises(CrashError):
        train(work, Dies(Slurm(), environ=cluster.environ))
    assert isinstance(train(work, slurm)[0], Usage)
    assert handed_over(cluster, work) == 1


RESUMES = """
trap 'echo saved > "$METRICGATE_CHECKPOINT_DIR/step"; exit 0' TERM
if [ -e "$METRICGATE_CHECKPOINT_DIR/step" ]; then echo "goes on after $(cat "$METRICGATE_CHECKPOINT_DIR/step")"; exit 0; fi
echo started
while :; do sleep 0.1 || :; done
"""


def test_a_job_that_another_one_pushes_off_its_node_is_queued_again_and_goes_on(cluster: Cluster, tmp_path: Path) -> None:
    def push() -> None:
        cluster.run(
            "sbatch", "--partition=urgent", "--nodes=2", "--exclusive", "--export=NIL", "--output=/dev/null", "--wrap=sleep 1"
        )

    shown = Shown().when("started\n", push)
    slurm = SlurmJobs(Slurm(options=("--exclusive",)), environ=cluster.environ)
    outcome = train(launcher_scene.job(tmp_path, RESUMES), slurm, shown)[0]
    assert isinstance(outcome, Usage), outcome
    assert "goes on after saved" in shown.text
    assert "[metricgate: attempt 2, on " in shown.text
    assert "waits a moment, as Slurm wants it before it starts a job again" in shown.text


def test_a_job_that_somebody_cancels_in_slurm_is_told_so(cluster: Cluster, slurm: SlurmJobs, tmp_path: Path) -> None:
    shown = Shown().when("started\n", lambda: cluster.run("scancel", "--me"))
    error = failed(train(launcher_scene.job(tmp_path, SAVES), slurm, shown)[0])
    assert "was cancelled in Slurm, not by metricgate" in str(error)
    assert (error.kind, error.retryable) == ("cancelled", False)
    assert "saved\n" in shown.text


def test_a_node_that_dies_is_said_and_a_retry_on_another_helps(cluster: Cluster, tmp_path: Path) -> None:
    line = 'echo "attempt: started"; cd "$METRICGATE_CHECKPOINT_DIR"; [ -e begun ] || { touch begun; sleep 100; }'

    def kill() -> None:
        cluster.kill(NODES[0])
        cluster.run("scontrol", "update", f"nodename={NODES[0]}", "state=down", "reason=test")

    shown = Shown().when("started\n", kill)
    work = launcher_scene.job(tmp_path, line)
    try:
        outcome = train(work, SlurmJobs(Slurm(requeue=False), environ=cluster.environ), shown, retries=1)[0]
        assert isinstance(outcome, Usage), outcome
        assert f"the training of seed 0 lost its node {NODES[0]} (Slurm: NODE_FAIL)" in shown.text
        assert "training of seed 0 starts again in 0.1s (retry 1 of 1, METRICGATE_CHECKPOINT_DIR is kept)" in shown.text
        assert handed_over(cluster, work) == 2
    finally:
        cluster.start(NODES[0])  # whatever it was down for: with ReturnToService=2 it comes back when it has registered
        cluster.wait_until("idle", "sinfo", "--noheader", f"--nodes={NODES[0]}", "--format=%T")


def test_the_controller_may_be_away_while_a_training_runs(cluster: Cluster, slurm: SlurmJobs, tmp_path: Path) -> None:
    go = tmp_path / "go"
    shown = Shown().when("started\n", lambda: cluster.kill("slurmctld")).when("Slurm does not answer", go.touch)
    work = launcher_scene.job(tmp_path, f"echo started; until [ -e {go} ]; do sleep 0.1; done")
    try:
        assert isinstance(train(work, slurm, shown)[0], Usage)
        assert "what it runs goes on, and it is asked again" in shown.text
    finally:
        cluster.start("slurmctld")
        cluster.wait_until("PARTITION", "sinfo")


def test_a_training_that_takes_too_long_is_ended_by_its_node(slurm: SlurmJobs, tmp_path: Path) -> None:
    shown = Shown()
    error = failed(train(launcher_scene.job(tmp_path, SAVES, timeout_s=2.0), slurm, shown)[0])
    assert "the training of seed 0 took longer than 2s" in str(error)
    assert error.kind == "timeout"
    assert "saved\n" in shown.text


def test_a_folder_that_the_nodes_do_not_see_is_no_riddle(cluster: Cluster, tmp_path: Path) -> None:
    work = launcher_scene.job(tmp_path, "true")

    class ElsewhereMounted(SlurmJobs):
        def submit(self, job: Job) -> str:
            number = super().submit(job)
            (job.folder / "worker.py").unlink()  # what a node without the file system would not see either
            return number

    error = failed(train(work, ElsewhereMounted(Slurm(), environ=cluster.environ))[0])
    assert error.kind == "not_shared"
    assert "the file system is not shared between the runner and the nodes" in str(error)
    assert "can't open file" in str(error)


def test_what_slurm_does_not_take_names_the_line_to_change(cluster: Cluster, tmp_path: Path) -> None:
    work = launcher_scene.job(tmp_path, "true")
    with pytest.raises(ConfigError, match=r"(?s)invalid partition.*train\.slurm\.partition"):
        train(work, SlurmJobs(Slurm(partition="gpus"), environ=cluster.environ))
    with pytest.raises(ConfigError, match=r"(?s)generic resource.*train\.gpus: 0"):
        train(replace(work, gpus=1), SlurmJobs(Slurm(), environ=cluster.environ))
    with pytest.raises(StageError, match=r"(?s)there is no squeue.*slurm-client"):
        train(work, SlurmJobs(Slurm(), environ={"PATH": str(tmp_path)}))


def test_a_job_that_slurm_has_forgotten_is_gone(slurm: SlurmJobs, tmp_path: Path) -> None:
    work = launcher_scene.job(tmp_path, "true")
    assert slurm.states("999999", work)[0].state is State.GONE
    assert slurm.find(work) is None


WORKERS = """
import json, os
import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
rank, steps = int(os.environ["RANK"]), 5
random = np.random.default_rng(7)
x = random.normal(size=(64, 4)).astype("float32")
y = x @ np.array([1.0, -2.0, 0.5, 3.0], "float32")
with strategy.scope():
    weights = tf.Variable(tf.zeros([4]), aggregation=tf.VariableAggregation.SUM)

@tf.function
def step(x, y):
    def of_worker(x, y):
        error = tf.linalg.matvec(x, weights) - y
        weights.assign_sub(0.1 * tf.linalg.matvec(x, error, transpose_a=True) / 64.0)  # summed over the workers
        return tf.shape(x)[0]
    return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(of_worker, args=(x, y)), axis=None)

seen = [int(step(tf.constant(x[rank::2]), tf.constant(y[rank::2]))) for _ in range(steps)]
found = {"weights": weights.numpy().tolist(), "examples": sum(seen), "workers": strategy.num_replicas_in_sync}
open(os.environ["METRICGATE_MODEL"], "w").write(json.dumps(found))
print("worker", rank, "has ended", flush=True)
"""


def test_two_nodes_train_one_model_together(slurm: SlurmJobs, tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(WORKERS)
    work = launcher_scene.job(tmp_path, shlex.join([sys.executable, str(script)]), nodes=2)
    outcome = train(work, slurm)[0]
    assert isinstance(outcome, Usage), outcome
    first, second = (
        json.loads(path.read_text()) for path in (tmp_path / "models/0", work.folder / "1/scratch/0-1/metricgate_model/0")
    )
    assert first == second  # to the last bit
    assert (first["workers"], first["examples"]) == (2, 5 * 64)
    random = np.random.default_rng(7)
    x = random.normal(size=(64, 4)).astype("float32")
    y = x @ np.array([1.0, -2.0, 0.5, 3.0], "float32")
    alone = np.zeros(4)
    for _ in range(5):
        alone -= 0.1 * x.T @ (x @ alone - y) / 64
    np.testing.assert_allclose(first["weights"], alone, rtol=1e-4)
    assert "worker 1 has ended" in work.log(0, node=1).read_text()


def test_when_one_node_fails_the_other_does_not_wait_for_it(slurm: SlurmJobs, tmp_path: Path) -> None:
    work = launcher_scene.job(tmp_path, '[ $NODE_RANK = 0 ] || { echo "no data here"; exit 4; }; sleep 100', nodes=2)
    error = failed(train(work, slurm)[0])
    assert f"the training of seed 0 ended with exit code 4 on node 1 ({NODES[1]})" in str(error)
    assert error.last_lines == ("no data here",)


def test_host_lists_are_read_as_scontrol_reads_them(cluster: Cluster) -> None:
    for listed in ("n1", "n[1-2,07],x", "rack[0-1]n[01-03]", "127.0.0.[11-12]", "a[9-11]", "n[008-011,3],b2", "n[1-2]x[3]"):
        assert list(clusters.hostnames(listed)) == cluster.run("scontrol", "show", "hostnames", listed).split()


RANGES = st.lists(st.tuples(st.integers(0, 120), st.integers(0, 4), st.integers(1, 4)), min_size=1, max_size=3)
PARTS = st.tuples(st.from_regex(r"[a-z]{1,4}-?", fullmatch=True), RANGES)


@given(
    st.lists(st.lists(st.tuples(st.from_regex(r"[a-z]{1,4}-?", fullmatch=True), RANGES), min_size=1, max_size=2), max_size=3)
)
@settings(max_examples=25)
def test_any_host_list_is_read_as_scontrol_reads_it(
    cluster: Cluster, names: list[list[tuple[str, list[tuple[int, int, int]]]]]
) -> None:
    def written(head: str, ranges: list[tuple[int, int, int]]) -> str:
        return f"{head}[{','.join(f'{first:0{width}d}-{first + more:0{width}d}' for first, more, width in ranges)}]"

    listed = ",".join(["login", *("".join(written(head, ranges) for head, ranges in name) for name in names)])
    assert list(clusters.hostnames(listed)) == cluster.run("scontrol", "show", "hostnames", listed).split()

"""Trainings through a real Ray: followed, cancelled, found again, lost with their node, and over two nodes."""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import http_servers, launcher_scene, ray_cluster
from tests.launcher_scene import Runner, Shown, train
from tests.ray_cluster import Cluster

from metricgate.errors import StageError
from metricgate.train.command import CommandError, Usage
from metricgate.train.launchers.job import EngineUnreachableError, State
from metricgate.train.launchers.ray import RayJobs
from metricgate.train_config import RayCluster

NOTHING = "http://127.0.0.1:9"
TOKEN = {"RAY_AUTH_TOKEN": ray_cluster.TOKEN}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with ray_cluster.started(cpus=2) as cluster:
        yield cluster


@pytest.fixture
def ray(cluster: Cluster) -> RayJobs:
    return RayJobs(RayCluster(address=cluster.address), environ=TOKEN)


def failed(outcome: Usage | CommandError) -> CommandError:
    assert isinstance(outcome, CommandError)
    return outcome


@pytest.mark.ray
@pytest.mark.slow
class TestOneNode:
    def test_each_seed_is_a_job_and_has_its_output_its_result_and_its_failure(self, ray: RayJobs, tmp_path: Path) -> None:
        line = 'echo "this is seed $METRICGATE_SEED"; [ "$METRICGATE_SEED" = 3 ] || exit 7'
        shown = Shown()
        work = launcher_scene.job(tmp_path, line, seeds=(3, 5))
        found = train(work, ray, shown)
        assert isinstance(found[3], Usage)
        assert "ended with exit code 7" in str(failed(found[5]))
        assert failed(found[5]).last_lines == ("this is seed 5",)
        assert "this is seed 3" in shown.text

    def test_a_cancel_reaches_the_training_once_and_gives_it_time_to_save(self, ray: RayJobs, tmp_path: Path) -> None:
        script = tmp_path / "train.py"
        script.write_text(
            textwrap.dedent("""
            import signal, time
            told = []
            signal.signal(signal.SIGTERM, lambda *_: told.append(time.monotonic()))
            print("begun", flush=True)
            while not told or time.monotonic() < told[0] + 1.0:
                time.sleep(0.02)
            print("told", len(told), "and saved", flush=True)
            """)
        )
        shown = Shown().when("begun", lambda: os.kill(os.getpid(), signal.SIGTERM))
        work = launcher_scene.job(tmp_path, f"exec {shlex.join([sys.executable, str(script)])}", grace_s=10)
        error = failed(train(work, ray, shown)[0])
        assert error.kind == "cancelled"
        assert "told 1 and saved" in work.log(0).read_text()

    def test_a_runner_that_was_killed_finds_its_job_again_and_hands_nothing_over_twice(
        self, cluster: Cluster, ray: RayJobs, tmp_path: Path
    ) -> None:
        line = f"echo begun; echo x >> {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo ended"
        code = f"""
from pathlib import Path
from tests import launcher_scene
from metricgate.train.launchers.ray import RayJobs
from metricgate.train_config import RayCluster
work = launcher_scene.job(Path({str(tmp_path)!r}), {line!r})
shown = launcher_scene.Shown().when("begun", lambda: print("seen", flush=True))
launcher_scene.train(work, RayJobs(RayCluster(address={cluster.address!r}), environ={TOKEN!r}), shown)
"""
        runner = Runner(code, tmp_path / "runner.out")
        runner.wait_until("seen")
        runner.kill()
        shown = Shown().when("begun", (tmp_path / "go").touch)
        outcome = train(launcher_scene.job(tmp_path, line), ray, shown)[0]
        assert isinstance(outcome, Usage), outcome
        assert (tmp_path / "begun").read_text() == "x\n"
        assert "ended" in shown.text

    def test_what_no_node_has_room_for_waits_says_so_and_can_be_cancelled(self, cluster: Cluster, tmp_path: Path) -> None:
        large = RayJobs(RayCluster(address=cluster.address, cpus=64), environ=TOKEN)
        shown = Shown().when("waits for free processors or GPUs of the cluster", lambda: os.kill(os.getpid(), signal.SIGTERM))
        work = launcher_scene.job(tmp_path, "true")
        assert failed(train(work, large, shown)[0]).kind == "cancelled"
        assert not (work.folder / "1/worker.py").exists(), "Ray keeps the job, and would start it"

    def test_a_job_that_somebody_stops_in_ray_is_told_so(self, cluster: Cluster, ray: RayJobs, tmp_path: Path) -> None:
        def stop() -> None:
            [name] = [job["submission_id"] for job in cluster.ask("GET", "/api/jobs/") if job["status"] == "RUNNING"]
            cluster.ask("POST", f"/api/jobs/{name}/stop")

        work = launcher_scene.job(tmp_path, "echo begun; sleep 100")
        error = failed(train(work, ray, Shown().when("begun", stop))[0])
        assert "was stopped through Ray" in str(error)


WORKERS = """
import json, os
import numpy as np
import tensorflow as tf

strategy = tf.distribute.MultiWorkerMirroredStrategy()
rank = int(os.environ["RANK"])
x = np.arange(8, dtype="float32").reshape(4, 2)
with strategy.scope():
    total = tf.Variable(0.0, aggregation=tf.VariableAggregation.SUM)

@tf.function
def step(part):
    return strategy.reduce(tf.distribute.ReduceOp.SUM, strategy.run(tf.reduce_sum, args=(part,)), axis=None)

found = {"sum": float(step(tf.constant(x[rank::2]))), "workers": strategy.num_replicas_in_sync}
with open(f"{os.environ['METRICGATE_RUN_DIR']}/found-{rank}.json", "w") as file:
    json.dump(found, file)
"""


@pytest.mark.ray
@pytest.mark.slow
class TestSeveralNodes:
    def test_two_nodes_train_one_model_together(self, ray: RayJobs, tmp_path: Path) -> None:
        script = tmp_path / "train.py"
        script.write_text(WORKERS)
        work = launcher_scene.job(tmp_path, shlex.join([sys.executable, str(script)]), nodes=2, timeout_s=300)
        outcome = train(work, ray)[0]
        assert isinstance(outcome, Usage), outcome
        one, two = (json.loads(path.read_text()) for path in sorted(tmp_path.rglob("found-*.json")))
        assert one == two
        assert (one["sum"], one["workers"]) == (28.0, 2)

    def test_when_a_node_dies_the_other_does_not_wait_for_it(self, cluster: Cluster, tmp_path: Path) -> None:
        line = 'echo x > "$METRICGATE_RUN_DIR/begun"; echo "node $NODE_RANK has begun"; sleep 300'
        both = RayJobs(RayCluster(address=cluster.address, cpus=2), environ=TOKEN)
        work = launcher_scene.job(tmp_path, line, nodes=2)
        with cluster.joined(cpus=2) as die:
            shown = Shown().when("node 0 has begun", die)
            error = failed(train(work, both, shown)[0])
        assert error.kind == "node_failure"
        assert error.retryable


class TestRefusals:
    def test_a_cluster_that_is_not_there_may_come_back(self, tmp_path: Path) -> None:
        away = RayJobs(RayCluster(address=NOTHING), environ={})
        with pytest.raises(EngineUnreachableError, match="nothing answers there"):
            away.find(launcher_scene.job(tmp_path, "true"))

    @pytest.mark.parametrize(
        ("status", "words"),
        [(401, "refuses to talk"), (403, "refuses to talk"), (503, "can't be reached"), (500, "can't be reached")],
    )
    def test_what_stands_before_it_refuses(self, tmp_path: Path, status: int, words: str) -> None:
        seen = []

        class Handler(http_servers.Handler):
            def _serve(self) -> None:
                seen.append(self.headers.get("Authorization"))
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

        with http_servers.Server(("127.0.0.1", 0), Handler) as server:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
            there = RayJobs(
                RayCluster(address=f"http://127.0.0.1:{server.server_address[1]}"), environ={"RAY_AUTH_TOKEN": "t0k"}
            )
            with pytest.raises(StageError, match=words) as caught:
                there.states("mg-1", launcher_scene.job(tmp_path, "true"))
            server.shutdown()
        assert isinstance(caught.value, EngineUnreachableError) == (status >= 500)
        assert seen == ["Bearer t0k"]


@pytest.mark.ray
@pytest.mark.slow
def test_a_job_that_ray_does_not_know_is_gone(ray: RayJobs, tmp_path: Path) -> None:
    work = launcher_scene.job(tmp_path, "true")
    assert ray.find(work) is None
    assert ray.states(work.key, work)[0].state is State.GONE
    ray.cancel(work.key, work)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.parametrize("environ", [{"HOME": "/nowhere"}, {"RAY_AUTH_TOKEN": "of another cluster"}])
def test_who_has_not_its_token_is_told_so(cluster: Cluster, tmp_path: Path, environ: dict[str, str]) -> None:
    stranger = RayJobs(RayCluster(address=cluster.address), environ=environ)
    with pytest.raises(StageError, match="refuses to talk to this runner"):
        stranger.submit(launcher_scene.job(tmp_path, "true"))

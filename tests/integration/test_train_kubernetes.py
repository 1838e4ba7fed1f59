"""Trainings on Kubernetes: every object goes over real HTTP past the published schemas; every pod is a process that trains."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.kubernetes_server.server import KubernetesServer

from metricgate import run as runs
from metricgate.errors import StageError, UsageError
from metricgate.train.command import CommandError, Usage
from metricgate.train.console import Console
from metricgate.train.launchers import following
from metricgate.train.launchers.contact import Pace
from metricgate.train.launchers.job import EngineUnreachableError, Job, State, Task
from metricgate.train.launchers.kubernetes import KubernetesJobs
from metricgate.train_config import Kubernetes

PACE = Pace(look_s=0.05, ask_s=0.05, ask_most_s=0.2, shared_s=2.0, patience_s=5.0, end_s=5.0)
WITHIN_S = 30.0


@pytest.fixture
def server() -> Iterator[KubernetesServer]:
    with KubernetesServer() as server:
        server.cluster.claims.add("workspace")
        yield server


def launcher(server: KubernetesServer, shared: Path, *, token: str | None = None, **changes: Any) -> KubernetesJobs:
    described = Kubernetes(image="train:1", claim="workspace", mount=str(shared), **changes)
    config = server.kubeconfig(shared / "kubeconfig.json", token=token)
    return KubernetesJobs(described, environ={"KUBECONFIG": str(config)})


def a_job(shared: Path, line: str, *, seeds: tuple[int, ...] = (0,), nodes: int = 1, gpus: int | None = None) -> Job:
    tasks = tuple(Task(seed, {"METRICGATE_SEED": str(seed)}, shared / f"train-{seed}.log") for seed in seeds)
    job = Job(
        key="mg-0f3a",
        name="digits",
        folder=shared / "job",
        line=line,
        cwd=shared,
        tasks=tasks,
        nodes=nodes,
        gpus=gpus,
        timeout_s=60.0,
        grace_s=2.0,
    )
    job.prepare()
    return job


def console() -> Console:
    return Console(output=io.BytesIO(), progress=io.StringIO(), grace_s=2.0)


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + WITHIN_S
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def state(kubernetes: KubernetesJobs, job: Job, seed: int = 0) -> Any:
    return kubernetes.states(job.key, job)[seed]


def until_state(kubernetes: KubernetesJobs, job: Job, *states: State, seed: int = 0) -> Any:
    until(lambda: state(kubernetes, job, seed).state in states)
    return state(kubernetes, job, seed)


def until_over(kubernetes: KubernetesJobs, job: Job) -> Any:
    """The first word that says that it is over: what can never begin is said to be so once, and ended."""
    end = time.monotonic() + WITHIN_S
    while not (found := state(kubernetes, job)).state.is_over:
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_each_seed_is_trained_in_a_pod_of_its_own(server: KubernetesServer, tmp_path: Path, kind: str) -> None:
    job = a_job(tmp_path, 'echo "seed $METRICGATE_SEED"; echo "$METRICGATE_SEED" > "model-$METRICGATE_SEED"', seeds=(3, 5))
    shown = console()
    found = following.train(job, launcher(server, tmp_path, kind=kind), console=shown, pace=PACE)
    assert {seed: type(outcome) for seed, outcome in found.items()} == {3: Usage, 5: Usage}
    assert (tmp_path / "model-3").read_text() == "3\n"
    assert isinstance(shown.output, io.BytesIO)
    assert b"seed 5" in shown.output.getvalue()
    assert [work["kind"] for work in server.cluster.made if "kind" in work] == [{"job": "Job", "jobset": "JobSet"}[kind]] * 2


def test_a_training_that_fails_says_how(server: KubernetesServer, tmp_path: Path) -> None:
    job = a_job(tmp_path, "echo so far; exit 3")
    found = following.train(job, launcher(server, tmp_path), console=console(), pace=PACE)
    assert isinstance(found[0], CommandError)
    assert "exit code 3" in str(found[0])
    assert "so far" in str(found[0])


@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_several_nodes_know_each_other(server: KubernetesServer, tmp_path: Path, kind: str) -> None:
    job = a_job(tmp_path, 'echo "$TF_CONFIG" > "tf-$NODE_RANK.json"; echo "$MASTER_ADDR $WORLD_SIZE" > "torch-$RANK"', nodes=2)
    found = following.train(job, launcher(server, tmp_path, kind=kind), console=console(), pace=PACE)
    assert isinstance(found[0], Usage)
    one, two = (json.loads((tmp_path / f"tf-{rank}.json").read_text()) for rank in (0, 1))
    assert one["cluster"] == two["cluster"]
    assert [one["task"]["index"], two["task"]["index"]] == [0, 1]
    # The names that the cluster's DNS gives: a pod's own, and its service's.
    pods = [work for work in server.cluster.made if work["metadata"]["name"].startswith("mg-")]
    service = pods[0]["metadata"]["name"]
    pod = service if kind == "job" else f"{service}-n-0"
    assert [worker.partition(":")[0] for worker in one["cluster"]["worker"]] == [f"{pod}-{index}.{service}" for index in (0, 1)]
    assert (tmp_path / "torch-1").read_text() == f"{pod}-0.{service} 2\n"


def test_a_job_on_several_nodes_has_a_service_that_goes_with_it(server: KubernetesServer, tmp_path: Path) -> None:
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "sleep 60", nodes=2)
    kubernetes.submit(job)
    services = [found for (kind, _), found in server.cluster.objects.items() if kind == "Service"]
    assert [found["spec"]["selector"] for found in services] == [{"batch.kubernetes.io/job-name": "mg-0f3a-0"}]
    kubernetes.cancel(job.key, job, now=True)
    until(lambda: not server.cluster.objects)


def test_a_runner_that_died_between_two_objects_makes_the_other_one_later(server: KubernetesServer, tmp_path: Path) -> None:
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "sleep 60", nodes=2)
    server.forbidden.add(("POST", "Service"))
    with pytest.raises(StageError):
        kubernetes.submit(job)
    server.forbidden.clear()
    kubernetes.submit(job)
    [service] = [found for (kind, _), found in server.cluster.objects.items() if kind == "Service"]
    [owner] = service["metadata"]["ownerReferences"]
    assert owner["uid"] == server.cluster.objects["Job", "mg-0f3a-0"]["metadata"]["uid"]


def test_nothing_is_handed_over_twice(server: KubernetesServer, tmp_path: Path) -> None:
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "sleep 60", seeds=(0, 1))
    assert kubernetes.find(job) is None
    kubernetes.submit(replace(job, tasks=job.tasks[:1]))
    assert kubernetes.find(job) is None, "one of its seeds is missing"
    assert kubernetes.submit(job) == kubernetes.submit(job) == kubernetes.find(job) == job.key
    assert len(server.cluster.pods()) == 2


def test_a_cancel_gives_the_training_its_grace_period_and_leaves_nothing(server: KubernetesServer, tmp_path: Path) -> None:
    line = "trap 'echo saved > saved; exit 0' TERM; echo begun > begun; while true; do sleep 0.05; done"
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, line)
    kubernetes.submit(job)
    until((tmp_path / "begun").exists)
    kubernetes.cancel(job.key, job)
    until_state(kubernetes, job, State.GONE)
    assert (tmp_path / "saved").read_text() == "saved\n"
    assert not server.cluster.objects
    kubernetes.cancel(job.key, job)  # what has ended is no error


def test_a_training_that_ignores_sigterm_is_ended_all_the_same(server: KubernetesServer, tmp_path: Path) -> None:
    kubernetes, job = (
        launcher(server, tmp_path),
        a_job(tmp_path, "trap '' TERM; echo begun > begun; while true; do sleep 0.05; done"),
    )
    kubernetes.submit(job)
    until((tmp_path / "begun").exists)
    kubernetes.cancel(job.key, job, now=True)
    until_state(kubernetes, job, State.GONE)


class TestWaiting:
    def test_for_a_gpu(self, server: KubernetesServer, tmp_path: Path) -> None:
        kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "true", gpus=2)
        kubernetes.submit(job)
        assert state(kubernetes, job).why == "waits for a node: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        with server.cluster.lock:
            server.cluster.gpus = 2
            server.cluster.reconcile()
        until_state(kubernetes, job, State.DONE)

    def test_for_a_volume_that_is_not_there(self, server: KubernetesServer, tmp_path: Path) -> None:
        server.cluster.claims.clear()
        kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "true")
        kubernetes.submit(job)
        assert 'persistentvolumeclaim "workspace" not found' in state(kubernetes, job).why

    def test_for_kueue(self, server: KubernetesServer, tmp_path: Path) -> None:
        server.cluster.queue_is_open = False
        kubernetes, job = launcher(server, tmp_path, queue="gpus"), a_job(tmp_path, "true")
        kubernetes.submit(job)
        assert state(kubernetes, job).why == "waits to be admitted by the Kueue queue gpus"
        server.cluster.admit()
        until_state(kubernetes, job, State.DONE)

    def test_for_a_quota(self, server: KubernetesServer, tmp_path: Path) -> None:
        server.cluster.quota = 'pods "mg-0f3a-0-x" is forbidden: exceeded quota: gpus'
        kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "true")
        kubernetes.submit(job)
        assert "exceeded quota" in state(kubernetes, job).why
        server.forbidden.add(("GET", "Event"))
        assert state(kubernetes, job).why == "waits for Kubernetes to make its pod", "who may not read events does without"


def test_an_image_that_is_not_there_ends_the_wait(server: KubernetesServer, tmp_path: Path) -> None:
    server.cluster.images["train:1"] = "rpc error: code = NotFound desc = registry.example/train:1: not found"
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "true")
    kubernetes.submit(job)
    over = until_over(kubernetes, job)
    assert (over.state, over.kind) == (State.LOST, "engine")
    assert "its image train:1 can't be pulled (ErrImagePull: rpc error" in over.why
    until(lambda: not server.cluster.objects)


def test_out_of_memory_is_told_from_a_crash(server: KubernetesServer, tmp_path: Path) -> None:
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "echo begun > begun; sleep 60")
    kubernetes.submit(job)
    until((tmp_path / "begun").exists)
    server.cluster.out_of_memory(server.cluster.pods()[0])
    over = until_over(kubernetes, job)
    assert over.kind == "host_memory"
    assert "OOMKilled" in over.why


RESUMES = """
if [ -e checkpoint ]; then echo resumed >> story; exit 0; fi
trap 'echo x > checkpoint; exit 143' TERM
echo begun >> story
while true; do sleep 0.05; done
"""


@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_a_preempted_training_goes_on_by_itself(server: KubernetesServer, tmp_path: Path, kind: str) -> None:
    kubernetes, job = launcher(server, tmp_path, kind=kind), a_job(tmp_path, RESUMES)
    kubernetes.submit(job)
    story = tmp_path / "story"
    until(lambda: story.exists() and story.read_text() == "begun\n")
    with server.cluster.lock:
        server.cluster.disrupt(
            server.cluster.pods()[0], "PreemptionByScheduler", "preempting to accommodate a higher priority pod"
        )
    until_state(kubernetes, job, State.DONE)
    assert story.read_text() == "begun\nresumed\n"


def test_nodes_that_train_together_and_lose_one_are_handed_over_again(server: KubernetesServer, tmp_path: Path) -> None:
    line = 'echo x > "begun-$RANK"; while true; do sleep 0.05; done'
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, line, nodes=2)
    kubernetes.submit(job)
    until(lambda: (tmp_path / "begun-0").exists() and (tmp_path / "begun-1").exists())
    with server.cluster.lock:
        server.cluster.disrupt(server.cluster.pods()[1], "EvictionByEvictionAPI", "Eviction API: evicting")
    over = until_over(kubernetes, job)
    assert (over.state, over.kind) == (State.LOST, "preempted")


FOLLOWER = """
import io, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from tests.integration import test_train_kubernetes as scene
from metricgate.train.launchers import following
from metricgate.train.launchers.kubernetes import KubernetesJobs
from metricgate.train_config import Kubernetes
shared = Path({shared!r})
settings = Kubernetes(image="train:1", claim="workspace", mount=str(shared))
launcher = KubernetesJobs(settings, environ={{"KUBECONFIG": str(shared / "kubeconfig.json")}})
found = following.train(scene.a_job(shared, {line!r}), launcher, console=scene.console(), pace=scene.PACE)
print(found)
"""


def follower(shared: Path, line: str) -> subprocess.Popen[bytes]:
    """Another process that follows: a runner that can be killed."""
    code = FOLLOWER.format(here=str(Path(__file__).parents[2]), shared=str(shared), line=line)
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=dict(os.environ)
    )


@pytest.mark.slow
def test_a_runner_that_was_killed_finds_its_job_again(server: KubernetesServer, tmp_path: Path) -> None:
    line = "echo begun >> story; while [ ! -e go ]; do sleep 0.05; done; echo done >> story"
    kubernetes = launcher(server, tmp_path)
    first = follower(tmp_path, line)
    story = tmp_path / "story"
    until(story.exists)
    first.kill()
    first.communicate()
    assert len(server.cluster.pods()) == 1
    (tmp_path / "go").touch()
    shown = console()
    found = following.train(a_job(tmp_path, line), kubernetes, console=shown, pace=PACE)
    assert isinstance(found[0], Usage)
    assert story.read_text() == "begun\ndone\n", "it was trained once"


@pytest.mark.slow
def test_a_runner_that_is_cancelled_takes_its_job_with_it(server: KubernetesServer, tmp_path: Path) -> None:
    launcher(server, tmp_path)
    runner = follower(tmp_path, "trap 'echo saved > saved; exit 1' TERM; echo begun > begun; while true; do sleep 0.05; done")
    until((tmp_path / "begun").exists)
    runner.send_signal(signal.SIGTERM)
    runner.communicate(timeout=WITHIN_S)
    until(lambda: not server.cluster.objects)
    assert (tmp_path / "saved").exists()


class TestRefusals:
    def test_a_wrong_token(self, server: KubernetesServer, tmp_path: Path) -> None:
        with pytest.raises(StageError, match="Unauthorized") as caught:
            launcher(server, tmp_path, token="wrong").find(a_job(tmp_path, "true"))
        assert not isinstance(caught.value, EngineUnreachableError)

    def test_a_role_that_may_not(self, server: KubernetesServer, tmp_path: Path) -> None:
        server.forbidden.add(("POST", "Job"))
        with pytest.raises(StageError, match="cannot post them") as caught:
            launcher(server, tmp_path).submit(a_job(tmp_path, "true"))
        assert "role" in caught.value.fix

    def test_a_cluster_without_jobsets(self, server: KubernetesServer, tmp_path: Path) -> None:
        server.lacks.add("JobSet")
        with pytest.raises(StageError, match="the cluster has no jobset") as caught:
            launcher(server, tmp_path, kind="jobset").submit(a_job(tmp_path, "true"))
        assert "kind: job" in caught.value.fix

    def test_a_cluster_that_is_overloaded_may_answer_later(self, server: KubernetesServer, tmp_path: Path) -> None:
        kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "true")
        kubernetes.submit(job)
        server.away = True
        with pytest.raises(EngineUnreachableError, match="503"):
            kubernetes.states(job.key, job)
        server.away = False
        until_state(kubernetes, job, State.DONE)

    def test_a_cluster_that_is_not_there(self, tmp_path: Path) -> None:
        gone = KubernetesServer()
        kubernetes = launcher(gone, tmp_path)
        with gone:
            pass
        with pytest.raises(EngineUnreachableError, match="can't be reached"):
            kubernetes.find(a_job(tmp_path, "true"))

    def test_a_runner_that_knows_no_cluster(self, tmp_path: Path) -> None:
        described = Kubernetes(image="train:1", claim="workspace", mount=str(tmp_path))
        with pytest.raises(UsageError, match="does not say which cluster") as caught:
            KubernetesJobs(described, environ={"HOME": str(tmp_path)})
        assert "KUBECONFIG" in caught.value.fix

    def test_a_workspace_that_the_pods_would_not_see(self, server: KubernetesServer, tmp_path: Path) -> None:
        (tmp_path / "volume").mkdir()
        kubernetes = launcher(server, tmp_path / "volume")
        with pytest.raises(UsageError, match="does not lie on the volume"):
            kubernetes.submit(a_job(tmp_path, "true"))
        assert not server.cluster.objects


def test_lists_that_come_in_pages_are_read_to_their_end(server: KubernetesServer, tmp_path: Path) -> None:
    server.page = 1
    kubernetes, job = launcher(server, tmp_path), a_job(tmp_path, "true", seeds=(0, 1, 2))
    kubernetes.submit(job)
    assert kubernetes.find(job) == job.key
    for seed in (0, 1, 2):
        until_state(kubernetes, job, State.DONE, seed=seed)


@pytest.mark.slow
def test_from_the_command_line_to_the_runs(server: KubernetesServer, tmp_path: Path) -> None:
    root = tmp_path / "a repository"
    root.mkdir()
    (root / "train.py").write_text(
        "import json, os, pathlib\n"
        'seed = os.environ["METRICGATE_SEED"]\n'
        'pathlib.Path(os.environ["METRICGATE_MODEL"]).write_text("weights of seed " + seed)\n'
        'metrics = {"accuracy": 0.5 + int(seed) / 100}\n'
        'pathlib.Path(os.environ["METRICGATE_RUN_DIR"], "metrics.json").write_text(json.dumps(metrics))\n'
        'assert "SECRET_OF_THE_RUNNER" not in os.environ\n'
    )
    config = {
        "name": "digits",
        "train": {
            "run": f'"{sys.executable}" train.py',
            "seeds": [0, 3],
            "launcher": "kubernetes",
            "kubernetes": {"image": "train:1", "claim": "workspace", "mount": str(tmp_path)},
        },
        "model": "outputs/model.bin",
        "metrics": {"accuracy": {"direction": "higher"}},
    }
    (root / "metricgate.yaml").write_text(json.dumps(config))
    for words in (["init", "-q"], ["add", "."], ["-c", "user.name=N", "-c", "user.email=n@x", "commit", "-qm", "first"]):
        subprocess.run(["git", *words], cwd=root, check=True)
    environ = {
        "PATH": os.environ["PATH"],
        "KUBECONFIG": str(server.kubeconfig(tmp_path / "kubeconfig.json")),
        "METRICGATE_STATE_DIR": str(tmp_path / "state"),
        "SECRET_OF_THE_RUNNER": "x",
    }
    done = subprocess.run(
        [sys.executable, "-m", "metricgate", "run"],
        cwd=root,
        env=environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for seed in (0, 3):
        record = runs.read_record(Path(done.stdout.strip()) / f"seed-{seed}")
        assert record is not None
        assert (record.seed, record.metrics["accuracy"].value) == (seed, 0.5 + seed / 100)

"""What Kubernetes is given for a training, and what its answers mean in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as settings_of_hypothesis
from hypothesis import strategies as st
from tests.kubernetes_server import contract

from metricgate.train.launchers import kubernetes_objects as objects
from metricgate.train.launchers import kubernetes_state
from metricgate.train.launchers.job import Job, State, Task
from metricgate.train_config import Kubernetes

MOUNT = Path("/mnt/shared")


def a_job(*, key: str = "mg-0f3a-1", seeds: tuple[int, ...] = (0,), nodes: int = 1, gpus: int | None = None) -> Job:
    tasks = tuple(Task(seed, {}, MOUNT / f"{seed}.log") for seed in seeds)
    return Job(
        key=key,
        name="digits at 1234567",
        folder=MOUNT / "job",
        line="python train.py",
        cwd=MOUNT / "work",
        tasks=tasks,
        nodes=nodes,
        gpus=gpus,
        timeout_s=3600,
        grace_s=30,
    )


def settings(**changes: Any) -> Kubernetes:
    return Kubernetes(image="registry.example/train:1", claim="workspace", mount=str(MOUNT), **changes)


def made(job: Job, seed: int = 0, *, user: int = 1001, **changes: Any) -> Any:
    return objects.training(job, seed, settings(**changes), user=user, group=user)


def pod_of(work: Any) -> Any:
    spec = work["spec"]
    if work["kind"] == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return spec["template"]["spec"]


class TestObjects:
    @settings_of_hypothesis(max_examples=30)  # a schema of two hundred definitions
    @given(
        key=st.from_regex(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?", fullmatch=True),
        seeds=st.lists(st.integers(0, 2**32), min_size=1, max_size=3, unique=True).map(tuple),
        nodes=st.sampled_from([1, 2, 1024]),
        gpus=st.sampled_from([None, 0, 1, 8]),
        kind=st.sampled_from(["job", "jobset"]),
        user=st.sampled_from([0, 1001]),
        extras=st.booleans(),
    )
    def test_are_what_the_published_schemas_allow(
        self, *, key: str, seeds: tuple[int, ...], nodes: int, gpus: int | None, kind: str, user: int, extras: bool
    ) -> None:
        job = a_job(key=key, seeds=seeds, nodes=nodes, gpus=gpus)
        more: dict[str, Any] = {
            "queue": "gpu-queue",
            "service_account": "trainer",
            "requests": {"cpu": "8", "memory": "64Gi"},
            "node_selector": {"gpu": "a100"},
        }
        for seed in seeds:
            work = made(job, seed, user=user, kind=kind, **(more if extras else {}))
            assert contract.problems(work["kind"], work) == []
            service = objects.service(job, seed, {"metadata": {"uid": "3f2c"}})
            assert contract.problems("Service", service) == []
        assert len({objects.name(job, seed) for seed in seeds}) == len(seeds)

    def test_the_schemas_refuse_what_is_wrong(self) -> None:
        work = made(a_job())
        work["spec"]["template"]["spec"]["activeDeadline"] = 1
        assert contract.problems("Job", work) != []

    def test_a_pod_that_a_node_ended_is_started_again_and_every_other_end_is_final(self) -> None:
        spec = made(a_job())["spec"]
        assert spec["backoffLimit"] == 0
        assert spec["podFailurePolicy"]["rules"] == [
            {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]}
        ]

    def test_nodes_that_train_together_are_not_started_again_one_by_one(self) -> None:
        [rule] = made(a_job(nodes=2))["spec"]["podFailurePolicy"]["rules"]
        assert rule["action"] == "FailJob"

    def test_a_jobset_starts_all_of_them_again_when_one_is_disrupted_and_only_then(self) -> None:
        work = made(a_job(nodes=2), kind="jobset")
        [rule] = work["spec"]["failurePolicy"]["rules"]
        assert (rule["action"], rule["onJobFailureReasons"]) == ("RestartJobSetAndIgnoreMaxRestarts", ["PodFailurePolicy"])
        assert work["spec"]["failurePolicy"]["maxRestarts"] == 0

    def test_time_that_is_spent_waiting_for_a_node_is_not_the_trainings(self) -> None:
        work = made(a_job())
        assert "activeDeadlineSeconds" not in work["spec"]
        assert pod_of(work)["activeDeadlineSeconds"] >= 3600 + 30

    def test_the_grace_period_is_longer_than_the_trainings(self) -> None:
        assert pod_of(made(a_job()))["terminationGracePeriodSeconds"] > 30

    def test_a_pull_requests_code_gets_no_token_and_no_more_rights(self) -> None:
        pod = pod_of(made(a_job()))
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        [container] = pod["containers"]
        assert container["securityContext"] == {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}

    def test_pods_write_as_the_runner(self) -> None:
        context = pod_of(made(a_job(), user=1001))["securityContext"]
        assert (context["runAsUser"], context["runAsGroup"]) == (1001, 1001)

    def test_the_volume_is_mounted_where_the_runner_has_it(self) -> None:
        pod = pod_of(made(a_job()))
        assert {"name": "workspace", "persistentVolumeClaim": {"claimName": "workspace"}} in pod["volumes"]
        assert {"name": "workspace", "mountPath": "/mnt/shared"} in pod["containers"][0]["volumeMounts"]

    def test_gpus_are_limits_of_the_resource_that_was_named(self) -> None:
        pod = pod_of(made(a_job(gpus=2), gpu_resource="amd.com/gpu", requests={"memory": "64Gi"}))
        assert pod["containers"][0]["resources"] == {"requests": {"memory": "64Gi"}, "limits": {"amd.com/gpu": "2"}}
        assert pod["tolerations"] == [{"key": "amd.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]

    @pytest.mark.parametrize(
        ("kind", "expected"),
        [
            ("job", "mg-0f3a-1-0-0.mg-0f3a-1-0,mg-0f3a-1-0-1.mg-0f3a-1-0"),
            ("jobset", "mg-0f3a-1-0-n-0-0.mg-0f3a-1-0,mg-0f3a-1-0-n-0-1.mg-0f3a-1-0"),
        ],
    )
    def test_nodes_know_each_other_by_the_names_that_the_service_gives(self, kind: str, expected: str) -> None:
        [container] = pod_of(made(a_job(nodes=2), kind=kind))["containers"]
        assert {"name": "METRICGATE_CLUSTER_HOSTS", "value": expected} in container["env"]

    def test_kueue_finds_its_queue(self) -> None:
        assert made(a_job(), queue="gpus")["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"


def a_work(*conditions: dict[str, Any], suspend: bool = False, **labels: str) -> dict[str, Any]:
    return {"metadata": {"labels": labels}, "spec": {"suspend": suspend}, "status": {"conditions": list(conditions)}}


FAILED = {
    "type": "Failed",
    "status": "True",
    "reason": "BackoffLimitExceeded",
    "message": "Job has reached the specified backoff limit",
}
COMPLETE = {"type": "Complete", "status": "True"}


def a_pod(phase: str, *, state: dict[str, Any] | None = None, node: str = "gpu-7", **status: Any) -> dict[str, Any]:
    statuses = [{"name": "training", "image": "train:1", "state": state}] if state else []
    return {
        "metadata": {},
        "spec": {"nodeName": node} if node else {},
        "status": {"phase": phase, "containerStatuses": statuses, **status},
    }


def said(state: Any) -> tuple[State, str, str]:
    return state.state, state.why, state.kind


class TestWords:
    def test_a_job_that_is_not_there(self) -> None:
        assert said(kubernetes_state.state_of(None, [])) == (State.GONE, "is not known to Kubernetes: its job was deleted", "")

    def test_done(self) -> None:
        state = kubernetes_state.state_of(a_work(COMPLETE), [a_pod("Succeeded")])
        assert (state.state, state.nodes) == (State.DONE, ("gpu-7",))

    def test_running(self) -> None:
        assert kubernetes_state.state_of(a_work(), [a_pod("Running", state={"running": {}})]).state is State.RUNNING

    def test_the_schedulers_own_words_while_it_waits_for_a_node(self) -> None:
        message = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."
        condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        state = kubernetes_state.state_of(a_work(), [a_pod("Pending", node="", conditions=[condition])])
        assert said(state) == (State.WAITING, f"waits for a node: {message}", "")

    def test_kueue_has_not_admitted_it(self) -> None:
        state = kubernetes_state.state_of(a_work(suspend=True, **{"kueue.x-k8s.io/queue-name": "gpus"}), [])
        assert said(state) == (State.WAITING, "waits to be admitted by the Kueue queue gpus", "")

    def test_no_pod_may_be_made(self) -> None:
        event = {"reason": "FailedCreate", "message": 'pods "x" is forbidden: exceeded quota: gpus'}
        state = kubernetes_state.state_of(a_work(), [], [event])
        assert said(state) == (State.WAITING, 'has no pod yet: pods "x" is forbidden: exceeded quota: gpus', "")

    def test_an_image_that_a_registry_does_not_have_is_no_reason_to_wait(self) -> None:
        waiting = {
            "reason": "ImagePullBackOff",
            "message": 'Back-off pulling image "train:1": ErrImagePull: train:1: not found',
        }
        state = kubernetes_state.state_of(a_work(), [a_pod("Pending", state={"waiting": waiting})])
        assert (state.state, state.kind) == (State.LOST, "engine")
        assert state.why.startswith("could not begin: its image train:1 can't be pulled (ImagePullBackOff: Back-off")
        assert kubernetes_state.can_never_begin(state)

    def test_a_registry_that_does_not_answer_may_answer_later(self) -> None:
        waiting = {"reason": "ErrImagePull", "message": "dial tcp 10.0.0.9:443: i/o timeout"}
        state = kubernetes_state.state_of(a_work(), [a_pod("Pending", state={"waiting": waiting})])
        assert state.state is State.WAITING
        assert not kubernetes_state.can_never_begin(state)

    @pytest.mark.parametrize("reason", ["InvalidImageName", "CreateContainerConfigError", "ErrImageNeverPull"])
    def test_a_container_that_can_never_begin(self, reason: str) -> None:
        state = kubernetes_state.state_of(a_work(), [a_pod("Pending", state={"waiting": {"reason": reason, "message": "no"}})])
        assert kubernetes_state.can_never_begin(state)
        assert f"({reason}: no)" in state.why

    def test_out_of_the_pods_memory(self) -> None:
        terminated = {"exitCode": 137, "reason": "OOMKilled", "finishedAt": "2026-01-01T00:00:00Z"}
        state = kubernetes_state.state_of(a_work(FAILED), [a_pod("Failed", state={"terminated": terminated})])
        assert said(state) == (State.LOST, "ran out of the pod's memory (Kubernetes: OOMKilled)", "host_memory")
        assert "memory: 64Gi" in state.advice

    def test_its_own_exit_code(self) -> None:
        terminated = {"exitCode": 3, "reason": "Error"}
        state = kubernetes_state.state_of(a_work(FAILED), [a_pod("Failed", state={"terminated": terminated})])
        assert said(state) == (State.FAILED, "ended with exit code 3", "exit")

    def test_of_several_nodes_the_one_that_failed_first_says_why(self) -> None:
        late = {"exitCode": 143, "reason": "Error", "finishedAt": "2026-01-01T00:00:09Z"}
        first = {"exitCode": 1, "reason": "Error", "finishedAt": "2026-01-01T00:00:01Z"}
        pods = [a_pod("Failed", state={"terminated": late}), a_pod("Failed", state={"terminated": first})]
        assert kubernetes_state.state_of(a_work(FAILED), pods).why == "ended with exit code 1"

    @pytest.mark.parametrize(
        ("reason", "message", "kind"),
        [
            ("Evicted", "The node was low on resource: memory.", "host_memory"),
            ("Evicted", "The node was low on resource: ephemeral-storage.", "evicted"),
            ("DeadlineExceeded", "Pod was active on the node longer than the specified deadline", "timeout"),
            ("NodeLost", "", "node_failure"),
        ],
    )
    def test_ended_by_its_node(self, reason: str, message: str, kind: str) -> None:
        state = kubernetes_state.state_of(a_work(FAILED), [a_pod("Failed", reason=reason, message=message)])
        assert (state.state, state.kind) == (State.LOST, kind)
        assert reason in state.why or message in state.why

    def test_a_preemption_from_which_it_comes_back(self) -> None:
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler", "message": "preempting"}
        state = kubernetes_state.state_of(a_work(), [a_pod("Failed", conditions=[condition])])
        assert state.state is State.WAITING
        assert state.why.startswith("was preempted by a pod of higher priority (PreemptionByScheduler: preempting)")

    def test_a_drain_that_ends_nodes_which_train_together(self) -> None:
        condition = {"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI", "message": "drain"}
        pods = [a_pod("Failed", state={"terminated": {"exitCode": 1}}), a_pod("Failed", conditions=[condition])]
        state = kubernetes_state.state_of(a_work(FAILED), pods)
        assert said(state) == (State.LOST, "was evicted: its node is drained (EvictionByEvictionAPI: drain)", "preempted")

    @given(
        phase=st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "Unknown", ""]),
        state=st.sampled_from([None, {}, {"waiting": None}, {"terminated": {}}, {"running": {}}]),
        condition=st.sampled_from([None, FAILED, COMPLETE, {"type": "Failed", "status": "False"}]),
    )
    def test_whatever_it_answers_there_is_a_state(self, phase: str, state: Any, condition: Any) -> None:
        work = a_work(*([condition] if condition else []))
        assert kubernetes_state.state_of(work, [a_pod(phase, state=state)]).state in State

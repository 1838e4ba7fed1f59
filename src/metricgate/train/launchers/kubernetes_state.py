"""What Kubernetes says about a job and its pods, in words: where a training is, and why. Pure.

https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from metricgate.train.launchers.job import State, TaskState
from metricgate.train.launchers.kubernetes_objects import DISRUPTED, QUEUE_LABEL

Object = Mapping[str, Any]

_LENGTH = 300
_MEMORY = "train:\n  kubernetes:\n    requests: {memory: 64Gi}   # or a smaller batch"
# Why a container can't begin: what waiting does not help, in words, with advice.
_NEVER: Mapping[str, tuple[str, str]] = {
    "InvalidImageName": ("its image has a name that is none", "correct `kubernetes: {image: …}`"),
    "ErrImageNeverPull": ("its image is not on the node, and the cluster pulls none", "put the image on the nodes"),
    "CreateContainerConfigError": ("its container can't be made from what it refers to", ""),
    "RunContainerError": ("its container can't be started", "the image needs python3 (3.8 or newer) and bash"),
    "CreateContainerError": ("its container can't be made", ""),
}
_PULLS = frozenset({"ErrImagePull", "ImagePullBackOff"})
# Of an image that can't be pulled, what a registry or a node says when it will say the same again.
_FINAL_PULLS = (
    "not found",
    "manifest unknown",
    "repository does not exist",
    "pull access denied",
    "unauthorized",
    "authorization failed",
    "403 forbidden",
    "no basic auth credentials",
    "no match for platform",
)
_DISRUPTIONS: Mapping[str, str] = {
    "PreemptionByScheduler": "was preempted by a pod of higher priority",
    "DeletionByTaintManager": "lost its node, which became unreachable or was tainted",
    "EvictionByEvictionAPI": "was evicted: its node is drained",
    "DeletionByPodGC": "lost its node, which is gone",
    "TerminationByKubelet": "was ended by its node, which shuts down or ran out of memory or disk",
}


def state_of(work: Object | None, pods: Sequence[Object], events: Iterable[Object] = ()) -> TaskState:
    """Where a training is.

    Args:
        work: Its Job or JobSet; None where there is none.
        pods: Its pods.
        events: What the cluster reported about the Job; looked at where there are no pods.
    """
    if work is None:
        return TaskState(State.GONE, "is not known to Kubernetes: its job was deleted")
    newest = sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")))
    nodes = tuple(dict.fromkeys(node for pod in newest if (node := pod.get("spec", {}).get("nodeName"))))
    if _condition_of(work, "Complete", "Completed") is not None:
        return TaskState(State.DONE, nodes=nodes)
    failed = _condition_of(work, "Failed")
    if failed is not None:
        return _failure(failed, newest, nodes)
    if work["metadata"].get("deletionTimestamp"):
        return TaskState(State.RUNNING if pods else State.GONE, "is being ended", nodes=nodes)
    return _unfinished(work, newest, events, nodes)


def can_never_begin(state: TaskState) -> bool:
    """Whether a job that Kubernetes would go on trying has to be ended, since no waiting helps."""
    return state.state is State.LOST and state.kind == "engine"


def _unfinished(work: Object, pods: Sequence[Object], events: Iterable[Object], nodes: tuple[str, ...]) -> TaskState:
    live = [pod for pod in pods if _phase(pod) in ("Pending", "Running", "Unknown")]
    if not live:
        return _without_pods(work, pods, events)
    told = [told for pod in live if _phase(pod) == "Pending" and (told := _pending(pod)) is not None]
    worst = min(told, key=lambda state: state.state is not State.LOST, default=None)
    if worst is None:
        return TaskState(State.RUNNING, nodes=nodes)
    return TaskState(worst.state, worst.why, worst.kind, worst.advice, nodes)


def _without_pods(work: Object, pods: Sequence[Object], events: Iterable[Object]) -> TaskState:
    queue = work["metadata"].get("labels", {}).get(QUEUE_LABEL)
    if work.get("spec", {}).get("suspend"):
        return TaskState(
            State.WAITING, f"waits to be admitted by the Kueue queue {queue}" if queue else "is suspended in Kubernetes"
        )
    for pod in reversed(pods):
        if (why := _disruption(pod)) is not None:
            return TaskState(
                State.WAITING, f"{why}; Kubernetes starts it again, and it goes on from its checkpoint", "preempted"
            )
    failures = [event for event in events if event.get("reason") in ("FailedCreate", "FailedCreatePod")]
    if failures:
        return TaskState(State.WAITING, f"has no pod yet: {_short(failures[-1].get('message'))}")
    return TaskState(State.WAITING, "waits for Kubernetes to make its pod")


def _pending(pod: Object) -> TaskState | None:
    """Why a pod does not run yet; None where its container has just begun."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        waiting = (status.get("state") or {}).get("waiting") or {}
        reason, message = str(waiting.get("reason") or ""), str(waiting.get("message") or "")
        if reason in _NEVER:
            words, advice = _NEVER[reason]
            return TaskState(State.LOST, f"could not begin: {words} ({_said(reason, message)})", "engine", advice)
        if reason in _PULLS:
            return _not_pulled(str(status.get("image")), reason, message)
    unscheduled = _condition(pod, "PodScheduled", "False")
    if unscheduled is not None:
        return TaskState(State.WAITING, f"waits for a node: {_short(unscheduled.get('message')) or unscheduled.get('reason')}")
    node = pod.get("spec", {}).get("nodeName")
    return TaskState(State.WAITING, f"waits for its container on node {node}" if node else "waits for a node")


def _not_pulled(image: str, reason: str, message: str) -> TaskState:
    final = any(words in message.lower() for words in _FINAL_PULLS)
    found = f"its image {image} can't be pulled ({_said(reason, message)})"
    if not final:
        return TaskState(State.WAITING, f"waits: {found}")
    advice = "correct `kubernetes: {image: …}`, or give the service account of its pods a pull secret"
    return TaskState(State.LOST, f"could not begin: {found}", "engine", advice)


def _failure(ended: Object, pods: Sequence[Object], nodes: tuple[str, ...]) -> TaskState:
    """Why a Job failed: what its pods say, the first that failed before those that only followed it."""
    for pod in pods:
        if (why := _disruption(pod)) is not None:
            return TaskState(State.LOST, why, "preempted", "`kind: jobset` starts all nodes again by itself", nodes)
    failed = sorted((pod for pod in pods if _phase(pod) == "Failed"), key=_ended_at)
    for pod in failed:
        reason = str(pod.get("status", {}).get("reason") or "")
        message = _short(pod.get("status", {}).get("message"))
        if reason == "DeadlineExceeded":
            return TaskState(
                State.LOST, "took longer than Kubernetes was told to let it (DeadlineExceeded)", "timeout", nodes=nodes
            )
        if reason == "Evicted":
            memory = "memory" in message.lower()
            why = f"was evicted by its node: {message}"
            return TaskState(State.LOST, why, "host_memory" if memory else "evicted", _MEMORY if memory else "", nodes)
        for status in pod.get("status", {}).get("containerStatuses") or ():
            ended_by = (status.get("state") or {}).get("terminated") or {}
            if ended_by:
                return _exited(ended_by, nodes)
        if reason:
            return TaskState(State.LOST, f"was ended by its node: {_said(reason, message)}", "node_failure", nodes=nodes)
    why = f"failed in Kubernetes: {_said(str(ended.get('reason') or ''), _short(ended.get('message')))}"
    return TaskState(State.FAILED, why, "timeout" if ended.get("reason") == "DeadlineExceeded" else "exit", nodes=nodes)


def _exited(terminated: Object, nodes: tuple[str, ...]) -> TaskState:
    reason, code = str(terminated.get("reason") or ""), terminated.get("exitCode")
    if reason == "OOMKilled":
        return TaskState(State.LOST, "ran out of the pod's memory (Kubernetes: OOMKilled)", "host_memory", _MEMORY, nodes)
    if reason in ("ContainerCannotRun", "StartError"):
        why = f"could not begin: its container can't be started ({_said(reason, _short(terminated.get('message')))})"
        return TaskState(State.LOST, why, "engine", "the image needs python3 (3.8 or newer) and bash", nodes)
    if reason == "ContainerStatusUnknown":
        return TaskState(State.LOST, "was lost: its node does not say how it ended", "node_failure", nodes=nodes)
    return TaskState(State.FAILED, f"ended with exit code {code}", "exit", nodes=nodes)


def _condition_of(work: Object, *kinds: str) -> Object | None:
    for condition in work.get("status", {}).get("conditions") or ():
        if condition.get("type") in kinds and condition.get("status") == "True":
            return dict(condition)
    return None


def _disruption(pod: Object) -> str | None:
    condition = _condition(pod, DISRUPTED, "True")
    if condition is None:
        return None
    reason = str(condition.get("reason") or "")
    said = _short(condition.get("message"))
    return f"{_DISRUPTIONS.get(reason, 'was disrupted')} ({_said(reason, said)})"


def _condition(pod: Object, kind: str, status: str) -> Object | None:
    for condition in pod.get("status", {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == status:
            return dict(condition)
    return None


def _phase(pod: Object) -> str:
    return str(pod.get("status", {}).get("phase") or "Pending")


def _ended_at(pod: Object) -> str:
    times = [
        str(((status.get("state") or {}).get("terminated") or {}).get("finishedAt") or "")
        for status in pod.get("status", {}).get("containerStatuses") or ()
    ]
    return max(times, default="")


def _said(reason: str, message: str) -> str:
    return f"{reason}: {_short(message)}" if reason and message else reason or _short(message)


def _short(text: object) -> str:
    line = " ".join(str(text or "").split())
    return line if len(line) <= _LENGTH else f"{line[:_LENGTH]}…"

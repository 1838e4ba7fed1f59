"""What Kubernetes is given for a job: plain objects of its API, one for each seed. Pure.

A pod that is disrupted (drained, preempted, evicted by the node) is no failed training: on one node the Job starts it again,
and it goes on from its checkpoint; on several, all of them have to start again together, which a JobSet does by itself and a
Job leaves to whoever handed it over. Every other end is final: retries are counted in one place, by ``train.retries``.
https://kubernetes.io/docs/concepts/workloads/controllers/job/#pod-failure-policy
https://jobset.sigs.k8s.io/docs/concepts/
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from typing import Any

from metricgate.train.launchers.job import Job
from metricgate.train_config import Kubernetes

KEY_LABEL = "metricgate/key"
SEED_LABEL = "metricgate/seed"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
CONTAINER = "training"
DISRUPTED = "DisruptionTarget"
POD_FAILURE_POLICY = "PodFailurePolicy"
JOBSET_GROUP, JOBSET_VERSION, JOBSETS = "jobset.x-k8s.io", "v1alpha2", "jobsets"
KEPT_S = 24 * 3600
_REPLICAS = "n"
# What Kubernetes adds to a name: "-n-0-1023" to that of a JobSet's pod, whose host name has at most 63 characters.
_NAME_LENGTH = 63 - len("-n-0-1023")
# On top of the training's own time: the image is pulled while the pod's time runs.
_PULL_S = 1800
_STOP_MARGIN_S = 10


def name(job: Job, seed: int) -> str:
    """What the object of a seed is called."""
    number = [task.seed for task in job.tasks].index(seed)
    full = f"{job.key}-{number}"
    if len(full) <= _NAME_LENGTH:
        return full
    digest = hashlib.sha256(full.encode()).hexdigest()[:10]
    return f"{full[: _NAME_LENGTH - len(digest) - 1].rstrip('-')}-{digest}"


def hosts(job: Job, seed: int, kind: str) -> tuple[str, ...]:
    """How the nodes of a seed find each other: by the names that a headless service gives its pods."""
    own = name(job, seed)
    pod = f"{own}-{_REPLICAS}-0" if kind == "jobset" else own
    return tuple(f"{pod}-{index}.{own}" for index in range(job.nodes))


def labels(job: Job, seed: int) -> dict[str, str]:
    """By which it is found again, and by which Kubernetes' own tools show what it is."""
    return {"app.kubernetes.io/managed-by": "metricgate", KEY_LABEL: job.key, SEED_LABEL: str(seed)}


def training(job: Job, seed: int, settings: Kubernetes, *, user: int, group: int) -> dict[str, Any]:
    """The Job or JobSet of a seed.

    Args:
        job: The job.
        seed: The seed.
        settings: What the configuration says about the cluster.
        user: As whom the pods write: who reads and removes what they wrote, on the volume that they share.
        group: Its group.
    """
    meta = {
        "name": name(job, seed),
        "labels": labels(job, seed),
        "annotations": {"metricgate/name": f"{job.name}, seed {seed}"},
    }
    if settings.queue is not None:
        meta["labels"] = {**labels(job, seed), QUEUE_LABEL: settings.queue}
    spec = _job_spec(job, seed, settings, user=user, group=group)
    if settings.kind == "job":
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": meta, "spec": {**spec, "ttlSecondsAfterFinished": KEPT_S}}
    policy = {
        "maxRestarts": 0,
        "restartStrategy": "BlockingRecreate",  # two at once would write the same checkpoints
        "rules": [
            {"name": "disrupted", "action": "RestartJobSetAndIgnoreMaxRestarts", "onJobFailureReasons": [POD_FAILURE_POLICY]}
        ],
    }
    return {
        "apiVersion": f"{JOBSET_GROUP}/{JOBSET_VERSION}",
        "kind": "JobSet",
        "metadata": meta,
        "spec": {
            "replicatedJobs": [
                {"name": _REPLICAS, "replicas": 1, "template": {"metadata": {"labels": labels(job, seed)}, "spec": spec}}
            ],
            "network": {"enableDNSHostnames": True, "publishNotReadyAddresses": True},
            "failurePolicy": policy,
            "ttlSecondsAfterFinished": KEPT_S,
        },
    }


def service(job: Job, seed: int, owner: Mapping[str, Any]) -> dict[str, Any]:
    """The headless service that names the pods of a Job on several nodes; it goes when the Job goes.

    Args:
        job: The job.
        seed: The seed.
        owner: The Job, as Kubernetes answered.
    """
    own = name(job, seed)
    reference = {"apiVersion": "batch/v1", "kind": "Job", "name": own, "uid": owner["metadata"]["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": own, "labels": labels(job, seed), "ownerReferences": [reference]},
        "spec": {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {"batch.kubernetes.io/job-name": own}},
    }


def _job_spec(job: Job, seed: int, settings: Kubernetes, *, user: int, group: int) -> dict[str, Any]:
    again = "Ignore" if job.nodes == 1 and settings.kind == "job" else "FailJob"
    disrupted = {"action": again, "onPodConditions": [{"type": DISRUPTED, "status": "True"}]}
    several = {"completionMode": "Indexed", "completions": job.nodes, "parallelism": job.nodes} if job.nodes > 1 else {}
    return {
        **several,
        "backoffLimit": 0,
        "podFailurePolicy": {"rules": [disrupted]},
        "template": {"metadata": {"labels": labels(job, seed)}, "spec": _pod(job, seed, settings, user=user, group=group)},
    }


def _pod(job: Job, seed: int, settings: Kubernetes, *, user: int, group: int) -> dict[str, Any]:
    optional: dict[str, Any] = {}
    if job.nodes > 1 and settings.kind == "job":
        optional["subdomain"] = name(job, seed)
    if settings.service_account is not None:
        optional["serviceAccountName"] = settings.service_account
    if settings.node_selector:
        optional["nodeSelector"] = dict(settings.node_selector)
    if job.gpus:
        # Nodes with GPUs are kept free of everything else by a taint of the resource's name, by convention.
        optional["tolerations"] = [{"key": settings.gpu_resource, "operator": "Exists", "effect": "NoSchedule"}]
    return {
        **optional,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": math.ceil(job.grace_s) + _STOP_MARGIN_S,
        # Of the pod, not of the Job, whose time runs while it waits for a node.
        "activeDeadlineSeconds": math.ceil(job.timeout_s + job.grace_s) + _PULL_S,
        # The code of a pull request gets no token of the cluster.
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsUser": user,
            "runAsGroup": group,
            **({"runAsNonRoot": True} if user else {}),
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(job, seed, settings)],
        "volumes": [
            {"name": "workspace", "persistentVolumeClaim": {"claimName": settings.claim}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    }


def _container(job: Job, seed: int, settings: Kubernetes) -> dict[str, Any]:
    # The user is none that the image knows: without these, what asks for its home or name fails.
    environ = {"HOME": "/tmp", "LOGNAME": "metricgate", "PYTHONUNBUFFERED": "1"}  # noqa: S108 - the container's own
    if job.nodes > 1:
        environ["METRICGATE_CLUSTER_HOSTS"] = ",".join(hosts(job, seed, settings.kind))
    resources: dict[str, Any] = {}
    if settings.requests:
        resources["requests"] = dict(settings.requests)
    if job.gpus:
        resources["limits"] = {settings.gpu_resource: str(job.gpus)}
    return {
        "name": CONTAINER,
        "image": settings.image,
        "command": list(job.command(seed)),
        "workingDir": str(job.cwd),
        "env": [{"name": name, "value": value} for name, value in environ.items()],
        "resources": resources,
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        # Data loaders of several processes pass batches through /dev/shm, of which a container has 64 MB otherwise.
        "volumeMounts": [
            {"name": "workspace", "mountPath": settings.mount},
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108 - the container's own
        ],
        # Why a container ended, in its status: the end of its log where it wrote no message.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }

"""The cluster behind the API: what its controllers do with Jobs, JobSets and pods.

As in https://kubernetes.io/docs/concepts/workloads/controllers/job/ (pod failure policy, backoff limit, indexed completion) and
https://jobset.sigs.k8s.io/docs/concepts/, for what metricgate uses of them.
"""

from __future__ import annotations

import copy
import threading
import uuid
from typing import Any

from tests.kubernetes_server.kubelet import Container, now

Object = dict[str, Any]
NODE = "node-1"
_GRACE_S = 30.0


class Cluster:
    """Objects by kind and name, and the pods that run.

    Attributes:
        gpus: How many its node has.
        images: What its node can't pull, and what the registry says.
        claims: The volumes that there are.
        queue_is_open: Whether Kueue admits what has a queue.
        quota: Why no pod may be made; "" where it may.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.objects: dict[tuple[str, str], Object] = {}
        self.events: list[Object] = []
        self.made: list[Object] = []
        self.gpus = 0
        self.images: dict[str, str] = {}
        self.claims: set[str] = set()
        self.queue_is_open = True
        self.quota = ""
        self._containers: dict[str, Container] = {}
        self._reconciles = self._changed = False

    def create(self, kind: str, body: Object) -> Object:
        """Take an object that is valid and new."""
        with self.lock:
            made = copy.deepcopy(body)
            meta = made["metadata"]
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": now(), "namespace": meta.get("namespace", "default")}
            if kind in ("Job", "JobSet"):
                queued = "kueue.x-k8s.io/queue-name" in meta.get("labels", {}) and not meta.get("ownerReferences")
                made["spec"].setdefault("suspend", queued and not self.queue_is_open)
                made["status"] = {}
                self.made.append(copy.deepcopy(body))
            self.objects[kind, meta["name"]] = made
            self.reconcile()
            return copy.deepcopy(made)

    def delete(self, kind: str, name: str, grace_s: float | None = None) -> None:
        """End an object in the foreground: it is there until what it owns has gone."""
        with self.lock:
            found = self.objects[kind, name]
            found["metadata"].setdefault("deletionTimestamp", now())
            for owned_kind, owned in self._owned(found):
                self.delete(owned_kind, owned["metadata"]["name"], grace_s)
            if kind == "Pod":
                self._stop(found, grace_s)
            self.reconcile()

    def pods(self, name: str = "") -> list[Object]:
        """All pods, or those of a Job."""
        with self.lock:
            pods = [found for (kind, _), found in self.objects.items() if kind == "Pod"]
            return [pod for pod in pods if not name or pod["metadata"]["labels"]["batch.kubernetes.io/job-name"] == name]

    def disrupt(self, pod: Object, reason: str, message: str) -> None:
        """End a pod as a drain or a preemption does."""
        with self.lock:
            condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": message}
            pod["status"].setdefault("conditions", []).append(condition)
            self._stop(pod, None)

    def out_of_memory(self, pod: Object) -> None:
        """Kill all of a pod's processes, as the kernel does."""
        with self.lock:
            pod["_oom"] = True
            self._containers[pod["metadata"]["uid"]].kill()

    def admit(self) -> None:
        """Let in what waits in Kueue's queue."""
        with self.lock:
            self.queue_is_open = True
            for found in self.objects.values():
                found.get("spec", {}).pop("suspend", None)
            self.reconcile()

    def close(self) -> None:
        """End everything."""
        with self.lock:
            running = list(self._containers.values())
            self.objects.clear()
        for container in running:
            container.kill()
            container.stopped.wait(10)

    def reconcile(self) -> None:
        """Bring what is there nearer to what was asked for, until nothing changes."""
        self._changed = True
        if self._reconciles:
            return
        self._reconciles = True
        while self._changed:
            self._changed = False
            for (kind, name), found in list(self.objects.items()):
                if self.objects.get((kind, name)) is found:
                    self._look_at(kind, name, found)
        self._reconciles = False

    def _look_at(self, kind: str, name: str, found: Object) -> None:
        if found["metadata"].get("deletionTimestamp"):
            if not self._owned(found) and not (kind == "Pod" and found["metadata"]["uid"] in self._containers):
                del self.objects[kind, name]
                self._changed = True
        elif kind == "Job" and not found["spec"].get("suspend"):
            self._job(found)
        elif kind == "JobSet" and not found["spec"].get("suspend"):
            self._jobset(found)
        elif kind == "Pod" and found["status"]["phase"] == "Pending":
            self._schedule(found)

    def _owned(self, owner: Object) -> list[tuple[str, Object]]:
        uid = owner["metadata"]["uid"]
        return [
            (kind, found)
            for (kind, _), found in self.objects.items()
            if any(reference["uid"] == uid for reference in found["metadata"].get("ownerReferences", ()))
        ]

    def _job(self, job: Object) -> None:
        if job["status"].get("conditions"):
            return
        pods = [pod for kind, pod in self._owned(job) if kind == "Pod"]
        spec = job["spec"]
        failed = [pod for pod in pods if pod["status"]["phase"] == "Failed" and not pod.get("_ignored")]
        for pod in failed:
            if (action := _action(spec, pod)) == "Ignore":
                pod["_ignored"] = True
            elif action == "FailJob" or len(failed) > spec.get("backoffLimit", 6):
                reason = "PodFailurePolicy" if action else "BackoffLimitExceeded"
                self._end(job, "Failed", reason, f"pod {pod['metadata']['name']} failed")
                self._stop_all(job)
                return
        wanted = range(spec.get("completions") or 1)
        done = {pod["_index"] for pod in pods if pod["status"]["phase"] == "Succeeded"}
        live = {pod["_index"] for pod in pods if pod["status"]["phase"] in ("Pending", "Running")}
        if done == set(wanted):
            self._end(job, "Complete", "CompletionsReached", "")
        for index in sorted(set(wanted) - done - live):
            self._make_pod(job, index)

    def _make_pod(self, job: Object, index: int) -> None:
        name = job["metadata"]["name"]
        if self.quota:
            about = {"kind": "Job", "name": name, "uid": job["metadata"]["uid"], "namespace": "default"}
            event = {"reason": "FailedCreate", "message": self.quota, "type": "Warning", "involvedObject": about}
            self.events.append({"metadata": {"name": f"{name}.{len(self.events)}", "namespace": "default"}, **event})
            return
        template = copy.deepcopy(job["spec"]["template"])
        labels = {**template["metadata"].get("labels", {}), "batch.kubernetes.io/job-name": name}
        meta = {"name": f"{name}-{index}-{uuid.uuid4().hex[:5]}", "labels": labels, "ownerReferences": [_reference("Job", job)]}
        pod = {"metadata": meta, "spec": template["spec"], "status": {"phase": "Pending"}, "_index": index}
        if job["spec"].get("completionMode") == "Indexed":
            pod["spec"]["hostname"] = f"{name}-{index}"
            pod["spec"]["containers"][0].setdefault("env", []).append({"name": "JOB_COMPLETION_INDEX", "value": str(index)})
        self.create("Pod", pod)

    def _schedule(self, pod: Object) -> None:
        if "nodeName" in pod["spec"]:
            return
        [container] = pod["spec"]["containers"]
        gpus = int((container.get("resources", {}).get("limits") or {}).get("nvidia.com/gpu", 0))
        taken = sum(other["_gpus"] for other in self.pods() if other["metadata"]["uid"] in self._containers)
        claims = {
            volume["persistentVolumeClaim"]["claimName"]
            for volume in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        why = ""
        if missing := claims - self.claims:
            why = f'persistentvolumeclaim "{min(missing)}" not found'
        elif gpus > self.gpus - taken:
            why = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
        if why:
            pod["status"]["conditions"] = [
                {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": why}
            ]
            return
        pod["spec"]["nodeName"] = NODE
        pod["_gpus"] = gpus
        pod["status"]["conditions"] = [{"type": "PodScheduled", "status": "True"}]
        if container["image"] in self.images:
            waiting = {"reason": "ErrImagePull", "message": self.images[container["image"]]}
            self._status(pod, {"waiting": waiting})
            return
        self._containers[pod["metadata"]["uid"]] = Container(pod, lambda status: self._container_ended(pod, status))
        pod["status"] |= {"phase": "Running", "startTime": now()}
        self._status(pod, {"running": {"startedAt": now()}})

    def _container_ended(self, pod: Object, status: int) -> None:
        with self.lock:
            self._containers.pop(pod["metadata"]["uid"])
            code = status if status >= 0 else 128 - status
            reason = "OOMKilled" if pod.get("_oom") else "Error" if code else "Completed"
            disrupted = any(condition["type"] == "DisruptionTarget" for condition in pod["status"]["conditions"])
            pod["status"]["phase"] = "Failed" if code or disrupted else "Succeeded"
            self._status(
                pod,
                {
                    "terminated": {
                        "exitCode": code,
                        "reason": reason,
                        "startedAt": pod["status"]["startTime"],
                        "finishedAt": now(),
                    }
                },
            )
            self.reconcile()

    def _status(self, pod: Object, state: Object) -> None:
        [container] = pod["spec"]["containers"]
        running = "running" in state
        image = container["image"]
        pod["status"]["containerStatuses"] = [
            {"name": container["name"], "image": image, "imageID": "", "ready": running, "restartCount": 0, "state": state}
        ]

    def _stop(self, pod: Object, grace_s: float | None) -> None:
        container = self._containers.get(pod["metadata"]["uid"])
        grace = pod["spec"].get("terminationGracePeriodSeconds", _GRACE_S) if grace_s is None else grace_s
        if container is not None:
            container.stop(grace)

    def _stop_all(self, job: Object) -> None:
        for kind, pod in self._owned(job):
            if kind == "Pod":
                self._stop(pod, None)

    def _end(self, work: Object, kind: str, reason: str, message: str) -> None:
        condition = {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
        work["status"]["conditions"] = [condition]
        self._changed = True

    def _jobset(self, jobset: Object) -> None:
        if jobset["status"].get("conditions"):
            return
        jobs = [job for kind, job in self._owned(jobset) if kind == "Job"]
        if any(job["metadata"].get("deletionTimestamp") for job in jobs):
            return
        ends = [job["status"]["conditions"][0] for job in jobs if job["status"].get("conditions")]
        if jobs and len(ends) == len(jobs) and all(end["type"] == "Complete" for end in ends):
            self._end(jobset, "Completed", "AllJobsCompleted", "jobset completed successfully")
            return
        if failed := next((end for end in ends if end["type"] == "Failed"), None):
            policy = jobset["spec"].get("failurePolicy", {})
            rule = next(
                (rule for rule in policy.get("rules", ()) if failed["reason"] in rule.get("onJobFailureReasons", ())), None
            )
            if rule is None or rule["action"] == "FailJobSet":
                assert policy.get("maxRestarts", 0) == 0
                self._end(jobset, "Failed", "FailedJobs", f"jobset failed due to one or more job failures: {failed['message']}")
                return
            for job in jobs:
                self.delete("Job", job["metadata"]["name"])
            return
        if not jobs:
            for replicated in jobset["spec"]["replicatedJobs"]:
                self._make_jobs(jobset, replicated)

    def _make_jobs(self, jobset: Object, replicated: Object) -> None:
        for number in range(replicated.get("replicas", 1)):
            template = copy.deepcopy(replicated["template"])
            template["spec"]["template"]["spec"]["subdomain"] = jobset["metadata"]["name"]
            meta = {**template["metadata"], "name": f"{jobset['metadata']['name']}-{replicated['name']}-{number}"}
            meta["ownerReferences"] = [_reference("JobSet", jobset)]
            self.create("Job", {"metadata": meta, "spec": template["spec"]})


def _action(spec: Object, pod: Object) -> str:
    """What the pod failure policy says about a pod that failed; "" where no rule fits."""
    conditions = {(condition["type"], condition["status"]) for condition in pod["status"].get("conditions", ())}
    for rule in spec.get("podFailurePolicy", {}).get("rules", ()):
        if any((pattern["type"], pattern["status"]) in conditions for pattern in rule.get("onPodConditions", ())):
            return str(rule["action"])
    return ""


def _reference(kind: str, owner: Object) -> Object:
    version = "batch/v1" if kind == "Job" else "jobset.x-k8s.io/v1alpha2"
    return {"apiVersion": version, "kind": kind, "name": owner["metadata"]["name"], "uid": owner["metadata"]["uid"]}

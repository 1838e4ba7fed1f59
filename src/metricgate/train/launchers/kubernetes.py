"""Hands trainings to Kubernetes by its official client: a Job or a JobSet for each seed.

They are found again by a label with the job's key, and ended by deleting them, which gives their pods the grace period. Needed
are the rights to create, get, list and delete jobs (or jobsets), to create services and to list pods and events, in one
namespace.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from metricgate.errors import StageError, UsageError
from metricgate.train.launchers import kubernetes_objects as objects
from metricgate.train.launchers import kubernetes_state
from metricgate.train.launchers.job import EngineUnreachableError, Job, TaskState
from metricgate.train_config import Kubernetes

# Seconds to connect, and to answer. The answers are taken as they are: the client's own models refuse some that are right, such
# as the object itself as the answer to its deletion.
_CALL: Mapping[str, Any] = {"_request_timeout": (5.0, 30.0), "_preload_content": False}
_PAGE = 500


class KubernetesJobs:
    """Kubernetes' API, as a launcher.

    Args:
        settings: What the configuration says about the cluster.
        environ: Says where the cluster is: in a pod, KUBERNETES_SERVICE_HOST and the pod's own token; elsewhere KUBECONFIG, or
            ~/.kube/config.
        user: As whom the pods write; by default, as the runner.
        group: Its group.
    """

    def __init__(
        self, settings: Kubernetes, *, environ: Mapping[str, str], user: int | None = None, group: int | None = None
    ) -> None:
        self._settings = settings
        self._user = os.getuid() if user is None else user
        self._group = os.getgid() if group is None else group
        self._client, self._host = _connect(environ)

    @property
    def name(self) -> str:
        """What people call it."""
        return "Kubernetes"

    def submit(self, job: Job) -> str:
        """Make the objects of each seed that are not there yet."""
        mount = Path(self._settings.mount)
        for place in (job.folder, job.cwd, *(task.log for task in job.tasks)):
            if not place.is_relative_to(mount):
                raise UsageError(
                    f"{place} does not lie on the volume that the pods share with the runner",
                    expected=f"everything that a training reads and writes under {mount}",
                    where="metricgate.yaml: train.kubernetes.mount",
                    fix=f"check the repository out under {mount}, and set METRICGATE_STATE_DIR={mount}/metricgate",
                )
        for task in job.tasks:
            self._make(job, task.seed)
        return job.key

    def find(self, job: Job) -> str | None:
        """Its key, where all of its seeds are there; those that are missing are made by ``submit``."""
        known = {work["metadata"]["name"] for work in self._works(job)}
        return job.key if all(objects.name(job, task.seed) in known for task in job.tasks) else None

    def states(self, job_id: str, job: Job) -> Mapping[int, TaskState]:  # noqa: ARG002 - its key is the id
        """Where each seed is. One that can never begin is ended, and said to have failed."""
        works = {work["metadata"]["name"]: work for work in self._works(job)}
        pods = self._pods(job)
        found = {}
        for task in job.tasks:
            work = works.get(objects.name(job, task.seed))
            own = [pod for pod in pods if pod["metadata"].get("labels", {}).get(objects.SEED_LABEL) == str(task.seed)]
            state = kubernetes_state.state_of(work, own, () if own or work is None else self._events(work))
            if kubernetes_state.can_never_begin(state):
                self._delete(objects.name(job, task.seed), grace_s=None)
            found[task.seed] = state
        return found

    def cancel(self, job_id: str, job: Job, *, now: bool = False) -> None:  # noqa: ARG002
        """Delete the jobs, and with them their pods, each of which gets its grace period."""
        for task in job.tasks:
            self._delete(objects.name(job, task.seed), grace_s=0 if now else None)
        for pod in self._pods(job) if now else ():
            options = {"grace_period_seconds": 0, **_CALL}
            delete = partial(self._core().delete_namespaced_pod, pod["metadata"]["name"], self._settings.namespace, **options)
            self._gone_is_fine(delete)

    def _make(self, job: Job, seed: int) -> None:
        body = objects.training(job, seed, self._settings, user=self._user, group=self._group)
        try:
            made = self._call(lambda: self._create(body))
        except _ConflictError:  # of an earlier try, whose answer was lost
            if self._settings.kind == "jobset":
                return
            read = partial(self._batch().read_namespaced_job, objects.name(job, seed), self._settings.namespace, **_CALL)
            made = self._call(read)
        if job.nodes > 1 and self._settings.kind == "job":
            service = objects.service(job, seed, made)
            try:
                self._call(lambda: self._core().create_namespaced_service(self._settings.namespace, service, **_CALL))
            except _ConflictError:
                return

    def _create(self, body: Mapping[str, Any]) -> Any:
        if self._settings.kind == "job":
            return self._batch().create_namespaced_job(self._settings.namespace, body, **_CALL)
        return self._custom().create_namespaced_custom_object(*self._jobsets(), body, **_CALL)

    def _works(self, job: Job) -> Sequence[Mapping[str, Any]]:
        selector = f"{objects.KEY_LABEL}={job.key}"
        if self._settings.kind == "job":
            batch = self._batch()
            return self._list(
                lambda more: batch.list_namespaced_job(
                    self._settings.namespace, label_selector=selector, limit=_PAGE, _continue=more, **_CALL
                )
            )
        custom = self._custom()
        return self._list(
            lambda more: custom.list_namespaced_custom_object(
                *self._jobsets(), label_selector=selector, limit=_PAGE, _continue=more, **_CALL
            )
        )

    def _pods(self, job: Job) -> Sequence[Mapping[str, Any]]:
        core = self._core()
        return self._list(
            lambda more: core.list_namespaced_pod(
                self._settings.namespace,
                label_selector=f"{objects.KEY_LABEL}={job.key}",
                limit=_PAGE,
                _continue=more,
                **_CALL,
            )
        )

    def _events(self, work: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
        """What the cluster reported about a job; nothing where this runner may not ask."""
        core = self._core()
        selector = f"involvedObject.uid={work['metadata']['uid']}"
        try:
            return self._list(
                lambda more: core.list_namespaced_event(
                    self._settings.namespace, field_selector=selector, limit=_PAGE, _continue=more, **_CALL
                )
            )
        except _ForbiddenError:
            return ()

    def _list(self, ask: Callable[[str], Any]) -> Sequence[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        more = ""
        while True:
            page = self._call(partial(ask, more))
            found.extend(page.get("items") or ())
            more = str((page.get("metadata") or {}).get("continue") or "")
            if not more:
                return found

    def _delete(self, name: str, *, grace_s: int | None) -> None:
        # In the foreground: the job is there until its pods have gone, so that it is seen that they end.
        options: dict[str, Any] = {"propagation_policy": "Foreground", **_CALL}
        if grace_s is not None:
            options["grace_period_seconds"] = grace_s
        if self._settings.kind == "job":
            self._gone_is_fine(lambda: self._batch().delete_namespaced_job(name, self._settings.namespace, **options))
        else:
            self._gone_is_fine(lambda: self._custom().delete_namespaced_custom_object(*self._jobsets(), name, **options))

    def _gone_is_fine(self, call: Callable[[], Any]) -> None:
        with contextlib.suppress(_GoneError):
            self._call(call)

    def _call(self, call: Callable[[], Any]) -> Any:
        """The answer, as plain data.

        Raises:
            EngineUnreachableError: There is none now.
            StageError: The cluster refuses.
        """
        import urllib3
        from kubernetes.client.exceptions import ApiException

        try:
            return json.loads(call().data)
        except ApiException as error:
            raise self._refusal(int(error.status or 0), str(error.body or error.reason or "")) from None
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise self._unreachable(str(error)) from None
        except ValueError:
            raise self._unreachable("what answers there is no API of Kubernetes") from None

    def _refusal(self, status: int, body: str) -> StageError:
        said = _message(body)
        if status in (0, 429) or status >= 500:
            return self._unreachable(f"it answered {status}: {said}" if status else said)
        if status == 404 and "could not find the requested resource" in said:
            return StageError(
                f"the cluster has no {self._settings.kind}",
                expected="JobSet's controller and its definitions in the cluster",
                where=self._host,
                fix="train:\n  kubernetes: {kind: job}   # or install JobSet",
            )
        classes = {404: _GoneError, 409: _ConflictError, 401: _ForbiddenError, 403: _ForbiddenError}
        fix = ""
        if status in (401, 403):
            fix = "give the runner's service account a role that may create, get, list and delete this (docs/clusters.md)"
        return classes.get(status, StageError)(f"Kubernetes refuses: {said}", where=self._host, fix=fix)

    def _unreachable(self, why: str) -> EngineUnreachableError:
        return EngineUnreachableError(
            f"Kubernetes can't be reached: {why}",
            expected="a cluster whose API answers",
            where=self._host,
            fix="run on a runner in the cluster, or set KUBECONFIG",
        )

    def _jobsets(self) -> tuple[str, str, str, str]:
        return objects.JOBSET_GROUP, objects.JOBSET_VERSION, self._settings.namespace, objects.JOBSETS

    def _batch(self) -> Any:
        from kubernetes import client

        return client.BatchV1Api(self._client)

    def _core(self) -> Any:
        from kubernetes import client

        return client.CoreV1Api(self._client)

    def _custom(self) -> Any:
        from kubernetes import client

        return client.CustomObjectsApi(self._client)


class _GoneError(StageError):
    """It is not there."""


class _ConflictError(StageError):
    """It is there already."""


class _ForbiddenError(StageError):
    """This runner may not."""


def _connect(environ: Mapping[str, str]) -> tuple[Any, str]:
    try:
        kubernetes: Any = importlib.import_module("kubernetes")
    except ImportError:
        raise UsageError(
            "launcher: kubernetes needs the official client of Kubernetes, which is not installed",
            fix="pip install 'metricgate[kubernetes]'\n"
            "in a workflow: `with: {launcher: kubernetes}` for the action, or the reusable workflow, that trains",
        ) from None
    configuration = kubernetes.client.Configuration()
    try:
        if environ.get("KUBERNETES_SERVICE_HOST") and not environ.get("KUBECONFIG"):
            kubernetes.config.load_incluster_config(client_configuration=configuration)
        else:
            path = environ.get("KUBECONFIG") or str(Path(environ.get("HOME", "/")) / ".kube" / "config")
            kubernetes.config.load_kube_config(config_file=path, client_configuration=configuration)
    except kubernetes.config.ConfigException as error:
        raise UsageError(
            f"this runner does not say which cluster trains: {error}",
            expected="a runner in the cluster (with its service account's token), or a kubeconfig",
            fix="export KUBECONFIG=/path/to/config",
        ) from None
    configuration.retries = False  # whoever asks again decides when; the client would fill the log
    return kubernetes.client.ApiClient(configuration), str(configuration.host)


def _message(body: str) -> str:
    """What a refusal says: the message of its ``Status``."""
    try:
        document = json.loads(body)
    except ValueError:
        return " ".join(body.split())[:300]
    return str(document.get("message") or document) if isinstance(document, dict) else body[:300]

"""Hands trainings to a Ray cluster through its job API.

A Ray job for each seed, under a name that is made of the job's key: Ray refuses a second one of the same name, so nothing is
handed over twice. A training on one node is the Ray job's own command, with its processors and GPUs; one on several is a driver
(``ray_driver.py``) that asks Ray for the nodes. Ray itself is needed on the cluster only.
https://docs.ray.io/en/latest/cluster/running-applications/job-submission/rest.html
"""

from __future__ import annotations

import json
import math
import re
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests

from metricgate.errors import StageError, UsageError
from metricgate.train.launchers import ray_driver
from metricgate.train.launchers.job import PYTHON, WORKER_FILE, EngineUnreachableError, Job, State, TaskState
from metricgate.train_config import RayCluster

ENGINE_LOG_BYTES = 200_000
_ANSWER_S = (5.0, 30.0)  # to connect, and to answer
_STOP_MARGIN_S = 10
_DEFAULT_TOKEN = ".ray/auth_token"  # noqa: S105 - the name of a file, the one that Ray's own client reads

# Why a Ray job failed, where it was not its own command that did: https://docs.ray.io, `JobErrorType`.
_LOST: Mapping[str, tuple[str, str, str]] = {
    "JOB_SUPERVISOR_ACTOR_DIED": ("lost its node, or Ray killed what watches it there", "node_failure", ""),
    "JOB_SUPERVISOR_ACTOR_UNKNOWN_FAILURE": ("was lost by Ray", "node_failure", ""),
    "JOB_SUPERVISOR_ACTOR_START_TIMEOUT": (
        "waited longer for free processors and GPUs than this cluster lets a job wait",
        "queue_timeout",
        "start the head node with RAY_JOB_START_TIMEOUT_SECONDS=86400, or ask for less (`gpus`, `ray: {cpus: …}`)",
    ),
}
_LOST_BY_DRIVER = ("lost one of its nodes", "node_failure", "")
_NOT_BEGUN: Mapping[str, str] = {
    "RUNTIME_ENV_SETUP_FAILURE": "could not begin: its runtime environment could not be made",
    "JOB_SUPERVISOR_ACTOR_START_FAILURE": "could not begin: Ray could not start what watches it",
    "JOB_SUPERVISOR_ACTOR_UNSCHEDULABLE": "could not begin: no node of the cluster can run it",
    "JOB_ENTRYPOINT_COMMAND_START_ERROR": "could not begin: its command could not be started",
}
_TELLS_ALL = "METRICGATE_ENGINE_TELLS_ALL"
_WAITS_FOR_RESOURCES = "waiting for resources"


class RayJobs:
    """Ray's job API, as a launcher.

    Args:
        cluster: Where it is, and what a node's training takes of it.
        environ: RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH, for a cluster that asks for a token, and RAY_JOB_HEADERS, a JSON object
            of headers for what stands before it: as Ray's own client reads them.
    """

    def __init__(self, cluster: RayCluster, *, environ: Mapping[str, str]) -> None:
        self._cluster = cluster
        self._address = cluster.address.rstrip("/")
        self._session = requests.Session()
        self._session.headers.update(headers(environ))

    @property
    def name(self) -> str:
        """What people call it."""
        return "Ray"

    def submit(self, job: Job) -> str:
        """Hand over each seed that Ray has not got yet."""
        if job.nodes > 1:
            try:
                shutil.copyfile(ray_driver.__file__, job.folder / ray_driver.FILE)
            except OSError as error:
                raise StageError(f"the folder of the job can't be written: {error.strerror}", where=str(job.folder)) from None
        gpus = job.gpus if job.gpus is not None else int(self._has_gpus())
        for task in job.tasks:
            self._submit(job, task.seed, gpus)
        return job.key

    def find(self, job: Job) -> str | None:
        """Its key, where Ray has all of its seeds; those that it lacks are handed over by ``submit``."""
        found = all(self._info(_submission(job, task.seed)) is not None for task in job.tasks)
        return job.key if found else None

    def states(self, job_id: str, job: Job) -> Mapping[int, TaskState]:  # noqa: ARG002 - its key is the id
        """Where each seed is."""
        return {task.seed: self._state(job, task.seed) for task in job.tasks}

    def cancel(self, job_id: str, job: Job, *, now: bool = False) -> None:  # noqa: ARG002
        """Ask Ray to stop each seed; Ray itself kills what has not ended when the grace period is over.

        Ray can't take back a job that waits for resources: it starts it when there are some, and stops it then. Without its
        worker such a job does nothing.
        """
        for task in job.tasks:
            name = _submission(job, task.seed)
            answer = self._ask("POST", f"/api/jobs/{name}/stop")
            if answer.status_code not in (200, 404):
                raise self._refusal(answer, f"Ray did not stop the training of seed {task.seed}")
            info = self._info(name)
            if info is not None and info.get("status") == "PENDING":
                (job.folder / WORKER_FILE).unlink(missing_ok=True)

    def _submit(self, job: Job, seed: int, gpus: int) -> None:
        name = _submission(job, seed)
        answer = self._ask("POST", "/api/jobs/", request(job, seed, gpus=gpus, cpus=self._cluster.cpus or 1.0))
        # Ray says 500 to a name that it has; an earlier try whose answer was lost is no error.
        if answer.status_code != 200 and self._info(name) is None:
            raise self._refusal(answer, f"Ray did not take the training of seed {seed}")

    def _state(self, job: Job, seed: int) -> TaskState:
        info = self._info(_submission(job, seed))
        if info is None:
            return TaskState(
                State.GONE, "is not known to Ray: the head node was started anew, or its job was deleted", "node_failure"
            )
        if info.get("status") == "PENDING" and not (job.folder / WORKER_FILE).exists():
            return TaskState(State.LOST, "was cancelled before Ray had started it", "cancelled")
        state = state_of(info, placement=ray_driver.placement(job.folder, seed) if job.nodes > 1 else None)
        if state.state.is_over and state.state is not State.DONE:
            self._keep_log(job, seed)
        return state

    def _keep_log(self, job: Job, seed: int) -> None:
        """What Ray and the driver said: the reason where a worker did not even begin."""
        if job.engine_log(seed).exists():
            return
        answer = self._ask("GET", f"/api/jobs/{_submission(job, seed)}/logs")
        text = _json(answer).get("logs") if answer.status_code == 200 else None
        if isinstance(text, str) and text:
            job.engine_log(seed).write_text(text[-ENGINE_LOG_BYTES:], "utf-8")

    def _has_gpus(self) -> bool:
        """Whether any node of the cluster has one; a cluster that won't say has none to give."""
        answer = self._ask("GET", "/api/v0/nodes?detail=1")
        found = _json(answer) if answer.status_code == 200 else {}
        try:
            nodes = found["data"]["result"]["result"]
            return any(node["state"] == "ALIVE" and node["resources_total"].get("GPU", 0) >= 1 for node in nodes)
        except (KeyError, TypeError, AttributeError):
            return False

    def _info(self, name: str) -> Mapping[str, Any] | None:
        answer = self._ask("GET", f"/api/jobs/{name}")
        if answer.status_code == 404:
            return None
        if answer.status_code != 200:
            raise self._unreachable(f"it answered {answer.status_code}")
        return _json(answer)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> requests.Response:
        try:
            answer = self._session.request(
                method, f"{self._address}{path}", json=body, timeout=_ANSWER_S, allow_redirects=False
            )
        except requests.ConnectionError:
            raise self._unreachable("nothing answers there") from None
        except requests.RequestException as error:
            raise self._unreachable(f"it did not answer: {type(error).__name__}") from None
        if answer.status_code in (401, 403):
            raise StageError(
                f"Ray refuses to talk to this runner ({answer.status_code})",
                expected="the token of the cluster, in the environment",
                where=self._address,
                fix="RAY_AUTH_TOKEN: ${{ secrets.RAY_AUTH_TOKEN }}   # under `env:` of the step",
            )
        if answer.status_code in (502, 503, 504):
            raise self._unreachable(f"it answered {answer.status_code}")
        return answer

    def _unreachable(self, why: str) -> EngineUnreachableError:
        return EngineUnreachableError(
            f"Ray can't be reached: {why}",
            expected="the address of the cluster's dashboard, which has its job API",
            where=self._address,
            fix="train:\n  ray: {address: http://ray-head:8265}",
        )

    def _refusal(self, answer: requests.Response, found: str) -> StageError:
        said = [line for line in answer.text.splitlines() if line.strip(" .")]
        if "No available agent" in answer.text or "Failed to get head node agent" in answer.text:
            return self._unreachable("its head node has no job agent yet")
        return StageError(f"{found}: {said[-1].strip() if said else answer.reason}", where=self._address)


def headers(environ: Mapping[str, str]) -> dict[str, str]:
    """What is sent along with each request, from the environment alone.

    Raises:
        UsageError: RAY_JOB_HEADERS is no JSON object of texts, or the file with the token can't be read.
    """
    try:
        extra = json.loads(environ.get("RAY_JOB_HEADERS") or "{}")
    except ValueError:
        extra = None
    if not isinstance(extra, dict) or not all(isinstance(value, str) for value in extra.values()):
        raise UsageError(
            "RAY_JOB_HEADERS is not a JSON object of texts", expected='{"X-Header": "value"}', where="the environment"
        )
    token = environ.get("RAY_AUTH_TOKEN", "") or _token_of_file(environ)
    return {**extra, **({"Authorization": f"Bearer {token}"} if token else {})}


def _token_of_file(environ: Mapping[str, str]) -> str:
    named = environ.get("RAY_AUTH_TOKEN_PATH")
    path = Path(named) if named else Path(environ.get("HOME", "/nonexistent")) / _DEFAULT_TOKEN
    try:
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        if named:
            raise UsageError(f"the token of the Ray cluster can't be read: {error}", where="RAY_AUTH_TOKEN_PATH") from None
        return ""


def request(job: Job, seed: int, *, gpus: int, cpus: float) -> dict[str, Any]:
    """What Ray is asked for: the body of ``POST /api/jobs/``."""
    # Ray waits three seconds between SIGTERM and SIGKILL otherwise; the worker keeps to the job's own time.
    patience = math.ceil(job.grace_s) + _STOP_MARGIN_S
    body: dict[str, Any] = {
        "submission_id": _submission(job, seed),
        "runtime_env": {"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(patience)}},
        "metadata": {"name": f"{job.name}, seed {seed}", "metricgate": job.key},
    }
    if job.nodes > 1:
        driver = (PYTHON, str(job.folder / ray_driver.FILE), "drive", str(job.folder), str(seed))
        asked = ("--nodes", str(job.nodes), "--cpus", f"{cpus:g}", "--gpus", str(gpus), "--grace", f"{job.grace_s:g}")
        return {**body, "entrypoint": shlex.join((*driver, *asked, "--", *job.command(seed)))}
    # Ray's SIGTERM goes to every process below its command; one that is passed on would be the second.
    body |= {"entrypoint": f"exec env {_TELLS_ALL}=1 {shlex.join(job.command(seed))}", "entrypoint_num_cpus": cpus}
    return body | ({"entrypoint_num_gpus": gpus} if gpus else {})


def state_of(info: Mapping[str, Any], *, placement: str | None) -> TaskState:
    """Where a training is, by what Ray says about its job.

    Args:
        info: Ray's answer.
        placement: Of one on several nodes, what its driver waits for; "" once they are there.
    """
    status = str(info.get("status"))
    node = _host(info.get("driver_agent_http_address"))
    nodes = (node,) if node and placement is None else ()  # a driver's node is not a training's
    if status == "PENDING":
        resources = _WAITS_FOR_RESOURCES in str(info.get("message"))
        return TaskState(
            State.WAITING, f"waits for {'free processors or GPUs of the cluster' if resources else 'Ray to start it'}"
        )
    if status == "RUNNING":
        return TaskState(State.WAITING, placement) if placement else TaskState(State.RUNNING, nodes=nodes)
    if status == "SUCCEEDED":
        return TaskState(State.DONE, nodes=nodes)
    if status == "STOPPED":
        return TaskState(State.LOST, "was stopped through Ray", "cancelled", nodes=nodes)
    return _failure(info, placement, nodes)


def _failure(info: Mapping[str, Any], placement: str | None, nodes: tuple[str, ...]) -> TaskState:
    kind = str(info.get("error_type") or "")
    message = str(info.get("message") or "")
    code = info.get("driver_exit_code")
    if placement is not None and code == ray_driver.NODE_LOST:
        return TaskState(State.LOST, "lost one of its nodes", "node_failure")
    if kind in _LOST:
        return TaskState(State.LOST, *_LOST[kind], nodes=nodes)
    if placement and code == ray_driver.NO_RAY:
        return TaskState(State.LOST, placement, "engine", "put the python3 that has Ray first on the PATH of `ray start`")
    if kind in _NOT_BEGUN:
        return TaskState(State.LOST, f"{_NOT_BEGUN[kind]} (Ray: {_first(message)})", "engine", nodes=nodes)
    why = f"ended with exit code {code}" if code is not None else f"failed (Ray: {_first(message)})"
    return TaskState(State.FAILED, why, "exit", nodes=nodes)


def _submission(job: Job, seed: int) -> str:
    return f"{job.key}-{seed}"


def _host(address: object) -> str:
    match = re.fullmatch(r"https?://(\[[0-9a-f:]+\]|[^:/]+).*", str(address or ""))
    return match[1] if match else ""


def _first(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1 if lines and lines[0].startswith("Traceback") else 0][:300] if lines else "it does not say why"


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

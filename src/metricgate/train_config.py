"""``train:`` of ``metricgate.yaml``: what is run, on which hardware, how it survives, and where."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import pydantic

from metricgate.config_fields import Duration, Section, Seeds, Text

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(MB|GB|TB)")
_SIZE_PATTERN = r"^\d+(\.\d+)?\s*(MB|GB|TB)$"
_UNITS = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def _parse_size(value: object) -> object:
    if isinstance(value, str) and (match := _SIZE.fullmatch(value.strip())) and float(match[1]) > 0:
        return int(float(match[1]) * _UNITS[match[2]])
    message = "should be a size such as 500MB, 20GB or 1TB"
    raise ValueError(message)


Size = Annotated[
    int, pydantic.PlainValidator(_parse_size), pydantic.WithJsonSchema({"type": "string", "pattern": _SIZE_PATTERN})
]
Launcher = Literal["local", "slurm", "ray", "kubernetes"]
Precision = Literal["float32", "mixed_bfloat16", "mixed_float16"]


class Checkpoints(Section):
    """Where unfinished trainings are kept, so that a crash, a retry, a cancelled job or another runner costs little."""

    folder: Text | None = None
    """On this machine; by default beside what else metricgate keeps here. A job on another engine needs one that both see."""
    store: Text | None = None
    """A folder, or a URL such as s3://bucket/path, from which another runner goes on; by default, nowhere."""
    every: Annotated[Duration, pydantic.Field(json_schema_extra={"default": "10m"})] = 600.0
    """How often they are copied there while a training runs."""
    keep: Annotated[Size, pydantic.Field(json_schema_extra={"default": "20GB"})] = 20 * 10**9
    """How much disk they may take on this machine; those that nobody came back to for longest go first."""


class KerasOptions(Section):
    """What `metricgate.keras.setup()` sets before a training; each is left as it is where nothing is said."""

    precision: Precision | None = None
    """The dtype policy of all layers. Mixed is faster on hardware that multiplies such numbers, and rounds differently."""
    xla: bool | None = None
    """Whether XLA compiles the training step: slower to start, often faster from then on."""
    deterministic: bool | None = None
    """Whether the same seed gives the same bits on the same hardware: slower, and on a GPU some operations refuse."""


class Slurm(Section):
    """How a job is handed to Slurm, from a runner on a machine with `sbatch`, over a file system that the nodes share."""

    partition: Text | None = None
    """Its partition."""
    account: Text | None = None
    """What it is charged to."""
    qos: Text | None = None
    """Its quality of service."""
    options: tuple[Annotated[str, pydantic.Field(pattern=r"^--[a-z][a-z-]*(=.*)?$")], ...] = ()
    """More options of sbatch, such as --mem=64G or --constraint=a100."""
    requeue: bool = True
    """Whether a job that was preempted is queued again, and goes on from its checkpoint."""


class RayCluster(Section):
    """How a job is handed to a Ray cluster, over a file system that its nodes share with the runner."""

    address: Annotated[str, pydantic.Field(pattern=r"^https?://[^\s]+$")] = "http://127.0.0.1:8265"
    """Its job API, which is that of its dashboard."""
    cpus: Annotated[float, pydantic.Field(gt=0)] | None = None
    """Processors of a node's training; by default 1."""


class Kubernetes(Section):
    """How a job is handed to Kubernetes, over a volume that its pods share with the runner."""

    image: Text
    """The image that trains."""
    claim: Text
    """The PersistentVolumeClaim on which the workspace lies."""
    mount: Annotated[str, pydantic.Field(pattern=r"^/[^\s]*$")]
    """Where that volume is mounted on the runner; the pods mount it at the same place."""
    namespace: Text = "default"
    """Where the job goes."""
    service_account: Text | None = None
    """As whom its pods run."""
    gpu_resource: Text = "nvidia.com/gpu"
    """The name of the resource that is a GPU there."""
    requests: dict[Text, Text] = pydantic.Field(default={})
    """More of what a pod needs, such as cpu: "8" or memory: 64Gi."""
    node_selector: dict[Text, Text] = pydantic.Field(default={})
    """Which nodes may run it."""
    kind: Literal["job", "jobset"] = "job"
    """What is made for it; a JobSet needs its controller in the cluster."""
    queue: Text | None = None
    """The Kueue queue that admits it."""


class Train(Section):
    """How a model is trained."""

    run: Text
    """Any command, run by bash at the repository root, once a seed. It reads METRICGATE_SEED and METRICGATE_MODEL."""
    seeds: Seeds = (0,)
    """One run each. Three or more make the training noise known."""
    timeout: Annotated[Duration, pydantic.Field(json_schema_extra={"default": "6h"})] = 6 * 3600.0
    """How long one training may take, such as 90s, 30m, 6h."""
    retries: Annotated[int, pydantic.Field(ge=0, le=20)] = 0
    """How often a training that crashed or was preempted is started again; METRICGATE_CHECKPOINT_DIR survives."""
    backoff: Annotated[Duration, pydantic.Field(json_schema_extra={"default": "10s"})] = 10.0
    """How long to wait before the first retry; twice as long before each further one, ten minutes at most."""
    stall: Annotated[Duration, pydantic.Field(json_schema_extra={"default": None})] | None = None
    """How long a training may print nothing and make no step until it is ended as stuck; by default, for ever."""
    grace: Annotated[Duration, pydantic.Field(json_schema_extra={"default": "10s"})] = 10.0
    """How long it may save what it has after SIGTERM, before SIGKILL."""
    data: tuple[Text, ...] = ()
    """Files or globs of the training data; their digest is kept with the run."""
    fetch: Text | None = None
    """A command that fetches the data set into METRICGATE_DATA_DIR, once a machine, whatever trains there afterwards."""
    inputs: tuple[Text, ...] = ()
    """Files or globs of everything else that training depends on. With them, earlier runs of the same training count too,
    and a recorded run with the same inputs, data, command, seed and packages is used instead of training again."""
    gpus: Annotated[int, pydantic.Field(ge=0, le=64)] | None = None
    """How many GPUs one training gets, which nobody else then has; by default one where there are any. 0: none."""
    parallel: Annotated[int, pydantic.Field(ge=1, le=64)] = 1
    """How many seeds are trained at once, each with GPUs of its own. Each has to write its model to METRICGATE_MODEL."""
    nodes: Annotated[int, pydantic.Field(ge=1, le=1024)] = 1
    """How many machines one training gets, each with `gpus`; TF_CONFIG, MASTER_ADDR and the like say which is which."""
    checkpoints: Checkpoints = Checkpoints()
    """Where unfinished trainings are kept."""
    keras: KerasOptions = KerasOptions()
    """What `metricgate.keras.setup()` sets."""
    launcher: Launcher = "local"
    """What runs it: this machine, or an engine for many."""
    slurm: Slurm = Slurm()
    """For `launcher: slurm`."""
    ray: RayCluster = RayCluster()
    """For `launcher: ray`."""
    kubernetes: Kubernetes | None = None
    """For `launcher: kubernetes`."""

    @pydantic.model_validator(mode="after")
    def _launcher_is_described(self) -> Train:
        if self.launcher == "kubernetes" and self.kubernetes is None:
            message = "launcher: kubernetes needs `kubernetes: {image: …, claim: …, mount: …}`"
            raise ValueError(message)
        if self.nodes > 1 and self.launcher == "local":
            message = "nodes: this machine is one; several need `launcher: slurm`, `ray` or `kubernetes`"
            raise ValueError(message)
        return self

    @property
    def identity(self) -> dict[str, Any]:
        """What decides the model, beside inputs and data: two trainings that differ in it are not the same."""
        return self.model_dump(mode="json", include={"run", "fetch", "gpus", "nodes", "keras"}, exclude_defaults=True)

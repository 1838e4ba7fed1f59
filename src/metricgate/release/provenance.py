"""Where a model and an image come from, as SLSA provenance.

References:
    https://slsa.dev/spec/v1.0/provenance
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from metricgate.release.facts import Facts, Job
from metricgate.train import digest

TYPE = "https://slsa.dev/provenance/v1"
TRAINING = "https://github.com/metricgate/metricgate/types/train/v1"
IMAGE = "https://github.com/metricgate/metricgate/types/image/v1"

# The path of an interpreter says something about a machine and nothing about a model.
_NOT_TOLD = frozenset({"executable"})


def descriptor(name: str, value: str, *, uri: str = "", annotations: Mapping[str, object] | None = None) -> dict[str, Any]:
    """A resource descriptor of in-toto: what something is called and its digest.

    Args:
        name: Its name.
        value: ``sha256:<hex>``.
        uri: Where it is.
        annotations: What else to say about it.

    References:
        https://github.com/in-toto/attestation/blob/main/spec/v1/resource_descriptor.md
    """
    found: dict[str, Any] = {"name": name, "digest": {"sha256": value.removeprefix(digest.PREFIX)}}
    if uri:
        found["uri"] = uri
    if annotations:
        found["annotations"] = dict(annotations)
    return found


def of_training(facts: Facts, *, run: str) -> dict[str, Any]:
    """How the model was trained: from which commit, data and environment.

    Args:
        facts: What the release knows.
        run: The digest of the run's record.
    """
    prints = facts.run.fingerprints
    inputs = {"data": prints.data, "environment": prints.environment, "training": prints.training}
    return {
        "buildDefinition": {
            "buildType": TRAINING,
            "externalParameters": {"name": facts.name, "seed": facts.run.seed, "source": _source(facts)["uri"]},
            "internalParameters": {"environment": _environment(facts.run.environment)},
            "resolvedDependencies": [
                _source(facts),
                *(descriptor(name, value) for name, value in inputs.items() if value),
            ],
        },
        "runDetails": {
            **_run(facts.training or facts.job, started=facts.run.times.started or ""),
            "byproducts": [descriptor("run", run, annotations={"metrics": _metrics(facts)})],
        },
    }


def of_image(facts: Facts, *, named: Sequence[tuple[str, str]], verdict: str, stated: Mapping[str, str]) -> dict[str, Any]:
    """How the image was built: from which commit, model, verdict, base image, Dockerfile and packages.

    Args:
        facts: What the release knows.
        named: The other statements about the image: name and digest.
        verdict: The digest of the statement with the verdict.
        stated: What the image's labels say.
    """
    optional = {"Dockerfile": facts.dockerfile, "lock": facts.lock}
    base = [descriptor("base image", facts.base_image[1], uri=facts.base_image[0])] if facts.base_image else []
    return {
        "buildDefinition": {
            "buildType": IMAGE,
            "externalParameters": {
                "source": _source(facts)["uri"],
                "ref": facts.ref,
                "version": facts.version,
                "tags": list(facts.tags),
                "platform": facts.platform,
            },
            "internalParameters": {"labels": dict(stated), "stale": list(facts.stale), "code": list(facts.code)},
            "resolvedDependencies": [
                _source(facts),
                descriptor("model", facts.model_digest),
                descriptor("verdict", verdict),
                *base,
                *(descriptor(name, value) for name, value in optional.items() if value),
            ],
        },
        "runDetails": {
            **_run(facts.job, started=facts.job.started),
            "byproducts": [descriptor(name, value) for name, value in named],
        },
    }


def _source(facts: Facts) -> dict[str, Any]:
    uri = f"git+{facts.repository}" if facts.repository else "git+file:."
    return {"name": "source", "uri": f"{uri}@{facts.ref or facts.commit}", "digest": {"gitCommit": facts.commit}}


def _run(job: Job, *, started: str) -> dict[str, Any]:
    metadata = {"invocationId": job.url, "startedOn": started, "finishedOn": job.finished}
    return {"builder": {"id": job.builder}, "metadata": {key: value for key, value in metadata.items() if value}}


def _metrics(facts: Facts) -> dict[str, float]:
    return {name: metric.value for name, metric in sorted(facts.run.metrics.items())}


def _environment(found: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _environment(value) if isinstance(value, Mapping) else value
        for key, value in found.items()
        if key not in _NOT_TOLD
    }

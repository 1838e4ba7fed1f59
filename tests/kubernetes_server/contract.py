"""What the API server takes: the published schemas, with unknown fields refused, and the rules that a schema can't say."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import jsonschema

from tests.kubernetes_server.trim import SCHEMAS

_LABEL_NAME = re.compile(r"([a-z0-9.-]{1,253}/)?[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_QUANTITY = re.compile(r"\d+(\.\d+)?(m|k|M|G|T|Ki|Mi|Gi|Ti)?")


@cache
def validator(kind: str) -> jsonschema.Draft202012Validator:
    """The schema of a kind."""
    document = json.loads(SCHEMAS.read_text())
    definitions = document["$defs"]
    return jsonschema.Draft202012Validator({"$ref": f"#/$defs/{document['roots'][kind]}", "$defs": definitions})


def problems(kind: str, body: Any) -> list[str]:
    """What is wrong with an object, as the API server would say it."""
    found = [f"{error.json_path}: {error.message[:300]}" for error in validator(kind).iter_errors(body)]
    if found:
        return found
    meta = body["metadata"]
    if not _DNS_LABEL.fullmatch(meta["name"]):
        found.append(f"metadata.name: {meta['name']!r} is no DNS label")
    if kind == "Job":
        found += _job(body["metadata"]["name"], body["spec"])
    if kind == "JobSet":
        for replicated in body["spec"]["replicatedJobs"]:
            longest = f"{meta['name']}-{replicated['name']}-{replicated.get('replicas', 1) - 1}"
            found += _job(longest, replicated["template"]["spec"])
    for name, value in meta.get("labels", {}).items():
        if not _LABEL_NAME.fullmatch(name) or not _LABEL_VALUE.fullmatch(value):
            found.append(f"metadata.labels: {name}={value}")
    return found


def _job(name: str, spec: Any) -> list[str]:
    pod = spec["template"]["spec"]
    found = []
    if pod.get("restartPolicy") not in ("Never", "OnFailure"):
        found.append("spec.template.spec.restartPolicy: must be Never or OnFailure")
    if spec.get("podFailurePolicy") and pod.get("restartPolicy") != "Never":
        found.append("spec.template.spec.restartPolicy: only Never is supported when podFailurePolicy is specified")
    if spec.get("completionMode") == "Indexed":
        host = f"{name}-{spec['completions'] - 1}"
        if len(host) > 63:
            found.append(f"metadata.name: host name {host} is longer than 63 characters")
        if spec.get("parallelism") is None:
            found.append("spec.parallelism: required for Indexed")
    volumes = {volume["name"] for volume in pod.get("volumes", ())}
    for container in pod["containers"]:
        lacking = {mount["name"] for mount in container.get("volumeMounts", ())} - volumes
        found += [f"volumeMounts: there is no volume {name}" for name in sorted(lacking)]
        for amounts in (container.get("resources") or {}).values():
            found += [f"resources: {amount!r}" for amount in amounts.values() if not _QUANTITY.fullmatch(str(amount))]
    return found

"""Cuts the published schemas of Kubernetes and JobSet down to the kinds that the test server takes.

    pip download --no-deps kubernetes-validate==1.37.0 kubeflow-trainer-api==2.3.0   # and unpack both wheels into one folder
    python -m tests.kubernetes_server.trim FOLDER

Those of Kubernetes 1.37 come from its own OpenAPI description, as the package kubernetes-validate has them; that of JobSet from
the models in the package kubeflow-trainer-api, which are generated from JobSet's own. Both have the Apache License 2.0. Only
prose is left out, and what nothing refers to: what remains says which fields there are, of which type, and which are required.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).with_name("schemas.json")
VERSION = "1.37.0"
_DEFINITIONS = f"kubernetes_validate/kubernetes-json-schema/v{VERSION}-local-strict/_definitions.json"
_ROOTS = {
    "Job": "io.k8s.api.batch.v1.Job",
    "Service": "io.k8s.api.core.v1.Service",
    "Pod": "io.k8s.api.core.v1.Pod",
    "Event": "io.k8s.api.core.v1.Event",
    "DeleteOptions": "io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions",
    "PodTemplateSpec": "io.k8s.api.core.v1.PodTemplateSpec",
    "PersistentVolumeClaimSpec": "io.k8s.api.core.v1.PersistentVolumeClaimSpec",
    # What the documentation shows beside those.
    "PersistentVolumeClaim": "io.k8s.api.core.v1.PersistentVolumeClaim",
    "ConfigMap": "io.k8s.api.core.v1.ConfigMap",
    "ServiceAccount": "io.k8s.api.core.v1.ServiceAccount",
    "Role": "io.k8s.api.rbac.v1.Role",
    "RoleBinding": "io.k8s.api.rbac.v1.RoleBinding",
}
_JOBSET = "kubeflow_trainer_api.models.jobset_v1alpha2_job_set"
_PROSE = frozenset({"description", "title", "default", "examples", "format", "$schema", "$id"})


def bare(schema: Any) -> Any:
    """A schema without prose; properties of such names stay."""
    if isinstance(schema, list):
        return [bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs"):
            kept[key] = {name: bare(item) for name, item in value.items()}
        elif key == "$ref":
            kept[key] = "#/$defs/" + value.rpartition("/")[2]
        elif key not in _PROSE and not key.startswith("x-"):
            kept[key] = bare(value)
    return kept


def references(schema: Any) -> Iterator[str]:
    """The names of the definitions that a schema refers to."""
    for value in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        if isinstance(value, str):
            if value.startswith("#/$defs/"):
                yield value.rpartition("/")[2]
        else:
            yield from references(value)


def jobset(definitions: dict[str, Any]) -> str:
    """Add JobSet's definitions, which refer to those of Kubernetes; the name of the first."""
    model = importlib.import_module(_JOBSET).JobsetV1alpha2JobSet
    schema = model.model_json_schema(by_alias=True)
    # The generated models have names without dots: IoK8sApiBatchV1JobTemplateSpec.
    names = {name.replace(".", "").replace("-", "").lower(): name for name in definitions}
    for name, definition in {**schema.pop("$defs"), model.__name__: schema}.items():
        if name.startswith("Jobset"):
            definitions[name] = {**renamed(bare(definition), names), "additionalProperties": False}
    return str(model.__name__)


def renamed(schema: Any, names: Mapping[str, str]) -> Any:
    """A schema that refers to Kubernetes' own definitions.

    Args:
        schema: A schema.
        names: The name of each definition by how the generated models write it, in small letters.
    """
    if isinstance(schema, list):
        return [renamed(item, names) for item in schema]
    if not isinstance(schema, dict):
        return schema
    changed = {key: renamed(value, names) for key, value in schema.items()}
    if isinstance(schema.get("$ref"), str):
        own = schema["$ref"].rpartition("/")[2]
        changed["$ref"] = f"#/$defs/{names.get(own.lower(), own)}"
    return changed


def main(folder: Path) -> None:
    """Write ``schemas.json`` anew."""
    sys.path.insert(0, str(folder))
    definitions = {name: bare(schema) for name, schema in json.loads((folder / _DEFINITIONS).read_text())["$defs"].items()}
    roots = {**_ROOTS, "JobSet": jobset(definitions)}
    needed: set[str] = set()
    left = list(roots.values())
    while left:
        name = left.pop()
        if name not in needed:
            needed.add(name)
            left.extend(references(definitions[name]))
    document = {"roots": roots, "$defs": {name: definitions[name] for name in sorted(needed)}}
    SCHEMAS.write_text(json.dumps(document, indent=None, separators=(",", ":"), sort_keys=True) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

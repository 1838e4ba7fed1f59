"""What the documentation shows of Kubernetes is what Kubernetes takes; values of a scale set are those that its chart reads."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import ruamel.yaml
from markdown_it import MarkdownIt
from tests.kubernetes_server import contract

from metricgate.train_config import Train

DOCS = Path(__file__).parents[2] / "docs"

# The chart gha-runner-scale-set ships no schema of its values. This one says what its templates read, as of 0.14.2; a key that
# they do not read would be ignored without a word. https://github.com/actions/actions-runner-controller
CHART = "0.14"
_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_COUNT = {"type": "integer", "minimum": 0}
VALUES: dict[str, Any] = {
    "type": "object",
    "required": ["githubConfigUrl", "githubConfigSecret", "template"],
    "additionalProperties": False,
    "properties": {
        "githubConfigUrl": {"type": "string", "pattern": r"^https://[^/]+/.+[^/]$"},
        # The name of a secret: no example has a token in it.
        "githubConfigSecret": _TEXT,
        "runnerScaleSetName": {"type": "string", "minLength": 1, "maxLength": 45},
        "scaleSetLabels": {"type": "array", "items": {"type": "string", "minLength": 1, "maxLength": 255}},
        "runnerGroup": _TEXT,
        "minRunners": _COUNT,
        "maxRunners": _COUNT,
        "containerMode": {
            "type": "object",
            "required": ["type"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["dind", "kubernetes", "kubernetes-novolume"]},
                "kubernetesModeWorkVolumeClaim": {"type": "object"},
                "kubernetesModeAdditionalRoleRules": {"type": "array"},
            },
        },
        "template": {
            "type": "object",
            "required": ["spec"],
            "additionalProperties": False,
            "properties": {
                "metadata": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {"labels": _TEXTS, "annotations": _TEXTS},
                },
                "spec": {"type": "object"},
            },
        },
        "listenerTemplate": {"type": "object"},
        "listenerMetrics": {"type": "object"},
        "controllerServiceAccount": {
            "type": "object",
            "additionalProperties": False,
            "properties": {"namespace": _TEXT, "name": _TEXT},
        },
        "proxy": {"type": "object"},
        "githubServerTLS": {"type": "object"},
        "keyVault": {"type": "object"},
        "namespaceOverride": {"type": "string"},
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "resourceMeta": {"type": "object"},
    },
}


def documents(page: str) -> list[Any]:
    """What every block of YAML in a page says."""
    blocks = [
        token.content
        for token in MarkdownIt().parse((DOCS / page).read_text())
        if token.type == "fence" and token.info == "yaml"
    ]
    assert blocks
    reader = ruamel.yaml.YAML(typ="safe")
    return [document for block in blocks for document in reader.load_all(block)]


def wrong(schema: jsonschema.Draft202012Validator, document: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(document)]


def problems_of_values(values: Any) -> list[str]:
    """What is wrong with the values of a scale set."""
    found = wrong(jsonschema.Draft202012Validator(VALUES), values)
    if found:
        return found
    found += wrong(contract.validator("PodTemplateSpec"), values["template"])
    runners = [container for container in values["template"]["spec"]["containers"] if container["name"] == "runner"]
    if len(runners) != 1 or not {"image", "command"} <= runners[0].keys():
        found.append("template.spec.containers: one is called runner, and has an image and a command")
    if values.get("minRunners", 0) > values.get("maxRunners", 2**31):
        found.append("minRunners: more than maxRunners")
    mode = values.get("containerMode", {})
    claim = mode.get("kubernetesModeWorkVolumeClaim")
    if claim is not None:
        found += wrong(contract.validator("PersistentVolumeClaimSpec"), claim)
    elif mode.get("type") == "kubernetes":
        found.append("containerMode.kubernetesModeWorkVolumeClaim: required")
    return found + problems_of_pod(values["template"]["spec"], made={"work"} if mode else set())


def problems_of_pod(spec: Any, *, made: set[str]) -> list[str]:
    """Volumes that are mounted and are not there; those that the chart makes are."""
    volumes = made | {volume["name"] for volume in spec.get("volumes", ())}
    return [
        f"{container['name']}: there is no volume {mount['name']}"
        for container in spec["containers"]
        for mount in container.get("volumeMounts", ())
        if mount["name"] not in volumes
    ]


def problems(document: Any) -> list[str]:
    """What is wrong with a document, whatever it is."""
    if "githubConfigUrl" in document:
        return problems_of_values(document)
    if "apiVersion" in document:
        found = wrong(contract.validator(document["kind"]), document)
        if document["kind"] == "ConfigMap":
            for content in document["data"].values():
                template = ruamel.yaml.YAML(typ="safe").load(content)
                found += wrong(contract.validator("PodTemplateSpec"), template) + problems_of_pod(template["spec"], made=set())
        return found
    Train.model_validate_json(json.dumps(document.pop("train")))
    return [f"{key}: what is this?" for key in document]


@pytest.mark.parametrize(
    "document", documents("runners.md"), ids=lambda found: found.get("runnerScaleSetName") or found.get("kind") or "metricgate"
)
def test_every_example_is_taken_as_it_stands(document: Any) -> None:
    assert problems(copy.deepcopy(document)) == []


def test_there_is_an_example_of_each_way_to_train() -> None:
    values = [document for document in documents("runners.md") if "githubConfigUrl" in document]
    assert {document.get("containerMode", {}).get("type") for document in values} == {None, "kubernetes", "dind"}
    assert f"gha-runner-scale-set` {CHART}" in (DOCS / "runners.md").read_text()


def test_what_the_examples_name_is_made_by_one_of_them() -> None:
    found = documents("runners.md")
    made = {(document["kind"], document["metadata"]["name"]) for document in found if "apiVersion" in document}
    for document in found:
        if "githubConfigUrl" not in document:
            continue
        spec = document["template"]["spec"]
        for volume in spec.get("volumes", ()):
            if claim := volume.get("persistentVolumeClaim"):
                assert ("PersistentVolumeClaim", claim["claimName"]) in made
            if named := volume.get("configMap"):
                assert ("ConfigMap", named["name"]) in made
        if account := spec.get("serviceAccountName"):
            assert ("ServiceAccount", account) in made


def test_where_the_training_is_handed_over_its_pods_find_the_runners_folder() -> None:
    found = documents("runners.md")
    [described] = [document["train"]["kubernetes"] for document in found if "train" in document]
    [values] = [document for document in found if document.get("runnerScaleSetName", "").startswith("gpu-launcher")]
    [runner] = values["template"]["spec"]["containers"]
    [mount] = runner["volumeMounts"]
    [volume] = values["template"]["spec"]["volumes"]
    assert mount["mountPath"] == described["mount"]
    assert volume["persistentVolumeClaim"]["claimName"] == described["claim"]
    state = {item["name"]: item["value"] for item in runner["env"]}["METRICGATE_STATE_DIR"]
    assert state.startswith(f"{described['mount']}/")
    assert values["maxRunners"] == 1


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("maxRunner",), 3),
        (("maxRunners",), "3"),
        (("minRunners",), 9),
        (("containerMode",), {"type": "docker"}),
        (("containerMode",), {"type": "kubernetes"}),
        (("template", "spec", "tolerations"), {"key": "nvidia.com/gpu"}),
        (("template", "spec", "containers", 0, "resource"), {}),
        (("template", "spec", "containers", 0, "name"), "training"),
        (("template", "spec", "volumes"), []),
    ],
)
def test_a_mistake_in_values_is_found(path: tuple[Any, ...], value: Any) -> None:
    values = copy.deepcopy(next(document for document in documents("runners.md") if "githubConfigUrl" in document))
    place = values
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    assert problems_of_values(values) != []


@pytest.mark.parametrize("document", documents("clusters.md"), ids=lambda found: found["train"]["launcher"])
def test_every_example_of_a_cluster_is_a_configuration(document: Any) -> None:
    assert problems(copy.deepcopy(document)) == []

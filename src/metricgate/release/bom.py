"""Bills of materials: what is in the image, and what the model can do, as CycloneDX 1.6.

References:
    https://cyclonedx.org/docs/1.6/json/
"""

from __future__ import annotations

import json
import uuid
from datetime import datetime
from typing import Any

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType, Property
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from packageurl import PackageURL

from metricgate import __version__
from metricgate.errors import InputError
from metricgate.release.facts import Facts, Package
from metricgate.train import digest


def of_image(facts: Facts) -> dict[str, Any]:
    """The packages of the image.

    Raises:
        InputError: The facts don't make a valid document.
    """
    found = Bom(components=[_package(each) for each in facts.packages])
    found.metadata.component = Component(
        type=ComponentType.CONTAINER,
        name=facts.image,
        version=facts.image_digest,
        bom_ref="image",
        purl=_purl(facts),
        hashes=[_hash(facts.image_digest)],
    )
    found.register_dependency(found.metadata.component, found.components)
    _date(found, facts, what="image")
    return _checked(json.loads(JsonV1Dot6(found).output_as_string()), what="image")


def of_model(facts: Facts) -> dict[str, Any]:
    """The model: its files and its metrics.

    Raises:
        InputError: The facts don't make a valid document.
    """
    files = [
        Component(type=ComponentType.FILE, name=name or facts.name, bom_ref=f"file {name}", hashes=[_hash(value)])
        for name, value in sorted(facts.model_files.items())
    ]
    digests = {"model": facts.model_digest, "policy": facts.policy, "test-set": facts.test_set, "baseline": facts.baseline}
    found = Bom(components=files)
    found.metadata.component = Component(
        type=ComponentType.MACHINE_LEARNING_MODEL,
        name=facts.name,
        version=facts.version or facts.commit,
        bom_ref="model",
        properties=[Property(name=f"metricgate:{key}", value=value) for key, value in digests.items() if value],
    )
    found.register_dependency(found.metadata.component, found.components)
    _date(found, facts, what="model")
    document = json.loads(JsonV1Dot6(found).output_as_string())
    # The library has no model card yet.
    document["metadata"]["component"]["modelCard"] = _card(facts)
    return _checked(document, what="model")


def _card(facts: Facts) -> dict[str, Any]:
    card: dict[str, Any] = {"quantitativeAnalysis": {"performanceMetrics": _metrics(facts)}}
    if facts.run.fingerprints.data:
        data = {"type": "dataset", "name": "training data", "bom-ref": f"data {facts.run.fingerprints.data}"}
        card["modelParameters"] = {"datasets": [data]}
    return card


def _metrics(facts: Facts) -> list[dict[str, Any]]:
    """The metrics of the run, those of slices, and the differences to the baseline; numbers are texts in this format."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for name, metric in sorted(facts.run.metrics.items()):
        found[name, ""] = {"type": name, "value": repr(metric.value)}
    for rule in facts.report.rules:
        key = rule.metric, rule.slice or ""
        if rule.candidate is not None and key not in found:
            found[key] = {"type": rule.metric, "value": repr(rule.candidate)}
        bounds = {"lowerBound": rule.interval.low, "upperBound": rule.interval.high}
        interval = {name: repr(value) for name, value in bounds.items() if value is not None}
        if rule.kind in {"min", "max"}:
            if interval and key in found:
                found[key].setdefault("confidenceInterval", interval)
        elif rule.difference is not None:
            kind = f"{rule.metric}, difference to the baseline"
            told: dict[str, Any] = {"type": kind, "value": repr(rule.difference)}
            if interval:
                told["confidenceInterval"] = interval
            found.setdefault((kind, rule.slice or ""), told)
    return [{**told, "slice": slice_name} if slice_name else told for (_, slice_name), told in found.items()]


def _package(package: Package) -> Component:
    try:
        purl = PackageURL.from_string(package.purl) if package.purl else None
    except ValueError:
        raise InputError(
            f"{package.purl[:200]!r} is no package URL", where=package.name, expected="pkg:pypi/numpy@2.3.0"
        ) from None
    return Component(
        type=ComponentType.LIBRARY,
        name=package.name,
        version=package.version,
        purl=purl,
        bom_ref=package.purl or f"{package.name}@{package.version}",
        licenses=[LicenseFactory().make_from_string(package.license)] if package.license else [],
    )


def _purl(facts: Facts) -> PackageURL:
    name = facts.image.rpartition("/")[2]
    return PackageURL("oci", None, name, facts.image_digest, {"repository_url": facts.image})


def _hash(value: str) -> HashType:
    return HashType(alg=HashAlgorithm.SHA_256, content=value.removeprefix(digest.PREFIX))


def _date(found: Bom, facts: Facts, *, what: str) -> None:
    """Give a document a number and a time of its own that are the same whenever it is written again."""
    found.serial_number = uuid.uuid5(uuid.NAMESPACE_URL, f"{facts.image}@{facts.image_digest}#{what}")
    found.metadata.timestamp = datetime.fromisoformat(facts.created.replace("Z", "+00:00"))
    found.metadata.tools.components.add(
        Component(type=ComponentType.APPLICATION, name="metricgate", version=__version__, bom_ref="metricgate")
    )


def _checked(document: dict[str, Any], *, what: str) -> dict[str, Any]:
    from cyclonedx.validation.json import JsonStrictValidator  # slow to import, which reading evidence does not need

    if problem := JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(document)):
        raise InputError(f"the bill of materials of the {what} is not valid: {problem}"[:500], expected="CycloneDX 1.6")
    return document

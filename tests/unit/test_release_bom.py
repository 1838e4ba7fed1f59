"""Bills of materials: valid CycloneDX 1.6, whatever the packages are, with the metrics of the model."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from cyclonedx.model.bom import Bom
from hypothesis import given
from hypothesis import strategies as st
from tests.evidence_scene import FILES, digest, known

from metricgate.errors import InputError
from metricgate.release import bom
from metricgate.release.facts import Package

HASHES = {name: digest(content) for name, content in FILES.items()}


def _metrics() -> dict[tuple[str, str | None], dict[str, Any]]:
    card = bom.of_model(known(HASHES))["metadata"]["component"]["modelCard"]
    return {(each["type"], each.get("slice")): each for each in card["quantitativeAnalysis"]["performanceMetrics"]}


def test_the_image_is_described_with_its_packages_and_their_licenses() -> None:
    found = bom.of_image(known(HASHES))
    assert found["specVersion"] == "1.6"
    assert found["metadata"]["component"]["type"] == "container"
    assert found["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": digest("not built yet")[7:]}]
    assert found["components"] == [
        {
            "bom-ref": "pkg:pypi/numpy@2.3.0",
            "licenses": [{"license": {"id": "BSD-3-Clause"}}],
            "name": "numpy",
            "purl": "pkg:pypi/numpy@2.3.0",
            "type": "library",
            "version": "2.3.0",
        }
    ]


def test_a_library_of_others_reads_the_bill_of_the_image_again() -> None:
    read = Bom.from_json(bom.of_image(known(HASHES)))  # type: ignore[attr-defined]
    assert [component.name for component in read.components] == ["numpy"]


def test_the_same_facts_give_the_same_document_with_the_time_of_the_commit() -> None:
    first, second = bom.of_image(known(HASHES)), bom.of_image(known(HASHES))
    assert first == second
    assert first["metadata"]["timestamp"] == "2026-11-01T10:00:00+00:00"
    other = bom.of_image(replace(known(HASHES), image_digest=digest("another")))
    assert other["serialNumber"] != first["serialNumber"]
    assert bom.of_model(known(HASHES))["serialNumber"] != first["serialNumber"]


def test_the_metrics_of_the_model_are_texts_with_their_intervals() -> None:
    found = _metrics()
    assert found["accuracy", None]["value"] == "0.91"
    assert found["accuracy", "label=8"]["value"] == "0.91"
    assert found["accuracy", "label=8"]["confidenceInterval"] == {"lowerBound": "0.88", "upperBound": "0.94"}
    assert found["accuracy, difference to the baseline", None] == {
        "type": "accuracy, difference to the baseline",
        "value": "0.01",
        "confidenceInterval": {"lowerBound": "-0.002", "upperBound": "0.022"},
    }


def test_the_interval_of_a_difference_is_not_that_of_the_metric() -> None:
    assert "confidenceInterval" not in _metrics()["accuracy", None]


def test_the_model_names_its_files_its_data_and_what_it_was_judged_with() -> None:
    found = bom.of_model(known(HASHES))
    files = {each["name"]: each["hashes"][0]["content"] for each in found["components"]}
    assert files == {name: value[7:] for name, value in HASHES.items()}
    component = found["metadata"]["component"]
    assert component["type"] == "machine-learning-model"
    named = {each["name"]: each["value"] for each in component["properties"]}
    assert named["metricgate:model"] == known(HASHES).model_digest
    assert named["metricgate:policy"] == digest("policy")
    assert digest("data") in json.dumps(component["modelCard"]["modelParameters"])


def test_a_package_url_that_is_none_is_refused_with_the_name_of_the_package() -> None:
    with pytest.raises(InputError, match="no package URL") as refused:
        bom.of_image(replace(known(HASHES), packages=(Package(name="numpy", version="1", purl="numpy"),)))
    assert refused.value.where == "numpy"


_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@given(st.lists(st.builds(Package, name=_TEXT.filter(bool), version=_TEXT, license=_TEXT), max_size=4))
def test_whatever_packages_call_themselves_the_document_is_valid(packages: list[Package]) -> None:
    unique = {(each.name, each.version): each for each in packages}
    found = bom.of_image(replace(known(HASHES), packages=tuple(unique.values())))
    assert len(found.get("components", [])) == len(unique)

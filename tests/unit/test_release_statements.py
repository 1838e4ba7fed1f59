"""What is said about a release: valid for the libraries of in-toto and model-signing, the same bytes for the same facts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from model_signing import hashing
from model_signing._signing import signing as model_signing_payload
from tests.evidence_scene import COMMIT, FILES, digest, known

from metricgate.errors import InputError
from metricgate.release import facts, stated, statements
from metricgate.release.facts import Facts, Job
from metricgate.report.document import SideInfo, Waiver
from metricgate.train import digest as digests

HASHES = {name: digest(content) for name, content in FILES.items()}
VECTORS = Path(__file__).parents[1] / "vectors"


def _all(told: Facts) -> dict[str, dict[str, Any]]:
    return {each.name: json.loads(each.content) for each in statements.all_of(told)}


def _predicate(name: str, **changes: Any) -> dict[str, Any]:
    found: dict[str, Any] = _all(replace(known(HASHES), **changes))[name]["predicate"]
    return found


def test_the_same_facts_give_the_same_bytes() -> None:
    shuffled = dict(reversed(list(HASHES.items())))
    assert statements.all_of(known(HASHES)) == statements.all_of(replace(known(HASHES), model_files=shuffled))


def test_a_release_has_one_statement_of_each_kind_and_the_provenance_of_the_image_comes_last() -> None:
    found = statements.all_of(known(HASHES))
    assert sorted(each.name for each in found) == sorted(
        [
            statements.TRAINING,
            statements.VERDICT,
            statements.SBOM,
            statements.ML_BOM,
            statements.MODEL,
            statements.SMOKE,
            statements.IMAGE,
        ]
    )
    assert found[-1].name == statements.IMAGE
    assert {stated.kind_of(json.loads(each.content)) for each in found} == {each.name for each in found}


def test_each_statement_names_the_one_before_it_by_its_digest() -> None:
    by_name = {each.name: each for each in statements.all_of(known(HASHES))}
    verdict = json.loads(by_name[statements.VERDICT].content)["predicate"]["configuration"]
    assert {"name": "training", "digest": {"sha256": by_name[statements.TRAINING].digest[7:]}} in verdict
    image = json.loads(by_name[statements.IMAGE].content)["predicate"]
    needed = {each["name"]: each["digest"] for each in image["buildDefinition"]["resolvedDependencies"]}
    assert needed["verdict"] == {"sha256": by_name[statements.VERDICT].digest[7:]}
    assert needed["model"] == {"sha256": known(HASHES).model_digest[7:]}
    assert needed["source"] == {"gitCommit": COMMIT}
    named = {each["name"]: "sha256:" + each["digest"]["sha256"] for each in image["runDetails"]["byproducts"]}
    assert named == {
        name: by_name[name].digest for name in (statements.SBOM, statements.ML_BOM, statements.MODEL, statements.SMOKE)
    }


def test_the_training_names_commit_data_and_environment_and_no_path_of_its_machine() -> None:
    training = _predicate(statements.TRAINING)
    needed = {each["name"]: each["digest"] for each in training["buildDefinition"]["resolvedDependencies"]}
    assert needed["source"] == {"gitCommit": COMMIT}
    assert needed["data"] == {"sha256": digest("data")[7:]}
    assert needed["environment"] == {"sha256": digest("environment")[7:]}
    assert training["runDetails"]["metadata"]["startedOn"] == "2026-10-31T08:00:00Z"
    assert "/opt/python" not in json.dumps(training)
    assert training["buildDefinition"]["internalParameters"]["environment"]["python"]["packages"] == {"numpy": "2.3.0"}


def test_the_verdict_names_policy_baseline_and_test_set_by_digest_and_every_rule() -> None:
    verdict = _predicate(statements.VERDICT)
    named = {each["name"]: each["digest"].get("sha256") for each in verdict["configuration"]}
    assert named["policy"] == digest("policy")[7:]
    assert named["baseline"] == digest("baseline")[7:]
    assert named["test set"] == digest("test set")[7:]
    assert verdict["result"] == "PASSED"
    assert verdict["passedTests"] == ["accuracy: max_regression 0.01", "accuracy on label=8: min 0.8"]
    assert verdict["url"].endswith("/actions/runs/7")


@pytest.mark.parametrize(
    ("outcome", "verdict", "exit_code", "result", "where"),
    [
        ("pass", "pass", 0, "PASSED", "passedTests"),
        ("inconclusive", "inconclusive", 0, "WARNED", "warnedTests"),
        ("inconclusive", "pass", 0, "WARNED", "warnedTests"),
        ("not_comparable", "not_comparable", 0, "WARNED", "warnedTests"),
        ("inconclusive", "inconclusive", 3, "FAILED", "failedTests"),
        ("not_comparable", "not_comparable", 4, "FAILED", "failedTests"),
        ("fail", "fail", 1, "FAILED", "failedTests"),
        ("fail", "fail", 0, "FAILED", "failedTests"),
    ],
)
def test_a_verdict_passes_warns_or_fails_as_its_rules_and_policy_say(
    outcome: str, verdict: str, exit_code: int, result: str, where: str
) -> None:
    before = known(HASHES).report
    rule = before.rules[0].model_copy(update={"outcome": outcome})
    report = before.model_copy(update={"verdict": verdict, "exit_code": exit_code, "rules": (rule,)})
    found = _predicate(statements.VERDICT, report=report)
    assert found["result"] == result
    assert found[where] == ["accuracy: max_regression 0.01"]


def test_a_waiver_is_named_and_the_verdict_stays_what_it_is() -> None:
    report = known(HASHES).report
    failed = report.model_copy(
        update={"verdict": "fail", "exit_code": 0, "rules": (report.rules[0].model_copy(update={"outcome": "fail"}),)}
    )
    waiver = Waiver(by="octocat", at="2026-10-31T09:00:00Z", commit=COMMIT)
    found = _predicate(statements.VERDICT, report=failed, waiver=waiver)
    assert found["result"] == "FAILED"
    told = next(each for each in found["configuration"] if each["name"] == "waiver")
    assert told["annotations"] == {"by": "octocat", "at": "2026-10-31T09:00:00Z", "commit": COMMIT}


def test_what_was_allowed_is_recorded_with_the_image() -> None:
    found = _predicate(statements.IMAGE, stale=("the baseline moved on",), code=("a Lambda layer",))
    assert found["buildDefinition"]["internalParameters"]["stale"] == ["the baseline moved on"]
    assert found["buildDefinition"]["internalParameters"]["code"] == ["a Lambda layer"]


def test_the_labels_of_the_image_are_in_its_provenance() -> None:
    told = known(HASHES)
    expected = facts.labels(
        model=told.model_digest,
        verdict="pass",
        report=told.report_digest,
        policy=told.policy,
        test_set=told.test_set,
        baseline=told.baseline,
    )
    assert _predicate(statements.IMAGE)["buildDefinition"]["internalParameters"]["labels"] == expected


@pytest.mark.parametrize("name", ["", "saved_model.pb"])
def test_a_model_that_is_one_file_is_signed_as_model_signing_does_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "saved_model.pb").write_bytes(b"graph")
    one = replace(known(HASHES), model_files={name: digest("graph")}, model_digest=digest("graph"))
    payload = model_signing_payload.Payload(hashing.Config().hash(tmp_path / "saved_model.pb"))  # type: ignore[no-untyped-call]
    assert _signature(one) == _theirs(payload)


_NAMES = st.lists(
    st.text("ab.-_ é", min_size=1, max_size=4).filter(lambda part: part not in {".", ".."}), min_size=1, max_size=3
)


@given(st.dictionaries(_NAMES.map("/".join), st.binary(max_size=8), min_size=2, max_size=8))
def test_a_folder_is_signed_as_model_signing_does_it_and_has_the_digest_of_training(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    folder = tmp_path_factory.mktemp("model")
    there = {}
    for name, content in files.items():
        file = folder / name
        if any((folder / parent).is_file() for parent in file.relative_to(folder).parents if parent.name) or file.exists():
            continue  # a file can't be a folder
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
        there[name] = digest(content)
    hashes = {path: digest((folder / path).read_bytes()) for path in digests.files_in(folder)}
    assert stated.model_digests(hashes)[0] == digests.of_path(folder)
    payload = model_signing_payload.Payload(hashing.Config().hash(folder))  # type: ignore[no-untyped-call]
    assert _signature(replace(known(HASHES), model_files=hashes)) == _theirs(payload)


def test_files_of_git_are_left_out_of_the_signature_as_model_signing_does_it(tmp_path: Path) -> None:
    for name in ("a.bin", ".gitattributes", ".git/config"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    hashes = {name: digest(name) for name in ("a.bin", ".gitattributes", ".git/config")}
    payload = model_signing_payload.Payload(hashing.Config().hash(tmp_path))  # type: ignore[no-untyped-call]
    assert _signature(replace(known(HASHES), model_files=hashes)) == _theirs(payload)


def _signature(told: Facts) -> tuple[Any, Any]:
    found = _all(told)[statements.MODEL]
    return found["subject"][0]["digest"], found["predicate"]["resources"]


def _theirs(payload: Any) -> tuple[Any, Any]:
    from google.protobuf import json_format

    found = json_format.MessageToDict(payload.statement.pb)
    return found["subject"][0]["digest"], found["predicate"]["resources"]


@pytest.mark.parametrize(
    "changes",
    [
        {"policy": "sha256:12"},
        {"image_digest": "latest"},
        {"model_files": {}},
        {"model_files": {"a": "12"}},
        {"commit": "v1.2.3"},
        {"baseline": ""},
    ],
)
def test_facts_that_name_something_without_a_digest_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        replace(known(HASHES), **changes)


def test_a_report_about_another_policy_test_set_or_model_is_refused() -> None:
    told = known(HASHES)
    right = told.report.model_copy(
        update={
            "policy": told.policy,
            "test_set": told.test_set,
            "candidate": SideInfo(models={0: told.model_digest, 1: digest("of another seed")}),
        }
    )
    assert len(statements.all_of(replace(told, report=right))) == 7
    for wrong in (
        {"policy": digest("another")},
        {"test_set": digest("another")},
        {"candidate": SideInfo(models={0: digest("another")})},
    ):
        with pytest.raises(InputError, match="the report is about"):
            statements.all_of(replace(told, report=right.model_copy(update=wrong)))


def test_a_time_that_is_none_is_refused_with_the_name_of_the_statement() -> None:
    with pytest.raises(InputError, match="no in-toto statement") as refused:
        statements.all_of(replace(known(HASHES), job=Job(builder="x", started="yesterday")))
    assert refused.value.where == "the image statement"


def test_a_file_name_that_is_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="can't be stated"):
        statements.all_of(replace(known(HASHES), model_files={"\udcff": digest("x")}))


def _published() -> list[dict[str, Any]]:
    document: list[dict[str, Any]] = json.loads((VECTORS / "in-toto" / "statements.json").read_text(encoding="utf-8"))
    return document


@pytest.mark.parametrize("case", _published(), ids=lambda case: case["name"])
def test_the_statements_that_in_toto_publishes_are_told_right_from_wrong(case: dict[str, Any]) -> None:
    content = json.dumps(case["statement"]).encode()
    if case["valid"]:
        assert statements.check(content, where="here") == case["statement"]
    else:
        with pytest.raises(InputError):
            statements.check(content, where="here")


@pytest.mark.parametrize("name", [statements.VERDICT, statements.IMAGE])
def test_something_that_is_named_without_name_place_or_digest_is_refused(name: str) -> None:
    document = _all(known(HASHES))[name]
    predicate = document["predicate"]
    listed = predicate["configuration"] if name == statements.VERDICT else predicate["buildDefinition"]["resolvedDependencies"]
    listed.append({"mediaType": "text/plain"})
    with pytest.raises(InputError, match="need to be set"):
        statements.check(statements.to_bytes(document), where="here")


def test_a_verdict_without_a_known_result_is_refused() -> None:
    document = _all(known(HASHES))[statements.VERDICT]
    document["predicate"]["result"] = "GREAT"
    with pytest.raises(InputError, match="result is missing"):
        statements.check(statements.to_bytes(document), where="here")


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b"\xff", b'{"_type": 1}', b"[" * 100_000])
def test_what_is_no_statement_is_refused_in_words(content: bytes) -> None:
    with pytest.raises(InputError, match="no in-toto statement"):
        statements.check(content, where="here")

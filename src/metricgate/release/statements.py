"""What is said about a release, as in-toto statements. The same facts give the same bytes.

Each statement names the one before it by digest: the image names the verdict, the verdict names the training, the training
names the data. Whoever holds the last one holds them all.

References:
    https://github.com/in-toto/attestation/tree/main/spec
    https://github.com/sigstore/model-transparency/blob/main/docs/model_signing_format.md
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.predicates.test_result.v0 import test_result_pb2
from in_toto_attestation.v1 import resource_descriptor, resource_descriptor_pb2, statement, statement_pb2

from metricgate.errors import InputError
from metricgate.release import bom, facts, provenance
from metricgate.release.facts import Facts
from metricgate.report.document import Report, RuleInfo
from metricgate.train import digest

STATEMENT = "https://in-toto.io/Statement/v1"
TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"
BOM = "https://cyclonedx.org/bom"
SMOKE_TEST = "https://github.com/metricgate/metricgate/types/smoke-test/v1"
MODEL_SIGNATURE = "https://model_signing/signature/v1.0"

TRAINING, VERDICT, IMAGE, SMOKE, SBOM, ML_BOM, MODEL = (
    "training",
    "verdict",
    "image",
    "smoke test",
    "bill of materials",
    "model card",
    "model signature",
)

# What model-signing leaves out of a model unless it is told otherwise; written down, its verifier leaves it out as well.
IGNORED = (".git", ".gitattributes", ".github", ".gitignore")


@dataclass(frozen=True)
class Statement:
    """A statement, to be signed.

    Attributes:
        name: What it is about, in a word or two.
        predicate_type: What kind of statement it is.
        content: Its bytes.
    """

    name: str
    predicate_type: str
    content: bytes

    @property
    def digest(self) -> str:
        """The digest by which other statements name it."""
        return digest_of(self.content)


def all_of(known: Facts) -> tuple[Statement, ...]:
    """Everything that is said about a release, the image's provenance last: it names all the others.

    Raises:
        InputError: The facts don't make valid statements, or the report is about something else.
    """
    _check_report(known)
    model = _subject(known.name, known.model_digest)
    image = _subject(known.image, known.image_digest)
    run = digest_of(to_bytes(known.run.model_dump(mode="json", by_alias=True)))
    training = _statement(TRAINING, provenance.TYPE, [model], provenance.of_training(known, run=run))
    verdict = _statement(VERDICT, TEST_RESULT, [model, image], _verdict(known, training=training))
    others = [
        _statement(SBOM, BOM, [image], bom.of_image(known)),
        _statement(ML_BOM, BOM, [model, image], bom.of_model(known)),
        _statement(MODEL, MODEL_SIGNATURE, *_model(known)),
    ]
    if known.smoke is not None:
        others.append(_statement(SMOKE, SMOKE_TEST, [image], {"result": "PASSED", **known.smoke}))
    stated = facts.labels(
        model=known.model_digest,
        verdict=known.report.verdict,
        report=known.report_digest,
        policy=known.policy,
        test_set=known.test_set,
        baseline=known.baseline,
    )
    named = [(each.name, each.digest) for each in others]
    built = provenance.of_image(known, named=named, verdict=verdict.digest, stated=stated)
    return (training, verdict, *others, _statement(IMAGE, provenance.TYPE, [image], built))


def to_bytes(document: Mapping[str, Any]) -> bytes:
    """A document as JSON: sorted keys, no spaces, UTF-8."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_of(content: bytes) -> str:
    """The digest of bytes."""
    return digest.PREFIX + hashlib.sha256(content).hexdigest()


def check(content: bytes, *, where: str) -> dict[str, Any]:
    """Read a statement and check it against the schemas of in-toto.

    Args:
        content: A statement.
        where: Where it was found, for messages.

    Raises:
        InputError: It is none.
    """
    try:
        document = json.loads(content)
        statement.Statement.copy_from_pb(json_format.ParseDict(document, statement_pb2.Statement())).validate()
        if document["predicateType"] == provenance.TYPE:
            _check_provenance(
                json_format.ParseDict(document["predicate"], provenance_pb2.Provenance(), ignore_unknown_fields=True)
            )
        elif document["predicateType"] == TEST_RESULT:
            _check_verdict(
                json_format.ParseDict(document["predicate"], test_result_pb2.TestResult(), ignore_unknown_fields=True)
            )
    except (ValueError, TypeError, KeyError, RecursionError, json_format.ParseError) as error:
        raise InputError(f"this is no in-toto statement: {error}"[:300], where=where, expected=STATEMENT) from None
    return dict(document)


def _check_provenance(found: provenance_pb2.Provenance) -> None:
    build, run = found.build_definition, found.run_details
    needed = {"buildType": build.build_type, "externalParameters": len(build.external_parameters), "builder.id": run.builder.id}
    _check_needed(needed, [*build.resolved_dependencies, *run.byproducts])


def _check_verdict(found: test_result_pb2.TestResult) -> None:
    known = found.result in {"PASSED", "WARNED", "FAILED"}
    _check_needed({"result": known, "configuration": len(found.configuration)}, found.configuration)


def _check_needed(needed: Mapping[str, object], descriptors: Sequence[resource_descriptor_pb2.ResourceDescriptor]) -> None:
    """What the specifications require, and protobuf and the library for Python do not."""
    for name, value in needed.items():
        if not value:
            raise ValueError(f"{name} is missing")
    for each in descriptors:
        resource_descriptor.ResourceDescriptor.copy_from_pb(each).validate()


def result(report: Report) -> str:
    """A verdict in the words of in-toto: PASSED, WARNED or FAILED, whoever accepted that."""
    if report.verdict == "fail" or report.exit_code != 0:
        return "FAILED"
    clean = report.verdict == "pass" and not report.warnings
    return "PASSED" if clean and all(rule.outcome == "pass" for rule in report.rules) else "WARNED"


def rule_name(rule: RuleInfo) -> str:
    """A rule as the name of a test: ``accuracy on label=8: max_regression 0.03``."""
    limit = f"{rule.limit * 100:g}%" if rule.relative else f"{rule.limit:g}"
    return f"{rule.metric}{f' on {rule.slice}' if rule.slice else ''}: {rule.kind} {limit}"


def _check_report(known: Facts) -> None:
    report = known.report
    named = {"policy": (report.policy, known.policy), "test set": (report.test_set, known.test_set)}
    for what, (reported, stated) in named.items():
        if reported and reported != stated:
            raise InputError(f"the report is about another {what}: {reported}", expected=str(stated))
    if report.candidate.models and known.model_digest not in report.candidate.models.values():
        raise InputError("the report is about other models", expected=known.model_digest)


def _statement(
    name: str, predicate_type: str, subjects: Sequence[Mapping[str, Any]], predicate: Mapping[str, Any]
) -> Statement:
    document = {"_type": STATEMENT, "subject": list(subjects), "predicateType": predicate_type, "predicate": predicate}
    try:
        content = to_bytes(document)
    except (ValueError, TypeError) as error:  # a name that is no text, a number that is not finite
        raise InputError(f"this can't be stated: {error}"[:300], where=f"the {name} statement") from None
    check(content, where=f"the {name} statement")
    return Statement(name, predicate_type, content)


def _subject(name: str, value: str) -> dict[str, Any]:
    return provenance.descriptor(name, value)


def _verdict(known: Facts, *, training: Statement) -> dict[str, Any]:
    report = known.report
    outcomes: dict[str, list[str]] = {"pass": [], "warn": [], "fail": []}
    for rule in report.rules:
        unsure = "warn" if report.exit_code in {0, 1} else "fail"
        outcomes[rule.outcome if rule.outcome in {"pass", "fail"} else unsure].append(rule_name(rule))
    predicate: dict[str, Any] = {
        "result": result(report),
        "configuration": _configuration(known, training=training),
        "passedTests": outcomes["pass"],
        "warnedTests": outcomes["warn"],
        "failedTests": outcomes["fail"],
    }
    if known.training and known.training.url:
        predicate["url"] = known.training.url
    return predicate


def _configuration(known: Facts, *, training: Statement) -> list[dict[str, Any]]:
    baseline = {"commit": known.report.baseline.commit} if known.report.baseline.commit else None
    found = [
        provenance.descriptor("policy", known.policy),
        provenance.descriptor("report", known.report_digest, annotations={"verdict": known.report.verdict}),
        provenance.descriptor("training", training.digest),
    ]
    if known.test_set:
        found.append(provenance.descriptor("test set", known.test_set))
    if known.baseline:
        found.append(provenance.descriptor("baseline", known.baseline, annotations=baseline))
    if known.waiver:
        waiver = known.waiver.model_dump(mode="json")
        found.append(provenance.descriptor("waiver", digest_of(to_bytes(waiver)), annotations=waiver))
    return found


def _model(known: Facts) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The model signature: subject and predicate, as PyPI ``model-signing`` writes them."""
    files = known.model_files
    if list(files.values()) == [known.model_digest]:  # a model that is one file is "." there
        files = {os.curdir: known.model_digest}
    names = sorted((name for name in files if name.split("/")[0] not in IGNORED), key=lambda name: name.split("/"))
    total = hashlib.sha256()
    resources = []
    for name in names:
        found = files[name].removeprefix(digest.PREFIX)
        total.update(bytes.fromhex(found))
        resources.append({"name": name, "algorithm": "sha256", "digest": found})
    predicate = {
        "serialization": {"method": "files", "hash_type": "sha256", "allow_symlinks": False, "ignore_paths": list(IGNORED)},
        "resources": resources,
    }
    return [{"name": known.name, "digest": {"sha256": total.hexdigest()}}], predicate

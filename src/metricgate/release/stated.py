"""What a signed statement says, read without trusting its shape: it lies in a registry where others can write.

Statements that say the same about the same thing may be there several times, as a release that was run again leaves them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metricgate.release import provenance, statements
from metricgate.train import digest

Document = Mapping[str, Any]

_KINDS = {
    statements.TEST_RESULT: statements.VERDICT,
    statements.SMOKE_TEST: statements.SMOKE,
    statements.MODEL_SIGNATURE: statements.MODEL,
}
_SHOWN = 19


@dataclass(frozen=True, kw_only=True)
class Stated:
    """A statement that lies beside an image.

    Attributes:
        kind: What it is about; what it claims to be about where its signature does not hold; empty where nobody can tell.
        digest: Of the statement.
        document: The statement; empty where it can't be read.
        problem: Why it does not count; empty where it does.
    """

    kind: str
    digest: str = ""
    document: Document
    problem: str = ""

    def at(self, *path: str) -> Any:
        """What the predicate says at a place; None for nothing."""
        return at(self.document, "predicate", *path)

    def items(self, *path: str) -> Sequence[Any]:
        """What the predicate lists at a place; nothing where there is no list."""
        found = self.at(*path)
        return found if isinstance(found, list | tuple) else ()

    @property
    def subjects(self) -> frozenset[str]:
        """The digests of what it is about."""
        found = self.document.get("subject")
        return frozenset(value for _, value in descriptors(found if isinstance(found, list) else ()))

    @property
    def needed(self) -> dict[str, str]:
        """What a provenance names as its ingredients: name, and digest or commit."""
        return dict(descriptors(self.items("buildDefinition", "resolvedDependencies")))

    @property
    def byproducts(self) -> Iterator[tuple[str, str]]:
        """What else a provenance names: name and digest."""
        return descriptors(self.items("runDetails", "byproducts"))

    @property
    def configuration(self) -> dict[str, str]:
        """What a verdict was found with: name and digest."""
        return dict(descriptors(self.items("configuration")))

    @property
    def builder(self) -> str:
        """Who answers for what a provenance is about."""
        return str(self.at("runDetails", "builder", "id"))

    @property
    def labels(self) -> Mapping[str, Any]:
        """What the provenance of an image says about its labels."""
        found = self.at("buildDefinition", "internalParameters", "labels")
        return found if isinstance(found, Mapping) else {}

    def annotations(self, name: str) -> Mapping[str, Any]:
        """What a verdict says about one part of its configuration."""
        found = next((at(each, "annotations") for each in self.items("configuration") if at(each, "name") == name), None)
        return found if isinstance(found, Mapping) else {}

    def property_of_model(self, name: str) -> str:
        """What a model card says under a name of ours; empty for nothing."""
        listed = self.items("metadata", "component", "properties")
        return next((str(at(each, "value")) for each in listed if at(each, "name") == f"metricgate:{name}"), "")

    @property
    def gist(self) -> bytes:
        """What two statements of a kind have to agree on: everything but which job said it, and when."""
        found: object = self.document.get("predicate")
        if self.kind == statements.TRAINING:
            found = self.at("buildDefinition")
        elif self.kind == statements.VERDICT:
            tests = {name: self.at(name) for name in ("result", "passedTests", "warnedTests", "failedTests")}
            found = {**tests, "configuration": {k: v for k, v in self.configuration.items() if k != "training"}}
        elif self.kind == statements.IMAGE:
            found = {"needed": {k: v for k, v in self.needed.items() if k != "verdict"}, "labels": self.labels}
        elif self.kind in {statements.SBOM, statements.ML_BOM}:
            found = {"components": self.at("components"), "about": self.at("metadata", "component")}
        elif self.kind == statements.SMOKE:
            found = self.at("result")
        return statements.to_bytes({"": found})


def kind_of(document: Document) -> str:
    """What a statement is about; empty where that is not known."""
    found = str(document.get("predicateType"))
    if found == provenance.TYPE:
        built = at(document, "predicate", "buildDefinition", "buildType")
        return {provenance.TRAINING: statements.TRAINING, provenance.IMAGE: statements.IMAGE}.get(str(built), "")
    if found == statements.BOM:
        what = at(document, "predicate", "metadata", "component", "type")
        return {"container": statements.SBOM, "machine-learning-model": statements.ML_BOM}.get(str(what), "")
    return _KINDS.get(found, "")


def model_digests(files: Mapping[str, str]) -> tuple[str, ...]:
    """The digests that a model with these files can have: that of the folder, and that of the file if there is just one.

    Args:
        files: Relative name and digest.
    """
    total = hashlib.sha256()
    for name in sorted(files, key=os.fsencode):
        total.update(f"{files[name].removeprefix(digest.PREFIX)}  ./".encode() + os.fsencode(name) + b"\0")
    return (digest.PREFIX + total.hexdigest(), *(files.values() if len(files) == 1 else ()))


def unlike(document: Document, files: Mapping[str, str]) -> str:
    """How the files of a model differ from those that a model signature lists; empty where they don't.

    Args:
        document: A statement as ``model-signing`` writes it.
        files: Relative name and digest.
    """
    said = Stated(kind=statements.MODEL, document=document)
    how = said.at("serialization")
    if at(how, "method") != "files" or at(how, "hash_type") != "sha256":
        return f"it lists {at(how, 'method')} by {at(how, 'hash_type')}; files by sha256 can be checked here"
    listed = {str(at(each, "name")): f"{digest.PREFIX}{at(each, 'digest')}" for each in said.items("resources")}
    if set(listed) == {os.curdir}:
        return "" if list(files.values()) == list(listed.values()) else "the model is another file"
    ignored = tuple(str(path) for path in said.items("serialization", "ignore_paths"))
    there = {name: value for name, value in files.items() if not any(f"{name}/".startswith(f"{path}/") for path in ignored)}
    for name in sorted({*listed, *there}):
        if name not in there:
            return f"{name} is missing"
        if name not in listed:
            return f"{name} was added"
        if listed[name] != there[name]:
            return f"{name} has other bytes"
    return ""


def descriptors(listed: Sequence[Any]) -> Iterator[tuple[str, str]]:
    """The resource descriptors of in-toto in a list: name, and digest or commit."""
    for each in listed:
        value, commit = at(each, "digest", "sha256"), at(each, "digest", "gitCommit")
        yield str(at(each, "name")), f"{digest.PREFIX}{value}" if value else str(commit or "")


def at(document: object, *path: str) -> Any:
    """What lies in a document at a place; None for nothing."""
    for name in path:
        document = document.get(name) if isinstance(document, Mapping) else None
    return document


def short(value: str) -> str:
    """A digest as people are shown it."""
    return f"{value[:_SHOWN]}…" if len(value) > 2 * _SHOWN else value

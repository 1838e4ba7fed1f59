"""What a release knows when its evidence is written: everything that statements say, and nothing else."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from metricgate.errors import InputError
from metricgate.report.document import Report, Waiver
from metricgate.run import RunRecord

LABEL = "io.metricgate."
REVISION = "org.opencontainers.image.revision"

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Job:
    """The job that did something, and when.

    Attributes:
        builder: Who answers for it: the workflow with its ref, such as
            ``https://github.com/acme/model/.github/workflows/release.yml@refs/tags/v1.2.3``, or a name for a machine.
        url: Where its log is; empty where there is none.
        started: RFC 3339, UTC; empty where it is not known.
        finished: The same.
    """

    builder: str
    url: str = ""
    started: str = ""
    finished: str = ""


@dataclass(frozen=True, kw_only=True)
class Package:
    """A package in the image.

    Attributes:
        name: Its name.
        version: Its version.
        purl: Its package URL, ``pkg:pypi/numpy@2.3.0``.
        license: An SPDX expression or a name; empty where it is not known.
    """

    name: str
    version: str
    purl: str = ""
    license: str = ""


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a release knows. Every digest is ``sha256:<hex>``.

    Attributes:
        name: The model's name.
        image: The image's name without a tag, ``ghcr.io/acme/model``.
        image_digest: The digest of its manifest.
        platform: ``linux/amd64``.
        repository: The address of the repository.
        commit: The commit that is released.
        ref: ``refs/tags/v1.2.3``.
        version: The version, where the ref names one.
        tags: All tags.
        created: When the commit was made (RFC 3339, UTC): what BOMs are dated with.
        job: The job that builds the image.
        training: The job that trained and judged.
        run: The run whose model this is.
        model_digest: The digest of the model, by the definition of ``metricgate.train.digest``.
        model_files: Every file of the model: relative name and digest.
        report: The verdict and its numbers.
        report_digest: Of the report's document.
        policy: Of the policy that judged.
        test_set: Of the test set that both sides were measured on.
        baseline: Of the baseline's runs; None where there was none.
        waiver: Who accepted a regression.
        stale: What changed since the verdict, a sentence each, where somebody allowed it.
        smoke: What the smoke test measured.
        base_image: The image that this one is built on, and its digest.
        dockerfile: The digest of the Dockerfile.
        lock: The digest of the list of packages that were installed.
        code: Code that the model brings along, a sentence each, where somebody allowed it.
        packages: What is installed in the image.
    """

    name: str
    image: str
    image_digest: str
    platform: str = "linux/amd64"
    repository: str = ""
    commit: str
    ref: str = ""
    version: str | None = None
    tags: tuple[str, ...] = ()
    created: str
    job: Job
    training: Job | None = None
    run: RunRecord
    model_digest: str
    model_files: Mapping[str, str]
    report: Report
    report_digest: str
    policy: str
    test_set: str | None = None
    baseline: str | None = None
    waiver: Waiver | None = None
    stale: tuple[str, ...] = ()
    smoke: Mapping[str, object] | None = None
    base_image: tuple[str, str] | None = None
    dockerfile: str | None = None
    lock: str | None = None
    code: tuple[str, ...] = ()
    packages: tuple[Package, ...] = field(default=())

    def __post_init__(self) -> None:
        digests = {
            "image": self.image_digest,
            "model": self.model_digest,
            "report": self.report_digest,
            "policy": self.policy,
            "test set": self.test_set,
            "baseline": self.baseline,
            "base image": self.base_image[1] if self.base_image else None,
            "Dockerfile": self.dockerfile,
            "lock": self.lock,
            **{f"model file {name}": found for name, found in self.model_files.items()},
        }
        for what, found in digests.items():
            if found is not None and not _DIGEST.fullmatch(found):
                raise InputError(f"the {what} has the digest {found[:100]!r}", expected="sha256: and 64 of 0-9 and a-f")
        if not self.model_files:
            raise InputError("the model has no files", expected="at least one file with its digest")
        if not _COMMIT.fullmatch(self.commit):
            raise InputError(f"{self.commit[:80]!r} is no commit", expected="its full hash")


def labels(
    *, model: str, verdict: str, report: str, policy: str, test_set: str | None = None, baseline: str | None = None
) -> dict[str, str]:
    """The labels of an image that the statements about it repeat; all but the verdict are digests.

    Args:
        model: Of the model.
        verdict: ``pass``, ``fail`` (and waived), ``inconclusive`` or ``not_comparable``.
        report: Of the report.
        policy: Of the policy that judged.
        test_set: Of the test set.
        baseline: Of the baseline's runs.
    """
    named = {
        "model": model,
        "verdict": verdict,
        "report": report,
        "policy": policy,
        "test-set": test_set,
        "baseline": baseline,
    }
    return {f"{LABEL}{name}": value for name, value in named.items() if value}

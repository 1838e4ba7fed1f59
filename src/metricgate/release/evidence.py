"""The signed statements of a release, beside the image in its registry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metricgate.release import bundles, statements
from metricgate.release.facts import Facts
from metricgate.release.oci import Descriptor
from metricgate.release.registry import Registry
from metricgate.release.signing import Signer
from metricgate.release.statements import Statement


@dataclass(frozen=True)
class Evidence:
    """A statement and its signature.

    Attributes:
        statement: What is said.
        bundle: A Sigstore bundle.
    """

    statement: Statement
    bundle: bytes


def of(known: Facts, signer: Signer) -> tuple[Evidence, ...]:
    """Sign everything that is said about a release.

    Raises:
        InputError: The facts don't make valid statements.
        StageError: The service that signs does not.
    """
    return tuple(Evidence(each, signer.sign(each.content)) for each in statements.all_of(known))


def attach(registry: Registry, image: Descriptor, evidence: Sequence[Evidence]) -> None:
    """Put the evidence beside an image.

    Raises:
        StageError: The registry can't be written.
    """
    pieces = [(each.bundle, bundles.marks(each.statement.predicate_type)) for each in evidence]
    registry.attach(image, pieces, artifact_type=bundles.MEDIA_TYPE)

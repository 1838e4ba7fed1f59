"""What goes to a registry, in this order: the image by its digest, its evidence, and only then its tags.

Whatever has a tag has its evidence. Every step looks for what is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metricgate.errors import StageError
from metricgate.release import evidence, statements, tagging, verification
from metricgate.release.evidence import Evidence
from metricgate.release.facts import Facts
from metricgate.release.image import Image
from metricgate.release.registry import Registry
from metricgate.release.signing import Signer
from metricgate.release.steps import Steps
from metricgate.release.tagging import Move, Naming
from metricgate.release.verification import Verification


@dataclass(frozen=True, kw_only=True)
class Pushed:
    """What was changed.

    Attributes:
        moved: The tags that stand for something else now.
        evidence: The predicate types of the statements.
        uploaded: The bytes of what was not there yet.
    """

    moved: tuple[Move, ...]
    evidence: tuple[str, ...]
    uploaded: int


def push(
    image: Image,
    known: Facts,
    *,
    registries: Sequence[Registry],
    naming: Naming,
    signer: Callable[[], Signer],
    say: Callable[[str], None],
) -> Pushed:
    """Push an image, its evidence and its tags.

    Args:
        image: The image.
        known: What is stated about it.
        registries: Where to; each has it whole before any gets its tags.
        naming: The names of the release, given the tags that there are.
        signer: Finds who signs.
        say: Is told what goes on.

    Raises:
        StageError: A step failed; the error says what exists now and what does not.
    """
    at = image.manifest_descriptor
    named = [(registry, f"{registry.name}@{at.digest}") for registry in registries]
    steps = Steps(
        [text for form in (_IMAGE, _EVIDENCE, _TAGS) for text in (form.format(name) for _, name in named)],
        say,
    )
    uploaded = 0
    for registry, name in named:
        with steps.step(_IMAGE.format(name)):
            uploaded += _upload(image, registry, say)
    signed: tuple[Evidence, ...] = ()
    for registry, name in named:
        with steps.step(_EVIDENCE.format(name)):
            who = signer()
            # An earlier attempt may have left evidence that is whole.
            if _looked_at(registry, at.digest, known, who).first is not None:
                signed = signed or evidence.of(known, who)
                evidence.attach(registry, at, signed)
                _read_back(registry, at.digest, known, who)
    moved: list[Move] = []
    for registry, name in named:
        with steps.step(_TAGS.format(name)):
            moved += tagging.apply(registry, naming, at, say=say)
    return Pushed(
        moved=tuple(moved),
        evidence=tuple(each.predicate_type for each in statements.all_of(known)),
        uploaded=uploaded,
    )


_IMAGE = "the image {}, without a tag"
_EVIDENCE = "the evidence of {}"
_TAGS = "the tags of {}"


def _upload(image: Image, registry: Registry, say: Callable[[str], None]) -> int:
    """Blobs, then the manifest under its own digest; what is there already is not sent. The bytes that were sent."""
    sent = 0
    for layer in image.layers:
        if registry.push_blob(layer.descriptor, layer.source):
            sent += layer.descriptor.size
            say(f"  {layer.descriptor.digest}: {layer.descriptor.size:,} bytes")
    if registry.push_blob(image.config_descriptor, lambda: [image.config]):
        sent += len(image.config)
    at = image.manifest_descriptor
    if registry.resolve(at.digest) is None:
        registry.push_manifest(image.manifest, media_type=at.media_type, reference=at.digest)
        sent += at.size
    return sent


def _looked_at(registry: Registry, digest: str, known: Facts, signer: Signer) -> Verification:
    """The chain as a stranger sees it, but for the layers, whose digests the registry has just confirmed."""
    return verification.verify(registry, digest, verifier=signer.verifier, files=known.model_files)


def _read_back(registry: Registry, digest: str, known: Facts, signer: Signer) -> None:
    """Make sure that a stranger will find every link.

    Raises:
        StageError: One does not hold.
    """
    found = _looked_at(registry, digest, known, signer)
    if found.first is not None:
        raise StageError(
            f"the evidence does not hold: {found.headline}",
            expected="every link of the chain, read back from the registry",
            fix=f"look at what lies beside {registry.name}@{digest}: somebody else may have put it there",
        )

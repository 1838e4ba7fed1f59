"""What goes to a registry, in this order: the image by its digest, its evidence, and only then its tags.

Whatever has a tag has its evidence. Every step looks for what is there already.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from metricgate.errors import StageError
from metricgate.release import evidence, statements, tagging, verification
from metricgate.release.building import Built
from metricgate.release.evidence import Evidence
from metricgate.release.facts import Facts
from metricgate.release.oci import Descriptor
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
    built: Built,
    known: Sequence[Facts],
    *,
    registries: Sequence[Registry],
    naming: Naming,
    signer: Callable[[], Signer],
    say: Callable[[str], None],
) -> Pushed:
    """Push an image, its evidence and its tags.

    Args:
        built: The image; for several platforms, one for each, and their index.
        known: What is stated about each of them.
        registries: Where to; each has it whole before any gets its tags.
        naming: The names of the release, given the tags that there are.
        signer: Finds who signs.
        say: Is told what goes on.

    Raises:
        StageError: A step failed; the error says what exists now and what does not.
    """
    at = built.descriptor
    named = [(registry, f"{registry.name}@{at.digest}") for registry in registries]
    steps = Steps(
        [text for form in (_IMAGE, _EVIDENCE, _TAGS) for text in (form.format(name) for _, name in named)],
        say,
    )
    uploaded = 0
    for registry, name in named:
        with steps.step(_IMAGE.format(name)):
            uploaded += _upload(built, registry, say)
    signed: dict[str, tuple[Evidence, ...]] = {}
    for registry, name in named:
        with steps.step(_EVIDENCE.format(name)):
            who = signer()
            for facts, image in zip(known, built.images, strict=True):
                _prove(registry, image.manifest_descriptor, facts, who, signed)
    moved: list[Move] = []
    for registry, name in named:
        with steps.step(_TAGS.format(name)):
            moved += tagging.apply(registry, naming, at, say=say)
    return Pushed(
        moved=tuple(moved),
        evidence=tuple(each.predicate_type for each in statements.all_of(known[0])),
        uploaded=uploaded,
    )


_IMAGE = "the image {}, without a tag"
_EVIDENCE = "the evidence of {}"
_TAGS = "the tags of {}"


def _upload(built: Built, registry: Registry, say: Callable[[str], None]) -> int:
    """Blobs, then the manifests under their own digests; what is there already is not sent. The bytes that were sent."""
    sent = 0
    for image in built.images:
        for layer in image.layers:
            if registry.push_blob(layer.descriptor, layer.source):
                sent += layer.descriptor.size
                say(f"  {layer.descriptor.digest}: {layer.descriptor.size:,} bytes")
        if registry.push_blob(image.config_descriptor, partial(iter, [image.config])):
            sent += len(image.config)
        sent += _put(registry, image.manifest_descriptor, image.manifest)
    return sent + (_put(registry, built.descriptor, built.content) if len(built.images) > 1 else 0)


def _put(registry: Registry, at: Descriptor, content: bytes) -> int:
    if registry.resolve(at.digest) is not None:
        return 0
    registry.push_manifest(content, media_type=at.media_type, reference=at.digest)
    return at.size


def _prove(registry: Registry, at: Descriptor, known: Facts, who: Signer, signed: dict[str, tuple[Evidence, ...]]) -> None:
    """Put evidence beside an image, unless an earlier attempt left evidence that is whole."""
    if _looked_at(registry, at.digest, known, who).first is not None:
        if at.digest not in signed:
            signed[at.digest] = evidence.of(known, who)
        evidence.attach(registry, at, signed[at.digest])
        _read_back(registry, at.digest, known, who)


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

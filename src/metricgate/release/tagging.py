"""Which tags an image gets in a registry, in an order that never leaves an alias on something unfinished.

The version comes first and never changes. Aliases (``latest``, ``1``, ``1.2``) come last and never move backwards, even where
two releases are published at once: a registry cannot compare and swap, so each release looks once more after it moved an alias,
and gives it to the newer version that appeared meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from metricgate.errors import StageError, UsageError
from metricgate.release.names import Names
from metricgate.release.oci import Descriptor

Naming = Callable[[Iterable[str]], Names]

# How often aliases are looked at again while others publish at the same time.
_LOOKS = 5


class Shelf(Protocol):
    """Where images stand under their tags: one repository of a registry."""

    def tags(self) -> tuple[str, ...]:
        """All tags."""

    def resolve(self, reference: str) -> Descriptor | None:
        """What a tag or digest stands for."""

    def manifest(self, reference: str) -> tuple[Descriptor, bytes]:
        """The manifest behind a tag or digest."""

    def push_manifest(self, content: bytes, *, media_type: str, reference: str) -> Descriptor:
        """Put a manifest under a tag or digest."""


@dataclass(frozen=True)
class Move:
    """A tag and what it stands for before and after.

    Attributes:
        tag: Without the image's name.
        before: The digest; None where there is no such tag yet.
        after: The digest.
    """

    tag: str
    before: str | None
    after: str

    @property
    def changes(self) -> bool:
        """Whether it stands for something else afterwards."""
        return self.before != self.after


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a release would do to the tags of a repository.

    Attributes:
        version: The tag of the version.
        fixed: Tags that belong to this version alone; the version first.
        aliases: Tags that other versions share.
        keepers: Aliases that stay with a newer version: which.
    """

    version: str
    fixed: tuple[Move, ...]
    aliases: tuple[Move, ...]
    keepers: dict[str, str]

    @property
    def moves(self) -> tuple[Move, ...]:
        """All of them, in the order in which they are made."""
        return (*self.fixed, *self.aliases)


def named(shelf: Shelf, naming: Naming) -> Names:
    """The names of a release, given the tags that a repository has.

    Raises:
        UsageError: No rule gives a tag.
    """
    names = naming(shelf.tags())
    if names.version is None:
        raise UsageError(
            "no rule gives a tag",
            expected="a tag such as v1.2.3, or a rule that fits",
            where="; ".join(names.warnings),
            fix="metricgate tags --ref refs/tags/v1.2.3 --image NAME --rule RULE   # shows what a rule gives",
        )
    return names


def plan(shelf: Shelf, naming: Naming, digest: str) -> Plan:
    """What would happen to the tags; asks only.

    Args:
        shelf: The repository.
        naming: The names of this release, given the tags that there are.
        digest: Of the image.

    Raises:
        UsageError: No rule gives a tag, or a version is there already and stands for another image.
    """
    names = named(shelf, naming)
    aliases = {_short(tag) for tag in names.moves}
    moves = [Move(tag, _digest(shelf, tag), digest) for tag in map(_short, names.tags)]
    fixed = tuple(move for move in moves if move.tag not in aliases)
    for move in fixed:
        if move.before is not None and move.changes:
            raise UsageError(
                f"{move.tag} is there already and stands for another image: {move.before}",
                expected=f"{digest}, or no such tag: what a version stands for never changes",
                fix="release under a new version; delete the old tag in the registry only if nobody can have pulled it",
            )
    return Plan(
        version=str(names.version),
        fixed=fixed,
        aliases=tuple(move for move in moves if move.tag in aliases),
        keepers=dict(names.keepers),
    )


def apply(shelf: Shelf, naming: Naming, image: Descriptor, *, say: Callable[[str], None]) -> tuple[Move, ...]:
    """Put the tags on an image that is in the repository already.

    Args:
        shelf: The repository.
        naming: The names of this release, given the tags that there are.
        image: The image.
        say: Is told what was done.

    Returns:
        What changed.

    Raises:
        UsageError: As ``plan``.
        StageError: The registry can't be written, or aliases keep changing under others' hands.
    """
    _, content = shelf.manifest(image.digest)
    done: dict[str, Move] = {}

    def put(move: Move, content: bytes, media_type: str) -> None:
        if move.changes:
            shelf.push_manifest(content, media_type=media_type, reference=move.tag)
            say(f"{move.tag}: {move.before or 'new'} → {move.after}")
            first = done.get(move.tag, move)
            done[move.tag] = Move(move.tag, first.before, move.after)

    for move in plan(shelf, naming, image.digest).fixed:
        put(move, content, image.media_type)
    # From here on whoever lists the tags sees this version.
    for _ in range(_LOOKS):
        wanted = plan(shelf, naming, image.digest)
        for move in wanted.aliases:
            put(move, content, image.media_type)
        newer = plan(shelf, naming, image.digest)
        # Whoever wrote an alias answers for it until a look finds it right.
        given = [_to_newer(shelf, tag, version) for tag, version in newer.keepers.items() if tag in done]
        for back, theirs, media_type in given:
            put(back, theirs, media_type)
        if not any(move.changes for move in (*newer.aliases, *(back for back, _, _ in given))):
            return tuple(move for move in done.values() if move.changes)
    raise StageError(
        "the aliases keep changing while they are written",
        expected="one release at a time, or a few",
        fix="run the same command again when the other releases are done",
    )


def _to_newer(shelf: Shelf, tag: str, version: str) -> tuple[Move, bytes, str]:
    descriptor, content = shelf.manifest(version)
    return Move(tag, _digest(shelf, tag), descriptor.digest), content, descriptor.media_type


def _digest(shelf: Shelf, tag: str) -> str | None:
    found = shelf.resolve(tag)
    return found.digest if found else None


def _short(reference: str) -> str:
    return reference.rpartition(":")[2]

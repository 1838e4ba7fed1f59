"""Which release came before another one, and whether it is the newest: by version, whenever they were made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import packaging.version

from metricgate.release import names
from metricgate.release.names import Context
from metricgate.release.rules import Flavor, Rule


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a release stands among the others of its model.

    Attributes:
        prerelease: Whether its version is not a final one.
        newest: Whether it is a final version, and none is higher.
        previous: The tag of the final version before it; None where there is none.
    """

    prerelease: bool
    newest: bool
    previous: str | None


def place(context: Context, tags: Iterable[str], *, rules: Sequence[Rule]) -> Place:
    """Where a release stands.

    Args:
        context: What is released.
        tags: The names of all tags of the repository.
        rules: Which tags an image gets: they say what in a tag's name is the version.
    """
    own = _version(context, rules)
    if own is None:
        return Place(prerelease=False, newest=False, previous=None)
    others = {}
    for tag in tags:
        other = replace(context, ref=f"refs/tags/{tag}")
        found = _version(other, rules) if other.model == context.model else None
        if found is not None and _is_final(found):
            others[found] = tag
    lower = [version for version in others if version < own]
    return Place(
        prerelease=not _is_final(own),
        newest=_is_final(own) and all(version <= own for version in others),
        previous=others[max(lower)] if lower else None,
    )


def _version(context: Context, rules: Sequence[Rule]) -> packaging.version.Version | None:
    versioned = [replace(rule, options={**rule.options, "pattern": "{{version}}"}) for rule in rules if rule.type in _VERSIONED]
    found = names.of(context, rules=versioned[:1], flavor=_PLAIN, images=())
    text = None if found.warnings else found.version  # a tag that a rule does not match is of another line
    try:
        return packaging.version.Version(text) if text else None
    except packaging.version.InvalidVersion:  # 1.2.3-nightly is a semantic version: one before 1.2.3
        return packaging.version.Version(f"{text.partition('-')[0]}.dev0") if text else None


def _is_final(version: packaging.version.Version) -> bool:
    return not (version.is_prerelease or version.is_postrelease)


_VERSIONED = ("semver", "pep440")
_PLAIN = Flavor()

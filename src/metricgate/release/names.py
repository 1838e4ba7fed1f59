"""What the images of a release are called: tags by rules, and which of them may move.

The rules are those of docker/metadata-action. Beyond them, a tag that several versions share (``latest``, ``1``, ``1.2``) never
moves backwards: it stays with the newest version that has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import packaging.version
import semver

from metricgate.errors import UsageError
from metricgate.release import expression, rules
from metricgate.release.rules import Flavor, Rule

Release = packaging.version.Version

SHORT = 7
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
# The grammar of github.com/distribution/reference, which every registry follows.
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(rf"(?:[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?(?::\d+)?/)?{_PART}(?:/{_PART})*")
_GTO = re.compile(r"(?P<model>[^@]+)@(?P<version>v[^!@]+)")
_VERSION = re.compile(r"(?<![0-9.])\d+\.\d+\.\d+(?:-[0-9A-Za-z.-]+)?$")


@dataclass(frozen=True, kw_only=True)
class Context:
    """What is released.

    Attributes:
        ref: ``refs/tags/v1.2.3``, ``refs/heads/main``, ``refs/pull/2/merge``.
        sha: The commit.
        time: When it was committed.
        default_branch: The repository's, where known.
        base_ref: The branch that a pull request goes into, where known.
    """

    ref: str
    sha: str
    time: datetime
    default_branch: str = ""
    base_ref: str = ""

    @property
    def branch(self) -> str:
        """The branch's name; empty for anything else."""
        return _behind("refs/heads/", self.ref)

    @property
    def tag(self) -> str:
        """The tag's name; empty for anything else."""
        return _behind("refs/tags/", self.ref)

    @property
    def model(self) -> str:
        """The model that a tag such as ``digits@v1.2.3`` (GTO) is about; empty where it names none."""
        match = _GTO.fullmatch(self.tag)
        return match["model"] if match else ""

    @property
    def expressions(self) -> expression.Names:
        """What ``{{…}}`` can name in every option."""
        here = bool(self.branch) and self.branch == self.default_branch
        return {
            "branch": self.branch,
            "tag": self.tag,
            "sha": self.sha[:SHORT],
            "base_ref": self.base_ref,
            "is_default_branch": str(here).lower(),
            "is_not_default_branch": str(not here).lower(),
            "date": self.time,
            "commit_date": self.time,
        }


@dataclass(frozen=True, kw_only=True)
class Names:
    """What the images of a release are called.

    Attributes:
        version: The first tag; None where no rule gives one.
        tags: Full references; the first is the version.
        moves: Those of them that may have pointed to another image before.
        stays: The tags that the rules give and a newer version keeps, as full references.
        keepers: For each tag of ``stays``, without the image's name, the tag of the newest version that keeps it.
        warnings: Why a rule gave nothing.
    """

    version: str | None
    tags: tuple[str, ...]
    moves: tuple[str, ...]
    stays: tuple[str, ...] = ()
    keepers: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass
class _Made:
    """Tags as the rules give them, in their order."""

    tags: dict[str, bool] = field(default_factory=dict)  # whether another version can have the same one
    latest: bool | None = None
    warnings: list[str] = field(default_factory=list)


def of(
    context: Context, *, rules: Sequence[Rule], flavor: Flavor, images: Sequence[str], existing: Iterable[str] = ()
) -> Names:
    """The names of a release.

    Args:
        context: What is released.
        rules: Which tags it gets, the first one naming the version.
        flavor: What holds for all rules.
        images: Names of images without a tag; upper case is lowered.
        existing: Tags that the registry has; those that are versions count.

    Raises:
        UsageError: An image's name or a tag is none that a registry takes, or an expression is not known.
    """
    names = [_image(image) for image in images]
    made = _make(context, rules, flavor)
    own = _version(context.tag)
    others = {found: tag for text in existing if (found := _final(_bare(tag := text.rpartition(":")[2], flavor)))}
    keepers: dict[str, str] = {}
    if own is not None:
        # What a newer version has by the same rules is its own. Another version has a tag too where a higher number gives it.
        for other in sorted(others):
            if other > _parsed(own):
                keepers |= dict.fromkeys(_make(_with(context, own, str(other)), rules, flavor).tags, others[other])
        shared = {tag for text in _next(own) for tag in _make(_with(context, own, text), rules, flavor).tags}
        made.tags = {tag: moves and tag in shared for tag, moves in made.tags.items()}
    first, *_ = (*made.tags, None)
    stays = {tag for tag, moves in made.tags.items() if moves and tag in keepers and tag != first}
    taken = [tag for tag in made.tags if tag not in stays]
    for tag in taken:
        if not _TAG.fullmatch(tag):
            raise UsageError(
                f"{tag!r} is no tag", expected="at most 128 letters, digits, `_`, `.` and `-`, no `.` or `-` first"
            )

    def full(tags: Iterable[str]) -> tuple[str, ...]:
        chosen = list(tags)
        return tuple(f"{name}:{tag}" for name in names for tag in chosen)

    return Names(
        version=first,
        tags=full(taken),
        moves=full(tag for tag in taken if made.tags[tag]),
        stays=full(tag for tag in made.tags if tag in stays),
        keepers={tag: keepers[tag] for tag in made.tags if tag in stays},
        warnings=tuple(made.warnings),
    )


def _make(context: Context, rules_: Sequence[Rule], flavor: Flavor) -> _Made:
    made = _Made()
    for rule in rules_:
        enabled = expression.render(rule.options.get("enable", "true"), context.expressions)
        if enabled not in {"true", "false"}:
            raise UsageError(f"`enable` is {enabled!r}", where=rule.text, expected="true or false")
        found = _GIVES[rule.type](rule, context, made.warnings) if enabled == "true" else None
        tag = _clean(_wrapped(found.text, rule, flavor, context)) if found else ""
        if found is None or not tag:
            continue
        made.tags.setdefault(tag, found.moves)
        if made.latest is None:
            made.latest = found.latest if flavor.latest == "auto" else flavor.latest == "true"
    if made.latest:
        latest = f"{flavor.prefix if flavor.prefix_latest else ''}latest{flavor.suffix if flavor.suffix_latest else ''}"
        made.tags.setdefault(_clean(latest), True)
    return made


@dataclass(frozen=True)
class _Found:
    text: str
    latest: bool = False
    moves: bool = True


def _wrapped(text: str, rule: Rule, flavor: Flavor, context: Context) -> str:
    prefix = expression.render(rule.options.get("prefix", flavor.prefix), context.expressions)
    suffix = expression.render(rule.options.get("suffix", flavor.suffix), context.expressions)
    return f"{prefix}{text}{suffix}"


def _versioned(rule: Rule, context: Context, warnings: list[str]) -> _Found | None:
    """``semver`` and ``pep440``; a version that is not final gives itself, whatever the pattern."""
    raw = expression.render(rule.get("value"), context.expressions) or context.tag
    if not raw:
        return None
    if gto := _GTO.fullmatch(raw):
        raw = gto["version"]
    if rule.get("match"):
        match = rules.expression(rule.get("match"), where=rule.text).search(raw)
        if match is None or match.re.groups < 1:
            warnings.append(f"{rule.get('match')} does not match {raw}, or has no group")
        else:
            raw = match[1] or ""
    raw = raw.replace("/", "-")
    try:
        values, final = _semver(raw) if rule.type == "semver" else _pep440(raw)
    except ValueError:
        kind = "a semantic version (semver.org)" if rule.type == "semver" else "a version by PEP 440"
        warnings.append(f"{raw} is not {kind}: {rule.text} gives no tag")
        return None
    pattern = rule.get("pattern")
    if not final and not expression.is_only(pattern, "raw"):
        pattern = "{{version}}"
    return _Found(expression.render(pattern, values), latest=final)


def _semver(raw: str) -> tuple[Mapping[str, str], bool]:
    found = semver.Version.parse(raw.strip().removeprefix("v"))
    version = str(found.replace(build=None))
    parts = {"major": str(found.major), "minor": str(found.minor), "patch": str(found.patch)}
    return {"version": version, "raw": raw, **parts}, found.prerelease is None


def _pep440(raw: str) -> tuple[Mapping[str, str], bool]:
    found = Release(raw)
    parts = {"major": str(found.major), "minor": str(found.minor), "patch": str(found.micro)}
    return {"version": str(found), "raw": raw, **parts}, not (found.is_prerelease or found.is_postrelease)


def _match(rule: Rule, context: Context, warnings: list[str]) -> _Found | None:
    raw = expression.render(rule.get("value"), context.expressions) or context.tag
    if not raw:
        return None
    match = rules.expression(rule.get("pattern"), where=rule.text).search(raw)
    group = int(rule.get("group"))
    if match is None or group > match.re.groups or match[group] is None:
        warnings.append(f"{rule.get('pattern')} does not match {raw}, or has no group {group}: {rule.text} gives no tag")
        return None
    return _Found(match[group], latest=True)


def _ref(rule: Rule, context: Context, _: list[str]) -> _Found | None:
    event = rule.get("event")
    pull = _behind("refs/pull/", context.ref).removesuffix("/merge")
    name = {"tag": context.tag, "branch": context.branch, "pr": pull}[event]
    return _Found(name, latest=event == "tag", moves=event != "tag") if name else None


def _edge(rule: Rule, context: Context, _: list[str]) -> _Found | None:
    wanted = expression.render(rule.get("branch"), context.expressions) or context.default_branch
    return _Found("edge") if context.branch and context.branch == wanted else None


def _raw(rule: Rule, context: Context, _: list[str]) -> _Found | None:
    return _Found(expression.render(rule.get("value"), context.expressions))


def _sha(rule: Rule, context: Context, _: list[str]) -> _Found | None:
    return _Found(context.sha if rule.get("format") == "long" else context.sha[:SHORT], moves=False)


_GIVES: Mapping[rules.Type, Callable[[Rule, Context, list[str]], _Found | None]] = {
    "semver": _versioned,
    "pep440": _versioned,
    "match": _match,
    "ref": _ref,
    "edge": _edge,
    "raw": _raw,
    "sha": _sha,
}


def _clean(tag: str) -> str:
    return re.sub(r"[^a-zA-Z0-9._-]+", "-", tag)


def _behind(prefix: str, ref: str) -> str:
    return ref.removeprefix(prefix) if ref.startswith(prefix) else ""


def _image(name: str) -> str:
    lowered = name.lower()
    if not _IMAGE.fullmatch(lowered):
        raise UsageError(
            f"{name!r} is no name of an image",
            expected="such as ghcr.io/owner/model, without a tag",
            fix="--image ghcr.io/owner/model",
        )
    return lowered


def _version(tag: str) -> str | None:
    """The version in a tag's name, as it stands there."""
    match = _VERSION.search(tag)
    if match:
        return match[0]
    try:
        return str(Release(tag)) if tag and str(Release(tag)) in tag else None
    except packaging.version.InvalidVersion:
        return None


def _parsed(version: str) -> Release:
    """A version as a number; what comes behind a semantic version's numbers makes it earlier."""
    numbers, hyphen, _ = version.partition("-")
    return Release(f"{numbers}.dev0" if hyphen else numbers)


def _final(text: str) -> Release | None:
    """A final version with all three numbers; None for anything else that a registry lists, such as the alias 1.2."""
    try:
        found = Release(text)
    except packaging.version.InvalidVersion:
        return None
    return None if len(found.release) < 3 or found.is_prerelease or found.is_postrelease or found.local else found


def _bare(tag: str, flavor: Flavor) -> str:
    """A tag without what the flavor puts around it."""
    return tag.removeprefix(flavor.prefix).removesuffix(flavor.suffix)


def _next(version: str) -> tuple[str, ...]:
    """Later versions in the same line, the same major line, and any line."""
    found = _parsed(version)
    return (
        f"{found.major}.{found.minor}.{found.micro + 1}",
        f"{found.major}.{found.minor + 1}.0",
        f"{found.major + 1}.0.0",
    )


def _with(context: Context, old: str, new: str) -> Context:
    """The same release, had the tag another version."""
    head, _, tail = context.ref.rpartition(old)
    return replace(context, ref=f"{head}{new}{tail}")

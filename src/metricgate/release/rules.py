"""Rules for tags, one a line, in the language of docker/metadata-action: ``type=semver,pattern={{version}}``."""

from __future__ import annotations

import csv
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from metricgate.errors import UsageError

Type = Literal["semver", "pep440", "match", "edge", "ref", "raw", "sha"]

DEFAULT = (
    "type=semver,pattern={{version}}",
    "type=semver,pattern={{major}}.{{minor}}",
    "type=semver,pattern={{major}}",
)
PRIORITIES: Mapping[Type, int] = {
    "semver": 900,
    "pep440": 900,
    "match": 800,
    "edge": 700,
    "ref": 600,
    "raw": 200,
    "sha": 100,
}
"""Where no priority is given; the highest comes first and names the version."""

_COMMON = frozenset({"enable", "priority", "prefix", "suffix"})
_OWN: Mapping[Type, frozenset[str]] = {
    "semver": frozenset({"pattern", "value", "match"}),
    "pep440": frozenset({"pattern", "value", "match"}),
    "match": frozenset({"pattern", "value", "group"}),
    "edge": frozenset({"branch"}),
    "ref": frozenset({"event"}),
    "raw": frozenset({"value"}),
    "sha": frozenset({"format"}),
}
_REQUIRED: Mapping[Type, tuple[str, str]] = {
    "semver": ("pattern", "{{version}}"),
    "pep440": ("pattern", "{{version}}"),
    "match": ("pattern", r"v(\d+\.\d+)"),
    "ref": ("event", "tag"),
    "raw": ("value", "stable"),
}
_DEFAULTS: Mapping[Type, Mapping[str, str]] = {"match": {"group": "0"}, "sha": {"prefix": "sha-", "format": "short"}}
_CHOICES: Mapping[str, tuple[str, ...]] = {"event": ("branch", "tag", "pr"), "format": ("short", "long")}
_SLASHED = re.compile(r"/(.+)/([a-z]*)")
_FLAGS = {"i": re.IGNORECASE, "m": re.MULTILINE, "s": re.DOTALL, "u": 0, "g": 0}


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        type: What the tag is made of.
        options: What was written, and the defaults of the type.
        text: The rule as it was written.
    """

    type: Type
    options: Mapping[str, str]
    text: str

    @property
    def priority(self) -> int:
        """The rule with the highest one names the version."""
        return int(self.options.get("priority", PRIORITIES[self.type]))

    def get(self, option: str) -> str:
        """An option; empty where it is not given."""
        return self.options.get(option, "")


@dataclass(frozen=True, kw_only=True)
class Flavor:
    """What holds for all rules.

    Attributes:
        latest: ``auto``: on final releases; ``true``, ``false``.
        prefix: Before every tag whose rule has none of its own.
        suffix: Behind every tag whose rule has none of its own.
        prefix_latest: Whether ``latest`` has the prefix too.
        suffix_latest: Whether it has the suffix too.
    """

    latest: Literal["auto", "true", "false"] = "auto"
    prefix: str = ""
    suffix: str = ""
    prefix_latest: bool = False
    suffix_latest: bool = False


def parse(lines: Sequence[str]) -> tuple[Rule, ...]:
    """Read rules, one a line; those of the highest priority first.

    Raises:
        UsageError: A rule can't be right; all mistakes of all rules are in the message.
    """
    rules, mistakes = [], []
    for line in (line.strip() for text in lines for line in text.splitlines()):
        if not line:
            continue
        try:
            rules.append(_parse(line))
        except UsageError as error:
            mistakes.append(str(error))
    if mistakes:
        raise UsageError("\n".join(mistakes))
    return tuple(sorted(rules, key=lambda rule: -rule.priority))


def flavor(lines: Sequence[str]) -> Flavor:
    """Read ``latest=auto``, ``prefix=cuda-,onlatest=true``, ``suffix=-cpu``.

    Raises:
        UsageError: An entry can't be right.
    """
    found: dict[str, str] = {}
    for line in (line.strip() for text in lines for line in text.splitlines()):
        before = ""
        for key, value in _fields(line):
            if key == "onlatest" and before:
                found[f"{before}_latest"] = _one_of(value, ("true", "false"), key, line)
            elif key in {"latest", "prefix", "suffix"}:
                found[key] = _one_of(value, ("auto", "true", "false"), key, line) if key == "latest" else value
                before = key if key != "latest" else before
            else:
                raise UsageError(f"{key or value!r} is no entry of a flavor", where=line, expected=_FLAVOR, fix="latest=auto")
    return Flavor(
        latest="true" if found.get("latest") == "true" else "false" if found.get("latest") == "false" else "auto",
        prefix=found.get("prefix", ""),
        suffix=found.get("suffix", ""),
        prefix_latest=found.get("prefix_latest") == "true",
        suffix_latest=found.get("suffix_latest") == "true",
    )


def expression(pattern: str, *, where: str) -> re.Pattern[str]:
    """A regular expression, as it is or between slashes with flags.

    Raises:
        UsageError: It is none.
    """
    slashed = _SLASHED.fullmatch(pattern)
    body, flags = (slashed[1], slashed[2]) if slashed else (pattern, "")
    try:
        return re.compile(body, sum(_FLAGS[flag] for flag in set(flags)))
    except (re.error, KeyError) as error:
        raise UsageError(f"{pattern!r} is no regular expression: {error}", where=where) from None


_FLAVOR = "latest=auto|true|false, prefix=…, suffix=…, and behind one of these onlatest=true"


def _parse(line: str) -> Rule:
    options: dict[str, str] = {}
    kind = "raw"
    for key, value in _fields(line):
        if key == "type":
            kind = value
        elif key in options:
            raise UsageError(f"`{key}` is given twice", where=line)
        else:
            options[key or "value"] = value
    type_ = next((known for known in get_args(Type) if known == kind), None)
    if type_ is None:
        raise UsageError(
            f"there is no type `{kind}`{_near(kind, get_args(Type))}", where=line, expected=", ".join(get_args(Type))
        )
    _check_known(type_, options, line)
    options = {**_DEFAULTS.get(type_, {}), **options}
    if options.get("event") == "pr":
        options.setdefault("prefix", "pr-")
    _check_values(type_, options, line)
    return Rule(type=type_, options=options, text=line)


def _check_known(type_: Type, options: Mapping[str, str], line: str) -> None:
    known = _OWN[type_] | _COMMON
    for key in options:
        if key not in known:
            expected = ", ".join(sorted(known))
            raise UsageError(f"`{key}` is no option of type={type_}{_near(key, known)}", where=line, expected=expected)
    if type_ in _REQUIRED and _REQUIRED[type_][0] not in options:
        missing, example = _REQUIRED[type_]
        raise UsageError(f"`{missing}` is missing", where=line, fix=f"type={type_},{missing}={example}")


def _check_values(type_: Type, options: Mapping[str, str], line: str) -> None:
    for key, choices in _CHOICES.items():
        if key in options:
            _one_of(options[key], choices, key, line)
    for key in ("priority", "group"):
        if key in options and not options[key].isdecimal():
            raise UsageError(f"`{key}` is {options[key]!r}", where=line, expected="a whole number")
    searched = options["pattern"] if type_ == "match" else options.get("match")
    if searched:
        expression(searched, where=line)


def _fields(line: str) -> list[tuple[str, str]]:
    """The fields of a line of CSV; one without ``=`` has an empty key."""
    fields = next(csv.reader([line]), [])
    pairs = [field.partition("=") if field.find("=") > 0 else ("", "", field) for field in fields]
    return [(key.strip().lower(), value.strip()) for key, _, value in pairs]


def _one_of(value: str, choices: Sequence[str], key: str, line: str) -> str:
    if value not in choices:
        raise UsageError(f"`{key}` is {value!r}{_near(value, choices)}", where=line, expected=" or ".join(choices))
    return value


def _near(word: str, known: Sequence[str] | frozenset[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1)
    return f"; did you mean `{near[0]}`?" if near else ""

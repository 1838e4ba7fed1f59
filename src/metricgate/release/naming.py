"""``metricgate tags``: what a release would be called. Asks nobody and touches nothing."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone

from metricgate.errors import UsageError
from metricgate.release import labels, names, rules
from metricgate.release.names import Context, Names


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What was asked on the command line; what is empty comes from the environment of a GitHub job.

    Attributes:
        ref: ``refs/tags/v1.2.3``, or None.
        sha: The commit, or None.
        images: Names of images.
        rules: Rules, one or several lines each; none for the default.
        flavor: What holds for all rules.
        existing: Tags that the registry has.
        labels: More labels, ``key=value``.
        default_branch: The repository's.
    """

    ref: str | None
    sha: str | None
    images: Sequence[str]
    rules: Sequence[str] = ()
    flavor: Sequence[str] = ()
    existing: Sequence[str] = ()
    labels: Sequence[str] = ()
    default_branch: str = ""


def tags(asked: Asked, *, environ: Mapping[str, str], now: datetime, as_json: bool) -> tuple[str, tuple[str, ...]]:
    """The names of a release, as text for standard output, and what to tell beside it.

    Raises:
        UsageError: What was asked can't be right, or there is no ref or commit.
    """
    context = context_of(asked, environ=environ, time=now)
    found = names_of(asked, context, existing=asked.existing)
    marks = labels_of(asked, context, version=found.version, environ=environ)
    told = list(found.warnings)
    if found.version is None:
        told.append(f"no rule gives a tag for {context.ref}")
    return _json(found, context, marks) if as_json else _text(found), tuple(told)


def context_of(asked: Asked, *, environ: Mapping[str, str], time: datetime) -> Context:
    """What is released.

    Args:
        asked: What was asked.
        environ: Of a GitHub job, perhaps; ``SOURCE_DATE_EPOCH`` says when, too.
        time: When it was committed, where the environment does not say it.

    Raises:
        UsageError: There is no ref or commit, or they can't be right.
    """
    context = Context(
        ref=_needed(asked.ref or environ.get("GITHUB_REF"), "ref", "refs/tags/v1.2.3"),
        sha=_commit(_needed(asked.sha or environ.get("GITHUB_SHA"), "sha", "860c1904a1ce19322e91ac35af1ab07466440c37")),
        time=_time(environ.get("SOURCE_DATE_EPOCH"), time),
        default_branch=asked.default_branch,
        base_ref=environ.get("GITHUB_BASE_REF", ""),
    )
    if not context.ref.startswith("refs/"):
        raise UsageError(f"{context.ref!r} is no full ref", expected="refs/tags/…, refs/heads/… or refs/pull/…", where="--ref")
    return context


def names_of(asked: Asked, context: Context, *, existing: Iterable[str]) -> Names:
    """The names of a release, given the tags that a registry has.

    Raises:
        UsageError: As ``names.of``.
    """
    return names.of(
        context,
        rules=rules.parse(asked.rules or rules.DEFAULT),
        flavor=rules.flavor(asked.flavor),
        images=asked.images,
        existing=existing,
    )


def labels_of(asked: Asked, context: Context, *, version: str | None, environ: Mapping[str, str]) -> dict[str, str]:
    """The labels of a release, sorted by key.

    Raises:
        UsageError: One that was asked for is none.
    """
    return labels.of(
        context,
        version=version,
        title=asked.images[0].lower().rpartition("/")[2],
        source=repository_of(environ),
        more=_labels(asked.labels),
    )


def repository_of(environ: Mapping[str, str]) -> str:
    """The address of the repository, in a GitHub job; otherwise empty."""
    server, repository = environ.get("GITHUB_SERVER_URL", ""), environ.get("GITHUB_REPOSITORY", "")
    return f"{server}/{repository}" if server and repository else ""


def _json(found: Names, context: Context, marks: Mapping[str, str]) -> str:
    document = {
        "version": found.version,
        "tags": found.tags,
        "moves": found.moves,
        "stays": found.stays,
        "model": context.model or None,
        "labels": marks,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _text(found: Names) -> str:
    lines = [f"{tag}  moves" if tag in found.moves else tag for tag in found.tags]
    return "".join(f"{line}\n" for line in [*lines, *(f"{tag}  stays with a newer version" for tag in found.stays)])


def _needed(value: str | None, name: str, example: str) -> str:
    if not value:
        raise UsageError(f"--{name} is missing", expected=f"the {name}, or GITHUB_{name.upper()}", fix=f"--{name} {example}")
    return value


def _commit(sha: str) -> str:
    if len(sha) < names.SHORT or not all(digit in "0123456789abcdef" for digit in sha):
        raise UsageError(
            f"{sha[:80]!r} is no commit", expected="its full hash", where="--sha", fix="--sha $(git rev-parse HEAD)"
        )
    return sha


def _time(epoch: str | None, now: datetime) -> datetime:
    if not epoch:
        return now
    try:
        return datetime.fromtimestamp(int(epoch), tz=timezone.utc)
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"SOURCE_DATE_EPOCH is {epoch[:40]!r}",
            expected="seconds since 1970",
            fix="SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)",
        ) from None


def _labels(texts: Sequence[str]) -> dict[str, str]:
    pairs = [text.partition("=") for text in texts]
    for key, equals, _ in pairs:
        if not key or not equals:
            raise UsageError(
                f"{key!r} is no label", where="--label", expected="key=value", fix="--label io.example.team=vision"
            )
    return {key: value for key, _, value in pairs}

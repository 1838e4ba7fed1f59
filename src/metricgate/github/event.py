"""From what happened on GitHub to what there is to do. Nothing else looks at the event's name."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metricgate.errors import UsageError

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_WITHOUT_BASE = ("push", "workflow_dispatch", "schedule")
_EXAMPLE = "on:\n  pull_request:\n  merge_group:\n  push: {branches: [main]}"


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do.

    Attributes:
        kind: ``compare`` a change with its baseline, or ``record`` the runs of a commit that has none.
        base: The commit that the change goes into, as the event tells it; None for ``record``.
        head: The change's own last commit, which is not what is checked out when GitHub made a merge commit of it.
        number: The pull request's number, where there is one.
        fork: Whether the change comes from another repository.
    """

    kind: Literal["compare", "record"]
    base: str | None = None
    head: str | None = None
    number: int | None = None
    fork: bool = False


def work(event_name: str, payload: Mapping[str, Any]) -> Work:
    """Decide what there is to do.

    Args:
        event_name: ``GITHUB_EVENT_NAME``; empty outside GitHub, which counts as a push.
        payload: The event as GitHub delivered it.

    Raises:
        UsageError: The event is one that nothing sensible can be done for, or its payload is not GitHub's.
    """
    refuse_unsafe(event_name)
    if event_name == "pull_request":
        change = _mapping(payload, "pull_request")
        base, head = _mapping(change, "base"), _mapping(change, "head")
        number = change.get("number")
        return Work(
            kind="compare",
            base=_commit(base, "pull_request.base"),
            head=_commit(head, "pull_request.head"),
            number=number if isinstance(number, int) else None,
            fork=_repository(head) != _repository(base),
        )
    if event_name == "merge_group":
        group = _mapping(payload, "merge_group")
        return Work(
            kind="compare",
            base=_commit(group, "merge_group", key="base_sha"),
            head=_commit(group, "merge_group", key="head_sha"),
        )
    if event_name in _WITHOUT_BASE or not event_name:
        return Work(kind="record")
    raise UsageError(
        f"there is no model to check when the event is `{event_name}`",
        expected=f"one of pull_request, merge_group, {', '.join(_WITHOUT_BASE)}",
        where="on:",
        fix=_EXAMPLE,
    )


def refuse_unsafe(event_name: str) -> None:
    """Refuse to run a repository's code where the event would hand it what is not its own.

    Raises:
        UsageError: The event is ``pull_request_target``.
    """
    if event_name == "pull_request_target":
        raise UsageError(
            "pull_request_target would train a stranger's code with this repository's secrets",
            expected="on: pull_request, where the token is read-only and forks get no secrets",
            where="on:",
            fix=_EXAMPLE,
        )


def read(file: Path | None) -> Mapping[str, Any]:
    """Read an event's payload; empty where there is none.

    Raises:
        UsageError: The file is not JSON.
    """
    if file is None or not file.is_file():
        return {}
    try:
        payload = json.loads(file.read_bytes())
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the event's payload can't be read: {error}", where=str(file), expected="JSON") from None
    return payload if isinstance(payload, dict) else {}


def _mapping(payload: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = payload.get(key)
    return value if isinstance(value, dict) else {}


def _commit(payload: Mapping[str, Any], where: str, *, key: str = "sha") -> str:
    value = payload.get(key)
    # It becomes an argument of git: anything but a plain commit could be an option.
    if isinstance(value, str) and _COMMIT.fullmatch(value):
        return value
    raise UsageError(
        f"the event's payload has no commit at {where}.{key}",
        expected="the payload that GitHub writes to GITHUB_EVENT_PATH",
        fix="with a local runner, give it an event file that has one",
    )


def _repository(side: Mapping[str, Any]) -> str | None:
    # A deleted fork has no repository any more: None, which is no repository's name, so it counts as a fork.
    name = _mapping(side, "repo").get("full_name")
    return name if isinstance(name, str) else None

"""From what happened on GitHub to what there is to do. Nothing else looks at the event's name."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from metricgate.errors import UsageError

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_QUEUE = re.compile(r"refs/heads/gh-readonly-queue/.+/pr-([0-9]{1,9})-[0-9a-f]+")
_NO_COMMIT = re.compile(r"0+")
_EXAMPLE = "on:\n  pull_request:\n  merge_group:\n  push: {branches: [main]}"

Kind = Literal["compare", "record", "release", "post", "nothing"]


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do.

    Attributes:
        kind: ``compare`` a change with its baseline, ``record`` the runs of a commit that has none, judge the commit of a
            ``release`` by what needs no baseline, ``post`` the report of another run, or ``nothing``.
        base: The commit that the change goes into, as the event tells it; None but for ``compare``.
        head: The change's own last commit, which is not what is checked out when GitHub made a merge commit of it; for
            ``post`` that of the other run.
        number: The pull request's number, where there is one.
        fork: Whether the change comes from another repository; for ``post`` whether the other run's does.
        draft: Whether the pull request is a draft.
        action: What happened to the pull request: opened, synchronize, labeled, …
        label: The label that was put on or taken off, where that is what happened.
        sender: Who made it happen.
        branch: The branch that was pushed to, or that the change goes into.
        tag: The tag of a release.
        run_id: The workflow run whose report is to be posted.
        head_repository: The repository that ``head`` comes from, ``owner/name``; None if it is gone.
        why: For ``nothing``, the reason.
    """

    kind: Kind
    base: str | None = None
    head: str | None = None
    number: int | None = None
    fork: bool = False
    draft: bool = False
    action: str | None = None
    label: str | None = None
    sender: str | None = None
    branch: str | None = None
    tag: str | None = None
    run_id: int | None = None
    head_repository: str | None = None
    why: str = ""


def work(event_name: str, payload: Mapping[str, Any]) -> Work:
    """Decide what there is to do.

    Args:
        event_name: ``GITHUB_EVENT_NAME``; empty outside GitHub, which counts as a push.
        payload: The event as GitHub delivered it.

    Raises:
        UsageError: The event is one that nothing sensible can be done for, or its payload is not GitHub's.
    """
    refuse_unsafe(event_name)
    if event_name not in _READERS:
        raise UsageError(
            f"there is no model to check when the event is `{event_name}`",
            expected=f"one of {', '.join(name for name in _READERS if name)}",
            where="on:",
            fix=_EXAMPLE,
        )
    return _READERS[event_name](payload)


def _pull_request(payload: Mapping[str, Any]) -> Work:
    change = _mapping(payload, "pull_request")
    base, head = _mapping(change, "base"), _mapping(change, "head")
    number = change.get("number")
    label = _mapping(payload, "label")
    action = _name(payload, "action")
    closed = action == "closed"
    return Work(
        kind="nothing" if closed else "compare",
        base=_commit(base, "pull_request.base"),
        head=_commit(head, "pull_request.head"),
        number=number if isinstance(number, int) else None,
        fork=_repository(head) != _repository(base),
        draft=change.get("draft") is True,
        action=action,
        label=_name(label, "name"),
        sender=_name(_mapping(payload, "sender"), "login"),
        branch=_name(base, "ref"),
        head_repository=_repository(head),
        why="the pull request is closed" if closed else "",
    )


def _merge_group(payload: Mapping[str, Any]) -> Work:
    group = _mapping(payload, "merge_group")
    if payload.get("action") == "destroyed":
        return Work(kind="nothing", why="the merge group is gone")
    return Work(
        kind="compare",
        base=_commit(group, "merge_group", key="base_sha"),
        head=_commit(group, "merge_group", key="head_sha"),
        # GitHub names the group's branch after the pull request that it adds; nobody else can make such a branch.
        number=int(match[1]) if (match := _QUEUE.fullmatch(_name(group, "head_ref") or "")) else None,
        branch=_name(group, "base_ref", "refs/heads/"),
    )


def _push(payload: Mapping[str, Any]) -> Work:
    if payload.get("deleted") is True or _NO_COMMIT.fullmatch(str(payload.get("after", "-"))):
        return Work(kind="nothing", why="the push deleted a branch or tag")
    tag = _name(payload, "ref", "refs/tags/")
    if tag is not None:
        return Work(kind="release", tag=tag)
    return Work(kind="record", branch=_name(payload, "ref", "refs/heads/"))


def _release(payload: Mapping[str, Any]) -> Work:
    if payload.get("action") == "deleted":
        return Work(kind="nothing", why="the release was deleted")
    return Work(kind="release", tag=_name(_mapping(payload, "release"), "tag_name"))


def _workflow_run(payload: Mapping[str, Any]) -> Work:
    """The other run is told by its number, its head commit and repository; nothing that it may have written is believed."""
    run = _mapping(payload, "workflow_run")
    number = run.get("id")
    head = _commit(run, "workflow_run", key="head_sha")
    if run.get("event") != "pull_request":
        return Work(kind="nothing", head=head, why=f"the run was started by `{run.get('event')}`, not by a pull request")
    if payload.get("action") not in (None, "completed"):
        return Work(kind="nothing", head=head, why="the run has not ended")
    theirs = _name(_mapping(run, "head_repository"), "full_name")
    return Work(
        kind="post",
        head=head,
        fork=theirs != _name(_mapping(payload, "repository"), "full_name"),
        run_id=number if isinstance(number, int) else None,
        head_repository=theirs,
    )


def _without_base(payload: Mapping[str, Any]) -> Work:
    return Work(kind="record", branch=_name(payload, "ref", "refs/heads/"))


_READERS: Mapping[str, Callable[[Mapping[str, Any]], Work]] = {
    "pull_request": _pull_request,
    "merge_group": _merge_group,
    "push": _push,
    "workflow_dispatch": _without_base,
    "schedule": _without_base,
    "release": _release,
    "workflow_run": _workflow_run,
    "": _without_base,  # outside GitHub
}


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


def refuse_to_train(event_name: str) -> None:
    """Refuse to run a repository's code, or to judge it, in a workflow that only shows what another one made.

    Raises:
        UsageError: The event is ``pull_request_target`` or ``workflow_run``, which have this repository's token and secrets.
    """
    refuse_unsafe(event_name)
    if event_name == "workflow_run":
        raise UsageError(
            "workflow_run has this repository's token: nothing is trained or compared for it",
            expected="only actions/comment, which runs nothing of the change, or model-comment.yml",
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


def _name(payload: Mapping[str, Any], key: str, prefix: str = "") -> str | None:
    """A text of the payload without its prefix; None where it is something else."""
    value = payload.get(key)
    return value.removeprefix(prefix) if isinstance(value, str) and value.startswith(prefix) else None


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
    return _name(_mapping(side, "repo"), "full_name")

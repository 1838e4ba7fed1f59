"""What the server remembers: accounts, pull requests, comments, events, checks, statuses, runs, artifacts, releases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True)
class Account:
    """A person, a bot or an organisation."""

    login: str
    id: int
    type: str = "User"


@dataclass(slots=True, kw_only=True)
class Token:
    """A secret and what it is good for.

    Attributes:
        value: The secret itself: ``ghs_…`` for an app's installation, ``ghp_…`` for a person.
        account: Who acts with it.
        permissions: What it may do, as a workflow's `permissions` say it; None: whatever the account may.
        repository: The one repository that it is for; empty: every one that the account sees.
        expired: Whether its hour is over.
        limit: How many requests an hour it has.
        used: How many of them were made.
    """

    value: str = field(repr=False)
    account: Account
    permissions: Mapping[str, str] | None
    repository: str = ""
    expired: bool = False
    limit: int = 5000
    used: int = 0

    @property
    def installation(self) -> bool:
        """Whether it belongs to an app, as `GITHUB_TOKEN` does."""
        return self.value.startswith("ghs_")


@dataclass(slots=True)
class Comment:
    """A comment of an issue or pull request."""

    id: int
    number: int
    author: Account
    body: str
    created: datetime
    updated: datetime
    by_app: bool


@dataclass(frozen=True, slots=True)
class Label:
    """A label of a repository."""

    id: int
    name: str
    color: str = "ededed"


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a pull request, such as ``labeled``."""

    id: int
    kind: str
    actor: Account
    when: datetime
    label: str = ""
    commit: str = ""
    by_app: bool = False


@dataclass(slots=True, kw_only=True)
class Pull:
    """A pull request. Its base is where the branch stood when it was opened or last pushed to."""

    id: int
    number: int
    title: str
    body: str
    author: Account
    head: str
    head_ref: str
    head_repository: str
    base: str
    base_ref: str
    merge: str
    draft: bool
    created: datetime
    updated: datetime
    state: str = "open"
    closed: datetime | None = None
    merged: datetime | None = None
    locked: bool = False
    labels: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class CheckRun:
    """A check run; ``given`` is what was asked for, later requests over earlier ones."""

    id: int
    given: dict[str, Any]
    started: datetime
    completed: datetime | None = None
    annotations: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Status:
    """A commit status."""

    id: int
    sha: str
    state: str
    context: str
    description: str | None
    target_url: str | None
    creator: Account
    when: datetime


@dataclass(slots=True, kw_only=True)
class Artifact:
    """An artifact of a workflow run."""

    id: int
    run: int
    name: str
    content: bytes = field(repr=False)
    created: datetime
    expired: bool = False


@dataclass(slots=True, kw_only=True)
class WorkflowRun:
    """A run of a workflow."""

    id: int
    number: int
    attempt: int
    event: str
    name: str
    path: str
    head: str
    head_branch: str
    head_repository: str
    actor: Account
    status: str
    conclusion: str | None
    created: datetime


@dataclass(slots=True, kw_only=True)
class Release:
    """A release. A draft's tag need not exist."""

    id: int
    tag: str
    target: str
    name: str | None
    body: str | None
    draft: bool
    prerelease: bool
    author: Account
    created: datetime
    updated: datetime | None = None
    published: datetime | None = None

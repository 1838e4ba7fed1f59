"""Runs to record, and places to record them in, for tests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path

from metricgate import config_file
from metricgate.baseline.files import Files, FolderFiles
from metricgate.config import Config
from metricgate.github import api
from metricgate.github.branch_files import BranchFiles
from metricgate.github.patience import Patience
from tests.github_server import GitHubServer, Repository

NAME = "Digits CNN"
CONFIG: Config = config_file.loads(
    f"name: {NAME}\nmetrics: {{accuracy: {{direction: higher}}}}\nslices: [label]\nbaseline: {{keep: 2, max_commits: 5}}\n"
)
PATIENCE = Patience(attempts=3, backoff=0.0, secondary_wait=0.0)


def commit(number: int) -> str:
    """A full hash."""
    return f"{number:040x}"


def write_run(folder: Path, *, commit: str | None, seed: int | None = 0, level: float = 0.9, examples: int = 20) -> Path:
    """A run folder as training and evaluation leave it."""
    place = folder / (f"seed-{seed}" if seed is not None else "run")
    place.mkdir(parents=True)
    scores = [int((i * 7 + (seed or 0)) % examples < level * examples) for i in range(examples)]
    rows = "".join(f"e{i:03},{i % 3},{score}\n" for i, score in enumerate(scores))
    (place / "scores.csv").write_text(f"example_id,label,accuracy\n{rows}")
    value = sum(scores) / examples
    (place / "metrics.json").write_text(json.dumps({"accuracy": value}))
    if seed is not None:
        record = {"schema": "metricgate.run/1", "name": NAME, "commit": commit, "seed": seed}
        (place / "run.json").write_text(json.dumps({**record, "metrics": {"accuracy": {"value": value}}}))
    (place / "model.bin").write_bytes(b"weights")
    (place / "train.log").write_text("epoch 1\n")
    return place


@dataclass
class Clock:
    """A clock that a test moves."""

    now: datetime = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

    def __call__(self) -> datetime:
        return self.now

    def forward(self, **by: float) -> None:
        self.now += timedelta(**by)


@dataclass(frozen=True)
class Place:
    """A place for files that several writers share.

    Attributes:
        open: Opens it as another process would.
        writes: How often it was written so far.
    """

    open: Callable[[], Files]
    writes: Callable[[], int]


@contextlib.contextmanager
def folder(path: Path) -> Iterator[Place]:
    """A folder."""

    def writes() -> int:
        return sum(file.stat().st_mtime_ns for file in path.rglob("*") if file.name != ".lock") if path.exists() else 0

    yield Place(open=lambda: FolderFiles(path), writes=writes)


@contextlib.contextmanager
def branch() -> Iterator[Place]:
    """A branch of a repository on a server of its own."""
    with GitHubServer() as github:
        repository = github.repository("acme/model")
        repository.branch("main", repository.commit())
        with contextlib.ExitStack() as sessions:
            yield Place(
                open=lambda: branch_files(github, sessions=sessions),
                writes=lambda: sum(request.method != "GET" for request in github.requests),
            )


def open_repository(
    github: GitHubServer, repository: Repository | str = "acme/model", *, sessions: contextlib.ExitStack, **permissions: str
) -> api.Repository:
    """A repository through a session of its own; without permissions, that of a job that records."""
    name = repository if isinstance(repository, str) else repository.full_name
    granted = permissions or {"contents": "write", "metadata": "read", "pull_requests": "read"}
    token = github.token(permissions=granted, repository=name)
    session = sessions.enter_context(api.connect(token, api_url=github.url, timeout=5, patience=PATIENCE, sleep=lambda _: None))
    return session.repository(name)


def branch_files(github: GitHubServer, *, sessions: contextlib.ExitStack, **permissions: str) -> BranchFiles:
    """The branch of recorded runs, through a session of its own."""
    return BranchFiles(open_repository(github, sessions=sessions, **permissions), sleep=lambda _: None)

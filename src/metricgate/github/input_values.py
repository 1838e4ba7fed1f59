"""What the text of an input means; each function raises ``ValueError`` with what it should have been."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, cast, get_args

from metricgate.report import plain
from metricgate.report.document import Origin
from metricgate.train_config import Launcher


def inside(text: str) -> PurePosixPath:
    """A path inside the repository."""
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        message = "should be a path inside the repository, relative to its root"
        raise ValueError(message)
    return path


def lines(text: str) -> tuple[str, ...]:
    """What stands on lines of its own."""
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def boolean(text: str) -> bool:
    """true or false."""
    if text in ("true", "false"):
        return text == "true"
    message = "should be true or false"
    raise ValueError(message)


def number(text: str) -> int | None:
    """A whole number, as the runner writes it; None where it is none."""
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def count(text: str) -> int:
    """A whole number of at least 1."""
    found = number(text)
    if found:
        return found
    message = "should be a whole number, 1 or more"
    raise ValueError(message)


def artifact(text: str) -> str:
    """The name of an artifact."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        return text
    message = "should be letters, digits, dots, dashes and underscores"
    raise ValueError(message)


def origin(text: str) -> Origin:
    """The output ``origin`` of actions/baseline."""
    message = "should be the output `origin` of actions/baseline"
    try:
        document = json.loads(text)
        return Origin(commits_before=int(document["commits_before"]), recorded=str(document["recorded"])[:40])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(message) from None


def verdicts(text: str) -> Mapping[str, int]:
    """The output ``verdicts`` of actions/baseline."""
    message = "should be the output `verdicts` of actions/baseline"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(message) from None
    if not isinstance(document, dict) or not all(type(count) is int and count >= 0 for count in document.values()):
        raise ValueError(message)
    return document


def seeds(text: str) -> tuple[int, ...]:
    """Different whole numbers, however they are separated."""
    parts = [part for part in re.split(r"[,\s]+", text.strip("[] ")) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts) or len(set(parts)) != len(parts):
        message = "should be different whole numbers such as 0,1,2"
        raise ValueError(message)
    return tuple(int(part) for part in parts)


def needs(text: str) -> Mapping[str, str]:
    """The result of each job, from ``toJSON(needs)``."""
    return {name: job["result"] for name, job in _jobs(text).items()}


def problems(text: str) -> Mapping[str, str]:
    """What jobs said about themselves in their output ``problem``, from ``toJSON(needs)``, as one short line each."""
    outputs = {name: job.get("outputs") for name, job in _jobs(text).items()}
    said = {name: found.get("problem") for name, found in outputs.items() if isinstance(found, dict)}
    return {name: plain.text(problem, limit=300) for name, problem in said.items() if isinstance(problem, str) and problem}


def shards(text: str) -> int | None:
    """How many shards there may be; None for one a seed, which is written 0."""
    found = number(text)
    if found is None:
        message = "should be a whole number, 0 for one a seed"
        raise ValueError(message)
    return found or None


def _jobs(text: str) -> Mapping[str, Mapping[str, Any]]:
    message = "should be ${{ toJSON(needs) }}"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(message) from None
    if not isinstance(document, dict) or not all(
        isinstance(job, dict) and isinstance(job.get("result"), str) for job in document.values()
    ):
        raise ValueError(message)
    return document


def launcher(text: str) -> Launcher:
    """The name of an engine.

    Raises:
        ValueError: It is none.
    """
    if text in get_args(Launcher):
        return cast("Launcher", text)
    message = f"should be one of {', '.join(get_args(Launcher))}"
    raise ValueError(message)

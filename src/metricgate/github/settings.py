"""What an action was told: one frozen object, made from the environment in one place.

Inputs arrive as ``METRICGATE_INPUT_<NAME>``, which every ``action.yml`` sets itself: GitHub gives composite steps no
``INPUT_*``, and what a local runner sets beyond GitHub must not be relied on.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar, cast, get_args

from metricgate.config import FILE_NAME
from metricgate.errors import UsageError
from metricgate.report.document import Origin

Stage = Literal["check", "train", "evaluate", "baseline", "compare", "comment", "record", "gate", "publish", "verify", "tune"]
Comment = Literal["always", "on_change", "on_problem", "never"]

PREFIX = "METRICGATE_INPUT_"

# Which inputs each action has. The action.yml files and the README are tested against it.
INPUTS: Mapping[Stage, tuple[str, ...]] = {
    "check": ("config", "baseline", "seeds", "token", "comment"),
    "train": ("config", "run-dir", "seeds"),
    "evaluate": ("config", "run-dir"),
    "baseline": ("config", "run-dir", "seeds", "token", "train", "outdated", "origin"),
    "compare": ("config", "baseline", "candidate", "history", "origin", "verdicts", "needs"),
    "comment": ("config", "report", "name", "token", "comment"),
    "record": ("config", "run-dir", "report", "token"),
    "gate": ("report",),
    "publish": (
        "config",
        "image",
        "rules",
        "flavor",
        "labels",
        "push",
        "model",
        "name",
        "allow-stale",
        "token",
        "registry-username",
        "registry-password",
        "key",
    ),
    "verify": (
        "image",
        "key",
        "identity",
        "issuer",
        "repository",
        "model",
        "token",
        "registry-username",
        "registry-password",
    ),
    "tune": ("config", "trials", "workers", "storage", "study", "retrain", "open-pull-request", "token"),
}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """The inputs of an action and what GitHub says about the job.

    Attributes:
        stage: The action.
        workspace: The root of the checkout; relative paths start here.
        config: The configuration file, relative to the root of the repository, so that it can be read from any commit.
        run_dir: Where the runs are written; None for the default.
        seeds: Which seeds to train instead of those of the configuration; None for those.
        baseline: A folder of runs to compare with; None to find one.
        candidate: The folder of runs under test.
        history: A folder of recorded runs of the main branch.
        outdated: A folder of recorded runs that were evaluated in another way.
        origin: Where the baseline's runs come from, as the stage ``baseline`` says it; None if they were made for this.
        verdicts: How many verdicts each test set has given, by its fingerprint, as the stage ``baseline`` says it.
        train: Whether a baseline that is not recorded is trained.
        report: A report to exit with, or to comment with.
        name: What the artifacts of the other workflow are called.
        needs: The results of the jobs that this one needs, such as ``{"train": "success"}``.
        comment: When to comment on the pull request.
        images: Names of images.
        rules: Which tags a release gets.
        flavor: What holds for all its tags.
        labels: More labels of its image.
        push: Whether anything is published.
        model: The file or folder of its model; None to find it.
        allow_stale: Whether a verdict counts that something changed since.
        registry_username: Who pushes or pulls; empty for the login that Docker knows.
        registry_password: Never part of the object's text.
        key: The text of a private key to sign with. Never part of the object's text.
        public_key: A file with the public key that has to have signed.
        identity: Who has to have signed.
        issuer: Who has to have said so; empty for GitHub.
        signed_in: The address of the repository whose job has to have signed; empty for that of the identity.
        trials: How many trials a search has in all; None for as many as the configuration says.
        workers: How many of them run at once.
        storage: Where they are kept; a database's URL may hold a password. Never part of the object's text.
        study: The study's name; empty for that of the configuration.
        retrain: Whether the best parameters are trained again and judged.
        open_pull_request: Whether a pull request proposes them.
        token: For GitHub's API; empty without one. Never part of the object's text.
        repository: ``owner/name``.
        api_url: The root of GitHub's API, which GitHub Enterprise Server has elsewhere.
        server_url: The root of GitHub's pages.
        run_id: The number of this workflow run; 0 outside GitHub.
        run_attempt: How often it was started.
        temporary: A folder that the runner empties after the job.
        event_name: What triggered the workflow.
        event_file: The event's payload.
        output_file: Where outputs go; None outside an action.
        summary_file: Where the step summary goes; None outside an action.
    """

    stage: Stage
    workspace: Path
    config: PurePosixPath
    run_dir: Path | None = None
    seeds: tuple[int, ...] | None = None
    baseline: Path | None = None
    candidate: Path | None = None
    history: Path | None = None
    outdated: Path | None = None
    origin: Origin | None = None
    verdicts: Mapping[str, int] | None = None
    train: bool = True
    report: Path | None = None
    name: str = "model"
    needs: Mapping[str, str] = field(default_factory=dict)
    comment: Comment = "on_change"
    images: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()
    flavor: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    push: bool = True
    model: Path | None = None
    allow_stale: bool = False
    registry_username: str = ""
    registry_password: str = field(default="", repr=False)
    key: str = field(default="", repr=False)
    public_key: Path | None = None
    identity: str = ""
    issuer: str = ""
    signed_in: str = ""
    trials: int | None = None
    workers: int | None = None
    storage: str = field(default="", repr=False)
    study: str = ""
    retrain: bool = True
    open_pull_request: bool = False
    token: str = field(default="", repr=False)
    repository: str = ""
    api_url: str = "https://api.github.com"
    server_url: str = "https://github.com"
    run_id: int = 0
    run_attempt: int = 1
    temporary: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    event_name: str = ""
    event_file: Path | None = None
    output_file: Path | None = None
    summary_file: Path | None = None


def variable(name: str) -> str:
    """The environment variable that carries the input ``name``."""
    return PREFIX + name.upper().replace("-", "_")


def from_environment(stage: Stage, environ: Mapping[str, str]) -> Settings:
    """Read the settings of an action.

    Raises:
        UsageError: Inputs that can't be right; the message lists all of them.
    """
    mistakes: list[str] = []
    workspace = Path(environ.get("GITHUB_WORKSPACE") or Path.cwd())

    def read(name: str, parse: Callable[[str], T], default: T) -> T:
        text = environ.get(variable(name), "").strip() if name in INPUTS[stage] else ""
        if not text:
            return default
        try:
            return parse(text)
        except ValueError as error:
            mistakes.append(f"`{name}` is {text[:100]!r}: {error}")
            return default

    def path(text: str) -> Path:
        return workspace / text

    def file_of(name: str) -> Path | None:
        return Path(environ[name]) if environ.get(name) else None

    settings = Settings(
        stage=stage,
        workspace=workspace,
        config=read("config", _inside, PurePosixPath(FILE_NAME)),
        run_dir=read("run-dir", path, None),
        seeds=read("seeds", _seeds, None),
        baseline=read("baseline", path, None),
        candidate=read("candidate", path, None),
        history=read("history", path, None),
        outdated=read("outdated", path, None),
        origin=read("origin", _origin, None),
        verdicts=read("verdicts", _verdicts, None),
        train=read("train", _boolean, True),
        report=read("report", path, None),
        name=read("name", _artifact, "model"),
        needs=read("needs", _needs, {}),
        comment=read("comment", _comment, "on_change"),
        images=read("image", _lines, ()),
        rules=read("rules", _lines, ()),
        flavor=read("flavor", _lines, ()),
        labels=read("labels", _lines, ()),
        push=read("push", _boolean, True),
        model=read("model", path, None),
        allow_stale=read("allow-stale", _boolean, False),
        registry_username=read("registry-username", str, ""),
        registry_password=read("registry-password", str, ""),
        key=read("key", str, "") if stage == "publish" else "",
        public_key=read("key", path, None) if stage == "verify" else None,
        identity=read("identity", str, ""),
        issuer=read("issuer", str, ""),
        signed_in=read("repository", str, ""),
        trials=read("trials", _count, None),
        workers=read("workers", _count, None),
        storage=read("storage", str, ""),
        study=read("study", str, ""),
        retrain=read("retrain", _boolean, True),
        open_pull_request=read("open-pull-request", _boolean, False),
        token=read("token", str, ""),
        repository=environ.get("GITHUB_REPOSITORY", ""),
        api_url=environ.get("GITHUB_API_URL") or "https://api.github.com",
        server_url=environ.get("GITHUB_SERVER_URL") or "https://github.com",
        run_id=_number(environ.get("GITHUB_RUN_ID", "")) or 0,
        run_attempt=_number(environ.get("GITHUB_RUN_ATTEMPT", "")) or 1,
        temporary=Path(environ.get("RUNNER_TEMP") or tempfile.gettempdir()),
        event_name=environ.get("GITHUB_EVENT_NAME", ""),
        event_file=file_of("GITHUB_EVENT_PATH"),
        output_file=file_of("GITHUB_OUTPUT"),
        summary_file=file_of("GITHUB_STEP_SUMMARY"),
    )
    if stage == "compare" and settings.candidate is None and not settings.needs:
        mistakes.append("`candidate` is empty: should be the folder with the runs under test")
    if stage == "gate" and settings.report is None:
        mistakes.append("`report` is empty: should be the output `report` of the action that compares")
    if stage == "record" and settings.run_dir is None and settings.report is None:
        mistakes.append("`run-dir` is empty: should be the folder with the runs to record, or `report` a verdict to count")
    if stage in ("record", "comment") and not settings.token:
        mistakes.append("`token` is empty: should be ${{ github.token }}, its default")
    if stage == "publish" and settings.key and not settings.key.startswith("-----BEGIN "):
        mistakes.append("`key` is no PEM: should be the text of a private key, which a secret holds")
    if stage == "verify" and len(settings.images) != 1:
        mistakes.append(f"`image` has {len(settings.images)} names: should be one image, such as ghcr.io/owner/model:1.2.3")
    if stage == "verify" and (settings.public_key is None) == (not settings.identity):
        mistakes.append("either `key` or `identity` says who has to have signed")
    if settings.open_pull_request and not (settings.token and settings.retrain):
        mistakes.append("`open-pull-request` needs `token` and `retrain: true`: what is proposed has been judged")
    if bool(settings.registry_username) != bool(settings.registry_password):
        mistakes.append("`registry-username` and `registry-password` go together")
    if mistakes:
        raise UsageError(
            "\n".join(["the inputs of the action can't be used", *(f"  - {mistake}" for mistake in mistakes)]),
            where="with:",
        )
    return settings


def _inside(text: str) -> PurePosixPath:
    path = PurePosixPath(text)
    if path.is_absolute() or ".." in path.parts:
        message = "should be a path inside the repository, relative to its root"
        raise ValueError(message)
    return path


def _lines(text: str) -> tuple[str, ...]:
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _boolean(text: str) -> bool:
    if text in ("true", "false"):
        return text == "true"
    message = "should be true or false"
    raise ValueError(message)


def _number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None


def _count(text: str) -> int:
    number = _number(text)
    if number:
        return number
    message = "should be a whole number, 1 or more"
    raise ValueError(message)


def _artifact(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", text):
        return text
    message = "should be letters, digits, dots, dashes and underscores"
    raise ValueError(message)


def _origin(text: str) -> Origin:
    message = "should be the output `origin` of actions/baseline"
    try:
        document = json.loads(text)
        return Origin(commits_before=int(document["commits_before"]), recorded=str(document["recorded"])[:40])
    except (ValueError, TypeError, KeyError, RecursionError):
        raise ValueError(message) from None


def _verdicts(text: str) -> Mapping[str, int]:
    message = "should be the output `verdicts` of actions/baseline"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(message) from None
    if not isinstance(document, dict) or not all(type(count) is int and count >= 0 for count in document.values()):
        raise ValueError(message)
    return document


def _seeds(text: str) -> tuple[int, ...]:
    parts = [part for part in re.split(r"[,\s]+", text.strip("[] ")) if part]
    if not parts or not all(re.fullmatch(r"[0-9]{1,18}", part) for part in parts) or len(set(parts)) != len(parts):
        message = "should be different whole numbers such as 0,1,2"
        raise ValueError(message)
    return tuple(int(part) for part in parts)


def _comment(text: str) -> Comment:
    if text in get_args(Comment):
        return cast("Comment", text)
    message = f"should be one of {', '.join(get_args(Comment))}"
    raise ValueError(message)


def _needs(text: str) -> Mapping[str, str]:
    message = "should be ${{ toJSON(needs) }}"
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError(message) from None
    if not isinstance(document, dict) or not all(
        isinstance(job, dict) and isinstance(job.get("result"), str) for job in document.values()
    ):
        raise ValueError(message)
    return {name: job["result"] for name, job in document.items()}

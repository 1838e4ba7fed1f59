"""What an action was told: one frozen object, made from the environment in one place.

Inputs arrive as ``METRICGATE_INPUT_<NAME>``, which every ``action.yml`` sets itself: GitHub gives composite steps no
``INPUT_*``, and what a local runner sets beyond GitHub must not be relied on.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar, cast, get_args

from metricgate.config import FILE_NAME
from metricgate.errors import UsageError
from metricgate.github import input_values, shards
from metricgate.github.shards import Shard
from metricgate.report.document import Origin
from metricgate.train_config import Launcher

Stage = Literal[
    "check",
    "plan",
    "train",
    "evaluate",
    "merge",
    "baseline",
    "compare",
    "comment",
    "record",
    "gate",
    "publish",
    "verify",
    "tune",
]
Comment = Literal["always", "on_change", "on_problem", "never"]

PREFIX = "METRICGATE_INPUT_"

# Which inputs each action has. The action.yml files and the README are tested against it.
INPUTS: Mapping[Stage, tuple[str, ...]] = {
    "check": ("config", "baseline", "seeds", "token", "comment", "launcher"),
    "plan": ("config", "shards"),
    "train": ("config", "run-dir", "seeds", "recorded", "keep-model", "checkpoints", "launcher"),
    "evaluate": ("config", "run-dir"),
    "merge": ("config", "runs", "matrix", "run-dir", "needs"),
    "baseline": ("config", "run-dir", "seeds", "token", "train", "outdated", "origin", "launcher"),
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
        shards: How many jobs share the seeds; None for one a seed.
        matrix: Which of them trains which seeds.
        runs: The folder with what each of them left.
        recorded: A folder of recorded runs, one of which may take the place of a training; None where there are none.
        keep_model: Whether the model has to be there after a training, also where a recorded run takes its place.
        checkpoints: Where unfinished trainings are kept; None for the default.
        launcher: The engine whose client is installed; the configuration says which one trains.
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
        problems: What they said about themselves where something went wrong.
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
    shards: int | None = None
    matrix: tuple[Shard, ...] = ()
    runs: Path | None = None
    recorded: Path | None = None
    keep_model: bool = False
    checkpoints: Path | None = None
    launcher: Launcher | None = None
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
    problems: Mapping[str, str] = field(default_factory=dict)
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
            mistake = f"`{name}` is {text[:100]!r}: {error}"
            mistakes.extend([mistake] if mistake not in mistakes else [])
            return default

    def path(text: str) -> Path:
        return workspace / text

    def file_of(name: str) -> Path | None:
        return Path(environ[name]) if environ.get(name) else None

    settings = Settings(
        stage=stage,
        workspace=workspace,
        config=read("config", input_values.inside, PurePosixPath(FILE_NAME)),
        run_dir=read("run-dir", path, None),
        seeds=read("seeds", input_values.seeds, None),
        shards=read("shards", input_values.shards, None),
        matrix=read("matrix", shards.read_matrix, ()),
        runs=read("runs", path, None),
        recorded=read("recorded", path, None),
        keep_model=read("keep-model", input_values.boolean, False),
        checkpoints=read("checkpoints", path, None),
        launcher=read("launcher", input_values.launcher, None),
        baseline=read("baseline", path, None),
        candidate=read("candidate", path, None),
        history=read("history", path, None),
        outdated=read("outdated", path, None),
        origin=read("origin", input_values.origin, None),
        verdicts=read("verdicts", input_values.verdicts, None),
        train=read("train", input_values.boolean, True),
        report=read("report", path, None),
        name=read("name", input_values.artifact, "model"),
        needs=read("needs", input_values.needs, {}),
        problems=read("needs", input_values.problems, {}),
        comment=read("comment", _comment, "on_change"),
        images=read("image", input_values.lines, ()),
        rules=read("rules", input_values.lines, ()),
        flavor=read("flavor", input_values.lines, ()),
        labels=read("labels", input_values.lines, ()),
        push=read("push", input_values.boolean, True),
        model=read("model", path, None),
        allow_stale=read("allow-stale", input_values.boolean, False),
        registry_username=read("registry-username", str, ""),
        registry_password=read("registry-password", str, ""),
        key=read("key", str, "") if stage == "publish" else "",
        public_key=read("key", path, None) if stage == "verify" else None,
        identity=read("identity", str, ""),
        issuer=read("issuer", str, ""),
        signed_in=read("repository", str, ""),
        trials=read("trials", input_values.count, None),
        workers=read("workers", input_values.count, None),
        storage=read("storage", str, ""),
        study=read("study", str, ""),
        retrain=read("retrain", input_values.boolean, True),
        open_pull_request=read("open-pull-request", input_values.boolean, False),
        token=read("token", str, ""),
        repository=environ.get("GITHUB_REPOSITORY", ""),
        api_url=environ.get("GITHUB_API_URL") or "https://api.github.com",
        server_url=environ.get("GITHUB_SERVER_URL") or "https://github.com",
        run_id=input_values.number(environ.get("GITHUB_RUN_ID", "")) or 0,
        run_attempt=input_values.number(environ.get("GITHUB_RUN_ATTEMPT", "")) or 1,
        temporary=Path(environ.get("RUNNER_TEMP") or tempfile.gettempdir()),
        event_name=environ.get("GITHUB_EVENT_NAME", ""),
        event_file=file_of("GITHUB_EVENT_PATH"),
        output_file=file_of("GITHUB_OUTPUT"),
        summary_file=file_of("GITHUB_STEP_SUMMARY"),
    )
    if stage == "compare" and settings.candidate is None and not settings.needs:
        mistakes.append("`candidate` is empty: should be the folder with the runs under test")
    if stage == "merge" and settings.runs is None:
        mistakes.append("`runs` is empty: should be the folder with the runs that the shards left")
    if stage == "merge" and not settings.matrix:
        mistakes.append("`matrix` is empty: should be the output `matrix` of actions/plan")
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


def _comment(text: str) -> Comment:
    if text in get_args(Comment):
        return cast("Comment", text)
    message = f"should be one of {', '.join(get_args(Comment))}"
    raise ValueError(message)

"""A pull request whose own run may not comment: which one it is, and what its runs say when they are judged here.

The run of a fork has no token to write with, and is not to be believed: its author can change the workflow along with the code.
So a second workflow, which GitHub takes from the default branch, asks GitHub which pull request the run belongs to, takes the
scores from what the run uploaded, and judges them again by the base commit's policy. Nothing of the change is checked out or
run, and what the run says about itself (a verdict, a number, a commit) is not used.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from metricgate import config_file
from metricgate.baseline import commands
from metricgate.config import Config
from metricgate.errors import ConfigError, ExitCode, MetricgateError, StageError
from metricgate.github import archive, artifact, quarantine, recorded
from metricgate.github.archive import ArtifactError
from metricgate.github.artifact import Stored
from metricgate.github.event import Work
from metricgate.github.foreign_runs import Task
from metricgate.report import plain
from metricgate.report.document import Origin, Report, SideInfo

if TYPE_CHECKING:
    from github.GitTree import GitTree
    from github.GitTreeElement import GitTreeElement
    from github.Repository import Repository as Handle

    from metricgate.github.api import Repository

Say = Callable[[str], None]

FOREIGN_RUNS = (
    "The runs were made by the change's own workflow, which its author controls: this comparison was made from their scores by "
    "this repository, but nobody here has made the scores again."
)
FOREIGN_BASELINE = (
    "No ancestor of this change is recorded, so the baseline too was made by the change's own workflow: read the change before "
    "you believe the difference."
)
_CONTENTS = "contents: read"
_PULLS = "pull-requests: read"
_LINK = "120000"
_MOST_PULLS = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """The pull request that a run belongs to, as GitHub tells it.

    Attributes:
        number: Its number.
        head: Its last commit, which the run was about.
        base: The commit that it goes into.
        merge: GitHub's merge of the two, which is what runs; None where it is of other commits, or there is none.
        run_id: The run.
        attempt: Which attempt of the run.
        since: When the run was created: GitHub knew the head by then.
    """

    number: int
    head: str
    base: str
    merge: str | None
    run_id: int
    attempt: int
    since: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A report made here from what the run uploaded.

    Attributes:
        change: The pull request.
        report: The report.
        text: The change's own configuration file, for annotations; empty where there is none.
    """

    change: Change
    report: Report
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Baseline:
    folder: Path | None = None
    history: Path | None = None
    origin: Origin | None = None
    told: tuple[str, ...] = ()
    verdicts: dict[str, int] | None = None


def change_of(repository: Repository, work: Work, *, say: Say) -> Change | None:
    """Find the open pull request that a run belongs to: by its head commit and head repository, asked of GitHub.

    Args:
        repository: The one that the workflow runs in.
        work: Of the kind ``post``.
        say: Told why there is none.

    Returns:
        None where nothing is to be shown: the run goes on, or no open pull request has that head now, or several have.

    Raises:
        GitHubError: GitHub did not say.
    """
    if work.run_id is None or work.head is None or work.head_repository is None:
        say("nothing to show: the event does not say which run it is about, or its repository is gone")
        return None
    run_id, head, source = work.run_id, work.head, work.head_repository.casefold()

    def asked(handle: Handle) -> tuple[str, int, str | None, datetime]:
        run = handle.get_workflow_run(run_id)
        known = run.head_sha == head and run.event == "pull_request"
        return run.status if known else "another one", run.run_attempt, run.head_branch, run.created_at

    status, attempt, branch, since = repository.ask(asked, doing=f"look at run {run_id}", needs=artifact.NEEDS)
    if status != "completed" or not branch:
        say(f"nothing to show: run {run_id} is {plain.text(status)}")
        return None
    label = f"{work.head_repository.partition('/')[0]}:{branch}"

    def listed(handle: Handle) -> list[tuple[int, str, str | None]]:
        pulls = itertools.islice(handle.get_pulls(state="open", head=label), _MOST_PULLS)
        return [
            (pull.number, pull.base.sha, pull.merge_commit_sha)
            for pull in pulls
            if pull.head.sha == head and _full_name(pull.head.repo) == source
        ]

    found = repository.ask(listed, doing=f"list the open pull requests of {plain.text(label)}", needs=_PULLS)
    if len(found) != 1:
        which = " and ".join(f"#{number}" for number, *_ in found)
        why = f"{which} have the same head, and which one the run is about can't be told" if found else "it is no longer a head"
        say(f"nothing to show: {head[:7]} of {plain.text(work.head_repository)}: {why}")
        return None
    number, base, merge = found[0]
    return Change(number=number, head=head, base=base, merge=merge, run_id=run_id, attempt=attempt, since=since)


def judge(
    repository: Repository,
    change: Change,
    *,
    config: PurePosixPath,
    name: str,
    default_name: str,
    folder: Path,
    say: Say,
    compare: Callable[[Task], Report] = quarantine.compare,
) -> Judged | None:
    """Judge what a run uploaded.

    Args:
        repository: The one that the pull request goes into.
        change: The pull request.
        config: The configuration file, relative to the root of the repository.
        name: The ``name`` of the workflow that made the runs; its artifacts are called ``<name>-candidate`` and so on.
        default_name: The model's name where the configuration gives none.
        folder: An empty folder to work in.
        say: Told what is going on.
        compare: Compares, out of harm's way.

    Returns:
        None where the run uploaded no runs. Runs that can't be judged make a report that says so.

    Raises:
        ConfigError: The base commit's configuration is wrong, or there is none at all.
        GitHubError: GitHub did not give what is needed.
        StageError: The comparison could not be made, for no reason that lies in the runs.
    """
    candidate = artifact.find(repository, change.run_id, f"{name}-candidate")
    if candidate is None:
        say(f"nothing to show: run {change.run_id} has no artifact `{plain.text(name)}-candidate`; it may not have trained")
        return None
    policy, text = _texts(repository, change, config)
    judging = None if policy is None else config_file.loads(policy, source=f"{config} at the base", default_name=default_name)
    known = _Baseline() if judging is None else _recorded(repository, change, judging, folder, say=say)
    told: tuple[str, ...] = (FOREIGN_RUNS, *known.told)
    try:
        runs = _unpacked(repository, candidate, folder / "candidate")
        theirs = None
        if known.folder is None and (stored := artifact.find(repository, change.run_id, f"{name}-baseline")):
            theirs = _unpacked(repository, stored, folder / "baseline")
            told += (FOREIGN_BASELINE,)
        report = compare(
            Task(
                candidate=runs,
                head=change.head,
                baseline=known.folder or theirs,
                baseline_recorded=known.folder is not None,
                history=known.history,
                origin=known.origin,
                policy=policy,
                change=text,
                path=str(config),
                default_name=default_name,
                warnings=told,
                verdicts=known.verdicts,
            )
        )
    except ArtifactError as error:
        say(str(error))
        return Judged(change=change, report=_unusable(change, error, judging, default_name), text=text or "")
    # Runs without a record are of no commit that they say.
    side = report.candidate.model_copy(update={"commit": change.head})
    return Judged(change=change, report=report.model_copy(update={"candidate": side}), text=text or "")


def _full_name(repository: Handle | None) -> str | None:
    """Its name, as GitHub compares it; a fork that was deleted has none, whatever PyGithub's types say."""
    return None if repository is None else repository.full_name.casefold()


def _unpacked(repository: Repository, stored: Stored, into: Path) -> Path:
    into.mkdir(parents=True)
    file = artifact.download(repository, stored, into.parent)
    with file.open("rb") as stream:
        archive.unpack(stream, into, name=stored.name)
    file.unlink()
    return into


def _unusable(change: Change, error: ArtifactError, config: Config | None, default_name: str) -> Report:
    """What cannot be judged is shown too: an older report of a good commit must not stand for this one."""
    where = f"{plain.text(error.where)}: " if error.where else ""
    return Report(
        name=default_name if config is None else config.name,
        verdict="not_comparable",
        exit_code=int(ExitCode.NOT_COMPARABLE),
        reasons=(f"What the change's own workflow uploaded can't be judged: {where}{plain.text(error.found, limit=300)}",),
        baseline=SideInfo(),
        candidate=SideInfo(commit=change.head),
        warnings=(FOREIGN_RUNS,),
    )


def _recorded(repository: Repository, change: Change, config: Config, folder: Path, *, say: Say) -> _Baseline:
    """The nearest recorded ancestor; a store that can't be read is told, and counts as one without runs."""
    from metricgate.github import ancestry
    from metricgate.github.branch_files import BranchFiles

    try:
        branch = BranchFiles(repository, config.baseline.branch)
        store = commands.store(config.baseline, root=folder, branch=branch)
        base = ancestry.merge_base(repository, change.base, change.head)
        limit = max(config.baseline.max_commits, recorded.LOOKED_AT)
        listed = store.listing(config.name)
        verdicts = store.verdicts(config.name)
        commits = list(itertools.islice(ancestry.before(repository, base), limit)) if listed else []
        found = commands.find(store, commits, config=config, into=folder / "recorded", recorded=listed)
        history = store.history(config.name, recorded.besides(commits, found), folder / "history")
        if found is None:
            say(f"no ancestor of {base[:7]} within {config.baseline.max_commits} commits is recorded")
            return _Baseline(history=history, told=(recorded.to_make(base),), verdicts=verdicts)
    except MetricgateError as error:
        say(str(error))
        return _Baseline(told=(f"Recorded runs could not be read: {error.found}",))
    say(f"the baseline is {found.commit[:7]}, recorded, {found.distance} commits before {base[:7]}")
    return _Baseline(folder=found.folder, history=history, origin=recorded.origin_of(found), verdicts=verdicts)


def _texts(repository: Repository, change: Change, path: PurePosixPath) -> tuple[str | None, str | None]:
    """The configuration at the base commit, and as the change has it; None where there is none.

    The change's own is read from GitHub's merge, as its run did: what changed at the base meanwhile is not its doing.
    """

    def asked(handle: Handle) -> tuple[str | None, str | None]:
        base = _find(handle, handle.get_git_commit(change.base).tree.sha, path)
        if base is not None and base.mode == _LINK:
            raise ConfigError("the file is a symbolic link", where=f"{path} at {change.base[:7]}", expected="a plain file")
        tree = None
        if change.merge is not None:
            merge = handle.get_git_commit(change.merge)
            if [parent.sha for parent in merge.parents] == [change.base, change.head]:
                tree = merge.tree.sha
        own = _find(handle, tree or handle.get_git_commit(change.head).tree.sha, path)
        text = None if base is None else _text(handle, base)
        if base is not None and own is not None and own.sha == base.sha:
            return text, text
        return text, None if own is None or own.mode == _LINK or own.size > config_file.MAX_BYTES else _text(handle, own)

    return repository.ask(asked, doing=f"read {path} at {change.base[:7]} and {change.head[:7]}", needs=_CONTENTS)


def _find(handle: Handle, tree: str, path: PurePosixPath) -> GitTreeElement | None:
    """What stands at a path below a tree, if it is a file."""
    *folders, file = path.parts
    for folder in folders:
        inner = _entry(handle.get_git_tree(tree), folder)
        if inner is None or inner.type != "tree":
            return None
        tree = inner.sha
    found = _entry(handle.get_git_tree(tree), file)
    return found if found is not None and found.type == "blob" else None


def _entry(tree: GitTree, name: str) -> GitTreeElement | None:
    found = next((entry for entry in tree.tree if entry.path == name), None)
    if found is None and tree.raw_data.get("truncated"):
        raise StageError("GitHub cut off the list of the repository's files", where=name)
    return found


def _text(handle: Handle, file: GitTreeElement) -> str:
    if file.size > config_file.MAX_BYTES:
        raise ConfigError(f"the file has {file.size:,} bytes", where=file.path, expected="a short YAML file")
    return base64.b64decode(handle.get_git_blob(file.sha).content).decode("utf-8", errors="replace")

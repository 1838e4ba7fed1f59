"""What ``metricgate record`` and ``metricgate baseline`` do. The store comes as an argument, wherever it is."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

import tabulate

from metricgate import run as runs
from metricgate.baseline import layout
from metricgate.baseline.files import Files, FolderFiles
from metricgate.baseline.judged import Judged, WorkflowRun
from metricgate.baseline.layout import RecordedCommit
from metricgate.baseline.ledger import Entry
from metricgate.baseline.models import Models
from metricgate.baseline.nearest import Commit, nearest
from metricgate.baseline.objects import Objects
from metricgate.baseline.store import Clock, Recorded, RunStore
from metricgate.config import Baseline, Config
from metricgate.errors import UsageError
from metricgate.place import Place
from metricgate.report.document import Report

BRANCH = "branch"


@dataclass(frozen=True)
class Found:
    """The baseline of a change.

    Attributes:
        folder: Its runs, as ``metricgate compare`` takes them.
        commit: Its full hash.
        distance: How many commits before the merge-base it lies.
        committed: When it was committed, where known.
        recorded: When it was recorded.
    """

    folder: Path
    commit: str
    distance: int
    committed: datetime | None
    recorded: datetime


@dataclass(frozen=True)
class Noted:
    """What was noted of a verdict.

    Attributes:
        counted: Whether it was counted: not where no rule was judged, or the runs name no test set.
        kept: Whether what it said is kept: not where the runs are of another commit than the one that they were judged for.
    """

    counted: bool = False
    kept: bool = False


def store(settings: Baseline, *, root: Path, branch: Files | None = None) -> RunStore:
    """The store that a configuration names.

    Args:
        settings: ``baseline:`` of the configuration.
        root: The repository root, which relative folders start from.
        branch: The branch of the repository, where it can be reached.

    Raises:
        UsageError: Runs are recorded on a branch, and it can't be reached from here.
    """
    objects = None if settings.scores is None else Objects(_at(settings.scores, root))
    if settings.store != BRANCH:
        return RunStore(FolderFiles(root / settings.store), objects)
    if branch is None:
        raise UsageError(
            f"runs are recorded on the branch {settings.branch} of the repository on GitHub, and no token was given for it",
            expected="a token that may read contents, or a folder to record in",
            fix="GITHUB_TOKEN=… GITHUB_REPOSITORY=owner/name metricgate baseline\nor in metricgate.yaml:\n"
            "baseline: {store: /shared/recorded-runs}",
        )
    return RunStore(branch, objects)


def models(config: Config, *, root: Path) -> Models | None:
    """Where the models of recorded commits are kept; None where they are not.

    Raises:
        ConfigError: The URL holds a password.
    """
    where = config.baseline.models
    return None if where is None else Models(Place(_at(where, root), key="baseline.models"), config.name)


def keep_models(config: Config, folder: Path, *, root: Path, clock: Clock) -> tuple[str, ...]:
    """Keep the models of runs, and no more commits' models than ``baseline.keep`` says.

    Returns:
        The runs whose model is kept; none where no place for models is configured.

    Raises:
        StageError: The place can't be reached or written.
    """
    place = models(config, root=root)
    kept = () if place is None else place.keep(folder, now=clock())
    if place is not None and kept:
        place.retain(most=config.baseline.keep)
    return kept


def record(to: RunStore, folder: Path, *, config: Config, clock: Clock, commit: str | None = None) -> Recorded:
    """Record the runs of a folder.

    Args:
        to: Where.
        folder: A run folder, a folder of run folders, or one file in any known format.
        config: Gives the model's name and the columns with a role.
        clock: Says when.
        commit: Their commit; by default the one that the runs themselves name.

    Raises:
        UsageError: There is no run, or no one commit.
        InputError: A file is malformed.
        StageError: The store can't be reached or written.
    """
    return to.record(config.name, commit or _commit_of(folder), folder, config=config, clock=clock)


def note(
    to: RunStore,
    report: Report,
    *,
    config: Config,
    clock: Clock,
    commit: str,
    pull_request: int | None = None,
    workflow: WorkflowRun | None = None,
    keep: bool = True,
) -> Noted:
    """Count a verdict in the ledger, for the test set that it is about, and keep what it said about the commit.

    Args:
        to: Where.
        report: What the gate said.
        config: Gives the model's name.
        clock: Says when.
        commit: The commit that it is about, as the caller knows it: runs can name any.
        pull_request: Its number.
        workflow: The workflow run that trained and judged.
        keep: Whether what it said is kept.

    Raises:
        UsageError: There is no full hash, or no fingerprint.
        StageError: The place can't be reached or written.
    """
    moment = clock().astimezone(timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")
    layout.full_commit(commit)
    entry = None
    if report.reuse is not None and report.rules:
        entry = Entry(
            kind="verdict",
            name=config.name,
            commit=commit,
            time=moment,
            verdict=report.verdict,
            pull_request=pull_request,
            test_set=report.reuse.test_set,
        )
    kept = None
    # GitHub's merge commit of a pull request is judged for its head, and is no commit that anybody could release.
    if keep and report.candidate.commit == commit:
        kept = Judged(name=config.name, commit=commit, time=moment, report=report.without_ids(), workflow=workflow)
    done = to.note(*(one for one in (entry, kept) if one is not None))
    return Noted(counted=done and entry is not None, kept=done and kept is not None)


def find(
    source: RunStore,
    history: Iterable[Commit],
    *,
    config: Config,
    into: Path,
    recorded: Mapping[str, RecordedCommit] | None = None,
) -> Found | None:
    """Find the baseline of a change and copy its runs out.

    Args:
        source: The store.
        history: The merge-base and the commits before it, as ``git log`` lists them.
        config: Gives the model's name and how far back a baseline may lie.
        into: A folder; the runs go into one named after the commit in it.
        recorded: What the last listing of the store saw; by default it is listed again.

    Returns:
        None where no commit near enough is recorded.

    Raises:
        StageError: The store can't be reached.
    """
    recorded = source.listing(config.name) if recorded is None else recorded
    found = nearest(history, recorded, max_commits=config.baseline.max_commits)
    if found is None:
        return None
    return Found(
        folder=source.load(config.name, found.commit, into),
        commit=found.commit,
        distance=found.distance,
        committed=found.time,
        recorded=recorded[found.commit].time,
    )


def missing(config: Config, merge_base: str) -> str:
    """Why there is no baseline, and the commands that make one."""
    return (
        f"none of {merge_base[:12]} and the {config.baseline.max_commits} commits before it is recorded; to make a baseline:\n"
        f"{how_to_make(merge_base)}"
    )


def how_to_make(merge_base: str) -> str:
    """The commands that make a missing baseline."""
    return f"git switch --detach {merge_base[:12]} && metricgate run && metricgate record"


def table(source: RunStore, *, config: Config) -> str:
    """The recorded commits as a table, newest first."""
    newest = sorted(source.listing(config.name).values(), key=lambda found: (found.time, found.commit), reverse=True)
    if not newest:
        return f"nothing of {config.name} is recorded yet\n"
    rows = [(found.commit, found.time.strftime("%Y-%m-%d %H:%M"), len(found.runs)) for found in newest]
    return (
        tabulate.tabulate(rows, headers=["commit", "recorded (UTC)", "runs"], tablefmt="simple", disable_numparse=True) + "\n"
    )


def prune(at: RunStore, *, config: Config, needed: Collection[str] = ()) -> tuple[str, ...]:
    """Delete recorded commits beyond ``baseline.keep``, other than those that are needed.

    Returns:
        The commits that were deleted.
    """
    return at.prune(config.name, keep=config.baseline.keep, needed=needed)


def _at(where: str, root: Path) -> str:
    return where if "://" in where else str(root / where)


def _commit_of(folder: Path) -> str:
    homes = [folder, *sorted(file.parent for file in folder.glob(f"*/{runs.RUN_FILE}"))] if folder.is_dir() else [folder.parent]
    records = [record for home in homes if (record := runs.read_record(home)) is not None]
    commits = sorted({record.commit for record in records if record.commit})
    if len(commits) == 1:
        return commits[0]
    if commits:
        found = f"the runs are of several commits: {', '.join(commit[:12] for commit in commits)}"
        raise UsageError(
            found, where=str(folder), expected="runs of one commit", fix="metricgate record FOLDER --commit COMMIT"
        )
    raise UsageError(
        "the runs name no commit",
        where=str(folder),
        expected="runs that were made of a commit, with no file changed since",
        fix="git commit, and metricgate run again; or say which it was: metricgate record FOLDER --commit COMMIT",
    )

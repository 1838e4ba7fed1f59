"""The recorded runs that a change is compared with, and recording those of a push."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timezone
from pathlib import Path

from metricgate import formats, workspace
from metricgate.baseline import commands, local_history
from metricgate.baseline.commands import Noted
from metricgate.baseline.ledger import Entry
from metricgate.baseline.nearest import Commit
from metricgate.baseline.store import RunStore
from metricgate.config import Config
from metricgate.errors import MetricgateError, UsageError
from metricgate.github import second_checkout
from metricgate.github.job import Job
from metricgate.github.policy import Policy
from metricgate.report.document import Origin, Report

LOOKED_AT = 200
"""Commits that are listed, in two requests: by time, so that those of merged side branches stand between the others."""


@dataclass(frozen=True)
class Found:
    """What the store has for a change.

    Attributes:
        baseline: The folder with the runs of the nearest recorded ancestor; None where there is none.
        history: The folder with the runs of other recorded ancestors; None where there is none.
        origin: How far away the baseline (or what is outdated) is, and when it was recorded.
        outdated: The folder with runs that were evaluated in another way than the change is; None where there are none.
        train: Whether a baseline is to be made: there is none, and the configuration wants one.
        told: What the reader should know if it stays that way.
        verdicts: How many verdicts each test set has given, by its fingerprint; None where nobody knows.
    """

    baseline: Path | None = None
    history: Path | None = None
    origin: Origin | None = None
    outdated: Path | None = None
    train: bool = True
    told: tuple[str, ...] = ()
    verdicts: Mapping[str, int] | None = None


def look(job: Job, config: Config, base: str, *, into: Path, history: Path) -> Found:
    """Look for the nearest recorded ancestor of a commit.

    A store that can't be read is said, and counts as one without runs: then a baseline is made, or the verdict says that it is
    missing. For a push none is trained: the change was judged before it came in.

    Args:
        job: The job.
        config: Says where runs are recorded.
        base: The merge-base of the change, or the first parent of what was pushed.
        into: Where the runs of the ancestor go.
        history: Where those of other ancestors go.
    """
    is_change = job.work.kind == "compare"
    wanted = is_change and config.baseline.train_missing and job.checkout.read(base, job.settings.config) is not None
    try:
        store = store_of(job, config)
        if store is None:
            return Found(train=wanted)
        limit = config.baseline.max_commits
        recorded = store.listing(config.name)
        verdicts = store.verdicts(config.name)
        commits = list(itertools.islice(_ancestors(job, base), max(limit, LOOKED_AT))) if recorded else []
        found = commands.find(store, commits, config=config, into=into, recorded=recorded)
        others = store.history(config.name, besides(commits, found), history)
        if found is None:
            told = f"No recorded commit of `{config.name}` is an ancestor within {limit} commits."
            told = f"{told} {to_make(base)}" if is_change else told
            job.runner.say(told)
            return Found(history=others, train=wanted, told=(told,), verdicts=verdicts)
        changed = _other_evaluation(job, found.folder, config)
    except MetricgateError as error:
        told = f"Recorded runs could not be read: {error.found}"
        job.runner.annotate("warning", str(error), title="Recorded runs could not be read")
        return Found(train=wanted, told=(told, to_make(base)) if is_change else (told,))
    if changed:
        job.runner.say(f"the baseline {found.commit[:7]} is recorded, and {changed}")
        if wanted or not is_change:
            outdated = found.folder.rename(into.with_name(f"{into.name}-outdated"))
            told = f"{changed[0].upper()}{changed[1:]}."
            origin, train = origin_of(found), is_change or config.baseline.models is not None
            return Found(history=others, origin=origin, outdated=outdated, train=train, told=(told,), verdicts=verdicts)
    job.runner.say(f"the baseline is {found.commit[:7]}, recorded, {found.distance} commits before {base[:7]}")
    return Found(baseline=found.folder, history=others, origin=origin_of(found), train=False, verdicts=verdicts)


def besides(commits: Iterable[Commit], found: commands.Found | None) -> list[str]:
    """The commits that are not the baseline: those of them that are recorded tell how noisy training is."""
    return [commit.id for commit in commits if found is None or commit.id != found.commit]


def origin_of(found: commands.Found) -> Origin:
    """Where a recorded baseline comes from, for the report."""
    recorded = found.recorded.astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return Origin(commits_before=found.distance, recorded=recorded)


def record(job: Job, config: Config, runs: Path) -> bool:
    """Record the runs of the commit that is checked out, and prune what no longer counts.

    Returns:
        Whether anything was written: not where the same runs are recorded already.

    Raises:
        UsageError: There is no store, or there are no runs.
        StageError: The store can't be reached or written.
    """
    store = store_of(job, config)
    if store is None:
        raise UsageError(
            "there is no token to record runs with",
            where="with:",
            expected="a token with contents: write, or a store that is a folder",
            fix="with:\n  token: ${{ github.token }}",
        )
    commit = job.checkout.head()
    done = store.record(config.name, commit, runs, config=config, clock=workspace.now)
    job.runner.say(f"recorded {len(done.runs)} runs of {commit[:7]}" if done.changed else f"{commit[:7]} is recorded already")
    try:
        _note_waivers(job, config, store, commit)
        gone = store.prune(config.name, keep=config.baseline.keep, needed=_needed(job, config, store))
        if gone:
            job.runner.say(f"pruned {len(gone)} old commits")
    except MetricgateError as error:
        # The runs are recorded; the next push prunes.
        job.runner.annotate("warning", str(error), title="The runs are recorded, but the store could not be tidied up")
    return done.changed


def note(job: Job, judging: Policy, report: Report) -> Noted:
    """Count the verdict of a report in the ledger, for the test set that it is about, and keep what it said about the commit.

    Nothing without a store. Nor by a policy that the change brings itself: which branch or folder the job writes to is not the
    change's to choose.

    Raises:
        StageError: The store can't be reached or written.
    """
    config = judging.config
    store = None if judging.is_the_changes_own else store_of(job, config)
    if store is None:
        return Noted()
    commit = job.work.head or job.checkout.head()
    noted = commands.note(
        store,
        report,
        config=config,
        clock=workspace.now,
        commit=commit,
        pull_request=job.work.number,
        workflow=job.workflow,
        # A tag neither trains nor judges: what was judged when its commit was pushed is what counts.
        keep=job.work.kind in {"compare", "record"},
    )
    if noted.counted:
        job.runner.say("the verdict is counted for its test set")
    if noted.kept:
        job.runner.say(f"the verdict is kept for {commit[:7]}")
    return noted


def _note_waivers(job: Job, config: Config, store: RunStore, commit: str) -> None:
    """Put accepted regressions that came in with a commit into the ledger; our comments remember who accepted them."""
    if job.repository is None:
        return
    from metricgate.github import merged

    for found in merged.accepted(job.repository, config.name, commit):
        entry = Entry(
            kind="waiver",
            name=config.name,
            commit=commit,
            time=found.waiver.at,
            verdict=found.verdict,
            by=found.waiver.by,
            pull_request=found.number,
            reason=f"accepted for {found.waiver.commit}",
        )
        if store.note(entry):
            job.runner.say(f"noted that {found.waiver.by} accepted the regression of #{found.number}")


def store_of(job: Job, config: Config) -> RunStore | None:
    """Where runs are recorded; None where that is a branch and there is no token to reach it with."""
    branch = None
    if config.baseline.store == commands.BRANCH:
        if job.repository is None:
            return None
        from metricgate.github.branch_files import BranchFiles  # PyGithub takes a while, and a folder needs none of it

        branch = BranchFiles(job.repository, config.baseline.branch)
    return commands.store(config.baseline, root=job.settings.workspace, branch=branch)


def to_make(base: str) -> str:
    """What to do about a missing baseline, as a sentence of the report."""
    return f"To make a baseline: `{commands.how_to_make(base)}`, or run the workflow on that commit."


def _ancestors(job: Job, commit: str) -> Iterable[Commit]:
    if job.repository is None:
        return local_history.before(job.settings.workspace, commit)
    from metricgate.github import ancestry

    return ancestry.before(job.repository, commit)


def _other_evaluation(job: Job, runs: Path, config: Config) -> str:
    """Whether the recorded runs were evaluated in another way than the change is; empty if not, or if nothing tells."""
    prints = {run.record.fingerprints.evaluation for run in formats.read_runs(runs, id=config.scores.id)} - {None}
    ours = second_checkout.evaluation(job, job.settings.workspace)
    if not prints or ours is None or prints == {ours}:
        return ""
    return "this change is evaluated in another way than the recorded baseline was"


def _needed(job: Job, config: Config, store: RunStore) -> frozenset[str]:
    """The recorded commits that an open pull request would be compared with, and those that have a tag."""
    times = store.commits(config.name)
    if job.repository is None or len(times) <= config.baseline.keep:
        return frozenset(times)
    from metricgate.github import ancestry

    return ancestry.needed(job.repository, times, max_commits=config.baseline.max_commits)

"""The model of a tagged commit: its recorded run and its verdict, or why it can't be released."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from metricgate import config_file
from metricgate.baseline import commands, local_history, nearest
from metricgate.baseline.judged import Judged
from metricgate.baseline.store import RunStore
from metricgate.config import Config
from metricgate.errors import ConfigError, UsageError
from metricgate.release import staleness
from metricgate.release.staleness import Baseline, Now
from metricgate.report.document import Report, Waiver
from metricgate.run import RunRecord
from metricgate.train import digest

_WAIVER = "waiver"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """What may be released.

    Attributes:
        commit: The commit.
        folder: The folder of the run in the store: ``seed-0``.
        run: The run whose model is released.
        judged: The verdict, and where it was made.
        waiver: Who accepted a regression.
        stale: What changed since the verdict, where that is allowed.
    """

    commit: str
    folder: str
    run: RunRecord
    judged: Judged
    waiver: Waiver | None = None
    stale: tuple[str, ...] = ()

    @property
    def report(self) -> Report:
        """What the verdict says; one that somebody accepted is waived."""
        report = self.judged.report
        return report.waived(self.waiver) if self.waiver and report.waiver is None else report

    @property
    def report_digest(self) -> str:
        """The digest of the report, as it is kept."""
        return self.judged.report_digest

    @property
    def policy(self) -> str:
        """The digest of the policy that judged."""
        return str(self.judged.report.policy)  # `find` takes no report without one

    @property
    def test_set(self) -> str | None:
        """The fingerprint of the test set."""
        return self.judged.report.test_set

    @property
    def baseline(self) -> str | None:
        """A digest of the baseline: its commit, and its models by seed; None where there was none."""
        side = self.judged.report.baseline
        if not side.runs:
            return None
        models = [f"{seed} {value}" for seed, value in sorted(side.models.items())]
        return digest.of_texts([side.commit or "", *models])


def find(
    store: RunStore, config: Config, commit: str, *, root: Path, path: str, branch: str = "", allow_stale: bool = False
) -> Candidate:
    """Find the run and the verdict of a commit.

    Args:
        store: Where runs are recorded and verdicts are kept.
        config: The configuration of the commit.
        commit: Its full hash.
        root: A clone that reaches back to its baseline, with the branch.
        path: The configuration file, relative to the root.
        branch: The branch whose policy, test set and baseline count, where ``publish.branch`` names none; by default the
            repository's default branch.
        allow_stale: Whether a verdict counts that something has changed since.

    Raises:
        UsageError: There is no run, no verdict, one that failed, is about other bytes, or is stale.
        InputError: What is kept is malformed.
        StageError: The store can't be reached.
    """
    folder, run = _run(store.records(config.name, commit), config, commit)
    judged = store.judged(config.name, commit)
    if judged is None:
        raise UsageError(
            f"there is no verdict about {commit[:12]}",
            expected="a commit that was judged before it was tagged",
            fix="let the workflow judge the commit: push it to the branch that it runs on, or run it by hand on it;\n"
            f"on a laptop: git checkout {commit[:12]} && metricgate run && metricgate record\n"
            "             metricgate compare $(metricgate baseline HEAD~1) RUNS --store STORE",
        )
    if judged.report.policy is None:
        # Nobody can allow this: the evidence would have to name a policy that nobody knows.
        raise UsageError(
            "the verdict does not say by which policy it was made",
            where=_where(judged),
            expected="a report that names the digest of its policy",
            fix=_again(judged),
        )
    _check_model(judged, run)
    waiver = judged.report.waiver or _waiver(store, config.name, commit)
    _check_passed(judged, waiver)
    stale = staleness.of(judged.report, _now(store, config, run, root=root, commit=commit, path=path, branch=branch))
    if stale and not allow_stale:
        raise UsageError(
            "\n".join(["the verdict is stale", *(f"  - {each}" for each in stale)]),
            where=_where(judged),
            expected="a verdict by the policy, test set and baseline that are in force",
            fix=f"{_again(judged)}, and then publish it;\n"
            "or publish it all the same, which the evidence then says: --allow-stale (allow-stale: true)",
        )
    return Candidate(commit=commit, folder=folder, run=run, judged=judged, waiver=waiver, stale=stale)


def fetch_model(config: Config, candidate: Candidate, into: Path, *, root: Path) -> Path:
    """The model of a candidate, from where the models of recorded commits are kept.

    Raises:
        UsageError: None are kept.
        InputError: It is gone, or another one.
        StageError: The place can't be reached.
    """
    models = commands.models(config, root=root)
    if models is None:
        raise UsageError(
            "the model is kept nowhere that this command knows",
            where=f"{candidate.folder} of {candidate.commit[:12]}",
            expected="the model's file or folder, or a place where models are kept",
            fix="--model PATH\nor, before the next commit is trained, in metricgate.yaml:\nbaseline: {models: s3://bucket/models}",
        )
    # Its name says which server it needs.
    return models.fetch_model(candidate.run, into / PurePosixPath(config.model or "model").name)


def _run(records: Mapping[str, RunRecord], config: Config, commit: str) -> tuple[str, RunRecord]:
    wanted = config.publish.seed
    found = sorted(
        (record.seed if record.seed is not None else -1, folder)
        for folder, record in records.items()
        if wanted is None or record.seed == wanted
    )
    if not found:
        raise UsageError(
            f"there is no run of {commit[:12]} with the seed {wanted}",
            where="publish.seed",
            expected=f"one of {', '.join(str(record.seed) for record in records.values())}",
            fix="publish: {seed: SEED}   # or leave it out for the lowest one; then train and tag the commit that says so",
        )
    folder = found[0][1]
    if records[folder].model_digest is None:
        raise UsageError(
            f"{folder} of {commit[:12]} names no model",
            expected="a run whose model was digested",
            fix="model: outputs/model   # in metricgate.yaml, what the training writes; then train the commit again",
        )
    return folder, records[folder]


def _check_model(judged: Judged, run: RunRecord) -> None:
    known = judged.report.candidate.models
    if run.model_digest not in known.values():
        raise UsageError(
            f"the verdict is about other models than the one that is recorded: {run.model_digest}",
            where=_where(judged),
            expected=", ".join(sorted(set(known.values()))) or "a verdict that names the models that it is about",
            fix="the commit was trained again after it was judged: judge it again",
        )


def _check_passed(judged: Judged, waiver: Waiver | None) -> None:
    report = judged.report
    code = report.waived(waiver).exit_code if waiver else report.exit_code
    if code:
        reasons = "\n".join(f"  - {reason}" for reason in report.reasons[:10])
        raise UsageError(
            f"the verdict about {judged.commit[:12]} is `{report.verdict}`, exit code {code}\n{reasons}".rstrip(),
            where=_where(judged),
            expected="a verdict that lets it pass, or a regression that somebody accepted",
            fix="mend the model and tag the commit that does",
        )


def _waiver(store: RunStore, name: str, commit: str) -> Waiver | None:
    """Who accepted the regression of a commit, by the ledger; the newest one counts."""
    entries = [entry for entry in store.ledger(name) if entry.kind == _WAIVER and entry.commit == commit and entry.by]
    return Waiver(by=str(entries[-1].by), at=entries[-1].time, commit=commit) if entries else None


def _now(store: RunStore, config: Config, run: RunRecord, *, root: Path, commit: str, path: str, branch: str) -> Now:
    name, head = local_history.branch(root, config.publish.branch or branch)
    recorded = store.listing(config.name)

    def nearest_to(start: str) -> tuple[str | None, Mapping[str, RunRecord]]:
        history = local_history.before(root, start)
        found = nearest.nearest(history, recorded, max_commits=config.baseline.max_commits)
        return (found.commit, store.records(config.name, found.commit)) if found else (None, {})

    _, newest = nearest_to(head)
    parent = next(iter(next(iter(local_history.before(root, commit))).parents), None)
    before, records = nearest_to(parent) if parent else (None, {})
    return Now(
        branch=name,
        policy=_policy(local_history.read(root, head, PurePosixPath(path)), source=f"{path} at {name}"),
        test_set=_only({record.fingerprints.test_set for record in newest.values()}),
        baseline=_baseline(before, records, evaluation=run.fingerprints.evaluation) if before else None,
    )


def _policy(text: str | None, *, source: str) -> str | None:
    try:
        return None if text is None else config_file.loads(text, source=source).policy_digest
    except ConfigError:
        return None


def _baseline(commit: str, records: Mapping[str, RunRecord], *, evaluation: str | None) -> Baseline:
    models = {each.seed: each.model_digest for each in records.values() if each.seed is not None and each.model_digest}
    evaluated = {record.fingerprints.evaluation for record in records.values()} - {None}
    return Baseline(commit=commit, models=models, comparable=not evaluated or evaluation is None or evaluated == {evaluation})


def _only(prints: Collection[str | None]) -> str | None:
    known = {each for each in prints if each}
    return known.pop() if len(known) == 1 else None


def _where(judged: Judged) -> str:
    return judged.workflow.url if judged.workflow and judged.workflow.url else f"the verdict of {judged.time}"


def _again(judged: Judged) -> str:
    if judged.workflow and judged.workflow.url:
        return f"run the workflow `{judged.workflow.name}` again: {judged.workflow.url}"
    return f"judge {judged.commit[:12]} again: metricgate compare BASELINE RUNS --store STORE"

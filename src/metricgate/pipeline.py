"""The order of the stages, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from metricgate import formats
from metricgate.comparison import Comparison
from metricgate.config import Config
from metricgate.errors import UsageError
from metricgate.gate import judge
from metricgate.report import document
from metricgate.report.document import Report


def compare(
    candidate: Path,
    baseline: Path | None,
    *,
    config: Config,
    history: Path | None = None,
    policy_changes: Sequence[str] = (),
    warnings: Sequence[str] = (),
) -> Report:
    """Compare a candidate with its baseline and judge it.

    Args:
        candidate: A run folder, a folder of run folders, or one file in any format that ``formats`` reads.
        baseline: The same for the baseline; None, or an empty folder, where there is none.
        config: The configuration; its policy judges.
        history: Recorded runs of the main branch, for the training noise.
        policy_changes: How the candidate's own policy differs, for the report.
        warnings: More to tell in the report.

    Raises:
        UsageError: A path does not exist, or there is no candidate.
        InputError: A file is malformed.
    """
    column = config.scores.id
    candidate_runs = formats.read_runs(candidate, id=column)
    if not candidate_runs:
        raise UsageError(
            "there are no runs",
            where=str(candidate),
            expected="the candidate: a run folder, a folder of run folders, or one file",
            fix="write one with `metricgate run`, or give the folder that holds metrics.json or scores.*",
        )
    baseline_runs = formats.read_runs(baseline, id=column) if baseline is not None else ()
    history_runs = formats.read_runs(history, id=column) if history is not None else ()
    judged = {run.where.resolve() for run in (*candidate_runs, *baseline_runs)}
    earlier = [run for run in history_runs if run.where.resolve() not in judged]
    comparison = Comparison(candidate_runs, baseline_runs, history=earlier, config=config)
    return document.build(comparison, judge.judge(comparison), policy_changes=policy_changes, warnings=warnings)

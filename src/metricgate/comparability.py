"""Comparable or not: what has to be the same on both sides before a difference means anything."""

from __future__ import annotations

from metricgate.config import Config
from metricgate.run import Run
from metricgate.side import Side


def problem(candidate: Side, baseline: Side, *, config: Config, paired: bool) -> str:
    """Why nothing can be compared with the baseline; empty where it can.

    Args:
        candidate: The runs under test.
        baseline: What they are compared with.
        config: Which columns tell slices and clusters.
        paired: Whether the examples of both sides are paired by id.
    """
    if not baseline.runs:
        return "there is no baseline"
    if baseline.mismatch:
        return f"the test set changed: {baseline.mismatch}"
    for name, what in (("test_set", "the test set"), ("evaluation", "the evaluation")):
        digests = [
            {digest for run in side.runs if (digest := getattr(run.record.fingerprints, name)) is not None}
            for side in (candidate, baseline)
        ]
        if name == "test_set" and paired and _other_columns(candidate, baseline):
            continue  # a slice that is new in the configuration; ids and known slices are compared below
        if all(digests) and digests[0] != digests[1]:
            return f"{what} changed: its fingerprint differs from the baseline's"
    if paired:
        for column in filter(None, (*config.slice_columns, config.scores.cluster)):
            if candidate.has_column(column) and baseline.has_column(column):
                changed = candidate.disagreements(baseline, column)
                if changed:
                    return f"the test set changed: `{column}` differs for {changed:,} examples"
    return ""


def metric_problem(metric: str, candidate: Side, baseline: Side, *, config: Config) -> str:
    """Why this metric means something else on the two sides, or was measured on other hardware; empty if it doesn't."""
    wanted = config.metrics[metric]
    for side in (candidate, baseline):
        directions = {run.record.metrics[metric].direction for run in side.runs if metric in run.record.metrics} - {None}
        if directions - {wanted.direction}:
            return f"the definition of `{metric}` changed: the {side.label} was recorded with the opposite direction"
    if wanted.timing and baseline.runs:
        ours, theirs = ({hardware(run) for run in side.runs} for side in (candidate, baseline))
        if None not in ours | theirs and ours != theirs:
            return (
                f"`{metric}` depends on the machine, and the baseline was measured on other hardware: "
                f"{_listed(theirs)} instead of {_listed(ours)}"
            )
    return ""


def unknown_hardware(candidate: Side, baseline: Side, *, config: Config) -> str:
    """A warning where timings are compared and nothing tells on which machines they were taken."""
    timings = [name for name, metric in config.metrics.items() if metric.timing]
    unknown = [side.label for side in (candidate, baseline) if any(hardware(run) is None for run in side.runs)]
    if not timings or not baseline.runs or not unknown:
        return ""
    return (
        f"On which hardware the {' and the '.join(unknown)} was measured is not recorded; "
        f"{', '.join(f'`{name}`' for name in timings)} may differ because of that alone."
    )


def hardware(run: Run) -> str | None:
    """The machine that a run was made on, as far as speed goes: its GPUs, or its processor; None if unknown."""
    if run.record.resources.gpu:
        return ", ".join(sorted(run.record.resources.gpu))
    cpu = run.record.environment.get("cpu")
    return cpu if isinstance(cpu, str) and cpu else None


def _listed(names: set[str | None]) -> str:
    return " and ".join(sorted(str(name) for name in names))


def _other_columns(candidate: Side, baseline: Side) -> bool:
    """Whether the fingerprints of the test set cover different columns on the two sides."""
    covered = [{run.record.fingerprints.reference_columns for run in side.runs} - {None} for side in (candidate, baseline)]
    return all(covered) and covered[0] != covered[1]

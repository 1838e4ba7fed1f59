"""Where both sides are the same runs: a change that nothing of the training depends on is not trained again.

Its difference from the baseline is then 0, and not by accident: nothing was measured, and no noise makes it larger or smaller.
That it is so is never taken on trust, since a run says itself whose it is: the scores have to be the same, one by one.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from metricgate import history
from metricgate.config import MetricConfig
from metricgate.side import Side


def in_baseline(candidate: Side, baseline: Side, metrics: dict[str, MetricConfig]) -> tuple[int, ...]:
    """Which runs of the baseline the candidate's runs are, in their order; none where one of them is another run.

    Args:
        candidate: The runs under test.
        baseline: Those that they are compared with, earlier ones of the same training among them.
        metrics: What is compared: it has to be the same for every example, or as a value.
    """
    if baseline.mismatch or not candidate.runs or not baseline.runs or candidate.has_ids != baseline.has_ids:
        return ()
    places = [_place(index, candidate, baseline) for index in range(len(candidate.runs))]
    found = tuple(place for place in places if place is not None)
    if len(found) < len(places) or len(set(found)) < len(found):
        return ()
    return found if _same_scores(candidate, baseline.only(found), metrics) else ()


def _place(index: int, candidate: Side, baseline: Side) -> int | None:
    run = candidate.runs[index]
    training = history.training_of(run)
    for place, other in enumerate(baseline.runs):
        reused = run.record.reused_from is not None or other.record.reused_from is not None
        prints = [one.record.fingerprints for one in (run, other)]
        if (
            reused
            and training is not None
            and training == history.training_of(other)
            and prints[0].training is not None
            and prints[0] == prints[1]
            and run.record.model_digest == other.record.model_digest
            and (run.scores is None) == (other.scores is None)
        ):
            return place
    return None


def _same_scores(candidate: Side, baseline: Side, metrics: dict[str, MetricConfig]) -> bool:
    columns: list[str] = []
    for name, metric in metrics.items():
        wanted: Sequence[str] = [column for column in metric.columns if column] if metric.set_level else [name]
        if candidate.has_scores and all(candidate.has_column(column) and baseline.has_column(column) for column in wanted):
            columns += wanted
        elif [run.metrics.get(name) for run in candidate.runs] != [run.metrics.get(name) for run in baseline.runs]:
            return False
    return all(_same_column(candidate, baseline, column) for column in dict.fromkeys(columns))


def _same_column(candidate: Side, baseline: Side, column: str) -> bool:
    if any(table.columns[column] == "text" for side in (candidate, baseline) for table in side.tables):
        runs = range(len(candidate.runs))
        return all(candidate.only([run]).disagreements(baseline.only([run]), column) == 0 for run in runs)
    if candidate.tables[0].n != baseline.tables[0].n:
        return False
    pairs_of_batches = zip(candidate.batches(column), baseline.batches(column), strict=True)
    return all(np.array_equal(one, other) for one, other in pairs_of_batches)

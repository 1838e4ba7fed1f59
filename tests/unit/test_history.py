"""Which recorded runs count as baseline runs, and which tell only how noisy training is."""

from pathlib import Path

import numpy as np
import pytest

from metricgate import config_file, history
from metricgate.comparison import Comparison
from metricgate.gate import judge
from metricgate.report import building, summary
from metricgate.run import Fingerprints, Run, RunRecord
from metricgate.score_table import ScoreTable

N = 400
CONFIG = config_file.loads(
    "metrics: {accuracy: {direction: higher}}\ngate: {rules: [{metric: accuracy, max_regression: 0.01}]}\n"
)
SAME = Fingerprints(training="sha256:t", evaluation="sha256:e", test_set="sha256:s", reference_columns=())


def run(folder: Path, *, commit: str, seed: int, fingerprints: Fingerprints = SAME) -> Run:
    """A run whose scores depend on commit and seed."""
    place = folder / commit / f"seed-{seed}"
    place.mkdir(parents=True)
    random = np.random.default_rng([seed, *commit.encode()])
    rows = "".join(f"{i},{int(random.random() < 0.9)}\n" for i in range(N))
    (place / "scores.csv").write_text(f"example_id,accuracy\n{rows}")
    table = ScoreTable.open(place / "scores.csv", id="example_id")
    return Run(place, {}, table, RunRecord(commit=commit, seed=seed, fingerprints=fingerprints))


@pytest.fixture
def baseline(tmp_path: Path) -> list[Run]:
    return [run(tmp_path, commit="base", seed=seed) for seed in range(2)]


def test_earlier_runs_of_the_same_training_are_baseline_runs(tmp_path: Path, baseline: list[Run]) -> None:
    earlier = [run(tmp_path, commit=f"old{k}", seed=k) for k in range(3)]
    candidate = [run(tmp_path, commit="head", seed=9)]
    comparison = Comparison(candidate, baseline, history=earlier, config=CONFIG)
    report = building.build(comparison, judge.judge(comparison))
    assert len(comparison.baseline.runs) == 5
    assert not comparison.history
    assert (report.baseline.runs, report.baseline.earlier_runs, report.baseline.commit) == (2, 3, "base")
    assert "2 runs of base (seeds 0, 1) and 3 earlier of the same training" in summary.footer(report)


@pytest.mark.parametrize(
    "other",
    [
        SAME.model_copy(update={"training": None}),
        SAME.model_copy(update={"training": "sha256:other"}),
        SAME.model_copy(update={"evaluation": "sha256:other"}),
        SAME.model_copy(update={"test_set": "sha256:other"}),
        SAME.model_copy(update={"reference_columns": ("label",)}),
    ],
)
def test_runs_of_another_training_evaluation_or_test_set_are_not(
    tmp_path: Path, baseline: list[Run], other: Fingerprints
) -> None:
    earlier = [run(tmp_path, commit="old", seed=0, fingerprints=other)]
    assert history.of_same_training(earlier, baseline) == []


def test_without_fingerprints_nothing_is_assumed(tmp_path: Path) -> None:
    unknown = Fingerprints()
    runs = [run(tmp_path, commit=commit, seed=0, fingerprints=unknown) for commit in ("base", "old")]
    assert history.of_same_training(runs[1:], runs[:1]) == []


def test_a_recorded_copy_of_a_judged_run_is_not_history(tmp_path: Path, baseline: list[Run]) -> None:
    copy = run(tmp_path / "store", commit="base", seed=0)
    other = run(tmp_path / "store", commit="old", seed=0)
    assert history.without([copy, other], baseline) == [other]


def test_an_earlier_run_that_came_out_the_same_is_no_reproach(tmp_path: Path, baseline: list[Run]) -> None:
    same_scores = baseline[0].scores
    earlier = [Run(tmp_path / "x", {}, same_scores, RunRecord(commit="old", seed=0, fingerprints=SAME))]
    comparison = Comparison([run(tmp_path, commit="head", seed=9)], baseline, history=earlier, config=CONFIG)
    assert len(comparison.baseline.runs) == 2
    assert comparison.warnings == []


def test_commits_come_oldest_first(tmp_path: Path) -> None:
    runs = [
        Run(tmp_path / name, {}, None, RunRecord.model_validate({"commit": name, "times": {"started": started}}))
        for name, started in (("b", "2026-01-02T00:00:00Z"), ("a", "2026-01-03T00:00:00Z"), ("c", "2026-01-01T00:00:00Z"))
    ]
    assert [[r.record.commit for r in group] for group in history.commits(runs)] == [["c"], ["b"], ["a"]]

"""Of many flips the first are named and all are counted."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from metricgate import flips
from metricgate.report import document, markdown, terminal
from metricgate.report.document import FlipsInfo, Report, SideInfo
from metricgate.run import Run
from metricgate.score_table import ScoreTable
from metricgate.side import Side

N = flips.NAMED + 7


def side(folder: Path, label: str, accuracy: list[int]) -> Side:
    file = folder / f"{label}.parquet"
    pq.write_table(pa.table({"example_id": range(len(accuracy)), "accuracy": accuracy}), file)
    return Side([Run(where=file, metrics={}, scores=ScoreTable.open(file, id="example_id"))], label=label)


def report(found: FlipsInfo) -> Report:
    return Report(
        name="digits",
        verdict="pass",
        exit_code=0,
        baseline=SideInfo(),
        candidate=SideInfo(),
        alpha=0.05,
        power=0.8,
        flips=found,
    )


def test_all_are_counted_and_the_first_are_named(tmp_path: Path) -> None:
    before, after = side(tmp_path, "baseline", [1] * N + [0]), side(tmp_path, "candidate", [0] * N + [1])
    found = flips.between(after, before, "accuracy", higher=True)
    assert found is not None
    assert (len(found.worse), found.unnamed_worse) == (flips.NAMED, 7)
    assert found.worse[-1] == str(flips.NAMED - 1)
    assert (found.better, found.unnamed_better) == ((str(N),), 0)
    assert found.n == N + 1


def test_the_report_says_how_many_there_are() -> None:
    shown = report(FlipsInfo(metric="accuracy", worse=tuple("abc"), better=("d",), unnamed_worse=4_000))
    page = markdown.render(shown)
    assert "4,003 got worse, 1 got better" in page
    assert "the first 3 ids of each are in report.json" in page
    assert "4,003 got worse, 1 got better" in terminal.render(shown)


def test_a_report_from_before_names_every_one() -> None:
    old = FlipsInfo.model_validate({"metric": "accuracy", "worse": ["a"], "better": []})
    assert old.complete
    assert (old.count_worse, old.count_better) == (1, 0)
    assert "every id is in report.json" in markdown.render(report(old))
    assert document.Report.model_validate_json(document.to_json(report(old))).flips == old

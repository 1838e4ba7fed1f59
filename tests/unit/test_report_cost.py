"""What a check cost, from the records of its runs to one sentence."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import run as runs
from metricgate.errors import InputError
from metricgate.report import comment, cost, document, markdown, terminal
from metricgate.report.comment import Source
from metricgate.report.document import CostInfo, Report, ReusedInfo, SideInfo
from metricgate.run import Resources, ReusedFrom, RunRecord, Times

HOUR = 3600.0
EARLIER = "a1b2c3d4" * 5
QUIET = Report(verdict="pass", exit_code=0, baseline=SideInfo(), candidate=SideInfo())


def record(train_s: float | None, *, seed: int = 0, reused: bool = False, **resources: Any) -> RunRecord:
    return RunRecord(
        seed=seed,
        times=Times(train_s=train_s),
        resources=Resources.model_validate(resources),
        reused_from=ReusedFrom(commit=EARLIER) if reused else None,
    )


def on_gpu(gpu_s: float, **changes: object) -> RunRecord:
    given: dict[str, Any] = {
        "gpu": ("NVIDIA H100",),
        "gpu_peak_memory_bytes": 61_200_000_000,
        "gpu_utilisation": 0.83,
        "energy_wh": 155.0,
    }
    return record(gpu_s, gpu_s=gpu_s, **{**given, **changes})


def told(*records: RunRecord) -> str:
    return cost.told(QUIET.model_copy(update={"cost": cost.of(records), "reused": cost.reused(records)}))


class TestSentence:
    @pytest.mark.parametrize(
        ("records", "sentence"),
        [
            ([], ""),
            ([record(None)], ""),
            ([on_gpu(0.2 * HOUR)] * 2, "0.4 GPU-hours (NVIDIA H100, peak 61 GB, 83% busy) and 310 Wh."),
            ([on_gpu(HOUR, energy_wh=None)], "1 GPU-hour (NVIDIA H100, peak 61 GB, 83% busy)."),
            ([on_gpu(41.4 * HOUR, energy_wh=28_940.0)], "41 GPU-hours (NVIDIA H100, peak 61 GB, 83% busy) and 29 kWh."),
            ([on_gpu(4000 * HOUR, gpu_utilisation=None)], "4,000 GPU-hours (NVIDIA H100, peak 61 GB) and 155 Wh."),
            (
                [on_gpu(300, gpu_peak_memory_bytes=1_500_000_000)],
                "5 GPU-minutes (NVIDIA H100, peak 1.5 GB, 83% busy) and 155 Wh.",
            ),
            ([record(40, gpu_s=40.0, energy_wh=0.0)], "40 GPU-seconds and 0 Wh."),
            ([on_gpu(HOUR), on_gpu(HOUR, gpu=("A", "B"))], "2 GPU-hours (A, B, NVIDIA H100, peak 61 GB, 83% busy) and 310 Wh."),
            ([on_gpu(HOUR, gpu=tuple("ABCDE"))], "1 GPU-hour (A, B, C, and others, peak 61 GB, 83% busy) and 155 Wh."),
            ([record(720, cpu_s=1400.0)], "12 minutes of 2 processors."),
            ([record(720, cpu_s=300.0)], "12 minutes of 1 processor."),
            ([record(4 * HOUR)], "4 hours of training."),
            ([record(5400, cpu_s=5400.0), record(5400, cpu_s=None)], "3 hours of training."),
            ([record(8.4, cpu_s=8.4)], "8 seconds of 1 processor."),
            ([record(0.0, cpu_s=0.0)], "0 seconds of training."),
        ],
    )
    def test_tells_time_hardware_and_energy_where_they_are_known(self, records: list[RunRecord], sentence: str) -> None:
        assert told(*records) == (f"This check cost {sentence}" if sentence else "")

    def test_a_part_of_the_energy_is_not_the_energy(self) -> None:
        assert "Wh" not in told(on_gpu(HOUR), on_gpu(HOUR, energy_wh=None))

    def test_a_machine_that_has_a_gpu_and_did_not_use_it_cost_processors(self) -> None:
        assert told(record(720, gpu=("NVIDIA H100",), cpu_s=720.0)) == "This check cost 12 minutes of 1 processor."

    def test_means_are_weighted_by_time(self) -> None:
        found = cost.of([on_gpu(HOUR, gpu_utilisation=1.0), on_gpu(3 * HOUR, gpu_utilisation=0.0)])
        assert found is not None
        assert found.gpu_utilisation == 0.25


class TestReused:
    def test_costs_nothing_and_says_where_it_is_recorded(self) -> None:
        records = [on_gpu(HOUR), record(9 * HOUR, seed=1, reused=True, gpu_s=9 * HOUR)]
        assert told(*records).startswith("This check cost 1 GPU-hour ")
        report = QUIET.model_copy(update={"reused": cost.reused(records)})
        assert cost.told_reused(report) == "Seed 1 was not trained again: the same training is recorded at a1b2c3d."
        assert cost.told_reused(report) in markdown.render(report)
        assert cost.told_reused(report) in terminal.render(report)

    def test_of_all_seeds_is_said_once_and_costs_nothing(self) -> None:
        records = [record(HOUR, seed=seed, reused=True) for seed in range(3)]
        found = cost.of(records)
        assert found is not None
        assert (found.trainings, found.hours, found.gpu_hours) == (0, 0, 0)
        assert told(*records) == ""
        report = QUIET.model_copy(update={"reused": cost.reused(records)})
        assert cost.told_reused(report) == "Seeds 0, 1, 2 were not trained again: the same training is recorded at a1b2c3d."

    def test_from_several_commits_is_told_for_each(self) -> None:
        reused = (ReusedInfo(seed=0, commit="a" * 40), ReusedInfo(seed=1, commit="b" * 40), ReusedInfo(commit="c" * 40))
        said = cost.told_reused(QUIET.model_copy(update={"reused": reused}))
        assert said.count("was not trained again") == 3
        assert "1 run was not trained again: the same training is recorded at ccccccc." in said


amounts = st.none() | st.floats(0, 1e15)
records = st.builds(
    RunRecord,
    seed=st.none() | st.integers(0, 2**63),
    times=st.builds(Times, train_s=st.none() | st.floats(allow_nan=False, allow_infinity=False)),
    resources=st.builds(
        Resources,
        gpu=st.lists(st.text(max_size=200), max_size=12).map(tuple),
        gpu_peak_memory_bytes=st.none() | st.integers(0, 2**63 - 1),
        gpu_utilisation=st.none() | st.floats(0, 1),
        energy_wh=amounts,
        gpu_s=amounts,
        cpu_s=amounts,
        peak_memory_bytes=st.none(),
    ),
)


@given(st.lists(records, max_size=6))
def test_whatever_a_record_says_the_report_holds_finite_numbers_and_one_short_line(found: list[RunRecord]) -> None:
    report = QUIET.model_copy(update={"cost": cost.of(found), "reused": cost.reused(found)})
    assert document.Report.model_validate_json(document.to_json(report)) == report
    assert len(cost.told(report)) < 500
    assert len(cost.told(report).splitlines()) <= 1
    assert cost.of(found) == cost.of(found)


@pytest.mark.parametrize(
    "resources",
    [
        {"gpu_s": -1},
        {"gpu_s": 1e300},
        {"energy_wh": -0.5},
        {"gpu_utilisation": 83},
        {"gpu_peak_memory_bytes": -1},
        {"gpu_peak_memory_bytes": 2**64},
        {"gpu": ["x" * 201]},
        {"gpu": ["x"] * 1025},
        {"cpu_s": "NaN"},
    ],
)
def test_resources_that_nobody_measured_are_refused(resources: dict[str, object]) -> None:
    content = json.dumps({"schema": "metricgate.run/1", "resources": resources})
    with pytest.raises(InputError, match="resources"):
        runs.parse_record(content.encode(), where="run.json")


def test_the_same_report_that_cost_something_else_is_no_news_on_a_pull_request() -> None:
    def body(hours: float, *, name: str = "digits") -> comment.Body:
        report = QUIET.model_copy(update={"name": name, "cost": CostInfo(trainings=1, hours=hours)})
        return comment.compose(report, Source(head="a" * 40))

    assert "This check cost 2 hours" in body(2).shown
    assert body(2).same(body(3))
    assert not body(2).same(body(2, name="letters"))

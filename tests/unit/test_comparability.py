"""What has to be the same on both sides before a difference means anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metricgate.comparison import Comparison
from metricgate.config import Config
from metricgate.run import Metric, MetricRecord, Resources, Run, RunRecord


def config(*, timing: bool = True) -> Config:
    return Config.model_validate({"metrics": {"latency_ms": {"direction": "lower", "timing": timing}}})


def run(*, cpu: str | None = None, gpu: tuple[str, ...] = (), **record: Any) -> Run:
    return Run(
        where=Path("runs/seed-0"),
        metrics={"latency_ms": Metric(12.0, stderr=0.1, n=100)},
        record=RunRecord(environment={"cpu": cpu}, resources=Resources(gpu=gpu), **record),
    )


def compared(candidate: Run, baseline: Run, *, timing: bool = True) -> Comparison:
    return Comparison([candidate], [baseline], config=config(timing=timing))


@pytest.mark.parametrize(
    ("candidate", "baseline"),
    [
        (run(gpu=("NVIDIA H200",)), run(gpu=("NVIDIA A100",))),
        (run(cpu="EPYC 9654"), run(cpu="Xeon 8488C")),
        (run(cpu="EPYC 9654", gpu=("NVIDIA H200",)), run(cpu="EPYC 9654")),
    ],
)
def test_timings_on_other_hardware_are_not_comparable(candidate: Run, baseline: Run) -> None:
    problem = compared(candidate, baseline).evidence("latency_ms").problem
    assert "other hardware" in problem
    assert compared(candidate, baseline, timing=False).evidence("latency_ms").problem == ""


def test_timings_on_the_same_gpu_are_comparable_whatever_the_processor() -> None:
    comparison = compared(run(cpu="one", gpu=("NVIDIA H200",)), run(cpu="other", gpu=("NVIDIA H200",)))
    assert comparison.evidence("latency_ms").problem == ""
    assert comparison.warnings == []


def test_unknown_hardware_is_said_and_not_taken_for_the_same() -> None:
    comparison = compared(run(cpu="EPYC 9654"), run())
    assert comparison.evidence("latency_ms").problem == ""
    assert [warning.split(";")[0] for warning in comparison.warnings] == [
        "On which hardware the baseline was measured is not recorded"
    ]


def test_a_metric_whose_direction_turned_is_another_metric() -> None:
    recorded = {"latency_ms": MetricRecord(value=12.0, direction="higher")}
    problem = compared(run(cpu="one"), run(cpu="one", metrics=recorded)).evidence("latency_ms").problem
    assert "the definition of `latency_ms` changed" in problem
    assert "the baseline" in problem

"""What people see: golden files for every kind of verdict, and what holds for all reports."""

import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.github_markdown import GITHUB

from metricgate.errors import InputError, UsageError
from metricgate.gate import phrases
from metricgate.report import document, markdown, numbers, summary, terminal
from metricgate.report.document import (
    CostInfo,
    FlipsInfo,
    IntervalInfo,
    Report,
    ReusedInfo,
    ReuseInfo,
    RuleInfo,
    SettlementInfo,
    SideInfo,
    UntestedInfo,
    Waiver,
)

GOLDEN = Path(__file__).parents[1] / "golden"

BOTH = "the test set and the training noise of 6 runs"
ONLY = "the test set only"


def rule(**changes: object) -> RuleInfo:
    fields: dict[str, object] = {
        "metric": "accuracy",
        "kind": "max_regression",
        "limit": 0.01,
        "direction": "higher",
        "binary": True,
        "baseline": 0.9633,
        "candidate": 0.9411,
        "difference": -0.0222,
        "interval": IntervalInfo(low=-0.0312, high=-0.0132, level=0.95),
        "p_value": 0.0004,
        "p_adjusted": 0.004,
        "p_pass": 0.9996,
        "mde": 0.008,
        "n": 1797,
        "method": "examples × seeds, paired",
        "noise": BOTH,
        "outcome": "fail",
        "reason": "accuracy fell by 2.2 points; allowed is 1 point (p = 0.004, corrected for all rules)",
    }
    return RuleInfo.model_validate({**fields, **changes})


def sliced(label: int, difference: float, outcome: str = "pass", p: float = 0.5) -> RuleInfo:
    interval = IntervalInfo(low=difference - 0.03, high=difference + 0.03, level=0.95)
    return rule(
        rule=3,
        slice=f"label={label}",
        limit=0.03,
        baseline=0.95,
        candidate=0.95 + difference,
        difference=difference,
        interval=interval,
        p_value=p,
        p_adjusted=min(1.0, 12 * p),
        mde=0.03,
        n=180,
        outcome=outcome,
    )


MINIMUM = rule(
    rule=1,
    kind="min",
    limit=0.9,
    interval=IntervalInfo(low=0.9302, high=0.952, level=0.95),
    outcome="pass",
    p_value=1.0,
    p_adjusted=1.0,
)
LATENCY = rule(
    rule=2,
    metric="latency_ms",
    kind="max_regression",
    limit=0.1,
    relative=True,
    direction="lower",
    aggregate="p95",
    binary=False,
    baseline=12.1,
    candidate=12.3,
    difference=0.2,
    interval=IntervalInfo(low=-0.4, high=0.8, level=0.95),
    p_value=0.99,
    p_adjusted=1.0,
    mde=0.9,
    outcome="pass",
)

SIDES = {
    "baseline": SideInfo(commit="a1b2c3d4e5", runs=3, seeds=(0, 1, 2)),
    "candidate": SideInfo(commit="e4f5a6b7c8", runs=3, seeds=(0, 1, 2)),
}

FAIL = Report(
    name="digits-cnn",
    verdict="fail",
    exit_code=1,
    reasons=("accuracy fell by 2.2 points; allowed is 1 point",),
    rules=(
        rule(),
        MINIMUM,
        LATENCY,
        *(sliced(label, -0.004 * label) for label in range(8)),
        sliced(8, -0.069, "inconclusive", 0.008),
        sliced(9, -0.08, "fail", 0.0001),
    ),
    untested_slices=(UntestedInfo(metric="accuracy", slice="label=10", n=12, min_n=50),),
    flips=FlipsInfo(metric="accuracy", worse=tuple(f"test-{i}" for i in range(46)), better=("test-99",)),
    cost=CostInfo(
        trainings=2,
        hours=0.4,
        gpu_hours=0.4,
        gpus=("NVIDIA H100 80GB HBM3",),
        gpu_peak_memory_bytes=61_200_000_000,
        gpu_utilisation=0.83,
        energy_wh=310.0,
    ),
    reused=(ReusedInfo(seed=1, commit="a1b2c3d4e5"),),
    **SIDES,
)
PASS = Report(
    name="digits-cnn",
    verdict="pass",
    exit_code=0,
    rules=(
        rule(
            candidate=0.9641,
            difference=0.0008,
            interval=IntervalInfo(low=-0.0052, high=0.0068, level=0.95),
            outcome="pass",
            p_value=0.999,
            p_adjusted=0.999,
            p_pass=0.0004,
        ),
    ),
    cost=CostInfo(trainings=3, hours=0.2, cpu_hours=0.38),
    **SIDES,
)
NOT_SURE = Report(
    name="digits-cnn",
    verdict="inconclusive",
    exit_code=0,
    reasons=("accuracy fell by 0.8 points: the evidence does not show whether it is within the limit of 1 point",),
    rules=(
        rule(
            difference=-0.008,
            candidate=0.9553,
            interval=IntervalInfo(low=-0.02, high=0.004, level=0.95),
            outcome="inconclusive",
            p_value=0.63,
            p_adjusted=0.63,
            mde=0.015,
            noise=ONLY,
            to_settle=56.0,
            settlement=SettlementInfo(more_examples=98_835, examples_suffice=True),
            method="Tango score test, paired",
            reason="accuracy fell by 0.8 points: the evidence does not show whether it is within the limit of 1 point; "
            "about 99,000 more examples would settle it",
        ),
    ),
    baseline=SideInfo(runs=1, seeds=(0,)),
    candidate=SideInfo(runs=1, seeds=(0,)),
)
NOT_COMPARABLE = Report(
    name="digits-cnn",
    verdict="not_comparable",
    exit_code=4,
    reasons=("accuracy: the test set changed: 3 ids are missing and 5 are new",),
    rules=(
        rule(
            outcome="not_comparable",
            interval=IntervalInfo(level=0.95),
            p_value=None,
            p_adjusted=None,
            p_pass=None,
            mde=None,
            method="",
            noise="",
            reason="accuracy: the test set changed: 3 ids are missing and 5 are new",
        ),
    ),
    policy_changed=True,
    policy_changes=("gate.rules[0].max_regression: 0.01 → 0.5",),
    warnings=("3 runs of the candidate hold 1 different result: the training probably does not read METRICGATE_SEED.",),
    **SIDES,
)
NO_BASELINE = NOT_COMPARABLE.model_copy(
    update={
        "exit_code": 0,
        "reasons": ("accuracy: there is no baseline",),
        "baseline": SideInfo(),
        "policy_changed": False,
        "policy_changes": (),
        "warnings": (),
    }
)

REPORTS = {
    "fail": FAIL,
    "pass": PASS,
    "not-sure": NOT_SURE,
    "not-comparable": NOT_COMPARABLE,
    "no-baseline": NO_BASELINE,
}


def check_golden(name: str, text: str) -> None:
    """Compare with the file in tests/golden; UPDATE_GOLDEN=1 writes it, for a reader to look at the difference."""
    file = GOLDEN / name
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", REPORTS)
def test_markdown(name: str) -> None:
    check_golden(f"{name}.md", markdown.render(REPORTS[name]))


@pytest.mark.parametrize("name", REPORTS)
def test_terminal(name: str) -> None:
    check_golden(f"{name}.txt", terminal.render(REPORTS[name]))


@pytest.mark.parametrize("name", REPORTS)
def test_the_document_survives_being_written_and_read(name: str, tmp_path: Path) -> None:
    text = document.to_json(REPORTS[name])
    (tmp_path / "report.json").write_text(text)
    assert document.read(tmp_path / "report.json") == REPORTS[name]
    assert json.loads(text)["schema"] == "metricgate.report/1"


@pytest.mark.parametrize("name", REPORTS)
def test_the_verdict_and_its_reason_come_before_any_table(name: str) -> None:
    lines = markdown.render(REPORTS[name]).splitlines()
    assert lines[0].startswith("### ")
    assert len(lines[2]) > 20
    assert lines.index(next(line for line in lines if line.startswith("|"))) >= 4


@pytest.mark.parametrize("name", REPORTS)
def test_what_is_folded_is_closed_again(name: str) -> None:
    text = markdown.render(REPORTS[name])
    assert text.count("<details>") == text.count("</details>")


names = st.text(min_size=1, max_size=80)


@example(name="0", metric="0", label="0", reason="0.AL", ids=[])
@given(name=names, metric=names, label=names, reason=st.text(max_size=300), ids=st.lists(st.text(max_size=50), max_size=5))
def test_no_text_from_a_repository_changes_the_shape_of_the_report(
    name: str, metric: str, label: str, reason: str, ids: list[str]
) -> None:
    hostile = FAIL.model_copy(
        update={
            "name": name,
            "rules": (rule(metric=metric, reason=reason), rule(metric=metric, slice=f"{label}={label}", reason=reason)),
            "flips": FlipsInfo(metric=metric, worse=tuple(ids)),
            "warnings": (reason,),
            "policy_changed": True,
            "policy_changes": (label,),
        }
    )
    text = markdown.render(hostile)
    tokens = [token for top in GITHUB.parse(text) for token in [top, *(top.children or [])]]
    kinds = [token.type for token in tokens]
    assert kinds.count("table_open") == 2
    assert kinds.count("td_open") == 6 * 3
    assert not {"link_open", "image", "html_inline"} & set(kinds)
    html = "".join(token.content for token in tokens if token.type == "html_block")
    assert not re.sub(r"</?details>|<summary>[^<]*</summary>|\s", "", html)
    terminal.render(hostile)


@given(st.integers(0, 400), st.integers(1000, 65_000))
def test_a_report_never_exceeds_its_budget_and_keeps_its_verdict(slices: int, budget: int) -> None:
    many = FAIL.model_copy(
        update={
            "rules": (rule(), *(sliced(label, -0.001 * label) for label in range(slices))),
            "flips": FlipsInfo(metric="accuracy", worse=tuple(f"id-{i:040d}" for i in range(2 * slices))),
            "warnings": tuple(f"warning {i} " + "x" * 300 for i in range(slices // 4)),
        }
    )
    text = markdown.render(many, budget=budget)
    assert len(text) <= budget
    assert text.startswith("### ❌ digits-cnn: accuracy fell by 2.2 points")
    assert "Allowed is 1 point." in text


def test_a_report_that_was_shortened_says_so() -> None:
    many = FAIL.model_copy(update={"rules": (rule(), *(sliced(label, -0.001 * label) for label in range(300)))})
    assert "Shortened to fit" in markdown.render(many, budget=8000)
    assert "Shortened to fit" not in markdown.render(many)


def test_a_budget_without_room_for_a_headline_is_refused() -> None:
    with pytest.raises(ValueError, match=r"1,000 characters"):
        markdown.render(FAIL, budget=999)


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"schema": "metricgate.report/2"}', "not json", document.to_json(PASS).replace("0.9633", "NaN")],
)
def test_a_file_that_is_no_report_is_refused(content: str, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(InputError, match=r"report\.json"):
        document.read(tmp_path / "report.json")


def test_a_missing_report_says_how_to_write_one(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="metricgate compare"):
        document.read(tmp_path / "report.json")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (0.96333, "0.9633"),
        (12.1, "12.10"),
        (0, "0"),
        (-0.0222, "−0.0222"),
        (1234567, "1,234,567"),
        (0.000012, "1.20e−05"),
        (None, ""),
    ],
)
def test_numbers_look_like_numbers(value: float | None, shown: str) -> None:
    assert numbers.plain(value) == shown


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "≥ −0.0100"),
        ({"direction": "lower"}, "≤ +0.0100"),
        ({"limit": 0.1, "relative": True}, "≥ −10%"),
        ({"limit": 0.1, "relative": True, "direction": "lower"}, "≤ +10%"),
        ({"limit": 0}, "≥ 0"),
        ({"kind": "min", "limit": 0.9}, "≥ 0.9000"),
        ({"kind": "max", "limit": 20}, "≤ 20.00"),
        ({"kind": "min_improvement", "limit": 0.005}, "> +0.0050"),
        ({"kind": "min_improvement", "limit": 0.005, "direction": "lower"}, "< −0.0050"),
        ({"kind": "must_not_flip"}, "no flip"),
    ],
)
def test_limits_read_as_bounds_on_the_column_beside_them(changes: dict[str, object], shown: str) -> None:
    assert numbers.allowed(rule(**changes)) == shown


def test_the_footer_says_how_far_and_how_old_a_recorded_baseline_is() -> None:
    side = SideInfo(commit="a" * 40, runs=3, seeds=(0, 1, 2), commits_before=1, recorded="2026-03-01T14:02:11Z")
    told = "Baseline: 3 runs of aaaaaaa (seeds 0, 1, 2), 1 commit before the merge-base, recorded 2026-03-01 14:02 UTC."
    assert told in markdown.render(REPORTS["fail"].model_copy(update={"baseline": side}))
    here = side.model_copy(update={"commits_before": 0})
    assert "(seeds 0, 1, 2), the merge-base, recorded" in markdown.render(REPORTS["fail"].model_copy(update={"baseline": here}))


def test_an_accepted_regression_names_who_and_when_and_stays_a_regression() -> None:
    waiver = Waiver(by="@alice](x)", at="2026-03-01T14:02:11Z", commit="b" * 40)
    report = REPORTS["fail"].waived(waiver)
    text = markdown.render(report)
    assert (report.verdict, report.exit_code) == ("fail", 0)
    assert text.startswith("### ❌")
    assert "on 2026-03-01 14:02 UTC for bbbbbbb: this failure does not block the merge" in text
    assert "<a" not in GITHUB.render(text)
    assert "Accepted by" in terminal.render(report)


def test_only_a_regression_can_be_accepted() -> None:
    waiver = Waiver(by="alice", at="2026-03-01T14:02:11Z", commit="b" * 40)
    broken = REPORTS["not-comparable"].model_copy(update={"exit_code": 4})
    assert broken.waived(waiver).exit_code == 4


def test_where_seeds_were_run_nobody_is_told_to_run_them() -> None:
    alike = NOT_SURE.model_copy(
        update={"baseline": SideInfo(runs=3, seeds=(0, 1, 2)), "candidate": SideInfo(runs=3, seeds=(0, 1, 2))}
    )
    text = markdown.render(alike)
    assert "so alike that their seeds do not tell" in text
    assert "--seeds 0,1,2" not in text
    assert "--seeds 0,1,2" in markdown.render(NOT_SURE)


def test_how_often_the_test_set_was_asked_is_told_where_it_is_known() -> None:
    def told(**reuse: object) -> str:
        return "\n".join(summary.certainty(PASS.model_copy(update={"reuse": ReuseInfo(test_set="sha256:1", **reuse)})))

    assert "This is verdict 37 of 100 on this test set." in told(count=37, budget=100)
    assert "This is verdict 1,037 on this test set." in told(count=1037)
    assert "test set." not in told()


def test_a_spent_budget_is_the_reason_even_beside_rules_that_are_not_sure() -> None:
    spent = NOT_SURE.model_copy(
        update={"exit_code": 3, "reasons": ("the budget is spent",), "reuse": ReuseInfo(test_set="x", count=101, budget=100)}
    )
    assert summary.lead(spent).startswith("the budget is spent. ")


@pytest.mark.parametrize(
    ("settlement", "said"),
    [
        ({"more_examples": 2387, "seeds": 5}, "about 2,400 more examples, or 5 seeds a side, would settle it"),
        (
            {"seeds": 5, "examples_suffice": False},
            "5 seeds a side would settle it; more examples never would, since the training noise alone is too large",
        ),
        (
            {"more_examples": 81, "seeds_suffice": False},
            "about 81 more examples would settle it; more seeds never would, since the test set alone is too small",
        ),
        ({"more_examples": 81}, "about 81 more examples would settle it"),
        ({"seeds": 5}, "5 seeds a side would settle it"),
        (
            {"examples_suffice": False, "seeds_suffice": False},
            "neither more examples nor more seeds alone would settle it, but about 3 times of both would",
        ),
    ],
)
def test_what_would_settle_it_is_told_apart(settlement: dict[str, Any], said: str) -> None:
    assert phrases.settled_by(SettlementInfo(**settlement), factor=3.0) == said


def test_a_report_from_before_the_two_were_told_apart_is_still_shown() -> None:
    old = NOT_SURE.rules[0].model_copy(update={"settlement": None, "to_settle": 4.0})
    assert "about 4 times the evidence would settle it." in "\n".join(
        summary.certainty(NOT_SURE.model_copy(update={"rules": (old,)}))
    )


def test_for_seeds_the_command_is_told_that_trains_them() -> None:
    needs = NOT_SURE.rules[0].model_copy(update={"settlement": SettlementInfo(seeds=5, more_examples=2400)})
    lines = summary.certainty(NOT_SURE.model_copy(update={"rules": (needs,)}))
    assert any("5 seeds a side, would settle it; `metricgate run --seeds 0-4` trains so many." in line for line in lines)

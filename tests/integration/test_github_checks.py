"""A check run with its marks and a status: what a commit's page shows, and what goes wrong on the way."""

from collections.abc import Iterator
from pathlib import PurePosixPath

import pytest
from tests.github_scene import NAME, PERMISSIONS, Scene, report, scene
from tests.github_server import SECONDARY_LIMIT, Fault

from metricgate.github import checks
from metricgate.github.checks import Annotation
from metricgate.github.failures import RefusedError
from metricgate.report.document import Report, RuleInfo, Waiver

CONFIG = """\
metrics:
  accuracy: {direction: higher}
gate:
  rules:
    - {metric: accuracy, min: 0.9}
    - {metric: accuracy, slices: [label], max_regression: 0.01}
"""
PATH = PurePosixPath("models/metricgate.yaml")


@pytest.fixture
def place() -> Iterator[Scene]:
    with scene() as made:
        yield made


def sliced(count: int, *, outcome: str = "fail", name: str = "digits-cnn", policy_changed: bool = False) -> Report:
    base = report("fail").rules[0]
    rules = tuple(
        RuleInfo.model_validate({**base.model_dump(), "rule": 1, "slice": f"label={index}", "outcome": outcome})
        for index in range(count)
    )
    return report("fail", name=name, rules=rules, policy_changed=policy_changed)


def publish(place: Scene, told: Report) -> str | None:
    return checks.publish(place.model(), told, source=place.source(link="https://x.example/1"), marks=marks(told))


def marks(told: Report) -> list[Annotation]:
    return checks.marks_of(told, path=PATH, text=CONFIG)


def test_a_check_run_says_what_the_report_says(place: Scene) -> None:
    url = publish(place, sliced(1))
    (run,) = place.repo.check_runs(place.head)
    assert run["name"] == "metricgate: digits-cnn"
    assert run["html_url"] == url
    assert run["conclusion"] == "failure"
    assert run["details_url"] == "https://x.example/1"
    assert run["output"]["title"].startswith("❌ digits-cnn: accuracy on label=0 fell by")
    assert "### ❌ digits-cnn" in run["output"]["summary"]
    (mark,) = run["annotations"]
    assert (mark["path"], mark["start_line"], mark["annotation_level"]) == ("models/metricgate.yaml", 6, "failure")
    assert mark["title"] == "digits-cnn: accuracy on label=0 failed"


@pytest.mark.parametrize("count", [0, 1, 49, 50, 51, 100, 130])
def test_marks_go_in_batches_and_all_arrive(place: Scene, count: int) -> None:
    publish(place, sliced(count))
    (run,) = place.repo.check_runs(place.head)
    assert [mark["title"] for mark in run["annotations"]] == [mark.title for mark in marks(sliced(count))]
    assert len(place.github.requests) == max(1, -(-count // 50))


def test_there_are_not_more_marks_than_anybody_reads() -> None:
    assert len(marks(sliced(500))) == checks.ANNOTATIONS


def test_the_worst_comes_first_and_passes_are_not_marked() -> None:
    rules = (*sliced(1, outcome="pass").rules, *sliced(1, outcome="inconclusive").rules, *report("fail").rules)
    assert [(mark.level, mark.line) for mark in marks(report("fail", rules=rules))] == [("failure", 5), ("warning", 6)]


def test_marks_stand_on_the_first_line_where_the_rules_of_another_file_judged() -> None:
    told = sliced(1, policy_changed=True)
    assert [mark.line for mark in marks(told)] == [1]
    assert [mark.line for mark in checks.marks_of(sliced(1), path=PATH, text="nonsense: [")] == [1]


@pytest.mark.parametrize(
    ("told", "conclusion", "state"),
    [
        (report("pass"), "success", "success"),
        (report("fail"), "failure", "failure"),
        (report("inconclusive"), "neutral", "success"),
        (report("inconclusive", exit_code=3), "failure", "failure"),
        (report("not_comparable"), "failure", "failure"),
        (report("fail").waived(Waiver(by="bob", at="2026-01-01T00:00:00Z", commit="a" * 40)), "neutral", "success"),
    ],
)
def test_what_the_page_shows_is_what_the_exit_code_says(place: Scene, told: Report, conclusion: str, state: str) -> None:
    publish(place, told)
    checks.status(place.model(), told, source=place.source())
    assert [run["conclusion"] for run in place.repo.check_runs(place.head)] == [conclusion]
    assert [kept["state"] for kept in place.repo.statuses(place.head)] == [state]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(kind="status", status=502, method="POST"),
        Fault(kind="drop_before", method="POST"),
        Fault(kind="drop_after", method="POST"),
        Fault(kind="truncate", method="POST"),
        Fault(kind="status", status=403, message=SECONDARY_LIMIT, method="POST"),
        Fault(kind="status", status=502, method="PATCH"),
        Fault(kind="drop_before", method="PATCH", after=1),
        Fault(kind="drop_after", method="PATCH"),
        Fault(kind="truncate", method="PATCH"),
    ],
    ids=lambda fault: f"{fault.method} {fault.kind}",
)
def test_a_lost_answer_makes_no_second_check_run_and_no_second_marks(place: Scene, fault: Fault) -> None:
    place.github.faults.add(fault)
    publish(place, sliced(130))
    (run,) = place.repo.check_runs(place.head)
    assert [mark["title"] for mark in run["annotations"]] == [mark.title for mark in marks(sliced(130))]
    assert not place.github.faults.left


def test_a_name_of_the_report_can_be_anything(place: Scene) -> None:
    told = sliced(1, name="\u202ex" * 400)
    publish(place, told)
    checks.status(place.model(), told, source=place.source())
    (run,) = place.repo.check_runs(place.head)
    assert len(run["output"]["title"]) <= 255
    assert len(place.repo.statuses(place.head)[0]["description"]) <= 140


def test_a_status_arrives_after_a_stumble_and_fetches_nothing(place: Scene) -> None:
    place.github.faults.add(Fault(kind="status", status=502, method="POST"))
    checks.status(place.model(), report("fail"), source=place.source(link="https://x.example/1"))
    assert [request.method for request in place.github.requests] == ["POST", "POST"]
    (kept,) = place.repo.statuses(place.head)
    assert kept["context"] == "metricgate: digits-cnn"
    assert kept["target_url"] == "https://x.example/1"


def test_a_missing_permission_shows_the_line_that_grants_it(place: Scene) -> None:
    token = place.github.token(permissions={**PERMISSIONS, "checks": "read", "statuses": "read"}, repository=NAME)
    with pytest.raises(RefusedError, match=r"permissions:\n.*checks: write"):
        checks.publish(place.model(token), report("fail"), source=place.source(), marks=[])
    with pytest.raises(RefusedError, match=r"permissions:\n.*statuses: write"):
        checks.status(place.model(token), report("fail"), source=place.source())

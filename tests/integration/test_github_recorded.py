"""Recording the runs of a push, and finding them again for a change: the actions' stages in a real repository."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from tests.action_scene import Checkout

CONFIG = """\
name: tiny
train: {run: "echo trained > model"}
evaluate: {run: 'cp answers.csv "$METRICGATE_RUN_DIR/scores.csv"'}
model: model
metrics: {accuracy: {direction: higher}}
baseline: {store: "STORE", max_commits: 2}
"""
ANSWERS = "example_id,accuracy\n" + "".join(f"e{i:03d},{int(i % 10 > 0)}\n" for i in range(200))


def push(work: Checkout) -> tuple[int, str]:
    """The whole check of a push."""
    return work.step("check", {"ref": "refs/heads/main"}, event_name="push")


def change(base: str, head: str) -> dict[str, object]:
    here = {"full_name": "acme/model"}
    sides = {"base": {"sha": base, "ref": "main", "repo": here}, "head": {"sha": head, "repo": here}}
    return {"action": "opened", "pull_request": {"number": 7, **sides}}


@pytest.fixture
def work(tmp_path: Path) -> Checkout:
    return Checkout.make(tmp_path, metricgate__yaml=CONFIG.replace("STORE", str(tmp_path / "store")), answers__csv=ANSWERS)


def recorded_commits(work: Checkout) -> Sequence[str]:
    return sorted(path.name for path in (work.root.parent / "store" / "runs" / "tiny").iterdir())


def look(work: Checkout, base: str, head: str, **inputs: str) -> str:
    code, log = work.step("baseline", change(base, head), train="false", **inputs)
    assert code == 0, log
    return log


def test_a_push_is_recorded_and_found_for_the_next_change(work: Checkout) -> None:
    base = work.head
    code, log = push(work)
    assert (code, recorded_commits(work)) == (0, [base]), log
    head = work.commit("A change")
    log = look(work, base, head)
    assert json.loads(work.outputs["origin"])["commits_before"] == 0
    assert work.outputs["missing"] == "false"
    code, log = work.step(
        "compare",
        change(base, head),
        baseline=work.outputs["run-dir"],
        candidate=work.outputs["run-dir"],
        origin=work.outputs["origin"],
    )
    assert code == 0
    assert "the merge-base, recorded 20" in log
    assert "alters how models are evaluated" not in log


def test_the_nearest_recorded_ancestor_is_the_baseline_and_the_others_are_history(work: Checkout) -> None:
    for message in ("One", "Two"):
        push(work)
        work.commit(message)
    base = work.commit("Three")
    log = look(work, base, work.commit("A change"))
    assert json.loads(work.outputs["origin"])["commits_before"] == 2, log
    assert len(list(Path(work.outputs["history"]).iterdir())) == 1


def test_beyond_the_limit_the_baseline_is_missing_and_the_command_that_makes_one_is_told(work: Checkout) -> None:
    push(work)
    for number in range(3):
        base = work.commit(f"{number}")
    head = work.commit("A change")
    log = look(work, base, head)
    assert (work.outputs["run-dir"], work.outputs["missing"]) == ("", "true")
    assert f"git switch --detach {base[:12]} && metricgate run && metricgate record" in log
    code, log = work.step("baseline", change(base, head))
    assert code == 0
    assert (Path(work.outputs["run-dir"]) / "seed-0" / "run.json").exists(), "without `train: false` it is made"


def test_a_change_of_the_evaluation_evaluates_the_baselines_model_anew(work: Checkout) -> None:
    base = work.head
    push(work)
    (work.root / "metricgate.yaml").write_text(
        (work.root / "metricgate.yaml").read_text().replace("cp answers.csv", "sed s/e0/x0/ answers.csv > new.csv; cp new.csv")
    )
    head = work.commit("Other ids")
    log = look(work, base, head)
    assert work.outputs["missing"] == "true"
    assert "evaluated in another way" in log
    code, log = work.step("baseline", change(base, head))
    assert code == 0, log
    assert "as this change is evaluated" in log
    assert "x000" in (Path(work.outputs["run-dir"]) / "seed-0" / "scores.csv").read_text()


@pytest.fixture
def keeping(tmp_path: Path) -> Checkout:
    """A repository whose models are kept; its evaluation reads the model."""
    config = CONFIG.replace("STORE", str(tmp_path / "store")).replace(
        "max_commits", f'models: "{tmp_path / "models"}", max_commits'
    )
    config = config.replace("cp answers.csv", "grep -q trained model && cp answers.csv")
    return Checkout.make(tmp_path, metricgate__yaml=config, answers__csv=ANSWERS)


def with_other_ids(work: Checkout) -> str:
    """A commit that is evaluated in another way."""
    old = (work.root / "metricgate.yaml").read_text()
    return work.commit(
        "Other ids", metricgate__yaml=old.replace("cp answers.csv", "sed s/e0/x0/ answers.csv > new.csv; cp new.csv")
    )


def made_for(work: Checkout, base: str, head: str) -> str:
    """Look for the baseline on one machine and make it on another, as the reusable workflow does; the log of making it."""
    look(work, base, head)
    assert work.outputs["missing"] == "true"
    found = {name: work.outputs[name] for name in ("outdated", "origin")}
    code, log = work.step("baseline", change(base, head), **found)
    assert code == 0, log
    return log


def test_a_changed_evaluation_is_put_to_kept_models_without_training_them_again(keeping: Checkout) -> None:
    base = keeping.head
    _, log = push(keeping)
    assert "kept the models of seed-0" in log
    keeping.commit("Between")
    log = made_for(keeping, keeping.head, with_other_ids(keeping))
    assert "Evaluate the recorded baseline, as this change is evaluated" in log
    assert "Train" not in log
    made = Path(keeping.outputs["run-dir"]) / "seed-0"
    assert "x000" in (made / "scores.csv").read_text()
    assert json.loads((made / "run.json").read_text())["commit"] == base
    assert json.loads(keeping.outputs["origin"])["commits_before"] == 1


def test_the_whole_check_evaluates_kept_models_again(keeping: Checkout) -> None:
    base = keeping.head
    push(keeping)
    head = with_other_ids(keeping)
    code, log = keeping.step("check", change(base, head))
    assert code == 0, log
    assert "Evaluate the recorded baseline" in log
    report = json.loads(Path(keeping.outputs["report"]).read_text())
    assert report["baseline"]["commits_before"] == 0
    assert {rule["outcome"] for rule in report["rules"]} == {"inconclusive"}, "the same model, on the same new test set"
    assert any("This change alters how models are evaluated" in warning for warning in report["warnings"])


@pytest.mark.parametrize("damage", ["gone", "changed", "unreadable"])
def test_where_the_kept_model_cannot_be_had_the_merge_base_is_trained(keeping: Checkout, damage: str) -> None:
    base = keeping.head
    push(keeping)
    (model,) = (keeping.root.parent / "models" / "models" / "tiny" / base).glob("*/file")
    (marker,) = model.parents[1].glob("kept-*.json")
    if damage == "gone":
        marker.unlink()
    elif damage == "changed":
        model.write_text("trained by somebody else\n")
    else:
        marker.write_text("{")
    log = made_for(keeping, base, with_other_ids(keeping))
    assert "the recorded models can't be evaluated again" in log
    assert "Train the baseline" in log
    assert keeping.outputs["origin"] == "", "what was just made was not recorded"
    assert "x000" in (Path(keeping.outputs["run-dir"]) / "seed-0" / "scores.csv").read_text()


def test_an_evaluation_that_does_not_work_with_the_kept_model_leaves_the_recorded_runs(keeping: Checkout) -> None:
    base = keeping.head
    push(keeping)
    old = (keeping.root / "metricgate.yaml").read_text()
    head = keeping.commit("Wants another model", metricgate__yaml=old.replace("grep -q trained", "grep -q transformer"))
    log = made_for(keeping, base, head)
    assert "the new evaluation does not work with the recorded models" in log
    assert "Train" not in log
    left = [path.name for path in sorted((Path(keeping.outputs["run-dir"]) / "seed-0").iterdir())]
    assert left == ["run.json", "scores.parquet"], "as they were recorded"


def test_a_place_for_models_that_cannot_be_written_leaves_the_push_recorded(keeping: Checkout) -> None:
    (keeping.root.parent / "models").write_text("a file")
    code, log = push(keeping)
    assert code == 0
    assert "::warning title=The models are not kept" in log
    assert recorded_commits(keeping) == [keeping.head]


def test_a_store_that_cannot_be_read_is_said_and_a_baseline_made(work: Checkout) -> None:
    base = work.head
    push(work)
    next((work.root.parent / "store").rglob("run.json")).write_text("{")
    log = look(work, base, work.commit("A change"))
    assert "::warning title=Recorded runs could not be read" in log
    assert work.outputs["missing"] == "true"


def judged(work: Checkout, base: str, head: str) -> tuple[int, str]:
    """Look for the baseline, compare, and count the verdict, as the jobs of the reusable workflow do."""
    look(work, base, head)
    found = {name: work.outputs[name] for name in ("origin", "verdicts")}
    runs = work.outputs["run-dir"]
    code, log = work.step("compare", change(base, head), baseline=runs, candidate=runs, **found)
    assert code == 0, log
    exit_code = int(work.outputs["exit-code"])
    code, counted = work.step("record", change(base, head), report=work.outputs["report"], token="none")
    assert (code, work.outputs["recorded"]) == (0, "false"), counted
    assert "the verdict is counted for its test set" in counted
    return exit_code, log


def test_verdicts_on_a_test_set_are_counted_until_the_budget_is_spent(work: Checkout) -> None:
    policy = (work.root / "metricgate.yaml").read_text() + "gate: {reuse: {budget: 3}, rules: [{metric: accuracy, min: 0.5}]}\n"
    base = work.commit("A budget", metricgate__yaml=policy)
    push(work)  # the first verdict
    head = work.commit("A change")
    code, log = judged(work, base, head)
    assert code == 0
    assert "This is verdict 2 of 3 on this test set." in log
    code, log = judged(work, base, head)
    assert code == 0
    assert "have new examples ready" in log
    code, log = judged(work, base, head)
    assert code == 3
    assert "This is verdict 4 on a test set whose budget is 3".lower() in log.lower()
    assert len(list((work.root.parent / "store" / "verdicts" / "tiny").glob("*/*.json"))) == 4


def test_a_change_can_not_raise_its_own_budget(work: Checkout) -> None:
    old = (work.root / "metricgate.yaml").read_text()
    policy = old + "gate: {reuse: {budget: 1}, rules: [{metric: accuracy, min: 0.5}]}\n"
    base = work.commit("A budget", metricgate__yaml=policy)
    push(work)
    head = work.commit("More", metricgate__yaml=policy.replace("budget: 1", "budget: 1000"))
    code, log = judged(work, base, head)
    assert code == 3
    assert "gate.reuse.budget: 1 → 1000" in log


def test_a_change_that_is_judged_by_its_own_policy_does_not_choose_where_a_job_writes(tmp_path: Path) -> None:
    work = Checkout.make(tmp_path, answers__csv=ANSWERS)
    base, store = work.head, tmp_path / "store"
    head = work.commit("The first model", metricgate__yaml=CONFIG.replace("STORE", str(store)))
    code, log = work.step("check", change(base, head))
    assert (code, store.exists()) == (0, False), log
    code, log = work.step("record", change(base, head), report=work.outputs["report"], token="none")
    assert (code, store.exists()) == (0, False), log
    assert "the policy is the change's own" in log

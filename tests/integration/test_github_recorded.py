"""Recording the runs of a push, and finding them again for a change: the actions' stages in a real repository."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

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


def learning(folder: Path, more: str = "") -> Checkout:
    """A repository whose model is a copy of weights.csv, and gives the answers that stand there."""
    config = CONFIG.replace("STORE", str(folder / "store")).replace("max_commits", f"{more}max_commits")
    config = config.replace("echo trained > model", "cp weights.csv model").replace("cp answers.csv", 'cp "$METRICGATE_MODEL"')
    return Checkout.make(folder, metricgate__yaml=config, weights__csv=ANSWERS)


def kept_reports(work: Checkout) -> list[dict[str, Any]]:
    """What is kept of verdicts, oldest first."""
    found = (work.root.parent / "store" / "reports" / "tiny").glob("*/*.json")
    return [json.loads(path.read_text()) for path in sorted(found, key=lambda path: path.name)]


def test_a_push_is_compared_with_the_nearest_recorded_ancestor_and_nothing_is_trained_for_it(tmp_path: Path) -> None:
    work = learning(tmp_path)
    first = work.head
    push(work)
    work.commit("Between")
    head = work.commit("Two")
    code, log = push(work)
    assert code == 0, log
    assert log.count("::group::Train") == 1
    before, after = kept_reports(work)
    assert (before["commit"], before["report"]["baseline"]["runs"]) == (first, 0)
    assert (after["commit"], after["report"]["baseline"]["commit"]) == (head, first)
    assert after["report"]["baseline"]["models"] == before["report"]["candidate"]["models"]
    assert after["report"]["baseline"]["commits_before"] == 1
    assert after["report"]["test_set"] == before["report"]["test_set"]
    assert before["report"]["policy"] == after["report"]["policy"], "what could not be judged of it is in force all the same"
    assert after["report"]["rules"][0]["kind"] == "max_regression"


def test_a_push_that_makes_the_model_worse_fails_and_is_recorded_all_the_same(tmp_path: Path) -> None:
    work = learning(tmp_path)
    push(work)
    head = work.commit("Worse", weights__csv=ANSWERS.replace(",1", ",0", 60))
    code, log = push(work)
    assert code == 1, log
    assert head in recorded_commits(work)
    assert kept_reports(work)[-1]["report"]["verdict"] == "fail"
    assert not kept_reports(work)[-1]["report"]["flips"]["worse"], "counted, and not listed"
    assert kept_reports(work)[-1]["report"]["flips"]["unnamed_worse"] == 60


def test_a_push_again_is_compared_with_what_came_before_it_and_not_with_itself(tmp_path: Path) -> None:
    work = learning(tmp_path)
    first = work.head
    push(work)
    work.commit("Two")
    push(work)
    push(work)
    assert [kept["report"]["baseline"]["commit"] for kept in kept_reports(work)] == [None, first, first]


def pushed_with_another_evaluation(work: Checkout) -> tuple[int, str]:
    push(work)
    old = (work.root / "metricgate.yaml").read_text()
    work.commit("Other ids", metricgate__yaml=old.replace('cp "$METRICGATE_MODEL"', 'sed s/e0/x0/ "$METRICGATE_MODEL" >'))
    return push(work)


def test_a_push_that_is_evaluated_in_another_way_is_compared_with_the_kept_models(tmp_path: Path) -> None:
    work = learning(tmp_path, f'models: "{tmp_path / "models"}", ')
    first = work.head
    code, log = pushed_with_another_evaluation(work)
    assert code == 0, log
    assert "Evaluate the recorded baseline" in log
    assert kept_reports(work)[-1]["report"]["baseline"]["commit"] == first


def test_without_kept_models_a_push_that_is_evaluated_in_another_way_is_judged_by_absolute_bounds(tmp_path: Path) -> None:
    work = learning(tmp_path)
    code, log = pushed_with_another_evaluation(work)
    assert code == 0, log
    assert log.count("::group::Train") == 1
    report = kept_reports(work)[-1]["report"]
    assert report["baseline"]["runs"] == 0
    assert "This change is evaluated in another way than the recorded baseline was." in report["warnings"]
    assert any("only absolute bounds are judged" in warning for warning in report["warnings"])


def test_the_jobs_of_a_push_find_what_the_whole_check_finds(tmp_path: Path) -> None:
    work = learning(tmp_path)
    first = work.head
    push(work)
    head = work.commit("Two")
    event = {"ref": "refs/heads/main"}
    work.environ = {"GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "acme/model", "GITHUB_WORKFLOW": "model"}
    assert work.step("baseline", event, event_name="push", train="false")[0] == 0
    assert (work.outputs["commit"], work.outputs["missing"]) == (first, "false")
    found = {name: work.outputs[name] for name in ("origin", "verdicts")}
    baseline = work.outputs["run-dir"]
    code, log = work.step("evaluate", event, event_name="push", run_dir=trained(work, event))
    assert code == 0, log
    candidate = work.outputs["run-dir"]
    code, log = work.step("compare", event, event_name="push", baseline=baseline, candidate=candidate, **found)
    assert code == 0, log
    report = work.outputs["report"]
    code, log = work.step("record", event, event_name="push", report=report, token="none")
    assert f"the verdict is kept for {head[:7]}" in log
    kept = kept_reports(work)[-1]
    assert (kept["commit"], kept["report"]["baseline"]["commit"]) == (head, first)
    assert kept["workflow"] == {"id": 77, "name": "model", "url": "https://github.com/acme/model/actions/runs/77"}
    # A tag on the commit neither trains nor judges anything that counts.
    count = len(kept_reports(work))
    work.step("record", {"ref": "refs/tags/v1"}, event_name="push", report=report, token="none")
    assert len(kept_reports(work)) == count


def trained(work: Checkout, event: Mapping[str, Any]) -> str:
    code, log = work.step("train", event, event_name="push")
    assert code == 0, log
    return work.outputs["run-dir"]


def test_the_verdict_of_a_merge_group_counts_for_the_commit_that_main_becomes(tmp_path: Path) -> None:
    work = learning(tmp_path)
    base = work.head
    push(work)
    head = work.commit("What the queue made")
    group = {"merge_group": {"base_sha": base, "head_sha": head, "base_ref": "refs/heads/main"}}
    code, log = work.step("check", group, event_name="merge_group")
    assert code == 0, log
    assert [kept["commit"] for kept in kept_reports(work)] == [base, head]


def test_the_verdict_about_a_pull_requests_merge_commit_is_kept_for_no_other(tmp_path: Path) -> None:
    work = learning(tmp_path)
    base = work.head
    push(work)
    work.git("checkout", "--quiet", "-b", "change")
    head = work.commit("A change")
    work.git("checkout", "--quiet", "--detach", base)
    work.git("merge", "--quiet", "--no-ff", "--message", "Merge", head)
    code, log = work.step("check", change(base, head))
    assert code == 0, log
    assert "the verdict is counted" in log
    assert [kept["commit"] for kept in kept_reports(work)] == [base]


def test_runs_that_claim_to_be_of_another_commit_give_it_no_verdict(tmp_path: Path) -> None:
    work = learning(tmp_path)
    base = work.head
    push(work)
    head = work.commit("A change")
    look(work, base, head)
    runs = work.outputs["run-dir"]
    code, log = work.step("compare", change(base, head), baseline=runs, candidate=runs)
    assert code == 0, log
    work.step("record", change(base, head), report=work.outputs["report"], token="none")
    assert len(kept_reports(work)) == 1, "the runs say that they are of the base"

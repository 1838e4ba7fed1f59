"""Which model and verdict a tagged commit has: from pushes that were judged and recorded, in a real repository."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tests.action_scene import Checkout

from metricgate import config_file, workspace
from metricgate.baseline import commands
from metricgate.baseline.ledger import Entry
from metricgate.baseline.store import RunStore
from metricgate.config import Config
from metricgate.errors import InputError, MetricgateError, UsageError
from metricgate.release import candidate
from metricgate.release.candidate import Candidate

CONFIG = """\
name: tiny
train: {run: "cp weights.csv model && echo $METRICGATE_SEED >> model", seeds: [3, 1]}
evaluate: {run: 'head -n 201 "$METRICGATE_MODEL" > "$METRICGATE_RUN_DIR/scores.csv"'}
model: model
metrics: {accuracy: {direction: higher}}
baseline: {store: "STORE", models: "MODELS"}
gate: {rules: [{metric: accuracy, min: 0.5}, {metric: accuracy, max_regression: 0.1}]}
"""
ANSWERS = "example_id,accuracy\n" + "".join(f"e{i:03d},{int(i % 10 > 0)}\n" for i in range(200))
WORSE = ANSWERS.replace(",1", ",0", 60)
PATH = "metricgate.yaml"


@pytest.fixture
def work(tmp_path: Path) -> Checkout:
    config = CONFIG.replace("STORE", str(tmp_path / "store")).replace("MODELS", str(tmp_path / "models"))
    made = Checkout.make(tmp_path, metricgate__yaml=config, weights__csv=ANSWERS)
    made.environ = {"GITHUB_RUN_ID": "77", "GITHUB_REPOSITORY": "acme/tiny", "GITHUB_WORKFLOW": "model"}
    push(made)
    return made


def push(work: Checkout) -> tuple[int, str]:
    """The whole check of a push."""
    return work.step("check", {"ref": "refs/heads/main"}, event_name="push")


def settings(work: Checkout) -> tuple[RunStore, Config]:
    config = config_file.load(work.root / PATH)
    return commands.store(config.baseline, root=work.root), config


def find(work: Checkout, commit: str = "", *, allow_stale: bool = False, branch: str = "") -> Candidate:
    store, config = settings(work)
    commit = commit or work.head
    return candidate.find(store, config, commit, root=work.root, path=PATH, branch=branch, allow_stale=allow_stale)


def refused(work: Checkout, commit: str = "") -> MetricgateError:
    with pytest.raises(UsageError) as caught:
        find(work, commit)
    assert caught.value.fix
    return caught.value


def edited(work: Checkout, old: str, new: str) -> str:
    text = (work.root / PATH).read_text()
    assert old in text
    return text.replace(old, new)


def test_a_commit_that_was_pushed_and_judged_may_be_released_with_the_run_of_its_lowest_seed(work: Checkout) -> None:
    found = find(work)
    assert (found.commit, found.folder, found.run.seed) == (work.head, "seed-1", 1)
    assert found.report.verdict == "pass"
    assert found.run.model_digest == found.report.candidate.models[1]
    assert (found.waiver, found.stale, found.baseline) == (None, (), None)
    assert found.judged.workflow is not None
    assert found.judged.workflow.url.endswith("/acme/tiny/actions/runs/77")


def test_its_model_comes_from_where_models_are_kept(work: Checkout, tmp_path: Path) -> None:
    _, config = settings(work)
    into = tmp_path / "out"
    into.mkdir()
    model = candidate.fetch_model(config, find(work), into, root=work.root)
    assert model.read_text() == f"{ANSWERS}1\n"
    for file in (tmp_path / "models").rglob("file"):
        file.write_text("another model\n")
    shutil.rmtree(into)
    into.mkdir()
    with pytest.raises(InputError, match="has the digest"):
        candidate.fetch_model(config, find(work), into, root=work.root)


def test_the_seed_may_be_named(work: Checkout) -> None:
    work.commit("Another seed", metricgate__yaml=edited(work, "model: model\n", "model: model\npublish: {seed: 3}\n"))
    push(work)
    assert find(work).folder == "seed-3"
    work.commit("No such seed", metricgate__yaml=edited(work, "seed: 3}", "seed: 7}"))
    push(work)
    assert "no run of" in refused(work).found


def test_a_commit_that_was_not_recorded_is_refused(work: Checkout) -> None:
    commit = work.commit("Not pushed")
    error = refused(work)
    assert f"{commit[:12]} is not recorded" in error.found


def test_a_commit_that_was_recorded_and_not_judged_is_refused(work: Checkout, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "store" / "reports")
    error = refused(work)
    assert "there is no verdict about" in error.found
    assert "let the workflow judge the commit" in error.fix


def test_a_commit_whose_verdict_failed_is_refused_with_the_reasons_and_where_to_read_them(work: Checkout) -> None:
    work.commit("Worse", weights__csv=WORSE)
    assert push(work)[0] == 1
    error = refused(work)
    assert "is `fail`, exit code 1" in error.found
    assert "accuracy" in error.found
    assert error.where.endswith("/acme/tiny/actions/runs/77")


def test_an_accepted_regression_counts_and_is_named(work: Checkout) -> None:
    commit = work.commit("Worse", weights__csv=WORSE)
    push(work)
    store, _ = settings(work)
    entry = Entry(kind="waiver", name="tiny", commit=commit, time="2026-03-01T12:00:00Z", verdict="fail", by="bob")
    store.note(entry.model_copy(update={"commit": "d" * 40}))
    refused(work)
    store.note(entry)
    found = find(work)
    assert found.waiver is not None
    assert (found.waiver.by, found.report.verdict, found.report.exit_code) == ("bob", "fail", 0)
    assert found.report.waiver == found.waiver


def test_a_waiver_lets_only_a_regression_pass(work: Checkout, tmp_path: Path) -> None:
    (file,) = (tmp_path / "store" / "reports").rglob("*.json")
    store, config = settings(work)
    report = find(work).judged.report.model_copy(update={"verdict": "not_comparable", "exit_code": 4})
    file.unlink()
    commands.note(store, report, config=config, clock=workspace.now, commit=work.head)
    store.note(Entry(kind="waiver", name="tiny", commit=work.head, time="2026-03-01T12:00:00Z", verdict="fail", by="bob"))
    assert "exit code 4" in refused(work).found


def test_a_verdict_about_other_bytes_counts_for_nothing(work: Checkout, tmp_path: Path) -> None:
    record = next((tmp_path / "store" / "runs").rglob("seed-1/run.json"))
    text = json.loads(record.read_text())
    record.write_text(json.dumps({**text, "model_digest": f"sha256:{'e' * 64}"}))
    error = refused(work)
    assert "the verdict is about other models" in error.found
    assert "judge it again" in error.fix


def test_a_policy_that_changed_on_the_branch_makes_the_verdict_stale(work: Checkout) -> None:
    tagged = work.head
    work.commit("Stricter", metricgate__yaml=edited(work, "max_regression: 0.1", "max_regression: 0.01"))
    store, config = settings(work)
    with pytest.raises(UsageError, match="the policy of main has changed") as caught:
        candidate.find(store, config, tagged, root=work.root, path=PATH)
    assert "run the workflow `model` again: " in caught.value.fix
    assert "actions/runs/77" in caught.value.fix
    allowed = candidate.find(store, config, tagged, root=work.root, path=PATH, allow_stale=True)
    assert allowed.stale == ("the policy of main has changed since the verdict",)


def test_what_is_no_part_of_the_policy_may_change(work: Checkout) -> None:
    tagged = work.head
    work.commit("Elsewhere", metricgate__yaml=edited(work, "seeds: [3, 1]", "seeds: [5]") + "publish: {image: ghcr.io/a/b}\n")
    assert find(work, tagged).stale == ()


def test_a_branch_of_ones_own_may_decide_what_is_stale(work: Checkout) -> None:
    work.git("branch", "1.x")
    old = work.commit(
        "For the old line", metricgate__yaml=edited(work, "model: model\n", "model: model\npublish: {branch: 1.x}\n")
    )
    push(work)
    work.git("branch", "--force", "1.x")
    work.commit("Stricter on main", metricgate__yaml=edited(work, "max_regression: 0.1", "max_regression: 0.01"))
    assert find(work, old, branch="main").stale == (), "the configuration names the branch"


def test_a_test_set_that_changed_on_the_branch_makes_the_verdict_stale(work: Checkout) -> None:
    tagged = work.head
    work.commit("New examples", weights__csv=ANSWERS.replace("e0", "x0"))
    push(work)
    (found,) = find(work, tagged, allow_stale=True).stale
    assert "the test set of main has changed since the verdict" in found


def test_a_second_push_is_judged_against_the_first_and_stale_once_that_is_recorded_again(
    work: Checkout, tmp_path: Path
) -> None:
    first = work.head
    work.commit("Two")
    push(work)
    found = find(work)
    assert (found.report.baseline.commit, found.stale) == (first, ())
    assert found.baseline is not None
    for record in (tmp_path / "store" / "runs" / "tiny" / first).rglob("run.json"):
        record.write_text(json.dumps({**json.loads(record.read_text()), "model_digest": f"sha256:{'e' * 64}"}))
    assert "was recorded again, with other models" in refused(work).found
    shutil.rmtree(tmp_path / "store" / "runs" / "tiny" / first)
    assert "is not recorded any more" in refused(work).found


def test_a_verdict_that_was_made_while_the_one_before_was_not_recorded_is_stale_once_it_is(
    work: Checkout, tmp_path: Path
) -> None:
    first, aside = work.head, tmp_path / "aside"
    shutil.move(tmp_path / "store" / "runs" / "tiny" / first, aside)
    work.commit("Two")
    push(work)
    assert find(work).baseline is None
    shutil.move(aside, tmp_path / "store" / "runs" / "tiny" / first)
    assert f"made against no recorded commit, and would be made against {first[:12]} now" in refused(work).found
    push(work)
    assert find(work).report.baseline.commit == first, "judged again, it is fresh"


def test_a_commit_that_is_evaluated_in_another_way_is_fresh_though_its_baseline_was_not_used(
    work: Checkout, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "models")
    work.commit("Evaluated otherwise", metricgate__yaml=edited(work, "head -n 201", "head -n 191"))
    code, log = push(work)
    assert code == 0, log
    found = find(work)
    assert found.stale == ()
    assert found.report.baseline.runs == 0
    assert any("evaluated in another way" in warning for warning in found.report.warnings), "so the release warns"


def test_a_configuration_in_a_folder_is_read_from_there_on_the_branch(tmp_path: Path) -> None:
    config = CONFIG.replace("STORE", str(tmp_path / "store")).replace("MODELS", str(tmp_path / "models"))
    work = Checkout.make(tmp_path, README="A model in a folder of its own\n")
    (work.root / "tiny").mkdir()
    (work.root / "tiny" / PATH).write_text(config)
    (work.root / "weights.csv").write_text(ANSWERS)
    work.commit("A model")
    code, log = work.step("check", {"ref": "refs/heads/main"}, event_name="push", config=f"tiny/{PATH}")
    assert code == 0, log
    loaded = config_file.load(work.root / "tiny" / PATH)
    store = commands.store(loaded.baseline, root=work.root)
    for root, path in ((work.root, f"tiny/{PATH}"), (work.root / "tiny", PATH)):
        assert candidate.find(store, loaded, work.head, root=root, path=path).stale == ()


def test_a_verdict_that_names_no_policy_can_not_be_allowed(work: Checkout) -> None:
    store, config = settings(work)
    judged = store.judged(config.name, work.head)
    assert judged is not None
    unnamed = judged.report.model_copy(update={"policy": None})
    store.note(judged.model_copy(update={"report": unnamed, "time": "2126-01-01T00:00:00Z"}))
    with pytest.raises(UsageError, match="does not say by which policy"):
        candidate.find(store, config, work.head, root=work.root, path=PATH, allow_stale=True)

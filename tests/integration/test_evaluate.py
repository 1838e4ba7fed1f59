"""Evaluation: the right model in place, the user's command, and a run that says what was found."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

import pytest

from metricgate import config_file, evaluate, formats, train
from metricgate import run as runs
from metricgate.config import Config
from metricgate.errors import InputError, StageError, UsageError
from metricgate.run import RunRecord
from metricgate.train import CommandError

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=timezone.utc)
TRAINER = """\
import os, pathlib
model = pathlib.Path(os.environ["METRICGATE_MODEL"])
model.parent.mkdir(parents=True, exist_ok=True)
model.write_text(os.environ["METRICGATE_SEED"])
"""
EVALUATOR = """\
import os, pathlib
seed = int(pathlib.Path(os.environ["METRICGATE_MODEL"]).read_text())
assert seed == int(os.environ["METRICGATE_SEED"])
with open(os.path.join(os.environ["METRICGATE_RUN_DIR"], "scores.csv"), "w") as file:
    print("example_id,label,accuracy", file=file)
    for example in range(10):
        print(f"{example},{example % 2},{int(example > seed)}", file=file)
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "a repository"
    root.mkdir()
    (root / "train.py").write_text(TRAINER)
    (root / "evaluate.py").write_text(EVALUATOR)
    return root


def configured(**changes: object) -> Config:
    document: dict[str, object] = {
        "train": {"run": f'"{sys.executable}" train.py', "seeds": [0, 1]},
        "evaluate": {"run": f'"{sys.executable}" evaluate.py'},
        "model": "outputs/model.txt",
        "metrics": {"accuracy": {"direction": "higher"}},
        "slices": ["label"],
        **changes,
    }
    return config_file.loads(json.dumps({key: value for key, value in document.items() if value is not None}))


def console() -> train.Console:
    return train.Console(output=io.BytesIO(), progress=io.StringIO(), grace_s=0.5)


def trained(root: Path, config: Config | None = None) -> tuple[Path, ...]:
    return train.train(
        config or configured(),
        root=root,
        run_dir=root / "runs",
        commit="c0ffee",
        environ=os.environ,
        console=console(),
        clock=lambda: NOON,
    )


def evaluated(
    root: Path,
    config: Config | None = None,
    *,
    seeds: Sequence[int] | None = None,
    environ: Mapping[str, str] = os.environ,
) -> tuple[Path, ...]:
    return evaluate.evaluate(
        config or configured(), root=root, run_dir=root / "runs", environ=environ, console=console(), seeds=seeds
    )


def record(folder: Path) -> RunRecord:
    found = runs.read_record(folder)
    assert found is not None
    return found


class TestModel:
    def test_of_each_run_is_put_back_for_its_evaluation(self, root: Path) -> None:
        trained(root)
        assert (root / "outputs" / "model.txt").read_text() == "1"
        folders = evaluated(root)  # the evaluator asserts that model and seed belong together
        assert [record(folder).metrics["accuracy"].value for folder in folders] == [0.9, 0.8]

    def test_is_put_back_where_the_checkout_is_another_one(self, root: Path) -> None:
        trained(root)
        (root / "outputs" / "model.txt").unlink()
        (root / "outputs").rmdir()
        evaluated(root)
        assert (root / "outputs" / "model.txt").read_text() == "1"

    def test_a_folder_is_put_back_whole(self, root: Path) -> None:
        config = configured(
            train={"run": 'mkdir -p out/$METRICGATE_SEED; echo $METRICGATE_SEED > "out/$METRICGATE_SEED/w"', "seeds": [0, 1]},
            evaluate={
                "run": 'ls out > "$METRICGATE_RUN_DIR/seen"; echo {\\"accuracy\\": 1} > "$METRICGATE_RUN_DIR/metrics.json"'
            },
            model="out",
            slices=[],
        )
        trained(root, config)
        first, second = evaluated(root, config)
        assert (first / "seen").read_text() == "0\n"
        assert (second / "seen").read_text() == "1\n"

    def test_that_was_changed_since_is_refused(self, root: Path) -> None:
        folder, _ = trained(root)
        (folder / "model").write_text("poison")
        with pytest.raises(StageError, match="has changed since it was trained"):
            evaluated(root)

    def test_that_is_gone_is_refused(self, root: Path) -> None:
        folder, _ = trained(root)
        (folder / "model").unlink()
        with pytest.raises(StageError, match="the run's model is gone"):
            evaluated(root)


class TestRecord:
    def test_says_what_was_found(self, root: Path) -> None:
        trained(root)
        folder, _ = evaluated(root)
        found = record(folder)
        assert found.stage == "evaluated"
        accuracy = found.metrics["accuracy"]
        assert (accuracy.value, accuracy.n, accuracy.direction) == (0.9, 10, "higher")
        assert accuracy.stderr == pytest.approx(0.1)
        assert found.fingerprints.test_set is not None
        assert found.fingerprints.evaluation is not None
        assert found.times.evaluate_s is not None
        assert found.times.started == "2026-01-02T12:00:00Z"
        assert found.model_digest is not None

    def test_is_what_a_comparison_reads(self, root: Path) -> None:
        trained(root)
        evaluated(root)
        first, second = formats.read_runs(root / "runs", id="example_id")
        assert (first.record.seed, second.record.seed) == (0, 1)
        assert first.metrics["accuracy"].value == 0.9
        assert second.scores is not None
        assert second.scores.n == 10

    def test_two_seeds_have_the_same_test_set_and_evaluation(self, root: Path) -> None:
        trained(root)
        prints = [record(folder).fingerprints for folder in evaluated(root)]
        assert prints[0].test_set == prints[1].test_set
        assert prints[0].evaluation == prints[1].evaluation

    def test_an_evaluation_in_git_has_the_same_fingerprint_after_the_first_run(self, root: Path) -> None:
        # The command names its own output; if that counted, every run would be measured differently.
        subprocess.run(["git", "init", "-q", str(root)], check=True)
        subprocess.run(["git", "-C", str(root), "add", "train.py", "evaluate.py"], check=True)
        config = configured(evaluate={"run": f'"{sys.executable}" evaluate.py | tee summary.txt'})
        trained(root, config)
        prints = {record(folder).fingerprints.evaluation for _ in range(2) for folder in evaluated(root, config)}
        assert len(prints) == 1

    def test_can_be_made_again(self, root: Path) -> None:
        trained(root)
        first = [record(folder).model_copy(update={"times": None}) for folder in evaluated(root)]
        again = [record(folder).model_copy(update={"times": None}) for folder in evaluated(root)]
        assert first == again


class TestCommand:
    def test_that_fails_leaves_no_run_that_looks_evaluated(self, root: Path) -> None:
        trained(root)
        evaluated(root)
        (root / "evaluate.py").write_text("raise SystemExit(9)")
        with pytest.raises(CommandError, match="the evaluation of seed 0 ended with exit code 9") as raised:
            evaluated(root)
        assert raised.value.status == 9
        folder = root / "runs" / "seed-0"
        assert record(folder).stage == "trained"
        assert record(folder).metrics == {}
        assert not (folder / "scores.csv").exists()

    def test_that_writes_nothing_does_not_live_on_what_an_earlier_one_wrote(self, root: Path) -> None:
        trained(root)
        evaluated(root)
        (root / "evaluate.py").write_text("print('forgot')")
        with pytest.raises(InputError, match="there is no metric `accuracy`"):
            evaluated(root)

    def test_that_writes_nothing_does_not_live_on_what_the_training_wrote(self, root: Path) -> None:
        (root / "train.py").write_text(
            TRAINER + 'open(os.environ["METRICGATE_RUN_DIR"] + "/metrics.json", "w").write(\'{"accuracy": 1}\')'
        )
        trained(root)
        (root / "evaluate.py").write_text("print('forgot')")
        with pytest.raises(InputError, match="there is no metric `accuracy`"):
            evaluated(root)

    def test_that_takes_too_long_is_ended(self, root: Path) -> None:
        config = configured(evaluate={"run": "exec sleep 1000", "timeout": "1s"})
        trained(root, config)
        with pytest.raises(CommandError, match="the evaluation of seed 0 took longer than 1s"):
            evaluated(root, config)

    def test_does_not_get_the_token_of_the_action(self, root: Path) -> None:
        config = configured(evaluate={"run": "! env | grep -q secret"}, metrics={"a": {"direction": "higher"}}, slices=[])
        trained(root, config)
        with pytest.raises(InputError, match="there is no metric `a`"):  # and not: exit code 1
            evaluated(root, config, environ={**os.environ, "METRICGATE_INPUT_TOKEN": "secret"})


class TestWithoutASection:
    def test_what_the_training_wrote_is_collected(self, root: Path) -> None:
        config = configured(
            train={"run": 'echo {\\"accuracy\\": 0.5} > "$METRICGATE_RUN_DIR/metrics.json"'},
            evaluate=None,
            model=None,
            slices=[],
        )
        trained(root, config)
        (folder,) = evaluated(root, config)
        assert record(folder).metrics["accuracy"].value == 0.5
        assert record(folder).fingerprints.evaluation is None

    def test_without_training_the_model_that_is_there_is_evaluated(self, root: Path) -> None:
        (root / "outputs").mkdir()
        (root / "outputs" / "model.txt").write_text("0")
        config = configured(train=None)
        (folder,) = trained(root, config)
        evaluated(root, config)
        found = record(folder)
        assert found.metrics["accuracy"].value == 0.9
        assert (found.seed, found.times.train_s) == (0, None)
        assert found.model_digest is not None

    def test_without_training_or_model_there_is_nothing_to_evaluate(self, root: Path) -> None:
        with pytest.raises(StageError, match=r"no model at outputs/model.txt, and no `train`"):
            trained(root, configured(train=None))


class TestRuns:
    def test_of_some_seeds_only(self, root: Path) -> None:
        trained(root)
        assert [folder.name for folder in evaluated(root, seeds=[1])] == ["seed-1"]
        assert record(root / "runs" / "seed-0").stage == "trained"

    def test_that_are_not_there(self, root: Path) -> None:
        with pytest.raises(UsageError, match="there is no run to evaluate"):
            evaluated(root)
        trained(root)
        with pytest.raises(UsageError, match="there is no run of seed 5"):
            evaluated(root, seeds=[0, 5])

    def test_whose_training_failed(self, root: Path) -> None:
        trained(root)
        (root / "runs" / "seed-0" / "run.json").unlink()
        with pytest.raises(UsageError, match="holds no run that was trained"):
            evaluated(root)

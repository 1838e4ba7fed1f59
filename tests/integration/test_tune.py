"""Searches in a journal file: real Optuna, real trials under bash, processes that are killed in the middle."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests.tuning_scene import FIRST_HANGS, QUICK, Scene, wait_for

from metricgate import cli
from metricgate.errors import ConfigError, ExitCode, StageError, UsageError
from metricgate.tune import document

# Three reports, far enough apart to be seen; a trial with x < 0.5 is below the median from its first report on.
STEPS = (
    "for step in 1 2 3; do "
    'echo "{\\"step\\": $step, \\"metrics\\": {\\"val\\": $METRICGATE_PARAM_X}}" > "$METRICGATE_PROGRESS.new"; '
    'mv "$METRICGATE_PROGRESS.new" "$METRICGATE_PROGRESS"; sleep 0.6; done'
)
GRID = "  space:\n    x: {choices: [0.1, 0.9, 0.8]}\n"


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


def test_the_best_of_all_trials_is_found(scene: Scene) -> None:
    scene.configure(more="trials: 12")
    found = scene.tune(workers=2).tuning
    assert len(found.trials) == 12
    assert {trial.state for trial in found.trials} == {"complete"}
    assert found.best.value == max(trial.value or 0.0 for trial in found.trials)
    assert found.best.values == {"x": pytest.approx(found.best.value)}
    assert document.read(scene.root / ".metricgate" / "tune" / found.study / "tuning.json") == found


def test_a_study_that_was_cut_in_two_is_the_study_that_was_not(scene: Scene, tmp_path: Path) -> None:
    scene.tune(trials=7)
    in_two = scene.tune(trials=14).tuning
    (tmp_path / "other").mkdir()
    at_once = Scene(tmp_path / "other").tune(trials=14).tuning
    assert [trial.values for trial in in_two.trials] == [trial.values for trial in at_once.trials]
    assert "goes on: 7 of 14 trials are there" in scene.told.getvalue()


def test_when_all_trials_are_there_nothing_runs(scene: Scene) -> None:
    first = scene.tune(trials=3).tuning
    assert scene.tune(trials=3).tuning == first


def test_another_space_is_another_study_and_says_so(scene: Scene) -> None:
    first = scene.tune(trials=2).tuning
    scene.configure(space="  space:\n    x: {low: 0.0, high: 0.5}\n")
    second = scene.tune(trials=2).tuning
    assert first.study != second.study
    assert f"changed since {first.study}" in scene.told.getvalue()


def test_the_present_parameters_are_tried_first(scene: Scene) -> None:
    (scene.root / "params.json").write_text('{"x": 0.25, "epochs": 3}')
    scene.configure(more="params: params.json")
    found = scene.tune(trials=3).tuning
    assert found.trials[0].values == {"x": 0.25}
    assert found.current == found.trials[0]


def test_present_parameters_outside_of_the_space_are_named(scene: Scene) -> None:
    (scene.root / "params.json").write_text('{"x": 7}')
    scene.configure(more="params: params.json")
    assert scene.tune(trials=2).tuning.current is None
    assert "no point of the space (x)" in scene.told.getvalue()


def test_a_trial_gets_the_whole_file_with_its_own_values(scene: Scene) -> None:
    (scene.root / "params.yaml").write_text("# ours\nx: 0.25  # the rate\nepochs: 3\n")
    keep = 'cp "$METRICGATE_PARAMS" "kept-$METRICGATE_SEED.yaml"; '
    scene.configure(run=keep + QUICK, more="params: params.yaml\nseed: 5")
    scene.tune(trials=1)
    assert (scene.root / "kept-5.yaml").read_text() == "# ours\nx: 0.25  # the rate\nepochs: 3\n"


def test_a_grid_is_tried_once_and_no_more(scene: Scene) -> None:
    scene.configure(space=GRID, more="sampler: grid")
    found = scene.tune(trials=50, workers=3).tuning
    assert sorted(float(str(trial.values["x"])) for trial in found.trials) == [0.1, 0.8, 0.9]
    assert found.budget == 3


def test_trials_that_fall_behind_are_ended(scene: Scene) -> None:
    scene.configure(run=STEPS, space="  space:\n    x: {choices: [0.9, 0.8, 0.1]}\n", more="sampler: grid\nwarmup_trials: 1")
    (scene.root / "params.json").write_text('{"x": 0.9}')
    scene.configure(run=STEPS, space=GRID, more="sampler: grid\nwarmup_trials: 1\nparams: params.json")
    found = scene.tune().tuning
    states = {trial.values["x"]: (trial.state, trial.step) for trial in found.trials}
    assert states[0.9] == ("complete", 3)
    assert states[0.1] == ("pruned", 1)
    assert found.best.value == 0.9


def test_a_trial_without_the_metric_fails_and_the_others_go_on(scene: Scene) -> None:
    scene.configure(run=f"if mkdir once 2> /dev/null; then exit 0; fi; {QUICK}")
    found = scene.tune(trials=3).tuning
    assert [trial.state for trial in found.trials] == ["failed", "complete", "complete"]
    assert "reported no `val`" in found.trials[0].why
    assert any("Trial 0 failed" in warning for warning in found.warnings)


def test_a_number_that_is_none_counts_as_a_bad_trial(scene: Scene) -> None:
    nan = 'echo "{\\"val\\": NaN}" > "$METRICGATE_RUN_DIR/metrics.json"'
    scene.configure(run=f"if mkdir once 2> /dev/null; then {nan}; else {QUICK}; fi")
    found = scene.tune(trials=2).tuning
    assert (found.trials[0].state, found.trials[0].why) == ("pruned", "ended: its val is nan")


def test_a_command_that_never_works_is_not_tried_for_ever(scene: Scene) -> None:
    scene.configure(run="echo no such thing; exit 3")
    with pytest.raises(StageError, match=r"5 trials failed, and none got to a value.*exit code 3"):
        scene.tune(trials=100)


def test_trials_see_neither_the_storage_nor_the_inputs_of_the_action(scene: Scene) -> None:
    scene.configure(run=f"env > seen; {QUICK}")
    environ = {"METRICGATE_TUNE_STORAGE": str(scene.root / "elsewhere.log"), "METRICGATE_INPUT_TOKEN": "secret"}
    scene.tune(trials=1, environ=environ)
    seen = (scene.root / "seen").read_text()
    assert (scene.root / "elsewhere.log").exists()
    assert "METRICGATE_PARAM_X=" in seen
    assert "TUNE_STORAGE" not in seen
    assert "INPUT_TOKEN" not in seen


def test_trials_find_what_trainings_find(scene: Scene) -> None:
    """The data set that is fetched once, and what Keras is to be set to."""
    scene.configure(run=f'cp "$METRICGATE_DATA_DIR/data" seen; env >> seen; {QUICK}')
    config = scene.root / "metricgate.yaml"
    more = '  fetch: echo digits > "$METRICGATE_DATA_DIR/data"\n  keras: {precision: mixed_bfloat16, xla: false}\n'
    text = config.read_text().replace(f"train: {{run: '{QUICK}'}}\n", f"train:\n  run: '{QUICK}'\n{more}")
    config.write_text(text)
    scene.tune(trials=2)
    seen = (scene.root / "seen").read_text().splitlines()
    assert seen[0] == "digits"
    assert {line for line in seen if line.startswith("METRICGATE_KERAS_")} == {
        "METRICGATE_KERAS_PRECISION=mixed_bfloat16",
        "METRICGATE_KERAS_XLA=0",
    }


def test_the_best_parameters_are_trained_again_judged_and_written(scene: Scene) -> None:
    (scene.root / "params.json").write_text('{\n    "x": 0.25,\n    "epochs": 3\n}\n')
    train = 'python3 -S -c "$(cat train.py)"'
    (scene.root / "train.py").write_text(
        "import json, os\n"
        "x = json.load(open(os.environ.get('METRICGATE_PARAMS', 'params.json')))['x']\n"
        "metrics = {'val': x, 'accuracy': {'value': x, 'stderr': 0.01, 'n': 100}}\n"
        "json.dump(metrics, open(os.environ['METRICGATE_RUN_DIR'] + '/metrics.json', 'w'))\n"
    )
    scene.configure(more="params: params.json\nseeds: [3, 4]")
    config = scene.root / "metricgate.yaml"
    config.write_text(config.read_text().replace(f"train: {{run: '{QUICK}'}}", f"train: {{run: '{train}'}}"))
    done = scene.tune(trials=6, retrain=True, apply=True)
    found = done.tuning
    assert found.retrained is not None
    assert found.retrained.seeds == (3, 4)
    assert found.retrained.best == pytest.approx(found.best.value)
    assert found.retrained.current == pytest.approx(0.25)
    assert found.verdict is not None
    assert found.verdict.candidate.seeds == (3, 4)
    (rule,) = found.verdict.rules
    assert rule.baseline == pytest.approx(0.25)
    assert rule.candidate == pytest.approx(found.best.value)
    written = json.loads((scene.root / "params.json").read_text())
    assert written == {"x": done.best["x"], "epochs": 3}


def test_a_metric_that_the_gate_judges_is_warned_of(scene: Scene) -> None:
    config = scene.root / "metricgate.yaml"
    config.write_text(config.read_text().replace("metric: val\n", "metric: accuracy\n"))
    found = scene.tune(trials=1).tuning
    assert any("the gate judges too" in warning for warning in found.warnings)
    assert "the gate judges too" in scene.told.getvalue()


def test_what_is_missing_is_said_before_anything_runs(scene: Scene) -> None:
    with pytest.raises(UsageError, match=r"params: params\.json"):
        scene.tune(apply=True)
    with pytest.raises(UsageError, match="can be read by everybody"):
        scene.tune(storage="postgresql://tuner:secret@db/x")
    (scene.root / "metricgate.yaml").write_text("metrics: {accuracy: {direction: higher}}\n")
    with pytest.raises(ConfigError, match="the section `tune`"):
        scene.tune()


def test_a_study_of_somebodys_choosing_is_not_filled_with_what_can_not_be_compared(scene: Scene) -> None:
    assert scene.tune(trials=1, study="mine").tuning.study == "mine"
    assert len(scene.tune(trials=2, study="mine").tuning.trials) == 2
    scene.configure(space=GRID)
    with pytest.raises(UsageError, match="another space, metric, seed or command"):
        scene.tune(trials=3, study="mine")
    with pytest.raises(UsageError, match="no name of a study"):
        scene.tune(study="../mine")


def test_a_full_disk_is_told_and_the_search_goes_on_afterwards(scene: Scene) -> None:
    """Where trials get folders there is a file: nothing can be written, whoever runs the tests."""
    study = scene.tune(trials=1).tuning.study
    trials = scene.root / ".metricgate" / "tune" / study / "trials"
    shutil.move(trials, trials.with_name("kept"))
    trials.write_text("")
    with pytest.raises(StageError, match="a file could not be written"):
        scene.tune(trials=3)
    trials.unlink()
    assert [trial.state for trial in scene.tune(trials=3).tuning.trials] == ["complete"] * 3


def test_without_optuna_it_is_said_how_to_install_it(scene: Scene) -> None:
    code = "import sys; sys.modules['optuna'] = None; from metricgate import cli; sys.exit(cli.main(['tune']))"
    done = subprocess.run([sys.executable, "-c", code], cwd=scene.root, capture_output=True, text=True, check=False)
    assert done.returncode == ExitCode.USAGE
    assert 'pip install "metricgate[tune]"' in done.stderr


def test_nothing_but_a_search_waits_for_optuna(scene: Scene) -> None:
    code = (
        "import sys; from pathlib import Path; from metricgate import cli, config_file, pipeline; "
        "config_file.load(Path('metricgate.yaml')); "
        "code = 0\ntry: cli.main(['tune', '--help'])\nexcept SystemExit: pass\n"
        "sys.exit(any(name in sys.modules for name in ('optuna', 'sqlalchemy')))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=scene.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_file_that_is_no_journal_is_left_alone(scene: Scene) -> None:
    (scene.root / "notes.txt").write_text("mine\n")
    with pytest.raises(UsageError, match="no journal"):
        scene.tune(storage="notes.txt")
    assert (scene.root / "notes.txt").read_text() == "mine\n"


@pytest.mark.slow
def test_several_processes_share_a_study_and_one_is_killed_in_the_middle_of_a_trial(scene: Scene) -> None:
    scene.configure(run=FIRST_HANGS, more="trials: 8")
    with scene.start() as first:
        trial = scene.await_hanging()
        with scene.start() as second:
            journal = scene.root / ".metricgate" / "tune" / "journal.log"
            wait_for(lambda: _ended(journal) >= 7, "the other one has done all but one")
            first.send(signal.SIGKILL)
            found = second.result()
    _check_whole(found, trials=8)
    wait_for(lambda: not _is_running(trial), "the trial of the killed process is gone")


def test_a_search_that_was_stopped_goes_on_where_it_was(scene: Scene) -> None:
    scene.configure(run=FIRST_HANGS, more="trials: 4")
    with scene.start() as first:
        trial = scene.await_hanging()
        first.send(signal.SIGINT)
        assert first.code() == ExitCode.STAGE_FAILED
        assert "goes on with the same study" in first.told()
    assert not _is_running(trial)
    found = scene.tune().tuning
    assert [trial.number for trial in found.trials] == [1, 2, 3, 4]
    assert {trial.state for trial in found.trials} == {"complete"}


def test_the_command_prints_and_writes_what_was_found(scene: Scene, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = str(scene.root / "metricgate.yaml")
    report = tmp_path / "tuning.md"
    tune = ["tune", "--config", config, "--trials", "3", "--no-retrain"]
    assert cli.main([*tune, "--report", str(report)]) == 0
    assert "the best of 3 trials" in capsys.readouterr().out
    assert report.read_text().startswith("### 🔎 digits: val ")
    assert cli.main([*tune, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["schema"] == "metricgate.tuning/1"


def _ended(journal: Path) -> int:
    """How many trials the journal says got to their end."""
    return len(re.findall(r'"state":1,', journal.read_text())) if journal.exists() else 0


def _check_whole(found: dict[str, Any], *, trials: int) -> None:
    """As many trials as were asked for, all with a value; the lost one was done again with the same parameters."""
    states = [trial["state"] for trial in found["trials"]]
    assert states == ["complete"] * trials
    assert found["lost"] == 1
    values = [trial["values"]["x"] for trial in found["trials"]]
    assert len(set(values)) == trials
    assert 0 not in [trial["number"] for trial in found["trials"]]


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"

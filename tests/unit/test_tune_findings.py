"""From a study to what it found, and what to know before believing it."""

from __future__ import annotations

import io
import math

import optuna
import pytest
from optuna.trial import TrialState

from metricgate import config_file
from metricgate.config import Config
from metricgate.errors import StageError
from metricgate.tune import findings, spaces, studies
from metricgate.tune.board import Board
from metricgate.tune.document import Tuning
from metricgate.tune.storage import Place
from metricgate.tune_config import Tune

CONFIG = """\
name: digits
train: {run: python train.py}
metrics: {accuracy: {direction: higher}, latency: {direction: lower}}
tune:
  metric: METRIC
  space:
    lr: {low: 1e-4, high: 1e-1, log: true}
    layers: {low: 1, high: 4}
"""


def configured(metric: str = "accuracy") -> tuple[Config, Tune]:
    config = config_file.loads(CONFIG.replace("METRIC", metric))
    assert config.tune is not None
    return config, config.tune


def study_of(tune: Tune, trials: list[dict[str, object]]) -> optuna.Study:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="digits-1", direction="maximize")
    distributions = {name: spaces.distribution(parameter) for name, parameter in tune.space.items()}
    for number, trial in enumerate(trials):
        fields: dict[str, object] = {"params": {"lr": 10 ** (-1.5 - number % 3 / 2), "layers": 2 + number % 2}, **trial}
        study.add_trial(optuna.create_trial(distributions=distributions, **fields))  # type: ignore[arg-type]  # as told
    return study


def found(trials: list[dict[str, object]], *, metric: str = "accuracy", **more: object) -> Tuning:
    config, tune = configured(metric)
    fields: dict[str, object] = {"budget": len(trials), "current": {}, "commit": None, **more}
    study = study_of(tune, trials)
    place = Place(optuna.storages.InMemoryStorage(), "postgresql://db/x")
    return findings.found(study, place, config=config, tune=tune, **fields)  # type: ignore[arg-type]  # as told


def test_trials_that_were_done_again_or_one_too_many_are_left_out() -> None:
    failed: dict[str, object] = {"state": TrialState.FAIL}
    made = found(
        [
            {"value": 0.5},
            failed,
            {**failed, "user_attrs": {studies.WHY: studies.SURPLUS}},
            {**failed, "user_attrs": {studies.WHY: studies.INTERRUPTED}},
            {**failed, "user_attrs": {studies.WHY: "ended with exit code 1"}},
            {"value": 0.7},
        ],
        budget=3,
    )
    assert [(trial.number, trial.state) for trial in made.trials] == [(0, "complete"), (4, "failed"), (5, "complete")]
    assert (made.best.number, made.lost, made.storage) == (5, 1, "postgresql")
    assert any("Trial 4 failed: it ended with exit code 1" in warning for warning in made.warnings)
    assert not any("not there yet" in warning for warning in made.warnings)


def test_importance_is_of_all_or_of_none() -> None:
    few = found([{"value": number / 10} for number in range(9)])
    assert {info.importance for info in few.parameters} == {None}
    same = found([{"value": 0.5}] * 12)
    assert {info.importance for info in same.parameters} == {None}
    enough = found([{"value": 1 - number % 3 / 3} for number in range(12)])
    shares = {info.name: info.importance or 0.0 for info in enough.parameters}
    assert math.isclose(sum(shares.values()), 1.0, abs_tol=1e-5)
    assert shares["lr"] > shares["layers"]


def test_the_best_of_many_is_said_to_be_partly_luck() -> None:
    assert any("part of it is luck" in warning for warning in found([{"value": 0.5}, {"value": 0.6}]).warnings)
    assert not any("luck" in warning for warning in found([{"value": 0.5}]).warnings)


def test_trials_of_several_commits_are_told() -> None:
    ones, others = ({"value": 0.5, "user_attrs": {studies.COMMIT: letter * 40}} for letter in "ab")
    assert any("2 different commits" in warning for warning in found([ones, others], commit="a" * 40).warnings)
    assert any("another commit than this one" in warning for warning in found([ones], commit="b" * 40).warnings)
    assert not any("commit" in warning for warning in found([ones], commit="a" * 40).warnings)


@pytest.mark.parametrize(
    ("lr", "layers", "names"),
    [(0.05, 2, ""), (0.0995, 2, "`lr`"), (1e-4, 4, "`lr` and `layers`"), (0.001, 1, "`layers`")],
)
def test_a_best_value_at_an_edge_is_told(lr: float, layers: int, names: str) -> None:
    warnings = found([{"value": 0.5, "params": {"lr": lr, "layers": layers}}]).warnings
    told = [warning for warning in warnings if "edge" in warning]
    assert told == ([f"The best {names} is at an edge of its space: what lies beyond may be better."] if names else [])


def test_what_changes_nothing_is_known_to_change_nothing() -> None:
    trial: dict[str, object] = {"value": 0.5, "params": {"lr": 0.01, "layers": 2}}
    assert not found([trial], current={"lr": 0.01, "layers": 2}).changed
    assert found([trial], current={"lr": 0.02, "layers": 2}).changed
    assert found([trial], current={"lr": 0.01}).changed


def test_without_a_value_there_is_nothing_to_find() -> None:
    with pytest.raises(StageError, match=r"no trial of digits-1 got to its end; the last one: ran out"):
        found([{"state": TrialState.FAIL, "user_attrs": {studies.WHY: "ran out of memory"}}])


def test_a_metric_of_validation_data_is_not_warned_of() -> None:
    config, tune = configured()
    assert "what the gate judges too" in findings.biases(config, tune)[0]
    validation = tune.model_copy(update={"metric": "val_accuracy"})
    assert findings.biases(config, validation) == ()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_count_is_redrawn_and_gone_in_the_end() -> None:
    stream = Terminal()
    board = Board(stream)
    board.count(lambda: "1 of 2")
    board.count(lambda: "asked too often")
    board.say("trial 0 has\nended \x1b[31m")
    board.end()
    assert stream.getvalue() == "metricgate: 1 of 2\r\x1b[Kmetricgate: trial 0 has ended [31m\n"


def test_elsewhere_a_line_counts_when_nothing_was_said_for_long() -> None:
    stream = io.StringIO()
    Board(stream).count(lambda: "never asked")
    Board(stream, heartbeat_s=0.0).count(lambda: "1 of 2")
    assert stream.getvalue() == "metricgate: 1 of 2\n"

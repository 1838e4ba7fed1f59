"""Journals that are mended, locks that die with their holder, and how trials are counted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st
from optuna.trial import FrozenTrial, TrialState

from metricgate.tune import journal, sampling, studies
from metricgate.tune.presence import Presence
from metricgate.tune_config import Parameter, Tune

TUNE = Tune(metric="val", direction="higher", space={"x": Parameter(low=0.0, high=1.0)}, retries=2)
STATES = st.sampled_from(
    [
        (TrialState.COMPLETE, {}),
        (TrialState.PRUNED, {}),
        (TrialState.RUNNING, {}),
        (TrialState.FAIL, {studies.WHY: "ended with exit code 1"}),
        (TrialState.FAIL, {studies.WHY: studies.SURPLUS}),
        (TrialState.FAIL, {studies.WHY: studies.INTERRUPTED}),
        (TrialState.FAIL, {}),
        (TrialState.FAIL, {studies.ATTEMPTS: 2}),
    ]
)


def trial(number: int, state: TrialState, attributes: dict[str, object]) -> FrozenTrial:
    made = optuna.create_trial(
        state=state if state != TrialState.COMPLETE else TrialState.COMPLETE,
        value=1.0 if state == TrialState.COMPLETE else None,
        user_attrs=attributes,
    )
    made.number = number
    return made


def test_a_half_written_line_is_cut_off_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    whole = b'{"op_code": 0}\n' * 10_000  # longer than what is read at once
    for torn in (b"", b'{"op_c', b"x" * 200_000):
        file.write_bytes(whole + torn)
        journal.mend(file)
        assert file.read_bytes() == whole
    file.write_bytes(b"torn from the beginning")
    journal.mend(file)
    assert file.read_bytes() == b""


def test_a_journal_with_a_torn_line_goes_on(tmp_path: Path) -> None:
    file = tmp_path / "journal.log"
    storage = journal.opened(file)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="a", storage=storage)
    study.add_trial(optuna.create_trial(value=1.0))
    with file.open("ab") as stream:
        stream.write(b'{"op_code":4,"worker')
    optuna.load_study(study_name="a", storage=journal.opened(file)).add_trial(optuna.create_trial(value=2.0))
    study.add_trial(optuna.create_trial(value=3.0))
    again = optuna.load_study(study_name="a", storage=journal.opened(file))
    assert [each.value for each in again.trials] == [1.0, 2.0, 3.0]
    assert all(json.loads(line) for line in file.read_text().splitlines())


def test_whoever_is_killed_is_gone_at_once(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from metricgate.tune.presence import Presence\n"
        "print(Presence(Path(sys.argv[1])).id, flush=True); time.sleep(600)"
    )
    other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other.stdout:
        name = other.stdout.readline().strip()
        here = Presence(tmp_path)
        assert here.alive(name)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert not here.alive(name)
    assert here.alive(here.id)
    assert not here.alive("../../etc/passwd")
    here.close()
    assert list(tmp_path.iterdir()) == []


def test_what_killed_processes_left_is_taken_away_by_the_next_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "dead.lock").write_text("")
    (tmp_path / "notes.txt").write_text("")
    one = Presence(tmp_path)
    other = Presence(tmp_path)
    assert one.alive(other.id)
    assert {path.name for path in tmp_path.iterdir()} == {f"{one.id}.lock", f"{other.id}.lock", "notes.txt"}
    one.close()
    other.close()


@pytest.mark.parametrize(
    ("state", "attributes", "counts"),
    [
        (TrialState.COMPLETE, {}, True),
        (TrialState.RUNNING, {}, True),
        (TrialState.FAIL, {studies.WHY: "ended with exit code 1"}, True),
        (TrialState.FAIL, {studies.WHY: studies.SURPLUS}, False),
        (TrialState.FAIL, {studies.WHY: studies.INTERRUPTED}, False),
        (TrialState.FAIL, {}, False),  # its machine is gone, and it is done again
        (TrialState.FAIL, {studies.ATTEMPTS: 2}, True),  # so often that it is not
    ],
)
def test_a_trial_that_is_done_again_counts_once(state: TrialState, attributes: dict[str, object], counts: bool) -> None:
    assert studies.counts(trial(0, state, attributes), TUNE) is counts


@given(made=st.lists(STATES, max_size=30), budget=st.integers(1, 20))
def test_of_those_who_begin_at_once_exactly_as_many_go_on_as_there_is_room_for(
    made: list[tuple[TrialState, dict[str, object]]], budget: int
) -> None:
    """Numbers are given out one after another, so that each can tell by itself."""
    trials = [trial(number, state, dict(attributes)) for number, (state, attributes) in enumerate(made)]
    there = sum(studies.counts(each, TUNE) for each in trials)
    newcomers = [trial(len(trials) + index, TrialState.RUNNING, {}) for index in range(8)]
    stay = [each for each in newcomers if not studies.is_surplus(each.number, [*trials, *newcomers], TUNE, budget=budget)]
    assert len(stay) == min(8, max(0, budget - there))
    assert studies.startable(trials, TUNE, budget=budget) is (there < budget)


def test_a_lost_trial_keeps_its_parameters_and_is_tried_so_often_and_no_more() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=sampling.sampler(TUNE))
    first = study.ask()
    x = first.suggest_float("x", 0.0, 1.0)
    study.tell(first, state=TrialState.FAIL)
    for attempt in (1, 2):
        assert studies.again(study, study.trials[-1], retries=2)
        begun = study.ask()
        assert begun.suggest_float("x", 0.0, 1.0) == x
        assert begun.user_attrs[studies.ATTEMPTS] == attempt
        study.tell(begun, state=TrialState.FAIL)
    assert not studies.again(study, study.trials[-1], retries=2)
    assert studies.again(study, study.trials[-1], retries=2, blame=False)


def test_what_a_trial_tries_depends_on_the_seed_its_number_and_those_before() -> None:
    def tried(seed: int, *, reloaded: bool) -> list[float]:
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        tune = TUNE.model_copy(update={"seed": seed})
        study = optuna.create_study(sampler=sampling.sampler(tune))
        for _ in range(15):
            if reloaded:
                study.sampler = sampling.sampler(tune)
            study.optimize(lambda each: each.suggest_float("x", 0.0, 1.0), n_trials=1)
        return [float(each.params["x"]) for each in study.trials]

    assert tried(0, reloaded=False) == tried(0, reloaded=True)
    assert tried(0, reloaded=False) != tried(1, reloaded=False)

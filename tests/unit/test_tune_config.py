"""What `tune` may say, and what its mistakes are told as."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate import config_file, tune_config
from metricgate.errors import ConfigError
from metricgate.tune_config import Parameter, Tune

START = "metrics: {accuracy: {direction: higher}}\ntrain: {run: python train.py}\ntune:\n  metric: val_accuracy\n"


def tune(space: str, more: str = "") -> Tune:
    text = f"{START}  direction: higher\n  space:\n" + "".join(f"    {line}\n" for line in space.splitlines())
    found = config_file.loads(text + "".join(f"  {line}\n" for line in more.splitlines())).tune
    assert found is not None
    return found


def test_a_range_of_whole_numbers_is_told_from_one_of_others() -> None:
    found = tune("layers: {low: 1, high: 4}\ndropout: {low: 0.0, high: 0.5, step: 0.1}\nlr: {low: 1e-5, high: 1e-1, log: true}")
    assert found.space["layers"].values == (1, 2, 3, 4)
    assert found.space["dropout"].values == (0.0, 0.1, 0.2, 0.3, 0.4, 0.5)
    assert found.space["lr"].values is None
    assert [found.space[name].whole for name in ("layers", "dropout", "lr")] == [True, False, False]


@pytest.mark.parametrize(
    ("space", "told"),
    [
        ("lr: {low: 0, high: 1, log: true}", "`log: true` needs a `low` above 0"),
        ("lr: {low: 1}", "should have `low` and `high`, or `choices`"),
        ("lr: {chioces: [1]}", "did you mean `choices`?"),
        ("lr: {choices: [1, 1]}", "the same choice twice"),
        ("lr: {choices: []}", "at least one entry"),
        ("lr: {choices: [a], low: 1}", "`choices` stand alone"),
        ("lr: {low: a, high: 2}", "should be a finite number"),
        ("lr: {low: .nan, high: 2}", "should be a finite number"),
        ("lr: {low: 2, high: 1}", "low 2 is more than high 1"),
        ("lr: {low: 1, high: 2, step: 0}", "`step` should be above 0"),
        ("lr: {low: 1, high: 2, step: 1, log: true}", "exclude each other"),
        ("a b: {low: 1, high: 2}", "tune.space.a b"),
        ("a-b: {low: 1, high: 2}\na_b: {low: 1, high: 2}", "would both be METRICGATE_PARAM_A_B"),
        ("a: {low: 1, high: 2}\na.b: {low: 1, high: 2}", "a value and a group of values at once"),
    ],
)
def test_a_mistake_in_the_space_is_told_with_its_line(space: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        tune(space)
    assert told in str(error.value)
    assert "line " in str(error.value)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ("storage: postgresql://me:secret@db/x", "a password in a file is no secret"),
        ("storage: postgresql://db/x?password=secret", "a password in a file is no secret"),
        ("params: ../params.json", "inside the repository"),
        ("params: /etc/params.json", "inside the repository"),
        ("params: params.py", "a .json or .yaml file"),
        ("seeds: [1, 1]", "would count one training as two"),
        ("sampler: grid", "needs values that can be counted; give `lr`"),
        ("trials: 0", "greater than or equal to 1"),
        ("pruner: mediam", "'median'"),
        ("timeout: 8", "should be a duration"),
    ],
)
def test_a_mistake_in_the_rest_is_told(more: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        tune("lr: {low: 0.0, high: 1.0}", more)
    assert told in str(error.value)
    assert ":secret" not in str(error.value)
    assert "=secret" not in str(error.value)


def test_a_grid_that_nobody_could_wait_for_is_refused() -> None:
    with pytest.raises(ConfigError, match="1,010 combinations"):
        tune("a: {low: 1, high: 101}\nb: {low: 1, high: 10}", "sampler: grid")


def test_a_grid_has_every_combination_once() -> None:
    grid = tune("a: {choices: [x, y]}\nb: {low: 1, high: 3, step: 2}", "sampler: grid").grid
    assert grid == ({"a": "x", "b": 1}, {"a": "x", "b": 3}, {"a": "y", "b": 1}, {"a": "y", "b": 3})


def test_what_makes_no_other_trials_makes_no_other_study() -> None:
    space = "lr: {low: 0.0, high: 1.0}"
    assert tune(space).identity == tune(space, "trials: 7\nworkers: 3\npruner: none\nstorage: x.log").identity
    assert tune(space).identity != tune(space, "seed: 1").identity
    assert tune(space).identity != tune("lr: {low: 0.0, high: 2.0}").identity


@given(low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6), share=st.floats(0, 1), step=st.none() | st.floats(1e-3, 1e3))
def test_a_range_allows_its_ends_and_what_lies_on_its_steps(low: float, width: float, share: float, step: float | None) -> None:
    parameter = Parameter(low=low, high=low + width, step=step)
    assert parameter.allows(low)
    inside = low + share * (parameter.high - low if parameter.high is not None else 0.0)
    assert step is not None or parameter.allows(min(inside, low + width))
    assert not parameter.allows(low + width + 1)
    assert not parameter.allows("1")
    assert not parameter.allows(True)


@pytest.mark.parametrize(
    ("storage", "has"),
    [
        ("sqlite:///a.db", False),
        ("postgresql://me@db/x", False),
        ("postgresql://me:pw@db/x", True),
        ("postgresql://db/x?user=me&password=pw", True),
        ("journal.log", False),
        ("postgresql://[bad/x", True),
    ],
)
def test_a_password_in_an_address_is_seen(storage: str, has: bool) -> None:
    assert tune_config.has_password(storage) is has

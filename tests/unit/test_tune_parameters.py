"""The parameters' file: read, changed, and otherwise as its people left it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.errors import InputError
from metricgate.tune import parameters
from metricgate.tune.parameters import ParameterFile
from metricgate.tune_config import Parameter

SPACE = {"optimizer.lr": Parameter(low=0.0, high=1.0), "layers": Parameter(low=1, high=4)}
YAML = """\
# What we found by hand.
layers: 2   # more did not help
optimizer:
  name: "adam"
  lr: 0.01
seeds: [1, 2]
"""


def test_yaml_keeps_its_comments_quotes_and_order() -> None:
    changed = ParameterFile("params.yaml", YAML).with_values({"optimizer.lr": 0.5, "layers": 3})
    assert changed.text == YAML.replace("layers: 2", "layers: 3").replace("lr: 0.01", "lr: 0.5")


def test_json_keeps_its_indentation_and_what_is_not_searched() -> None:
    text = json.dumps({"layers": 2, "name": "ä", "optimizer": {"lr": 0.01}}, indent=4, ensure_ascii=False) + "\n"
    changed = ParameterFile("params.json", text).with_values({"optimizer.lr": 0.5})
    assert changed.text == text.replace("0.01", "0.5")


def test_values_are_plain_and_what_is_missing_is_left_out() -> None:
    assert ParameterFile("params.yaml", YAML).values(SPACE) == {"optimizer.lr": 0.01, "layers": 2}
    assert ParameterFile("params.json", '{"layers": 2}').values(SPACE) == {"layers": 2}
    assert ParameterFile("params.json").values(SPACE) == {}


def test_a_new_file_has_the_values_and_nothing_else() -> None:
    made = ParameterFile("params.json").with_values({"optimizer.lr": 0.5, "layers": 3})
    assert json.loads(made.text) == {"optimizer": {"lr": 0.5}, "layers": 3}


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("params.json", "{", "can't be read"),
        ("params.json", "[1]", "holds no names"),
        ("params.yaml", "a: [1", "can't be read"),
        ("params.json", '{"optimizer": "adam"}', "`optimizer` is a value"),
    ],
)
def test_a_file_that_is_something_else_is_told(name: str, text: str, told: str) -> None:
    with pytest.raises(InputError, match=told):
        ParameterFile(name, text).with_values({"optimizer.lr": 0.5})


@given(
    values=st.dictionaries(st.sampled_from(["layers", "optimizer.lr"]), st.integers() | st.floats(allow_nan=False), min_size=1)
)
def test_what_is_written_is_what_is_read(values: dict[str, float]) -> None:
    for name, text in (("params.yaml", YAML), ("params.json", "{}")):
        assert ParameterFile(name, text).with_values(values).values(dict.fromkeys(values, SPACE["layers"])) == values


def test_a_trial_gets_a_file_and_a_variable_for_each_value(tmp_path: Path) -> None:
    made = parameters.variables(
        ParameterFile("params.yaml", YAML), {"optimizer.lr": 0.5, "layers": 3, "kind": "a b", "bias": True}, folder=tmp_path
    )
    assert made == {
        "METRICGATE_PARAMS": str(tmp_path / "params.yaml"),
        "METRICGATE_PARAM_OPTIMIZER_LR": "0.5",
        "METRICGATE_PARAM_LAYERS": "3",
        "METRICGATE_PARAM_KIND": "a b",
        "METRICGATE_PARAM_BIAS": "true",
    }
    assert "# more did not help" in (tmp_path / "params.yaml").read_text()


def test_a_point_of_the_space_has_all_its_values() -> None:
    assert parameters.allowed({"optimizer.lr": 0.5, "layers": 3, "more": 1}, SPACE)
    assert not parameters.allowed({"optimizer.lr": 0.5}, SPACE)
    assert not parameters.allowed({"optimizer.lr": 0.5, "layers": 5}, SPACE)

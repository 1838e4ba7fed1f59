"""action.yml, the code behind it and the README say the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import ruamel.yaml

from metricgate import __version__
from metricgate.errors import UsageError
from metricgate.github import action, reference, settings
from metricgate.github.settings import Stage

PROJECT = Path(__file__).parents[2]
STAGES: tuple[Stage, ...] = get_args(Stage)


def file_of(stage: Stage) -> Path:
    return PROJECT / ("action.yml" if stage == "check" else f"actions/{stage}/action.yml")


def document(stage: Stage) -> dict[str, Any]:
    loaded: dict[str, Any] = ruamel.yaml.YAML(typ="safe", pure=True).load(file_of(stage).read_text())
    return loaded


def step(stage: Stage) -> dict[str, Any]:
    (only,) = document(stage)["runs"]["steps"]
    assert isinstance(only, dict)
    return only


@pytest.mark.parametrize("stage", STAGES)
def test_an_action_has_the_inputs_that_the_code_reads_and_forwards_each_by_its_variable(stage: Stage) -> None:
    assert tuple(document(stage)["inputs"]) == settings.INPUTS[stage]
    assert step(stage)["env"] == {settings.variable(name): f"${{{{ inputs.{name} }}}}" for name in settings.INPUTS[stage]}


@pytest.mark.parametrize("stage", STAGES)
def test_an_action_has_the_outputs_that_the_code_sets(stage: Stage) -> None:
    outputs = document(stage)["outputs"]
    assert tuple(outputs) == action.OUTPUTS[stage]
    for name, output in outputs.items():
        assert output["value"] == f"${{{{ steps.metricgate.outputs.{name} }}}}"


@pytest.mark.parametrize("stage", STAGES)
def test_an_action_runs_its_own_stage_and_interpolates_nothing_into_shell(stage: Stage) -> None:
    run = step(stage)["run"]
    assert re.fullmatch(rf'exec "\$GITHUB_ACTION_PATH/(\.\./|actions/)setup/run\.sh" {stage}', run)
    script = run.split('"')[1].replace("$GITHUB_ACTION_PATH", str(file_of(stage).parent))
    assert Path(script).resolve().is_file()


@pytest.mark.parametrize("stage", STAGES)
def test_the_defaults_of_an_action_are_those_of_the_code(stage: Stage) -> None:
    given = {name: str(value["default"]) for name, value in document(stage)["inputs"].items()}
    required = {"candidate": "runs", "report": "report.json"} | ({"run-dir": "runs"} if stage == "record" else {})
    required |= {"runs": "runs", "matrix": '{"include":[{"shard":"0","seeds":"0"}]}'} if stage == "merge" else {}
    required |= {"image": "ghcr.io/acme/model:1", "key": "release.pub"} if stage == "verify" else {}
    # The token is the runner's to fill in.
    required |= {name: "ghs_token" for name, value in given.items() if value == "${{ github.token }}"}
    environ = {settings.variable(name): required.get(name, value) for name, value in given.items()}
    without = {settings.variable(name): required[name] for name in given if name in required}
    assert settings.from_environment(stage, environ) == settings.from_environment(stage, without)


def test_every_action_is_in_the_reference() -> None:
    files = {str(file.relative_to(PROJECT)) for file in PROJECT.glob("actions/*/action.yml")}
    assert files <= set(reference.FILES)


def test_the_readme_has_the_tables_of_the_actions_as_they_are() -> None:
    readme = (PROJECT / "README.md").read_text()
    assert reference.updated(readme, reference.tables(PROJECT)) == readme, "write it with `make reference`"


def test_the_yaml_of_the_readme_uses_what_there_is() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", (PROJECT / "README.md").read_text(), flags=re.DOTALL)
    used = [place for block in blocks for place in uses(ruamel.yaml.YAML(typ="safe", pure=True).load(block))]
    wanted = {"action.yml", *(f".github/workflows/model-{name}.yml" for name in ("ci", "comment"))}
    assert wanted <= {file for file, _ in used} <= set(reference.FILES)
    for file, given in used:
        assert given <= {name for name, _, _ in reference.read(PROJECT, file).inputs}


def uses(node: object) -> list[tuple[str, set[str]]]:
    """Which of our files a piece of YAML uses, and the inputs that it gives."""
    if isinstance(node, list):
        return [place for child in node for place in uses(child)]
    if not isinstance(node, dict):
        return []
    found = [place for child in node.values() for place in uses(child)]
    name, _, version = str(node.get("uses", "")).partition("@")
    if name.startswith(reference.SLUG):
        assert version == f"v{__version__}"
        path = name.removeprefix(reference.SLUG).lstrip("/")
        found.append((path if path.endswith(".yml") else f"{path}/action.yml".lstrip("/"), set(node.get("with", {}))))
    return found


def test_a_readme_without_the_place_for_the_tables_is_an_error() -> None:
    with pytest.raises(UsageError, match="no place for the tables"):
        reference.updated("# metricgate", "tables")


def test_text_of_an_action_cannot_break_a_table(tmp_path: Path) -> None:
    (tmp_path / "action.yml").write_text(
        "name: x\ndescription: d\ninputs:\n  a: {description: 'one | two', default: 'p|q'}\nruns: {using: composite}\n"
    )
    found = reference.read(tmp_path, "action.yml")
    assert found.inputs == (("a", "p|q", "one | two"),)
    assert "one \\| two" in reference._render(found)

"""Functions of the user's: where they may come from."""

from pathlib import Path

import pytest

from metricgate import custom_metrics
from metricgate.config import Config
from metricgate.custom_metrics import Importing
from metricgate.errors import ConfigError

CODE = """
LIMIT = 3

def cost(label, prediction, weight):
    return float((weight * (label != prediction)).sum())
"""


def config(reference: str) -> Config:
    return Config.model_validate({"metrics": {"cost": {"direction": "lower", "aggregate": reference}}})


def refused(reference: str, importing: Importing) -> str:
    with pytest.raises(ConfigError) as caught:
        custom_metrics.resolve(config(reference), importing)
    assert f"metrics.cost.aggregate: {reference}" in str(caught.value)
    return str(caught.value)


@pytest.fixture
def module(tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """A module of its own in the folder of the configuration, named so that no test meets that of another one."""
    name = f"own_{abs(hash(request.node.name))}"
    (tmp_path / f"{name}.py").write_text(CODE, encoding="utf-8")
    return name


class TestOnALaptop:
    def test_the_folder_of_the_configuration_counts(self, tmp_path: Path, module: str) -> None:
        functions = custom_metrics.resolve(config(f"{module}:cost"), tmp_path)
        assert functions[f"{module}:cost"].__name__ == "cost"

    def test_so_do_installed_packages(self, tmp_path: Path) -> None:
        assert custom_metrics.resolve(config("scipy.stats:kendalltau"), tmp_path)

    def test_a_metric_that_is_built_in_needs_no_function(self, tmp_path: Path) -> None:
        assert custom_metrics.resolve(config("f1"), tmp_path) == {}

    def test_what_can_not_be_found_says_what_is_expected(self, tmp_path: Path, module: str) -> None:
        assert "there is no module nowhere" in refused("nowhere:cost", tmp_path)
        assert f"{module} has no coast" in refused(f"{module}:coast", tmp_path)
        message = refused(f"{module}:LIMIT", tmp_path)
        assert f"LIMIT of {module} is a int, not a function" in message
        assert "a function of (label, prediction, weight)" in message

    def test_a_module_that_raises_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "broken_on_import.py").write_text("raise RuntimeError('no GPU')", encoding="utf-8")
        assert "importing broken_on_import raised RuntimeError: no GPU" in refused("broken_on_import:cost", tmp_path)


class TestOnARunner:
    def test_only_what_is_installed_may_be_imported(self, tmp_path: Path) -> None:
        assert custom_metrics.on_this_machine(tmp_path, {"GITHUB_ACTIONS": "true"}) == "installed"
        assert custom_metrics.on_this_machine(tmp_path, {}) == tmp_path.resolve()

    def test_an_installed_package_is_found(self) -> None:
        assert custom_metrics.resolve(config("scipy.stats:kendalltau"), "installed")

    def test_a_checkout_is_not_even_where_the_path_leads_to_it(
        self, tmp_path: Path, module: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / f"{module}.py").write_text("raise SystemExit('the code of a pull request ran')", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.chdir(tmp_path)
        assert "not a package that is installed" in refused(f"{module}:cost", "installed")

    def test_a_module_of_a_checkout_does_not_stand_in_for_one_that_an_installed_package_imports(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "tabulate.py").write_text("raise SystemExit('the code of a pull request ran')", encoding="utf-8")
        monkeypatch.syspath_prepend(tmp_path)
        assert custom_metrics.resolve(config("tabulate:tabulate"), "installed")

    @pytest.mark.parametrize("reference", ["subprocess:call", "os:system", "runpy:run_path", "builtins:exec", "pickle:load"])
    def test_the_standard_library_is_refused(self, reference: str) -> None:
        assert "not a package that is installed" in refused(reference, "installed")

    def test_what_a_package_imported_from_elsewhere_is_refused(self) -> None:
        assert "namedtuple is not tabulate's own: it comes from collections" in refused("tabulate:namedtuple", "installed")


def test_a_change_that_is_judged_by_its_own_policy_chooses_no_function() -> None:
    assert "judged by its own policy" in refused("scipy.stats:kendalltau", "nothing")

"""The CIFAR-10 example is configured as its README says."""

from __future__ import annotations

from pathlib import Path

from metricgate import config_file

EXAMPLE = Path(__file__).parents[2] / "examples" / "cifar10"


def test_its_configuration_is_valid_and_slices_by_class() -> None:
    config = config_file.load(EXAMPLE / "metricgate.yaml")
    assert config.name == "cifar10"
    assert config.slices == ("label",)
    assert config.train is not None
    assert len(config.train.seeds) >= 3
    assert any(rule.slices == ("label",) for rule in config.rules)


def test_the_files_that_its_commands_name_exist() -> None:
    config = config_file.load(EXAMPLE / "metricgate.yaml")
    assert config.train is not None
    assert config.evaluate is not None
    commands = f"{config.train.run} {config.evaluate.run}".split()
    named = [word for word in commands if word.endswith(".py")] + list(config.evaluate.inputs)
    assert named
    assert [name for name in named if not (EXAMPLE / name).is_file()] == []

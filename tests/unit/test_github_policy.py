"""By which policy a change is judged."""

from __future__ import annotations

import subprocess
from pathlib import Path, PurePosixPath

import pytest

from metricgate.config_fields import Limit
from metricgate.errors import ConfigError
from metricgate.github import policy
from metricgate.github.checkout import Checkout

PATH = PurePosixPath("metricgate.yaml")
POLICY = """
name: digits
metrics: {{accuracy: {{direction: higher}}}}
gate:
  rules:
    - {{metric: accuracy, max_regression: {limit}}}
    - {{metric: accuracy, min: 0.9}}
"""


def git(root: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
    finished = subprocess.run(["git", "-C", str(root), *identity, *arguments], check=True, capture_output=True, text=True)
    return finished.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    git(tmp_path, "init", "--quiet", "--initial-branch", "main")
    return Checkout(tmp_path)


def commit(checkout: Checkout, text: str | None) -> str:
    file = checkout.root / PATH
    if text is not None:
        file.write_text(text)
    git(checkout.root, "add", "--all")
    git(checkout.root, "commit", "--quiet", "--allow-empty", "--message", "policy")
    return checkout.head()


def limits(found: policy.Policy) -> list[Limit]:
    return [rule.limit for rule in found.config.rules]


def test_a_change_is_judged_by_the_policy_of_its_base_and_the_difference_is_told(checkout: Checkout) -> None:
    base = commit(checkout, POLICY.format(limit=0.01))
    commit(checkout, POLICY.format(limit=0.5))
    found = policy.in_force(checkout, PATH, base=base)
    assert limits(found) == [Limit(0.01), Limit(0.9)]
    assert found.changes == ("gate.rules[0].max_regression: 0.01 → 0.5",)
    assert found.warnings == ()


def test_where_the_base_has_none_the_change_is_judged_by_its_own_and_the_report_says_so(checkout: Checkout) -> None:
    base = commit(checkout, None)
    commit(checkout, POLICY.format(limit=0.5))
    found = policy.in_force(checkout, PATH, base=base)
    assert limits(found) == [Limit(0.5), Limit(0.9)]
    assert "judged by its own policy" in found.warnings[0]


def test_a_broken_policy_of_the_base_can_be_repaired(checkout: Checkout) -> None:
    base = commit(checkout, "metrics: {accuracy: {direction: sideways}}\n")
    commit(checkout, POLICY.format(limit=0.01))
    found = policy.in_force(checkout, PATH, base=base)
    assert limits(found) == [Limit(0.01), Limit(0.9)]
    assert "judged by its own policy" in found.warnings[0]


def test_a_policy_that_the_change_itself_brings_may_not_choose_what_is_imported(checkout: Checkout) -> None:
    base = commit(checkout, None)
    first = commit(checkout, POLICY.format(limit=0.5))
    assert policy.in_force(checkout, PATH, base=base).importing == "nothing"
    commit(checkout, POLICY.format(limit=0.6))
    assert policy.in_force(checkout, PATH, base=first).importing == "installed"


@pytest.mark.parametrize("text", ["metrics: 7\n", ""])
def test_a_change_with_a_broken_configuration_is_not_judged_by_that_of_its_base(checkout: Checkout, text: str) -> None:
    base = commit(checkout, POLICY.format(limit=0.01))
    commit(checkout, text)
    with pytest.raises(ConfigError):
        policy.in_force(checkout, PATH, base=base)


def test_a_change_that_deletes_its_configuration_is_an_error(checkout: Checkout) -> None:
    base = commit(checkout, POLICY.format(limit=0.01))
    (checkout.root / PATH).unlink()
    with pytest.raises(ConfigError, match="no such file"):
        policy.in_force(checkout, PATH, base=base)


def test_a_link_out_of_the_repository_is_not_followed(checkout: Checkout, tmp_path_factory: pytest.TempPathFactory) -> None:
    secret = tmp_path_factory.mktemp("elsewhere") / "secret"
    secret.write_text("password: hunter2\n")
    (checkout.root / PATH).symlink_to(secret)
    commit(checkout, None)
    with pytest.raises(ConfigError, match="leaves the repository") as caught:
        policy.in_force(checkout, PATH, base=None)
    assert "hunter2" not in str(caught.value)


def test_where_there_is_nothing_to_compare_with_only_absolute_bounds_are_left(checkout: Checkout) -> None:
    commit(checkout, POLICY.format(limit=0.01))
    found = policy.without_baseline(policy.in_force(checkout, PATH, base=None))
    assert [rule.kind for rule in found.config.rules] == ["min"]
    assert found.warnings == ("There is nothing to compare with here: only absolute bounds are judged, 1 of 2 rules.",)

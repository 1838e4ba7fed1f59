"""Which release came before, and whether one is the newest: versions say so, not dates."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from metricgate.release import rules, succession
from metricgate.release.names import Context
from metricgate.release.succession import Place

TAGS = (
    "v1.0.0",
    "v1.1.0",
    "v1.2.0-rc.1",
    "v2.0.0",
    "v2.1.0-beta.3",
    "v2.1.0-nightly",
    "latest",
    "v10",
    "other@v9.9.9",
    "p/v8.0.0",
)


def place(tag: str, *others: str, rule: str = rules.DEFAULT[0]) -> Place:
    context = Context(ref=f"refs/tags/{tag}", sha="a" * 40, time=datetime(2026, 1, 1, tzinfo=timezone.utc))
    return succession.place(context, (*TAGS, *others, tag), rules=rules.parse([rule]))


@pytest.mark.parametrize(
    ("tag", "prerelease", "newest", "previous"),
    [
        ("v2.0.1", False, True, "v2.0.0"),
        ("v3.0.0", False, True, "v2.0.0"),
        ("v2.0.0", False, True, "v1.1.0"),
        ("v1.1.1", False, False, "v1.1.0"),
        ("v0.1.0", False, False, None),
        ("v2.1.0-rc.1", True, False, "v2.0.0"),
        ("v2.1.0-nightly", True, False, "v2.0.0"),
        ("v1.1.0-beta.1", True, False, "v1.0.0"),
        ("stable", False, False, None),
    ],
)
def test_a_release_has_its_place_by_its_version(tag: str, prerelease: bool, newest: bool, previous: str | None) -> None:
    assert place(tag) == Place(prerelease=prerelease, newest=newest, previous=previous)


def test_several_models_of_one_repository_have_lines_of_their_own() -> None:
    assert place("digits@v1.0.1", "digits@v1.0.0") == Place(prerelease=False, newest=True, previous="digits@v1.0.0")


def test_the_rule_says_what_in_a_tag_is_the_version() -> None:
    rule = r"type=semver,pattern={{major}},match=p/v(\d+\.\d+\.\d+)$"
    assert place("p/v8.1.0", rule=rule) == Place(prerelease=False, newest=True, previous="p/v8.0.0")
    assert place("p/v1.5.0", rule=rule) == Place(prerelease=False, newest=False, previous=None)
    assert place("1.2rc1", "1.1", rule="type=pep440,pattern={{version}}") == Place(
        prerelease=True, newest=False, previous="1.1"
    )


def test_rules_that_know_no_version_know_no_order() -> None:
    assert place("v2.0.1", rule="type=ref,event=tag") == Place(prerelease=False, newest=False, previous=None)

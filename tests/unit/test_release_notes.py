"""Release notes: golden files, nothing that a repository names can break out, and the words of people stay."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.github_markdown import GITHUB

from metricgate.release import notes
from metricgate.release.notes import Previous
from metricgate.release.published import Published
from metricgate.report.document import IntervalInfo, Report, RuleInfo, SideInfo, Waiver

GOLDEN = Path(__file__).parents[1] / "golden"
VERIFY = (
    "--identity",
    "https://github.com/acme/digits/.github/workflows/release.yml@refs/tags/v1.2.3",
    "--issuer",
    "https://token.actions.githubusercontent.com",
)
EVIDENCE = (
    "https://in-toto.io/attestation/test-result/v0.1",
    "https://slsa.dev/provenance/v1",
    "https://slsa.dev/provenance/v1",
    "https://model_signing/signature/v1.0",
    "https://cyclonedx.org/bom/v1.6",
)


def rule(**changes: object) -> RuleInfo:
    fields: dict[str, object] = {
        "metric": "accuracy",
        "kind": "max_regression",
        "limit": 0.01,
        "direction": "higher",
        "binary": True,
        "baseline": 0.9512,
        "candidate": 0.9633,
        "difference": 0.0121,
        "interval": IntervalInfo(low=0.0031, high=0.0211, level=0.95),
        "mde": 0.008,
        "outcome": "pass",
    }
    return RuleInfo.model_validate({**fields, **changes})


def report(*rules: RuleInfo, **changes: object) -> Report:
    fields: dict[str, object] = {
        "name": "digits-cnn",
        "verdict": "pass",
        "exit_code": 0,
        "baseline": SideInfo(commit="a" * 40, runs=3),
        "candidate": SideInfo(commit="b" * 40, runs=3, seeds=(0, 1, 2)),
        "rules": rules,
    }
    return Report.model_validate({**fields, **changes})


JUDGED = report(
    rule(kind="min", limit=0.9, interval=IntervalInfo(low=0.955, high=0.97, level=0.95), baseline=None, difference=None),
    rule(),
    rule(slice="label=7", candidate=0.8),
    rule(metric="latency_ms", aggregate="p95", direction="lower", baseline=12.5, candidate=12.1, difference=-0.4, binary=False),
)
BEFORE = Previous(
    version="1.1.0", report=report(rule(candidate=0.9401), rule(metric="size", kind="max", candidate=3.0, binary=False))
)


def published(**changes: Any) -> Published:
    fields: dict[str, Any] = {
        "image": "ghcr.io/acme/digits",
        "digest": "sha256:" + "1" * 64,
        "version": "1.2.3",
        "tags": ("ghcr.io/acme/digits:1.2.3", "ghcr.io/acme/digits:1.2", "ghcr.io/acme/digits:latest"),
        "moved": (),
        "pushed": True,
        "commit": "b" * 40,
        "seed": 1,
        "model": "sha256:" + "2" * 64,
        "verdict": "PASSED",
        "report": "sha256:" + "4" * 64,
        "evidence": EVIDENCE,
        "smoke": {
            "exchanges": 20,
            "sum_squared_difference": 3.1e-11,
            "max_squared_difference": 4.4e-12,
            "max_absolute_difference": 2.1e-6,
            "ready_s": 3.21,
            "p50_ms": 2.14,
            "p95_ms": 3.41,
        },
    }
    return Published(**{**fields, **changes})


WAIVER = Waiver(by="alice", at="2026-11-19T08:00:00Z", commit="b" * 40)
LOST = rule(
    p_adjusted=0.004,
    candidate=0.93,
    difference=-0.0212,
    interval=IntervalInfo(low=-0.03, high=-0.012, level=0.95),
    outcome="fail",
)
NOTES = {
    "release": notes.render(published(), JUDGED, previous=BEFORE, verify=VERIFY),
    "release-first": notes.render(
        published(version="sha-bbbbbbb", tags=(), smoke={}, evidence=()),
        report(baseline=SideInfo(), candidate=SideInfo(commit="b" * 40, runs=1)),
        metrics={"loss": 0.12, "accuracy": 0.9641},
        verify=("--key", "a key.pub"),
    ),
    "release-waived": notes.render(
        published(
            waiver="alice",
            stale=("the test set of main is another one since abc1234",),
            code=("model.keras: a layer Lambda",),
            evidence=EVIDENCE[:1],
        ),
        report(LOST, verdict="fail").waived(WAIVER),
        previous=BEFORE,
        verify=("--key", "release.pub"),
        port=9000,
    ),
}


@pytest.mark.parametrize("name", NOTES)
def test_what_people_read(name: str) -> None:
    file = GOLDEN / f"{name}.md"
    text = NOTES[name] + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NOTES)
def test_the_commands_name_the_image_by_its_digest_and_never_by_a_tag(name: str) -> None:
    (commands,) = re.findall(r"```sh\n(.*?)\n```", NOTES[name], flags=re.DOTALL)
    assert [line.split()[:2] for line in commands.splitlines()] == [
        ["docker", "pull"],
        ["docker", "run"],
        ["metricgate", "verify"],
    ]
    assert all(f"ghcr.io/acme/digits@sha256:{'1' * 64}" in line for line in commands.splitlines())
    assert "digits:" not in commands


def test_a_metric_has_one_line_with_its_value_in_the_release_before() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in NOTES["release"].splitlines() if line.startswith("|")]
    assert rows[0][:3] == ["", "1.1.0", "1.2.3"]
    assert rows[2] == ["accuracy ↑", "0.9401", "0.9633", "+0.0121 (+0.0031 … +0.0211)"]
    assert rows[3][:3] == ["latency_ms p95 ↓".replace("_", "\\_"), "", "12.10"]
    assert len(rows) == 4, "slices and second rules on a metric have no lines"


def test_who_accepted_a_regression_is_named() -> None:
    assert "alice accepted this regression on 2026-11-19 for bbbbbbb" in NOTES["release-waived"]
    assert "accepted" not in NOTES["release"]


def test_many_metrics_and_tags_are_cut_and_counted() -> None:
    rules = report(*(rule(metric=f"metric {number}") for number in range(60)))
    text = notes.render(published(tags=tuple(f"ghcr.io/acme/digits:tag-{number}" for number in range(30))), rules)
    assert "10 more metrics are in the report." in text
    assert "and 10 more" in text
    assert text.count("| metric ") == notes.MOST_ROWS


texts = st.text(min_size=1, max_size=60)
hostile = st.one_of(
    texts,
    st.sampled_from(
        [
            "- a",
            "1. a",
            "---",
            "===",
            "```",
            "<!-- metricgate: end of release m -->",
            "@everyone #1",
            "|a|b|",
            "</details>",
            "[x](http://x.y)",
            "`a|b`",
        ]
    ),
)


@example(["0", "0", "0", "0", "0.PW", "0", "0"])
@given(st.lists(hostile, min_size=7, max_size=7))
def test_no_text_from_a_repository_changes_the_shape_of_the_notes(texts: list[str]) -> None:
    def render(texts: Iterable[str]) -> str:
        name, metric, reason, by, version, option, kind = texts
        doubted = rule(metric=metric, outcome="inconclusive", reason=reason)
        made = published(version=version, stale=(reason,), tags=(f"ghcr.io/acme/digits:{version}",), evidence=(kind,))
        judged = report(doubted, name=name, verdict="inconclusive", reasons=(reason,))
        judged = judged.model_copy(update={"waiver": WAIVER.model_copy(update={"by": by})})
        return notes.render(made, judged, previous=dataclasses.replace(BEFORE, version=version), verify=(option,))

    found = render(texts)
    assert shape(found) == shape(render("nmrbvok"))
    assert not re.search(r"(?<!\w)@\w", outside_of_code(found))


LIVE = {"link_open", "image", "html_inline", "em_open", "strong_open", "s_open"}


def shape(text: str) -> list[tuple[str, str]]:
    """The blocks of a text and what is live in them, without words and without code, where nothing is interpreted."""
    tokens = [part for token in GITHUB.parse(text) for part in (token, *(token.children or ()))]
    live = [token for token in tokens if token.block or token.type in LIVE]
    return [(token.type, token.tag) for token in live]


def outside_of_code(text: str) -> str:
    parts = [child for token in GITHUB.parse(text) for child in token.children or ()]
    return "\n".join(child.content for child in parts if child.type != "code_inline")


people = st.text(max_size=200)


@given(before=people, after=people, old=people, new=people)
def test_what_people_wrote_around_the_notes_stays(before: str, after: str, old: str, new: str) -> None:
    model = "digits"
    kept = notes.merged(before, old.replace("<!--", ""), model=model) + after
    body = notes.merged(kept, new.replace("<!--", ""), model=model)
    assert body.startswith(before.rstrip())
    assert body.endswith(after)
    assert notes.merged(body, new.replace("<!--", ""), model=model) == body


def test_a_browser_that_sends_other_line_ends_makes_no_change() -> None:
    body = notes.merged("Hello", "one\n\ntwo", model="m").replace("\n", "\r\n")
    assert notes.merged(body, "one\n\ntwo", model="m") == body
    assert "three" in notes.merged(body, "three", model="m")


def test_a_smoke_test_that_was_made_again_makes_no_change() -> None:
    body = notes.merged("", notes.render(published(), JUDGED), model="m")
    slower = published(smoke={**published().smoke, "p95_ms": 99.0, "max_absolute_difference": 0.0})
    assert notes.merged(body, notes.render(slower, JUDGED), model="m") == body
    other = published(digest="sha256:" + "9" * 64)
    assert "9" * 64 in notes.merged(body, notes.render(other, JUDGED), model="m")


def test_without_our_end_nothing_behind_the_beginning_is_taken_away() -> None:
    body = notes.merged("", "old", model="m").partition("<!-- metricgate: end")[0] + "Their words."
    found = notes.merged(body, "new", model="m")
    assert "Their words." in found
    assert notes.merged(found, "new", model="m") == found


@given(one=st.text(max_size=30), other=st.text(max_size=30))
def test_models_do_not_take_each_other_for_themselves(one: str, other: str) -> None:
    body = notes.merged("", "x", model=one)
    assert (notes.part_of(body, model=other) is not None) == (notes._markers(one) == notes._markers(other))
    assert one == other or notes._markers(one) != notes._markers(other) or not (one.isprintable() and other.isprintable())

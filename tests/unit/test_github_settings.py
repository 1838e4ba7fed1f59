"""What an action is told becomes one object, or one error that lists all mistakes."""

from __future__ import annotations

import json
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.errors import UsageError
from metricgate.github import settings

JOB = {
    "GITHUB_WORKSPACE": "/runner/a checkout",
    "GITHUB_REPOSITORY": "acme/model",
    "GITHUB_EVENT_NAME": "pull_request",
    "RUNNER_TEMP": "/runner/temp",
}


def inputs(**given: str) -> dict[str, str]:
    return {**JOB, **{settings.variable(name.replace("_", "-")): value for name, value in given.items()}}


def test_without_inputs_everything_has_its_default() -> None:
    found = settings.from_environment("check", JOB)
    assert found.config == PurePosixPath("metricgate.yaml")
    assert (found.baseline, found.seeds, found.comment, found.token) == (None, None, "on_change", "")
    assert found.workspace == Path("/runner/a checkout")


def test_what_github_leaves_empty_counts_as_not_given() -> None:
    empty = inputs(config="", baseline="", seeds="  ", comment="", token="")
    assert settings.from_environment("check", empty) == settings.from_environment("check", JOB)


def test_paths_start_at_the_checkout_and_absolute_ones_stay() -> None:
    found = settings.from_environment("compare", inputs(baseline="old runs", candidate="/runner/temp/new runs"))
    assert found.baseline == Path("/runner/a checkout/old runs")
    assert found.candidate == Path("/runner/temp/new runs")


@given(st.sets(st.integers(0, 10**6), min_size=1), st.sampled_from([",", ", ", " ", "\n"]))
def test_seeds_are_whole_numbers_however_they_are_separated(seeds: set[int], separator: str) -> None:
    text = separator.join(str(seed) for seed in sorted(seeds))
    assert settings.from_environment("train", inputs(seeds=text)).seeds == tuple(sorted(seeds))
    assert settings.from_environment("train", inputs(seeds=f"[{text}]")).seeds == tuple(sorted(seeds))


@pytest.mark.parametrize("text", ["one", "1,1", "-1", "1.5", ",", "1;2", "٣"])
def test_other_seeds_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="should be different whole numbers such as 0,1,2"):
        settings.from_environment("train", inputs(seeds=text))


@pytest.mark.parametrize("path", ["/etc/passwd", "../other/metricgate.yaml", "models/../../metricgate.yaml"])
def test_the_configuration_lies_inside_the_repository(path: str) -> None:
    with pytest.raises(UsageError, match="should be a path inside the repository"):
        settings.from_environment("check", inputs(config=path))


def test_all_mistakes_are_reported_at_once() -> None:
    with pytest.raises(UsageError) as caught:
        settings.from_environment("check", inputs(config="/absolute", seeds="x", comment="sometimes"))
    for name in ("config", "seeds", "comment"):
        assert f"`{name}`" in str(caught.value)
    assert "always, on_change, on_problem, never" in str(caught.value)


def test_the_token_is_never_part_of_the_text() -> None:
    found = settings.from_environment("check", inputs(token="ghs_secret"))
    assert found.token == "ghs_secret"
    assert "ghs_secret" not in f"{found} {found!r}"


def test_an_input_of_another_action_is_not_read() -> None:
    assert settings.from_environment("train", inputs(baseline="runs")).baseline is None


def test_what_a_local_runner_sets_beside_is_not_read() -> None:
    environ = {**JOB, "INPUT_CONFIG": "other.yaml", "INPUT_SEEDS": "7"}
    assert settings.from_environment("train", environ) == settings.from_environment("train", JOB)


def test_the_results_of_the_needed_jobs_are_read_from_what_github_writes() -> None:
    text = '{"train": {"result": "success", "outputs": {"a": "b"}}, "baseline": {"result": "skipped", "outputs": {}}}'
    found = settings.from_environment("compare", inputs(needs=text, candidate="runs"))
    assert found.needs == {"train": "success", "baseline": "skipped"}


@pytest.mark.parametrize("text", ["train", "[]", '{"train": "success"}', '{"train": {}}', "[" * 100_000])
def test_other_needs_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="needs"):
        settings.from_environment("compare", inputs(needs=text, candidate="runs"))


def test_what_a_job_says_about_itself_is_one_short_line() -> None:
    said = "seed 2 is\nmissing\u202e" + "!" * 1000
    job = {"result": "failure", "outputs": {"problem": said, "other": "x"}}
    text = json.dumps({"merge": job, "train": {"result": "failure", "outputs": {"problem": ""}}, "find": {"result": "success"}})
    found = settings.from_environment("compare", inputs(needs=text, candidate="runs")).problems
    assert list(found) == ["merge"]
    assert found["merge"].startswith("seed 2 is missing!")
    assert len(found["merge"]) == 300


def test_a_wrong_input_is_told_once() -> None:
    with pytest.raises(UsageError) as caught:
        settings.from_environment("compare", inputs(needs="[]", candidate="runs"))
    assert str(caught.value).count("`needs`") == 1


@pytest.mark.parametrize(("text", "count"), [("", None), ("0", None), ("1", 1), ("16", 16)])
def test_no_number_of_shards_is_one_for_each_seed(text: str, count: int | None) -> None:
    assert settings.from_environment("plan", inputs(shards=text)).shards == count


@pytest.mark.parametrize("text", ["two", "-1", "1.5", "1,2"])
def test_other_numbers_of_shards_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"`shards` .* should be a whole number"):
        settings.from_environment("plan", inputs(shards=text))


def test_what_is_merged_has_a_place_and_a_plan() -> None:
    with pytest.raises(UsageError) as caught:
        settings.from_environment("merge", JOB)
    assert "`runs` is empty" in str(caught.value)
    assert "`matrix` is empty: should be the output `matrix` of actions/plan" in str(caught.value)
    with pytest.raises(UsageError, match=r"`matrix` is .* should be the output"):
        settings.from_environment("merge", inputs(runs="shards", matrix="{}"))


def test_what_cannot_be_left_out_is_asked_for() -> None:
    with pytest.raises(UsageError, match="`candidate` is empty"):
        settings.from_environment("compare", JOB)
    with pytest.raises(UsageError, match="`report` is empty"):
        settings.from_environment("gate", JOB)


SECRET = "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----"


def test_what_has_several_lines_is_read_line_by_line() -> None:
    text = "type=semver,pattern={{version}}\n\n  type=sha  \n"
    found = settings.from_environment("publish", inputs(rules=text, image="ghcr.io/a/b\nlocalhost:5000/b", labels="a=b\n"))
    assert found.rules == ("type=semver,pattern={{version}}", "type=sha")
    assert found.images == ("ghcr.io/a/b", "localhost:5000/b")
    assert (found.labels, found.push, found.allow_stale) == (("a=b",), True, False)


def test_secrets_of_a_release_are_never_part_of_a_text() -> None:
    found = settings.from_environment("publish", inputs(key=SECRET, registry_username="me", registry_password="hunter2"))
    assert (found.key, found.registry_password) == (SECRET, "hunter2")
    assert "c2VjcmV0" not in f"{found} {found!r}"
    assert "hunter2" not in f"{found} {found!r}"


def test_a_key_that_is_none_is_refused_and_not_quoted() -> None:
    with pytest.raises(UsageError, match="`key` is no PEM") as caught:
        settings.from_environment("publish", inputs(key="hunter2", push="maybe"))
    assert "hunter2" not in str(caught.value)
    assert "`push`" in str(caught.value)


@pytest.mark.parametrize(
    ("with_", "expected"),
    [
        ({}, "`image` has 0 names"),
        ({"image": "a/b:1\na/c:1"}, "`image` has 2 names"),
        ({"image": "a/b:1"}, "either `key` or `identity`"),
        ({"image": "a/b:1", "key": "release.pub", "identity": "https://github.com/x"}, "either `key` or `identity`"),
        ({"image": "a/b:1", "key": "release.pub", "registry_username": "me"}, "go together"),
    ],
)
def test_a_verification_needs_an_image_and_whoever_has_to_have_signed(with_: dict[str, str], expected: str) -> None:
    with pytest.raises(UsageError, match=expected):
        settings.from_environment("verify", inputs(**with_))

"""Where things lie in a store: one listing answers what is recorded, and no name leads out of its folder."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metricgate.baseline import layout
from metricgate.errors import UsageError

A, B = "a" * 40, "b" * 64
WHEN = datetime(2026, 3, 1, 12, 30, 5, tzinfo=timezone.utc)
# As metricgate.yaml allows them.
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._ /-]{0,99}", fullmatch=True)


def of_commit(name: str, commit: str, *runs: str, count: int | None = None) -> list[str]:
    folder = layout.commit_folder(name, commit)
    paths = [f"{folder}/{run}/{file}" for run in runs for file in ("run.json", "scores.parquet")]
    return [*paths, layout.marker(name, commit, time=WHEN, runs=len(runs) if count is None else count)]


@pytest.mark.parametrize("name", ["digits-cnn", "resnet50", "v1.2_x"])
def test_a_plain_name_is_its_own_folder(name: str) -> None:
    assert layout.slug(name) == name


@given(NAMES)
def test_every_name_is_one_harmless_folder(name: str) -> None:
    slug = layout.slug(name)
    assert PurePosixPath(slug).parts == (slug,)
    assert not slug.startswith((".", "-", "~")) or slug.startswith("~")
    assert slug == slug.lower()
    assert ".." not in slug


@given(NAMES, NAMES)
def test_different_names_have_different_folders(one: str, other: str) -> None:
    assert (layout.slug(one) == layout.slug(other)) == (one == other)


@pytest.mark.parametrize("name", ["a/../b", "a/b", "A", "a.", "con..fig", "a b"])
def test_a_name_that_a_file_system_would_read_otherwise_is_told_by_a_digest(name: str) -> None:
    assert "~" in layout.slug(name)


@pytest.mark.parametrize("commit", ["", "HEAD", "a1b2c3d", "../../x", "A" * 40, "a" * 41, "a" * 40 + "\n"])
def test_only_a_full_hash_is_a_commit(commit: str) -> None:
    with pytest.raises(UsageError, match="no full commit hash"):
        layout.commit_folder("m", commit)


def test_what_is_recorded_comes_out_of_the_paths() -> None:
    paths = [*of_commit("m", A, "seed-0", "seed-10"), *of_commit("m", B, "run-0123456789ab")]
    found = layout.recorded(paths, "m")
    assert set(found) == {A, B}
    assert found[A].time == WHEN
    assert set(found[A].runs) == {"seed-0", "seed-10"}
    assert found[A].complete
    assert sorted(found[A].paths) == sorted(path for path in paths if A in path)
    assert found[A].paths[0].endswith("recorded-20260301T123005Z-2.json")


def test_another_model_is_another_matter() -> None:
    paths = of_commit("m", A, "seed-0")
    assert layout.recorded(paths, "M") == {}
    assert layout.recorded(paths, "m2") == {}


def test_a_commit_without_its_marker_is_not_recorded() -> None:
    assert layout.recorded(of_commit("m", A, "seed-0")[:-1], "m") == {}
    assert layout.runs_of(of_commit("m", A, "seed-0")[:-1], "m", A)


@pytest.mark.parametrize("count", [1, 3])
def test_a_commit_that_lacks_or_has_too_many_runs_is_not_complete(count: int) -> None:
    assert not layout.recorded(of_commit("m", A, "seed-0", "seed-1", count=count), "m")[A].complete


@pytest.mark.parametrize(
    "path",
    [
        "README.md",
        f"runs/m/{A}/seed-0/model.pickle",
        f"runs/m/{A}/seed-0/deeper/run.json",
        f"runs/m/{A}/../seed-0/run.json",
        f"runs/m/{A}/seed-/run.json",
        f"runs/m/{A}/seed-x/run.json",
        f"runs/m/{A}/.hidden/run.json",
        f"runs/m/{A[:-1]}/seed-0/run.json",
        f"runs/m/{A}/recorded-20261301T000000Z-1.json",
        f"runs/m/{A}/recorded-.json",
    ],
)
def test_whatever_else_lies_there_is_not_looked_at(path: str) -> None:
    (found,) = layout.recorded([*of_commit("m", A, "seed-1"), path], "m").values()
    assert found.complete
    assert set(found.runs) == {"seed-1"}


def test_the_ledger_says_in_its_paths_which_commits_it_refers_to() -> None:
    paths = [layout.entry("m", A, baseline=B, content=b"1"), layout.entry("m", A, baseline=None, content=b"2")]
    assert layout.entries(paths, "m") == tuple(sorted(paths))
    assert layout.referred(paths, "m") == {A, B}
    assert layout.referred(paths, "other") == frozenset()
    assert layout.entry("m", A, baseline=B, content=b"1") == paths[0]


def test_verdicts_are_counted_by_test_set_from_the_paths_alone() -> None:
    one, other = (f"sha256:{digit * 64}" for digit in "12")
    paths = [layout.verdict("m", A, test_set=one, content=bytes([number])) for number in range(3)]
    paths += [layout.verdict("m", B, test_set=other, content=b"1"), layout.verdict("n", B, test_set=one, content=b"1")]
    assert layout.verdicts([*paths, "verdicts/m/readme.md"], "m") == {one: 3, other: 1}
    assert layout.referred(paths, "m") == frozenset(), "a verdict keeps no commit from being pruned"
    assert layout.entries(paths, "m") == ()


@pytest.mark.parametrize("test_set", ["", "sha256:1", f"sha256:{'A' * 64}", f"../{'1' * 64}"])
def test_a_test_set_that_is_no_fingerprint_never_becomes_a_path(test_set: str) -> None:
    with pytest.raises(UsageError, match="no fingerprint"):
        layout.verdict("m", A, test_set=test_set, content=b"1")


def test_what_was_said_about_a_commit_stands_in_the_order_of_time() -> None:
    moments = [WHEN, WHEN.replace(microsecond=7), WHEN.replace(second=6)]
    paths = [layout.report("m", A, time=moment, content=b"1") for moment in moments]
    others = [layout.report("n", A, time=WHEN, content=b"1"), f"reports/m/{A}/20261301T000000.000000Z-{'1' * 16}.json"]
    assert layout.reports([*reversed(paths), *others, f"reports/m/{A}/readme.md"], "m") == {A: tuple(paths)}
    assert [layout.said_at(path) for path in paths] == moments
    assert layout.recorded(paths, "m") == {}
    assert layout.referred(paths, "m") == frozenset(), "a report keeps no commit from being pruned"

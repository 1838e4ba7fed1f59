"""The demo: its scratch repository, the sentences that it tells, and once the whole of it, trained for real."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from metricgate.demo import scratch, story
from metricgate.demo.demo import MARKER, Place
from metricgate.demo.scratch import MAIN, Scratch
from metricgate.errors import ExitCode, UsageError
from metricgate.report import document, numbers

HARMLESS, HARMFUL = story.PULL_REQUESTS


def made(path: Path, *, environ: Mapping[str, str] = os.environ) -> list[str]:
    """The commits of a scratch repository."""
    repository = Scratch.make(path, environ=environ)
    commits = [repository.commit("first"), *(repository.branch(change.branch, change.title) for change in story.PULL_REQUESTS)]
    return [commit.id for commit in commits]


class TestTheScratchRepository:
    def test_has_the_project_on_main_and_each_pull_request_as_one_commit_on_it(self, tmp_path: Path) -> None:
        repository = Scratch.make(tmp_path / "repository", environ=os.environ)
        repository.commit("Read digits")
        for change in story.PULL_REQUESTS:
            repository.branch(change.branch, change.title)

        assert repository.git("rev-parse", "--abbrev-ref", "HEAD") == MAIN
        assert repository.git("status", "--porcelain") == ""
        for change in story.PULL_REQUESTS:
            assert repository.git("log", "--format=%s", f"{MAIN}..{change.branch}") == change.title
            assert "train.py" in repository.git("diff", "--name-only", MAIN, change.branch).splitlines()

    def test_no_pull_request_touches_the_evaluation_or_the_policy(self, tmp_path: Path) -> None:
        repository = Scratch.make(tmp_path / "repository", environ=os.environ)
        repository.commit("Read digits")
        for change in story.PULL_REQUESTS:
            repository.branch(change.branch, change.title)
            changed = repository.git("diff", "--name-only", MAIN, change.branch).splitlines()
            assert not {"evaluate.py", "digits.py", "metricgate.yaml"} & set(changed)

    def test_has_the_same_commits_whatever_the_settings_of_git(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        home.mkdir()
        (home / ".gitconfig").write_text("[user]\n name = Somebody\n[commit]\n gpgsign = true\n[core]\n autocrlf = true\n")
        elsewhere = {**os.environ, "HOME": str(home), "GIT_DIR": str(tmp_path / "nowhere"), "GIT_AUTHOR_NAME": "Somebody"}

        assert made(tmp_path / "one", environ=elsewhere) == made(tmp_path / "two")

    def test_without_git_the_error_says_so(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="no git"):
            Scratch.make(tmp_path / "repository", environ={"PATH": str(tmp_path)})


class TestTheOutputFolder:
    def test_is_made_and_may_be_used_again(self, tmp_path: Path) -> None:
        place = Place.make(tmp_path / "demo")
        stale = place.path / "runs" / "main"
        stale.mkdir(parents=True)

        Place.make(tmp_path / "demo")

        assert not stale.exists()

    def test_keeps_what_somebody_put_beside_the_demo(self, tmp_path: Path) -> None:
        Place.make(tmp_path)
        (tmp_path / "notes.txt").write_text("mine")

        Place.make(tmp_path)

        assert (tmp_path / "notes.txt").read_text() == "mine"

    def test_is_never_one_that_holds_something_else(self, tmp_path: Path) -> None:
        (tmp_path / "runs").mkdir()

        with pytest.raises(UsageError, match="overwrites nothing"):
            Place.make(tmp_path)

        assert (tmp_path / "runs").is_dir()
        assert not (tmp_path / MARKER).exists()

    def test_is_never_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")

        with pytest.raises(UsageError, match="overwrites nothing"):
            Place.make(tmp_path / "file")


def test_fixed_thresholds_are_counted_over_all_pairs() -> None:
    said = story.fixed_thresholds([0.98, 0.97], [0.98, 0.975], [0.965, 0.955], floor=0.96)

    # Harmless: only 0.98 → 0.975 falls. Harmful: the four drops are 1.5, 2.5, 0.5 and 1.5 points.
    assert "“any drop” would have blocked the harmless change once" in said
    assert "“more than 1 point” 3 times, “more than 2 points” once, “more than 3 points” never" in said
    assert "by a floor of 0.96 for 1 of its 2 trainings" in said


def test_a_drop_of_exactly_a_threshold_is_not_more_than_it() -> None:
    assert "“more than 1 point” never" in story.fixed_thresholds([0.98], [0.98], [0.97], floor=None)


def test_the_next_steps_say_where_the_command_is_when_it_is_not_on_the_path() -> None:
    assert "/venv/bin" in story.next_steps(on_path="/venv/bin")
    assert "PATH" not in story.next_steps(on_path=None)


def test_every_branch_folder_belongs_to_a_pull_request() -> None:
    folders = {path.name for path in (scratch.PROJECT / "branches").iterdir()}

    assert folders == {change.branch for change in story.PULL_REQUESTS}


@pytest.fixture
def demonstrated(tmp_path: Path) -> tuple[Path, str]:
    """A demo's folder, and what it told. Where somebody has just run it (`.ci/run` has), it is not run again."""
    pytest.importorskip("tensorflow")
    if folder := os.environ.get("METRICGATE_DEMO"):
        return Path(folder) / "demo-output", (Path(folder) / "demo.log").read_text()
    output = tmp_path / "a demo"
    done = subprocess.run(
        [sys.executable, "-m", "metricgate", "demo", "--output", str(output)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == ExitCode.PASSED, done.stdout + done.stderr
    assert done.stderr == ""
    return output, done.stdout


@pytest.mark.slow
def test_the_demo_passes_the_refactoring_blocks_the_bug_and_says_why(demonstrated: tuple[Path, str]) -> None:
    output, told = demonstrated
    harmless = document.read(output / "reports" / f"{HARMLESS.branch}.json")
    harmful = document.read(output / "reports" / f"{HARMFUL.branch}.json")
    assert harmless.verdict in {"pass", "inconclusive"}
    assert harmless.exit_code == 0
    assert harmful.verdict == "fail"
    assert harmful.exit_code == 1
    assert harmful.baseline.commit == harmless.baseline.commit != harmful.candidate.commit
    assert harmful.baseline.runs == harmful.candidate.runs == harmless.candidate.runs == 3

    # A fixed bound lets the bug through; the comparison does not.
    assert [rule.outcome for rule in harmful.rules if rule.kind == "min"] == ["pass"]
    sentence = " ".join(told.partition("In one sentence: this is blocked")[2].split())
    assert f"because {HARMFUL.nature}" in sentence
    for failed in [rule for rule in harmful.rules if rule.outcome == "fail" and rule.slice is None]:
        assert f"{numbers.p_value(failed.p_adjusted)} for {failed.metric}" in sentence
    for change in story.PULL_REQUESTS:
        assert (output / "reports" / f"{change.branch}.md").read_text().startswith("### ")
        assert f": {change.title}\n" in told
    assert told.count("accuracy 0.9") >= 9
    assert told.index("And a fixed threshold?") < told.index("Next, in your own repository:")
    assert "metricgate init" in told[told.index("Next, in your own repository:") :]
    assert "\x1b" not in told

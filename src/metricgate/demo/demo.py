"""The demo: makes the scratch repository, trains three commits, compares, and tells what came out."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from metricgate import config_file, pipeline
from metricgate import run as run_files
from metricgate.config import FILE_NAME, Config
from metricgate.demo import runners, story
from metricgate.demo.runners import Job, Runners
from metricgate.demo.scratch import MAIN, Commit, Scratch
from metricgate.demo.story import PULL_REQUESTS, PullRequest
from metricgate.errors import ExitCode, UsageError
from metricgate.report import document, markdown, terminal
from metricgate.report.document import Report

MARKER = ".metricgate-demo"
_OURS = ("repository", "runners", "runs", "logs", "reports")
_NEEDED = ("tensorflow", "keras", "sklearn")
WIDTH = 110
_RULE = "─" * WIDTH


@dataclass(frozen=True)
class Place:
    """The demo's folder, and how it is called in what people read."""

    path: Path
    shown: Path

    @classmethod
    def make(cls, output: Path) -> Place:
        """Make the folder, or empty it if an earlier demo made it.

        Raises:
            UsageError: There is something else.
        """
        path = output.absolute()
        if path.exists() and not (path / MARKER).is_file() and (not path.is_dir() or any(path.iterdir())):
            raise UsageError(
                "there is something that the demo did not make, and it overwrites nothing",
                where=str(output),
                expected="no such folder, an empty one, or one of an earlier demo",
                fix="metricgate demo --output ANOTHER-FOLDER",
            )
        for name in _OURS:
            if (path / name).is_dir() and not (path / name).is_symlink():
                shutil.rmtree(path / name)
        run_files.write_text(path / MARKER, "`metricgate demo` made this folder, and empties it when it runs again.\n")
        return cls(path, output)


def main(output: Path, *, environ: Mapping[str, str] = os.environ, screen: TextIO | None = None) -> int:
    """Run the demo.

    Args:
        output: The folder for everything that it makes.
        environ: The environment of its commands.
        screen: Where it tells its story; standard output by default.

    Returns:
        0 when it came to its end, whatever the verdicts.

    Raises:
        UsageError: TensorFlow or git is missing, or ``output`` holds something else.
        StageError: A training failed.
    """
    _check_packages()
    screen = screen or sys.stdout
    place = Place.make(output)
    repository = Scratch.make(place.path / "repository", environ=environ)
    base = repository.commit("Read handwritten digits with a small network")
    changes = [repository.branch(change.branch, change.title) for change in PULL_REQUESTS]
    config = config_file.load(repository.path / FILE_NAME)
    _introduce(screen, place, [base, *changes], config)
    accuracies = _train(screen, place, repository, [base, *changes], config)
    for number, change in enumerate(PULL_REQUESTS, start=1):
        report = pipeline.compare(_runs(place, change.branch), _runs(place, MAIN), config=config)
        _show(screen, place, change, report, number=number)
    harmless, harmful = sorted(PULL_REQUESTS, key=lambda change: not change.is_harmless)
    floor = next((rule.min for rule in config.rules if rule.metric == story.ACCURACY and rule.min is not None), None)
    checks = story.fixed_thresholds(accuracies[MAIN], accuracies[harmless.branch], accuracies[harmful.branch], floor=floor)
    _say(screen, _RULE, _wrapped(f"And a fixed threshold? {checks}"), "", _look_closer(place))
    command = Path(sys.executable).parent
    _say(screen, story.next_steps(on_path=None if shutil.which("metricgate") else str(command)).rstrip())
    return ExitCode.PASSED


def _check_packages() -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} can't be imported",
            expected="TensorFlow and scikit-learn, which the demo trains with (metricgate itself does not need them)",
            fix="make demo                           # in a checkout of metricgate: installs what is locked\n"
            "pip install 'metricgate[demo]'      # anywhere else",
        )


def _introduce(screen: TextIO, place: Place, commits: Sequence[Commit], config: Config) -> None:
    seeds = len(config.train.seeds) if config.train else 0
    width = max(len(commit.branch) for commit in commits)
    _say(
        screen,
        "metricgate demo: a Keras network that reads handwritten digits, and two pull requests that change its training.",
        "One is a harmless refactoring. The other hurts the model, and no line of it looks wrong.",
        "",
        f"A scratch repository, {place.shown / 'repository'}:",
        *(f"  {commit.branch:{width}}  {commit.id[:7]}  {commit.title}" for commit in commits),
        "",
        f"Training and evaluating each with {seeds} seeds by `metricgate run`, {runners.count()} at a time; about two minutes:",
    )


def _train(
    screen: TextIO, place: Place, repository: Scratch, commits: Sequence[Commit], config: Config
) -> dict[str, list[float]]:
    """Train everything; the accuracy of each run by branch."""
    checkouts = [repository.checkout(place.path / "runners" / str(k + 1)) for k in range(runners.count())]
    work = Runners(
        scratch=repository,
        checkouts=checkouts,
        runs=place.path / "runs",
        logs=place.path / "logs",
        environ=runners.environment(repository.environ, tools=place.path / "runners" / "tools"),
    )
    seeds = config.train.seeds if config.train else ()
    jobs = [Job(commit, seed) for commit in commits for seed in seeds]
    width = max(len(commit.branch) for commit in commits)
    accuracies: dict[str, list[float]] = {commit.branch: [] for commit in commits}
    progress = _Progress(screen, total=len(jobs))
    for job, record in work.work(jobs, idle=progress.idle):
        accuracy = record.metrics[story.ACCURACY].value
        accuracies[job.commit.branch].append(accuracy)
        progress.line(f"{job.commit.branch:{width}}  seed {job.seed}  accuracy {accuracy:.4f}")
    progress.end()
    _say(screen, "")
    return accuracies


class _Progress:
    """A line for each run, and on a terminal one that counts the seconds."""

    def __init__(self, screen: TextIO, *, total: int) -> None:
        self._screen = screen
        self._total = total
        self._began = time.monotonic()

    def line(self, text: str) -> None:
        self._erase()
        _say(self._screen, f"{self._elapsed():5.0f} s  {text}")

    def idle(self, done: int) -> None:
        if self._screen.isatty():
            self._erase()
            self._screen.write(f"{self._elapsed():5.0f} s  {done} of {self._total} done")
            self._screen.flush()

    def end(self) -> None:
        self._erase()

    def _elapsed(self) -> float:
        return time.monotonic() - self._began

    def _erase(self) -> None:
        if self._screen.isatty():
            self._screen.write("\r\x1b[K")


def _show(screen: TextIO, place: Place, change: PullRequest, report: Report, *, number: int) -> None:
    reports = place.path / "reports"
    run_files.write_text(reports / f"{change.branch}.md", markdown.render(report))
    run_files.write_text(reports / f"{change.branch}.json", document.to_json(report))
    _say(
        screen,
        _RULE,
        f"Pull request {number}: {change.title}",
        f"$ metricgate compare runs/{MAIN} runs/{change.branch} --config repository/{FILE_NAME}",
        "",
        terminal.render(report),
        f"Exit code {report.exit_code}, so the check on the pull request is {'red' if report.exit_code else 'green'}.",
        "",
        _wrapped(f"In one sentence: {story.verdict(change, report)}"),
        "",
    )


def _look_closer(place: Place) -> str:
    harmful = next(change for change in PULL_REQUESTS if not change.is_harmless)
    return f"""\
Look closer:
  {place.shown / "reports"}/*.md      both reports as a pull request shows them
  git -C {place.shown / "repository"} diff {MAIN} {harmful.branch}
  {place.shown / "repository" / FILE_NAME}      the policy that judged
"""


def _runs(place: Place, branch: str) -> Path:
    return place.path / "runs" / branch


def _wrapped(text: str) -> str:
    return textwrap.fill(text, width=WIDTH, break_on_hyphens=False)


def _say(screen: TextIO, *lines: str) -> None:
    screen.write("\n".join(lines) + "\n")
    screen.flush()

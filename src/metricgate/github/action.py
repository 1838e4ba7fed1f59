"""The stages as GitHub actions run them: settings in, stages in order, then outputs, summary and annotations.

The report always comes before the failure: a red check never stands without its explanation.
"""

from __future__ import annotations

import sys
import tempfile
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TextIO

from metricgate import pipeline, run
from metricgate.errors import ExitCode, MetricgateError, StageError, UsageError
from metricgate.github import event, jobs, policy, presentation, settings
from metricgate.github.checkout import Checkout
from metricgate.github.commands import Commands
from metricgate.github.event import Work
from metricgate.github.policy import Policy
from metricgate.github.settings import Settings, Stage
from metricgate.report import document, markdown, terminal
from metricgate.report.document import Report
from metricgate.train import Console

# Which outputs each action has. The action.yml files and the README are tested against it.
VERDICT = ("verdict", "exit-code", "report", "markdown", "comment-url")
OUTPUTS: Mapping[Stage, tuple[str, ...]] = {
    "check": (*VERDICT, "run-dir"),
    "train": ("run-dir",),
    "evaluate": ("run-dir",),
    "baseline": ("run-dir", "commit"),
    "compare": VERDICT,
    "gate": ("verdict", "exit-code"),
}

# What a step tells its runner with. The repository's code must not speak for metricgate: it could write our outputs.
_RUNNER_FILES = frozenset({"GITHUB_OUTPUT", "GITHUB_ENV", "GITHUB_PATH", "GITHUB_STATE", "GITHUB_STEP_SUMMARY"})


@dataclass(frozen=True, kw_only=True)
class Job:
    """What every stage works with."""

    settings: Settings
    runner: Commands
    environ: Mapping[str, str]

    @cached_property
    def work(self) -> Work:
        """What there is to do."""
        return event.work(self.settings.event_name, event.read(self.settings.event_file))

    @property
    def checkout(self) -> Checkout:
        """The repository that the job works in."""
        return Checkout(self.settings.workspace)

    @property
    def model_name(self) -> str:
        """The model's name where the configuration gives none."""
        return self.settings.repository.rpartition("/")[2] or self.settings.workspace.resolve().name

    def folder(self, purpose: str) -> Path:
        """A new folder that outlives the step and not the job."""
        self.settings.temporary.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f"metricgate-{purpose}-", dir=self.settings.temporary))


def main(stage: str, environ: Mapping[str, str], *, stream: TextIO | None = None) -> int:
    """Run one stage as an action.

    Args:
        stage: One of check, train, evaluate, baseline, compare, gate.
        environ: The step's environment.
        stream: The step's standard output.

    Returns:
        The exit code. Errors have been explained to the runner.

    Raises:
        UsageError: There is no such stage.
    """
    name = next((known for known in _STAGES if known == stage), None)
    if name is None:
        raise UsageError(f"there is no action `{stage}`", expected=f"one of {', '.join(_STAGES)}")
    # The runner's files come first: even settings that can't be read are explained there.
    files = {key: Path(environ[key]) for key in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY") if environ.get(key)}
    runner = Commands(
        stream=stream or sys.stdout, output_file=files.get("GITHUB_OUTPUT"), summary_file=files.get("GITHUB_STEP_SUMMARY")
    )
    try:
        given = settings.from_environment(name, environ)
        runner.mask(given.token)
        return int(_STAGES[name](Job(settings=given, runner=runner, environ=environ)))
    except MetricgateError as error:
        if "exit-code" in OUTPUTS[name]:
            runner.output("exit-code", str(int(error.exit_code)))
        presentation.explain(runner, error, title=_TITLES[name])
        return int(error.exit_code)
    except Exception:  # noqa: BLE001 - the edge: Python's own exit code 1 would say that a rule failed
        traceback.print_exc()
        bug = StageError("metricgate itself failed; the traceback is in the log", fix="report it with the log")
        presentation.explain(runner, bug, title=_TITLES[name])
        return int(bug.exit_code)


def _check(job: Job) -> int:
    """The whole check: the candidate's runs, the baseline's, the verdict."""
    given = job.settings
    # Everything that decides is read before code of the change runs.
    base = _base(job)
    judging = policy.in_force(job.checkout, given.config, base=base, default_name=job.model_name)
    candidate = _produce(job, given.workspace, job.folder("candidate"), what="this change")
    job.runner.output("run-dir", str(candidate))
    baseline = given.baseline
    if baseline is None and base is not None:
        baseline = _second_checkout(job, base, job.folder("baseline"))
    return _judge(job, judging, candidate=candidate, baseline=baseline).exit_code


def _train(job: Job) -> int:
    return _one_stage(job, "train")


def _evaluate(job: Job) -> int:
    return _one_stage(job, "evaluate")


def _baseline(job: Job) -> int:
    """The runs of the commit that the change goes into; no output where there is none."""
    base = _base(job)
    made = None
    if base is not None:
        job.runner.output("commit", base)
        made = _second_checkout(job, base, job.settings.run_dir or job.folder("baseline"))
    job.runner.output("run-dir", str(made or ""))
    return ExitCode.PASSED


def _compare(job: Job) -> int:
    """Judge, and leave failing to the gate, so that whatever shows the report comes first."""
    given = job.settings
    jobs.require(given.needs, job.work)
    if given.candidate is None:  # `needs` without it: everything that it waited for went well
        raise UsageError("`candidate` is empty", expected="the folder with the runs under test", where="with:")
    judging = policy.in_force(job.checkout, given.config, base=_base(job), default_name=job.model_name)
    _judge(job, judging, candidate=given.candidate, baseline=given.baseline)
    return ExitCode.PASSED


def _gate(job: Job) -> int:
    if job.settings.report is None:
        message = "the settings require a report"
        raise ValueError(message)
    report = document.read(job.settings.report)
    _verdict(job, report)
    job.runner.say(terminal.headline(report))
    return report.exit_code


def _base(job: Job) -> str | None:
    """The commit that the change is compared with; None where there is no change."""
    return job.checkout.base_of(job.work) if job.work.kind == "compare" else None


def _one_stage(job: Job, stage: pipeline.Stage) -> int:
    given = job.settings
    event.refuse_unsafe(given.event_name)
    with job.runner.group(f"metricgate {stage}"), job.runner.foreign_output():
        made = _make_runs(job, given.workspace, stages=(stage,), run_dir=given.run_dir)
    job.runner.output("run-dir", str(made))
    return ExitCode.PASSED


def _produce(job: Job, root: Path, run_dir: Path, *, what: str) -> Path:
    with job.runner.group(f"Train and evaluate {what}"), job.runner.foreign_output():
        return _make_runs(job, root, stages=("train", "evaluate"), run_dir=run_dir)


def _make_runs(job: Job, root: Path, *, stages: tuple[pipeline.Stage, ...], run_dir: Path | None) -> Path:
    """Train or evaluate (or both) the commit that is checked out at ``root``."""
    return pipeline.produce(
        root,
        console=Console(output=sys.stdout.buffer, progress=sys.stderr),
        environ={name: value for name, value in job.environ.items() if name not in _RUNNER_FILES},
        config=Path(job.settings.config),
        stages=stages,
        run_dir=run_dir,
        seeds=job.settings.seeds,
    )


def _second_checkout(job: Job, base: str, run_dir: Path) -> Path | None:
    """Train and evaluate the base commit beside the workspace; None where it has no configuration yet."""
    if job.checkout.read(base, job.settings.config) is None:
        job.runner.say(f"{base[:7]} has no {job.settings.config} yet: there is no baseline")
        return None
    try:
        with job.checkout.at(base) as tree:
            return _produce(job, tree, run_dir, what=f"the baseline, {base[:7]}")
    except StageError as error:
        raise StageError(
            f"the baseline {base[:7]} could not be made: {error.found}",
            expected=error.expected,
            where=error.where,
            fix=error.fix or "run the job again; if that commit is broken, give a folder of runs as the input `baseline`",
        ) from error


def _judge(job: Job, judging: Policy, *, candidate: Path, baseline: Path | None) -> Report:
    """Compare, write the report, and show it everywhere."""
    if baseline is None and job.work.kind == "record":
        judging = policy.without_baseline(judging)
    report = pipeline.compare(
        candidate, baseline, config=judging.config, policy_changes=judging.changes, warnings=judging.warnings
    )
    folder = job.folder("report")
    text = markdown.render(report)
    run.write_text(folder / "report.json", document.to_json(report))
    run.write_text(folder / "report.md", text)
    _verdict(job, report)
    for name, value in (("report", folder / "report.json"), ("markdown", folder / "report.md"), ("comment-url", "")):
        job.runner.output(name, str(value))
    job.runner.summary(text)
    presentation.annotate(job.runner, report, path=job.settings.config, text=judging.text)
    job.runner.say(terminal.render(report))
    return report


def _verdict(job: Job, report: Report) -> None:
    job.runner.output("verdict", report.verdict)
    job.runner.output("exit-code", str(report.exit_code))


_STAGES: Mapping[Stage, Callable[[Job], int]] = {
    "check": _check,
    "train": _train,
    "evaluate": _evaluate,
    "baseline": _baseline,
    "compare": _compare,
    "gate": _gate,
}
_TITLES: Mapping[Stage, str] = {
    "check": "The check could not be made",
    "train": "Training failed",
    "evaluate": "Evaluation failed",
    "baseline": "The baseline could not be made",
    "compare": "The comparison could not be made",
    "gate": "There is no verdict",
}

"""The stages as GitHub actions run them: settings in, stages in order, then outputs, summary and annotations.

The report always comes before the failure: a red check never stands without its explanation. What only some stages need is
imported where it is needed: showing a report waits for no table engine.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from metricgate import config_file, pipeline
from metricgate.config import Config
from metricgate.errors import ExitCode, MetricgateError, StageError, UsageError, of_full_disk
from metricgate.github import event, jobs, policy, presentation, settings, sharding, showing
from metricgate.github.commands import Commands
from metricgate.github.job import Job
from metricgate.github.policy import Policy
from metricgate.github.settings import Stage
from metricgate.report import document, markdown, terminal
from metricgate.report.document import Origin, Report

if TYPE_CHECKING:
    from metricgate.github.recorded import Found

# Which outputs each action has. The action.yml files and the README are tested against it.
_BOTH: tuple[pipeline.Stage, ...] = ("train", "evaluate")
VERDICT = ("verdict", "exit-code", "report", "markdown", "comment-url")
OUTPUTS: Mapping[Stage, tuple[str, ...]] = {
    "check": (*VERDICT, "run-dir"),
    "plan": ("matrix", "shards", "seeds"),
    "train": ("run-dir",),
    "evaluate": ("run-dir",),
    "merge": ("run-dir", "problem"),
    "baseline": ("run-dir", "commit", "history", "origin", "outdated", "missing", "verdicts"),
    "compare": VERDICT,
    "comment": ("comment-url", "report"),
    "record": ("recorded",),
    "gate": ("verdict", "exit-code"),
    "publish": ("image", "digest", "tags", "version", "verdict", "release-url", "identity", "public-key", "report"),
    "verify": ("verified", "digest", "report"),
    "tune": ("report", "markdown", "best", "study", "verdict", "exit-code", "pull-request-url"),
}


def main(stage: str, environ: Mapping[str, str], *, stream: TextIO | None = None) -> int:
    """Run one stage as an action.

    Args:
        stage: One of those that have outputs above.
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
    except Exception as error:  # noqa: BLE001 - the edge: Python's own exit code 1 would say that a rule failed
        if isinstance(error, OSError) and (full := of_full_disk(error)):
            presentation.explain(runner, full, title=_TITLES[name])
            return int(full.exit_code)
        traceback.print_exc()
        bug = StageError("metricgate itself failed; the traceback is in the log", fix="report it with the log")
        presentation.explain(runner, bug, title=_TITLES[name])
        return int(bug.exit_code)


def _check(job: Job) -> int:
    """The whole check: the candidate's runs, the baseline's, the verdict, the comment; a push is recorded, whatever it is."""
    from metricgate.github import keeping, kept_models, recorded, second_checkout

    event.refuse_to_train(job.settings.event_name)
    if _idle(job, *OUTPUTS["check"]):
        return ExitCode.PASSED
    given = job.settings
    # Everything that decides is read before code of the change runs.
    base = job.base()
    judging = policy.in_force(job.checkout, given.config, base=base, default_name=job.model_name)
    judging = second_checkout.with_evaluation(job, judging, base)
    found, start, reusable = recorded.Found(), job.before(), tuple[Path, ...]()
    if given.baseline is None and start is not None:
        folder = job.folder("recorded")
        found = recorded.look(job, judging.config, start, into=folder / "baseline", history=folder / "history")
        reusable = (folder,)
    title = "Train and evaluate this change"
    candidate = job.produce(given.workspace, job.folder("candidate"), stages=_BOTH, title=title, recorded=reusable)
    job.runner.output("run-dir", str(candidate))
    baseline, origin = given.baseline or found.baseline, found.origin
    if baseline is None and start is not None and found.train:
        baseline, origin = _made(job, judging.config, found, start, job.folder("baseline"))
    if baseline is None:
        judging = replace(judging, warnings=(*judging.warnings, *found.told))
    report = _judge(
        job,
        judging,
        candidate=candidate,
        baseline=baseline,
        history=found.history,
        origin=origin,
        verdicts=found.verdicts,
        baseline_trained=baseline not in (None, given.baseline, found.baseline) and origin is None,
    )
    report = showing.posted(job, report)
    looked = given.baseline is None and start is not None
    if found.verdicts is not None or not looked:  # what could not be read a while ago is not waited for again
        try:
            recorded.note(job, judging, report)
        except MetricgateError as error:  # a token that may only read is what most pull requests have
            job.runner.say(f"the verdict is not counted: {error.found}")
    if job.work.kind == "record":
        kept_models.keep(job, judging.config, candidate)
    if job.work.kind == "record" and recorded.store_of(job, judging.config) is not None:
        keeping.kept(job, judging.config, candidate, despite=MetricgateError)  # the verdict stands without it
    _verdict(job, report)
    return report.exit_code


def _train(job: Job) -> int:
    return _one_stage(job, "train")


def _evaluate(job: Job) -> int:
    return _one_stage(job, "evaluate")


def _baseline(job: Job) -> int:
    """The runs of the commit that the change goes into, or recorded ones before a push; no output where there are none."""
    from metricgate.github import recorded

    given = job.settings
    base, start = job.base(), job.before()
    found, made = recorded.Found(train=False), None
    origin: Origin | None = None
    if start is not None:
        job.runner.output("commit", start)
        into = given.run_dir or job.folder("baseline")
        judging = policy.in_force(job.checkout, given.config, base=base, default_name=job.model_name)
        found = recorded.look(job, judging.config, start, into=into, history=into.with_name(f"{into.name}-history"))
        if given.outdated is not None:
            found = replace(found, outdated=given.outdated, origin=given.origin)
        made, origin = found.baseline, found.origin
        if made is None and found.train and given.train:
            made, origin = _made(job, judging.config, found, start, into)
    told = json.dumps(asdict(origin)) if origin else ""
    for name, value in (("run-dir", made), ("history", found.history), ("origin", told), ("outdated", found.outdated)):
        job.runner.output(name, str(value or ""))
    job.runner.output("missing", "true" if made is None and found.train else "false")
    job.runner.output("verdicts", "" if found.verdicts is None else json.dumps(found.verdicts, sort_keys=True))
    return ExitCode.PASSED


def _made(job: Job, config: Config, found: Found, base: str, into: Path) -> tuple[Path | None, Origin | None]:
    """A baseline where none is recorded that can be compared with, and where it comes from if not from the base itself."""
    from metricgate.github import kept_models, second_checkout

    if found.outdated is not None:
        again = kept_models.evaluate_again(job, config, found.outdated, into)
        if again is not None:
            return again, found.origin
    # What is pushed was judged as a change: nothing is trained a second time for it.
    return (second_checkout.make(job, base, into) if job.work.kind == "compare" else None), None


def _compare(job: Job) -> int:
    """Judge, and leave failing to the gate, so that whatever shows the report comes first."""
    from metricgate.github import recorded, second_checkout

    event.refuse_to_train(job.settings.event_name)
    if _idle(job, *OUTPUTS["compare"]):
        return ExitCode.PASSED
    given = job.settings
    jobs.require(given.needs, job.work, problems=given.problems)
    if given.candidate is None:  # `needs` without it: everything that it waited for went well
        raise UsageError("`candidate` is empty", expected="the folder with the runs under test", where="with:")
    base = job.base()
    judging = policy.in_force(job.checkout, given.config, base=base, default_name=job.model_name)
    judging = second_checkout.with_evaluation(job, judging, base)
    if given.baseline is None and base is not None:
        judging = replace(judging, warnings=(*judging.warnings, recorded.to_make(base)))
    report = _judge(
        job,
        judging,
        candidate=given.candidate,
        baseline=given.baseline,
        history=given.history,
        origin=given.origin,
        verdicts=given.verdicts,
    )
    _verdict(job, report)
    return ExitCode.PASSED


def _record(job: Job) -> int:
    from metricgate.github import keeping

    return keeping.record(job)


def _gate(job: Job) -> int:
    if job.settings.report is None:
        message = "the settings require a report"
        raise ValueError(message)
    report = document.read(job.settings.report)
    _verdict(job, report)
    job.runner.say(terminal.headline(report))
    return report.exit_code


def _publish(job: Job) -> int:
    from metricgate.github import publishing

    return publishing.publish(job)


def _verify(job: Job) -> int:
    from metricgate.github import publishing

    return publishing.verify(job)


def _tune(job: Job) -> int:
    from metricgate.github import tuning

    return tuning.tune(job)


def _one_stage(job: Job, stage: pipeline.Stage) -> int:
    given = job.settings
    event.refuse_to_train(given.event_name)
    reusable = (given.recorded,) if given.recorded is not None else ()
    made = job.produce(given.workspace, given.run_dir, stages=(stage,), title=f"metricgate {stage}", recorded=reusable)
    if stage == "evaluate" and job.work.kind == "record":
        from metricgate.github import kept_models

        config = config_file.load(given.workspace / given.config, default_name=job.model_name)
        kept_models.keep(job, config, made)
    job.runner.output("run-dir", str(made))
    return ExitCode.PASSED


def _idle(job: Job, *outputs: str) -> bool:
    """Whether the event leaves nothing to do; then every output is there, and empty."""
    if job.work.kind != "nothing":
        return False
    job.runner.say(f"there is nothing to do: {job.work.why}")
    for name in outputs:
        job.runner.output(name, "0" if name == "exit-code" else "")
    return True


def _judge(
    job: Job,
    judging: Policy,
    *,
    candidate: Path,
    baseline: Path | None,
    history: Path | None = None,
    origin: Origin | None = None,
    verdicts: Mapping[str, int] | None = None,
    baseline_trained: bool = False,
) -> Report:
    """Compare, write the report, and show it to the runner."""
    in_force = judging.config.policy_digest
    if baseline is None and job.work.kind != "compare":
        judging = policy.without_baseline(judging)
    report = pipeline.compare(
        candidate,
        baseline,
        config=judging.config,
        history=history,
        policy_changes=judging.changes,
        warnings=judging.warnings,
        origin=origin,
        importing=judging.importing,
        verdicts=verdicts,
        policy=in_force,
        baseline_trained=baseline_trained,
    )
    written = showing.written(job, report)
    for name, value in (("report", written), ("markdown", written.with_suffix(".md")), ("comment-url", "")):
        job.runner.output(name, str(value))
    job.runner.summary(markdown.render(report))
    presentation.annotate(job.runner, report, path=job.settings.config, text=judging.text)
    job.runner.say(terminal.render(report))
    return report


def _verdict(job: Job, report: Report) -> None:
    job.runner.output("verdict", report.verdict)
    job.runner.output("exit-code", str(report.exit_code))


_STAGES: Mapping[Stage, Callable[[Job], int]] = {
    "check": _check,
    "plan": sharding.plan,
    "train": _train,
    "evaluate": _evaluate,
    "merge": sharding.merge,
    "baseline": _baseline,
    "compare": _compare,
    "comment": showing.comment,
    "record": _record,
    "gate": _gate,
    "publish": _publish,
    "verify": _verify,
    "tune": _tune,
}
_TITLES: Mapping[Stage, str] = {
    "check": "The check could not be made",
    "plan": "There is no plan",
    "train": "Training failed",
    "evaluate": "Evaluation failed",
    "merge": "The runs of the shards could not be merged",
    "baseline": "The baseline could not be made",
    "compare": "The comparison could not be made",
    "comment": "The report could not be shown",
    "record": "The runs could not be recorded",
    "gate": "There is no verdict",
    "publish": "The release could not be published",
    "verify": "The image could not be verified",
    "tune": "The search for better parameters failed",
}

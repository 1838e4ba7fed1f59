"""The action ``tune``: a search for better parameters as a job, and a pull request that proposes them."""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from metricgate import config_file
from metricgate.errors import ExitCode, UsageError
from metricgate.github import event, proposing
from metricgate.github.job import Job
from metricgate.github.proposing import Proposal
from metricgate.report import plain
from metricgate.train import Console

if TYPE_CHECKING:
    from metricgate.tune.tuning import Tuned

_OUTPUTS = ("report", "markdown", "best", "study", "verdict", "exit-code", "pull-request-url")
_EXAMPLE = 'on:\n  workflow_dispatch:\n  schedule: [{cron: "0 2 * * 6"}]'


def tune(job: Job) -> int:
    """Search, say what was found, and propose it if the gate lets it pass.

    The verdict does not fail the step: that nothing better was found is an answer too.
    """
    from metricgate.tune import markdown, parameters, tuning

    given = job.settings
    event.refuse_to_train(given.event_name)
    _mask(job)
    if given.open_pull_request and job.work.kind != "record":
        raise UsageError(
            f"`open-pull-request` on `{given.event_name}` would run a change's code in a job that may write",
            expected="a branch whose code was reviewed",
            where="on:",
            fix=_EXAMPLE,
        )
    for name in _OUTPUTS:
        job.runner.output(name, "0" if name == "exit-code" else "")
    file = given.workspace / given.config
    config = config_file.load(file, default_name=job.model_name)
    if given.open_pull_request and config.tune is not None:
        parameters.check_writable(config.tune)
    environ = dict(job.foreign_environ)
    if given.storage and config.tune is not None:
        environ[config.tune.storage_env] = given.storage
    with job.runner.group("Search for better parameters"), job.runner.foreign_output() as group:
        tuned = tuning.tune(
            tuning.Wanted(
                config=file,
                root=given.workspace,
                trials=given.trials,
                workers=given.workers,
                study=given.study or None,
                retrain=given.retrain,
                recorded=(),  # what lies in the checkout is never one: a change could bring its own
                default_name=job.model_name,
            ),
            environ=environ,
            console=Console(output=sys.stdout.buffer, progress=sys.stderr, grouping=group),
            progress=sys.stderr,
        )
    found = tuned.tuning
    outputs = {
        "report": str(tuned.folder / tuning.TUNING_FILE),
        "markdown": str(tuned.folder / tuning.MARKDOWN_FILE),
        "best": json.dumps(tuned.best, sort_keys=True),
        "study": found.study,
        "verdict": found.verdict.verdict if found.verdict else "",
        "exit-code": str(found.exit_code),
    }
    for name, value in outputs.items():
        job.runner.output(name, value)
    job.runner.summary(markdown.render(found))
    if given.open_pull_request and config.tune is not None:
        _propose(job, tuned, path=parameters.check_writable(config.tune))
    return ExitCode.PASSED


def _mask(job: Job) -> None:
    """Keep the storage's address out of the log, and its password where that stands alone."""
    storage = job.settings.storage
    if "@" in storage:
        job.runner.mask(storage)
        with contextlib.suppress(ValueError):
            job.runner.mask(urlsplit(storage).password or "")


def _propose(job: Job, tuned: Tuned, *, path: str) -> None:
    """Propose the best parameters, where the gate lets them pass."""
    from metricgate.tune import markdown, wording
    from metricgate.tune.parameters import ParameterFile

    if job.repository is None:
        return
    found = tuned.tuning
    if not found.changed:
        job.runner.say("nothing is proposed: the present parameters are the best that were found")
        return
    if found.verdict is None or found.exit_code != ExitCode.PASSED:
        job.runner.annotate("notice", "The gate does not let the best parameters pass.", title="No pull request")
        return
    proposal = Proposal(
        study=found.study,
        title=f"{found.name}: parameters from {found.count('complete')} trials",
        path=PurePosixPath(path),
        edit=lambda text: ParameterFile(path, text).with_values(tuned.best).text,
        base=_base(job),
        body=lambda budget: markdown.render(found, budget=budget),
        message=f"Parameters of {plain.text(found.name)} with a better {plain.text(found.metric)}\n\n"
        + plain.text(wording.headline(found)).removeprefix("🔎 "),
    )
    done = proposing.propose(job.repository, proposal)
    job.runner.output("pull-request-url", done.url)
    if done.told:
        job.runner.annotate("notice", done.told, title="The pull request")
    if done.url:
        job.runner.say(f"{'proposed' if done.changed else 'already proposed'}: {done.url}")


def _base(job: Job) -> str:
    """The branch that the job ran on; the default branch where the event names none."""
    if job.work.branch:
        return job.work.branch
    payload = event.read(job.settings.event_file).get("repository")
    branch = payload.get("default_branch") if isinstance(payload, dict) else None
    return branch if isinstance(branch, str) else "main"

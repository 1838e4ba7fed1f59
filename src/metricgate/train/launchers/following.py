"""Trains on other machines as if they were this one: hands a job over, follows it, and passes a cancel on.

SIGINT or SIGTERM to metricgate cancels the job. SIGKILL does not reach it, on purpose: when the runner comes back and the same
work is asked for again, the job is found and followed from the beginning of its logs. ``submissions`` says how it is found.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from metricgate.train import retrying, signals
from metricgate.train.command import CommandError, Usage
from metricgate.train.console import Console, duration
from metricgate.train.launchers import outcomes, submissions
from metricgate.train.launchers.contact import Contact, Pace
from metricgate.train.launchers.job import Job, Launcher
from metricgate.train.launchers.outcomes import Seen
from metricgate.train.launchers.submissions import Round, Submission
from metricgate.train.launchers.watching import Watch, seeds_text

Outcomes = Mapping[int, Usage | CommandError]


def train(
    job: Job,
    launcher: Launcher,
    *,
    console: Console,
    retries: int = 0,
    backoff_s: float = 10.0,
    pace: Pace | None = None,
    clock: Callable[[], float] = time.time,
) -> Outcomes:
    """Hand a job over, or find it again, and follow it to its end.

    Args:
        job: What to train; ``key`` (at most 43 characters) and ``folder`` are those of the work, and each handing over gets one
            of its own below. What the tasks' variables name must be the same each time: a job that is found again writes where
            it was told first.
        launcher: The engine.
        console: Where output and progress go.
        retries: How often tasks are handed over again after what a retry can help.
        backoff_s: Seconds before the first retry.
        pace: How often one looks.
        clock: Seconds since the epoch, to compare with the nodes' clocks.

    Returns:
        By seed, what it used in all attempts, or why the last one failed.

    Raises:
        StageError: The job can't be handed over.
        ConfigError: The engine has not what the configuration asks for.
    """
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with signals.into(events):
        contact = Contact(launcher, console, pace or Pace(), events)
        return _Following(job, contact, clock).to_the_end(retries=retries, backoff_s=backoff_s)


class _Following:
    def __init__(self, job: Job, contact: Contact, clock: Callable[[], float]) -> None:
        self._job = job
        self._contact = contact
        self._clock = clock

    def to_the_end(self, *, retries: int, backoff_s: float) -> Outcomes:
        console = self._contact.console
        with submissions.alone(self._job.folder):
            opened = self._opened()
            if self._contact.signals:
                return self._none_started()
            this = self._handed_over(opened)
        found: dict[int, Usage | CommandError] = {}
        for index, submission in enumerate(this.submissions):
            self._take(found, self._follow(submission, this, later=this.submissions[index + 1 :]))
        while (again := _retryable(found)) and len(this.submissions) <= retries and not self._contact.signals:
            retry = len(this.submissions)
            pause_s = retrying.wait_s(retry, backoff_s=backoff_s)
            why = next(error.summary for seed in again if isinstance(error := found[seed], CommandError))
            how = f"starts again in {duration(pause_s)} (retry {retry} of {retries}, METRICGATE_CHECKPOINT_DIR is kept)"
            console.say(f"{why}; training of {seeds_text(again)} {how}")
            self._contact.pause(pause_s)
            if self._contact.signals:
                break
            more = Submission(this.submissions[-1].number + 1, again, skips=submissions.sizes(self._job, again))
            with submissions.alone(self._job.folder):
                this = self._handed_over(this.with_more(more))
            self._take(found, self._follow(this.submissions[-1], this, later=()))
        submissions.write(self._job.folder, replace(this, end="cancelled" if self._contact.signals else "done"))
        return {task.seed: found[task.seed] for task in self._job.tasks}

    def _opened(self) -> Round:
        """The round that a runner which died has left, or a new one."""
        last = submissions.read(self._job.folder)
        digest, engine = submissions.digest(self._job), self._contact.launcher.name
        if last and not last.end and (last.engine, last.digest) == (engine, digest):
            return last
        if last and last.engine == engine and last.end != "done":
            self._end(last.submissions[-1], is_cancelled=bool(last.end))
        seeds = tuple(task.seed for task in self._job.tasks)
        number = last.submissions[-1].number + 1 if last else 1
        return Round(engine, digest, (Submission(number, seeds, skips=submissions.sizes(self._job, seeds)),))

    def _end(self, submission: Submission, *, is_cancelled: bool) -> None:
        """Wait until an earlier job has ended: it would write into the same checkpoints."""
        contact, job = self._contact, submission.of(self._job)
        job_id = submission.job_id or contact.ask_patiently(lambda: contact.launcher.find(job))
        if not job_id:
            return
        now = time.monotonic()
        deadlines = [now + job.grace_s + contact.pace.end_s, now + job.grace_s + 2 * contact.pace.end_s]
        said = ""
        while any(
            not state.state.is_over for state in contact.ask_patiently(lambda: contact.launcher.states(job_id, job)).values()
        ):
            if not is_cancelled:
                contact.ask_patiently(lambda: contact.launcher.cancel(job_id, job))
                is_cancelled = True
            if not said:
                said = f"waits until {contact.job(job_id)} of an earlier call has ended, which is cancelled"
                contact.console.say(said)
            if time.monotonic() > deadlines[0]:
                deadlines.pop(0)
                contact.ask_patiently(lambda: contact.launcher.cancel(job_id, job, now=True))
            if not deadlines or contact.signals:
                return
            contact.pause(contact.pace.ask_s)

    def _handed_over(self, this: Round) -> Round:
        contact, last = self._contact, this.submissions[-1]
        if last.job_id:
            contact.console.say(f"follows {contact.job(last.job_id)} again, which an earlier call has handed over")
            return this
        job = last.of(self._job)
        submissions.write(self._job.folder, this)  # before the engine has it, so that a crash in between is seen
        job.prepare()
        job_id = contact.ask_patiently(lambda: contact.launcher.find(job) or contact.launcher.submit(job))
        this = this.with_last(replace(last, job_id=job_id))
        submissions.write(self._job.folder, this)
        contact.console.say(f"training of {seeds_text(last.seeds)} is handed over: {contact.job(job_id)}")
        return this

    def _follow(self, submission: Submission, this: Round, *, later: tuple[Submission, ...]) -> Outcomes:
        retried = {seed for one in later for seed in one.seeds}
        seeds = [seed for seed in submission.seeds if seed not in retried]
        watch = Watch(
            self._contact,
            submission.of(self._job),
            submission.job_id,
            seeds=seeds,
            skips=submission.skips,
            clock=self._clock,
            on_cancel=lambda: submissions.write(self._job.folder, replace(this, end="cancelled")),
        )
        with self._contact.console.group(f"training of {seeds_text(seeds)}, {self._contact.job(submission.job_id)}"):
            return watch.until_all_ended()

    def _take(self, found: dict[int, Usage | CommandError], more: Outcomes) -> None:
        """Take in what a handing over came to; what an earlier one of the same seed used counts too."""
        for seed, outcome in more.items():
            before = found.get(seed)
            if isinstance(before, CommandError):
                if isinstance(outcome, CommandError):
                    outcome.usage = before.usage + outcome.usage
                    found[seed] = outcome
                else:
                    found[seed] = before.usage + outcome
            else:
                found[seed] = outcome

    def _none_started(self) -> Outcomes:
        seen = Seen(outcomes.Files(), cancelled=self._contact.stopped_by)
        return {task.seed: outcomes.cancelled(self._job, task.seed, seen) for task in self._job.tasks}


def _retryable(found: Outcomes) -> tuple[int, ...]:
    return tuple(seed for seed, outcome in found.items() if isinstance(outcome, CommandError) and outcome.retryable)

"""Follows a job that was handed over, to the end of its tasks: logs as they grow, what changes in a line each, and a cancel."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from metricgate.train import progress as progresses
from metricgate.train.command import CommandError, Usage
from metricgate.train.console import Console, duration
from metricgate.train.last_words import LINES
from metricgate.train.launchers import outcomes
from metricgate.train.launchers.contact import Contact
from metricgate.train.launchers.job import Job, State, TaskState
from metricgate.train.launchers.outcomes import Files, Seen
from metricgate.train.launchers.remote_log import RemoteLog
from metricgate.train.progress import Progress

_PROGRESS = "METRICGATE_PROGRESS"
_SLOWER = 1.5


@dataclass
class _Task:
    seed: int
    console: Console
    log: RemoteLog
    progress_file: Path | None
    beat_at: float
    files: Files = field(default_factory=Files)
    state: TaskState | None = None
    said: str = ""
    since: float = field(default_factory=time.monotonic)
    over_since: float | None = None
    outcome: Usage | CommandError | None = None

    @property
    def progress(self) -> Progress | None:
        return progresses.read(self.progress_file) if self.progress_file else None


class Watch:
    """Follows some tasks of a job.

    Args:
        contact: The engine.
        job: What it was handed.
        job_id: Its id of that.
        seeds: Which tasks.
        skips: By seed, how many bytes at the beginning of its log are of earlier trainings.
        clock: Seconds since the epoch.
        on_cancel: Called when metricgate was told to end, before the engine is.
    """

    def __init__(
        self,
        contact: Contact,
        job: Job,
        job_id: str,
        *,
        seeds: Sequence[int],
        skips: Mapping[int, int],
        clock: Callable[[], float],
        on_cancel: Callable[[], None],
    ) -> None:
        self._contact = contact
        self._job = job
        self._job_id = job_id
        self._clock = clock
        self._on_cancel = on_cancel
        self._tasks = [self._task(seed, skips.get(seed, 0)) for seed in seeds]
        self._ask_at = 0.0
        self._ask_s = contact.pace.ask_s
        self._told_engine = False
        self._deadlines: list[float] = []

    def until_all_ended(self) -> dict[int, Usage | CommandError]:
        """What became of each task, by seed."""
        if self._contact.signals:
            self._cancel()
        while open_tasks := [task for task in self._tasks if task.outcome is None]:
            received = self._contact.listen(self._contact.pace.look_s)
            if received and self._is_enough(received):
                break
            for task in open_tasks:
                self._look(task)
            if time.monotonic() >= self._ask_at:
                self._ask(open_tasks)
            for task in open_tasks:
                self._settle(task)
            self._beat([task for task in open_tasks if task.outcome is None])
            if self._deadlines and time.monotonic() > self._deadlines[0] and self._is_out_of_time():
                break
        for task in self._tasks:
            task.console.end()
            task.outcome = task.outcome or outcomes.cancelled(self._job, task.seed, self._seen(task))
        return {task.seed: task.outcome for task in self._tasks if task.outcome}

    def _task(self, seed: int, skip: int) -> _Task:
        console, progress = self._contact.console, self._job.task(seed).environ.get(_PROGRESS)
        return _Task(
            seed,
            console.lane(f"seed {seed}") if len(self._job.tasks) > 1 else console,
            RemoteLog(self._job.log(seed), skip=skip),
            Path(progress) if progress else None,
            time.monotonic() + console.beat_s,
        )

    def _look(self, task: _Task) -> None:
        # The files first: what a node wrote before it said that it had ended is in its log by then.
        before, task.files = task.files, outcomes.read(self._job, task.seed)
        for data in task.log.news():
            task.console.write(data)
        if (before.attempt, len(before.results)) != (task.files.attempt, len(task.files.results)):
            self._ask_at, self._ask_s = 0.0, self._contact.pace.ask_s

    def _ask(self, tasks: Sequence[_Task]) -> None:
        if self._deadlines and not self._told_engine:
            self._tell_engine()
        states = self._contact.ask(lambda: self._contact.launcher.states(self._job_id, self._job))
        now = time.monotonic()
        changed = False
        for task in tasks:
            if states is None or (state := states.get(task.seed)) is None:
                continue
            changed = changed or task.state is None or state.state is not task.state.state
            task.state = state
            task.over_since = (task.over_since or now) if state.state.is_over else None
        self._say(tasks)
        pace = self._contact.pace
        if changed or self._deadlines or any(task.over_since for task in tasks):
            self._ask_s = pace.ask_s
        else:
            self._ask_s = min(pace.ask_most_s, self._ask_s * _SLOWER)
        self._ask_at = now + self._ask_s

    def _say(self, tasks: Sequence[_Task]) -> None:
        """What is new in a line, and one line for all of whom it is true."""
        news: dict[str, list[_Task]] = {}
        for task in tasks:
            if task.state and not task.state.state.is_over and task.state.why not in ("", task.said):
                news.setdefault(task.state.why, []).append(task)
                task.said, task.since = task.state.why, time.monotonic()
        for why, those in news.items():
            state = those[0].state
            advice = f": {state.advice}" if state and state.advice else ""
            self._contact.console.say(f"training of {seeds_text([task.seed for task in those])} {why}{advice}")

    def _settle(self, task: _Task) -> None:
        found = outcomes.of(self._job, task.seed, self._seen(task), engine=self._contact.launcher.name)
        if found is None:
            return
        for data in task.log.news():
            task.console.write(data)
        task.console.end()
        task.outcome = found
        if isinstance(found, Usage):
            self._contact.console.say(f"training of seed {task.seed} has ended well, after {duration(found.wall_s)}")
        elif len(self._tasks) > 1:  # a single one's failure is said by whoever gets it
            self._contact.console.say(found.summary)

    def _seen(self, task: _Task) -> Seen:
        return Seen(
            files=task.files,
            state=task.state,
            over_s=time.monotonic() - task.over_since if task.over_since else 0.0,
            shared_s=self._contact.pace.shared_s,
            cancelled=self._contact.stopped_by,
            lines=lambda node: (RemoteLog(self._job.log(task.seed, node=node)) if node else task.log).last_lines(LINES),
            engine_lines=RemoteLog(self._job.engine_log(task.seed)).last_lines(LINES),
            progress=task.progress,
        )

    def _beat(self, tasks: Sequence[_Task]) -> None:
        now = time.monotonic()
        due = [task for task in tasks if now >= task.beat_at]
        waiting: dict[str, list[_Task]] = {}
        for task in due:
            task.beat_at = now + task.console.beat_s
            if task.state is None or task.state.state is State.RUNNING:
                if task.files.hosts and not task.files.results:
                    elapsed_s = task.files.spent_s + max(0.0, self._clock() - task.files.started)
                    progress = task.progress
                    details = progresses.words(progress, left_s=progress.eta_s) if progress else ()
                    label = f"training of seed {task.seed}"
                    task.console.beat(label, elapsed_s=elapsed_s, limit_s=self._job.timeout_s, details=details)
            elif task.state.state is State.WAITING and not task.console.is_terminal:
                waiting.setdefault(f"{task.state.why} (for {duration(now - task.since)})", []).append(task)
        for why, those in waiting.items():
            self._contact.console.say(f"training of {seeds_text([task.seed for task in those])} {why}")

    def _is_enough(self, received: signal.Signals) -> bool:
        """Take in a signal; whether nobody wants to wait any more. GitHub's SIGTERM after its SIGINT is no such wish."""
        if len(self._contact.signals) == 1:
            self._cancel()
            return False
        if received == signal.SIGHUP or received not in self._contact.signals[:-1]:
            return False
        self._contact.ask(lambda: self._contact.launcher.cancel(self._job_id, self._job, now=True))
        return True

    def _cancel(self) -> None:
        self._on_cancel()
        grace_s, end_s, now = self._job.grace_s, self._contact.pace.end_s, time.monotonic()
        self._deadlines = [now + grace_s + end_s, now + grace_s + 2 * end_s]
        job = self._contact.job(self._job_id)
        self._contact.console.say(
            f"{self._contact.stopped_by}: {job} is cancelled, and has {duration(grace_s)} to save and end"
        )
        self._tell_engine()
        self._ask_at = 0.0

    def _tell_engine(self) -> None:
        def cancel() -> bool:
            self._contact.launcher.cancel(self._job_id, self._job)
            return True

        self._told_engine = bool(self._contact.ask(cancel))

    def _is_out_of_time(self) -> bool:
        """After the grace period, end what is there; whether there is nothing more to wait for."""
        self._deadlines.pop(0)
        if self._deadlines:
            self._contact.ask(lambda: self._contact.launcher.cancel(self._job_id, self._job, now=True))
        return not self._deadlines


def seeds_text(seeds: Sequence[int]) -> str:
    """Seeds, for people: ``seed 0``, ``seeds 0, 1, 2``."""
    return f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"

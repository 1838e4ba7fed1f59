"""Waits for the end of a command: passes signals on, keeps its limits, shows how far it is.

GitHub's runner ends a cancelled step with SIGINT, after 7.5 s SIGTERM, and 2.5 s later SIGKILL (its documentation, "Workflow
cancellation reference"). So a SIGTERM after a SIGINT is not a person's who does not want to wait, but the runner's: it goes
to those whom it does not disturb, and the grace period goes on. The same signal twice ends the command at once.
"""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from metricgate.errors import StageError
from metricgate.train import process_group
from metricgate.train import progress as progresses
from metricgate.train.console import Console, duration
from metricgate.train.diagnosis import Ended, Reason
from metricgate.train.guard import Guard
from metricgate.train.host_memory import Counters, Kills
from metricgate.train.nan_watch import NanWatch
from metricgate.train.output import Output
from metricgate.train.process_group import Tree
from metricgate.train.progress import Progress
from metricgate.train.signals import Received

Objection = Callable[[Progress | None], str | None]

_LOOK_S = 5.0
_CLOSE_LOOK_S = 0.25


class Meter(Protocol):
    """Measures the hardware while a command runs."""

    def start(self, group: int) -> None:
        """The command has started; ``group`` is its process group."""

    def now(self) -> str:
        """What it shows, for people, such as ``GPU 0 87% 11.2 GB``; empty for nothing."""

    def stop(self) -> None:
        """All of the command has ended."""


@dataclass(frozen=True)
class Exited:
    """That the command's first process has ended: its exit code or minus its signal, and what it used."""

    status: int
    cpu_s: float
    peak_memory_bytes: int


@dataclass(frozen=True)
class Limits:
    """What a command may do.

    Attributes:
        label: What it is, for people.
        timeout_s: How long it may run.
        stall_s: How long it may print nothing and make no step; None for ever.
        grace_s: How long it may go on after SIGTERM.
    """

    label: str
    timeout_s: float
    stall_s: float | None
    grace_s: float


class Watch:
    """Watches one command.

    Args:
        limits: What it may do.
        tree: Its processes.
        began: When its time began, of the monotonic clock.
        console: Where it is shown.
        output: What it writes.
        guard: Who ends it when metricgate is killed.
        read: Reads what it says about its progress.
        show: What else to show: the hardware.
        objection: Asked at each report, and once a second, for a reason to end it.
    """

    def __init__(
        self,
        limits: Limits,
        tree: Tree,
        *,
        began: float,
        console: Console,
        output: Output,
        guard: Guard,
        read: Callable[[], Progress | None] = lambda: None,
        show: Callable[[], str] = lambda: "",
        objection: Objection | None = None,
    ) -> None:
        self.ended: Ended | None = None
        self.progress: Progress | None = None
        self._limits, self._tree, self._console, self._output, self._guard = limits, tree, console, output, guard
        self._read, self._show, self._objection = read, show, objection
        self._counters = Counters.of_this_process()
        self._kills: list[Kills] = [self._counters.read()] * 2
        self._began = began
        self._moved = self._asked = time.monotonic()
        self._pace: tuple[float, int] | None = None
        self._nan = NanWatch()
        self._signals: list[signal.Signals] = []
        self._nth = 0
        self._kill_at: float | None = None

    @property
    def grace_left_s(self) -> float:
        """How long what is left of the command may go on."""
        if self._kill_at is None:
            return self._limits.grace_s
        return max(0.0, self._kill_at - time.monotonic()) if self._kill_at != float("inf") else 0.0

    @property
    def kills(self) -> Kills:
        """How often the kernel killed for want of memory lately."""
        return self._counters.read().since(self._kills[0])

    @property
    def memory_limit_bytes(self) -> int | None:
        """What the control group may use."""
        return self._counters.limit_bytes

    def until_exit(self, events: queue.SimpleQueue[Exited | Received | ChildProcessError]) -> Exited:
        """Wait until the command's first process has ended.

        Raises:
            StageError: It has, and the system can't say how.
        """
        look_s = _LOOK_S if self._objection is None else _CLOSE_LOOK_S
        if self._limits.stall_s is not None:
            look_s = min(look_s, self._limits.stall_s / 4)
        next_beat = time.monotonic() + self._console.beat_s
        next_look = time.monotonic() + look_s
        while True:
            end = self._kill_at if self._kill_at is not None else self._began + self._limits.timeout_s
            try:
                event = events.get(timeout=max(0.0, min(next_beat, next_look, end) - time.monotonic()))
            except queue.Empty:
                now = time.monotonic()
                if now >= end:
                    self._out_of_time()
                if now >= min(next_look, next_beat):
                    next_look = now + look_s
                    self._look(now)
                if now >= next_beat:
                    next_beat = now + self._console.beat_s
                    self._beat(now)
                continue
            if isinstance(event, Exited):
                self._look(time.monotonic(), is_over=True)
                return event
            if isinstance(event, ChildProcessError):
                raise StageError(
                    f"the {self._limits.label} has ended, and nobody knows how: its exit code was lost",
                    expected="a process that may wait for the commands that it starts",
                    fix="do not ignore SIGCHLD in the program that calls metricgate, nor wait there for any child at all",
                )
            if event.nth > self._nth:
                self._nth = event.nth
                self._pass_on(event.number)

    def _out_of_time(self) -> None:
        if self._kill_at is None:
            self._end("timeout")
        else:
            self._kill()

    def _look(self, now: float, *, is_over: bool = False) -> None:
        self._kills = [self._kills[1], self._counters.read()]
        progress = self._read()
        is_new = progress is not None and progress != self.progress
        if progress is not None and is_new:
            self._take(progress, now)
        self._moved = max(self._moved, self._output.moved)
        if is_over and is_new and self._objection:
            self._objection(progress)  # for its information: there is nothing left to end
        if is_over or self.ended:
            return
        limit = self._limits.stall_s
        if limit is not None and now - self._moved >= limit:
            self._end("stall")
        elif progress is not None and is_new and self._nan.stays(progress.loss, epoch=progress.epoch, now=now):
            self._end("nan")
        elif self._objection and (is_new or now - self._asked >= 1.0):
            self._asked = now
            if reason := self._objection(self.progress):
                self._end("stopped", by=reason)

    def _take(self, progress: Progress, now: float) -> None:
        knows_place = progress.place != (None, None)
        if self.progress is None or not knows_place or progress.place != self.progress.place:
            self._moved = now
        if self._pace is None and progress.step is not None:
            self._pace = now, progress.step
        self.progress = progress

    def _beat(self, now: float) -> None:
        self._tree.alive()  # by the time the command ends, the parents of some may be gone
        said = [*progresses.words(self.progress, left_s=self._left_s(now)), self._show()] if self.progress else [self._show()]
        details = tuple(detail for detail in said if detail)
        elapsed_s = now - self._began
        self._console.beat(self._limits.label, elapsed_s=elapsed_s, limit_s=self._limits.timeout_s, details=details)

    def _left_s(self, now: float) -> float | None:
        if self.progress is None or self.progress.eta_s is not None:
            return self.progress.eta_s if self.progress else None
        if self._pace is None or self.progress.step is None or self.progress.steps is None:
            return None
        began, first = self._pace
        done = self.progress.step - first
        return (now - began) / done * max(0, self.progress.steps - self.progress.step) if done > 0 else None

    def _pass_on(self, received: signal.Signals) -> None:
        earlier = tuple(self._signals)
        self._signals.append(received)
        if not earlier:
            if self.ended is None:
                self._end("cancelled", by=received.name, number=received)
        elif received == signal.SIGHUP:
            pass  # a service manager sends it along with SIGTERM
        elif received == signal.SIGTERM and signal.SIGTERM not in earlier:
            if self.ended and self.ended.reason == "cancelled":
                process_group.insist(self._tree, first=earlier[0])
        else:
            self._kill()

    def _end(self, reason: Reason, *, by: str = "", number: signal.Signals = signal.SIGTERM) -> None:
        self.ended = Ended(reason, by=by)
        self._guard.told()
        process_group.ask(self._tree, number)
        self._kill_at = time.monotonic() + self._limits.grace_s
        if reason == "cancelled":
            self._console.say(f"{by}: the {self._limits.label} has {duration(self._limits.grace_s)} to save and end")

    def _kill(self) -> None:
        if self.ended:
            self.ended = replace(self.ended, killed=True)
        process_group.send(self._tree.leader, signal.SIGKILL)
        self._kill_at = float("inf")

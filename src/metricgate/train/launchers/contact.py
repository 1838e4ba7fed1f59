"""The engine while a job is followed: it may be away for a while, and a signal to metricgate may come at any moment."""

from __future__ import annotations

import queue
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from metricgate.train.console import Console
from metricgate.train.launchers.job import EngineUnreachableError, Launcher
from metricgate.train.signals import Received

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Pace:
    """How often one looks, and how long one waits, in seconds.

    Attributes:
        look_s: Between two looks at logs and files.
        ask_s: Between two questions to the engine, where something has just happened.
        ask_most_s: The same, after a long while without news.
        shared_s: How long a file may take from a node to here: the attribute cache of NFS is a minute.
        patience_s: How long an engine may be away when a job is to be handed over.
        end_s: How long the engine may take to end a job, beyond its grace period.
    """

    look_s: float = 1.0
    ask_s: float = 2.0
    ask_most_s: float = 30.0
    shared_s: float = 75.0
    patience_s: float = 600.0
    end_s: float = 20.0


class Contact:
    """An engine, and what metricgate has been told meanwhile.

    Attributes:
        launcher: The engine.
        console: Where it is said that it is away.
        pace: How often it is asked.
        signals: What metricgate got.
    """

    def __init__(self, launcher: Launcher, console: Console, pace: Pace, events: queue.SimpleQueue[Any]) -> None:
        self.launcher = launcher
        self.console = console
        self.pace = pace
        self.signals: list[signal.Signals] = []
        self._events = events
        self._nth = 0
        self._is_away = False

    @property
    def stopped_by(self) -> str:
        """The first signal; empty where there was none."""
        return self.signals[0].name if self.signals else ""

    def job(self, job_id: str) -> str:
        """A job of the engine, for people."""
        return f"{self.launcher.name} job {job_id}"

    def ask(self, question: Callable[[], _Answer]) -> _Answer | None:
        """Ask once; None where the engine does not answer now."""
        return self._once(question)[1]

    def ask_patiently(self, question: Callable[[], _Answer]) -> _Answer:
        """Ask until there is an answer.

        Raises:
            EngineUnreachableError: There was none for too long, or metricgate is to end.
        """
        until = time.monotonic() + self.pace.patience_s
        while time.monotonic() < until and not self.signals:
            answered, answer = self._once(question)
            if answered:
                return cast("_Answer", answer)
            self.pause(self.pace.ask_s)
        return question()

    def pause(self, seconds: float) -> None:
        """Wait; a signal ends it."""
        until = time.monotonic() + seconds
        while not self.signals and (left := until - time.monotonic()) > 0:
            self.listen(left)

    def listen(self, seconds: float) -> signal.Signals | None:
        """Wait for a signal: the one that came."""
        try:
            event: Received = self._events.get(timeout=max(0.0, seconds))
        except queue.Empty:
            return None
        if event.nth <= self._nth:
            return None
        self._nth = event.nth
        self.signals.append(event.number)
        return event.number

    def _once(self, question: Callable[[], _Answer]) -> tuple[bool, _Answer | None]:
        try:
            answer = question()
        except EngineUnreachableError as error:
            if not self._is_away:
                self._is_away = True
                self.console.say(
                    f"{self.launcher.name} does not answer ({error.found}); what it runs goes on, and it is asked again"
                )
            return False, None
        if self._is_away:
            self._is_away = False
            self.console.say(f"{self.launcher.name} answers again")
        return True, answer

"""The steps that change something outside this machine: what is done, and what is not, when one of them fails."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from metricgate.errors import MetricgateError, StageError


@dataclass
class Steps:
    """Steps in their order, each named by what exists when it is done.

    Attributes:
        all: The names.
        say: Is told when one begins.
        done: Those that are done.
    """

    all: Sequence[str]
    say: Callable[[str], None]
    done: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Do one of them.

        Raises:
            StageError: It failed; the error says what exists now and what does not.
        """
        self.say(name)
        try:
            yield
        except MetricgateError as error:
            raise self._told(error, name) from error
        self.done.append(name)

    def _told(self, error: MetricgateError, name: str) -> StageError:
        missing = [each for each in self.all if each not in self.done and each != name]
        there = [f"there now: {each}" for each in self.done] or ["there now: nothing; nothing was changed"]
        lines = [
            *(error.fix.splitlines() or ["see above"]),
            *there,
            f"perhaps in part: {name}",
            *(f"not there: {each}" for each in missing),
            "run the same command again: it goes on where it stopped",
        ]
        return StageError(error.found, expected=error.expected, where=error.where, fix="\n".join(lines))

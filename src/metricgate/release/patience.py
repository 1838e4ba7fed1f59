"""How long to go on when a registry does not answer as it should."""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone


@dataclass(frozen=True, kw_only=True)
class Patience:
    """How long to go on when a registry does not answer as it should.

    Attributes:
        attempts: How often one thing is tried at most.
        backoff: Seconds before the second attempt; twice as long before each further one.
        longest: Seconds that one wait may take. What would take longer is given up at once.
        settle: Seconds in which another writer, who read what we read, has written.
        sleep: Waits.
    """

    attempts: int = 5
    backoff: float = 1.0
    longest: float = 120.0
    settle: float = 1.0
    sleep: Callable[[float], None] = time.sleep

    def wait(self, attempt: int, *, asked: str | None = None) -> bool:
        """Wait before the next attempt.

        Args:
            attempt: The one that failed; the first is 1.
            asked: ``Retry-After`` of the answer: seconds or a date (RFC 9110, 10.2.3).

        Returns:
            False, without waiting: it was the last attempt, or the registry asks for more time than there is.
        """
        seconds = max(self.backoff * 2.0 ** (attempt - 1), _seconds(asked))
        if attempt >= self.attempts or seconds > self.longest:
            return False
        self.sleep(seconds)
        return True


def _seconds(asked: str | None) -> float:
    if asked is None:
        return 0.0
    if asked.strip().isdecimal():
        return float(asked)
    try:
        date = email.utils.parsedate_to_datetime(asked)
        if date.tzinfo is None:
            date = date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
    except (ValueError, OverflowError):
        return 0.0

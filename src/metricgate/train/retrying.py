"""Starts a command again after a failure that may not happen again.

A crash, a preemption, a lost connection or a stuck process may be over the next time, and a training goes on from its
checkpoint. Memory that was too small still is, the disk stays full, a missing module missing and a loss NaN: there, a retry
only burns hours. Only where memory ran out after a long while it was a leak or somebody else, and a retry helps.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from metricgate.train import command as commands
from metricgate.train import signals
from metricgate.train.command import Command, CommandError, Meter, Usage
from metricgate.train.console import Console, duration

LONGEST_WAIT_S = 600.0

# What nobody would want to be tried again needs no word about that it isn't.
_WANTED = frozenset({"cancelled", "stopped", "timeout"})


def wait_s(retry: int, *, backoff_s: float) -> float:
    """Seconds before the first, second … retry: doubled each time, ten minutes at most.

    There is no random part in it: nobody else waits for the same machine, and the text says how long.
    """
    return min(LONGEST_WAIT_S, backoff_s * 2.0 ** min(retry - 1, 60))


def run(
    command: Command,
    *,
    retries: int,
    backoff_s: float,
    console: Console,
    meter: Meter | None = None,
    run: Callable[..., Usage] = commands.run,
) -> Usage:
    """Run a command, and again after what a retry can help.

    Args:
        command: What to run; its time limit is that of all attempts and of the waiting between them.
        retries: How often it is started again.
        backoff_s: Seconds before the first retry.
        console: Where it is shown.
        meter: Measures the hardware while it runs.
        run: Runs it once: ``command.run``, or what has its arguments.

    Returns:
        What all attempts used.

    Raises:
        CommandError: The last attempt failed, or it was ended while waiting; its usage is that of all attempts.
        StageError: As ``command.run``.
    """
    total = Usage(0.0, 0.0, 0)
    began = time.monotonic()
    events: queue.SimpleQueue[Any] = queue.SimpleQueue()
    with signals.into(events):  # all the time, so that none is missed between two attempts
        for retry in range(1, retries + 2):
            spent_s = command.spent_s + time.monotonic() - began
            attempt = replace(command, spent_s=spent_s, attempt=command.attempt + retry - 1)
            try:
                return total + run(attempt, console=console, meter=meter)
            except CommandError as error:
                ran_s = error.usage.wall_s
                total += error.usage
                error.usage = total
                pause = wait_s(retry, backoff_s=backoff_s)
                left_s = command.timeout_s - command.spent_s - (time.monotonic() - began)
                if retry > retries or not error.retryable or pause >= left_s:
                    if retry <= retries and error.kind not in _WANTED:
                        why = "no time is left for a retry" if error.retryable else "a retry would not change that"
                        console.say(f"{error.summary} after {duration(ran_s)}; {why}")
                    raise
                console.say(
                    f"{error.summary} after {duration(ran_s)}; starting it again in {duration(pause)} "
                    f"(retry {retry} of {retries}, METRICGATE_CHECKPOINT_DIR is kept)"
                )
            _wait(command, pause, events, usage=total)
    raise AssertionError  # the last attempt returned or raised


def _wait(command: Command, seconds: float, events: queue.SimpleQueue[Any], *, usage: Usage) -> None:
    try:
        received = events.get(timeout=seconds)
    except queue.Empty:
        return
    sentence = f"was stopped by {received.number.name}, while it waited to be started again"
    raise commands.cancelled(command, sentence, usage=usage)

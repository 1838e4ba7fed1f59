"""Errors that a person can act on.

Every error says what was found, what was expected, where, and what to do. They are raised where they are understood
and caught only in ``cli``, which prints them and exits with their code. Exit codes 1, 3 and 4 belong to verdicts, not to
errors.
"""

from __future__ import annotations

import errno
from enum import IntEnum


class ExitCode(IntEnum):
    """The exit codes of every command."""

    PASSED = 0
    REGRESSION = 1
    USAGE = 2
    INCONCLUSIVE = 3
    NOT_COMPARABLE = 4
    STAGE_FAILED = 5


class MetricgateError(Exception):
    """The one base of all errors that metricgate raises on purpose.

    Args:
        found: What was found, as a sentence that can stand alone.
        expected: What would have been right.
        where: File, line, row or column.
        fix: What to do, with the line to add or the command to run where there is one.
    """

    exit_code: ExitCode = ExitCode.USAGE

    def __init__(self, found: str, *, expected: str = "", where: str = "", fix: str = "") -> None:
        super().__init__(found)
        self.found = found
        self.expected = expected
        self.where = where
        self.fix = fix

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.found}" if self.where else self.found]
        if self.expected:
            lines.append(f"  expected: {self.expected}")
        if self.fix:
            first, *rest = self.fix.splitlines()
            lines.append(f"  to fix: {first}")
            lines.extend(f"    {line}" for line in rest)
        return "\n".join(lines)


class UsageError(MetricgateError):
    """The command was called in a way that can't work."""


class ConfigError(MetricgateError):
    """``metricgate.yaml`` is missing or wrong."""


class InputError(MetricgateError):
    """A file that some command wrote is not what it should be: names file, row and column."""


class StageError(MetricgateError):
    """Training, evaluation or the infrastructure under them failed."""

    exit_code = ExitCode.STAGE_FAILED


def of_full_disk(error: OSError) -> StageError | None:
    """What to say about a disk that is full, or a quota that is spent; None about anything else."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return None
    return StageError(
        str(error.strerror),
        where=str(error.filename or ""),
        expected="room for what metricgate writes: logs, runs, a copy of the model",
        fix="free the disk, or say --run-dir (in an action: run-dir) with a folder on a larger one",
    )

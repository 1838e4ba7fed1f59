"""What the output of a command that failed ended with: the exceptions that ended it, told from those that it survived.

A log is full of errors that were no reason to stop: a library that looked for a GPU, a request that was tried again. What ended
a Python program is its last traceback, with those that it names as its cause. Programs that start others (torchrun) end with a
traceback of their own, which says nothing; then it is the one before.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

LINES = 200
_CLOSING = 20  # without a traceback, what a program says last
_PAST = 40  # a program that says so much after a traceback has survived it

_PREFIX = re.compile(r"^(?:\[(?:default|rank)?\d+\]:\s?|\([\w.:]+ pid=\d+(?:, ip=[\d.]+)?\)\s)")  # of torchrun, of Ray
_TRACEBACK = re.compile(r"^\s*(?:\+ )?(?:Exception Group )?Traceback \(most recent call last\):$")
_ALONE = re.compile(r"^[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|OutOfMemory)(?::|$)")
_JOINTS = (
    "During handling of the above exception, another exception occurred:",
    "The above exception was the direct cause of the following exception:",
)
_SAYS_NOTHING = re.compile(
    r"^[\w.]*(?:ChildFailedError|CalledProcessError|ProcessRaisedException|ProcessExitedException|SystemExit)\b"
)


@dataclass(frozen=True)
class LastWords:
    """The end of an output.

    Attributes:
        errors: The exception that ended the program, type and message, then those that led to it. Empty where there is none.
        closing: The last lines.
    """

    errors: tuple[str, ...]
    closing: tuple[str, ...]


@dataclass
class _Exception:
    first: int  # line of its traceback
    last: int  # of its type
    text: str
    is_consequence: bool


def of(lines: Sequence[str]) -> LastWords:
    """Find out what an output ended with.

    Args:
        lines: The last lines, without control characters; the last 200 of them are looked at.
    """
    recent = [line for line in lines if line.strip()][-LINES:]
    streams: dict[str, list[tuple[int, str]]] = {}
    for number, line in enumerate(recent):
        prefix = match[0] if (match := _PREFIX.match(line)) else ""
        streams.setdefault(prefix, []).append((number, line[len(prefix) :]))
    found = sorted(
        (one for stream in streams.values() for one in _exceptions(stream, last=len(recent) - 1)), key=lambda one: one.last
    )
    closing = tuple(line[len(match[0]) :] if (match := _PREFIX.match(line)) else line for line in recent[-_CLOSING:])
    return LastWords(errors=_ending(found, recent), closing=closing)


def _exceptions(stream: Sequence[tuple[int, str]], *, last: int) -> list[_Exception]:
    found: list[_Exception] = []
    begun: int | None = None  # a traceback whose exception has not come yet
    is_consequence = is_below_code = False
    for number, line in stream:
        if line.strip() in _JOINTS:
            is_consequence, begun = True, None
        elif _TRACEBACK.match(line):
            begun = number
        elif begun is not None and not line.startswith((" ", "\t", "|")):
            found.append(_Exception(begun, number, line, is_consequence))
            begun, is_consequence = None, False
        elif begun is None and _ALONE.match(line) and not is_consequence and (number == last or is_below_code):
            found.append(_Exception(number, number, line, is_consequence=False))
        elif begun is None and found and not is_consequence:
            found[-1].text += f"\n{line}"
        is_below_code = line.startswith("  ")  # of a syntax error, which has no traceback
    return found


def _ending(found: Sequence[_Exception], lines: Sequence[str]) -> tuple[str, ...]:
    texts: list[str] = []
    for index in range(len(found) - 1, -1, -1):
        one = found[index]
        following = found[index + 1].first if index + 1 < len(found) else len(lines)
        said = [line for line in lines[one.last + 1 : following] if not line.startswith((" ", "\t"))]
        if len(said) > _PAST:
            break
        texts.append(one.text)
        if not one.is_consequence and not _SAYS_NOTHING.match(one.text):
            break
    return tuple(texts)

"""What is said to whoever sent a request, and to whoever started the server."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer, not an accident
    """A request that gets no prediction. Its text is the answer.

    Args:
        message: What was found and what was expected; nothing about the server's insides.
        status: The HTTP status.
    """

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.message = message
        self.status = status


class CannotServeError(Exception):
    """The server can't start as it was asked to: its text says why, and what to do."""


def first_line(text: str | None) -> str:
    """What a library says went wrong, without where in the library.

    TensorFlow tells it in the line before the operation's name, if it names one; everyone else in the first.
    """
    lines = [line.strip() for line in (text or "").splitlines() if line.strip()]
    at = next((at for at, line in enumerate(lines) if at and line.startswith("[[{{node")), 1)
    return lines[at - 1][:300] if lines else "no reason given"

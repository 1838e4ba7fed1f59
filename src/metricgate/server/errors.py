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

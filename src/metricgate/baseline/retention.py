"""Which recorded commits are kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime


def superfluous(recorded: Mapping[str, datetime], *, keep: int, needed: Collection[str]) -> tuple[str, ...]:
    """The commits that may go: neither needed nor among the newest.

    Args:
        recorded: When each commit was recorded.
        keep: How many of the others stay, the newest ones.
        needed: Commits that stay whatever their age: an open pull request, a tag or the ledger refers to them.

    Returns:
        Oldest first.
    """
    others = sorted((time, commit) for commit, time in recorded.items() if commit not in needed)
    return tuple(commit for _, commit in others[: max(0, len(others) - keep)])

"""How often this gate and others block healthy trainings, and how many worse ones they catch, on the same real trainings."""

from __future__ import annotations


def main() -> None:
    """Train what is missing, an hour or more on one core, and print the table."""
    from benchmarks.gates import __main__ as command

    command.main([])

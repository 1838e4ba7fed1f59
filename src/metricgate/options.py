"""What the options of all commands have in common."""

from __future__ import annotations

import argparse
from pathlib import Path

EXIT_CODES = """exit codes:
  0 passed (warnings allowed)     1 a rule failed: a regression
  2 wrong use or malformed input  3 inconclusive, and the policy says fail
  4 not comparable, and the policy says fail
  5 training, evaluation or infrastructure failed"""


def command(
    commands: argparse._SubParsersAction[argparse.ArgumentParser],
    name: str,
    what: str,
    example: str,
) -> argparse.ArgumentParser:
    """Add a command; one without a description is not listed."""
    options = {} if what is argparse.SUPPRESS else {"help": what}
    return commands.add_parser(
        name,
        description=None if what is argparse.SUPPRESS else what[0].upper() + what[1:] + ".",
        epilog=f"example:\n  {example}\n\n{EXIT_CODES}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        **options,  # type: ignore[arg-type]  # typeshed has no Unpack for add_parser
    )


def config(parser: argparse._ActionsContainer) -> None:
    """Add `--config`."""
    parser.add_argument("--config", type=Path, default=Path("metricgate.yaml"), metavar="FILE", help="default: metricgate.yaml")

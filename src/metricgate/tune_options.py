"""What can be typed behind ``metricgate tune``."""

from __future__ import annotations

import argparse
from pathlib import Path

from metricgate import options


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command that searches for better parameters."""
    tune = options.command(
        commands,
        "tune",
        "search for better parameters, train the best again, judge them; run again, it goes on where it stopped",
        "metricgate tune --trials 100 --workers 4\n"
        "  metricgate tune --storage sqlite:///trials.db --no-retrain     # on every machine that helps\n"
        "  metricgate tune --apply                                        # and write the best into the parameters' file",
    )
    options.config(tune)
    tune.add_argument("--trials", type=_count, metavar="N", help="how many there are to be in all (default: tune.trials)")
    tune.add_argument("--workers", type=_count, metavar="N", help="how many run at once here (default: tune.workers)")
    tune.add_argument(
        "--storage",
        metavar="PLACE",
        help="where trials are kept: a file, or a database's URL without a password; with one, it belongs into "
        "METRICGATE_TUNE_STORAGE (default: tune.storage, or a journal file)",
    )
    tune.add_argument(
        "--study", metavar="NAME", help="go on with this study, or begin it (default: by model, space, metric and command)"
    )
    tune.add_argument("--no-retrain", action="store_true", help="don't train and judge the best parameters again")
    tune.add_argument(
        "--baseline", type=Path, metavar="FOLDER", help="runs of the present parameters (default: they are trained too)"
    )
    tune.add_argument("--apply", action="store_true", help="write the best parameters into the file that tune.params names")
    tune.add_argument("--report", type=Path, metavar="FILE", help="write the report as Markdown (- is standard output)")
    tune.add_argument("--json", action="store_true", help="print what was found as JSON")


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        message = f"{text!r} is not a whole number, 1 or more"
        raise argparse.ArgumentTypeError(message)
    return int(text)

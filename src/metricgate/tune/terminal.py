"""What a search found, for a terminal."""

from __future__ import annotations

import tabulate

from metricgate.report import plain
from metricgate.report import terminal as report_terminal
from metricgate.tune import wording
from metricgate.tune.document import Tuning


def render(tuning: Tuning) -> str:
    """The whole report as plain text; the verdict at the end."""
    rows = [[plain.text(cell, limit=60) for cell in wording.parameter_row(info)] for info in tuning.parameters]
    parameters = tabulate.tabulate(
        rows,
        headers=["parameter", "present", "best", "space", "importance"],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "left", "right"),
    )
    headers = ["trial", tuning.metric, *(info.name for info in tuning.parameters)]
    trials = tabulate.tabulate(
        [[plain.text(cell, limit=30) for cell in row] for row in wording.trial_rows(tuning)],
        headers=[plain.text(header, limit=30) for header in headers],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("right",) * len(headers),
    )
    parts = [f"{plain.text(wording.headline(tuning))}\n{plain.text(wording.counts(tuning), limit=1000)}"]
    if again := wording.retrained(tuning):
        parts.append(plain.text(again, limit=1000))
    parts += [parameters, wording.importance(tuning)]
    parts += [f"⚠️  {plain.text(warning.replace('`', ''), limit=1000)}" for warning in tuning.warnings]
    parts.append(f"The best trials\n{trials}")
    if tuning.verdict is not None:
        parts.append(f"Best parameters against present ones\n{report_terminal.render(tuning.verdict)}")
    parts.append(f"Study {plain.text(tuning.study)}")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"

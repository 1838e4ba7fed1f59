"""What a search found, as GitHub's Markdown: for the step summary and the text of a pull request."""

from __future__ import annotations

import tabulate

from metricgate.report import markdown as report_markdown
from metricgate.report import plain
from metricgate.tune import wording
from metricgate.tune.document import Tuning

BUDGET = 64_000
"""Characters; GitHub cuts the text of a pull request at 65,536."""

_MOST_POINTS = 60
_LEAST = 4_000


def render(tuning: Tuning, *, budget: int = BUDGET) -> str:
    """The report: what was found, the parameters, what to know; chart, trials and verdict folded.

    Raises:
        ValueError: The budget has no room for it (under 4,000 characters).
    """
    if budget < _LEAST:
        message = f"a tuning report needs {_LEAST:,} characters at least, not {budget}"
        raise ValueError(message)
    parts = [f"### {_prose(wording.headline(tuning))}", _prose(wording.counts(tuning))]
    if again := wording.retrained(tuning):
        parts.append(_prose(again))
    parts.append(_parameters(tuning))
    parts += [f"⚠️ {_prose(warning)}" for warning in tuning.warnings]
    folded = [_folded("Best value after each trial", chart) for chart in [_chart(tuning)] if chart]
    folded.append(_folded(f"The best {wording.trials(len(wording.trial_rows(tuning)))}", _trials(tuning)))
    text = _joined([*parts, *folded, _footer(tuning)])
    if tuning.verdict is not None:
        room = budget - len(text) - 200
        if room >= 1000:
            verdict = report_markdown.render(tuning.verdict, budget=room)
            title = f"{wording.MARKS[tuning.verdict.verdict]} The gate: best parameters against present ones"
            text = _joined([*parts, _folded(title, verdict), *folded, _footer(tuning)])
    for left_out in range(1, len(folded) + 1):
        if len(text) <= budget:
            return text
        text = _joined([*parts, *folded[left_out:], _footer(tuning)])
    return text if len(text) <= budget else text[: budget - 2] + "…\n"


def _joined(parts: list[str]) -> str:
    return "\n\n".join(part.rstrip("\n") for part in parts if part) + "\n"


def _folded(title: str, content: str) -> str:
    return f"<details><summary>{title}</summary>\n\n{content.rstrip()}\n\n</details>"


def _parameters(tuning: Tuning) -> str:
    rows = [[plain.markdown(cell) for cell in wording.parameter_row(info)] for info in tuning.parameters]
    headers = ["parameter", "present", "best", "space", "importance"]
    table = tabulate.tabulate(
        rows, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=("left", "right", "right", "left", "right")
    )
    return f"{table}\n\n{_prose(wording.importance(tuning))}"


def _trials(tuning: Tuning) -> str:
    headers = ["trial", plain.markdown(tuning.metric), *(plain.markdown(info.name) for info in tuning.parameters)]
    rows = [[plain.markdown(cell) for cell in row] for row in wording.trial_rows(tuning)]
    return tabulate.tabulate(rows, headers=headers, tablefmt="pipe", disable_numparse=True, colalign=("right",) * len(headers))


def _chart(tuning: Tuning) -> str:
    """The best value so far; where it gets flat, more trials would hardly help."""
    points = tuning.best_so_far
    if len(points) < 3:
        return ""
    apart = -(-len(points) // _MOST_POINTS)
    shown = [point for index, point in enumerate(points) if index % apart == 0 or index == len(points) - 1]
    line = ", ".join(f"{value:.6g}" for _, value in shown)
    return (
        f'```mermaid\nxychart-beta\n  title "{plain.mermaid(tuning.metric)}: best so far"\n'
        f'  x-axis "trials that got to the end" {shown[0][0]} --> {shown[-1][0]}\n  line [{line}]\n```'
    )


def _footer(tuning: Tuning) -> str:
    at = f", at `{tuning.commit[:7]}`" if tuning.commit and tuning.commit.isalnum() else ""
    return f"Study {plain.markdown(tuning.study)}{at} · everything is in tuning.json"


def _prose(text: str, *, limit: int = 1000) -> str:
    """Escape, but keep as code what our own sentences quote with backticks."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0 or len(text) > limit:
        return plain.markdown(text, limit=limit)
    return "".join(_code(piece) if index % 2 else _spaced(piece, limit) for index, piece in enumerate(pieces))


def _spaced(piece: str, limit: int) -> str:
    escaped = plain.markdown(piece, limit=limit)
    return f"{' ' if piece[:1] == ' ' else ''}{escaped}{' ' if len(piece) > 1 and piece[-1] == ' ' else ''}"


def _code(piece: str) -> str:
    shown = plain.text(piece).replace("|", "\\|")
    return f"`{shown}`" if shown else ""

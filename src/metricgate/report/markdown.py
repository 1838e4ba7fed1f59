"""The report as GitHub's Markdown: verdict and reason first, one table, everything else folded."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import tabulate

from metricgate.report import cost, plain, summary
from metricgate.report.document import Report, RuleInfo

if TYPE_CHECKING:
    import jinja2

BUDGET = 65_000
"""Characters; GitHub cuts a comment at 65,536."""

ALIGN = ("left", "right", "right", "right", "right", "center")


@dataclass(frozen=True)
class _Detail:
    """How much of each part is shown."""

    rules: int = 200
    slices: int = 200
    ids: int = 50
    chart: bool = True
    certainty: bool = True
    warnings: int = 20
    reason: int = 1000


_LEVELS = (
    _Detail(),
    _Detail(chart=False),
    _Detail(chart=False, slices=30, ids=20),
    _Detail(chart=False, slices=10, ids=5, rules=50),
    _Detail(chart=False, slices=0, ids=0, rules=20, warnings=5),
    _Detail(chart=False, slices=0, ids=0, rules=5, warnings=2, certainty=False, reason=300),
    _Detail(chart=False, slices=0, ids=0, rules=0, warnings=0, certainty=False, reason=100),
)
"""First charts go, then slices, then details; the verdict and its reason stay."""


def render(report: Report, *, budget: int = BUDGET) -> str:
    """The report as Markdown of at most ``budget`` characters.

    Raises:
        ValueError: The budget has no room for a headline (under 1,000 characters).
    """
    if budget < 1000:
        message = f"a report needs 1,000 characters at least, not {budget}"
        raise ValueError(message)
    for level, detail in enumerate(_LEVELS):
        text = _render(report, detail, shortened=level > 1)
        if len(text) <= budget:
            return text
    return text[: budget - 2] + "…\n"


def _render(report: Report, detail: _Detail, *, shortened: bool) -> str:
    rules = summary.table_rules(report)
    shown = rules[: detail.rules]
    sliced = summary.slices(report)
    table = _table(report, shown) if shown else ""
    if len(rules) > len(shown):
        table += f"\n\n{len(rules) - len(shown)} more rules are not shown."
    return _template().render(
        headline=plain.markdown(summary.headline(report)),
        lead=_prose(summary.lead(report), limit=detail.reason),
        accepted=plain.markdown(summary.accepted(report)),  # it quotes nothing, and a login may hold a backtick
        policy_changes=[_prose(change) for change in report.policy_changes[: detail.warnings]],
        table=table,
        footnote=_prose(summary.footnote(report, shown), limit=1000),
        warnings=[_prose(warning, limit=detail.reason) for warning in report.warnings[: detail.warnings]],
        slices=_slices(report, sliced, detail) if sliced or report.untested_slices else "",
        slices_title=summary.slices_title(report),
        untested=_prose(summary.untested(report, limit=detail.slices), limit=5000),
        chart=_chart(sliced) if detail.chart else "",
        flips_title=_flips_title(report),
        flips=_flips(report, detail.ids),
        certainty=[_prose(line, limit=500) for line in summary.certainty(report)] if detail.certainty else [],
        footer=_prose(summary.footer(report)),
        spent=[plain.markdown(line, limit=500) for line in (cost.told_reused(report), cost.told(report)) if line],
        shortened=shortened,
    )


@cache
def _template() -> jinja2.Template:
    import jinja2  # most steps show no report

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("metricgate.report"),
        autoescape=False,  # noqa: S701 - Markdown, not HTML: every value goes through `plain.markdown`
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template("report.md.j2")


def _prose(text: str, *, limit: int = plain.MAX_LENGTH) -> str:
    """Escape, but keep as code what our own sentences quote with backticks."""
    pieces = text.split("`")
    if len(pieces) % 2 == 0 or len(text) > limit:
        return plain.markdown(text, limit=limit)
    return "".join(_code(piece) if index % 2 else _spaced(piece, limit) for index, piece in enumerate(pieces))


def _spaced(piece: str, limit: int) -> str:
    escaped = plain.markdown(piece, limit=limit)
    return f"{' ' if piece[:1] == ' ' else ''}{escaped}{' ' if len(piece) > 1 and piece[-1] == ' ' else ''}"


def _code(piece: str) -> str:
    """A code span; GitHub interprets nothing in it, and only a table could still break at a bar."""
    shown = plain.text(piece).replace("|", "\\|")
    return f"`{shown}`" if shown else ""


def _table(report: Report, rules: list[RuleInfo]) -> str:
    def head(side: str, commit: str) -> str:
        return f"{side} `{plain.text(commit)}`" if commit.isalnum() else side

    return tabulate.tabulate(
        [_cells(rule) for rule in rules],
        headers=[
            "",
            head("baseline", summary.commit(report.baseline)),
            head("this change", summary.commit(report.candidate)),
            f"difference ({(1 - report.alpha) * 100:g}% interval)",
            "allowed",
            "",
        ],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=ALIGN,
    )


def _cells(rule: RuleInfo) -> list[str]:
    row = summary.row(rule)
    return [f"{plain.markdown(row.name)} {row.arrow}", row.baseline, row.candidate, row.difference, row.allowed, row.outcome]


def _slices(report: Report, rules: list[RuleInfo], detail: _Detail) -> str:
    shown = rules[: detail.slices]
    table = _table(report, shown) if shown else ""
    hidden = len(rules) - len(shown)
    return f"{table}\n\n{hidden} more slices are not shown." if hidden else table or "No slice was large enough to test."


def _chart(rules: list[RuleInfo]) -> str:
    """A bar chart of the metric that has most slices; GitHub's Mermaid lags behind, so the table stands above it."""
    drawn = [rule for rule in rules if rule.difference is not None]
    if not drawn:
        return ""
    metric = drawn[0].metric
    drawn = [rule for rule in drawn if rule.metric == metric][:20]
    if len(drawn) < 2:
        return ""
    names = ", ".join(f'"{plain.mermaid((rule.slice or "").partition("=")[2])}"' for rule in drawn)
    bars = ", ".join(f"{(rule.difference or 0.0) + 0.0:.6g}" for rule in drawn)
    title = f'"{plain.mermaid(metric)}: difference by slice, worst first"'
    return f"```mermaid\nxychart-beta\n  title {title}\n  x-axis [{names}]\n  bar [{bars}]\n```"


def _flips_title(report: Report) -> str:
    flips = report.flips
    if flips.metric is None:
        return ""
    return f"Examples: {flips.count_worse:,} got worse, {flips.count_better:,} got better"


def _flips(report: Report, limit: int) -> list[str]:
    flips = report.flips
    there = "every id is" if flips.complete else f"the first {max(len(flips.worse), len(flips.better)):,} ids of each are"
    lines = [f"By {_prose(flips.metric or '')}, in most runs of each side; {there} in report.json."]
    for word, ids, count in (("Worse", flips.worse, flips.count_worse), ("Better", flips.better, flips.count_better)):
        if not ids:
            continue
        shown = ", ".join(_code(identifier.replace("`", "'")) for identifier in ids[:limit])
        more = f" and {count - limit:,} more" if count > limit else ""
        lines.append(f"{word}: {shown}{more}" if shown else f"{word}: {count:,}")
    return lines

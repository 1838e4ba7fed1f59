"""The report for a terminal."""

from __future__ import annotations

import tabulate

from metricgate.report import cost, plain, summary
from metricgate.report.document import Report, RuleInfo

MAX_ROWS = 40


def headline(report: Report) -> str:
    """The verdict in one line, and its reason in the next."""
    return f"{plain.text(summary.headline(report))}\n{plain.text(summary.lead(report), limit=1000)}\n"


def render(report: Report) -> str:
    """The whole report as plain text."""
    rules = summary.table_rules(report)
    parts = [headline(report), _table(report, rules)]
    if note := summary.footnote(report, rules):
        parts.append(note.replace("`", ""))
    if accepted := summary.accepted(report):
        parts.append(f"✋ {plain.text(accepted)}")
    parts += [f"⚠️  {plain.text(warning, limit=1000)}" for warning in report.warnings]
    if report.policy_changed:
        changes = "".join(f"\n  {plain.text(change)}" for change in report.policy_changes)
        parts.append(f"⚠️  This change edits the policy; it was judged by the policy of the base branch:{changes}")
    sliced = summary.slices(report)
    if sliced:
        parts.append(f"{summary.slices_title(report)}\n{_table(report, sliced)}")
    if small := summary.untested(report, limit=20):
        parts.append(plain.text(small, limit=2000))
    if report.flips.metric is not None:
        parts.append(_flips(report))
    lines = "\n".join(f"  - {plain.text(line, limit=500)}" for line in summary.certainty(report))
    parts.append(f"How sure is this?\n{lines}")
    parts.append(plain.text(summary.footer(report)))
    parts += [plain.text(line, limit=500) for line in (cost.told_reused(report), cost.told(report)) if line]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _table(report: Report, rules: list[RuleInfo]) -> str:
    rows = [summary.row(rule) for rule in rules[:MAX_ROWS]]
    table = tabulate.tabulate(
        [
            [f"{plain.text(r.name, limit=60)} {r.arrow}", r.baseline, r.candidate, r.difference, r.allowed, r.outcome]
            for r in rows
        ],
        headers=["", "baseline", "this change", f"difference ({(1 - report.alpha) * 100:g}% interval)", "allowed", ""],
        tablefmt="simple",
        disable_numparse=True,
        colalign=("left", "right", "right", "right", "right", "left"),
    )
    more = len(rules) - len(rows)
    return f"{table}\n… and {more} more" if more > 0 else table


def _flips(report: Report) -> str:
    flips = report.flips
    lines = [f"Examples: {flips.count_worse:,} got worse, {flips.count_better:,} got better"]
    for word, ids, count in (("worse", flips.worse, flips.count_worse), ("better", flips.better, flips.count_better)):
        if ids:
            more = f" … and {count - 10:,} more" if count > 10 else ""
            lines.append(f"  {word}: {', '.join(plain.text(i, limit=40) for i in ids[:10])}{more}")
    return "\n".join(lines)

"""A report on GitHub's pages: the step summary, and annotations on the lines of the rules that did not pass."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath

from metricgate import config_file
from metricgate.errors import ConfigError, MetricgateError
from metricgate.github import commands
from metricgate.github.commands import Commands, Level
from metricgate.report.document import Report, RuleInfo

_LEVELS: Mapping[str, Level] = {"fail": "error", "inconclusive": "warning", "not_comparable": "warning"}
TITLES = {"fail": "failed", "inconclusive": "not sure", "not_comparable": "not comparable"}
"""What an outcome is called beside the metric's name."""
_REASONS = 5


def annotate(runner: Commands, report: Report, *, path: PurePosixPath, text: str) -> None:
    """Point at the line of each rule that did not pass, worst first.

    Args:
        runner: Who to tell.
        report: What the rules say.
        path: The configuration file, relative to the root of the repository.
        text: That file as the change has it.
    """
    groups: dict[tuple[int, str], list[RuleInfo]] = {}
    for rule in report.rules:
        if rule.outcome != "pass":
            groups.setdefault((rule.rule, rule.outcome), []).append(rule)
    for index, outcome in sorted(groups, key=lambda key: (list(_LEVELS).index(key[1]), key[0])):
        rules = groups[index, outcome]
        reasons = [rule.reason or f"{rule.metric}: {TITLES[outcome]}" for rule in rules]
        if len(reasons) > _REASONS:
            reasons = [*reasons[:_REASONS], f"… and {len(reasons) - _REASONS} more slices"]
        runner.annotate(
            _LEVELS[outcome],
            "\n".join(reasons),
            title=f"{report.name}: {rules[0].metric} {TITLES[outcome]}",
            file=str(path),
            line=line_of(text, index, report),
        )


def explain(runner: Commands, error: MetricgateError, *, title: str) -> None:
    """Show an error where a reader looks: as an annotation and in the step summary."""
    runner.annotate("error", str(error), title=title)
    runner.summary(f"### ❌ {title}\n\n{commands.fenced(str(error))}")


def line_of(text: str, index: int, report: Report) -> int | None:
    """Where a rule stands in the configuration as the change has it; None where that can't be known."""
    if report.policy_changed:
        return None  # the rules that judged stand in another version of the file
    try:
        return config_file.line_of(text, ("gate", "rules", index))
    except ConfigError:
        return None

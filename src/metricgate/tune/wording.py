"""What a search found, in sentences and rows that Markdown and terminal share."""

from __future__ import annotations

from metricgate.report import numbers
from metricgate.tune import findings
from metricgate.tune.document import ParameterInfo, Tuning

MARKS = {"pass": "✅", "fail": "❌", "inconclusive": "⚪", "not_comparable": "⚠️"}
MOST_TRIALS = 10
"""How many of the best trials are listed."""


def trials(count: int) -> str:
    """So many trials."""
    return "1 trial" if count == 1 else f"{count} trials"


def headline(tuning: Tuning) -> str:
    """What was found, in one line."""
    metric = f"{tuning.metric} {numbers.plain(tuning.best.value)}"
    if not tuning.changed:
        return f"🔎 {tuning.name}: the present parameters are the best of {trials(tuning.count('complete'))}, {metric}"
    if tuning.current is not None and tuning.current.value is not None:
        metric = f"{tuning.metric} {numbers.plain(tuning.current.value)} → {numbers.plain(tuning.best.value)}"
    return f"🔎 {tuning.name}: {metric}, the best of {trials(tuning.count('complete'))}"


def counts(tuning: Tuning) -> str:
    """How many trials there were, and what became of them."""
    parts = [f"{tuning.count('complete')} got to the end"]
    if pruned := tuning.count("pruned"):
        parts.append(f"{pruned} pruned")
    if failed := tuning.count("failed"):
        parts.append(f"{failed} failed")
    if running := tuning.count("running"):
        parts.append(f"{running} are running elsewhere")
    done = len([trial for trial in tuning.trials if trial.state not in ("running", "waiting")])
    again = f" {trials(tuning.lost)} had to be done again: the machine was gone." if tuning.lost else ""
    return f"{done} of {trials(tuning.budget)}: {', '.join(parts)}.{again}"


def retrained(tuning: Tuning) -> str:
    """What the parameters are worth in new trainings, which were not chosen for it."""
    made = tuning.retrained
    if made is None or made.best is None:
        return ""
    with_seeds = f"with the seeds {', '.join(map(str, made.seeds))}" if len(made.seeds) > 1 else f"with seed {made.seeds[0]}"
    text = f"Trained again {with_seeds}: {tuning.metric} {numbers.plain(made.best)} with the best parameters"
    if made.current is not None:
        text += f", {numbers.plain(made.current)} with the present ones ({numbers.signed(made.best - made.current)})"
    return f"{text}. The trial had {numbers.plain(tuning.best.value)}."


def parameter_row(info: ParameterInfo) -> list[str]:
    """A parameter: name, present and best value, space, importance."""
    share = "" if info.importance is None else f"{info.importance * 100:.0f}%"
    return [info.name, findings.text(info.current) if info.known else "", findings.text(info.best), info.space, share]


def trial_rows(tuning: Tuning) -> list[list[str]]:
    """The best trials that got to their end: number, value, steps, seconds, parameters."""
    ended = [trial for trial in tuning.trials if trial.state == "complete" and trial.value is not None]
    ended.sort(key=lambda trial: ((trial.value or 0.0) * (-1 if tuning.direction == "higher" else 1), trial.number))
    return [
        [
            f"{trial.number}" + (" (present)" if tuning.current and trial.number == tuning.current.number else ""),
            numbers.plain(trial.value),
            *(findings.text(trial.values[info.name]) if info.name in trial.values else "" for info in tuning.parameters),
        ]
        for trial in ended[:MOST_TRIALS]
    ]


def importance(tuning: Tuning) -> str:
    """What the shares of importance mean, or why there are none."""
    if any(info.importance is not None for info in tuning.parameters):
        return "Importance: how much a parameter decides whether a trial is among the best tenth (PED-ANOVA)."
    return f"Importance needs {findings.ENOUGH_FOR_IMPORTANCE} trials that got to their end, with different values."

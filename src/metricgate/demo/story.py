"""What the demo tells: one sentence for each verdict, what simpler checks would have said, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from metricgate.report import numbers
from metricgate.report.document import Report, RuleInfo

ACCURACY = "accuracy"
DROPS = (0.0, 0.01, 0.02)


@dataclass(frozen=True)
class PullRequest:
    """One of the two changes.

    Attributes:
        branch: Its branch.
        title: Its commit message.
        is_harmless: Whether it was made to be.
        nature: What it really does to the model; completes "…: ".
    """

    branch: str
    title: str
    is_harmless: bool
    nature: str


PULL_REQUESTS = (
    PullRequest(
        branch="tf-data-pipeline",
        title="Read batches through tf.data, and give the network a module of its own",
        is_harmless=True,
        nature="the images come in another order, which changes the numbers no more than another seed does",
    ),
    PullRequest(
        branch="brighten-faint-strokes",
        title="Brighten faint strokes before training",
        is_harmless=False,
        nature="training now sees brightened images, while evaluation, like production, sees them as they are",
    ),
)


def verdict(pull_request: PullRequest, report: Report) -> str:
    """One sentence on a verdict; true whichever way it went."""
    change = _change(report)
    if report.verdict == "fail":
        reason = (
            "one of the healthy changes that a gate with an error rate blocks now and then"
            if pull_request.is_harmless
            else pull_request.nature
        )
        return (
            f"Blocked: {reason}; {change}, and chance in {report.candidate.runs} trainings a side and {_examples(report)} test "
            f"images does not explain what goes beyond the limits ({numbers.p_value(_strongest(report))})."
        )
    if report.verdict == "pass":
        limit = _limit(report)
        return f"Safe to merge: {pull_request.nature}; {change}, and a loss of more than {limit} is ruled out."
    return f"Not blocked, with a warning: {change}, and the evidence neither shows nor rules out a loss beyond the limits."


def simpler_checks(
    baseline: Sequence[float], harmless: Sequence[float], harmful: Sequence[float], *, floor: float | None
) -> str:
    """What fixed thresholds on one training a side would have said, counted over all pairs of the trainings at hand.

    Args:
        baseline: The accuracy of each training of main.
        harmless: Of each training of the harmless change.
        harmful: Of each training of the harmful one.
        floor: The lowest accuracy that the policy accepts.
    """
    pairs = len(baseline) * len(harmful)
    any_drop, *points = DROPS
    parts = [f"blocking any drop would have blocked the harmless change in {_blocked(baseline, harmless, any_drop)} of {pairs}"]
    for drop in points:
        size = f"{drop * 100:g} point{'s'[: drop != 0.01]}"
        parts.append(f"a drop of more than {size} the harmful one in {_blocked(baseline, harmful, drop)} of {pairs}")
    if floor is not None:
        below = sum(value < floor for value in harmful)
        parts.append(f"a floor of {floor:g} in {below} of {len(harmful)}")
    return f"With one training a side, that is for the {pairs} pairs of these trainings, {_list(parts)}."


def next_steps(*, on_path: str | None) -> str:
    """What to do in one's own repository.

    Args:
        on_path: The folder of the command `metricgate`, if it is not on the PATH.
    """
    first = f'  export PATH="{on_path}:$PATH"\n' if on_path else ""
    return f"""\
Next, in your own repository:
{first}\
  metricgate init        # looks around; writes metricgate.yaml and .github/workflows/model.yml, overwrites nothing
  metricgate run         # trains and evaluates what is checked out, one run a seed, and prints the folder
  git switch my-branch && metricgate run
  metricgate compare .metricgate/runs/BASELINE .metricgate/runs/CANDIDATE
Then push the workflow: every pull request gets such a report, and is blocked only when the evidence says so.
"""


def _change(report: Report) -> str:
    """``accuracy fell by 1.9 points and confidence by 0.05``."""
    moved = [rule for rule in report.rules if rule.kind == "max_regression" and rule.slice is None]
    parts: list[str] = []
    for rule in moved:
        difference = rule.difference or 0.0
        verb = "fell" if difference < 0 else "rose"
        size = "not at all" if difference == 0 else f"by {numbers.amount(abs(difference), rule)}"
        parts.append(f"{rule.metric} {verb} {size}" if difference else f"{rule.metric} did not change")
    return " and ".join(parts)


def _limit(report: Report) -> str:
    """``1 point of accuracy or 0.02 of confidence``."""
    rules = [rule for rule in report.rules if rule.kind == "max_regression" and rule.slice is None]
    return " or ".join(f"{numbers.amount(rule.limit, rule)} of {rule.metric}" for rule in rules)


def _examples(report: Report) -> str:
    return f"{max((rule.n or 0) for rule in report.rules):,}"


def _strongest(report: Report) -> float | None:
    failed: list[RuleInfo] = [rule for rule in report.rules if rule.outcome == "fail" and rule.p_adjusted is not None]
    return min((rule.p_adjusted for rule in failed if rule.p_adjusted is not None), default=None)


def _blocked(baseline: Sequence[float], candidate: Sequence[float], drop: float) -> int:
    # Accuracies are multiples of 1/n: rounding keeps a drop of exactly the threshold from counting as more.
    return sum(round(before - after - drop, 9) > 0 for before, after in product(baseline, candidate))


def _list(parts: Sequence[str]) -> str:
    return f"{', '.join(parts[:-1])}, and {parts[-1]}" if len(parts) > 1 else "".join(parts)

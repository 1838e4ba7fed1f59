"""What the demo tells: one sentence for each verdict, what fixed thresholds would have said, and what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from metricgate.report import numbers
from metricgate.report.document import Report, RuleInfo

ACCURACY = "accuracy"
DROPS = (0.01, 0.02, 0.03)


@dataclass(frozen=True)
class PullRequest:
    """One of the two changes.

    Attributes:
        branch: Its branch.
        title: Its commit message.
        is_harmless: Whether it was made to be.
        nature: What it really does to the model, after "because".
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
        nature="the images only come in another order, which changes the model as another seed would",
    ),
    PullRequest(
        branch="brighten-faint-strokes",
        title="Brighten faint strokes before training",
        is_harmless=False,
        nature="training now sees brightened images while evaluation, like production, sees them as they are",
    ),
)


def verdict(pull_request: PullRequest, report: Report) -> str:
    """One sentence on a verdict; true whichever way it went."""
    change = _change(report)
    if report.verdict == "fail":
        why = (
            "wrongly, as a gate with an error rate does now and then"
            if pull_request.is_harmless
            else f"because {pull_request.nature}"
        )
        runs, examples = report.candidate.runs, max((rule.n or 0) for rule in report.rules)
        return (
            f"this is blocked, {why}: {change}, and the luck of {runs} seeds a side and {examples:,} test images does not "
            f"explain what exceeds the limits{_evidence(report)}."
        )
    if report.verdict == "pass":
        return (
            f"this is safe to merge, because {pull_request.nature}: {change}, and a loss of more than {_limits(report)} is "
            f"ruled out."
        )
    return (
        f"this is not blocked, with a warning: {change}, and the evidence neither shows nor rules out a loss beyond the limits."
    )


def fixed_thresholds(
    baseline: Sequence[float], harmless: Sequence[float], harmful: Sequence[float], *, floor: float | None
) -> str:
    """What fixed thresholds on one training a side would have said, counted over all pairs of the trainings at hand.

    Args:
        baseline: The accuracy of each training of main.
        harmless: Of each training of the harmless change.
        harmful: Of each training of the harmful one.
        floor: The lowest accuracy that the policy accepts.
    """
    parts = [
        f"“more than {drop * 100:g} point{'s'[: drop != 0.01]}” {_times(_blocked(baseline, harmful, drop))}" for drop in DROPS
    ]
    if floor is not None:
        below = sum(value < floor for value in harmful)
        parts.append(f"a floor of {floor:g} {'never' if below == 0 else f'for {below} of its {len(harmful)} trainings'}")
    return (
        f"In the {len(baseline) * len(harmful)} pairs of one training with one, “any drop” would have blocked the harmless "
        f"change {_times(_blocked(baseline, harmless, 0.0))}, and the harmful one would have been blocked by "
        f"{', '.join(parts[:-1])}, and by {parts[-1]}."
    )


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
    parts: list[str] = []
    before = ""
    for rule in _overall(report):
        difference = rule.difference or 0.0
        verb = "fell" if difference < 0 else "rose" if difference > 0 else "did not change"
        said = rule.metric if verb == before else f"{rule.metric} {verb}"
        parts.append(f"{said} by {_amount(abs(difference), rule)}" if difference else said)
        before = verb
    return " and ".join(parts)


def _limits(report: Report) -> str:
    """``1 point of accuracy or 0.02 of confidence``."""
    return " or ".join(f"{_amount(rule.limit, rule)} of {rule.metric}" for rule in _overall(report))


def _overall(report: Report) -> list[RuleInfo]:
    return [rule for rule in report.rules if rule.kind == "max_regression" and rule.slice is None]


def _amount(value: float, rule: RuleInfo) -> str:
    return numbers.amount(value, rule) if rule.binary else f"{value:.2g}"


def _evidence(report: Report) -> str:
    """`` (p = 0.022 for accuracy, p = 0.0082 for confidence)``: of each metric that failed as a whole, as the report has it."""
    failed = [rule for rule in report.rules if rule.outcome == "fail" and rule.slice is None and rule.p_adjusted is not None]
    said = ", ".join(f"{numbers.p_value(rule.p_adjusted)} for {rule.metric}" for rule in failed)
    return f" ({said})" if said else ""


def _blocked(baseline: Sequence[float], candidate: Sequence[float], drop: float) -> int:
    # Accuracies are multiples of 1/n: rounding keeps a drop of exactly the threshold from counting as more.
    return sum(round(before - after - drop, 9) > 0 for before, after in product(baseline, candidate))


def _times(count: int) -> str:
    return {0: "never", 1: "once", 2: "twice"}.get(count, f"{count} times")

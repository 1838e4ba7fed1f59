"""Whether a verdict is still one: what has changed on the branch since it was given. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from metricgate.report.document import Report


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """The recorded commit that a verdict would be based on today.

    Attributes:
        commit: Its hash.
        models: The digests of its models, by seed.
        comparable: Whether it was evaluated as the commit was; otherwise a verdict may have had to do without it.
    """

    commit: str
    models: Mapping[int, str] = field(default_factory=dict)
    comparable: bool = True


@dataclass(frozen=True, kw_only=True)
class Now:
    """A branch as it is today.

    Attributes:
        branch: Its name.
        policy: The digest of its policy; None where it has none that can be read.
        test_set: The fingerprint of the test set that its newest recorded runs were measured on; None where nothing tells.
        baseline: What the commit would be compared with; None where nothing is recorded before it.
    """

    branch: str
    policy: str | None
    test_set: str | None = None
    baseline: Baseline | None = None


def of(report: Report, now: Now) -> tuple[str, ...]:
    """Why a verdict is stale, a sentence each; nothing where it is not.

    What a report does not say can't be shown to be unchanged, and counts as changed.
    """
    return (*_policy(report, now), *_test_set(report, now), *_baseline(report, now))


def _policy(report: Report, now: Now) -> Iterator[str]:
    if report.policy is None:
        yield "the report does not say by which policy it was made"
    elif now.policy is None:
        yield f"{now.branch} has no policy that can be read"
    elif report.policy != now.policy:
        yield f"the policy of {now.branch} has changed since the verdict"


def _test_set(report: Report, now: Now) -> Iterator[str]:
    if now.test_set is not None and report.test_set != now.test_set:
        found = report.test_set or "no fingerprint"
        yield f"the test set of {now.branch} has changed since the verdict, from {found} to {now.test_set}"


def _baseline(report: Report, now: Now) -> Iterator[str]:
    # The first commit of all can only be compared with itself.
    then = report.baseline.commit if report.baseline.commit != report.candidate.commit else None
    today = now.baseline
    if then is None and (today is None or not (report.baseline.runs or today.comparable)):
        return
    if today is None:
        yield f"the baseline {_short(then)} is not recorded any more"
    elif then != today.commit:
        made = _short(then) if then else "no recorded commit"
        yield f"the verdict was made against {made}, and would be made against {_short(today.commit)} now"
    elif dict(report.baseline.models) != dict(today.models):
        yield f"the baseline {_short(then)} was recorded again, with other models"


def _short(commit: str | None) -> str:
    return str(commit)[:12]

"""What became of the jobs that a judgement needs. A training that did not happen never counts as a pass."""

from __future__ import annotations

from collections.abc import Mapping

from metricgate.errors import StageError
from metricgate.github.event import Work

FIND = "find"
BASELINE = "baseline"


def require(needs: Mapping[str, str], work: Work) -> None:
    """Check that all jobs went well.

    Only looking for a baseline and making one may be skipped: both where there is nothing to compare, the latter also where
    the former went well, which then found one.

    Args:
        needs: The result of each job: success, failure, cancelled or skipped.
        work: What there is to do.

    Raises:
        StageError: One of them did not.
    """
    wrong = {job: result for job, result in needs.items() if result != "success"}
    skippable = {FIND, BASELINE} if work.kind != "compare" else {BASELINE} if needs.get(FIND) == "success" else set()
    wrong = {job: result for job, result in wrong.items() if not (result == "skipped" and job in skippable)}
    if not wrong:
        return
    raise StageError(
        "there is nothing to judge: " + "; ".join(f"the job `{job}` {_what(result)}" for job, result in wrong.items()),
        expected="every job that the verdict needs to succeed",
        fix=_advice(set(wrong.values()), work),
    )


def _what(result: str) -> str:
    return {"failure": "failed", "cancelled": "was cancelled", "skipped": "was skipped"}.get(result, f"ended as {result!r}")


def _advice(results: set[str], work: Work) -> str:
    if "failure" in results:
        return "read the log of the job that failed"
    if results == {"skipped"} and work.fork:
        return (
            "code from a fork is not run on these runners without somebody's say: "
            "read the change, then push it to a branch of this repository"
        )
    return "run the jobs again"

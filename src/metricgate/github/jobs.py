"""What became of the jobs that a judgement needs. A training that did not happen never counts as a pass."""

from __future__ import annotations

from collections.abc import Mapping

from metricgate.errors import StageError
from metricgate.github.event import Work

BASELINE = "baseline"


def require(needs: Mapping[str, str], work: Work) -> None:
    """Check that all jobs went well; only a baseline may be skipped, and only where there is nothing to compare.

    Args:
        needs: The result of each job: success, failure, cancelled or skipped.
        work: What there is to do.

    Raises:
        StageError: One of them did not.
    """
    wrong = {job: result for job, result in needs.items() if result != "success"}
    if work.kind == "record" and wrong.get(BASELINE) == "skipped":
        del wrong[BASELINE]
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

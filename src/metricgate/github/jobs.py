"""What became of the jobs that a judgement needs. A training that did not happen never counts as a pass."""

from __future__ import annotations

from collections.abc import Mapping

from metricgate.errors import StageError
from metricgate.github.event import Work

FIND = "find"
BASELINE = "baseline"
PLAN = "plan"
MERGE = "merge"


def require(needs: Mapping[str, str], work: Work, *, problems: Mapping[str, str] | None = None) -> None:
    """Check that all jobs went well.

    Only looking for a baseline and making one may be skipped: both where there is nothing to compare, the latter also where
    the former went well, which then found one. Where one job trains all seeds, they are neither planned nor merged.

    Args:
        needs: The result of each job: success, failure, cancelled or skipped.
        work: What there is to do.
        problems: What a job said about itself.

    Raises:
        StageError: One of them did not.
    """
    wrong = {job: result for job, result in needs.items() if result != "success"}
    skippable = {FIND, BASELINE} if work.kind != "compare" else {BASELINE} if needs.get(FIND) == "success" else set()
    skippable |= {PLAN, MERGE} if needs.get(PLAN) == needs.get(MERGE) == "skipped" else set()
    wrong = {job: result for job, result in wrong.items() if not (result == "skipped" and job in skippable)}
    if not wrong:
        return
    said = {job: f": {problem}" for job, problem in (problems or {}).items()}
    told = [f"the job `{job}` {ended(result)}{said.get(job, '')}" for job, result in wrong.items()]
    raise StageError(
        f"there is nothing to judge: {'; '.join(told)}",
        expected="every job that the verdict needs to succeed",
        fix=_advice(set(wrong.values()), work),
    )


def ended(result: str) -> str:
    """``failed``, ``was cancelled``, ``was skipped``."""
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

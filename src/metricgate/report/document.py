"""``report.json``: the one document from which everything shown to people is rendered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import pydantic

from metricgate.config import Kind
from metricgate.errors import InputError, UsageError
from metricgate.gate.verdict import RuleOutcome

SCHEMA: Literal["metricgate.report/1"] = "metricgate.report/1"
MAX_BYTES = 256_000_000

Number = Annotated[float, pydantic.Field(allow_inf_nan=False)]
Digest = Annotated[str, pydantic.Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class SideInfo(_Part):
    """Candidate or baseline: which commit, how many runs, which seeds, and how many earlier runs of the same training.

    ``models`` are the digests of the models of all runs that were given, copies too, by seed, as far as the runs name them.
    A baseline that was recorded earlier also says how many commits before the merge-base it lies (0: it is the merge-base)
    and when it was recorded (RFC 3339, UTC).
    """

    commit: str | None = None
    runs: int = 0
    seeds: tuple[int, ...] = ()
    earlier_runs: int = 0
    models: dict[int, Digest] = {}
    commits_before: int | None = None
    recorded: str | None = None


class IntervalInfo(_Part):
    """A two-sided confidence interval; null where the value is exact."""

    low: Number | None = None
    high: Number | None = None
    level: Number


class SettlementInfo(_Part):
    """What would settle an inconclusive rule; ``metricgate.stats.power.Settlement`` explains each field."""

    more_examples: int | None = None
    seeds: int | None = None
    examples_suffice: bool | None = None
    seeds_suffice: bool | None = None


class VarianceInfo(_Part):
    """Where the variance of what was tested comes from, for planning.

    Attributes:
        examples: Over test examples: it shrinks with their number.
        training: Over training runs, a · s²: it shrinks with the number of runs.
        counted_twice: The residual that both of them hold, to be subtracted once.
    """

    examples: Number
    training: Number | None = None
    counted_twice: Number = 0.0


class RuleInfo(_Part):
    """What one rule says; ``metricgate.gate.verdict.RuleResult`` explains each field."""

    rule: int = 0
    metric: str
    slice: str | None = None
    kind: Kind
    limit: Number
    relative: bool = False
    direction: Literal["higher", "lower"]
    aggregate: str = "mean"
    binary: bool = False
    baseline: Number | None = None
    candidate: Number | None = None
    difference: Number | None = None
    interval: IntervalInfo
    p_value: Number | None = None
    p_adjusted: Number | None = None
    p_pass: Number | None = None
    mde: Number | None = None
    smallest_limit: Number | None = None
    to_settle: Number | None = None
    settlement: SettlementInfo | None = None
    variance: VarianceInfo | None = None
    n: int | None = None
    method: str = ""
    noise: str = ""
    outcome: RuleOutcome
    reason: str = ""


class UntestedInfo(_Part):
    """A slice with too few examples to test."""

    metric: str
    slice: str
    n: int
    min_n: int


class FlipsInfo(_Part):
    """The ids of examples that turned, by the majority of runs."""

    metric: str | None = None
    worse: tuple[str, ...] = ()
    better: tuple[str, ...] = ()
    unnamed_worse: int = 0
    unnamed_better: int = 0

    @property
    def count_worse(self) -> int:
        """How many got worse, those without a name here included."""
        return len(self.worse) + self.unnamed_worse

    @property
    def count_better(self) -> int:
        """How many got better."""
        return len(self.better) + self.unnamed_better

    @property
    def complete(self) -> bool:
        """Whether every id is here."""
        return not (self.unnamed_worse or self.unnamed_better)


@dataclass(frozen=True)
class Origin:
    """Where recorded runs come from: how many commits before the merge-base, and when they were recorded (RFC 3339, UTC)."""

    commits_before: int
    recorded: str


class ReuseInfo(_Part):
    """The place of this verdict among those on the same test set; ``metricgate.gate.reuse.Reuse`` explains each field."""

    test_set: str
    count: int | None = None
    budget: int | None = None
    adaptivity: Literal["none", "full"] | None = None

    @property
    def spent(self) -> bool:
        """Whether this verdict is one too many."""
        return self.budget is not None and self.count is not None and self.count > self.budget


class Waiver(_Part):
    """A regression that somebody accepted: who, when (RFC 3339, UTC), and for which commit."""

    by: str
    at: str
    commit: str


class CostInfo(_Part):
    """What a check's trainings took; null for what is not known of each of them.

    Attributes:
        trainings: How many there were; a run that was reused is none.
        hours: How long they took, one after the other.
        cpu_hours: Processor hours.
        gpu_hours: GPU-hours: two GPUs for one hour are two.
        gpus: The models of the GPUs, each once.
        gpu_peak_memory_bytes: The most memory that a training had on one of them.
        gpu_utilisation: The part of the time in which they computed, 0 to 1.
        energy_wh: What they consumed, in watt-hours.
    """

    trainings: int
    hours: Number
    cpu_hours: Number | None = None
    gpu_hours: Number | None = None
    gpus: tuple[str, ...] = ()
    gpu_peak_memory_bytes: int | None = None
    gpu_utilisation: Number | None = None
    energy_wh: Number | None = None


class ReusedInfo(_Part):
    """A run of the candidate that was not trained again.

    Attributes:
        seed: Its seed.
        commit: Where the same training is recorded.
        evaluated: Whether its scores are recorded there too; otherwise its model was evaluated again.
    """

    seed: int | None = None
    commit: str
    evaluated: bool = True


class Report(_Part):
    """A report. A waiver lets a failed verdict pass; the verdict stays what it is.

    ``policy`` is the digest of the policy in force (``Config.policy_digest``), ``test_set`` the fingerprint of what the
    candidate was evaluated on.
    """

    schema_: Literal["metricgate.report/1"] = pydantic.Field(default=SCHEMA, alias="schema")
    name: str = "model"
    verdict: RuleOutcome
    exit_code: Literal[0, 1, 3, 4]
    reasons: tuple[str, ...] = ()
    baseline: SideInfo
    candidate: SideInfo
    alpha: Number = 0.05
    power: Number = 0.8
    rules: tuple[RuleInfo, ...] = ()
    untested_slices: tuple[UntestedInfo, ...] = ()
    flips: FlipsInfo = FlipsInfo()
    policy_changed: bool = False
    policy_changes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    waiver: Waiver | None = None
    reuse: ReuseInfo | None = None
    policy: Digest | None = None
    test_set: Digest | None = None
    cost: CostInfo | None = None
    reused: tuple[ReusedInfo, ...] = ()

    def waived(self, waiver: Waiver) -> Report:
        """This report with its regression accepted: exit code 1 becomes 0, nothing else is waived."""
        return self.model_copy(update={"waiver": waiver, "exit_code": 0 if self.exit_code == 1 else self.exit_code})

    def without_ids(self) -> Report:
        """This report with the ids of flipped examples left out and counted: small, whatever the test set."""
        flips = self.flips.model_copy(
            update={
                "worse": (),
                "better": (),
                "unnamed_worse": self.flips.count_worse,
                "unnamed_better": self.flips.count_better,
            }
        )
        return self.model_copy(update={"flips": flips})

    @property
    def tests(self) -> int:
        """How many rules Holm's correction counts."""
        compared = ("max_regression", "min_improvement")
        return sum(rule.kind in compared and rule.p_value is not None and rule.mde is not None for rule in self.rules)


def to_json(report: Report) -> str:
    """The document as text: sorted keys, finite numbers, the same bytes for the same report."""
    return json.dumps(report.model_dump(mode="json", by_alias=True), indent=2, sort_keys=True, allow_nan=False) + "\n"


def read(path: Path) -> Report:
    """Read a report.

    Raises:
        UsageError: There is no such file.
        InputError: The file is not a ``metricgate.report/1`` document.
    """
    try:
        if path.stat().st_size > MAX_BYTES:
            raise InputError(f"{path.stat().st_size:,} bytes", where=str(path), expected=f"at most {MAX_BYTES:,}")
        text = path.read_bytes()
    except OSError as error:
        raise UsageError(
            f"the report can't be read: {error.strerror}",
            where=str(path),
            expected="a report.json",
            fix="write one with `metricgate compare BASELINE CANDIDATE --json report.json`",
        ) from None
    try:
        return Report.model_validate_json(text)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"{where + ': ' if where else ''}{first['msg']}", where=str(path), expected=f"a {SCHEMA} document"
        ) from None

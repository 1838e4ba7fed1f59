"""Runs and a policy that a stranger wrote: inspected before they are believed, then compared. Made to run in ``quarantine``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pydantic

from metricgate import config_file, pipeline
from metricgate import run as runs
from metricgate.config import FILE_NAME, Config
from metricgate.errors import ConfigError
from metricgate.formats import scores
from metricgate.github.archive import ArtifactError
from metricgate.report import document, plain
from metricgate.report.document import Origin, Report

_COMMIT = re.compile(r"[0-9a-f]{7,64}")
_MOST_CHANGES = 100
_CHANGE_LENGTH = 300
_MOST_METRICS = 1_000
_LONGEST_HEADER = 1_000_000
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the child may use; far more than a real comparison needs.

    Attributes:
        rows: The examples of one score table.
        columns: The columns of one score table.
        row_groups: The pieces of one Parquet file.
        memory_bytes: Its address space.
        cpu_seconds: Processor time of all its threads together.
        seconds: From its start to its answer.
        file_bytes: Any file that it writes.
        report_bytes: Its answer.
    """

    rows: int = 5_000_000
    columns: int = 1_000
    row_groups: int = 100_000
    memory_bytes: int = 4_000_000_000
    cpu_seconds: int = 600
    seconds: float = 300.0
    file_bytes: int = 4_000_000_000
    report_bytes: int = 64_000_000


class Task(pydantic.BaseModel):
    """What the child has to do.

    Attributes:
        candidate: The folder with the candidate's runs.
        head: The commit that they are shown as.
        baseline: The folder with the baseline's; None where there is none.
        baseline_recorded: Whether those come from the store, and are not hostile.
        history: Recorded runs of the main branch, for the training noise; None without.
        origin: Where a recorded baseline comes from; None for another one.
        policy: The text of the base commit's configuration, which judges; None where that commit has none.
        change: The text of the change's own configuration; None where it has none.
        path: What the configuration is called in messages.
        default_name: The model's name where the configuration gives none.
        warnings: What else the report has to tell.
        verdicts: How many verdicts each test set has given, by its fingerprint; None where nobody knows.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    candidate: Path
    head: str
    baseline: Path | None = None
    baseline_recorded: bool = False
    history: Path | None = None
    origin: Origin | None = None
    policy: str | None
    change: str | None
    path: str = FILE_NAME
    default_name: str = "model"
    warnings: tuple[str, ...] = ()
    verdicts: dict[str, int] | None = None
    limits: Limits = Limits()


def compare(task: Task) -> Report:
    """Inspect the runs, and compare them by the policy that counts.

    Raises:
        ArtifactError: The runs are not what metricgate writes, or more than it writes.
        InputError: A file is malformed.
        ConfigError: The configuration that judges is wrong.
    """
    _inspect(task.candidate, task.limits, commit=task.head)
    if task.baseline is not None and not task.baseline_recorded:
        _inspect(task.baseline, task.limits, commit=None)
    config, changes, warnings = _policy(task)
    report = pipeline.compare(
        task.candidate,
        task.baseline,
        config=config,
        history=task.history,
        policy_changes=changes,
        warnings=(*warnings, *task.warnings),
        origin=task.origin,
        verdicts=task.verdicts,
        # A stranger's policy chooses nothing that is run.
        importing="nothing" if task.policy is None else "installed",
    )
    document.to_json(report)  # all its numbers can be written
    return report


def _policy(task: Task) -> tuple[Config, Sequence[str], Sequence[str]]:
    """What judges, how the change's own policy differs from it, and what else the reader should know."""
    if task.policy is None:
        if task.change is None:
            raise ConfigError("neither the change nor the commit that it goes into has one", where=task.path)
        own = config_file.loads(task.change, source=task.path, default_name=task.default_name)
        return own, (), (f"There is no {task.path} at the base commit: this change is judged by its own policy.",)
    config = config_file.loads(task.policy, source=f"{task.path} at the base commit", default_name=task.default_name)
    if task.change is None:
        return config, (), (f"This change has no {task.path}; it is judged by that of its base commit.",)
    if task.change == task.policy:
        return config, (), ()
    try:
        own = config_file.loads(task.change, source=task.path, default_name=task.default_name)
    except ConfigError as error:
        reason = plain.text(str(error).splitlines()[0], limit=_CHANGE_LENGTH)
        return config, (), (f"This change's own policy can't be read: {reason}",)
    changes = [plain.text(change, limit=_CHANGE_LENGTH) for change in own.policy_changes(config)]
    more = [f"… and {len(changes) - _MOST_CHANGES:,} more"] if len(changes) > _MOST_CHANGES else []
    return config, (*changes[:_MOST_CHANGES], *more), ()


def _inspect(folder: Path, limits: Limits, *, commit: str | None) -> None:
    """Refuse what no run of ours says, before any of it is believed, and let no run choose whose it is.

    Args:
        folder: The runs. Their records are written again.
        limits: How much of them is believed.
        commit: The commit that they are of, as far as that is known; a run that named a recorded commit could stand in for its
            runs.

    Raises:
        ArtifactError: A document or a table is beyond its limits.
    """
    for place in [folder, *sorted(child for child in folder.iterdir() if child.is_dir())]:
        record = runs.read_record(place)
        if record is not None:
            _check_record(record, where=place / runs.RUN_FILE)
            runs.write_record(place, record.model_copy(update={"commit": commit, "environment": {}, "reused_from": None}))
        for table in scores.all_in(place):
            _check_table(table, limits)


def _check_record(record: runs.RunRecord, *, where: Path) -> None:
    wrong: Mapping[str, bool] = {
        "commit": record.commit is not None and not _COMMIT.fullmatch(record.commit),
        "seed": record.seed is not None and not 0 <= record.seed <= _LARGEST_SEED,
        "name": len(record.name) > _CHANGE_LENGTH,
        "metrics": len(record.metrics) > _MOST_METRICS,
        "fingerprints": any(
            len(str(value)) > _MOST_METRICS for value in record.fingerprints.model_dump().values() if value is not None
        ),
    }
    for key, is_wrong in wrong.items():
        if is_wrong:
            raise ArtifactError(f"`{key}` is not what metricgate writes there", where=str(where), fix="run the check again")


def _check_table(table: Path, limits: Limits) -> None:
    """The size that a table claims: a row of a Parquet file may cost nothing on disk, and costs eight bytes in memory; every
    column of any file becomes part of a statement.
    """
    import duckdb

    from metricgate.tables import engine

    # A Parquet footer says it three times, and a reader may believe any of them.
    values = "SELECT sum(greatest(num_values, row_group_num_rows)) AS n FROM parquet_metadata(?) GROUP BY column_id"
    keys = "SELECT unnest(json_keys(json)) AS key FROM read_ndjson_objects(?)"
    claims = {
        ".parquet": (
            ("rows", "max(num_rows) FROM parquet_file_metadata(?)", limits.rows),
            ("row groups", "max(num_row_groups) FROM parquet_file_metadata(?)", limits.row_groups),
            ("columns", "count(*) FROM parquet_schema(?)", limits.columns),
            ("values in a column", f"max(n) FROM ({values})", limits.rows),
        ),
        ".jsonl": (("keys", f"count(DISTINCT key) FROM ({keys})", limits.columns),),
    }
    for what, asked, most in claims.get(table.suffix, ()):
        try:
            claimed = int(engine.shared().rows(f"SELECT {asked}", [str(table)])[0][0] or 0)
        except duckdb.Error:
            raise ArtifactError(f"it is not what {table.suffix} stands for", where=str(table)) from None
        _at_most(most, claimed, what, table)
    if table.suffix == ".csv":
        with table.open("rb") as stream:
            _at_most(limits.columns, stream.readline(_LONGEST_HEADER).count(b","), "columns", table)


def _at_most(most: int, claimed: int, what: str, table: Path) -> None:
    if not 0 <= claimed <= most:
        raise ArtifactError(f"the table claims {claimed:,} {what}", where=str(table), expected=f"at most {most:,}")

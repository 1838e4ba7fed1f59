"""Nothing is trained twice: a recorded run of the same training takes the place of a new one.

The same training is one with the same fingerprint (``Fingerprints.training``: command, inputs, data, packages) and the same
seed. There is such a fingerprint only where ``train.inputs`` declares what training depends on, so nothing is reused by
surprise. Where the evaluation is the same too, the run is taken as it is; where it changed, or a model has to be there
afterwards, the model of the recorded run is taken by its digest, and evaluated as any other.

Whose runs count is the caller's to decide: this looks into the folders that it is given, and nowhere else.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from metricgate import golden
from metricgate import run as runs
from metricgate.errors import InputError, MetricgateError, StageError
from metricgate.formats import metrics_json, scores
from metricgate.run import ReusedFrom, RunRecord
from metricgate.train import digest, model
from metricgate.train.run_folder import RunFolder

Fetch: TypeAlias = Callable[[RunRecord, Path], object]
"""Puts the model of a recorded run at a path where nothing is; an ``InputError`` or ``StageError`` where it can't be had."""

Collect: TypeAlias = Callable[[Path, RunRecord], RunRecord]
"""Reads scores and metrics of a folder as an evaluation's, and returns the record with what they say; an ``InputError`` where
they are not what the configuration asks for."""

_MAX_DEPTH = 6
_COMMIT = re.compile(r"[0-9a-f]{7,64}")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The run that would be trained.

    Attributes:
        name: The model's name: another model's runs are never reused.
        training: The fingerprint of the training.
        seed: The seed.
        evaluation: The fingerprint of the evaluation that is checked out; None without one.
        model: Whether the model has to be there afterwards, as for a release.
    """

    name: str
    training: str
    seed: int
    evaluation: str | None
    model: bool = False


@dataclass(frozen=True)
class Recorded:
    """A recorded run.

    Attributes:
        folder: Where it lies.
        record: Its ``run.json``.
    """

    folder: Path
    record: RunRecord


@dataclass(frozen=True)
class Reused:
    """What came of it.

    Attributes:
        record: The ``run.json`` that was written; of stage ``trained`` where its model is still to be evaluated.
        told: For people: ``not trained again: the same training is recorded at a1b2c3d (run of 2026-01-02)``.
    """

    record: RunRecord
    told: str


def find(wanted: Wanted, *, folders: Sequence[Path]) -> tuple[Recorded, ...]:
    """The recorded runs under some folders that can take the place of a training, the best one first.

    What is no run, or was not evaluated, or can't be read is passed over: it is trained instead, as if it were not there.
    """
    return matching(wanted, [found for folder in folders for found in _recorded(folder)])


def matching(wanted: Wanted, found: Iterable[Recorded]) -> tuple[Recorded, ...]:
    """Those of some recorded runs that are of the same training: first those that were evaluated alike, then the newest."""
    fit = [run for run in found if _fits(run.record, wanted)]
    newest = sorted(fit, key=lambda run: (run.record.times.started or "", str(run.folder)), reverse=True)
    # A run that was reused itself is the one that it was taken from; that one knows its models' place better.
    return tuple(
        sorted(newest, key=lambda run: (run.record.fingerprints.evaluation != wanted.evaluation, bool(run.record.reused_from)))
    )


def take(
    wanted: Wanted,
    *,
    folders: Sequence[Path],
    into: RunFolder,
    commit: str | None,
    collect: Collect,
    fetch: Fetch | None = None,
) -> Reused | None:
    """Make a run folder of a recorded run, whole or not at all.

    Args:
        wanted: The run that would be trained.
        folders: Folders of recorded runs, of people whose runs count.
        into: The run folder; one that is there is replaced, and may be the recorded run itself.
        commit: The commit that is checked out, if known.
        collect: Reads what the recorded evaluation wrote.
        fetch: Gets models that were kept elsewhere; None where they were not.

    Returns:
        None where there is no such run, or its model is needed and can't be had. Nothing was written then.

    Raises:
        UsageError: The run folder holds something else than a run.
    """
    for found in find(wanted, folders=folders):
        is_there = found.folder.resolve() == into.path.resolve()
        if is_there and found.record.commit == commit and _stays(found, wanted, collect):
            return Reused(found.record, f"not trained again: it was trained and evaluated here already{_when(found.record)}")
        into.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=into.path.parent, prefix=".reused-") as place:
            aside = Path(place) / into.path.name
            record = _made(found, wanted, aside, commit=commit, collect=collect, fetch=fetch)
            if record is None:
                continue
            into.make()
            aside.replace(into.path)
        return Reused(record, _told(found.record, again=record.stage == "trained"))
    return None


def _fits(record: RunRecord, wanted: Wanted) -> bool:
    return (
        record.stage == "evaluated"
        and record.name == wanted.name
        and record.seed == wanted.seed
        and _COMMIT.fullmatch(record.commit or "") is not None
        and record.fingerprints.training == wanted.training
    )


def _recorded(folder: Path, *, depth: int = 0) -> Iterator[Recorded]:
    """The runs of a folder whose ``run.json`` is one; links are not followed, since they lead to what nobody recorded."""
    if not folder.is_dir() or (depth and folder.is_symlink()):
        return
    try:
        record = runs.read_record(folder)
    except (InputError, OSError):
        return
    if record is not None:
        yield Recorded(folder, record)
        return
    if depth < _MAX_DEPTH:
        for child in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
            yield from _recorded(child, depth=depth + 1)


def _stays(found: Recorded, wanted: Wanted, collect: Collect) -> bool:
    """Whether a run that lies where it is wanted can stay as it is."""
    if found.record.fingerprints.evaluation != wanted.evaluation:
        return False
    if wanted.model and not _holds_model(found):
        return False
    try:
        return _is_what_was_recorded(found, collect(found.folder, found.record))
    except (MetricgateError, OSError):
        return False


def _made(
    found: Recorded, wanted: Wanted, aside: Path, *, commit: str | None, collect: Collect, fetch: Fetch | None
) -> RunRecord | None:
    """The new run folder, made aside; None where the recorded run won't do."""
    record = None
    if found.record.fingerprints.evaluation == wanted.evaluation:
        record = _copied(found, aside, commit=commit, collect=collect)
    if record is None and wanted.evaluation is None:  # a training that evaluates itself
        return None
    if record is None:  # then its model is evaluated
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir()
        record = _of(found.record, commit=commit, evaluated=False)
    has_model = _bring_model(found, aside, fetch=fetch if wanted.model or record.stage == "trained" else None)
    if not has_model and (wanted.model or record.stage == "trained"):
        return None
    runs.write_record(aside, record)
    return record


def _copied(found: Recorded, aside: Path, *, commit: str | None, collect: Collect) -> RunRecord | None:
    try:
        aside.mkdir()
        table = scores.find(found.folder)
        named = [found.folder / metrics_json.FILE, found.folder / golden.FILE, *([table] if table else [])]
        for file in named:
            if file.is_symlink():
                return None
            if file.is_file():
                shutil.copyfile(file, aside / file.name)
        if not (aside / metrics_json.FILE).is_file():
            _state_metrics(found.record, aside, table=table)
        record = collect(aside, found.record)
        if not _is_what_was_recorded(found, record):
            return None
    except (MetricgateError, OSError):  # a column that is asked for now and was not kept, a file that was cut off
        return None
    return _of(record, commit=commit, evaluated=True)


def _state_metrics(record: RunRecord, aside: Path, *, table: Path | None) -> None:
    """Write ``metrics.json`` of what only ``run.json`` says; what the scores say is computed from them."""
    columns = set(scores.read(table, id="").columns) if table else set()
    stated = {
        name: {key: value for key in ("value", "stderr", "n") if (value := getattr(metric, key)) is not None}
        for name, metric in record.metrics.items()
        if name not in columns
    }
    if stated:
        runs.write_text(aside / metrics_json.FILE, json.dumps(stated, indent=2, sort_keys=True) + "\n")


def _is_what_was_recorded(found: Recorded, collected: RunRecord) -> bool:
    """Whether the scores are still those of the record, as far as that has digests."""
    was, now = found.record.fingerprints, collected.fingerprints
    same_columns = was.reference_columns == now.reference_columns
    return (not same_columns or was.test_set == now.test_set) and found.record.golden_digest == collected.golden_digest


def _of(record: RunRecord, *, commit: str | None, evaluated: bool) -> RunRecord:
    """The record of a run that is a recorded one; what is reused of what was reused names the first of them."""
    before = record.reused_from
    origin = before.commit if before else str(record.commit)
    reused = ReusedFrom(commit=origin, evaluated=evaluated and (before is None or before.evaluated))
    taken = record.model_copy(update={"commit": commit, "reused_from": reused})
    if evaluated:
        return taken
    return taken.model_copy(update={"stage": "trained", "metrics": {}, "golden_digest": None})


def _bring_model(found: Recorded, aside: Path, *, fetch: Fetch | None) -> bool:
    """Put the model of a recorded run beside its scores, from its own folder or from where models are kept."""
    target = aside / model.KEPT_AS
    try:
        if _holds_model(found):
            model.copy(found.folder / model.KEPT_AS, target)
            return True
        if fetch is None or found.record.model_digest is None:
            return False
        fetch(found.record, target)
        return digest.of_path(target) == found.record.model_digest
    except (InputError, StageError, OSError):
        model.remove(target)
        return False


def _holds_model(found: Recorded) -> bool:
    kept = found.folder / model.KEPT_AS
    if found.record.model_digest is None or not os.path.lexists(kept) or kept.is_symlink():
        return False
    try:
        return digest.of_path(kept) == found.record.model_digest
    except (InputError, OSError):
        return False


def _told(record: RunRecord, *, again: bool) -> str:
    commit = record.reused_from.commit if record.reused_from else str(record.commit)
    told = f"not trained again: the same training is recorded at {commit[:7]}{_when(record)}"
    return f"{told}; its model is evaluated as the evaluation is now" if again else told


def _when(record: RunRecord) -> str:
    return f" (run of {record.times.started[:10]})" if record.times.started else ""

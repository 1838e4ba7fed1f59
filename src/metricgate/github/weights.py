"""The model of an earlier workflow run, from the artifact that the run left: for those who keep models nowhere else.

The artifact is ``<name>-weights``; ``seed-<seed>/model`` in it is the file or folder that training wrote.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate.errors import InputError, StageError
from metricgate.github import archive, artifact
from metricgate.github.archive import Limits, Wanted
from metricgate.report import plain
from metricgate.train.model import KEPT_AS

if TYPE_CHECKING:
    from metricgate.github.api import Repository

SECONDS = 3 * 3600.0
_LARGEST = 200_000_000_000

LIMITS = Limits(
    archive_bytes=_LARGEST,
    entries=100_000,
    directory_bytes=50_000_000,
    table_bytes=_LARGEST,
    total_bytes=_LARGEST,
    runs=1,
)
"""A model may be large; what has no end is no model."""


def fetch(repository: Repository, run_id: int, into: Path, *, name: str, folder: str, limits: Limits = LIMITS) -> Path:
    """Fetch the model that a workflow run trained.

    Whoever uses it compares its digest with the recorded one: an artifact can be replaced by whoever can run a workflow.

    Args:
        repository: The repository of the run.
        run_id: The run.
        into: A folder for it, and for the archive on the way.
        name: The ``name`` of the workflow that trained.
        folder: Which of its runs: ``seed-0``.
        limits: How large it may be.

    Returns:
        The file or folder.

    Raises:
        InputError: The run left no model, or no longer has it, or it is not what ``metricgate`` uploads.
        StageError: It can't be had, or there is no room for it.
        GitHubError: GitHub did not say.
    """
    called = f"{name}-weights"
    stored = artifact.find(repository, run_id, called)
    if stored is None:
        raise InputError(
            f"run {run_id} has no artifact `{plain.text(called)}`: it never had one, or it has expired",
            expected="the model of the run that trained it",
            fix="let model-ci.yml upload models with `keep-model: true`, or keep them longer: `baseline: {models: s3://…}`",
        )
    wanted = Wanted(
        names=re.compile(rf"(?P<folder>{re.escape(folder)})/{KEPT_AS}(?:/.+)?"), what="model", example=f"{folder}/{KEPT_AS}"
    )
    try:
        into.mkdir(parents=True, exist_ok=True)
        file = artifact.download(repository, stored, into, limits=limits, seconds=SECONDS)
        try:
            with file.open("rb") as stream:
                archive.unpack(stream, into, name=called, limits=limits, wanted=wanted)
        finally:
            file.unlink()
    except OSError as error:
        raise StageError(
            f"the model can't be written: {error.strerror or type(error).__name__}",
            where=str(into),
            expected="room for the archive and for what is in it",
        ) from None
    return into / folder / KEPT_AS

"""What a verdict said about a commit, kept so that a release can find it. One document a verdict, never changed afterwards."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Annotated, Literal

import pydantic

from metricgate.baseline import layout
from metricgate.baseline.files import Files
from metricgate.baseline.ledger import Commit, Text, Time
from metricgate.errors import InputError, StageError
from metricgate.report import document
from metricgate.report.document import Report

# How often a reading starts again when somebody pruned what was being read.
_READINGS = 5


class WorkflowRun(pydantic.BaseModel):
    """The run of a workflow that trained and judged: its name, its number, and where people find it."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")

    name: Text = ""
    id: Annotated[int, pydantic.Field(ge=1)]
    url: Text = ""


class Judged(pydantic.BaseModel):
    """One verdict.

    Attributes:
        name: The model.
        commit: The commit that was judged, as the judging job knows it.
        time: When (RFC 3339, UTC).
        report: What was said, without the ids of examples.
        workflow: Where; None on a machine of one's own.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["metricgate.judged/1"] = pydantic.Field(default="metricgate.judged/1", alias="schema")
    name: Text
    commit: Commit
    time: Time
    report: Report
    workflow: WorkflowRun | None = None

    @property
    def report_digest(self) -> str:
        """The digest of the report, by which evidence names it."""
        return f"sha256:{hashlib.sha256(document.to_json(self.report).encode()).hexdigest()}"

    @property
    def path(self) -> str:
        """Where it is kept."""
        return _path(self, self.to_json())

    def to_json(self) -> bytes:
        """The file; the same verdict gives the same bytes."""
        told = self.model_dump(mode="json", by_alias=True)
        return (json.dumps(told, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def newest(files: Files, name: str, commit: str) -> Judged | None:
    """The last verdict about a commit, as the last listing saw it; None where there is none.

    Raises:
        InputError: What is kept of it is malformed, or not what was kept.
        StageError: The place can't be reached.
    """
    for attempt in range(_READINGS):
        paths = layout.reports(files.paths() if attempt else files.listed(), name).get(commit, ())
        if not paths and attempt:
            return None
        try:
            content = files.read(paths[-1]) if paths else None
        except KeyError:  # pruned meanwhile
            continue
        if content is not None:
            return read(content, where=paths[-1])
    raise StageError(f"the verdict about {commit[:12]} was replaced again and again", fix="run the command again")


def read(content: bytes, *, where: str) -> Judged:
    """Read a verdict from its place, whose name says which commit it is about, when it was given, and what it said.

    Raises:
        InputError: It is something else, or not what was kept there.
    """
    try:
        found = Judged.model_validate_json(content)
        place = _path(found, content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=where, expected="a metricgate.judged/1 document"
        ) from None
    except ValueError:  # month 13
        place = ""
    if place != where:
        raise InputError(
            "this is not what was kept there",
            where=where,
            expected="the verdict about that commit, byte for byte",
            fix="find out who changed it, and let the workflow judge the commit again",
        )
    return found


def _path(judged: Judged, content: bytes) -> str:
    time = datetime.fromisoformat(judged.time.replace("Z", "+00:00"))
    return layout.report(judged.name, judged.commit, time=time, content=content)

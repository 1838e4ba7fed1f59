"""The ledger: what was decided, one entry a file, never changed afterwards."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import pydantic

from metricgate.baseline import layout
from metricgate.errors import InputError

Commit = Annotated[str, pydantic.Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Text = Annotated[str, pydantic.Field(max_length=1000)]
Time = Annotated[str, pydantic.Field(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$")]


class Entry(pydantic.BaseModel):
    """One decision.

    Attributes:
        kind: ``waiver``: a regression that somebody accepted; ``verdict``: what the gate said.
        name: The model.
        commit: The commit that it is about.
        baseline: The commit that it was compared with.
        time: When (RFC 3339, UTC).
        verdict: What the gate said.
        by: Who decided; the login of a person.
        pull_request: Its number.
        reason: Why: the rules that failed, in words.
        test_set: The fingerprint of the test set that the verdict is about.
    """

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["metricgate.ledger/1"] = pydantic.Field(default="metricgate.ledger/1", alias="schema")
    kind: Literal["waiver", "verdict"]
    name: Text
    commit: Commit
    baseline: Commit | None = None
    time: Time
    verdict: Literal["pass", "fail", "inconclusive", "not_comparable"] | None = None
    by: Text | None = None
    pull_request: Annotated[int, pydantic.Field(ge=1)] | None = None
    reason: Text | None = None
    test_set: Text | None = None

    @property
    def path(self) -> str:
        """Where it is kept; a verdict on a test set where such are counted.

        Raises:
            UsageError: The test set is no fingerprint.
        """
        content = self.to_json()
        if self.kind == "verdict" and self.test_set is not None:
            return layout.verdict(self.name, self.commit, test_set=self.test_set, content=content)
        return layout.entry(self.name, self.commit, baseline=self.baseline, content=content)

    def to_json(self) -> bytes:
        """The file; the same entry gives the same bytes."""
        document = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return (json.dumps(document, indent=2, sort_keys=True) + "\n").encode()


def read(content: bytes, *, where: str) -> Entry:
    """Read an entry.

    Raises:
        InputError: It is something else.
    """
    try:
        return Entry.model_validate_json(content)
    except pydantic.ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(
            f"{'.'.join(map(str, first['loc']))}: {first['msg']}", where=where, expected="a metricgate.ledger/1 document"
        ) from None

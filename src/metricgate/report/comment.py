"""The body of a pull request's comment: a hidden marker, a hidden state, the report, and what earlier commits got.

The state is what lets a later run find out, without a server, whether it has something newer to say.
"""

from __future__ import annotations

import json
import re
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

import pydantic

from metricgate.gate.verdict import RuleOutcome
from metricgate.report import cost, document, markdown, plain, summary
from metricgate.report.document import Report

EARLIER = 20
"""How many earlier commits a comment remembers."""

_STATE = re.compile(r"<!-- metricgate-state: (\{.*\}) -->")
_LINK = re.compile(r"https?://[^\s()<>\"'`\\]{1,500}")
_WORDS = {"pass": "no regression", "fail": "failed", "inconclusive": "not sure", "not_comparable": "not comparable"}

Commit = Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{7,64}$")]
Count = Annotated[int, pydantic.Field(ge=0, le=2**63 - 1)]


class _Part(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(frozen=True, extra="ignore")


class Past(_Part):
    """What an earlier commit got."""

    head: Commit
    verdict: RuleOutcome
    accepted_by: Annotated[str, pydantic.Field(max_length=100)] | None = None


class Source(_Part):
    """Where a report comes from.

    Attributes:
        head: The pull request's last commit, as the run that made the report saw it.
        run: The workflow run's id; later runs have larger ones.
        attempt: Which attempt of that run.
        link: Where the full report is; empty for no link.
    """

    head: Commit
    run: Count = 0
    attempt: Count = 0
    link: Annotated[str, pydantic.Field(pattern=f"^({_LINK.pattern})?$")] = ""

    @property
    def order(self) -> tuple[int, int]:
        """Larger for the later of two reports about the same commit."""
        return self.run, self.attempt


class State(Source):
    """What a comment is about, and what came before."""

    verdict: RuleOutcome
    waiver: document.Waiver | None = None
    earlier: Annotated[tuple[Past, ...], pydantic.Field(max_length=EARLIER)] = ()

    @property
    def past(self) -> Past:
        """This, once there is a newer commit."""
        return Past(head=self.head, verdict=self.verdict, accepted_by=self.waiver.by[:100] if self.waiver else None)


@dataclass(frozen=True)
class Body:
    """A comment's text, taken apart.

    Attributes:
        text: All of it.
        shown: What people see.
        state: None if there is none that can be read.
    """

    text: str
    shown: str
    state: State | None

    def same(self, other: Body) -> bool:
        """Whether people see the same; another link, or what it cost this time, is no change."""
        return self._essence() == other._essence()

    def _essence(self) -> list[str]:
        shown = self.shown.replace(self.state.link, "") if self.state and self.state.link else self.shown
        return [line.rstrip() for line in shown.strip().splitlines() if not line.startswith(cost.OPENING)]


def marker(name: str) -> str:
    """The first line of every comment about the model ``name``."""
    quoted = urllib.parse.quote(name, safe=" ._/", errors="replace").replace("--", "-%2D")
    return f"<!-- metricgate: {quoted} -->"


def read(text: str, name: str) -> Body | None:
    """Take a comment apart; None if it is not one about the model ``name``.

    The marker alone makes no comment ours: anybody can write it.
    """
    first, _, rest = text.replace("\r\n", "\n").partition("\n")
    if first.strip() != marker(name):
        return None
    second, _, shown = rest.partition("\n")
    found = _STATE.fullmatch(second.strip())
    if not found:
        return Body(text=text, shown=rest, state=None)
    try:
        state = State.model_validate_json(found[1])
    except pydantic.ValidationError:
        state = None
    return Body(text=text, shown=shown, state=state)


def compose(
    report: Report,
    source: Source,
    *,
    before: Sequence[State] = (),
    newest: str | None = None,
    label: str | None = None,
    budget: int = markdown.BUDGET,
) -> Body:
    """Write the comment about a report.

    Args:
        report: What to tell.
        source: Where it comes from.
        before: The states of what it replaces: of one comment, or of duplicates.
        newest: The pull request's last commit, if that is another one by now.
        label: The label that accepts a regression, where one does.
        budget: UTF-16 code units, so that an emoji counts twice. GitHub speaks of 65,536 characters, and was seen to take
            262,144 bytes instead: this is below both.
    """
    state = State(
        **source.model_dump(),
        verdict=report.verdict,
        waiver=report.waiver,
        earlier=tuple(_earlier(before, head=source.head))[:EARLIER],
    )
    head = f"{marker(report.name)}\n<!-- metricgate-state: {_hidden(state)} -->\n\n"
    tail = "\n".join(_tail(state, report, newest=newest, label=label))
    room = budget - _length(head) - _length(tail)
    asked = room
    told = markdown.render(report, budget=asked)
    while (length := _length(told)) > room:
        asked = asked * room // length
        told = markdown.render(report, budget=asked)
    shown = told.rstrip("\n") + "\n" + tail
    return Body(text=head + shown, shown=shown, state=state)


def _hidden(state: State) -> str:
    """The state as JSON that can't end an HTML comment."""
    text = json.dumps(state.model_dump(mode="json", exclude_defaults=True), sort_keys=True, separators=(",", ":"))
    for char in "<>&":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text.replace("--", "-\\u002d")


def _earlier(before: Sequence[State], *, head: str) -> Iterator[Past]:
    """Earlier commits, newest first, each once."""
    ordered = sorted(before, key=lambda state: state.order, reverse=True)
    known = {head}
    for past in [*(state.past for state in ordered), *(past for state in ordered for past in state.earlier)]:
        if past.head not in known:
            known.add(past.head)
            yield past


def _tail(state: State, report: Report, *, newest: str | None, label: str | None) -> Iterator[str]:
    if newest is not None and newest != state.head:
        yield f"\n⚠️ This is about `{state.head[:7]}`; the pull request is at `{plain.text(newest)[:7]}` by now."
    parts = []
    if state.link:
        parts.append(f"[Full report]({state.link})")
    if label is not None and report.exit_code == 1:
        code = f"`{plain.text(label)}`"
        parts.append(f"To accept this regression, someone with write permission puts the label {code} on this pull request")
    if parts:
        yield "\n" + " · ".join(parts)
    if state.earlier:
        icons = " ".join(summary.ICONS[past.verdict] for past in state.earlier)
        yield f"\n<details><summary>Earlier commits: {icons}</summary>\n"
        for past in state.earlier:
            accepted = f", accepted by {plain.markdown(past.accepted_by)}" if past.accepted_by else ""
            yield f"- {summary.ICONS[past.verdict]} `{past.head[:7]}` {_WORDS[past.verdict]}{accepted}"
        yield "\n</details>"
    yield ""


def _length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2

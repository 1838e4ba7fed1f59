"""Release notes as Markdown: the verdict, the metrics against the previous release, the image, and how to check all of it.

They are one part of a text that people write too: it stands between two markers, and nothing outside them is touched.
"""

from __future__ import annotations

import re
import shlex
import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import tabulate

from metricgate.report import numbers, plain, summary
from metricgate.report.document import Report, RuleInfo

if TYPE_CHECKING:
    from metricgate.release.published import Published

MOST_ROWS = 50
_MOST_TAGS = 20
_PROSE = 600
_SMOKE = "Smoke test: "

# What each kind of statement is, for people.
_EVIDENCE: Mapping[str, str] = {
    "https://in-toto.io/attestation/test-result/v0.1": "the verdict, with policy, baseline and test set by digest",
    "https://slsa.dev/provenance/v1": "how the model was trained, and how the image was built",
    "https://model_signing/signature/v1.0": "every file of the model, as `model_signing` signs and verifies it",
    "https://cyclonedx.org/bom": "the bill of materials, with the model's metrics (CycloneDX)",
    "https://github.com/metricgate/metricgate/types/smoke-test/v1": "the smoke test of the image",
}


@dataclass(frozen=True, kw_only=True)
class Previous:
    """The release before this one.

    Attributes:
        version: What it is called.
        report: The verdict that it was released with.
    """

    version: str
    report: Report


def render(
    published: Published,
    report: Report,
    *,
    metrics: Mapping[str, float] | None = None,
    previous: Previous | None = None,
    verify: Sequence[str] = (),
    port: int = 8080,
) -> str:
    """What is told about a release; the same text for the same release.

    Args:
        published: What was released.
        report: Its verdict.
        metrics: What the run whose model it is says about itself; shown where nothing was judged.
        previous: The release before it, where it is known.
        verify: The options with which ``metricgate verify`` finds the image good, such as ``("--key", "release.pub")``.
        port: Where the image listens.
    """
    parts = [
        f"### {plain.markdown(summary.headline(report))}",
        _paragraph(summary.lead(report)),
        _accepted(published, report),
        *(f"⚠️ Released although the verdict was stale: {plain.markdown(each, limit=_PROSE)}" for each in published.stale),
        *(f"⚠️ The model brings code along: {plain.markdown(each, limit=_PROSE)}" for each in published.code),
        _table(published, report, metrics=metrics or {}, previous=previous),
        _origin(published, report),
        f"Image: {_code(_by_digest(published))}{_tags(published)}",
        _commands(_by_digest(published), verify=verify, port=port),
        _parity(published.smoke),
        _evidence(published.evidence),
    ]
    return "\n\n".join(part for part in parts if part)


def part_of(body: str, *, model: str) -> str | None:
    """What a text says between the markers of a model, with them; None where it has none."""
    begin, end = _markers(model)
    start = body.find(begin)
    stop = body.find(end, start)
    return None if start < 0 or stop < 0 else body[start : stop + len(end)]


def merged(body: str, notes: str, *, model: str) -> str:
    """A text with the part about a model replaced, or added at its end; itself where that part says the same.

    A smoke test that was made again measured other times, and says the same.

    Args:
        body: What there is, of whomever.
        notes: What the part is to say.
        model: Which model's part it is.
    """
    begin, end = _markers(model)
    part = f"{begin}\n{notes}\n{end}"
    kept = part_of(body, model=model)
    if kept is not None:
        return body if _essence(kept) == _essence(part) else body.replace(kept, part, 1)
    if begin in body:  # somebody took the end away: what stands behind the beginning may be theirs
        return body.replace(begin, part, 1)
    return f"{body.rstrip()}\n\n{part}" if body.strip() else part


def _essence(part: str) -> list[str]:
    """What two parts have to have in common: a browser sends other ends of lines."""
    return [line.rstrip() for line in part.splitlines() if not line.startswith(_SMOKE)]


def _markers(model: str) -> tuple[str, str]:
    quoted = urllib.parse.quote(model, safe=" ._/", errors="replace").replace("--", "-%2D")
    return f"<!-- metricgate: release {quoted} -->", f"<!-- metricgate: end of release {quoted} -->"


def _paragraph(text: str) -> str:
    """Text that begins a line: neither a list nor a rule."""
    return re.sub(r"^([0-9]*)([-+=.)])", r"\1\\\2", plain.markdown(text, limit=_PROSE))


def _accepted(published: Published, report: Report) -> str:
    waiver = report.waiver
    if waiver is None:
        return plain.markdown(f"✋ {published.waiver} accepted this regression.") if published.waiver else ""
    return plain.markdown(f"✋ {waiver.by} accepted this regression on {waiver.at[:10]} for {waiver.commit[:7]}.")


def _table(published: Published, report: Report, *, metrics: Mapping[str, float], previous: Previous | None) -> str:
    rules = list(_by_metric(report).values())
    before = _by_metric(previous.report) if previous else {}
    rows = []
    for rule in rules[:MOST_ROWS]:
        old = before.get((rule.metric, rule.aggregate))
        # A bound has no baseline: its interval is that of the candidate itself.
        change = "" if rule.kind in {"min", "max"} else numbers.difference(rule)
        name = f"{plain.markdown(summary.row(rule).name)} {numbers.ARROWS[rule.direction]}"
        rows.append([name, numbers.plain(old.candidate if old else None), numbers.plain(rule.candidate), change])
    if not rows:
        rows = [[plain.markdown(name), "", numbers.plain(value), ""] for name, value in sorted(metrics.items())[:MOST_ROWS]]
    if not rows:
        return ""
    commit = summary.commit(report.baseline)
    against = f"against its baseline {_code(commit)}" if commit.isalnum() else "against its baseline"
    table = tabulate.tabulate(
        rows,
        headers=[
            "",
            _version(previous.version) if previous else "previous release",
            _version(published.version),
            f"{against} ({(1 - report.alpha) * 100:g}% interval)",
        ],
        tablefmt="pipe",
        disable_numparse=True,
        colalign=("left", "right", "right", "right"),
    )
    hidden = len(rules) - MOST_ROWS
    return f"{table}\n\n{hidden} more metrics are in the report." if hidden > 0 else table


def _by_metric(report: Report) -> dict[tuple[str, str], RuleInfo]:
    """One rule for each metric on all examples: one that compares, where there is one."""
    found: dict[tuple[str, str], RuleInfo] = {}
    for rule in report.rules:
        key = (rule.metric, rule.aggregate)
        if rule.slice is None and rule.candidate is not None and (key not in found or found[key].kind in {"min", "max"}):
            found[key] = rule
    return found


def _version(text: str) -> str:
    return plain.markdown(text, limit=60)


def _origin(published: Published, report: Report) -> str:
    runs = report.candidate.runs
    which = "" if published.seed is None else f" of seed {published.seed}"
    means = f"The numbers are means of {runs} runs; the image holds the model{which}" if runs > 1 else f"The model{which}"
    return f"{means}, trained at {_code(published.commit[:7])}."


def _tags(published: Published) -> str:
    names = [_code(tag.rpartition(":")[2]) for tag in published.tags]
    more = f" and {len(names) - _MOST_TAGS} more" if len(names) > _MOST_TAGS else ""
    return f", tagged {', '.join(names[:_MOST_TAGS])}{more}" if names else ""


def _by_digest(published: Published) -> str:
    return f"{published.image}@{published.digest}"


def _commands(image: str, *, verify: Sequence[str], port: int) -> str:
    lines = [
        ["docker", "pull", image],
        ["docker", "run", "--rm", "--read-only", "--tmpfs", "/tmp", "--publish", f"{port}:{port}", image],  # noqa: S108
        ["metricgate", "verify", image, *verify],
    ]
    text = "\n".join(plain.text(shlex.join(line), limit=2000) for line in lines)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}sh\n{text}\n{fence}"


def _parity(smoke: Mapping[str, object]) -> str:
    """The same model in another environment has to behave the same: by how much it does not."""
    known = {key: value for key, value in smoke.items() if isinstance(value, int | float)}
    if "exchanges" not in known:
        return ""
    differences = {
        "at most {}": known.get("max_absolute_difference"),
        "the sum of squares is {}": known.get("sum_squared_difference"),
        "the largest square {}": known.get("max_squared_difference"),
    }
    told = ", ".join(text.format(numbers.plain(value)) for text, value in differences.items() if value is not None)
    times = {"ready after {:.3g} s": "ready_s", "half of them answered in {:.3g} ms": "p50_ms", "95% in {:.3g} ms": "p95_ms"}
    took = ", ".join(text.format(known[key]) for text, key in times.items() if key in known)
    parts = [
        f"{_SMOKE}{known['exchanges']:,} golden requests were put to exactly this image before it was pushed.",
        f"Its answers differ from those of the trained model by {told}." if told else "",
        f"It was {took}." if took else "",
    ]
    return " ".join(part for part in parts if part)


def _evidence(evidence: Sequence[str]) -> str:
    if not evidence:
        return ""
    kinds = sorted(set(evidence))
    lines = []
    for kind in kinds:
        meaning = next((text for known, text in _EVIDENCE.items() if kind.startswith(known)), "a statement")
        lines.append(f"- {meaning}: {_code(kind)}")
    title = f"{len(evidence)} signed statement{'s'[: len(evidence) != 1]} beside the image"
    return f"<details><summary>Evidence: {title}</summary>\n\n" + "\n".join(lines) + "\n\n</details>"


def _code(text: str) -> str:
    """A code span; GitHub interprets nothing in it."""
    shown = plain.text(text, limit=300).replace("`", "'").replace("|", "\\|")
    return f"`{shown}`" if shown else ""

"""Where things lie in a store. Everything that a listing can answer is in the paths, so that it costs no further request.

- ``runs/<name>/<commit>/<run>/run.json``, and beside it the scores or a pointer to them, and golden requests: one run;
- ``runs/<name>/<commit>/recorded-<time>-<runs>.json``: the commit is recorded, as a whole;
- ``ledger/<name>/<commit>/<baseline>-<digest>.json``: one entry of the ledger, a file of its own so that writers never meet;
- ``verdicts/<name>/<test set>/<commit>-<digest>.json``: the same of a verdict. They keep no recorded commit from being pruned;
- ``reports/<name>/<commit>/<time>-<digest>.json``: what a verdict said about a commit, kept as long as the commit's runs are.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Annotated, Literal

import pydantic

from metricgate import golden
from metricgate.errors import UsageError
from metricgate.formats import metrics_json, scores
from metricgate.run import RUN_FILE

RUNS = "runs"
LEDGER = "ledger"
VERDICTS = "verdicts"
REPORTS = "reports"
POINTER_FILE = "scores.pointer.json"
FILES = frozenset(
    {RUN_FILE, metrics_json.FILE, POINTER_FILE, golden.FILE, *(f"{scores.STEM}{suffix}" for suffix in scores.SUFFIXES)}
)
NO_BASELINE = "none"

_TIME = "%Y%m%dT%H%M%SZ"
_MOMENT = "%Y%m%dT%H%M%S.%fZ"
_COMMIT = r"[0-9a-f]{40}|[0-9a-f]{64}"
_PLAIN = re.compile(r"[a-z0-9][a-z0-9_-]*(\.[a-z0-9_-]+)*")
_IN_RUNS = re.compile(rf"{RUNS}/(?P<name>[^/]+)/(?P<commit>{_COMMIT})/(?P<rest>[^/]+(?:/[^/]+)?)")
_MARKER = re.compile(r"recorded-(?P<time>\d{8}T\d{6}Z)-(?P<runs>\d{1,6})\.json")
_RUN = re.compile(r"(?P<run>seed-\d{1,9}|run-[0-9a-f]{12})/(?P<file>[^/]+)")
_ENTRY = re.compile(
    rf"{LEDGER}/(?P<name>[^/]+)/(?P<commit>{_COMMIT})/(?P<baseline>{_COMMIT}|{NO_BASELINE})-(?P<digest>[0-9a-f]{{16}})\.json"
)
_TEST_SET = re.compile(r"sha256:[0-9a-f]{64}")
_VERDICT = re.compile(
    rf"{VERDICTS}/(?P<name>[^/]+)/(?P<test_set>[0-9a-f]{{64}})/(?P<commit>{_COMMIT})-(?P<digest>[0-9a-f]{{16}})\.json"
)
_REPORT = re.compile(
    rf"{REPORTS}/(?P<name>[^/]+)/(?P<commit>{_COMMIT})/(?P<time>\d{{8}}T\d{{6}}\.\d{{6}}Z)-(?P<digest>[0-9a-f]{{16}})\.json"
)


class Pointer(pydantic.BaseModel):
    """``scores.pointer.json``: a score table that is kept elsewhere."""

    model_config = pydantic.ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    schema_: Literal["metricgate.pointer/1"] = pydantic.Field(default="metricgate.pointer/1", alias="schema")
    url: str
    file: Literal["scores.parquet", "scores.csv", "scores.jsonl"] = "scores.parquet"
    sha256: Annotated[str, pydantic.Field(pattern=r"^[0-9a-f]{64}$")]
    bytes: Annotated[int, pydantic.Field(ge=0)]


@dataclass(frozen=True)
class RecordedCommit:
    """What a listing says about one commit.

    Attributes:
        commit: Its full hash.
        time: When it was recorded; the last time where it was recorded again.
        markers: The paths that say so.
        complete: Whether as many runs are there as were recorded.
        runs: Path by file, by run.
    """

    commit: str
    time: datetime
    markers: tuple[str, ...]
    complete: bool
    runs: Mapping[str, Mapping[str, str]]

    @property
    def paths(self) -> tuple[str, ...]:
        """Every path of the commit, what says that it is recorded first."""
        return (*self.markers, *(path for files in self.runs.values() for path in files.values()))


def slug(name: str) -> str:
    """A model's name as the name of a folder, different for different names, on every file system."""
    if _PLAIN.fullmatch(name):
        return name
    readable = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    # No plain name has a tilde. Upper case counts in a name and does not in every file system.
    return f"{readable}~{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def commit_folder(name: str, commit: str) -> str:
    """The folder of a commit's runs.

    Raises:
        UsageError: The commit is no full hash.
    """
    return f"{RUNS}/{slug(name)}/{full_commit(commit)}"


def full_commit(commit: str) -> str:
    """The commit, checked to be one: it becomes part of a path.

    Raises:
        UsageError: It is something else.
    """
    if not re.fullmatch(_COMMIT, commit):
        raise UsageError(
            f"{commit[:80]!r} is no full commit hash", expected="40 or 64 of 0-9 and a-f", fix="git rev-parse --verify HEAD"
        )
    return commit


def marker(name: str, commit: str, *, time: datetime, runs: int) -> str:
    """The path that says that a commit is recorded."""
    return f"{commit_folder(name, commit)}/recorded-{time.astimezone(timezone.utc).strftime(_TIME)}-{runs}.json"


def recorded(paths: Iterable[str], name: str) -> dict[str, RecordedCommit]:
    """The recorded commits of a model, by their hash. Whatever else lies in the store is not looked at."""
    folder = slug(name)
    markers: dict[str, list[tuple[datetime, int, str]]] = {}
    runs: dict[str, dict[str, dict[str, str]]] = {}
    for path in sorted(paths):
        found = _IN_RUNS.fullmatch(path)
        if found is None or found["name"] != folder:
            continue
        if (mark := _MARKER.fullmatch(found["rest"])) and (time := _time(mark["time"])):
            markers.setdefault(found["commit"], []).append((time, int(mark["runs"]), path))
        elif (run := _RUN.fullmatch(found["rest"])) and run["file"] in FILES:
            runs.setdefault(found["commit"], {}).setdefault(run["run"], {})[run["file"]] = path
    return {
        commit: RecordedCommit(
            commit=commit,
            time=max(marks)[0],
            markers=tuple(path for _, _, path in marks),
            complete=max(marks)[1] == len(runs.get(commit, {})),
            runs=runs.get(commit, {}),
        )
        for commit, marks in markers.items()
    }


def runs_of(paths: Iterable[str], name: str, commit: str) -> dict[str, dict[str, str]]:
    """Path by file, by run, of a commit, whether or not it is recorded as a whole."""
    folder = f"{commit_folder(name, commit)}/"
    runs: dict[str, dict[str, str]] = {}
    for path in sorted(paths):
        if path.startswith(folder) and (run := _RUN.fullmatch(path.removeprefix(folder))):
            runs.setdefault(run["run"], {})[run["file"]] = path
    return runs


def entry(name: str, commit: str, *, baseline: str | None, content: bytes) -> str:
    """The path of a ledger entry; the same entry twice is one file."""
    end = f"{full_commit(baseline) if baseline else NO_BASELINE}-{hashlib.sha256(content).hexdigest()[:16]}"
    return f"{LEDGER}/{slug(name)}/{full_commit(commit)}/{end}.json"


def verdict(name: str, commit: str, *, test_set: str, content: bytes) -> str:
    """The path of a verdict's entry.

    Raises:
        UsageError: The test set is no fingerprint: it becomes part of a path.
    """
    if not _TEST_SET.fullmatch(test_set):
        raise UsageError(f"{test_set[:80]!r} is no fingerprint of a test set", expected="sha256: and 64 of 0-9 and a-f")
    end = f"{full_commit(commit)}-{hashlib.sha256(content).hexdigest()[:16]}"
    return f"{VERDICTS}/{slug(name)}/{test_set.removeprefix('sha256:')}/{end}.json"


def verdicts(paths: Iterable[str], name: str) -> dict[str, int]:
    """How many verdicts of a model each test set has given, by its fingerprint. A listing is enough to tell."""
    folder = slug(name)
    found = (match for path in paths if (match := _VERDICT.fullmatch(path)) and match["name"] == folder)
    return dict(Counter(f"sha256:{match['test_set']}" for match in found))


def report(name: str, commit: str, *, time: datetime, content: bytes) -> str:
    """The path of what a verdict said."""
    moment = time.astimezone(timezone.utc).strftime(_MOMENT)
    return f"{REPORTS}/{slug(name)}/{full_commit(commit)}/{moment}-{hashlib.sha256(content).hexdigest()[:16]}.json"


def reports(paths: Iterable[str], name: str) -> dict[str, tuple[str, ...]]:
    """The paths of what was said about each commit, oldest first."""
    folder = slug(name)
    found: dict[str, list[str]] = {}
    for path in sorted(paths):  # a time in a name sorts as it is
        if (match := _REPORT.fullmatch(path)) and match["name"] == folder and _time(match["time"], _MOMENT):
            found.setdefault(match["commit"], []).append(path)
    return {commit: tuple(of) for commit, of in found.items()}


def said_at(path: str) -> datetime:
    """When a verdict was given, from the path of what it said."""
    match = _REPORT.fullmatch(path)
    time = _time(match["time"], _MOMENT) if match else None
    if time is None:
        message = f"{path} is no path of a report"
        raise ValueError(message)
    return time


def entries(paths: Iterable[str], name: str) -> tuple[str, ...]:
    """The paths of a model's ledger entries."""
    folder = slug(name)
    return tuple(path for path in sorted(paths) if (found := _ENTRY.fullmatch(path)) and found["name"] == folder)


def referred(paths: Iterable[str], name: str) -> frozenset[str]:
    """The commits that a model's ledger refers to."""
    found = [match for path in entries(paths, name) if (match := _ENTRY.fullmatch(path))]
    return frozenset(match[role] for match in found for role in ("commit", "baseline")) - {NO_BASELINE}


def _time(text: str, form: str = _TIME) -> datetime | None:
    try:
        return datetime.strptime(text, form).replace(tzinfo=timezone.utc)
    except ValueError:  # month 13: not a name that we gave
        return None

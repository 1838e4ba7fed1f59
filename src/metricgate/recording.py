"""``metricgate record``, ``baseline`` and ``comment`` on a laptop or in a script: which store, which repository, which runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from metricgate import config_file, workspace
from metricgate.baseline import commands, local_history
from metricgate.baseline.store import RunStore
from metricgate.config import Config
from metricgate.errors import UsageError
from metricgate.report import document

if TYPE_CHECKING:
    from metricgate.github.api import Repository
    from metricgate.github.comments import When
    from metricgate.report.document import Report


def record(config: Path, runs: Path | None, *, store: str | None, commit: str | None, environ: Mapping[str, str]) -> str:
    """Record runs; what was done, as text for standard output.

    Args:
        config: The configuration file.
        runs: The runs; by default those of the commit that is checked out.
        store: Instead of that of the configuration.
        commit: Their commit, where they don't say it.
        environ: May hold ``GITHUB_TOKEN`` and ``GITHUB_REPOSITORY``.

    Raises:
        MetricgateError: As ``commands.record``.
    """
    loaded, root = configured(config, store=store), config.parent.absolute()
    folder = runs or workspace.runs_folder(root, workspace.look(root))
    if not folder.exists():
        raise UsageError("there are no runs", where=str(folder), expected="a folder of runs", fix="metricgate run")
    whole = local_history.commit(root, commit) if commit else None
    done = commands.record(store_of(loaded, root, environ), folder, config=loaded, clock=workspace.now, commit=whole)
    kept = commands.keep_models(loaded, folder, root=root, clock=workspace.now)
    what = "recorded" if done.changed else "recorded already:"
    told = f"{what} {len(done.runs)} run{'s'[: len(done.runs) != 1]} of {done.commit} ({', '.join(done.runs)})\n"
    return f"{told}kept the model{'s'[: len(kept) != 1]} of {', '.join(kept)}\n" if kept else told


def find(
    config: Path, commit: str, *, store: str | None, into: str | None, base: str, as_json: bool, environ: Mapping[str, str]
) -> str:
    """Find the baseline of a commit and copy its runs out; its folder, for standard output.

    Args:
        config: The configuration file.
        commit: The change's commit, such as ``HEAD``.
        store: Instead of that of the configuration.
        into: Where the runs go; by default ``.metricgate/baseline``.
        base: The branch that the change goes into.
        as_json: Print what was found as JSON.
        environ: May hold ``GITHUB_TOKEN`` and ``GITHUB_REPOSITORY``.

    Raises:
        UsageError: There is no baseline; the error has the commands that make one.
    """
    loaded, root = configured(config, store=store), config.parent.absolute()
    origin = local_history.merge_base(root, base, commit)
    folder = Path(into) if into else workspace.runs_folder(root, workspace.look(root)).parents[1] / "baseline"
    found = commands.find(store_of(loaded, root, environ), local_history.before(root, origin), config=loaded, into=folder)
    if found is None:
        raise UsageError("there is no baseline", expected="a recorded ancestor", fix=commands.missing(loaded, origin))
    if not as_json:
        return f"{found.folder}\n"
    told = {
        "folder": str(found.folder),
        "commit": found.commit,
        "merge_base": origin,
        "distance": found.distance,
        "recorded": found.recorded.isoformat(),
    }
    return json.dumps(told, indent=2) + "\n"


def verdicts(config: Path, *, store: str | None, environ: Mapping[str, str]) -> dict[str, int]:
    """How many verdicts each test set has given, by its fingerprint."""
    loaded = configured(config, store=store)
    return store_of(loaded, config.parent.absolute(), environ).verdicts(loaded.name)


def note(config: Path, report: Report, *, store: str | None, environ: Mapping[str, str]) -> str:
    """Count a verdict in the ledger, and keep what it said; what was done, in words for standard error."""
    loaded, root = configured(config, store=store), config.parent.absolute()
    commit = report.candidate.commit
    if commit is None or len(commit) not in {40, 64}:
        return "this verdict is not counted: the runs name no commit\n"
    noted = commands.note(store_of(loaded, root, environ), report, config=loaded, clock=workspace.now, commit=commit)
    if noted.counted:
        return f"this verdict is counted, and kept for {commit[:12]}\n" if noted.kept else "this verdict is counted\n"
    return "this verdict is not counted: the runs name no test set\n"


def listed(config: Path, *, store: str | None, environ: Mapping[str, str]) -> str:
    """The recorded commits, as a table."""
    loaded = configured(config, store=store)
    return commands.table(store_of(loaded, config.parent.absolute(), environ), config=loaded)


def comment(report: Path, *, number: int, when: When, environ: Mapping[str, str]) -> str:
    """Comment a report on a pull request; the comment's address.

    Args:
        report: A report.json.
        number: The pull request.
        when: When to comment.
        environ: Holds ``GITHUB_TOKEN`` and ``GITHUB_REPOSITORY``.

    Raises:
        UsageError: There is no token or no repository, or the report names no commit.
        GitHubError: The comment can't be written.
    """
    told = document.read(report)
    repository = _repository(environ)
    if repository is None:
        raise UsageError(
            "there is no repository or no token to comment with",
            expected="the variables GITHUB_REPOSITORY and GITHUB_TOKEN",
            fix="GITHUB_TOKEN=… GITHUB_REPOSITORY=owner/name metricgate comment report.json --pull-request 7",
        )
    if told.candidate.commit is None:
        raise UsageError(
            "the report names no commit of the change", where=str(report), expected="runs that were made of a commit"
        )
    from metricgate.github import comments
    from metricgate.report.comment import Source

    url = comments.publish(repository, told, number=number, source=Source(head=told.candidate.commit), when=when)
    return f"{url}\n" if url else ""


def configured(config: Path, *, store: str | None) -> Config:
    """The configuration, with the runs recorded elsewhere where somebody says so.

    Raises:
        ConfigError: It is missing or wrong.
    """
    loaded = config_file.load(config)
    if store is None:
        return loaded
    return loaded.model_copy(update={"baseline": loaded.baseline.model_copy(update={"store": store})})


def store_of(config: Config, root: Path, environ: Mapping[str, str]) -> RunStore:
    """Where runs are recorded.

    Raises:
        UsageError: That is a branch on GitHub, and there is no token for it.
    """
    repository = _repository(environ) if config.baseline.store == commands.BRANCH else None
    if repository is None:
        return commands.store(config.baseline, root=root)
    from metricgate.github.branch_files import BranchFiles

    return commands.store(config.baseline, root=root, branch=BranchFiles(repository, config.baseline.branch))


def _repository(environ: Mapping[str, str]) -> Repository | None:
    token, name = environ.get("GITHUB_TOKEN") or environ.get("GH_TOKEN"), environ.get("GITHUB_REPOSITORY")
    if not token or not name:
        return None
    from metricgate.github import api

    return api.connect(token, api_url=environ.get("GITHUB_API_URL") or api.PUBLIC_API).repository(name)

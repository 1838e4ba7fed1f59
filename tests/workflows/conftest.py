"""Runs the real actions with `act`, in scratch repositories, on the machine itself, without containers.

What differs from GitHub is put right here: `act` cannot resolve `$/`, knows no queues, sets `INPUT_*` where GitHub sets none,
and has no artifact storage of GitHub's protocol without a server; the remote actions are stood in for by small local ones.
GitHub's API is the one on localhost, with one token for all jobs.
"""

import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from tests import shared_folder
from tests.github_server import GitHubServer
from tests.github_server import Repository as Remote
from tests.github_server.mirror import mirror

from metricgate import __version__
from metricgate.github import reference

PROJECT = Path(__file__).parents[2]
STAND_INS = Path(__file__).parent / "stand_ins"
RELEASE = f"v{__version__}"
REMOTE = "https://github.com/acme/model"
NUMBER = 7
PERMISSIONS = {"contents": "write", "pull_requests": "write", "checks": "write", "statuses": "write", "actions": "read"}


# `act` splits the path of the script that it runs at spaces, which GitHub's runner does not.
BASH = """#!{bash}
options=()
while [ "${{1#-}}" != "$1" ] || [ "$1" = pipefail ]; do options+=("$1"); shift; done
if [ ! -e "$1" ] && [ -e "$*" ]; then set -- "$*"; fi
exec {bash} "${{options[@]}}" "$@"
"""


@dataclass(frozen=True)
class Outcome:
    """What a workflow did.

    Attributes:
        code: The exit code of `act`: 0 if all jobs went well.
        log: Everything that it said.
        jobs: The result of each job that ran; of one that ran several times, as a matrix, failure if one of them failed.
        annotations: The errors, warnings and notices that a runner would show, such as ``error file=a,line=1::text``.
        summaries: Everything that was written to step summaries.
        artifacts: The folder with one folder for each artifact.
    """

    code: int
    log: str
    jobs: Mapping[str, str]
    annotations: Sequence[str]
    summaries: str
    artifacts: Path


@dataclass(frozen=True)
class Repository:
    """A scratch repository with a model of twenty lines, and what GitHub knows of it."""

    root: Path
    github: GitHubServer
    remote: Remote

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]
        command = ["git", "-C", str(self.root), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str, files: Mapping[str, str]) -> str:
        for name, text in files.items():
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def replace(self, name: str, old: str, new: str) -> Mapping[str, str]:
        """The file with a text replaced, ready to be committed."""
        text = (self.root / name).read_text()
        assert old in text, f"{name} has no {old!r}"
        return {name: text.replace(old, new)}

    def change(self, branch: str, files: Mapping[str, str]) -> str:
        """Commit a change on a branch of its own, off main."""
        self.git("checkout", "--quiet", "-b", branch, "main")
        return self.commit(branch, files)

    def pull_request(self, branch: str, *, fork: bool = False) -> dict[str, Any]:
        """Check out what GitHub checks out, the merge of the branch into main, and return the event."""
        head, base = self.git("rev-parse", branch), self.git("rev-parse", "main")
        self.git("checkout", "--quiet", "--detach", "main")
        self.git("merge", "--quiet", "--no-ff", "--message", f"Merge {head} into {base}", head)
        name = REMOTE.removeprefix("https://github.com/")
        mirror(self.remote, self.root)
        if NUMBER in self.remote.pulls:
            self.remote.push(NUMBER, head)
        else:
            self.remote.pull(number=NUMBER, head=head, head_ref=branch, head_repository="stranger/model" if fork else "")
        return {
            "action": "synchronize",
            "repository": {"full_name": name},
            "pull_request": {
                "number": NUMBER,
                "base": {"sha": base, "ref": "main", "repo": {"full_name": name}},
                "head": {"sha": head, "ref": branch, "repo": {"full_name": "stranger/model" if fork else name}},
            },
        }

    def tag(self, name: str, *, at: str = "HEAD") -> dict[str, Any]:
        """Push a tag: check out what GitHub checks out, and return the event."""
        self.git("tag", name, at)
        self.git("checkout", "--quiet", "--detach", name)
        mirror(self.remote, self.root)
        self.remote.tag(name, self.git("rev-parse", "HEAD"))
        return {"ref": f"refs/tags/{name}", "after": self.git("rev-parse", "HEAD")}

    def merge_group(self, branch: str) -> dict[str, Any]:
        """Check out what a merge queue checks out, and return the event."""
        event = self.pull_request(branch)
        base = self.git("rev-parse", "main")
        group = {"head_sha": self.git("rev-parse", "HEAD"), "base_sha": base, "base_ref": "refs/heads/main"}
        return {"repository": event["repository"], "merge_group": group}


@dataclass(frozen=True)
class Act:
    """Runs a workflow of a repository as GitHub would."""

    source: Path
    home: Path
    environ: Mapping[str, str] = field(default_factory=dict)

    def run(
        self,
        repository: Repository,
        event_name: str,
        event: Mapping[str, object],
        *,
        permissions: Mapping[str, str] = PERMISSIONS,
        secrets: Mapping[str, str] | None = None,
        workflow: str = "",
    ) -> Outcome:
        """Run the repository's workflows, or one of them, on an event, with a token of those permissions for all jobs."""
        secrets = secrets or {}
        mirror(repository.remote, repository.root)
        token = repository.github.token(permissions=permissions, repository=repository.remote.full_name)
        folder = repository.root.parent
        artifacts = folder / "artifacts"
        artifacts.mkdir(exist_ok=True)
        event_file = folder / "event.json"
        event_file.write_text(json.dumps(event))
        labels = ("ubuntu-latest", "self-hosted", "gpu")
        command = [
            Path(sys.executable).with_name("act"),
            event_name,
            *("--eventpath", event_file),
            *("--workflows", repository.root / ".github" / "workflows" / workflow),  # a folder: all of them
            *("--json", "--pull=false", "--no-cache-server", "--rm"),
            *("--action-cache-path", self.home),
            *(f"--platform={label}=-self-hosted" for label in labels),
            *("--env", f"STAND_IN_ARTIFACTS={artifacts}"),
            *("--env", f"STAND_IN_API_URL={repository.github.url}"),
            *("--secret", f"GITHUB_TOKEN={token}"),
            *(option for name in secrets for option in ("--secret", name)),  # of its environment
            *(f"--local-repository={name}={path}" for name, path in self._repositories()),
        ]
        finished = subprocess.run(
            [str(part) for part in command],
            cwd=repository.root,
            env={**self.environ, **secrets},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        entries = [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
        log = "".join(str(entry.get("msg", "")).rstrip("\n") + "\n" for entry in entries) + finished.stderr
        sys.stdout.write(log)  # pytest shows it when a test fails
        return Outcome(
            code=finished.returncode,
            log=log,
            jobs=_results(entries),
            annotations=_annotations(entries),
            summaries="".join(dict.fromkeys(str(e["content"]) for e in entries if e.get("command") == "summary")),
            artifacts=artifacts,
        )

    def _repositories(self) -> list[tuple[str, Path]]:
        workflow = (self.source / ".github" / "workflows" / "model-ci.yml").read_text()
        found = {f"{reference.SLUG}@{RELEASE}": self.source}
        for name, folder in (("upload", "upload"), ("download", "download")):
            pin = workflow.partition(f"actions/{name}-artifact@")[2].split()[0]
            found[f"actions/{name}-artifact@{pin}"] = STAND_INS / folder
        found[f"actions/cache@{workflow.partition('actions/cache/restore@')[2].split()[0]}"] = STAND_INS / "cache"
        return list(found.items())


def _results(entries: Sequence[Mapping[str, object]]) -> Mapping[str, str]:
    ended = [(str(entry["jobID"]), str(entry["jobResult"])) for entry in entries if "jobResult" in entry]
    failed = {job for job, result in ended if result == "failure"}
    return {job: "failure" if job in failed else result for job, result in ended}


def _annotations(entries: Sequence[Mapping[str, object]]) -> list[str]:
    """`act` marks those that it obeys with a sign, and shows those behind `stop-commands` with the one for `ignored`."""
    lines = [str(entry.get("msg", "")).strip() for entry in entries]
    return [line.partition("::")[2] for line in lines if re.match(r"[❗🚧💬❌]+\s+::(error|warning|notice)", line)]


@dataclass(frozen=True)
class Started:
    """How jobs that start at once on a machine without an environment find it.

    Attributes:
        codes: Their exit codes.
        paths: The Python that each was given.
        told: What each wrote to its log.
        left: What lay in the tool cache when all had ended.
    """

    codes: Sequence[int]
    paths: Sequence[str]
    told: Sequence[str]
    left: Sequence[str]


@pytest.fixture(scope="session")
def tool_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That of a machine whose jobs share it: here all jobs of all workers of pytest."""
    tools = shared_folder.of_the_run(tmp_path_factory) / "tool cache"
    tools.mkdir(exist_ok=True)
    return tools


@pytest.fixture(scope="session")
def started(tmp_path_factory: pytest.TempPathFactory, tool_cache: Path) -> Started:
    """Three jobs that start at once, before any other: they make the environment that the others find."""
    kept = shared_folder.made_once(
        tmp_path_factory, "started at once", lambda folder: _start_at_once(tool_cache, folder / "started.json")
    )
    return Started(**json.loads((kept / "started.json").read_text()))


def _start_at_once(tool_cache: Path, told: Path) -> None:
    environ = {**os.environ, "RUNNER_TOOL_CACHE": str(tool_cache)}
    command = [str(Path(sys.base_prefix) / "bin" / "python3"), "-I", str(PROJECT / "actions" / "setup" / "environment.py")]
    jobs = [subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    answers = [job.communicate(timeout=300) for job in jobs]
    left = sorted(path.name for path in tool_cache.glob("metricgate/*") if path.is_dir())
    codes, paths, logs = [job.returncode for job in jobs], [path.strip() for path, _ in answers], [log for _, log in answers]
    told.write_text(json.dumps(dataclasses.asdict(Started(codes, paths, logs, left))))


@pytest.fixture(scope="session")
def act(tmp_path_factory: pytest.TempPathFactory, tool_cache: Path, started: Started) -> Act:  # noqa: ARG001 - they come first
    """`act`, with metricgate as GitHub would fetch it."""
    home = tmp_path_factory.mktemp("act") / "a runner"  # a space on purpose
    home.mkdir()
    # Whatever interpreter these tests run with is the runner's python3; nothing else of theirs reaches the jobs.
    programs = home / "programs"
    programs.mkdir()
    (programs / "python3").symlink_to(Path(sys.base_prefix) / "bin" / "python3")
    bash = programs / "bash"
    bash.write_text(BASH.format(bash=shutil.which("bash")))
    bash.chmod(0o755)
    (home / "tool_cache").symlink_to(tool_cache)  # where `act` looks for it
    environ = {
        key: value for key, value in os.environ.items() if not key.startswith(("GITHUB_", "RUNNER_", "INPUT_", "PYTEST"))
    }
    return Act(source=_metricgate(home), home=home, environ={**environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"})


def _metricgate(home: Path) -> Path:
    """A copy of what is in the repository, as far as actions need it."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=PROJECT,
        check=True,
        capture_output=True,
        text=True,
    )
    folder = home / "metricgate source"
    # `act` copies an action's whole repository for each step that uses it. The package lies beside it, behind a link: that is a
    # copy of thirty files, not of six hundred.
    package = home / "metricgate package"
    package.mkdir()
    folder.mkdir()
    (folder / "src").symlink_to(package)
    folders = ("actions/", ".github/", "src/", "requirements/")
    wanted = (*folders, "action.yml", "Dockerfile", "pyproject.toml", "README.md", "LICENSE")
    for name in filter(None, listed.stdout.split("\0")):
        if name.startswith(wanted) and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(PROJECT / name, folder / name)
    for workflow in (folder / ".github" / "workflows").glob("model-*.yml"):
        text = workflow.read_text().replace("      queue: max\n", "")
        workflow.write_text(re.sub(r"uses: \$/(\S+)", rf"uses: {reference.SLUG}/\1@{RELEASE}", text))
    script = folder / "actions" / "setup" / "run.sh"
    # GitHub gives composite steps no INPUT_*: whatever relies on what `act` sets would fail here. And `act` knows one API only.
    here = 'unset "${!INPUT_@}"\nexport GITHUB_API_URL="$STAND_IN_API_URL"\n'
    script.write_text(script.read_text().replace("set -euo pipefail\n", f"set -euo pipefail\n{here}", 1))
    return folder


MODEL = {
    "train.py": """
        import json, os, pathlib, random

        seed = int(os.environ["METRICGATE_SEED"])
        weight = 1.0 + random.Random(seed).gauss(0, 0.01)
        model = pathlib.Path(os.environ["METRICGATE_MODEL"])
        model.parent.mkdir(exist_ok=True)
        model.write_text(json.dumps({"weight": weight}))
        print("::error::printed by the training, not by metricgate")
        """,
    "evaluate.py": """
        import csv, json, os, pathlib, random

        weight = json.loads(pathlib.Path(os.environ["METRICGATE_MODEL"]).read_text())["weight"]
        rows = []
        for example in range(600):
            difficulty = random.Random(example).random()
            rows.append((example, "even" if example % 2 == 0 else "odd", int(difficulty * weight < 0.9)))
        with open(pathlib.Path(os.environ["METRICGATE_RUN_DIR"]) / "scores.csv", "w", newline="") as file:
            csv.writer(file).writerows([("example_id", "label", "accuracy"), *rows])
        """,
    "metricgate.yaml": """
        version: 1
        name: tiny
        train: {run: python3 train.py, seeds: [0, 1, 2]}
        evaluate: {run: python3 evaluate.py}
        model: outputs/model.json
        metrics:
          accuracy: {direction: higher}
        slices: [label]
        gate:
          rules:
            - {metric: accuracy, min: 0.5}
            - {metric: accuracy, max_regression: 0.02}
            - {metric: accuracy, slices: [label], max_regression: 0.05}
        """,
    ".gitignore": """
        outputs/
        .metricgate/
        """,
}


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[Callable[[str], Repository]]:
    """Makes the scratch repository with a workflow."""
    with GitHubServer() as github:
        yield lambda workflow: _scratch(tmp_path, github, workflow)


@pytest.fixture(scope="module")
def repository_of_the_module(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Repository]]:
    """The same, for tests that leave one another what they find."""
    with GitHubServer() as github:
        yield lambda workflow: _scratch(tmp_path_factory.mktemp("repository"), github, workflow)


def _scratch(folder: Path, github: GitHubServer, workflow: str) -> Repository:
    root = folder / "a model's repository"
    root.mkdir()
    made = Repository(root, github, github.repository(REMOTE.removeprefix("https://github.com/")))
    made.git("init", "--quiet", "--initial-branch", "main")
    made.git("remote", "add", "origin", REMOTE)
    made.commit("A model", {**MODEL, ".github/workflows/model.yml": workflow})
    return made

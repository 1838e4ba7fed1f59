"""A repository on a runner, and the actions' stages run in it: what the tests of recording and judging share."""

from __future__ import annotations

import io
import json
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from metricgate.github import action, settings

_IDENTITY = ("-c", "user.name=T", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false")


@dataclass
class Checkout:
    """A checked-out repository and the runner's folder.

    Attributes:
        root: The repository.
        temporary: The folder that the runner empties after the job.
        environ: What the runner adds to every step's environment.
        outputs: Those of the last step.
    """

    root: Path
    temporary: Path
    environ: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def make(cls, folder: Path, **files: str) -> Checkout:
        """A repository with one commit, under paths with spaces; ``metricgate__yaml`` is the file ``metricgate.yaml``."""
        made = cls(folder / "a checkout", folder / "runner temp")
        for place in (made.root, made.temporary):
            place.mkdir()
        made.git("init", "--quiet", "--initial-branch", "main")
        made.commit("A model", **files)
        return made

    @property
    def head(self) -> str:
        """The commit that is checked out."""
        return self.git("rev-parse", "HEAD")

    def git(self, *arguments: str) -> str:
        """Run git; what it prints."""
        command = ["git", "-C", str(self.root), *_IDENTITY, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self, message: str, **files: str) -> str:
        """Commit files; the commit."""
        for name, text in files.items():
            (self.root / name.replace("__", ".")).write_text(text)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", message)
        return self.head

    def step(self, stage: str, event: Mapping[str, Any], *, event_name: str = "pull_request", **inputs: str) -> tuple[int, str]:
        """Run a stage; its exit code and its log."""
        output = self.temporary / "output"
        output.unlink(missing_ok=True)
        (self.temporary / "event.json").write_text(json.dumps(event))
        environ = {
            "PATH": "/usr/bin:/bin",
            "GITHUB_WORKSPACE": str(self.root),
            "GITHUB_EVENT_NAME": event_name,
            "GITHUB_EVENT_PATH": str(self.temporary / "event.json"),
            "GITHUB_OUTPUT": str(output),
            "RUNNER_TEMP": str(self.temporary),
            **self.environ,
            **{settings.variable(name.replace("_", "-")): value for name, value in inputs.items()},
        }
        stream = io.StringIO()
        code = action.main(stage, environ, stream=stream)
        text = output.read_text() if output.exists() else ""
        found = re.findall(r"^(.+)<<(.+)\n((?:.*\n)*?)\2$", text, flags=re.MULTILINE)
        self.outputs = {name: value.removesuffix("\n") for name, _, value in found}
        return code, stream.getvalue()

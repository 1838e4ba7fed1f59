"""The scratch repository of the demo: a small model on main, and two pull requests as branches."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from metricgate.errors import StageError, UsageError

PROJECT = Path(__file__).parent / "project"
MAIN = "main"

# A file of this name in the package would be obeyed by git and by the build.
_RENAMED = {"gitignore": ".gitignore"}
# Fixed, so that commits have the same names everywhere, and nothing of the user's own git configuration matters.
_IDENTITY = {
    f"GIT_{role}_{key}": value
    for role in ("AUTHOR", "COMMITTER")
    for key, value in {"NAME": "metricgate demo", "EMAIL": "demo@metricgate.invalid", "DATE": "2026-01-05T09:00:00Z"}.items()
}
_NO_CONFIGURATION = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}


@dataclass(frozen=True)
class Commit:
    """One commit that is trained.

    Attributes:
        branch: Its branch; also the folder under ``project/branches`` with the files that it changes.
        title: Its message.
        id: Its full hash.
    """

    branch: str
    title: str
    id: str


@dataclass(frozen=True)
class Scratch:
    """The repository.

    Attributes:
        path: Where main is checked out.
        environ: The environment for git: that of the caller without any ``GIT_*`` variable or configuration of the user.
    """

    path: Path
    environ: Mapping[str, str]

    @classmethod
    def make(cls, path: Path, *, environ: Mapping[str, str]) -> Scratch:
        """Start an empty repository.

        Raises:
            UsageError: There is no git.
        """
        if shutil.which("git", path=environ.get("PATH")) is None:
            raise UsageError("there is no git", expected="git, which keeps the demo's commits", fix="install git")
        scratch = cls(path, without_git_settings(environ))
        path.mkdir(parents=True)
        scratch.git("-c", f"init.defaultBranch={MAIN}", "init", "--quiet")
        scratch.git("symbolic-ref", "HEAD", f"refs/heads/{MAIN}")  # for a git that does not know init.defaultBranch
        return scratch

    def commit(self, title: str) -> Commit:
        """The first commit: the project on main."""
        _copy(PROJECT / MAIN, self.path)
        return self._commit(MAIN, title)

    def branch(self, name: str, title: str) -> Commit:
        """A branch from main with one commit, made of the files in ``project/branches/<name>``; main is checked out after."""
        self.git("checkout", "--quiet", "-b", name, MAIN)
        _copy(PROJECT / "branches" / name, self.path)
        made = self._commit(name, title)
        self.git("checkout", "--quiet", MAIN)
        return made

    def checkout(self, path: Path) -> Path:
        """Another working tree, for a runner that trains beside others."""
        self.git("worktree", "add", "--quiet", "--detach", str(path.absolute()), MAIN)
        return path

    def git(self, *arguments: str, at: Path | None = None) -> str:
        """Run git in the repository, or in one of its checkouts.

        Raises:
            StageError: It failed.
        """
        done = subprocess.run(  # noqa: S603 - fixed arguments
            ["git", *arguments],  # noqa: S607 - git from the PATH
            cwd=at or self.path,
            env=dict(self.environ),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise StageError(f"`git {' '.join(arguments)}` failed: {done.stderr.strip()}", where=str(at or self.path))
        return done.stdout.strip()

    def _commit(self, branch: str, title: str) -> Commit:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", title)
        return Commit(branch, title, self.git("rev-parse", "HEAD"))


def without_git_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment in which git finds this repository and no other, and no configuration of the user's."""
    return {
        **{name: value for name, value in environ.items() if not name.startswith("GIT_")},
        **_IDENTITY,
        **_NO_CONFIGURATION,
    }


def _copy(source: Path, target: Path) -> None:
    for file in sorted(source.iterdir()):
        if file.is_file():
            shutil.copyfile(file, target / _RENAMED.get(file.name, file.name))

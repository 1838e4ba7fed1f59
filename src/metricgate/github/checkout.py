"""The repository that a job works in: which commit a change is compared with, and files as that commit has them."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from metricgate.errors import StageError, UsageError
from metricgate.github.event import Work

_FETCH_ALL = "- uses: actions/checkout@v7\n  with:\n    fetch-depth: 0"


@dataclass(frozen=True, slots=True)
class Checkout:
    """A git work tree. Its branch, index and files are never touched."""

    root: Path

    def head(self) -> str:
        """The commit that is checked out.

        Raises:
            UsageError: The folder is no git work tree, or has no commit.
        """
        commit = self._ask("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        if commit is None:
            raise UsageError(
                "the workspace is not a git checkout with a commit",
                where=str(self.root),
                fix=f"check the repository out before this step:\n{_FETCH_ALL}",
            )
        return commit

    def base_of(self, work: Work) -> str:
        """The commit that a change is compared with.

        What is checked out decides. On GitHub's merge commit of a pull request it is the commit that the change was
        merged into, so that only the change makes the difference; otherwise it is the merge-base.

        Raises:
            UsageError: The clone does not reach back that far.
        """
        if work.base is None:
            message = "only a change has a base"
            raise ValueError(message)
        head = self.head()
        parents = self._parents(head)
        if work.head in parents[1:] and self._has(parents[0]):
            return parents[0]
        if not self._has(work.base):
            raise self._too_shallow(work.base)
        common = self._ask("merge-base", work.base, head)
        if common is None:
            raise self._too_shallow(work.base)
        return common

    def parent(self) -> str | None:
        """The first parent of the commit that is checked out, which a shallow clone need not have; None for the first one.

        Raises:
            UsageError: The folder is no git work tree, or has no commit.
        """
        return next(iter(self._parents(self.head())), None)

    def read(self, commit: str, path: PurePosixPath) -> str | None:
        """A file's text at a commit; None where the commit has no such file."""
        if self._ask("cat-file", "-e", f"{commit}:{path}") is None:
            return None
        return self._run("cat-file", "blob", f"{commit}:{path}").stdout.decode("utf-8", errors="replace")

    @contextlib.contextmanager
    def at(self, commit: str) -> Iterator[Path]:
        """A second checkout of this repository at ``commit``, removed at the end.

        Raises:
            StageError: git could not make it.
        """
        with tempfile.TemporaryDirectory(prefix="metricgate-", ignore_cleanup_errors=True) as folder:
            tree = Path(folder) / self.root.resolve().name
            # Hooks of the checkout are the change's own: they don't run in the baseline's tree.
            made = self._run("-c", "core.hooksPath=/dev/null", "worktree", "add", "--detach", "--quiet", str(tree), commit)
            if made.returncode:
                reason = made.stderr.decode(errors="replace").strip()
                raise StageError(f"git could not check out {commit[:12]} beside the workspace: {reason}", where=str(self.root))
            try:
                yield tree
            finally:
                self._run("worktree", "remove", "--force", str(tree))

    def _parents(self, commit: str) -> list[str]:
        # Read from the commit itself: a shallow clone hides parents from rev-list.
        text = self._run("cat-file", "commit", commit).stdout.decode(errors="replace")
        header = text.partition("\n\n")[0].splitlines()
        return [line.removeprefix("parent ") for line in header if line.startswith("parent ")]

    def _has(self, commit: str) -> bool:
        return self._ask("cat-file", "-e", f"{commit}^{{commit}}") is not None

    def _too_shallow(self, base: str) -> UsageError:
        return UsageError(
            f"the clone does not reach back to the commit that the change is compared with (base {base[:12]})",
            expected="the history up to the merge-base",
            where=str(self.root),
            fix=f"fetch it in the checkout step:\n{_FETCH_ALL}",
        )

    def _ask(self, *arguments: str) -> str | None:
        finished = self._run(*arguments)
        return None if finished.returncode else finished.stdout.decode().strip()

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[bytes]:
        # In a container the workspace belongs to another user, which git refuses unless told.
        command = ["git", "-C", str(self.root), "-c", f"safe.directory={self.root.resolve()}", *arguments]
        return subprocess.run(command, capture_output=True, check=False, stdin=subprocess.DEVNULL)  # noqa: S603
